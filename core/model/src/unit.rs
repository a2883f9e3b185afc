//! Amounts of data and rates.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A rate in bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DataRate(u64);

/// An amount of data in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DataSize(u64);

impl DataRate {
    /// No data at all.
    pub const ZERO: Self = Self(0);

    /// From bits per second.
    #[must_use]
    pub const fn bps(bits_per_second: u64) -> Self {
        Self(bits_per_second)
    }

    /// From kilobits (1000 bits) per second.
    #[must_use]
    pub const fn kbps(kilobits_per_second: u64) -> Self {
        Self(kilobits_per_second * 1000)
    }

    /// In bits per second.
    #[must_use]
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// In whole kilobits per second.
    #[must_use]
    pub const fn as_kbps(self) -> u64 {
        self.0 / 1000
    }

    /// The time `size` takes at this rate; `None` at rate zero.
    #[must_use]
    pub fn time_for(self, size: DataSize) -> Option<Duration> {
        (self.0 > 0).then(|| Duration::from_nanos(size.0.saturating_mul(8_000_000_000) / self.0))
    }

    /// What this rate carries in `time`.
    #[must_use]
    pub fn size_in(self, time: Duration) -> DataSize {
        DataSize((u128::from(self.0) * time.as_nanos() / 8_000_000_000) as u64)
    }
}

impl DataSize {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// The rate that carries this much in `time`; zero for no time.
    #[must_use]
    pub fn per(self, time: Duration) -> DataRate {
        if time.is_zero() {
            return DataRate::ZERO;
        }
        DataRate((u128::from(self.0) * 8_000_000_000 / time.as_nanos()) as u64)
    }
}

impl Add for DataRate {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for DataRate {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<f64> for DataRate {
    type Output = Self;
    fn mul(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor) as u64)
    }
}

impl Div<u64> for DataRate {
    type Output = Self;
    fn div(self, parts: u64) -> Self {
        Self(self.0 / parts.max(1))
    }
}

impl Add for DataSize {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for DataSize {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for DataSize {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for DataRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= 1_000_000 { write!(f, "{:.2} Mbit/s", self.0 as f64 / 1e6) } else { write!(f, "{} kbit/s", self.0 / 1000) }
    }
}

impl fmt::Display for DataSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_time_and_size_agree() {
        let rate = DataRate::kbps(800);
        assert_eq!(rate.time_for(DataSize::bytes(1000)), Some(Duration::from_millis(10)));
        assert_eq!(rate.size_in(Duration::from_millis(10)), DataSize::bytes(1000));
        assert_eq!(DataSize::bytes(1000).per(Duration::from_millis(10)), rate);
        assert_eq!(DataRate::ZERO.time_for(DataSize::bytes(1)), None);
    }
}
