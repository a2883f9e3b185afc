//! Spreads packets over time: audio at once, then retransmissions, then video, at a rate that its tracks share evenly.
//!
//! A leaky bucket. Everything that leaves is paid for; audio leaves whether or not it can be paid, everything else waits
//! until the debt is gone. So audio never waits behind video, and video makes room for it.

mod lanes;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_model::{DataRate, DataSize, TrackId};

use lanes::Lanes;

/// Time the bucket may be ahead: timers of shells are a millisecond coarse, and runs of packets leave in one call.
const BURST: Duration = Duration::from_millis(5);

/// Debt audio can run up: below that rate video stands still anyway, and it shall start again soon after the rate rises.
const MAX_DEBT: Duration = Duration::from_millis(100);

/// Packets waiting per queue: several frames of the largest size.
pub const MAX_PACKETS: usize = 2_048;

/// Longest wait in the queue of video at the present rate for a frame that begins: later than this it is of no use in a call. One that has begun
/// goes to its end, however large: a picture of a slow screen may take longer than this alone.
pub const MAX_WAIT: Duration = Duration::from_millis(1_000);

/// Bytes waiting, where the rate is so low or so high that time does not say enough.
pub const MAX_BYTES: DataSize = DataSize::bytes(2 * 1024 * 1024);

/// A rate that stays as it is set. The seat of the estimator, which knows better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedRate(pub DataRate);

impl FixedRate {
    /// What a leg starts with: above what a call sends, so that nothing is held back but bursts.
    pub const DEFAULT: Self = Self(DataRate::kbps(12_000));
}

impl Default for FixedRate {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Which queue, in the order they are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacerQueue {
    /// Leaves at once.
    Audio,
    /// Retransmissions: somebody waits for them already.
    Repair,
    /// Video.
    Video,
}

/// A packet was not taken because its queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pacer's queue is full")]
pub struct PacerFull;

/// Packets of one leg that wait to be sent.
#[derive(Debug)]
pub struct Pacer<T> {
    rate: FixedRate,
    audio: VecDeque<Waiting<T>>,
    repair: VecDeque<Waiting<T>>,
    video: Lanes<T>,
    /// Payable bytes in the queues of repair and video.
    waiting: DataSize,
    /// All that left is paid for at this time.
    paid: Option<Instant>,
    probe: Option<Probe>,
}

/// A run at a rate of its own.
#[derive(Clone, Copy, Debug)]
struct Probe {
    rate: DataRate,
    left: DataSize,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    size: DataSize,
    since: Instant,
}

impl<T> Pacer<T> {
    /// Empty, at `rate`.
    #[must_use]
    pub const fn new(rate: FixedRate) -> Self {
        Self {
            rate,
            audio: VecDeque::new(),
            repair: VecDeque::new(),
            video: Lanes::new(),
            waiting: DataSize::ZERO,
            paid: None,
            probe: None,
        }
    }

    /// Sends the next `size` bytes at `rate`, beginning now. What does not wait in the queues is to be made up by the caller: see
    /// [`Pacer::padding_due`].
    pub fn start_probe(&mut self, now: Instant, rate: DataRate, size: DataSize) {
        self.paid = Some(now);
        self.probe = Some(Probe { rate, left: size });
    }

    /// Gives up a probe.
    pub const fn end_probe(&mut self) {
        self.probe = None;
    }

    /// Whether what leaves next is part of a probe.
    #[must_use]
    pub const fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether a probe wants a packet now and none waits.
    #[must_use]
    pub fn padding_due(&self, now: Instant) -> bool {
        let none = self.audio.is_empty() && self.repair.is_empty() && self.video.is_empty();
        none && self.is_probing() && self.paid.is_none_or(|paid| paid <= now)
    }

    /// Notes that a packet left that did not wait here.
    pub fn handle_padding(&mut self, now: Instant, size: DataSize) {
        self.pay(now, size);
    }

    /// What is spent now.
    fn spending(&self) -> DataRate {
        self.probe.map_or(self.rate.0, |probe| probe.rate)
    }

    /// Changes the rate from now on. At rate zero only audio leaves.
    pub const fn set_rate(&mut self, rate: FixedRate) {
        self.rate = rate;
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn waiting(&self) -> DataSize {
        self.waiting
    }

    /// Whether what waits takes longer than [`MAX_WAIT`] at the present rate: nothing new is to begin.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.rate.0.time_for(self.waiting).is_some_and(|wait| wait > MAX_WAIT)
    }

