//! Two legs back to back, in virtual time, over a link that loses, doubles and delays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use segue_model::{DataRate, EncodingId, LayerId, NtpTime, Ssrc, TrackId, TrackKind};

use crate::merge::Lacks;
use crate::pacer::FixedRate;
use crate::packet::rtp::{ExtensionMap, Label, RtpPacket};
use crate::packet::{AudioLevel, MediaPacket, Origin, OriginFlags, RtcpPacket, parse_compound, write_compound};

use super::*;

const VIDEO: TrackId = TrackId(7);
const AUDIO: TrackId = TrackId(8);
const PER_FRAME: u32 = 5;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::source::mix(self.0) % bound.max(1)
    }
}

#[derive(Clone, Copy, Debug)]
struct Link {
    delay: Duration,
    /// Most that is added to the delay.
    jitter: Duration,
    /// In a thousand.
    loss: u64,
    duplicate: u64,
}

impl Link {
    const CLEAN: Self = Self { delay: Duration::from_millis(20), jitter: Duration::ZERO, loss: 0, duplicate: 0 };

    /// The times a datagram sent now arrives.
    fn arrivals(&self, now: Instant, random: &mut Random) -> Vec<Instant> {
        if random.below(1_000) < self.loss {
            return Vec::new();
        }
        let copies = 1 + u64::from(random.below(1_000) < self.duplicate);
        (0..copies)
            .map(|_| now + self.delay + Duration::from_micros(random.below(self.jitter.as_micros() as u64 + 1)))
            .collect()
    }
}

/// Everything is always lacking: one leg only.
struct Everything;

impl Lacks for Everything {
    fn lacks(&self, _: TrackId, _: EncodingId, _: u32, _: u32) -> bool {
        true
    }
}

struct Nothing;

impl Lacks for Nothing {
    fn lacks(&self, _: TrackId, _: EncodingId, _: u32, _: u32) -> bool {
        false
    }
}

fn video_stream(encoding: u8, mid: Option<&str>) -> SendStream {
    SendStream {
        track: VIDEO,
        encoding: EncodingId(encoding),
        kind: TrackKind::Video,
        ssrc: Ssrc(100 + u32::from(encoding)),
        rtx_ssrc: Some(Ssrc(200 + u32::from(encoding))),
        payload_type: 102,
        rtx_payload_type: Some(103),
        mid: mid.and_then(Label::new),
        rid: mid.and_then(|_| Label::new(EncodingId(encoding).rid())),
    }
}

fn audio_stream(mid: Option<&str>) -> SendStream {
    let kind = TrackKind::Audio;
    let (ssrc, mid) = (Ssrc(300), mid.and_then(Label::new));
    let (rtx_ssrc, rtx_payload_type, rid, encoding) = (None, None, None, EncodingId(0));
    SendStream { track: AUDIO, encoding, kind, ssrc, rtx_ssrc, payload_type: 111, rtx_payload_type, mid, rid }
}

fn video(frame: u32, part: u32, keyframe: bool) -> MediaPacket {
    let (first, last) = (part == 0, part + 1 == PER_FRAME);
    let flags = OriginFlags { first, last, keyframe, ..OriginFlags::default() };
    let header = match (first, keyframe) {
        (true, true) => 0x67,
        (false, true) => 0x65,
        _ => 0x41,
    };
    let payload: Bytes = [header, frame as u8, part as u8].into_iter().chain(std::iter::repeat_n(0, 900)).collect();
    let packet = frame * PER_FRAME + part;
    let origin = Origin { source: VIDEO, layer: LayerId::default(), flags, packet, frame, refers_back: u8::from(!keyframe) };
    MediaPacket { origin, kind: TrackKind::Video, timestamp: frame * 3_000, marker: last, audio_level: None, payload }
}

fn audio(number: u32) -> MediaPacket {
    let flags = OriginFlags { first: true, last: true, keyframe: true, ..OriginFlags::default() };
    let origin = Origin { source: AUDIO, layer: LayerId::default(), flags, packet: number, frame: number, refers_back: 0 };
    let payload = Bytes::copy_from_slice(&number.to_be_bytes());
    let audio_level = Some(AudioLevel { level: 30, voice: true });
    MediaPacket { origin, kind: TrackKind::Audio, timestamp: number * 960, marker: false, audio_level, payload }
}

