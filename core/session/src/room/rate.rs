//! A token bucket.

use std::time::Instant;

/// How many seconds of the long-run rate may be spent at once.
const BURST_SECONDS: u64 = 4;

/// Allows a rate in the long run and a burst, of [`BURST_SECONDS`] of it where nothing else is said.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    /// In millionths.
    burst: u64,
    /// In millionths, so that slow rates refill exactly.
    level: u64,
    filled: Instant,
}

const UNIT: u64 = 1_000_000;

impl Bucket {
    pub(super) fn new(now: Instant, per_second: u32) -> Self {
        Self::with_burst(now, per_second, u64::from(per_second.max(1)) * BURST_SECONDS)
    }

    /// At least one at once.
    pub(super) fn with_burst(now: Instant, per_second: u32, burst: u64) -> Self {
        let burst = burst.clamp(1, u64::from(u32::MAX) * BURST_SECONDS) * UNIT;
        Self { per_second: u64::from(per_second.max(1)), burst, level: burst, filled: now }
    }

    /// Takes `amount`; `false`, and nothing taken, where that is more than there is.
    pub(super) fn take(&mut self, now: Instant, amount: u64) -> bool {
        let elapsed = now.saturating_duration_since(self.filled);
        let gained = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).saturating_mul(self.per_second);
        self.filled = now;
        self.level = self.level.saturating_add(gained).min(self.burst);
        let Some(left) = amount.checked_mul(UNIT).and_then(|amount| self.level.checked_sub(amount)) else {
            return false;
        };
        self.level = left;
        true
    }

    /// At least half of the burst is there: whoever takes from it is within the rate.
    pub(super) fn half_full(&self) -> bool {
        self.level >= self.burst / 2
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    #[test]
    fn a_burst_of_its_own_fills_at_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::with_burst(start, 1, 32);
        assert_eq!((0..100).filter(|_| bucket.take(start, 1)).count(), 32);
        assert_eq!((0..100).filter(|_| bucket.take(start + Duration::from_secs(3), 1)).count(), 3);
        assert_eq!((0..100).filter(|_| bucket.take(start + Duration::from_secs(3600), 1)).count(), 32);
    }
}
