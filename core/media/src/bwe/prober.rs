//! Finding room that nobody uses: short runs of packets at a rate above the present one.
//!
//! A pacer sends a cluster faster than the estimate allows, from media that waits and from repeats of what it sent. If it
//! arrives as fast as it was sent, the path bears that much; if not, the rate it arrives at is what the path bears.

use std::time::{Duration, Instant};

use segue_model::{DataRate, DataSize};

use crate::feedback::PacketResult;

/// Length of a cluster: the first ones, which find a rate within an order of magnitude, and later ones, which are compared with a known rate.
const FIRST_LENGTH: Duration = Duration::from_millis(25);
const LENGTH: Duration = Duration::from_millis(40);

/// Packets of a cluster at least: differences of arrival times need some.
const MIN_PACKETS: u64 = 8;

/// Size of a packet where that is needed to bound a cluster.
const PACKET: u64 = 1_200;

/// Longest a cluster may take at the rate that is known to pass, so that a slow link does not stand still.
const MAX_COST: Duration = Duration::from_millis(250);

/// The first cluster against the rate to begin with, and the next against one that passed.
const FIRST_FACTOR: f64 = 3.0;
const NEXT_FACTOR: f64 = 2.0;

/// Later ones against the present rate: where media fills it, and where it does not.
const BUSY_FACTOR: f64 = 1.5;
const LIMITED_FACTOR: f64 = 2.0;

/// A probe that would not rise above the present rate by this factor is not worth it.
const MIN_FACTOR: f64 = 1.15;

/// A cluster that filled the link found room if it shows so many times the present rate.
const FOUND_FULL: f64 = 1.4;

/// Distance of clusters: short after a drop and after one that found room, twice as long after each that found none.
const MIN_INTERVAL: Duration = Duration::from_millis(1_500);
const MAX_INTERVAL: Duration = Duration::from_millis(8_000);

/// After a decrease a probe waits so long: the queue has drained, and what was lost was not lost for the moment only.
const CALM: Duration = Duration::from_millis(800);

/// A longer queue than this would be measured instead of the link.
const MAX_QUEUE: Duration = Duration::from_millis(15);

/// Results are waited for so long.
const MAX_FLIGHT: Duration = Duration::from_millis(1_500);

/// Packets, and share of a cluster, that have to arrive.
const MIN_ARRIVALS: usize = 6;
const MIN_ARRIVED: f64 = 0.6;

/// Arrives this much slower than sent: the link was full.
const FULL: f64 = 0.9;

/// Where delays differ from packet to packet, a cluster lasts so many times that, up to the bound.
const JITTERS: u32 = 4;
const MAX_LENGTH: Duration = Duration::from_millis(100);

/// Names a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u32);

/// A run of packets to send at a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeCluster {
    /// To be noted with each of its packets.
    pub id: ClusterId,
    /// How fast.
    pub rate: DataRate,
    /// How much, at least.
    pub size: DataSize,
}

/// What a cluster said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The path bears this.
    pub(super) rate: DataRate,
    /// And no more.
    pub(super) full: bool,
}

/// What the prober has to know of the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeView {
    /// The present rate.
    pub(super) rate: DataRate,
    /// More is of no use.
    pub(super) ceiling: DataRate,
    /// Wait in the path's queue.
    pub(super) queue: Duration,
    /// Media does not fill the rate.
    pub(super) limited: bool,
    /// The rate before a drop, until it is reached again or given up.
    pub(super) before: Option<DataRate>,
    /// Time of the last decrease.
    pub(super) decreased_at: Option<Instant>,
    /// What the path does to every packet.
    pub(super) path: ProbePath,
}

/// What the path does to every packet, of a probe or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProbePath {
    /// Share lost whatever is sent.
    pub(super) inherent_loss: f64,
    /// How much delays differ from one packet to the next.
    pub(super) jitter: Duration,
}

#[derive(Clone, Debug)]
struct Flight {
    cluster: ProbeCluster,
    /// Rate when it was launched.
    present: DataRate,
    launched: Instant,
    until: Instant,
    first_sent: Option<Instant>,
    last_sent: Option<(Instant, DataSize)>,
    sent: DataSize,
    received: DataSize,
    /// Seconds from the first sent and from the beginning of the receiver's clock, of what arrived.
    arrivals: Vec<(f64, f64)>,
}

/// Plans clusters and reads their results.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    next_id: u32,
    ready: Option<ProbeCluster>,
    flight: Option<Flight>,
    /// The next one, as soon as allowed, at this rate.
    chained: Option<DataRate>,
    first: bool,
    due: Option<Instant>,
    interval: Duration,
}

