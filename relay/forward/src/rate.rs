//! What one subscriber's downlink bears.

use std::time::{Duration, Instant};

use segue_model::{DataRate, DataSize};

/// Rate of a subscriber nobody has estimated: a home connection that carries a room of simulcast video.
pub const DEFAULT_DOWNLINK: DataRate = DataRate::kbps(30_000);

/// Most that may leave at once: a keyframe of every tile of a room.
const BURST_TIME: Duration = Duration::from_millis(250);

/// How often media on its way fills the bucket: a small part of what it holds.
const FILL_INTERVAL: Duration = Duration::from_millis(10);

/// A fixed rate where an estimator will stand: a bucket that media always may overdraw and retransmissions may not, so that a
/// storm of requests cannot take the link from the media it is meant to repair.
#[derive(Clone, Debug)]
pub struct FixedRate {
    rate: DataRate,
    /// Bytes that may leave now; below zero: media overdrew it.
    credit: i64,
    filled_at: Option<Instant>,
}

impl Default for FixedRate {
    fn default() -> Self {
        Self::new(DEFAULT_DOWNLINK)
    }
}

impl FixedRate {
    /// A full bucket of `rate`.
    #[must_use]
    pub fn new(rate: DataRate) -> Self {
        Self { rate, credit: Self::burst(rate), filled_at: None }
    }

    /// Sets the rate, as an estimator would.
    pub fn set_rate(&mut self, rate: DataRate) {
        self.rate = rate;
    }

    /// The rate.
    #[must_use]
    pub const fn rate(&self) -> DataRate {
        self.rate
    }

    /// Notes that media of this size leaves.
    pub(crate) fn spend(&mut self, now: Instant, size: usize) {
        // Not for every packet: credit is only looked at for retransmissions, which fill it to the moment.
        if self.filled_at.is_none_or(|at| now.saturating_duration_since(at) >= FILL_INTERVAL) {
            self.fill(now);
        }
        let floor = -Self::burst(self.rate);
        self.credit = (self.credit - i64::try_from(size).unwrap_or(i64::MAX)).max(floor);
    }

    /// Whether a retransmission of this size may leave; it is spent if so.
    pub(crate) fn allows(&mut self, now: Instant, size: usize) -> bool {
        self.fill(now);
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        if self.credit < size {
            return false;
        }
        self.credit -= size;
        true
    }

    fn fill(&mut self, now: Instant) {
        let since = self.filled_at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let gained = self.rate.size_in(since.min(BURST_TIME * 2)).as_bytes();
        self.credit = self.credit.saturating_add(i64::try_from(gained).unwrap_or(i64::MAX)).min(Self::burst(self.rate));
    }

    fn burst(rate: DataRate) -> i64 {
        i64::try_from(DataSize::as_bytes(rate.size_in(BURST_TIME))).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retransmissions_wait_for_credit_and_media_does_not() {
        let start = Instant::now();
        let mut rate = FixedRate::new(DataRate::kbps(80));
        assert!(rate.allows(start, 2500));
        assert!(!rate.allows(start, 1));
        rate.spend(start, 1000);
        assert!(!rate.allows(start + Duration::from_millis(100), 1));
        assert!(rate.allows(start + Duration::from_millis(200), 1000));
    }
}
