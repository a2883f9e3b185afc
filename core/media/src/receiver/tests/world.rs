//! A publisher, legs that lose, delay and reorder, and a receiver, in virtual time.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use segue_model::{LayerId, MediaTime};

use super::super::*;
use crate::frame::EncodedFrame;
use crate::packet::AudioLevel;
use crate::source::SourceSender;

pub const AUDIO: TrackId = TrackId(1);
pub const VIDEO: TrackId = TrackId(2);

/// Numbers that look random and are the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }
}

/// One leg's behaviour, in milliseconds.
#[derive(Clone, Copy)]
pub struct Link {
    pub leg: LegId,
    pub delay: u64,
    pub jitter: u64,
    pub loss_percent: u64,
    pub from: u64,
    pub until: u64,
    /// A lost packet comes after so long all the same; 0 for never.
    pub repair: u64,
}

impl Link {
    pub fn new(leg: u32, delay: u64) -> Self {
        Self { leg: LegId(leg), delay, jitter: 0, loss_percent: 0, from: 0, until: u64::MAX, repair: 0 }
    }
}

/// What was sent and what was played of it.
#[derive(Default)]
pub struct Played {
    /// (virtual ms, frame) in the order of playing.
    pub audio: Vec<(u64, u32)>,
    pub video: Vec<(u64, u32)>,
    pub audio_sent: u32,
    pub video_sent: u32,
    pub conceals: u32,
    pub fec: u32,
    pub events: Vec<(u64, ReceiverEvent)>,
}

pub struct World {
    pub receiver: Receiver,
    pub links: Vec<Link>,
    pub played: Played,
    /// Highest temporal layer of video that links carry.
    pub max_temporal: u8,
    /// The publisher is silent between these times.
    pub mute: std::ops::Range<u64>,
    /// Media time of the first frame, in ms.
    pub media_start: u64,
    /// The smaller encoding is sent in the place of the larger one from this time on.
    pub downswitch_at: u64,
    /// What a leg does to packets.
    pub renumber: Option<fn(MediaPacket, LegId) -> MediaPacket>,
    pub queue: BTreeMap<(u64, u64), (LegId, MediaPacket)>,
    start: Instant,
    dice: Dice,
    audio: SourceSender,
    video: SourceSender,
    video_frames: [u32; 2],
    keyframe_wanted: [bool; 2],
    keyframe_number: [u32; 2],
    order: u64,
}

impl World {
    pub fn new(seed: u64, links: Vec<Link>) -> Self {
        let mut receiver = Receiver::new();
        receiver.add_track(AUDIO, TrackKind::Audio);
        receiver.add_track(VIDEO, TrackKind::Video);
        for link in &links {
            receiver.add_leg(link.leg, LegSources::Any);
        }
        Self {
            receiver,
            links,
            played: Played::default(),
            max_temporal: 1,
            mute: 0..0,
            media_start: 0,
            downswitch_at: u64::MAX,
            renumber: None,
            queue: BTreeMap::new(),
            start: Instant::now(),
            dice: Dice::new(seed),
            audio: SourceSender::new(AUDIO, TrackKind::Audio, seed),
            video: SourceSender::new(VIDEO, TrackKind::Video, seed),
            video_frames: [0, 0],
            keyframe_wanted: [true, true],
            keyframe_number: [0, 0],
            order: 0,
        }
    }

    pub fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// The next frame of an encoding is a keyframe.
    pub fn keyframe(&mut self, encoding: usize) {
        self.keyframe_wanted[encoding] = true;
    }

    /// Runs from virtual millisecond `from` to `until`.
    pub fn run(&mut self, from: u64, until: u64) {
        for ms in from..until {
            if ms % 20 == 0 && !self.mute.contains(&ms) {
                self.send_audio(ms);
            }
            // 25 frames per second.
            if ms % 40 == 0 {
                self.send_video(ms);
            }
            self.deliver(ms);
        }
    }

