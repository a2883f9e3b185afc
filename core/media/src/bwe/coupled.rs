//! All legs of one sender: they leave by the same uplink.
//!
//! Every leg has an estimator of its own, for what lies beyond the uplink. One more controller looks after what the legs have in
//! common: the queue that all of them see is the uplink's (the least of theirs), what gets through it is what gets through on all of
//! them together. A leg gets its part of that, and never more than its own path bears. So N legs behave like one flow and not
//! like N (RFC 8699 couples by the sum of rates in the same spirit; its shared state is one number, and a bottleneck of one leg would
//! slow all others down), they are not summed, and a leg that is added begins with what is known.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segue_model::{DataRate, DataSize};

use crate::feedback::PacketResult;
use crate::merge::LegId;

use super::control::{Bounds, Control};
use super::estimator::{Estimator, EstimatorConfig, EstimatorStats};
use super::prober::{Outcome, ProbeCluster};
use super::sense::Signals;
use super::share::{Claim, divide};
use super::trend::Usage;

/// A leg that was not heard of for this long says nothing about the uplink.
const FRESH: Duration = Duration::from_millis(400);

/// The right to probe goes round: each leg has it for so long.
const TURN: Duration = Duration::from_millis(600);

/// Media that sends less than this share of the rate does not fill it.
const LIMITED: f64 = 0.7;

/// More than what is of use by this: for keyframes and repairs.
const ROOM: f64 = 1.15;

/// A leg that is used again after so long begins anew.
const STALE: Duration = Duration::from_secs(5);

/// What a leg has to carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegNeed {
    /// Voice, with headers: served before any picture on any leg.
    pub audio: DataRate,
    /// All that is of use, voice included.
    pub most: DataRate,
    /// The other side reports what arrives. Without reports nothing is known and nothing held back.
    pub reports: bool,
}

#[derive(Debug)]
struct Member {
    estimator: Estimator,
    need: LegNeed,
    heard: Option<Instant>,
    /// Since when it carries nothing.
    idle_since: Option<Instant>,
}

impl Member {
    fn is_active(&self) -> bool {
        self.need.most > DataRate::ZERO && self.need.reports
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.heard.is_some_and(|heard| now.saturating_duration_since(heard) <= FRESH)
    }
}

/// Estimates what the legs of one sender bear together and each.
#[derive(Debug)]
pub struct CoupledEstimator {
    config: EstimatorConfig,
    members: BTreeMap<LegId, Member>,
    uplink: Control,
    /// What one leg looks for room for although it carries less: others may be needed soon.
    reserve: DataRate,
    /// Nobody looks for room now.
    held: bool,
    /// Who may probe, and until when.
    turn: Option<(LegId, Instant)>,
}

impl CoupledEstimator {
    /// Without legs. `config` is of the uplink: the first leg begins with its start rate.
    #[must_use]
    pub fn new(config: EstimatorConfig) -> Self {
        let bounds = Bounds { least: config.least, most: config.most };
        Self {
            config,
            members: BTreeMap::new(),
            uplink: Control::new(config.start, bounds),
            reserve: DataRate::ZERO,
            held: false,
            turn: None,
        }
    }

    /// Says what a leg carries from now on. One that is new, or was idle for long, begins with its part of what is known.
    pub fn set_need(&mut self, now: Instant, leg: LegId, need: LegNeed) {
        let config = self.config;
        let idle = Member { estimator: Estimator::new(config), need: LegNeed::default(), heard: None, idle_since: None };
        let new = !self.members.contains_key(&leg);
        let member = self.members.entry(leg).or_insert(idle);
        let was_active = member.is_active();
        let stale = new || member.idle_since.is_some_and(|since| now.saturating_duration_since(since) > STALE);
        member.need = need;
        let active = member.is_active();
        member.idle_since = if active { None } else { member.idle_since.or(Some(now)) };
        if active && !was_active && stale {
            self.begin(leg);
        }
        self.grant();
    }

    /// Warm start: the path of a leg that begins is thought to bear what the uplink bears, and its grant holds it to its part. What it
    /// carries in its first moments says nothing of what it will have to: in an overlap voice goes first.
    fn begin(&mut self, leg: LegId) {
        let known = self.uplink.target();
        if let Some(member) = self.members.get_mut(&leg) {
            member.estimator.start(known);
        }
    }

    /// Says how much might have to be sent on all legs before long: a leg that is alone looks for room for it.
    pub fn set_reserve(&mut self, reserve: DataRate) {
        if self.reserve != reserve {
            self.reserve = reserve;
            self.grant();
        }
    }

    /// Says whether nobody is to look for room now, because what there is is needed.
    pub fn hold_probes(&mut self, held: bool) {
        if self.held != held {
            self.held = held;
            self.grant();
        }
    }

    /// A leg is gone.
    pub fn remove_leg(&mut self, leg: LegId) {
        self.members.remove(&leg);
        self.grant();
    }

    /// Legs that carry something.
    fn active(&self) -> impl Iterator<Item = (LegId, &Member)> {
        self.members.iter().filter(|(_, member)| member.is_active()).map(|(leg, member)| (*leg, member))
    }

    /// Parts of the uplink, where `bears` says what each path bears.
    fn parts(&self, bears: impl Fn(LegId, &Member) -> DataRate) -> BTreeMap<LegId, DataRate> {
        let claims: Vec<Claim> = self
            .active()
            .map(|(leg, member)| {
                let LegNeed { audio, most, .. } = member.need;
                Claim { first: audio, useful: most * ROOM, most: bears(leg, member) }
            })
            .collect();
        let parts = divide(self.uplink.rate(), &claims);
        self.active().map(|(leg, _)| leg).zip(parts).collect()
    }

