//! How busy a shard is: the share of its time that it does not wait for something to do.

use std::time::Duration;

/// What a shard reacts to at once follows its load within so long.
const SHORT: Duration = Duration::from_millis(100);

/// What it decides for longer, within so long.
const LONG: Duration = Duration::from_secs(1);

/// The load of one shard, from 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    short: f64,
    long: f64,
}

impl Load {
    /// The shard was busy, then waited.
    pub(super) fn note(&mut self, busy: Duration, idle: Duration) {
        let whole = (busy + idle).as_secs_f64();
        if whole <= 0.0 {
            return;
        }
        let share = busy.as_secs_f64() / whole;
        // A first-order low-pass over steps of any length.
        let follow = |value: &mut f64, over: Duration| *value += (share - *value) * (whole / (whole + over.as_secs_f64()));
        follow(&mut self.short, SHORT);
        follow(&mut self.long, LONG);
    }

    /// Over the last tenth of a second or so.
    pub(super) const fn short(&self) -> f64 {
        self.short
    }

    /// Over the last second or so.
    pub(super) const fn long(&self) -> f64 {
        self.long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_follows_what_the_shard_does() {
        let mut load = Load::default();
        load.note(Duration::ZERO, Duration::ZERO);
        for _ in 0..1_000 {
            load.note(Duration::from_micros(750), Duration::from_micros(250));
        }
        assert!((load.short() - 0.75).abs() < 0.01, "{}", load.short());
        assert!((0.4..0.6).contains(&load.long()), "{}", load.long());
        load.note(Duration::ZERO, Duration::from_secs(20));
        assert!(load.short() < 0.01 && load.long() < 0.05);
    }
}
