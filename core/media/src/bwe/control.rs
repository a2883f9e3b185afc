//! Raises and lowers the rate (draft-ietf-rmcat-gcc-02 section 5.5, with the differences [`super`] lists).

use std::time::{Duration, Instant};

use segue_model::DataRate;

use super::capacity::Capacity;
use super::loss::LossVerdict;
use super::prober::Outcome;
use super::sense::Signals;
use super::trend::Usage;

/// In overuse the rate goes to this share of what gets through.
const BACK_OFF: f64 = 0.87;

/// Growth per second while nothing is known of the link.
const GROWTH: f64 = 1.08;

/// Growth per second near what the link bore: the same for every flow, so that flows that share a link end up equal; at low
/// rates no more than the other kind.
const STEP: DataRate = DataRate::kbps(40);

/// The rate is never raised above what gets through by more than this.
const AHEAD: f64 = 1.5;
const AHEAD_MARGIN: DataRate = DataRate::kbps(20);

/// Longest time growth is counted for at once: after a silence nothing is known.
const MAX_ELAPSED: Duration = Duration::from_millis(200);

/// A growing delay below this wait is no queue yet.
const MIN_QUEUE: Duration = Duration::from_millis(8);

/// Nor is one below so many times what delays differ anyway.
const MIN_JITTERS: u32 = 3;

/// Wireless links hold packets back by tens of milliseconds and let none overtake another: even the least delay of some time is far from the
/// least there is. Where delays differ by more than a queue of our own makes them, a wait below so many times the rest is no queue, up to a bound.
const OWN_JITTER: Duration = Duration::from_millis(4);
const HELD_BACK: u32 = 10;
const MAX_HELD_BACK: Duration = Duration::from_millis(100);

/// From this wait the rate is not raised, and from the next less is sent until it is gone.
const HOLD_QUEUE: Duration = Duration::from_millis(20);
const DRAIN_QUEUE: Duration = Duration::from_millis(30);

/// A queue of `DRAIN_QUEUE` and this halves what is sent, and so on in proportion down to the least share.
const DRAIN_SPAN: Duration = Duration::from_millis(240);
const MIN_DRAIN: f64 = 0.3;

/// A queue that stands for so long although less is sent means that the rate is too high, whatever the trend says.
const STANDING: Duration = Duration::from_millis(600);

/// Between two decreases lies the time until the first can be seen, and this.
const SETTLE: Duration = Duration::from_millis(60);

/// Unless what gets through has fallen below this share of the rate meanwhile.
const COLLAPSE: f64 = 0.7;

/// A fall by this share is a drop: the rate before it is remembered to come back to.
const DROP: f64 = 0.7;

/// And for so long.
const REMEMBER: Duration = Duration::from_secs(30);

/// With nothing heard the rate is lowered by this every `SILENCE_STEP`.
const SILENCE_BACK_OFF: f64 = 0.7;

/// An experiment on losses sends this share, for so long, and not again before the interval has passed.
const DIP: f64 = 0.78;
const DIP_LENGTH: Duration = Duration::from_millis(700);
const DIP_INTERVAL: Duration = Duration::from_secs(12);

/// What a link that loses packets when full is sent.
const BELOW_FULL: f64 = 0.95;

/// Bounds of the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) least: DataRate,
    pub(super) most: DataRate,
}

/// The controller of one path.
#[derive(Clone, Debug)]
pub(super) struct Control {
    bounds: Bounds,
    target: DataRate,
    drain: f64,
    capacity: Capacity,
    updated_at: Option<Instant>,
    decreased_at: Option<Instant>,
    standing_since: Option<Instant>,
    before: Option<(DataRate, Instant)>,
    dip_until: Option<Instant>,
    dipped_at: Option<Instant>,
}

impl Control {
    pub(super) const fn new(rate: DataRate, bounds: Bounds) -> Self {
        Self {
            bounds,
            target: rate,
            drain: 1.0,
            capacity: Capacity { estimate: None },
            updated_at: None,
            decreased_at: None,
            standing_since: None,
            before: None,
            dip_until: None,
            dipped_at: None,
        }
    }

    /// What may be sent now: the target, or less while a queue drains or an experiment runs.
    pub(super) fn rate(&self) -> DataRate {
        let dip = if self.dip_until.is_some() { DIP } else { 1.0 };
        (self.target * (self.drain * dip)).max(self.bounds.least)
    }

    /// What the path is thought to bear.
    pub(super) const fn target(&self) -> DataRate {
        self.target
    }

    pub(super) const fn decreased_at(&self) -> Option<Instant> {
        self.decreased_at
    }

    /// The rate before a drop that has not been reached again.
    pub(super) fn before(&self) -> Option<DataRate> {
        self.before.map(|(rate, _)| rate)
    }

    pub(super) fn set_target(&mut self, rate: DataRate) {
        self.target = rate.max(self.bounds.least).min(self.bounds.most);
    }

