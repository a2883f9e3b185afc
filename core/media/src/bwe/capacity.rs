//! What the link bore when it was last full (draft-ietf-rmcat-gcc-02 section 5.5: the average of the delivered rate in overuse).

use segue_model::DataRate;

/// Weight of a new sample.
const WEIGHT: f64 = 0.2;

/// Bounds of the relative deviation: never so sure that a percent is news, never so unsure that everything is near.
const MIN_DEVIATION: f64 = 0.02;
const MAX_DEVIATION: f64 = 0.08;

/// Deviations that count as near.
const NEAR: f64 = 3.0;

/// Estimate and spread of the delivered rate at times of overuse.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capacity {
    pub(super) estimate: Option<(f64, f64)>,
}

impl Capacity {
    /// The link was full at this rate.
    pub(super) fn handle_full(&mut self, rate: DataRate) {
        let rate = rate.as_bps() as f64;
        if rate <= 0.0 {
            return;
        }
        self.estimate = Some(match self.estimate {
            Some((mean, deviation)) if (rate - mean).abs() <= NEAR * deviation.max(MIN_DEVIATION) * mean => {
                let off = (rate - mean).abs() / mean;
                let deviation = (deviation + WEIGHT * (off - deviation)).clamp(MIN_DEVIATION, MAX_DEVIATION);
                (mean + WEIGHT * (rate - mean), deviation)
            }
            _ => (rate, MAX_DEVIATION / 2.0),
        });
    }

    /// Whether `rate` comes close to what the link bore. A rate far above says that the link has changed: the estimate is forgotten.
    pub(super) fn is_near(&mut self, rate: DataRate) -> bool {
        let Some((mean, deviation)) = self.estimate else { return false };
        let rate = rate.as_bps() as f64;
        if rate > mean * (1.0 + NEAR * deviation) {
            self.estimate = None;
            return false;
        }
        rate > mean * (1.0 - 2.0 * NEAR * deviation)
    }

    /// The link is another.
    pub(super) const fn forget(&mut self) {
        self.estimate = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_around_the_last_overuse_are_near_and_higher_ones_forget_it() {
        let mut capacity = Capacity::default();
        assert!(!capacity.is_near(DataRate::kbps(1_000)));
        capacity.handle_full(DataRate::kbps(1_000));
        capacity.handle_full(DataRate::kbps(1_010));
        assert!(capacity.is_near(DataRate::kbps(950)));
        assert!(!capacity.is_near(DataRate::kbps(500)));
        assert!(!capacity.is_near(DataRate::kbps(1_500)));
        assert_eq!(capacity.estimate, None);
    }
}