    /// Queues a packet of a track.
    ///
    /// # Errors
    /// [`PacerFull`] where the queue holds all it may; the packet is dropped.
    pub fn push(&mut self, now: Instant, queue: PacerQueue, track: TrackId, size: DataSize, item: T) -> Result<(), PacerFull> {
        let waiting = self.waiting + size;
        let payable = queue != PacerQueue::Audio;
        let len = match queue {
            PacerQueue::Audio => self.audio.len(),
            PacerQueue::Repair => self.repair.len(),
            PacerQueue::Video => self.video.len(),
        };
        if len >= MAX_PACKETS || (payable && waiting > MAX_BYTES) {
            return Err(PacerFull);
        }
        let packet = Waiting { item, size, since: now };
        match queue {
            PacerQueue::Audio => self.audio.push_back(packet),
            PacerQueue::Repair => self.repair.push_back(packet),
            PacerQueue::Video => self.video.push(track, packet),
        }
        if payable {
            self.waiting = waiting;
        }
        Ok(())
    }

    /// Drops the waiting packets of a queue that `keep` does not want.
    pub fn retain(&mut self, queue: PacerQueue, mut keep: impl FnMut(&T) -> bool) {
        let mut dropped = DataSize::ZERO;
        let keep = |waiting: &Waiting<T>| {
            let keep = keep(&waiting.item);
            if !keep {
                dropped += waiting.size;
            }
            keep
        };
        match queue {
            PacerQueue::Audio => self.audio.retain(keep),
            PacerQueue::Repair => self.repair.retain(keep),
            PacerQueue::Video => self.video.retain(keep),
        }
        if queue != PacerQueue::Audio {
            self.waiting = self.waiting - dropped;
        }
    }

