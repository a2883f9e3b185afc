use bytes::Bytes;
use segue_model::LayerId;

use super::*;
use crate::packet::{Origin, OriginFlags};

const TRACK: TrackId = TrackId(2);

struct Bench {
    buffer: VideoBuffer,
    start: Instant,
}

/// One frame of one packet each, named by its number; `back` 0 is a keyframe.
#[derive(Clone, Copy)]
struct Sent {
    encoding: u8,
    temporal: u8,
    frame: u32,
    back: u8,
    packet: u32,
}

const fn frame(frame: u32, back: u8) -> Sent {
    Sent { encoding: 0, temporal: 0, frame, back, packet: frame }
}

impl Bench {
    fn new() -> Self {
        Self { buffer: VideoBuffer::new(TRACK), start: Instant::now() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn packet(sent: Sent, first: bool, last: bool, payload: &'static [u8]) -> MediaPacket {
        let flags = OriginFlags { first, last, keyframe: sent.back == 0, ..OriginFlags::default() };
        let layer = LayerId::new(sent.encoding, sent.temporal);
        let Sent { packet, frame, back: refers_back, .. } = sent;
        MediaPacket {
            origin: Origin { source: TRACK, layer, flags, packet, frame, refers_back },
            kind: TrackKind::Video,
            timestamp: frame.wrapping_mul(3_600),
            marker: last,
            audio_level: None,
            payload: Bytes::from_static(payload),
        }
    }

    fn push(&mut self, ms: u64, sent: Sent) {
        self.buffer.push(self.at(ms), Self::packet(sent, true, true, &[0x41, 7]));
    }

    /// Numbers of the frames that come out at `ms`.
    fn frames(&mut self, ms: u64) -> Vec<u32> {
        let now = self.at(ms);
        std::iter::from_fn(|| self.buffer.poll_frame(now)).map(|frame| frame.number).collect()
    }
}

#[test]
fn frames_come_in_order_when_due() {
    let mut bench = Bench::new();
    bench.push(0, frame(0, 0));
    bench.push(41, frame(1, 1));
    assert_eq!(bench.frames(39), [] as [u32; 0]);
    assert_eq!(bench.frames(41), [0]);
    bench.push(80, frame(3, 1));
    bench.push(85, frame(2, 1));
    assert_eq!(bench.frames(170), [1, 2, 3]);
    assert_eq!(bench.buffer.stats().missed, 0);
}

#[test]
fn a_frame_waits_for_what_it_refers_to() {
    let mut bench = Bench::new();
    bench.push(0, frame(0, 0));
    bench.push(80, frame(2, 1));
    assert_eq!(bench.frames(200), [0]);
    bench.push(210, frame(1, 1));
    assert_eq!(bench.frames(210), [1, 2]);
    assert_eq!(bench.buffer.handle_timeout(bench.at(210)), None);
}

#[test]
fn a_frame_that_nothing_waits_for_is_left_behind() {
    let mut bench = Bench::new();
    bench.push(0, frame(0, 0));
    bench.push(80, frame(2, 2));
    assert_eq!(bench.frames(150), [0, 2]);
    bench.push(151, frame(1, 1));
    assert_eq!(bench.frames(200), [] as [u32; 0]);
    assert_eq!(bench.buffer.stats().late, 1);
}

#[test]
fn a_first_keyframe_that_stays_broken_is_asked_for_again_while_frames_come() {
    let mut bench = Bench::new();
    let tail = Bench::packet(Sent { packet: 1, ..frame(0, 0) }, false, true, &[0x41, 7]);
    bench.buffer.push(bench.start, tail);
    let mut asked = None;
    for number in 1..20 {
        let ms = u64::from(number) * 40;
        bench.push(ms, Sent { packet: number + 1, ..frame(number, 1) });
        if bench.buffer.handle_timeout(bench.at(ms)).is_some() {
            asked.get_or_insert(ms);
        }
    }
    assert_eq!(asked, Some(280));
}

#[test]
fn patience_ends_in_a_keyframe_request_and_again_later() {
    let mut bench = Bench::new();
    bench.push(0, frame(0, 0));
    bench.frames(50);
    bench.push(80, frame(2, 1));
    let at = bench.buffer.poll_timeout().unwrap();
    assert!(at >= bench.at(80) + PATIENCE && at <= bench.at(150) + PATIENCE);
    assert_eq!(bench.buffer.handle_timeout(at - Duration::from_millis(20)), None);
    assert_eq!(bench.buffer.handle_timeout(at), Some(EncodingId(0)));
    assert_eq!(bench.buffer.handle_timeout(at), None);
    bench.push(700, frame(3, 1));
    assert_eq!(bench.buffer.poll_timeout(), Some(at + KEYFRAME_INTERVAL));
    bench.push(800, frame(4, 0));
    assert_eq!(bench.frames(900), [4]);
    assert_eq!(bench.buffer.poll_timeout(), None);
}

#[test]
fn nothing_is_asked_of_a_source_that_stopped() {
    let mut bench = Bench::new();
    bench.push(0, frame(5, 1));
    assert_eq!(bench.buffer.handle_timeout(bench.at(0)), Some(EncodingId(0)));
    bench.push(600, frame(6, 1));
    assert!(bench.buffer.poll_timeout().is_some());
    assert_eq!(bench.buffer.handle_timeout(bench.at(600)), Some(EncodingId(0)));
    assert_eq!(bench.buffer.handle_timeout(bench.at(1_100)), Some(EncodingId(0)));
    assert_eq!(bench.buffer.handle_timeout(bench.at(1_600)), Some(EncodingId(0)));
    assert_eq!(bench.buffer.poll_timeout(), None, "a second after the last packet");
}

#[test]
fn an_unreadable_frame_is_as_good_as_lost() {
    let mut bench = Bench::new();
    bench.push(0, frame(0, 0));
    let broken = Bench::packet(frame(1, 1), true, true, &[0x7c, 0x41]);
    bench.buffer.push(bench.at(40), broken);
    bench.push(80, frame(2, 1));
    assert_eq!(bench.frames(200), [0]);
    assert_eq!(bench.buffer.stats().malformed, 1);
    assert_eq!(bench.buffer.handle_timeout(bench.at(500)), Some(EncodingId(0)));
}

#[test]
fn a_frame_of_several_packets_waits_for_all_in_any_order() {
    let mut bench = Bench::new();
    let sent = |packet| Sent { packet, ..frame(0, 0) };
    bench.buffer.push(bench.at(2), Bench::packet(sent(1), false, true, &[0x41, 2]));
    assert_eq!(bench.frames(100), [] as [u32; 0]);
    bench.buffer.push(bench.at(3), Bench::packet(sent(u32::MAX), true, false, &[0x67, 1]));
    bench.buffer.push(bench.at(4), Bench::packet(sent(0), false, false, &[0x68, 1]));
    let whole = bench.buffer.poll_frame(bench.at(100)).unwrap();
    assert_eq!(&whole.frame.payload[..], [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 1, 0, 0, 0, 1, 0x41, 2]);
}

#[test]
fn a_smaller_encoding_takes_over_only_where_the_larger_stopped() {
    let small = |frame, back| Sent { encoding: 1, temporal: 0, frame, back, packet: frame };
    let mut bench = Bench::new();
    bench.push(0, frame(0, 0));
    bench.push(40, frame(1, 1));
    bench.push(40, small(1, 0));
    assert_eq!(bench.frames(100), [0, 1]);
    bench.push(120, small(3, 0));
    assert_eq!(bench.frames(200), [3]);
    assert_eq!(bench.buffer.stats().switches, 1);
    // And back at its keyframe, whatever the smaller one does.
    bench.push(200, small(5, 2));
    bench.push(200, frame(5, 0));
    assert_eq!(bench.frames(300), [5]);
    assert_eq!(bench.buffer.stats().switches, 2);
}

#[test]
fn an_encoding_that_stops_without_a_keyframe_of_the_other_needs_one() {
    let mut bench = Bench::new();
    bench.push(0, frame(0, 0));
    assert_eq!(bench.frames(60), [0]);
    for number in 1..12 {
        bench.push(u64::from(number) * 40, Sent { encoding: 1, ..frame(number, 1) });
    }
    assert_eq!(bench.buffer.handle_timeout(bench.at(440)), Some(EncodingId(1)));
}

#[test]
fn memory_is_bounded_without_a_keyframe() {
    let mut bench = Bench::new();
    for number in 0..5_000 {
        bench.push(u64::from(number) * 40, frame(number, 1));
    }
    let held: usize = bench.buffer.encodings.values().map(|encoding| encoding.frames.len()).sum();
    assert_eq!((held, bench.buffer.bytes), (MAX_FRAMES, MAX_FRAMES * 2));
}

#[test]
fn a_clock_that_begins_anew_is_followed() {
    let mut bench = Bench::new();
    bench.push(0, frame(1_000_000, 0));
    assert_eq!(bench.frames(60), [1_000_000]);
    bench.push(100, Sent { packet: 5, ..frame(999_000, 0) });
    assert_eq!(bench.frames(200), [999_000]);
}
