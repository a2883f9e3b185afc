//! Losses that are the path's own, and losses of a queue that is full.
//!
//! Every quarter of a second is one observation: how fast was sent, how many of how many packets were lost. Two stories are told of the
//! latest observations and the likelier one is believed: a share that is lost whatever is sent; or such a share, perhaps none, and
//! a bandwidth above which everything is lost. Where the rate never varied both fit, and only sending less for a moment can tell.
//! (The idea of fitting both to one set of observations is that of libwebrtc's loss-based controller; the fit is ours.)

use std::collections::VecDeque;
use std::time::Duration;

use segue_model::{DataRate, DataSize};

/// Length of an observation, and packets in it at least: below that a share says nothing.
const LENGTH: Duration = Duration::from_millis(250);
const MIN_PACKETS: u32 = 8;

/// Observations kept and how long: what a path does changes within some seconds.
const KEPT: usize = 32;
const MAX_AGE: Duration = Duration::from_secs(8);

/// Observations needed for a verdict.
const MIN_OBSERVATIONS: usize = 2;

/// Observations that one burst of losses touches at most.
const BURST: usize = 2;

/// Packets an observation counts for at most: losses come in bursts and are worth less than as many independent ones.
const MAX_WEIGHT: f64 = 40.0;

/// How much likelier (natural logarithm) a bandwidth has to be before it is believed.
const EVIDENCE: f64 = 5.0;

/// Shares tried for the inherent loss.
const INHERENT: [f64; 9] = [0.001, 0.01, 0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.3];

/// Bandwidths tried, as shares of the highest rate observed.
const BANDWIDTHS: [f64; 14] = [0.98, 0.96, 0.93, 0.9, 0.87, 0.84, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2];

/// Loss below this is not worth an experiment.
const NOTABLE: f64 = 0.04;

/// Loss above this is congestion whatever it looks like: with it nobody has a call anyway (RFC 8083 stops there).
const UNBEARABLE: f64 = 0.35;

/// Spread of rates (lowest to highest) below which the two stories cannot be told apart.
const TOLD_APART: f64 = 0.87;

/// What the losses say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LossVerdict {
    /// They do not depend on what is sent.
    Inherent,
    /// They would be less, were less sent; this much gets through.
    Full(DataRate),
    /// There are many, and it cannot be told: send less for a moment.
    Unclear,
}

#[derive(Clone, Copy, Debug, Default)]
struct Observation {
    begun: Duration,
    ended: Duration,
    size: DataSize,
    packets: u32,
    lost: u32,
}

impl Observation {
    fn rate(&self) -> f64 {
        self.size.per(self.ended - self.begun).as_bps() as f64
    }

    /// Packets and losses as they count.
    fn weighed(&self) -> (f64, f64) {
        let packets = f64::from(self.packets);
        let weight = packets.min(MAX_WEIGHT) / packets.max(1.0);
        (packets * weight, f64::from(self.lost) * weight)
    }

    /// Logarithm of its likelihood, were this share lost anyway and everything above this bandwidth.
    fn likelihood(&self, inherent: f64, bandwidth: f64) -> f64 {
        let rate = self.rate();
        let above = if rate > bandwidth { 1.0 - bandwidth / rate } else { 0.0 };
        let share = (inherent + (1.0 - inherent) * above).clamp(1e-4, 1.0 - 1e-4);
        let (packets, lost) = self.weighed();
        lost * share.ln() + (packets - lost) * (1.0 - share).ln()
    }
}

/// The latest observations.
#[derive(Clone, Debug, Default)]
pub(super) struct LossModel {
    current: Option<Observation>,
    past: VecDeque<Observation>,
    news: bool,
}

impl LossModel {
    /// Notes what became of a packet. Packets come in the order they were sent.
    pub(super) fn handle_packet(&mut self, sent: Duration, size: DataSize, lost: bool) {
        if let Some(current) = self.current.filter(|current| sent >= current.begun + LENGTH && current.packets >= MIN_PACKETS) {
            self.close(Observation { ended: sent, ..current });
        }
        let current = self.current.get_or_insert(Observation { begun: sent, ..Observation::default() });
        current.size += size;
        current.packets += 1;
        current.lost += u32::from(lost);
    }

    /// A packet that counted as lost came after all.
    pub(super) fn handle_late(&mut self) {
        let observation = self.current.as_mut().filter(|current| current.lost > 0).or_else(|| self.past.back_mut());
        if let Some(observation) = observation {
            observation.lost = observation.lost.saturating_sub(1);
        }
    }

    fn close(&mut self, observation: Observation) {
        self.current = None;
        self.past.push_back(observation);
        let old = |first: &Observation| observation.ended.saturating_sub(first.ended) > MAX_AGE;
        while self.past.len() > KEPT || self.past.front().is_some_and(old) {
            self.past.pop_front();
        }
        self.news = true;
    }

    /// Share lost over all observations.
    pub(super) fn share(&self) -> f64 {
        share(self.past.iter())
    }