    /// The next packet that may leave now.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        if let Some(next) = self.audio.pop_front() {
            self.pay(now, next.size);
            return Some(next.item);
        }
        if self.spending() == DataRate::ZERO || self.paid.is_some_and(|paid| paid > now) {
            return None;
        }
        let next = self.repair.pop_front().or_else(|| self.video.pop_front())?;
        self.waiting = self.waiting - next.size;
        self.pay(now, next.size);
        Some(next.item)
    }

    fn pay(&mut self, now: Instant, size: DataSize) {
        let Some(time) = self.spending().time_for(size) else {
            return;
        };
        self.probe = self.probe.and_then(|probe| (probe.left > size).then(|| Probe { left: probe.left - size, ..probe }));
        // What was not spent is lost but for a burst.
        let idle = now.checked_sub(BURST).unwrap_or(now);
        let from = self.paid.map_or(idle, |paid| paid.max(idle));
        self.paid = Some((from + time).min(now + MAX_DEBT.max(time)));
    }

    /// When the next packet may leave; `None` where none waits, or none but for a higher rate.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if let Some(first) = self.audio.front() {
            return Some(first.since);
        }
        let Some(first) = self.repair.front().or_else(|| self.video.front()) else {
            return self.paid.filter(|_| self.is_probing());
        };
        if self.spending() == DataRate::ZERO {
            return None;
        }
        Some(self.paid.map_or(first.since, |paid| paid.max(first.since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: DataSize = DataSize::bytes(1_000);

    fn at_one_millisecond_a_packet() -> Pacer<&'static str> {
        Pacer::new(FixedRate(DataRate::kbps(8_000)))
    }

    fn drain(pacer: &mut Pacer<&'static str>, now: Instant) -> Vec<&'static str> {
        std::iter::from_fn(|| pacer.pop(now)).collect()
    }

    #[test]
    fn audio_leaves_at_once_then_repair_then_video() {
        let now = Instant::now();
        let mut pacer = at_one_millisecond_a_packet();
        for _ in 0..20 {
            pacer.push(now, PacerQueue::Video, TrackId(1), PACKET, "video").unwrap();
        }
        drain(&mut pacer, now);
        assert_eq!(pacer.pop(now), None);
        pacer.push(now, PacerQueue::Repair, TrackId(1), PACKET, "repair").unwrap();
        pacer.push(now, PacerQueue::Audio, TrackId(1), DataSize::bytes(100), "audio").unwrap();
        assert_eq!(drain(&mut pacer, now), ["audio"]);
        let due = pacer.poll_timeout().unwrap();
        assert!(due > now);
        assert_eq!(drain(&mut pacer, due), ["repair"]);
    }

    #[test]
    fn a_track_does_not_wait_behind_a_large_frame_of_another() {
        let start = Instant::now();
        let mut pacer = at_one_millisecond_a_packet();
        for _ in 0..50 {
            pacer.push(start, PacerQueue::Video, TrackId(1), PACKET, "screen").unwrap();
        }
        let mut now = start;
        let mut left = drain(&mut pacer, now);
        for _ in 0..3 {
            pacer.push(now, PacerQueue::Video, TrackId(2), PACKET, "camera").unwrap();
        }
        while let Some(due) = pacer.poll_timeout() {
            now = now.max(due);
            left.extend(drain(&mut pacer, now));
        }
        let last = left.iter().rposition(|packet| *packet == "camera").unwrap();
        assert!(last < 14, "the camera's last packet left as number {last}");
        assert_eq!((left.len(), pacer.waiting()), (53, DataSize::ZERO));
    }

    #[test]
    fn tracks_that_take_turns_do_not_hold_a_third_one_back() {
        let start = Instant::now();
        let mut pacer = at_one_millisecond_a_packet();
        let push = |pacer: &mut Pacer<_>, now, track: u16, name| {
            pacer.push(now, PacerQueue::Video, TrackId(track), PACKET, name).unwrap();
        };
        (0..3).for_each(|_| push(&mut pacer, start, 3, "third"));
        let (mut now, mut left) = (start, Vec::new());
        for turn in 0..40 {
            // One of the two has a packet whenever the other's has left.
            push(&mut pacer, now, 1 + turn % 2, "turns");
            now = now.max(pacer.poll_timeout().unwrap());
            left.extend(pacer.pop(now));
        }
        assert!(left.iter().rposition(|packet| *packet == "third").unwrap() < 12, "{left:?}");
    }

    #[test]
    fn video_leaves_at_the_rate() {
        let start = Instant::now();
        let mut pacer = at_one_millisecond_a_packet();
        for _ in 0..100 {
            pacer.push(start, PacerQueue::Video, TrackId(1), PACKET, "video").unwrap();
        }
        let (mut now, mut sent) = (start, 0);
        while let Some(due) = pacer.poll_timeout() {
            now = now.max(due);
            sent += drain(&mut pacer, now).len();
        }
        assert_eq!(sent, 100);
        let took = now - start;
        assert!((Duration::from_millis(90)..=Duration::from_millis(100)).contains(&took), "{took:?}");
        assert_eq!(pacer.waiting(), DataSize::ZERO);
    }

    #[test]
    fn a_probe_takes_what_waits_faster_and_then_asks_for_more() {
        let start = Instant::now();
        let mut pacer = Pacer::new(FixedRate(DataRate::kbps(800)));
        pacer.push(start, PacerQueue::Video, TrackId(1), PACKET, "video").unwrap();
        pacer.start_probe(start, DataRate::kbps(8_000), DataSize::bytes(10_000));
        let (mut now, mut sent, mut padded) = (start, 0, 0);
        while pacer.is_probing() {
            now = now.max(pacer.poll_timeout().unwrap());
            sent += drain(&mut pacer, now).len();
            if pacer.padding_due(now) {
                pacer.handle_padding(now, PACKET);
                padded += 1;
            }
        }
        assert_eq!((sent, padded), (1, 9));
        assert!((Duration::from_millis(4)..=Duration::from_millis(10)).contains(&(now - start)), "{:?}", now - start);
        assert_eq!(pacer.poll_timeout(), None);
    }

    #[test]
    fn queues_are_bounded_by_size_and_by_number_and_say_when_they_are_behind() {
        let now = Instant::now();
        let mut pacer = at_one_millisecond_a_packet();
        let push = |pacer: &mut Pacer<_>| pacer.push(now, PacerQueue::Video, TrackId(1), PACKET, "video").is_ok();
        assert!((0..1_000).all(|_| push(&mut pacer) && !pacer.is_behind()));
        assert!(push(&mut pacer) && pacer.is_behind());
        let taken = (0..5_000).filter(|_| push(&mut pacer)).count();
        assert_eq!(taken + 1_001, MAX_PACKETS.min(MAX_BYTES.as_bytes() as usize / PACKET.as_bytes() as usize));
        let taken = (0..5_000).filter(|_| pacer.push(now, PacerQueue::Audio, TrackId(1), PACKET, "audio").is_ok()).count();
        assert_eq!(taken, MAX_PACKETS);
        pacer.retain(PacerQueue::Video, |_| false);
        assert_eq!(pacer.waiting(), DataSize::ZERO);
    }

    #[test]
    fn at_rate_zero_only_audio_leaves() {
        let now = Instant::now();
        let mut pacer = Pacer::new(FixedRate(DataRate::ZERO));
        pacer.push(now, PacerQueue::Video, TrackId(1), PACKET, "video").unwrap();
        pacer.push(now, PacerQueue::Audio, TrackId(1), PACKET, "audio").unwrap();
        assert_eq!(drain(&mut pacer, now), ["audio"]);
        assert_eq!(pacer.poll_timeout(), None);
    }
}