impl Default for Prober {
    fn default() -> Self {
        Self { next_id: 1, ready: None, flight: None, chained: None, first: true, due: None, interval: MIN_INTERVAL }
    }
}

impl Prober {
    /// Begins anew, as at the start of a leg.
    pub(super) fn restart(&mut self) {
        *self = Self { next_id: self.next_id, ..Self::default() };
    }

    /// The next cluster to send, if any.
    pub(super) fn poll_probe(&mut self) -> Option<ProbeCluster> {
        self.ready.take()
    }

    /// Whether a cluster is on its way.
    pub(super) const fn is_flying(&self) -> bool {
        self.flight.is_some()
    }

    /// Takes what became of a packet; says what the cluster said when that is known.
    pub(super) fn handle_result(&mut self, result: &PacketResult, path: &ProbePath) -> Option<Outcome> {
        let flight = self.flight.as_mut()?;
        if result.probe != Some(flight.cluster.id) {
            // What was sent after it and arrived says that nothing more of it will come.
            let after = flight.last_sent.is_some_and(|(last, _)| result.sent_at > last);
            return if after && result.received_at.is_some() { self.conclude(path) } else { None };
        }
        let first = *flight.first_sent.get_or_insert(result.sent_at);
        flight.last_sent = Some((result.sent_at, result.size));
        flight.sent += result.size;
        if let Some(received) = result.received_at {
            let sent = result.sent_at.saturating_duration_since(first);
            flight.arrivals.push((sent.as_secs_f64(), received.as_secs_f64()));
            flight.received += result.size;
        }
        None
    }

    fn conclude(&mut self, path: &ProbePath) -> Option<Outcome> {
        let flight = self.flight.take()?;
        let outcome = measure(&flight, path);
        self.chained = outcome.filter(|outcome| !outcome.full).map(|outcome| outcome.rate * NEXT_FACTOR);
        // A little more than the present rate on a full link is what others left for a moment.
        let worth = |outcome: Outcome| outcome.rate > flight.present * if outcome.full { FOUND_FULL } else { MIN_FACTOR };
        let found = outcome.is_some_and(worth);
        self.interval = if found { MIN_INTERVAL } else { (self.interval * 2).min(MAX_INTERVAL) };
        self.due = self.due.map(|_| flight.launched + self.interval);
        outcome
    }

    /// Plans the next cluster if it is time for one.
    pub(super) fn plan(&mut self, now: Instant, view: &ProbeView) {
        if self.flight.as_ref().is_some_and(|flight| flight.until <= now) {
            self.conclude(&view.path);
        }
        if self.flight.is_some() || self.ready.is_some() {
            return;
        }
        let calm = view.decreased_at.map(|at| at + CALM);
        if let Some(calm) = calm.filter(|calm| *calm > now) {
            self.chained = None;
            self.due = Some(self.due.map_or(calm, |due| due.max(calm)));
            return;
        }
        if self.chained.is_none() && !self.first && self.due.is_some_and(|due| due > now) {
            return;
        }
        if view.queue > MAX_QUEUE.max(view.path.jitter * 2) {
            self.chained = None;
            return;
        }
        let rate = self.wanted(view).min(view.ceiling * MIN_FACTOR);
        self.chained = None;
        if view.before.is_some() {
            self.interval = MIN_INTERVAL;
        }
        self.due = Some(now + self.interval);
        if rate < view.rate * MIN_FACTOR {
            self.first = false;
            return;
        }
        self.launch(now, rate, view);
    }

    fn wanted(&self, view: &ProbeView) -> DataRate {
        if let Some(rate) = self.chained {
            return rate;
        }
        if self.first {
            return view.rate * FIRST_FACTOR;
        }
        let factor = if view.limited || view.before.is_some() { LIMITED_FACTOR } else { BUSY_FACTOR };
        view.rate * factor
    }

    fn launch(&mut self, now: Instant, rate: DataRate, view: &ProbeView) {
        let present = view.rate;
        let length = if self.first { FIRST_LENGTH } else { LENGTH };
        let length = length.max((view.path.jitter * JITTERS).min(MAX_LENGTH));
        let bound = present.size_in(MAX_COST).as_bytes().max(MIN_PACKETS * PACKET);
        let size = DataSize::bytes(rate.size_in(length).as_bytes().max(MIN_PACKETS * PACKET).min(bound));
        let cluster = ProbeCluster { id: ClusterId(self.next_id), rate, size };
        self.next_id += 1;
        self.ready = Some(cluster);
        self.flight = Some(Flight {
            cluster,
            present,
            launched: now,
            until: now + MAX_FLIGHT,
            first_sent: None,
            last_sent: None,
            sent: DataSize::ZERO,
            received: DataSize::ZERO,
            arrivals: Vec::new(),
        });
        // The first cluster and those it leads to are one beginning.
        self.first = false;
    }
}

