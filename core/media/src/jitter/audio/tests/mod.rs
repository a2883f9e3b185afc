use segue_model::LayerId;

use super::*;
use crate::packet::{AudioLevel, Origin, OriginFlags};

const TRACK: TrackId = TrackId(1);

struct Bench {
    buffer: AudioBuffer,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        Self { buffer: AudioBuffer::new(TRACK), start, now: start }
    }

    /// Frame `number` of a source that never pauses, as it comes at `ms`.
    fn push(&mut self, ms: u64, number: u32) {
        self.push_packet(ms, number, number, &[0xf8, number as u8, 1, 2]);
    }

    fn push_packet(&mut self, ms: u64, number: u32, slot: u32, payload: &[u8]) {
        let flags = OriginFlags { first: true, last: true, ..OriginFlags::default() };
        let origin = Origin { source: TRACK, layer: LayerId::default(), flags, packet: number, frame: number, refers_back: 0 };
        let packet = MediaPacket {
            origin,
            kind: TrackKind::Audio,
            timestamp: slot.wrapping_mul(opus::FRAME_SAMPLES),
            marker: false,
            audio_level: Some(AudioLevel { level: 30, voice: true }),
            payload: Bytes::copy_from_slice(payload),
        };
        self.now = self.start + Duration::from_millis(ms);
        self.buffer.push(self.now, packet);
    }

    /// What is played at `ms`, in one word.
    fn pull(&mut self, ms: u64) -> String {
        self.now = self.start + Duration::from_millis(ms);
        match self.buffer.pull(self.now) {
            AudioPull::Frame(frame) => frame.number.to_string(),
            AudioPull::Fec { from } => format!("fec {}", from[1]),
            AudioPull::Conceal => "conceal".into(),
            AudioPull::Silence => "silence".into(),
            AudioPull::Wait => "wait".into(),
        }
    }

    /// Pulls from `from` ms on, every 20 ms.
    fn pulls(&mut self, from: u64, count: u64) -> Vec<String> {
        (0..count).map(|index| self.pull(from + index * 20)).collect()
    }
}

#[test]
fn playing_begins_after_the_target_delay() {
    let mut bench = Bench::new();
    assert_eq!(bench.pull(0), "wait");
    for number in 0..4 {
        bench.push(u64::from(number) * 20, number);
    }
    assert_eq!(bench.pulls(20, 4), ["wait", "0", "1", "2"]);
}

#[test]
fn a_lost_packet_is_recovered_from_the_next() {
    let mut bench = Bench::new();
    bench.push(0, 0);
    bench.push(20, 1);
    assert_eq!(bench.pulls(45, 2), ["0", "1"]);
    bench.push(66, 3);
    bench.push(80, 4);
    assert_eq!(bench.pulls(85, 3), ["fec 3", "3", "4"]);
    let stats = bench.buffer.stats();
    assert_eq!((stats.missed, stats.gaps, stats.corrected), (1, 1, opus::FRAME));
    // Too late: its place has been played.
    bench.push(140, 2);
    assert_eq!(bench.buffer.stats().late, 1);
    assert_eq!(bench.pull(145), "conceal");
}

#[test]
fn a_late_packet_is_waited_for_and_played() {
    let mut bench = Bench::new();
    bench.push(0, 0);
    bench.push(20, 1);
    assert_eq!(bench.pulls(45, 4), ["0", "1", "conceal", "conceal"]);
    bench.push(110, 2);
    bench.push(111, 3);
    assert_eq!(bench.pulls(125, 2), ["2", "3"]);
    let stats = bench.buffer.stats();
    assert_eq!((stats.missed, stats.gaps, stats.longest_gap), (0, 1, opus::FRAME * 2));
}

#[test]
fn what_was_made_up_while_waiting_stands_for_what_was_lost() {
    let mut bench = Bench::new();
    bench.push(0, 0);
    bench.push(20, 1);
    assert_eq!(bench.pulls(45, 4), ["0", "1", "conceal", "conceal"]);
    bench.push(122, 4);
    assert_eq!(bench.pulls(125, 1), ["4"]);
    assert_eq!(bench.buffer.stats().missed, 2);
}

#[test]
fn a_dtx_packet_announces_silence() {
    let mut bench = Bench::new();
    bench.push(0, 0);
    bench.push_packet(20, 1, 1, &[0xf8]);
    assert_eq!(bench.pulls(45, 4), ["0", "1", "silence", "silence"]);
    // 400 ms later, as encoders do.
    bench.push_packet(420, 2, 21, &[0xf8, 9, 9]);
    assert_eq!(bench.pulls(425, 4), ["silence", "2", "conceal", "conceal"]);
    let stats = bench.buffer.stats();
    assert_eq!((stats.missed, stats.gaps), (0, 0));
}

#[test]
fn a_packet_longer_than_a_pull_covers_the_next_pulls() {
    let mut bench = Bench::new();
    // SILK wideband, 60 ms.
    bench.push_packet(0, 0, 0, &[0x58, 1, 2]);
    bench.push_packet(60, 1, 3, &[0x58, 1, 2]);
    assert_eq!(bench.pulls(45, 5), ["0", "wait", "wait", "1", "wait"]);
}

#[test]
fn a_long_pause_begins_anew_without_playing_anything_twice() {
    let mut bench = Bench::new();
    bench.push(0, 0);
    bench.push(20, 1);
    let pulled = bench.pulls(45, 80);
    assert_eq!(pulled.iter().filter(|word| *word == "conceal").count(), MAX_CONCEALED as usize);
    assert_eq!(pulled.iter().filter(|word| *word == "silence").count(), 80 - 2 - MAX_CONCEALED as usize);
    bench.push(3_000, 1);
    bench.push(3_000, 0);
    assert_eq!(bench.buffer.stats().late, 2);
    bench.push(3_000, 150);
    bench.push(3_020, 151);
    assert_eq!(bench.pulls(3_050, 2), ["150", "151"]);
}

#[test]
fn delay_grows_by_at_most_one_frame_in_ten_of_speech() {
    let mut bench = Bench::new();
    bench.push(0, 0);
    let now = bench.now;
    bench.buffer.raise_target(now, Duration::from_millis(100));
    let mut pulled = Vec::new();
    for number in 1..150 {
        bench.push(u64::from(number) * 20, number);
        pulled.push(bench.pull(u64::from(number) * 20 + 5));
    }
    assert_eq!(bench.buffer.stats().missed, 0);
    let added: Vec<usize> = (0..pulled.len()).filter(|at| pulled[*at] == "conceal").collect();
    assert!((4..=6).contains(&added.len()), "{added:?}");
    assert!(added.windows(2).all(|pair| pair[1] - pair[0] >= 10), "{added:?}");
    assert_eq!(bench.buffer.stats().stretched, opus::FRAME * added.len() as u32);
}

#[test]
fn memory_is_bounded_where_nobody_listens() {
    let mut bench = Bench::new();
    for number in 0..10_000 {
        bench.push(u64::from(number) * 20, number);
    }
    assert_eq!(bench.buffer.packets.len(), MAX_PACKETS);
    assert_eq!(bench.pull(200_000), "9997", "it begins at the present");
}
