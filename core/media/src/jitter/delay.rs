//! How late packets come, and the playout point that follows from it.
//!
//! The offset of a packet is its arrival less its media time. The smallest offset of the last seconds is the baseline, what
//! the quickest packet needs; a quantile of the others above it is the spread. The playout point is an offset too: a frame of
//! media time `t` is due at `t + point`. When the baseline moves (clock drift, another path) the point does not jump with it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_model::MediaTime;

/// Least delay above the baseline: one audio frame, for the phase between arrival and pull.
pub const MIN_TARGET: Duration = Duration::from_millis(20);

/// Most delay above the baseline: later than this a talk is no talk any more, and what comes later counts as lost.
pub const MAX_TARGET: Duration = Duration::from_millis(800);

/// Delay before anything is known.
const INITIAL_TARGET_US: i64 = 40_000;

/// Added to the spread, for what the quantile leaves out.
const MARGIN_US: i64 = 10_000;

/// Offsets are remembered so long: long enough for a quantile of 98 %, short enough to follow a path change.
const WINDOW: Duration = Duration::from_secs(10);

/// Offsets remembered at most: ten seconds of 60 frames per second.
const MAX_OFFSETS: usize = 600;

/// The quantile is taken afresh after so many packets, or after [`REFRESH`].
const REFRESH_PACKETS: u32 = 10;
const REFRESH: Duration = Duration::from_millis(200);

/// An offset this far above the baseline, and those that follow it out of the same queue, tell of a stall and not of jitter:
/// no delay that one could talk at would have covered it.
const STALL_US: i64 = 500_000;

/// Second copies (two paths at once) are remembered so long, and count as a path when there are this many of them. A few are
/// retransmissions that turned out unnecessary.
const COPY_WINDOW: Duration = Duration::from_secs(2);
const MIN_COPIES: usize = 20;
const MAX_COPIES: usize = 256;

/// The most the delay is raised so that the slower of two paths is in time: beyond it, path differences cost more than they give.
const MAX_COPY_LAG_US: i64 = 250_000;

/// A raise that was asked for is held so long unless arrivals confirm it.
const RAISE_HOLD: Duration = Duration::from_secs(15);

/// The point moves by at most 10 % of the time that passes, as time-stretched audio can, and down at half of that.
const MAX_RISE_PER_MS_US: i64 = 100;
const MAX_FALL_PER_MS_US: i64 = 50;

/// A point this far above where it should be is left at once: what it was made for (a slow start, a stall) is over.
const MAX_STALE_US: i64 = 400_000;

/// A media time this far from where it should be is a new timeline, not a late packet.
const NEW_TIMELINE_US: i64 = 5_000_000;

/// Watches arrivals of one stream.
#[derive(Debug)]
pub(super) struct PlayoutDelay {
    clock_rate: u32,
    quantile_permille: usize,
    /// Zero of all offsets: the first packet.
    epoch: Option<Instant>,
    offsets: VecDeque<(Instant, i64)>,
    copies: VecDeque<(Instant, i64)>,
    baseline: i64,
    /// Wanted delay above the baseline.
    wanted: i64,
    point: Option<i64>,
    point_moved: Option<Instant>,
    refreshed: Option<Instant>,
    since_refresh: u32,
    /// Until when the playout point must not fall below which point.
    raise: Option<(Instant, i64)>,
    floor: i64,
    last_offset: Option<i64>,
    stalled: bool,
    jitter_us: i64,
}

impl PlayoutDelay {
    /// `quantile_permille` of all packets shall be in time.
    pub(super) fn new(clock_rate: u32, quantile_permille: usize) -> Self {
        Self {
            clock_rate,
            quantile_permille,
            epoch: None,
            offsets: VecDeque::new(),
            copies: VecDeque::new(),
            baseline: 0,
            wanted: INITIAL_TARGET_US,
            point: None,
            point_moved: None,
            refreshed: None,
            since_refresh: 0,
            raise: None,
            floor: 0,
            last_offset: None,
            stalled: false,
            jitter_us: 0,
        }
    }