    pub fn deliver(&mut self, ms: u64) {
        let now = self.at(ms);
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= ms) {
            let (leg, packet) = entry.remove();
            self.receiver.handle_packet(now, leg, packet);
        }
        if self.receiver.poll_timeout().is_some_and(|at| at <= now) {
            self.receiver.handle_timeout(now);
        }
        while let Some(frame) = self.receiver.poll_frame(now) {
            assert_eq!(frame.track, VIDEO);
            self.played.video.push((ms, index_of(&frame.frame.payload[5..])));
        }
        while let Some(event) = self.receiver.poll_event() {
            self.played.events.push((ms, event));
            if let ReceiverEvent::KeyframeNeeded { encoding, .. } = event {
                self.keyframe_wanted[usize::from(encoding.0)] = true;
            }
        }
        if ms % 20 == 11 {
            match self.receiver.pull_audio(now, AUDIO) {
                AudioPull::Frame(frame) => self.played.audio.push((ms, index_of(&frame.frame.payload[1..]))),
                AudioPull::Conceal => self.played.conceals += 1,
                AudioPull::Fec { .. } => self.played.fec += 1,
                AudioPull::Silence | AudioPull::Wait => {}
            }
        }
        assert!(self.receiver.poll_timeout().is_none_or(|at| at >= now), "a timeout lies in the past");
    }

    fn send_audio(&mut self, ms: u64) {
        let mut payload = BytesMut::from(&[0xf8][..]);
        payload.put_slice(&index_bytes(self.played.audio_sent));
        self.played.audio_sent += 1;
        // Speech with a pause in every second.
        let level = if ms % 1_000 < 700 { 20 } else { 70 };
        let frame = EncodedFrame {
            kind: TrackKind::Audio,
            layer: LayerId::default(),
            time: MediaTime((self.media_start + ms) * 48),
            keyframe: false,
            discardable: false,
            refers_back: 0,
            audio_level: Some(AudioLevel { level, voice: level < 50 }),
            payload: payload.freeze(),
        };
        let packets = self.audio.packetise(&frame);
        self.transmit(ms, packets);
    }

    fn send_video(&mut self, ms: u64) {
        let encoding = usize::from(ms >= self.downswitch_at);
        let number = self.video_frames[encoding];
        self.video_frames[encoding] += 1;
        let keyframe = std::mem::take(&mut self.keyframe_wanted[encoding]);
        if keyframe {
            self.keyframe_number[encoding] = number;
        }
        let odd = (number - self.keyframe_number[encoding]) % 2 == 1;
        let temporal = u8::from(odd);
        let mut payload = BytesMut::from(&[0, 0, 0, 1, if keyframe { 0x65 } else { 0x41 }][..]);
        payload.put_slice(&index_bytes(self.played.video_sent));
        payload.put_bytes(0x55, if keyframe { 9_000 } else { 2_500 });
        self.played.video_sent += 1;
        // Two temporal layers: base frames refer to base frames, the others to the frame before.
        let refers_back = if odd { 1 } else { 2 };
        let frame = EncodedFrame {
            kind: TrackKind::Video,
            layer: LayerId::new(encoding as u8, temporal),
            time: MediaTime((self.media_start + ms) * 90),
            keyframe,
            discardable: temporal == 1,
            refers_back,
            audio_level: None,
            payload: payload.freeze(),
        };
        let packets = self.video.packetise(&frame);
        if temporal <= self.max_temporal {
            self.transmit(ms, packets);
        }
    }

    fn transmit(&mut self, ms: u64, packets: Vec<MediaPacket>) {
        for packet in packets {
            for link in self.links.clone() {
                if ms < link.from || ms >= link.until {
                    continue;
                }
                let lost = self.dice.below(100) < link.loss_percent;
                let mut at = ms + link.delay + self.dice.below(link.jitter + 1);
                if lost && link.repair == 0 {
                    continue;
                }
                if lost {
                    at += link.repair;
                }
                self.order += 1;
                let packet = packet.clone();
                let packet = self.renumber.map_or(packet.clone(), |renumber| renumber(packet, link.leg));
                self.queue.insert((at, self.order), (link.leg, packet));
            }
        }
    }
}

/// Seven bits a byte, so that no start code can appear in it.
fn index_bytes(index: u32) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| 0x80 | (index >> shift) as u8 & 0x7f)
}

fn index_of(payload: &[u8]) -> u32 {
    payload[..4].iter().fold(0, |index, byte| index << 7 | u32::from(byte & 0x7f))
}

impl Played {
    pub fn no_duplicates(&self) {
        for played in [&self.audio, &self.video] {
            let disorder = played.windows(2).find(|pair| pair[0].1 >= pair[1].1);
            assert!(disorder.is_none(), "played twice or out of order: {disorder:?}");
        }
    }

    /// Frames not played between the first and the last one played.
    pub fn missing(played: &[(u64, u32)]) -> u32 {
        let (Some(first), Some(last)) = (played.first(), played.last()) else { return 0 };
        last.1 - first.1 + 1 - played.len() as u32
    }

    /// The longest time between two frames beyond what it should be.
    pub fn longest_excess(played: &[(u64, u32)], interval: u64) -> u64 {
        played.windows(2).map(|pair| (pair[1].0 - pair[0].0).saturating_sub(interval)).max().unwrap_or(0)
    }

    /// How long after it was sent the last frame was played.
    pub fn delay(played: &[(u64, u32)], interval: u64) -> u64 {
        played.last().map_or(0, |(at, frame)| at - u64::from(*frame) * interval)
    }
}

/// A packet of another kind than its track.
pub fn misfit() -> MediaPacket {
    let mut source = SourceSender::new(VIDEO, TrackKind::Audio, 1);
    let frame = EncodedFrame {
        kind: TrackKind::Audio,
        layer: LayerId::default(),
        time: MediaTime(0),
        keyframe: false,
        discardable: false,
        refers_back: 0,
        audio_level: None,
        payload: Bytes::from_static(&[0xf8, 1, 2, 3]),
    };
    source.packetise(&frame).remove(0)
}