/// The rate of a cluster that arrived: the rate it was sent at, less by as much as it was stretched on its way. By how much that is
/// say the quickest packets of its first and of its last third: the others met jitter.
fn measure(flight: &Flight, path: &ProbePath) -> Option<Outcome> {
    let (last_sent, last_size) = flight.last_sent?;
    let length = last_sent.saturating_duration_since(flight.first_sent?);
    let sent = (flight.sent - last_size).per(length);
    let expected = flight.cluster.size.as_bytes() as f64 * (1.0 - path.inherent_loss);
    let arrived = flight.received.as_bytes() as f64 / expected.max(1.0);
    if sent == DataRate::ZERO || flight.arrivals.len() < MIN_ARRIVALS || arrived < MIN_ARRIVED {
        return None;
    }
    let third = flight.arrivals.len() / 3;
    let (early, late) = (quickest(flight.arrivals.get(..third)?)?, quickest(flight.arrivals.get(third * 2..)?)?);
    let stretch = ((late.1 - early.1) / (late.0 - early.0).max(1e-3)).max(1.0);
    let rate = sent * (arrived.min(1.0) / stretch);
    Some(Outcome { rate, full: rate < sent * FULL })
}

/// Of these packets the one with the least delay.
fn quickest(arrivals: &[(f64, f64)]) -> Option<(f64, f64)> {
    arrivals.iter().copied().min_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0)))
}

#[cfg(test)]
mod tests {
    use segue_model::ExtSeq;

    use super::*;

    const SIZE: DataSize = DataSize::bytes(1_200);

    /// What a first cluster of 3 Mbit/s says over a link of `link` kbit/s whose packets are up to `jitter` ms late.
    fn outcome(link: u64, jitter: u64) -> Option<Outcome> {
        let start = Instant::now();
        let (rate, ceiling) = (DataRate::kbps(1_000), DataRate::kbps(50_000));
        let path = ProbePath { inherent_loss: 0.0, jitter: Duration::from_millis(jitter / 3) };
        let queue = Duration::ZERO;
        let view = ProbeView { rate, ceiling, queue, limited: false, before: None, decreased_at: None, path };
        let mut prober = Prober::default();
        prober.plan(start, &view);
        let cluster = prober.poll_probe().unwrap();
        assert_eq!(cluster.rate, DataRate::kbps(3_000));
        let count = cluster.size.as_bytes().div_ceil(SIZE.as_bytes());
        let (gap, takes) = (cluster.rate.time_for(SIZE).unwrap(), DataRate::kbps(link).time_for(SIZE).unwrap());
        let (mut free, mut last) = (Duration::ZERO, Duration::ZERO);
        for number in 0..count {
            let sent = gap * number as u32;
            free = free.max(sent) + takes;
            last = last.max(free + Duration::from_millis(crate::source::mix(number) % (jitter + 1)));
            let probe = Some(cluster.id);
            let result =
                PacketResult { number: ExtSeq(number), sent_at: start + sent, received_at: Some(last), size: SIZE, probe };
            assert_eq!(prober.handle_result(&result, &path), None);
        }
        let sent_at = start + gap * count as u32;
        let after = PacketResult { number: ExtSeq(count), sent_at, received_at: Some(last), size: SIZE, probe: None };
        prober.handle_result(&after, &path)
    }

    #[test]
    fn a_cluster_finds_what_the_link_bears() {
        assert_eq!(outcome(10_000, 0).map(|outcome| outcome.full), Some(false));
        let full = outcome(1_500, 0).unwrap();
        assert!(full.full && (1_400..1_600).contains(&full.rate.as_kbps()), "{full:?}");
    }

    #[test]
    fn jitter_changes_little() {
        let free = outcome(10_000, 10).unwrap();
        assert!(free.rate > DataRate::kbps(2_300), "{free:?}");
        let full = outcome(1_500, 10).unwrap();
        assert!(full.full && (1_200..2_000).contains(&full.rate.as_kbps()), "{full:?}");
    }
}