    /// Takes the arrival of a first copy. True where its time does not continue the timeline so far: the caller begins anew.
    pub(super) fn observe(&mut self, now: Instant, time: MediaTime) -> bool {
        let offset = self.offset(now, time);
        let jumped = self.last_offset.is_some_and(|last| (offset - last).abs() > NEW_TIMELINE_US);
        if jumped {
            self.restart();
        }
        if let Some(last) = self.last_offset {
            // RFC 3550 section 6.4.1.
            self.jitter_us += ((offset - last).abs() - self.jitter_us) / 16;
        }
        let draining =
            self.stalled && self.last_offset.is_some_and(|last| offset < last) && offset > self.baseline + self.wanted;
        self.stalled = self.point.is_some() && (draining || offset - self.baseline > STALL_US);
        self.last_offset = Some(offset);
        if !self.stalled || self.offsets.is_empty() {
            if self.offsets.len() >= MAX_OFFSETS {
                self.offsets.pop_front();
            }
            self.offsets.push_back((now, offset));
            self.since_refresh += 1;
        }
        if self.point.is_none() {
            self.baseline = offset;
            self.point = Some(self.goal());
            self.point_moved = Some(now);
            self.refreshed = Some(now);
        }
        // A baseline that sinks takes effect at once; one that rises waits until the window has moved on.
        self.baseline = self.baseline.min(offset);
        self.refresh(now);
        jumped
    }

    /// Takes the arrival of a later copy: how much slower the other path is. The delay is raised to it, so that nothing is
    /// late when the quicker path ends.
    pub(super) fn observe_copy(&mut self, now: Instant, time: MediaTime) {
        if self.point.is_none() {
            return;
        }
        let offset = self.offset(now, time);
        if self.copies.len() >= MAX_COPIES {
            self.copies.pop_front();
        }
        self.copies.push_back((now, offset));
    }

    /// Raises the delay by `by` before the packets of a slower path come.
    pub(super) fn raise(&mut self, now: Instant, by: Duration) {
        if by.is_zero() {
            return;
        }
        let goal = self.goal() + micros(by);
        self.raise = Some((now + RAISE_HOLD, goal.min(self.baseline + micros(MAX_TARGET))));
    }

    /// The delay does not fall below `floor`: lockstep with another buffer.
    pub(super) fn set_floor(&mut self, floor: Duration) {
        self.floor = micros(floor.min(MAX_TARGET));
    }

    /// Forgets the timeline, keeps what is wanted above the baseline.
    pub(super) fn restart(&mut self) {
        self.offsets.clear();
        self.copies.clear();
        self.point = None;
        self.raise = None;
        self.last_offset = None;
        self.stalled = false;
    }

    /// Moves the playout point towards where it should be.
    pub(super) fn advance(&mut self, now: Instant) {
        self.refresh(now);
        let (Some(point), Some(moved)) = (self.point, self.point_moved) else { return };
        let passed = now.saturating_duration_since(moved).as_millis().min(1_000) as i64;
        if passed == 0 {
            return;
        }
        self.point_moved = Some(now);
        if self.raise.is_some_and(|(until, _)| until <= now) {
            self.raise = None;
        }
        let goal = self.goal();
        self.point = Some(if point - goal > MAX_STALE_US {
            goal
        } else if goal > point {
            goal.min(point + passed * MAX_RISE_PER_MS_US)
        } else {
            goal.max(point - passed * MAX_FALL_PER_MS_US)
        });
    }

    /// When a frame is due.
    pub(super) fn due(&self, time: MediaTime) -> Option<Instant> {
        self.instant(self.point? + self.media_us(time))
    }

    /// How much later than due it is now, for a frame of `time`, in microseconds; negative before.
    pub(super) fn lateness_us(&self, now: Instant, time: MediaTime) -> i64 {
        self.point.map_or(0, |point| self.offset_from(now, time) - point)
    }