/// A sending and a receiving leg and the bytes between them.
struct World {
    start: Instant,
    now: Instant,
    link: Link,
    random: Random,
    send: SendLeg,
    recv: RecvLeg,
    send_ids: ExtensionMap,
    forward: BTreeMap<(Instant, u64), Vec<u8>>,
    back: BTreeMap<(Instant, u64), Vec<u8>>,
    datagrams: u64,
    received: Vec<(Instant, Received)>,
    /// First transmissions of video that no copy of arrived.
    lost: u64,
    repairs: u64,
    repairs_lost: u64,
    events: Vec<SendLegEvent>,
}

impl World {
    fn new(seed: u64, link: Link, ids: ExtensionMap) -> Self {
        let start = Instant::now();
        let config = SendLegConfig {
            extensions: ids,
            cname: "someone".to_owned(),
            seed,
            rate: FixedRate(DataRate::kbps(8_000)),
            clock: WallClock { at: start, ntp: NtpTime(3_900_000_000 << 32) },
        };
        Self {
            start,
            now: start,
            link,
            random: Random(seed),
            send: SendLeg::new(config),
            recv: RecvLeg::new(RecvLegConfig { ssrc: Ssrc(1), payloads: PayloadMap::ours() }),
            send_ids: ids,
            forward: BTreeMap::new(),
            back: BTreeMap::new(),
            datagrams: 0,
            received: Vec::new(),
            lost: 0,
            repairs: 0,
            repairs_lost: 0,
            events: Vec::new(),
        }
    }

    fn carry(&mut self, forward: bool, bytes: &[u8]) -> bool {
        let arrivals = self.link.arrivals(self.now, &mut self.random);
        let queue = if forward { &mut self.forward } else { &mut self.back };
        for at in &arrivals {
            self.datagrams += 1;
            queue.insert((*at, self.datagrams), bytes.to_vec());
        }
        !arrivals.is_empty()
    }

    /// Sends whatever the legs have to send now.
    fn flush(&mut self) {
        let mut bytes = Vec::new();
        while let Some(packet) = self.send.poll_transmit(self.now) {
            bytes.clear();
            packet.write(&self.send_ids, &mut bytes);
            let arrived = self.carry(true, &bytes);
            match packet.header.payload_type {
                103 => {
                    self.repairs += 1;
                    self.repairs_lost += u64::from(!arrived);
                }
                102 => self.lost += u64::from(!arrived),
                _ => {}
            }
        }
        while let Some(compound) = self.send.poll_rtcp(self.now) {
            self.send_compound(true, &compound);
        }
        while let Some(compound) = self.recv.poll_rtcp(self.now) {
            self.send_compound(false, &compound);
        }
        self.events.extend(std::iter::from_fn(|| self.send.poll_event()));
    }

    fn send_compound(&mut self, forward: bool, compound: &[RtcpPacket]) {
        let mut bytes = Vec::new();
        write_compound(compound, &mut bytes);
        assert!(bytes.len() <= 1_200, "a compound packet fits a datagram: {compound:?}");
        self.carry(forward, &bytes);
    }

