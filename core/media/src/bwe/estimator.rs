//! The estimator of one leg.

use std::time::{Duration, Instant};

use segue_model::{DataRate, DataSize};

use crate::feedback::PacketResult;

use super::control::{Bounds, Control};
use super::prober::{Outcome, ProbeCluster, ProbePath, ProbeView, Prober};
use super::sense::{Sense, Signals};

/// Media that sends less than this share of the rate does not fill it.
const LIMITED: f64 = 0.7;

/// Share of losses up to which probes are corrected for what is lost anyway.
const MAX_INHERENT: f64 = 0.3;

/// Nothing heard for this and twice the usual time: the rate goes down, again every such time.
const SILENCE: Duration = Duration::from_millis(400);

/// What an estimator begins with and stays within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EstimatorConfig {
    /// To begin with.
    pub start: DataRate,
    /// Never below: voice and the base of a small picture.
    pub least: DataRate,
    /// Never above.
    pub most: DataRate,
}

impl Default for EstimatorConfig {
    fn default() -> Self {
        Self { start: DataRate::kbps(300), least: DataRate::kbps(50), most: DataRate::kbps(50_000) }
    }
}

/// What an estimator thinks, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EstimatorStats {
    /// What may be sent now.
    pub rate: DataRate,
    /// What the path is thought to bear: more than the rate while a queue drains.
    pub target: DataRate,
    /// Wait in the path's queue.
    pub queue: Duration,
    /// Share of packets lost, 0 to 1, over some seconds.
    pub loss: f64,
    /// What arrives.
    pub delivered: DataRate,
    /// Media does not fill the rate.
    pub limited: bool,
}

/// Estimates what one leg bears.
#[derive(Clone, Debug)]
pub struct Estimator {
    config: EstimatorConfig,
    sense: Sense,
    control: Control,
    prober: Prober,
    signals: Signals,
    ceiling: DataRate,
    /// A share of something common: never more than this.
    grant: Option<DataRate>,
    may_probe: bool,
    outcome: Option<Outcome>,
    limited: bool,
    /// When silence is noticed next.
    silent_at: Option<Instant>,
}

impl Estimator {
    /// Begins at the rate of `config`.
    #[must_use]
    pub fn new(config: EstimatorConfig) -> Self {
        let bounds = Bounds { least: config.least, most: config.most };
        Self {
            config,
            sense: Sense::default(),
            control: Control::new(config.start, bounds),
            prober: Prober::default(),
            signals: Signals::default(),
            ceiling: config.most,
            grant: None,
            may_probe: true,
            outcome: None,
            limited: false,
            silent_at: None,
        }
    }

    /// Warm start: the path is thought to bear `rate`, say from another leg over the same uplink. Probes find out soon.
    pub fn start(&mut self, rate: DataRate) {
        self.control.set_target(rate);
        self.prober.restart();
    }

    /// More than this is of no use now: no probe looks for it.
    pub fn set_ceiling(&mut self, rate: DataRate) {
        self.ceiling = rate.min(self.config.most);
    }

    /// Sends no more than this, whatever the path bears: a share of what several legs have in common.
    pub(super) const fn set_grant(&mut self, grant: Option<DataRate>) {
        self.grant = grant;
    }

    /// Whether it may begin to probe: one leg at a time does.
    pub(super) const fn set_may_probe(&mut self, may: bool) {
        self.may_probe = may;
    }

    pub(super) const fn is_probing(&self) -> bool {
        self.prober.is_flying()
    }

    pub(super) const fn signals(&self) -> &Signals {
        &self.signals
    }

    /// What the path alone bears.
    pub(super) fn own_rate(&self) -> DataRate {
        self.control.rate()
    }

    /// What the latest probe said. Taken once.
    pub(super) const fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// Notes a packet that leaves, of any kind; `size` as it will stand in its result.
    pub fn handle_sent(&mut self, now: Instant, size: DataSize) {
        self.sense.handle_sent(now, size);
        if self.silent_at.is_none() {
            self.silent_at = Some(now + self.silence());
        }
    }

    fn silence(&self) -> Duration {
        SILENCE + self.signals.response * 2
    }

    /// Takes what became of packets, in the order of their numbers.
    pub fn handle_feedback(&mut self, now: Instant, results: &[PacketResult]) {
        let path = self.probe_path();
        let mut outcomes = Vec::new();
        for result in results {
            self.sense.handle_result(now, result);
            outcomes.extend(self.prober.handle_result(result, &path));
        }
        if results.iter().any(|result| result.received_at.is_some()) {
            self.silent_at = None;
        }
        self.signals = self.sense.signals(now);
        self.limited = self.signals.sent < self.control.rate() * LIMITED;
        self.control.handle_signals(now, &self.signals, self.limited);
        for outcome in outcomes {
            self.control.handle_probe(outcome);
            self.outcome = Some(outcome);
        }
        self.plan(now);
    }

    fn probe_path(&self) -> ProbePath {
        ProbePath { inherent_loss: self.signals.loss.min(MAX_INHERENT), jitter: self.signals.jitter }
    }

    fn plan(&mut self, now: Instant) {
        if !self.may_probe && !self.prober.is_flying() {
            return;
        }
        let view = ProbeView {
            rate: self.grant.map_or(self.control.target(), |grant| grant.min(self.control.target())),
            ceiling: self.ceiling,
            queue: self.signals.queue,
            limited: self.signals.sent < self.rate() * LIMITED,
            before: self.control.before(),
            decreased_at: self.control.decreased_at(),
            path: self.probe_path(),
        };
        self.prober.plan(now, &view);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.silent_at.is_some_and(|at| at <= now) {
            self.control.handle_silence(now);
            self.silent_at = Some(now + self.silence());
        }
    }

    /// When time matters next.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.silent_at
    }

    /// The next cluster to send, if any: the pacer sends it and notes its id with every packet of it.
    pub fn poll_probe(&mut self) -> Option<ProbeCluster> {
        self.prober.poll_probe()
    }

    /// What may be sent now, in bytes as results count them.
    #[must_use]
    pub fn rate(&self) -> DataRate {
        self.grant.map_or(self.control.rate(), |grant| grant.min(self.control.rate()))
    }

    /// The same but for a queue that drains, here (by the target) or in what is shared (by the factor).
    pub(super) fn sustained(&self, factor: f64) -> DataRate {
        self.grant.map_or(self.control.target(), |grant| (grant * factor).min(self.control.target()))
    }

    /// What it thinks.
    #[must_use]
    pub fn stats(&self) -> EstimatorStats {
        EstimatorStats {
            rate: self.rate(),
            target: self.control.target(),
            queue: self.signals.queue,
            loss: self.signals.loss,
            delivered: self.signals.delivered.unwrap_or_default(),
            limited: self.limited,
        }
    }
}
