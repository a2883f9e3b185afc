//! A source over two legs into one receiver, in virtual time: the path changes, both links lose, and nobody sees or hears it.

#![allow(clippy::disallowed_methods, reason = "virtual time needs an instant to begin at")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segue_media::frame::EncodedFrame;
use segue_media::jitter::AudioPull;
use segue_media::leg::{PayloadMap, RecvLeg, RecvLegConfig, SendLeg, SendLegConfig, SendLegEvent, SendStream, WallClock};
use segue_media::merge::{LegId, LegSources};
use segue_media::pacer::FixedRate;
use segue_media::packet::rtp::{ExtensionMap, RtpPacket};
use segue_media::packet::{MediaPacket, RtcpPacket};
use segue_media::receiver::Receiver;
use segue_media::source::SourceSender;
use segue_model::{EncodingId, LayerId, MediaTime, NtpTime, Ssrc, TrackId, TrackKind};

const VIDEO: TrackId = TrackId(1);
const AUDIO: TrackId = TrackId(2);

enum Datagram {
    Rtp(Vec<u8>),
    Rtcp(Vec<RtcpPacket>),
}

/// One leg with the link below it.
struct Leg {
    id: LegId,
    send: SendLeg,
    recv: RecvLeg,
    delay: Duration,
    /// Every so many datagrams is lost.
    lose_every: u64,
    count: u64,
    there: BTreeMap<(Instant, u64), Datagram>,
    back: BTreeMap<(Instant, u64), Vec<RtcpPacket>>,
    repairs: u64,
}

impl Leg {
    fn new(id: u32, start: Instant, delay: u64, lose_every: u64) -> Self {
        let config = SendLegConfig {
            extensions: ExtensionMap::ours(),
            cname: "a".to_owned(),
            seed: u64::from(id),
            rate: FixedRate::DEFAULT,
            clock: WallClock { at: start, ntp: NtpTime(1 << 40) },
        };
        let mut send = SendLeg::new(config);
        let stream = |track, kind, ssrc, rtx: Option<u32>, payload_type| SendStream {
            track,
            encoding: EncodingId(0),
            kind,
            ssrc: Ssrc(ssrc),
            rtx_ssrc: rtx.map(Ssrc),
            payload_type,
            rtx_payload_type: rtx.map(|_| 103),
            mid: None,
            rid: None,
        };
        send.add_stream(stream(VIDEO, TrackKind::Video, 10 + id, Some(20 + id), 102)).unwrap();
        send.add_stream(stream(AUDIO, TrackKind::Audio, 30 + id, None, 111)).unwrap();
        Self {
            id: LegId(id),
            send,
            recv: RecvLeg::new(RecvLegConfig { ssrc: Ssrc(90 + id), payloads: PayloadMap::ours() }),
            delay: Duration::from_millis(delay),
            lose_every,
            count: 0,
            there: BTreeMap::new(),
            back: BTreeMap::new(),
            repairs: 0,
        }
    }

    fn key(&mut self, now: Instant) -> Option<(Instant, u64)> {
        self.count += 1;
        (!self.count.is_multiple_of(self.lose_every)).then_some((now + self.delay, self.count))
    }

    fn step(&mut self, now: Instant, receiver: &mut Receiver) {
        while let Some(entry) = self.there.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Datagram::Rtp(bytes) => {
                    let packet = RtpPacket::parse(bytes.into(), &ExtensionMap::ours()).unwrap();
                    let mut received = self.recv.handle_rtp(now, packet);
                    while let Some(packet) = received {
                        receiver.handle_packet(now, self.id, packet.packet);
                        received = self.recv.poll_received();
                    }
                }
                Datagram::Rtcp(packets) => packets.iter().for_each(|packet| self.recv.handle_rtcp(now, packet)),
            }
        }
        while let Some(entry) = self.back.first_entry().filter(|entry| entry.key().0 <= now) {
            entry.remove().iter().for_each(|packet| self.send.handle_rtcp(now, packet));
        }
        self.recv.handle_timeout(now, receiver);
        self.send.handle_timeout(now);
        while let Some(packet) = self.send.poll_transmit(now) {
            self.repairs += u64::from(packet.header.payload_type == 103);
            let mut bytes = Vec::new();
            packet.write(&ExtensionMap::ours(), &mut bytes);
            if let Some(key) = self.key(now) {
                self.there.insert(key, Datagram::Rtp(bytes));
            }
        }
        while let Some(packets) = self.send.poll_rtcp(now) {
            if let Some(key) = self.key(now) {
                self.there.insert(key, Datagram::Rtcp(packets));
            }
        }
        while let Some(packets) = self.recv.poll_rtcp(now) {
            if let Some(key) = self.key(now) {
                self.back.insert(key, packets);
            }
        }
        while let Some(event) = self.send.poll_event() {
            if let SendLegEvent::Rtt(rtt) = event {
                self.recv.set_rtt(rtt);
            }
        }
    }
}

