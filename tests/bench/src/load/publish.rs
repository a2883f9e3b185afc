//! Publishers on one thread, at their schedules.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use segue_media::packet::{RtcpPacket, parse_compound};

use super::batch::Batch;
use super::leg::{CONSENT_INTERVAL, Identity, Leg};
use super::media::{Place, Story, Stream, wallclock};
use super::schedule::{AUDIO_RATE, Due, PACKETS_PER_FRAME, Pace, Programme, Schedule};

/// How often a publisher's socket is read: requests for keyframes wait so long at most.
const READ_INTERVAL: Duration = Duration::from_millis(10);

/// Clock of video (RFC 6184 section 8.2.1) and of Opus (RFC 7587 section 4.1).
const VIDEO_CLOCK: f64 = 90_000.0;
const AUDIO_CLOCK: f64 = 48_000.0;

/// What was sent in a stretch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Packets: audio, video.
    pub packets: [u64; 2],
    /// Packets that left later than 5 ms after they were due: the generator was too slow.
    pub late: u64,
    /// Requests for keyframes that came.
    pub keyframe_requests: u64,
    /// Packets asked for again.
    pub nacked: u64,
}

/// Packets later than this are the generator's own fault.
const LATE: Duration = Duration::from_millis(5);

/// All publishers of a measurement.
pub struct Publishers {
    identity: Arc<Identity>,
    publishers: Vec<Publisher>,
    batch: Batch,
    packet: Vec<u8>,
}

struct Publisher {
    leg: Leg,
    audio: Stream,
    video: Stream,
    schedule: Schedule,
    frame_rate: f64,
    /// Media clocks go on over stretches.
    frames: u32,
    voices: u32,
    keyframe_wanted: bool,
    keyframe: bool,
    transport_cc: u16,
    read_at: Duration,
}

impl Publishers {
    /// From legs that are connected.
    #[must_use]
    pub fn new(identity: Arc<Identity>, legs: Vec<Leg>) -> Self {
        let publisher = |leg: Leg| Publisher {
            audio: Stream::new(leg.ours.ssrcs[0], true),
            video: Stream::new(leg.ours.ssrcs[1], false),
            leg,
            schedule: Schedule::new(Programme { pace: Pace::Even, frame_rate: 1.0, audio: false }, 0, 1),
            frame_rate: 1.0,
            frames: 0,
            voices: 0,
            keyframe_wanted: true,
            keyframe: false,
            transport_cc: 0,
            read_at: Duration::ZERO,
        };
        let publishers = legs.into_iter().map(publisher).collect();
        Self { identity, publishers, batch: Batch::default(), packet: Vec::new() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.publishers.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.publishers.is_empty()
    }

    /// Their legs.
    #[must_use]
    pub fn into_legs(self) -> Vec<Leg> {
        self.publishers.into_iter().map(|publisher| publisher.leg).collect()
    }

    /// Sends this for so long. `measured` packets count at the receivers.
    pub fn run(&mut self, programme: Programme, stretch: Duration, measured: bool) -> Sent {
        let count = self.publishers.len();
        let mut due = BinaryHeap::new();
        for (index, publisher) in self.publishers.iter_mut().enumerate() {
            publisher.schedule = Schedule::new(programme, index, count);
            publisher.frame_rate = programme.frame_rate;
            publisher.read_at = Duration::ZERO;
            due.push(Reverse((publisher.schedule.next_at(), index)));
        }
        let begin = Instant::now();
        let mut consent_at = CONSENT_INTERVAL;
        for publisher in &mut self.publishers {
            // Without randomness nothing here works anyway.
            let _ = publisher.leg.check();
        }
        let mut sent = Sent::default();
        while let Some(Reverse((at, index))) = due.pop().filter(|Reverse((at, _))| *at < stretch) {
            let elapsed = begin.elapsed();
            if let Some(wait) = at.checked_sub(elapsed) {
                std::thread::sleep(wait);
            }
            let elapsed = begin.elapsed();
            if let Some(publisher) = self.publishers.get_mut(index) {
                if elapsed > at + LATE {
                    sent.late += 1;
                }
                if publisher.read_at <= elapsed {
                    publisher.read_at = elapsed + READ_INTERVAL;
                    publisher.read(&self.identity, &mut self.batch, &mut sent);
                }
                publisher.send(measured, &mut self.packet, &mut sent);
                due.push(Reverse((publisher.schedule.next_at(), index)));
            }
            if consent_at <= elapsed {
                consent_at = elapsed + CONSENT_INTERVAL;
                for publisher in &mut self.publishers {
                    let _ = publisher.leg.check();
                }
            }
        }
        sent
    }
}

impl Publisher {
    fn send(&mut self, measured: bool, packet: &mut Vec<u8>, sent: &mut Sent) {
        match self.schedule.pop() {
            Due::Audio => {
                let timestamp = (f64::from(self.voices) * AUDIO_CLOCK / AUDIO_RATE) as u32;
                self.voices += 1;
                self.write(true, Place { timestamp, first: true, last: true, keyframe: false }, measured, packet);
                sent.packets[0] += 1;
            }
            Due::Video { from, to, .. } => {
                if from == 0 {
                    self.frames += 1;
                    self.keyframe = std::mem::take(&mut self.keyframe_wanted);
                }
                let timestamp = (f64::from(self.frames) * VIDEO_CLOCK / self.frame_rate) as u32;
                for number in from..to {
                    let last = number + 1 == PACKETS_PER_FRAME;
                    let place = Place { timestamp, first: number == 0, last, keyframe: self.keyframe };
                    self.write(false, place, measured, packet);
                    sent.packets[1] += 1;
                }
            }
        }
    }

    fn write(&mut self, audio: bool, place: Place, measured: bool, packet: &mut Vec<u8>) {
        let map = self.leg.theirs.extensions;
        let Some(seal) = &mut self.leg.seal else { return };
        let stream = if audio { &mut self.audio } else { &mut self.video };
        let transport_cc = map.transport_cc.map(|_| self.transport_cc);
        self.transport_cc = self.transport_cc.wrapping_add(1);
        let story = Story { sent: wallclock(), measured };
        stream.write(&map, seal, place, story, transport_cc, packet);
        // What the kernel does not take is lost, and counted as such at the receivers.
        let _ = self.leg.socket.send(packet);
    }

    fn read(&mut self, identity: &Identity, batch: &mut Batch, sent: &mut Sent) {
        let mut datagrams = Vec::new();
        while batch.receive(&self.leg.socket, |datagram, _| datagrams.push(datagram.to_vec())) {}
        for mut datagram in datagrams {
            let [128..=191, _, ..] = datagram.as_slice() else {
                // What a server says on a leg that is up changes nothing here.
                let _ = self.leg.handle_control(identity, Instant::now(), &datagram);
                continue;
            };
            let Some(open) = &mut self.leg.open else { continue };
            let Ok(len) = open.open_rtcp(&mut datagram) else { continue };
            for packet in parse_compound(&datagram[..len]).unwrap_or_default() {
                match packet {
                    RtcpPacket::Pli { .. } | RtcpPacket::Fir(_) => {
                        sent.keyframe_requests += 1;
                        self.keyframe_wanted = true;
                    }
                    RtcpPacket::Nack { lost, .. } => sent.nacked += lost.len() as u64,
                    _ => {}
                }
            }
        }
    }
}