    /// Runs until `end`, step by step, as the legs' own timeouts say.
    fn run(&mut self, end: Instant, lacks: &dyn Lacks) {
        loop {
            self.flush();
            let next = [
                self.forward.first_key_value().map(|((at, _), _)| *at),
                self.back.first_key_value().map(|((at, _), _)| *at),
                self.send.poll_timeout(),
                self.recv.poll_timeout(),
            ];
            let next = next.into_iter().flatten().min().filter(|next| *next <= end);
            let Some(next) = next else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.forward.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let bytes = entry.remove();
                self.deliver_forward(bytes);
            }
            while let Some(entry) = self.back.first_entry().filter(|entry| entry.key().0 <= self.now) {
                for packet in parse_compound(&entry.remove()).unwrap() {
                    self.send.handle_rtcp(self.now, &packet);
                }
            }
            self.recv.handle_timeout(self.now, lacks);
            self.send.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn deliver_forward(&mut self, bytes: Vec<u8>) {
        match crate::packet::classify(&bytes) {
            crate::packet::DatagramKind::Rtp => {
                let packet = RtpPacket::parse(bytes.into(), &self.send_ids).unwrap();
                let first = self.recv.handle_rtp(self.now, packet);
                self.received.extend(first.map(|received| (self.now, received)));
                self.drain();
            }
            _ => {
                for packet in parse_compound(&bytes).unwrap() {
                    self.recv.handle_rtcp(self.now, &packet);
                }
            }
        }
    }

    fn drain(&mut self) {
        while let Some(received) = self.recv.poll_received() {
            self.received.push((self.now, received));
        }
    }

    /// Thirty frames and fifty audio packets a second; then time for the last repairs. First and last frame are spared: what is
    /// lost before the first packet or after the last one leaves no hole.
    fn call(&mut self, seconds: u64) {
        let frames = seconds * 30;
        let rough = std::mem::replace(&mut self.link.loss, 0);
        let mut audio_sent = 0;
        for frame in 0..frames as u32 {
            let at = self.start + Duration::from_micros(u64::from(frame) * 33_333);
            while audio_sent * 20_000 <= u64::from(frame) * 33_333 {
                self.run((self.start + ms(audio_sent * 20)).max(self.now), &Everything);
                self.send.push(self.now, &audio(audio_sent as u32));
                audio_sent += 1;
            }
            self.run(at.max(self.now), &Everything);
            (0..PER_FRAME).for_each(|part| self.send.push(self.now, &video(frame, part, frame % 60 == 0)));
            self.run(self.now + ms(8), &Everything);
            self.link.loss = if u64::from(frame) + 2 == frames { 0 } else { rough };
        }
        self.link.loss = rough;
        self.run(self.now + ms(1_200), &Everything);
    }

    /// Retransmissions beyond those for what was lost, lost retransmissions included.
    fn needless_repairs(&self) -> u64 {
        self.repairs.saturating_sub(self.lost + self.repairs_lost)
    }

    fn video_packets(&self) -> Vec<&MediaPacket> {
        let video = self.received.iter().filter(|(_, received)| received.track == VIDEO);
        video.map(|(_, received)| &received.packet).collect()
    }
}

fn sdk(seed: u64, link: Link) -> World {
    let mut world = World::new(seed, link, ExtensionMap::ours());
    world.send.add_stream(video_stream(0, None)).unwrap();
    world.send.add_stream(audio_stream(None)).unwrap();
    world
}

fn browser(seed: u64, link: Link) -> World {
    let mut world = World::new(seed, link, ExtensionMap { origin: None, ..ExtensionMap::ours() });
    world.send.add_stream(video_stream(0, Some("1"))).unwrap();
    world.send.add_stream(audio_stream(Some("0"))).unwrap();
    let label = |text| Label::new(text).unwrap();
    world.recv.bind(StreamKey::Mid(label("0")), AUDIO, EncodingId(0));
    world.recv.bind(StreamKey::MidRid { mid: label("1"), rid: label("f") }, VIDEO, EncodingId(0));
    world
}

/// Loss and duplicates, and jitter that reorders within a frame and its neighbours. The round trip is shorter than those on which everything
/// that is sent again goes twice.
const ROUGH: Link = Link { delay: Duration::from_millis(14), jitter: Duration::from_millis(4), loss: 50, duplicate: 20 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn everything_lost_is_recovered_and_nothing_comes_twice(seed in any::<u64>()) {
        let mut world = sdk(seed, ROUGH);
        world.call(10);
        let packets: Vec<u32> = world.video_packets().iter().map(|packet| packet.origin.packet).collect();
        let distinct: BTreeSet<u32> = packets.iter().copied().collect();
        prop_assert_eq!(distinct.len(), packets.len(), "no packet is delivered twice");
        prop_assert_eq!(packets.len(), 1_500, "every packet is delivered");
        prop_assert!(world.lost > 40);
        prop_assert!(world.needless_repairs() <= 1, "{} for {}", world.repairs, world.lost);
        let audio = world.received.iter().filter(|(_, received)| received.track == AUDIO).count();
        prop_assert!(audio > 430, "{audio}");
        prop_assert_eq!(&world.recv.stats().violations, &BTreeMap::new());
    }

    #[test]
    fn streams_without_origin_come_whole_and_in_order(seed in any::<u64>()) {
        let mut world = browser(seed, ROUGH);
        world.call(6);
        let packets = world.video_packets();
        prop_assert_eq!(packets.len(), 900);
        for (index, packet) in packets.iter().enumerate() {
            let (frame, part) = (index as u32 / PER_FRAME, index as u32 % PER_FRAME);
            let sent = video(frame, part, frame % 60 == 0);
            prop_assert_eq!((&packet.payload, packet.timestamp), (&sent.payload, sent.timestamp));
            prop_assert_eq!(packet.origin.flags, sent.origin.flags);
            prop_assert_eq!(packet.origin.refers_back, sent.origin.refers_back);
            prop_assert_eq!(packet.origin.packet - packets[0].origin.packet, sent.origin.packet);
            prop_assert_eq!(packet.origin.frame - packets[0].origin.frame, sent.origin.frame);
        }
        prop_assert!(world.needless_repairs() <= 1, "{} for {}", world.repairs, world.lost);
    }

    #[test]
    fn no_packets_make_a_leg_panic(packets in proptest::collection::vec((any::<[u32; 2]>(), any::<u16>(), prop::sample::select(vec![102u8, 103, 111, 5]), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..8)), 0..300)) {
        let mut world = browser(1, Link::CLEAN);
        for ([ssrc, timestamp], sequence, payload_type, with_origin, payload) in packets {
            let mut bytes = Vec::new();
            let origin = with_origin.then(|| video(timestamp % 1_000, 0, false).origin);
            let extensions = crate::packet::Extensions { mid: Label::new("1"), origin, ..Default::default() };
            let header = crate::packet::RtpHeader {
                marker: with_origin,
                payload_type,
                sequence: segue_model::SeqNo(sequence),
                timestamp,
                ssrc: Ssrc(ssrc % 4),
                extensions,
            };
            RtpPacket { header, payload: payload.into(), padding: 0 }.write(&ExtensionMap::ours(), &mut bytes);
            let packet = RtpPacket::parse(bytes.into(), &ExtensionMap::ours()).unwrap();
            world.recv.handle_rtp(world.now, packet);
            world.run(world.now + ms(3), &Everything);
        }
    }
}

