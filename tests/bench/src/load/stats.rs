//! What a measurement sums up.

use serde::Serialize;

/// In milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of them do not exceed it.
    pub p50: f64,
    /// One in a hundred does.
    pub p99: f64,
}

/// Delays in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Delays(Vec<u32>);

impl Delays {
    /// One more.
    pub fn push(&mut self, microseconds: u64) {
        self.0.push(u32::try_from(microseconds).unwrap_or(u32::MAX));
    }

    /// Those of another.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Milliseconds that `share` of them do not exceed.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0.0, |delay| f64::from(*delay) / 1e3)
    }

    /// What lines tell of them; `None` where nothing arrived.
    #[must_use]
    pub fn quantiles(&self) -> Option<Quantiles> {
        (!self.is_empty()).then(|| Quantiles { p50: round(self.quantile(0.5)), p99: round(self.quantile(0.99)) })
    }
}

/// The middle one.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Three decimals.
#[must_use]
pub fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_seen() {
        let mut delays = Delays::default();
        (1..=100).for_each(|delay| delays.push(delay * 1_000));
        assert_eq!((delays.quantile(0.5), delays.quantile(0.99)), (51.0, 100.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(delays.quantiles(), Some(Quantiles { p50: 51.0, p99: 100.0 }));
        assert_eq!(Delays::default().quantiles(), None);
    }
}