fn frame(kind: TrackKind, number: u64) -> EncodedFrame {
    let (clock, keyframe) = match kind {
        TrackKind::Audio => (960, true),
        TrackKind::Video => (3_000, number == 0),
    };
    let mut payload = match (kind, keyframe) {
        (TrackKind::Audio, _) => vec![0x78],
        (TrackKind::Video, true) => vec![0, 0, 0, 1, 0x67, 0x42, 0, 0, 0, 1, 0x68, 0x11, 0, 0, 0, 1, 0x65],
        (TrackKind::Video, false) => vec![0, 0, 0, 1, 0x41],
    };
    payload.extend(std::iter::repeat_n(0x55, if kind == TrackKind::Audio { 80 } else { 4_000 }));
    EncodedFrame {
        kind,
        layer: LayerId::default(),
        time: MediaTime(number * clock),
        keyframe,
        discardable: false,
        refers_back: u8::from(!keyframe),
        audio_level: None,
        payload: payload.into(),
    }
}

#[test]
fn a_change_of_path_over_lossy_links_loses_and_doubles_nothing() {
    let start = Instant::now();
    // The first keyframe is spared; after that both links lose one in nineteen or twenty-three datagrams, each way.
    let mut legs = [Leg::new(0, start, 20, u64::MAX), Leg::new(1, start, 60, 23)];
    let mut receiver = Receiver::new();
    legs.iter().for_each(|leg| assert!(receiver.add_leg(leg.id, LegSources::Any)));
    receiver.add_track(VIDEO, TrackKind::Video);
    receiver.add_track(AUDIO, TrackKind::Audio);
    let mut sources = [SourceSender::new(VIDEO, TrackKind::Video, 1), SourceSender::new(AUDIO, TrackKind::Audio, 1)];
    let (mut frames, mut pulls, mut sent) = (Vec::new(), Vec::new(), [0u64; 2]);
    for millisecond in 0..12_000u64 {
        let now = start + Duration::from_millis(millisecond);
        if millisecond == 100 {
            legs[0].lose_every = 19;
        }
        // Alone on the first, on both, alone on the second.
        let used: &[usize] = match millisecond {
            0..4_000 => &[0],
            4_000..6_000 => &[0, 1],
            _ => &[1],
        };
        let mut packets: Vec<MediaPacket> = Vec::new();
        if millisecond < 11_000 && millisecond * 30 / 1_000 >= sent[0] {
            packets.extend(sources[0].packetise(&frame(TrackKind::Video, sent[0])));
            sent[0] += 1;
        }
        if millisecond < 11_000 && millisecond.is_multiple_of(20) {
            packets.extend(sources[1].packetise(&frame(TrackKind::Audio, sent[1])));
            sent[1] += 1;
        }
        for leg in used {
            packets.iter().for_each(|packet| legs[*leg].send.push(now, packet));
        }
        legs.iter_mut().for_each(|leg| leg.step(now, &mut receiver));
        receiver.handle_timeout(now);
        frames.extend(std::iter::from_fn(|| receiver.poll_frame(now)));
        if millisecond % 20 == 7 {
            pulls.push((millisecond, receiver.pull_audio(now, AUDIO)));
        }
    }
    let times: Vec<u64> = frames.iter().map(|frame| frame.frame.time.0).collect();
    let steps = times.windows(2).filter(|pair| pair[1] - pair[0] != 3_000).count();
    assert_eq!((frames.len() as u64, steps), (sent[0], 0), "every frame, once, in order");
    let whole = pulls.iter().filter(|(_, pull)| matches!(pull, AudioPull::Frame(_))).count() as u64;
    assert!(whole >= sent[1] * 9 / 10, "{whole} of {}", sent[1]);
    let gaps = pulls.iter().filter(|(at, pull)| (4_000..6_000).contains(at) && !matches!(pull, AudioPull::Frame(_))).count();
    assert!(gaps <= 4, "{gaps} pulls without a frame while both paths were used");
    assert!(legs.iter().all(|leg| leg.repairs > 0));
}
