//! Virtual time: a base that is taken once, and each machine's own clock, which may run fast or slow.

use std::time::{Duration, Instant};

/// An instant to count from. What the clock says is never seen again: only distances from it are.
#[must_use]
pub fn base() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "there is no other way to make an Instant; only offsets from it are used")]
    let now = Instant::now();
    // Far enough from the beginning of the system's clock that nobody subtracts below it.
    now + Duration::from_secs(3_600)
}

/// A clock that differs from virtual time by a constant factor.
#[derive(Clone, Copy, Debug)]
pub struct LocalClock {
    base: Instant,
    /// Parts per million; positive runs fast.
    skew_ppm: i64,
}

impl LocalClock {
    /// Agrees with virtual time at `base`.
    #[must_use]
    pub const fn new(base: Instant, skew_ppm: i64) -> Self {
        Self { base, skew_ppm }
    }

    /// What this clock shows at a virtual time.
    #[must_use]
    pub fn local(&self, time: Instant) -> Instant {
        self.base + scaled(time.saturating_duration_since(self.base), 1_000_000 + self.skew_ppm, 1_000_000)
    }

    /// The first virtual time at which this clock shows at least `local`.
    #[must_use]
    pub fn world(&self, local: Instant) -> Instant {
        let mut time = self.base + scaled(local.saturating_duration_since(self.base), 1_000_000, 1_000_000 + self.skew_ppm);
        while self.local(time) < local {
            time += Duration::from_nanos(1);
        }
        time
    }
}

fn scaled(time: Duration, factor: i64, divisor: i64) -> Duration {
    if factor == divisor {
        return time;
    }
    let nanos = time.as_nanos() as i128 * i128::from(factor) / i128::from(divisor);
    Duration::from_nanos(nanos as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skewed_clock_is_never_woken_too_early() {
        let base = base();
        for skew in [-500, -200, 0, 200, 500] {
            let clock = LocalClock::new(base, skew);
            for nanos in [0, 1, 999, 20_000_001, 3_600_000_000_007] {
                let due = base + Duration::from_nanos(nanos);
                assert!(clock.local(clock.world(due)) >= due);
            }
        }
        let fast = LocalClock::new(base, 200);
        assert_eq!(fast.local(base + Duration::from_secs(100)), base + Duration::from_millis(100_020));
    }
}
