//! How busy a shard is, the share of its time that it does not wait for something to do, and what follows from it.

use std::time::{Duration, Instant};

use crate::select::Shed;

/// What a shard reacts to at once follows its load within so long.
const SHORT: Duration = Duration::from_millis(100);

/// What it decides for longer, within so long.
const LONG: Duration = Duration::from_secs(1);

/// Load from which video is held.
const HOLD_LOAD: f64 = 0.5;

/// How long video is held: runs grow while it waits, and a fan-out of a hundred takes as long anyway.
const HOLD: Duration = Duration::from_micros(1_500);

/// Load from which a shard takes no more people: below it delays grow little, and what is there already needs room for its keyframes.
pub const FULL: f64 = 0.8;

/// Load from which pictures are left out: hardly anything waits for nothing here, and queues grow.
const TOO_MUCH: f64 = 0.9;

/// Load below which they come back: two thirds of what is too much, because they bring back what they cost.
const BEARABLE: f64 = 0.6;

/// How long the load is too much before more is left out: what was left out last must have shown.
const MORE_AFTER: Duration = Duration::from_secs(1);

/// And how long it is bearable before less is.
const LESS_AFTER: Duration = Duration::from_secs(5);

/// What a shard leaves out.
#[derive(Debug, Default)]
pub struct Overload {
    shed: Shed,
    changed_at: Option<Instant>,
}

impl Overload {
    /// Looks at the load; what is left out from now on, where that changes.
    pub fn judge(&mut self, now: Instant, load: f64) -> Option<Shed> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let waited = |time: Duration| self.changed_at.is_none_or(|at| since(at) >= time);
        let shed = if load > TOO_MUCH && waited(MORE_AFTER) {
            more(self.shed)
        } else if load < BEARABLE && waited(LESS_AFTER) {
            less(self.shed)
        } else {
            self.shed
        };
        (shed != self.shed).then(|| {
            self.changed_at = Some(now);
            self.shed = shed;
            shed
        })
    }

    /// Something is left out.
    #[must_use]
    pub fn is_shedding(&self) -> bool {
        self.shed != Shed::Nothing
    }

    /// What is left out.
    #[must_use]
    pub const fn shed(&self) -> Shed {
        self.shed
    }
}

const fn more(shed: Shed) -> Shed {
    match shed {
        Shed::Nothing => Shed::TemporalLayers,
        Shed::TemporalLayers => Shed::LargeEncodings,
        Shed::LargeEncodings | Shed::Video => Shed::Video,
    }
}

const fn less(shed: Shed) -> Shed {
    match shed {
        Shed::Nothing | Shed::TemporalLayers => Shed::Nothing,
        Shed::LargeEncodings => Shed::TemporalLayers,
        Shed::Video => Shed::LargeEncodings,
    }
}

/// The load of one shard, from 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    short: f64,
    long: f64,
}

impl Load {
    /// The shard was busy, then waited.
    pub fn note(&mut self, busy: Duration, idle: Duration) {
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

    /// How long video may wait for company on its way out; nothing where the shard has time for every packet.
    #[must_use]
    pub fn hold(&self) -> Option<Duration> {
        (self.short >= HOLD_LOAD).then_some(HOLD)
    }

    /// Over the last tenth of a second or so.
    #[must_use]
    pub const fn short(&self) -> f64 {
        self.short
    }

    /// Over the last second or so.
    #[must_use]
    pub const fn long(&self) -> f64 {
        self.long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_go_step_by_step_and_come_back_more_slowly() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut overload = Overload::default();
        assert_eq!(overload.judge(at(0), 0.85), None);
        assert_eq!(overload.judge(at(1), 0.95), Some(Shed::TemporalLayers));
        assert_eq!(overload.judge(at(1), 0.95), None);
        assert_eq!(overload.judge(at(2), 0.95), Some(Shed::LargeEncodings));
        assert_eq!(overload.judge(at(3), 0.95), Some(Shed::Video));
        assert_eq!(overload.judge(at(4), 0.99), None);
        assert!(overload.is_shedding());
        assert_eq!(overload.judge(at(7), 0.1), None);
        assert_eq!(overload.judge(at(8), 0.7), None);
        assert_eq!(overload.judge(at(9), 0.1), Some(Shed::LargeEncodings));
        assert_eq!(overload.judge(at(14), 0.1), Some(Shed::TemporalLayers));
        assert_eq!(overload.judge(at(19), 0.1), Some(Shed::Nothing));
        assert_eq!((overload.judge(at(30), 0.1), overload.is_shedding()), (None, false));
    }

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