#[test]
fn a_loss_costs_at_most_a_fifth_more_than_one_retransmission() {
    let mut world = sdk(1, ROUGH);
    world.call(60);
    assert!(world.lost > 300);
    assert!(world.repairs as f64 <= 1.2 * world.lost as f64, "{} for {}", world.repairs, world.lost);
}

#[test]
fn on_a_long_path_that_loses_little_what_is_sent_again_goes_twice() {
    let repairs = |delay, loss| {
        let mut world = sdk(2, Link { delay: ms(delay), jitter: Duration::ZERO, loss, duplicate: 0 });
        world.call(30);
        (world.repairs as f64 / world.lost as f64, world.lost)
    };
    let (twice, lost) = repairs(25, 10);
    assert!((1.8..2.2).contains(&twice) && lost > 20, "{twice} for {lost}");
    let (short, _) = repairs(10, 10);
    assert!(short < 1.3, "{short}");
    let (much, _) = repairs(25, 100);
    assert!(much < 1.3, "{much}");
}

#[test]
fn audio_never_waits_behind_video() {
    let mut world = sdk(3, Link::CLEAN);
    world.send.set_rate(DataRate::kbps(1_000));
    let start = world.now;
    for frame in 0..10 {
        (0..PER_FRAME).for_each(|part| world.send.push(start, &video(frame, part, frame == 0)));
    }
    world.run(start + ms(10), &Everything);
    for number in 0..20 {
        world.send.push(world.now, &audio(number));
        world.run(world.now + ms(20), &Everything);
    }
    world.run(world.now + ms(1_000), &Everything);
    for (at, received) in &world.received {
        if received.track == AUDIO {
            let sent = start + ms(10 + 20 * u64::from(received.packet.origin.packet));
            assert_eq!(*at - sent, Link::CLEAN.delay);
        }
    }
    assert_eq!(world.video_packets().len(), 50);
}

#[test]
fn what_another_leg_delivered_is_not_sent_again() {
    let mut world = sdk(5, Link { loss: 200, ..Link::CLEAN });
    for frame in 0..60 {
        world.run(world.now + ms(33), &Nothing);
        (0..PER_FRAME).for_each(|part| world.send.push(world.now, &video(frame, part, frame == 0)));
    }
    assert_eq!(world.repairs, 0);
    world.run(world.now + ms(500), &Nothing);
    assert!(world.lost > 30);
    // The last packet before a silence goes twice; nothing was asked for.
    assert_eq!(world.repairs, 1);
}