    /// Gives every leg its part. One alone has the uplink for itself.
    fn grant(&mut self) {
        let parts = self.parts(|_, member| member.estimator.own_rate());
        let alone = parts.len() < 2;
        for (leg, member) in &mut self.members {
            let part = parts.get(leg).map(|part| (*part).max(self.config.least));
            member.estimator.set_grant(part.filter(|_| !alone));
            let useful = if alone { member.need.most.max(self.reserve) } else { member.need.most };
            member.estimator.set_ceiling(if self.held { DataRate::ZERO } else { useful * ROOM });
        }
    }

    /// Notes a packet that leaves.
    pub fn handle_sent(&mut self, now: Instant, leg: LegId, size: DataSize) {
        if let Some(member) = self.members.get_mut(&leg) {
            member.estimator.handle_sent(now, size);
        }
    }

    /// Takes what became of packets of a leg.
    pub fn handle_feedback(&mut self, now: Instant, leg: LegId, results: &[PacketResult]) {
        self.pass_turn(now);
        let turn = self.turn.map(|(leg, _)| leg);
        let Some(member) = self.members.get_mut(&leg) else { return };
        member.heard = Some(now);
        member.estimator.set_may_probe(turn == Some(leg));
        member.estimator.handle_feedback(now, results);
        let verdict = member.estimator.signals().verdict;
        let outcome = member.estimator.poll_outcome();
        let (mut signals, alone) = self.common(now);
        // Losses of one leg among several may be of its own path.
        signals.verdict = verdict.filter(|_| alone);
        let limited = signals.sent < self.uplink.rate() * LIMITED;
        self.uplink.handle_signals(now, &signals, limited);
        if let Some(outcome) = outcome {
            let others = self.active().filter(|(other, member)| *other != leg && member.is_fresh(now));
            let beside = others.fold(DataRate::ZERO, |sum, (_, member)| sum + member.estimator.signals().sent);
            self.uplink.handle_probe(Outcome { rate: outcome.rate + beside, ..outcome });
        }
        self.grant();
    }

    /// What the legs heard of lately have in common, and whether it is one leg only.
    fn common(&self, now: Instant) -> (Signals, bool) {
        let mut fresh: Vec<&Signals> =
            self.active().filter(|(_, member)| member.is_fresh(now)).map(|(_, member)| member.estimator.signals()).collect();
        fresh.sort_by_key(|signals| std::cmp::Reverse(signals.sent));
        let Some(busiest) = fresh.first().copied() else { return (Signals::default(), true) };
        let sum = |part: fn(&Signals) -> Option<DataRate>| {
            fresh
                .iter()
                .map(|signals| part(signals))
                .fold(None, |sum, rate| sum.map_or(rate, |sum| Some(sum + rate.unwrap_or_default())))
        };
        let growing = fresh.iter().filter(|signals| signals.usage == Usage::Over).count();
        let common = Signals {
            // What one leg alone sees is not the uplink.
            usage: if growing * 2 > fresh.len() { Usage::Over } else { Usage::Normal },
            queue: fresh.iter().map(|signals| signals.queue).min().unwrap_or_default(),
            jitter: busiest.jitter,
            delivered: sum(|signals| signals.delivered),
            delivered_lately: sum(|signals| signals.delivered_lately.or(signals.delivered)),
            sent: fresh.iter().fold(DataRate::ZERO, |sum, signals| sum + signals.sent),
            response: fresh.iter().map(|signals| signals.response).max().unwrap_or_default(),
            verdict: None,
            loss: busiest.loss,
        };
        (common, fresh.len() < 2)
    }

    /// Lets one leg after another probe; nobody's turn ends while its cluster flies.
    fn pass_turn(&mut self, now: Instant) {
        if let Some((leg, until)) = self.turn {
            let member = self.members.get(&leg).filter(|member| member.is_active());
            if member.is_some_and(|member| until > now || member.estimator.is_probing()) {
                return;
            }
        }
        let last = self.turn.map(|(leg, _)| leg);
        let next = self.active().map(|(leg, _)| leg).find(|leg| last.is_none_or(|last| *leg > last));
        self.turn = next.or_else(|| self.active().map(|(leg, _)| leg).next()).map(|leg| (leg, now + TURN));
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.members.values_mut().for_each(|member| member.estimator.handle_timeout(now));
        self.grant();
    }

    /// When time matters next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.members.values().filter_map(|member| member.estimator.poll_timeout()).min()
    }

    /// The next cluster to send, if any, and on which leg.
    pub fn poll_probe(&mut self) -> Option<(LegId, ProbeCluster)> {
        self.members.iter_mut().find_map(|(leg, member)| Some((*leg, member.estimator.poll_probe()?)))
    }

    /// What may be sent on a leg now; all there is where the other side does not report.
    #[must_use]
    pub fn rate(&self, leg: LegId) -> DataRate {
        match self.members.get(&leg) {
            Some(member) if member.need.reports => member.estimator.rate(),
            _ => self.config.most,
        }
    }

    /// What a leg bears for longer than the moment: [`CoupledEstimator::rate`] but for queues that drain.
    #[must_use]
    pub fn sustained(&self, leg: LegId) -> DataRate {
        match self.members.get(&leg) {
            Some(member) if member.need.reports => {
                let (now, target) = (self.uplink.rate().as_bps().max(1) as f64, self.uplink.target().as_bps() as f64);
                member.estimator.sustained(target / now)
            }
            _ => self.config.most,
        }
    }

    /// What the uplink is thought to bear.
    #[must_use]
    pub fn total(&self) -> DataRate {
        self.uplink.target()
    }

    /// What it thinks of a leg.
    #[must_use]
    pub fn stats(&self, leg: LegId) -> Option<EstimatorStats> {
        self.members.get(&leg).map(|member| member.estimator.stats())
    }
}