    /// Delay above the baseline.
    pub(super) fn target(&self) -> Duration {
        let above = self.point.map_or(self.wanted, |point| point - self.baseline);
        Duration::from_micros(above.max(0) as u64)
    }

    /// By how much the slowest packet of the window came later than the quickest.
    pub(super) fn spread(&self) -> Duration {
        let slowest = self.offsets.iter().map(|(_, offset)| *offset).max().unwrap_or(self.baseline);
        Duration::from_micros((slowest - self.baseline).max(0) as u64)
    }

    pub(super) fn jitter(&self) -> Duration {
        Duration::from_micros(self.jitter_us.max(0) as u64)
    }

    fn refresh(&mut self, now: Instant) {
        let due = self.refreshed.is_none_or(|at| now.saturating_duration_since(at) >= REFRESH);
        if self.offsets.is_empty() || (self.since_refresh < REFRESH_PACKETS && !due) {
            return;
        }
        self.refreshed = Some(now);
        self.since_refresh = 0;
        forget(&mut self.offsets, now, WINDOW);
        forget(&mut self.copies, now, COPY_WINDOW);
        let mut sorted: Vec<i64> = self.offsets.iter().map(|(_, offset)| *offset).collect();
        sorted.sort_unstable();
        let Some(&lowest) = sorted.first() else { return };
        self.baseline = lowest;
        let rank = (sorted.len() * self.quantile_permille / 1_000).min(sorted.len() - 1);
        let spread = sorted.get(rank).map_or(0, |offset| offset - lowest);
        self.wanted = (spread.max(self.copy_lag()) + MARGIN_US).clamp(micros(MIN_TARGET), micros(MAX_TARGET));
    }

    /// By how much the slower of two paths lags behind the baseline; zero where there is one path.
    fn copy_lag(&self) -> i64 {
        if self.copies.len() < MIN_COPIES {
            return 0;
        }
        let mut sorted: Vec<i64> = self.copies.iter().map(|(_, offset)| offset - self.baseline).collect();
        sorted.sort_unstable();
        let lag = sorted.get(sorted.len() * 95 / 100).copied().unwrap_or(0);
        lag.clamp(0, MAX_COPY_LAG_US)
    }

    /// Where the playout point should be.
    fn goal(&self) -> i64 {
        let goal = self.baseline + self.wanted.max(self.floor);
        self.raise.map_or(goal, |(_, raised)| raised.max(goal))
    }

    fn offset(&mut self, now: Instant, time: MediaTime) -> i64 {
        self.epoch.get_or_insert(now);
        self.offset_from(now, time)
    }

    fn offset_from(&self, now: Instant, time: MediaTime) -> i64 {
        let Some(epoch) = self.epoch else { return 0 };
        let arrival = match now.checked_duration_since(epoch) {
            Some(after) => micros(after),
            None => -micros(epoch.saturating_duration_since(now)),
        };
        arrival - self.media_us(time)
    }

    fn media_us(&self, time: MediaTime) -> i64 {
        let rate = u64::from(self.clock_rate);
        ((time.0 / rate) * 1_000_000 + (time.0 % rate) * 1_000_000 / rate) as i64
    }

    fn instant(&self, since_epoch: i64) -> Option<Instant> {
        let distance = Duration::from_micros(since_epoch.unsigned_abs());
        if since_epoch >= 0 { self.epoch?.checked_add(distance) } else { self.epoch?.checked_sub(distance).or(self.epoch) }
    }
}

fn forget(offsets: &mut VecDeque<(Instant, i64)>, now: Instant, window: Duration) {
    while offsets.len() > 1 && offsets.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > window) {
        offsets.pop_front();
    }
}

fn micros(duration: Duration) -> i64 {
    duration.as_micros().min(i64::MAX as u128) as i64
}
