//! Rates over the last second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_model::{DataRate, DataSize};

/// Over how long a rate is taken.
const WINDOW: Duration = Duration::from_secs(1);

/// Parts of the window: a rate is off by one part at most.
const PART: Duration = Duration::from_millis(100);

/// Counts bytes and tells their rate.
#[derive(Default)]
pub(super) struct Meter {
    parts: VecDeque<(Instant, u64)>,
}

impl Meter {
    pub(super) fn add(&mut self, now: Instant, bytes: usize) {
        let bytes = bytes as u64;
        match self.parts.back_mut() {
            Some((start, sum)) if now.saturating_duration_since(*start) < PART => *sum += bytes,
            _ => self.parts.push_back((now, bytes)),
        }
        while self.parts.front().is_some_and(|(start, _)| now.saturating_duration_since(*start) > WINDOW) {
            self.parts.pop_front();
        }
    }

    pub(super) fn rate(&self, now: Instant) -> DataRate {
        let recent = self.parts.iter().filter(|(start, _)| now.saturating_duration_since(*start) <= WINDOW);
        DataSize::bytes(recent.map(|(_, bytes)| bytes).sum()).per(WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_shows_its_rate_and_then_none() {
        let start = crate::clock::now();
        let mut meter = Meter::default();
        for tick in 0..100 {
            meter.add(start + Duration::from_millis(20 * tick), 250);
        }
        let rate = meter.rate(start + Duration::from_millis(1980)).as_kbps();
        assert!((90..=115).contains(&rate), "{rate}");
        assert_eq!(meter.rate(start + Duration::from_secs(10)), DataRate::ZERO);
    }
}