    /// Takes what is known now. `limited`: media does not fill the rate.
    pub(super) fn handle_signals(&mut self, now: Instant, signals: &Signals, limited: bool) {
        let elapsed = self.updated_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)).min(MAX_ELAPSED);
        self.updated_at = Some(now);
        self.dip_until = self.dip_until.filter(|until| *until > now);
        self.before =
            self.before.filter(|(rate, at)| *rate * 0.9 > self.target && now.saturating_duration_since(*at) < REMEMBER);
        let waits = Waits::of(signals);
        self.drain = drain_share(signals.queue, waits.drain);
        let standing = self.handle_standing(now, signals.queue >= waits.drain);
        // What arrives of media that do not fill the rate says nothing of what the link bears: to lower the rate to it takes a queue.
        let least = if limited { waits.drain } else { waits.least };
        let growing = signals.usage == Usage::Over && signals.queue >= least;
        if growing || standing {
            self.back_off(now, signals);
        } else if signals.usage == Usage::Normal && signals.queue < waits.hold && !limited && self.dip_until.is_none() {
            self.grow(elapsed, signals);
        }
        if let Some(verdict) = signals.verdict {
            self.handle_verdict(now, verdict);
        }
    }

    fn handle_standing(&mut self, now: Instant, stands: bool) -> bool {
        if !stands {
            self.standing_since = None;
            return false;
        }
        let since = *self.standing_since.get_or_insert(now);
        now.saturating_duration_since(since) > STANDING
    }

    fn back_off(&mut self, now: Instant, signals: &Signals) {
        // What arrived lately is what the link bears if a queue has stood all the while.
        let lately = signals.delivered_lately.filter(|_| signals.queue >= DRAIN_QUEUE);
        let through = [signals.delivered, lately].into_iter().flatten().min().unwrap_or(self.target);
        let settled = self.decreased_at.is_none_or(|at| now.saturating_duration_since(at) > signals.response + SETTLE);
        if !settled && through > self.target * COLLAPSE {
            return;
        }
        self.capacity.handle_full(through);
        self.standing_since = None;
        self.decrease(now, through * BACK_OFF);
    }

    fn decrease(&mut self, now: Instant, to: DataRate) {
        if to >= self.target {
            return;
        }
        let from = self.before.map_or(self.target, |(rate, _)| rate.max(self.target));
        if to < from * DROP {
            self.before = Some((from, now));
        }
        self.decreased_at = Some(now);
        self.set_target(to);
    }

    fn grow(&mut self, elapsed: Duration, signals: &Signals) {
        let seconds = elapsed.as_secs_f64();
        let free = self.target * GROWTH.powf(seconds);
        let grown = if self.capacity.is_near(self.target) { free.min(self.target + STEP * seconds) } else { free };
        let ahead = signals.delivered.map_or(self.target, |delivered| delivered * AHEAD + AHEAD_MARGIN);
        let grown = grown.min(ahead);
        if grown > self.target {
            self.set_target(grown);
        }
    }

    fn handle_verdict(&mut self, now: Instant, verdict: LossVerdict) {
        match verdict {
            LossVerdict::Inherent => {}
            LossVerdict::Full(bandwidth) => {
                if bandwidth < self.target {
                    self.capacity.handle_full(bandwidth);
                    self.decrease(now, bandwidth * BELOW_FULL);
                }
            }
            LossVerdict::Unclear => {
                if self.dipped_at.is_none_or(|at| now.saturating_duration_since(at) > DIP_INTERVAL) {
                    self.dipped_at = Some(now);
                    self.dip_until = Some(now + DIP_LENGTH);
                }
            }
        }
    }

    /// Takes the result of a probe.
    pub(super) fn handle_probe(&mut self, outcome: Outcome) {
        let rate = if outcome.full { outcome.rate * BELOW_FULL } else { outcome.rate };
        if rate <= self.target {
            if outcome.full {
                // There is no more than this: what was before is gone.
                self.before = None;
            }
            return;
        }
        self.capacity.forget();
        if outcome.full {
            self.capacity.handle_full(outcome.rate);
            self.before = None;
        }
        self.set_target(rate);
    }

    /// Nothing was heard of what was sent.
    pub(super) fn handle_silence(&mut self, now: Instant) {
        self.drain = 1.0;
        self.decrease(now, self.target * SILENCE_BACK_OFF);
        // What comes after an outage is not a queue of our making: probes need not wait for one to drain.
        self.decreased_at = None;
    }
}

/// Which waits mean something on a path.
struct Waits {
    /// What a growing delay has to have reached.
    least: Duration,
    /// What keeps the rate from rising.
    hold: Duration,
    /// What has to drain.
    drain: Duration,
}

impl Waits {
    fn of(signals: &Signals) -> Self {
        let held_back = (signals.jitter.saturating_sub(OWN_JITTER) * HELD_BACK).min(MAX_HELD_BACK);
        let least = MIN_QUEUE.max(signals.jitter * MIN_JITTERS).min(DRAIN_QUEUE);
        Self { least: least.max(held_back), hold: HOLD_QUEUE.max(held_back), drain: DRAIN_QUEUE.max(held_back) }
    }
}

/// Share of the target that is sent while a queue stands, `from` which wait on there is one.
fn drain_share(queue: Duration, from: Duration) -> f64 {
    let above = queue.saturating_sub(from).as_secs_f64() / DRAIN_SPAN.as_secs_f64();
    (1.0 - above / 2.0).clamp(MIN_DRAIN, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_wireless_link_holds_back_is_no_queue_of_ours() {
        let bounds = Bounds { least: DataRate::kbps(50), most: DataRate::kbps(5_000) };
        let after = |jitter| {
            let mut control = Control::new(DataRate::kbps(1_000), bounds);
            let signals = Signals {
                usage: Usage::Over,
                queue: Duration::from_millis(60),
                jitter: Duration::from_millis(jitter),
                delivered: Some(DataRate::kbps(200)),
                ..Signals::default()
            };
            control.handle_signals(Instant::now(), &signals, true);
            control.rate()
        };
        assert_eq!(after(13), DataRate::kbps(1_000));
        assert!(after(3) < DataRate::kbps(200));
    }
}
