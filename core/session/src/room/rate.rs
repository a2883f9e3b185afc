//! A token bucket.

use std::time::{Duration, Instant};

/// How many seconds of the long-run rate may be spent at once.
const BURST_SECONDS: u64 = 4;

/// Allows a rate in the long run and a burst of [`BURST_SECONDS`] of it.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    /// In millionths, so that slow rates refill exactly.
    level: u64,
    filled: Instant,
}

const UNIT: u64 = 1_000_000;

impl Bucket {
    pub(super) fn new(now: Instant, per_second: u32) -> Self {
        let per_second = u64::from(per_second.max(1));
        Self { per_second, level: per_second * BURST_SECONDS * UNIT, filled: now }
    }

    /// Takes `amount`; `false`, and nothing taken, where that is more than there is.
    pub(super) fn take(&mut self, now: Instant, amount: u64) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).min(Duration::from_secs(BURST_SECONDS));
        let gained = u64::try_from(elapsed.as_micros()).unwrap_or(0) * self.per_second;
        self.filled = now;
        self.level = (self.level + gained).min(self.per_second * BURST_SECONDS * UNIT);
        let Some(left) = amount.checked_mul(UNIT).and_then(|amount| self.level.checked_sub(amount)) else {
            return false;
        };
        self.level = left;
        true
    }

    /// At least half of the burst is there: whoever takes from it is within the rate.
    pub(super) fn half_full(&self) -> bool {
        self.level >= self.per_second * BURST_SECONDS * UNIT / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 10);
        assert_eq!((0..100).filter(|_| bucket.take(start, 1)).count(), 40);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..100).filter(|_| bucket.take(later, 1)).count(), 5);
        assert!(!bucket.take(later, u64::MAX));
    }
}