#[test]
fn the_end_of_a_stream_is_repaired_although_nothing_comes_after_it() {
    for first_lost in 0..PER_FRAME {
        let mut world = sdk(5, Link::CLEAN);
        for frame in 0..30 {
            world.run(world.now + ms(33), &Everything);
            (0..PER_FRAME).for_each(|part| world.send.push(world.now, &video(frame, part, frame == 0)));
        }
        world.run(world.now + ms(12), &Everything);
        (first_lost..PER_FRAME).for_each(|_| assert!(world.forward.pop_last().is_some()));
        world.run(world.now + ms(300), &Everything);
        assert_eq!(world.video_packets().len(), 30 * PER_FRAME as usize, "all from packet {first_lost} on were lost");
    }
}

#[test]
fn hop_numbers_wrap_without_a_trace() {
    let mut world = sdk(9, ROUGH);
    // First numbers are below 32,768, so that this many packets wrap at least once.
    let frames = 70_000 / PER_FRAME;
    for frame in 0..frames {
        (0..PER_FRAME).for_each(|part| world.send.push(world.now, &video(frame, part, frame % 60 == 0)));
        world.run(world.now + ms(8), &Everything);
    }
    world.run(world.now + ms(1_200), &Everything);
    let distinct: BTreeSet<u32> = world.video_packets().iter().map(|packet| packet.origin.packet).collect();
    assert_eq!(distinct.len(), world.video_packets().len());
    assert!(distinct.len() as u32 + 5 >= frames * PER_FRAME, "{} of {}", distinct.len(), frames * PER_FRAME);
    assert_eq!(world.recv.stats().violations, BTreeMap::new());
}

#[test]
fn reports_measure_the_round_trip_and_the_loss() {
    let mut world = sdk(11, Link { loss: 100, ..Link::CLEAN });
    world.call(8);
    let rtt = world.send.stats().rtt.unwrap();
    assert!((ms(39)..=ms(41)).contains(&rtt), "{rtt:?}");
    let (_, stats) = world.send.stats().streams[0];
    assert!((0.02..0.25).contains(&stats.loss), "{}", stats.loss);
    assert!(world.events.iter().any(|event| matches!(event, SendLegEvent::Rtt(_))));
    let clock = world.recv.sender_clock(AUDIO).unwrap();
    let since = clock.received_at - world.start - Link::CLEAN.delay;
    let expected = since.as_millis() as i64 * 48;
    assert!((i64::from(clock.rtp_timestamp) - expected).abs() <= 48, "{} {expected}", clock.rtp_timestamp);
    assert_eq!(clock.ntp.0 >> 32, 3_900_000_000 + since.as_secs());
}

#[test]
fn every_sent_packet_has_a_result() {
    let mut world = sdk(13, ROUGH);
    world.call(3);
    let mut received = BTreeSet::new();
    while let Some(result) = world.send.poll_result() {
        if result.received_at.is_some() {
            assert!(received.insert(result.number));
        }
    }
    // Feedback is lost too, but what one loses the next one does not repeat.
    let sent = world.recv.stats().packets;
    assert!(received.len() as u64 > sent * 8 / 10, "{} of {sent}", received.len());
}

#[test]
fn requests_for_keyframes_are_throttled_and_fall_away_when_one_comes() {
    let mut world = sdk(15, Link::CLEAN);
    (0..PER_FRAME).for_each(|part| world.send.push(world.now, &video(0, part, true)));
    assert!(!world.recv.request_keyframe(world.now, VIDEO, EncodingId(0)));
    world.run(world.now + ms(100), &Everything);
    for _ in 0..10 {
        assert!(world.recv.request_keyframe(world.now, VIDEO, EncodingId(0)));
        world.run(world.now + ms(10), &Everything);
    }
    let requested = SendLegEvent::KeyframeRequested { track: VIDEO, encoding: EncodingId(0) };
    let count = |world: &World| world.events.iter().filter(|event| **event == requested).count();
    assert_eq!(count(&world), 1);
    (0..PER_FRAME).for_each(|part| world.send.push(world.now, &video(1, part, true)));
    world.run(world.now + ms(1_000), &Everything);
    assert_eq!(count(&world), 1);
    world.recv.request_keyframe(world.now, VIDEO, EncodingId(0));
    world.run(world.now + ms(100), &Everything);
    assert_eq!(count(&world), 2);
}

