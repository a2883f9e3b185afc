//! The processor time of a thread, and the comparison of two ways of doing the same.

use std::time::Duration;

/// What the calling thread has used so far, user and system time.
///
/// # Errors
/// Where the system does not tell.
pub fn thread_cpu() -> Result<Duration, String> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to the value it is given and to nothing else.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    if failed {
        return Err("the system does not tell the processor time of a thread: this bench needs Linux".to_owned());
    }
    Ok(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32))
}

/// Costs of two ways of doing the same, measured in turns: what disturbs one disturbs its neighbour.
#[derive(Debug, Default)]
pub struct Ratio {
    pairs: Vec<(f64, f64)>,
}

impl Ratio {
    /// One slice of each.
    pub fn push(&mut self, ours: f64, floor: f64) {
        self.pairs.push((ours, floor));
    }

    /// Median cost of the first.
    pub fn ours(&self) -> f64 {
        median(self.pairs.iter().map(|pair| pair.0))
    }

    /// Median cost of the second.
    pub fn floor(&self) -> f64 {
        median(self.pairs.iter().map(|pair| pair.1))
    }

    /// Median of the ratios of neighbours.
    pub fn median(&self) -> f64 {
        median(self.ratios())
    }

    /// The smallest of them.
    pub fn min(&self) -> f64 {
        self.ratios().fold(f64::INFINITY, f64::min)
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.ratios().fold(0.0, f64::max)
    }

    fn ratios(&self) -> impl Iterator<Item = f64> + '_ {
        self.pairs.iter().map(|(ours, floor)| ours / floor)
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_disturbed_slice_does_not_count() {
        let mut ratio = Ratio::default();
        for (ours, floor) in [(130.0, 100.0), (900.0, 100.0), (140.0, 100.0)] {
            ratio.push(ours, floor);
        }
        assert_eq!((ratio.ours(), ratio.floor(), ratio.median()), (140.0, 100.0, 1.4));
        assert_eq!((ratio.min(), ratio.max()), (1.3, 9.0));
    }
}