    /// What the observations say; once for each new one.
    pub(super) fn poll_verdict(&mut self) -> Option<LossVerdict> {
        if !std::mem::take(&mut self.news) || self.past.len() < MIN_OBSERVATIONS {
            return None;
        }
        let share = self.share();
        let rates = self.past.iter().map(Observation::rate);
        let (least, most) =
            rates.fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), rate| (least.min(rate), most.max(rate)));
        if share == 0.0 || most <= 0.0 {
            return Some(LossVerdict::Inherent);
        }
        let fit = Fit::of(self.past.iter(), most);
        if fit.evidence > EVIDENCE && Fit::of(self.without_burst(&fit), most).evidence > EVIDENCE {
            return Some(LossVerdict::Full(DataRate::bps(fit.bandwidth as u64)));
        }
        if share > UNBEARABLE && self.past.iter().filter(|observation| observation.lost > 0).count() > BURST {
            return Some(LossVerdict::Full(DataRate::bps((most * (1.0 - share / 2.0)) as u64)));
        }
        if share > NOTABLE && least / most > TOLD_APART { Some(LossVerdict::Unclear) } else { Some(LossVerdict::Inherent) }
    }

    /// The observations without those in a row that speak most for a bandwidth: a single burst of losses is not what a rate does.
    fn without_burst(&self, fit: &Fit) -> impl Iterator<Item = &Observation> + Clone {
        let evidence: Vec<f64> = self.past.iter().map(|observation| fit.evidence_of(observation)).collect();
        let rows = evidence.windows(BURST).map(|row| row.iter().sum::<f64>()).enumerate();
        let (first, _) = rows.fold((0, f64::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best });
        self.past.iter().enumerate().filter(move |(at, _)| !(first..first + BURST).contains(at)).map(|(_, kept)| kept)
    }
}

fn share<'a>(observations: impl Iterator<Item = &'a Observation>) -> f64 {
    let (packets, lost) = observations.fold((0, 0), |(packets, lost), o| (packets + o.packets, lost + o.lost));
    if packets == 0 { 0.0 } else { f64::from(lost) / f64::from(packets) }
}

/// Both stories, as they fit some observations best.
#[derive(Clone, Copy, Debug)]
struct Fit {
    /// Of the first: what is lost whatever is sent.
    share: f64,
    /// Of the second: above this everything is lost, and below it this share.
    bandwidth: f64,
    inherent: f64,
    /// By how much the second is likelier, over all of the observations.
    evidence: f64,
}

impl Fit {
    /// `most`: the highest rate there was.
    fn of<'a>(observations: impl Iterator<Item = &'a Observation> + Clone, most: f64) -> Self {
        let share = share(observations.clone());
        let alone: f64 = observations.clone().map(|observation| observation.likelihood(share, f64::INFINITY)).sum();
        let tried = BANDWIDTHS.iter().flat_map(|part| INHERENT.iter().map(move |inherent| (part * most, *inherent)));
        let fits = tried.map(|(bandwidth, inherent)| {
            let full: f64 = observations.clone().map(|observation| observation.likelihood(inherent, bandwidth)).sum();
            Self { share, bandwidth, inherent, evidence: full - alone }
        });
        let none = Self { share, bandwidth: f64::INFINITY, inherent: share, evidence: f64::NEG_INFINITY };
        fits.fold(none, |best, next| if next.evidence > best.evidence { next } else { best })
    }

    fn evidence_of(&self, observation: &Observation) -> f64 {
        observation.likelihood(self.inherent, self.bandwidth) - observation.likelihood(self.share, f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: DataSize = DataSize::bytes(1_250);

    /// Sends at each of `rates` (kbit/s) for a quarter of a second over a path that loses `inherent` of a hundred packets and, evenly,
    /// what is above `bandwidth`.
    fn verdict(rates: &[u64], inherent: u64, bandwidth: u64) -> LossVerdict {
        let (mut model, mut at, mut packet, mut passed) = (LossModel::default(), Duration::ZERO, 0u64, 0.0);
        let mut verdict = None;
        for rate in rates {
            let gap = DataRate::kbps(*rate).time_for(SIZE).unwrap();
            let end = at + LENGTH;
            while at < end {
                packet += 1;
                passed += (bandwidth as f64 / *rate as f64).min(1.0);
                let fits = passed >= 1.0;
                passed -= f64::from(u8::from(fits));
                let random = crate::source::mix(packet) % 100 < inherent;
                model.handle_packet(at, SIZE, random || !fits);
                at += gap;
            }
            verdict = model.poll_verdict().or(verdict);
        }
        verdict.unwrap()
    }

    #[test]
    fn losses_that_do_not_depend_on_the_rate_are_the_paths_own() {
        let rates: Vec<u64> = (0..24).map(|step| 2_000 + 100 * (step % 12)).collect();
        assert_eq!(verdict(&rates, 10, 1_000_000), LossVerdict::Inherent);
        assert_eq!(verdict(&rates, 0, 1_000_000), LossVerdict::Inherent);
    }

    #[test]
    fn losses_above_a_rate_show_the_bandwidth() {
        let rates: Vec<u64> = (0..16).map(|step| 1_000 + 100 * step).collect();
        for inherent in [0, 10] {
            let LossVerdict::Full(found) = verdict(&rates, inherent, 1_800) else { panic!("no bandwidth at {inherent} %") };
            assert!((1_500..=2_000).contains(&found.as_kbps()), "{found}");
        }
    }

    #[test]
    fn a_burst_of_losses_says_nothing_of_a_rate() {
        let mut model = LossModel::default();
        let mut verdicts = Vec::new();
        for packet in 0..400u32 {
            // Voice for four seconds, then a picture, of whose first packets most are lost.
            let (at, burst) = match packet {
                ..200 => (Duration::from_millis(20) * packet, false),
                _ => (Duration::from_secs(4) + Duration::from_millis(4) * (packet - 200), (210..240).contains(&packet)),
            };
            model.handle_packet(at, SIZE, burst);
            verdicts.extend(model.poll_verdict());
        }
        assert!(verdicts.iter().all(|verdict| !matches!(verdict, LossVerdict::Full(_))), "{verdicts:?}");
    }

    #[test]
    fn at_one_rate_it_cannot_be_told() {
        assert_eq!(verdict(&[2_000; 12], 10, 1_000_000), LossVerdict::Unclear);
        assert_eq!(verdict(&[2_000; 12], 0, 1_700), LossVerdict::Unclear);
    }
}