#[test]
fn a_full_pacer_drops_video_until_the_next_keyframe() {
    let mut world = sdk(17, Link::CLEAN);
    world.send.set_rate(DataRate::kbps(100));
    for frame in 0..10 {
        (0..PER_FRAME).for_each(|part| world.send.push(world.now, &video(frame, part, frame == 0)));
    }
    world.flush();
    assert!(world.events.contains(&SendLegEvent::Overflow { track: VIDEO, encoding: EncodingId(0) }));
    assert!(world.events.contains(&SendLegEvent::KeyframeRequested { track: VIDEO, encoding: EncodingId(0) }));
    world.send.set_rate(DataRate::kbps(8_000));
    (0..PER_FRAME).for_each(|part| world.send.push(world.now, &video(10, part, false)));
    (0..PER_FRAME).for_each(|part| world.send.push(world.now, &video(11, part, true)));
    world.run(world.now + ms(2_000), &Everything);
    let frames: BTreeSet<u32> = world.video_packets().iter().map(|packet| packet.origin.frame).collect();
    assert!(!frames.contains(&10) && frames.contains(&11));
    assert!(world.recv.stats().streams[0].nack.missing == 0, "what the pacer drops leaves no hole");
}

#[test]
fn a_picture_that_takes_longer_than_the_next_one_waits_is_seen() {
    let mut world = sdk(18, Link::CLEAN);
    // Five packets take 2.5 s and more, and one comes every second.
    world.send.set_rate(DataRate::kbps(15));
    for frame in 0..16 {
        let keyframe = frame == 0 || world.events.iter().any(|event| matches!(event, SendLegEvent::KeyframeRequested { .. }));
        world.events.clear();
        (0..PER_FRAME).for_each(|part| world.send.push(world.now, &video(frame, part, keyframe)));
        world.run(world.now + ms(1_000), &Everything);
    }
    let mut parts = BTreeMap::<u32, u32>::new();
    world.video_packets().iter().for_each(|packet| *parts.entry(packet.origin.frame).or_default() += 1);
    let whole = parts.values().filter(|parts| **parts == PER_FRAME).count();
    assert!(parts.contains_key(&0) && whole >= 3 && whole + 1 >= parts.len(), "{parts:?}");
}

#[test]
fn a_source_that_comes_back_goes_on_with_its_numbers() {
    let mut world = sdk(19, Link::CLEAN);
    world.send.push(world.now, &audio(0));
    let first = world.send.poll_transmit(world.now).unwrap().header.sequence;
    world.send.remove_stream(AUDIO);
    assert!(matches!(world.send.poll_rtcp(world.now).unwrap().last(), Some(RtcpPacket::Bye(_) | RtcpPacket::Sdes(_))));
    world.send.push(world.now, &audio(1));
    assert_eq!(world.send.poll_transmit(world.now), None);
    assert_eq!(world.send.stats().unrouted, 1);
    world.send.add_stream(audio_stream(None)).unwrap();
    world.send.push(world.now, &audio(2));
    assert_eq!(world.send.poll_transmit(world.now).unwrap().header.sequence.0, first.0.wrapping_add(1));
    assert_eq!(world.send.add_stream(audio_stream(None)), Err(AddStreamError::SsrcInUse));
}

#[test]
fn invented_sources_are_bounded_and_counted() {
    let mut world = sdk(21, Link::CLEAN);
    let stamped = |ssrc: u32, source: u16| {
        let mut packet = video(1, 0, false);
        packet.origin.source = TrackId(source);
        let extensions = crate::packet::Extensions { origin: Some(packet.origin), ..Default::default() };
        let sequence = segue_model::SeqNo(ssrc as u16);
        let header =
            crate::packet::RtpHeader { marker: false, payload_type: 102, sequence, timestamp: 0, ssrc: Ssrc(ssrc), extensions };
        RtpPacket { header, payload: packet.payload, padding: 0 }
    };
    for ssrc in 0..2_000 {
        world.recv.handle_rtp(world.now, stamped(ssrc, ssrc as u16));
    }
    assert_eq!(world.recv.stats().streams.len(), MAX_STREAMS);
    assert_eq!(world.recv.stats().violations, BTreeMap::from([(Violation::TooManyStreams, 2_000 - MAX_STREAMS as u64)]));
    // Idle ones make room.
    assert!(world.recv.handle_rtp(world.now + Duration::from_secs(11), stamped(5_000, 9)).is_some());
}
