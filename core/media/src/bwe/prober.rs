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
const MIN_PACKETS: u64 = 6;

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

/// Distance of clusters in a steady state, and after a drop.
const INTERVAL: Duration = Duration::from_millis(5_000);
const RECOVERY_INTERVAL: Duration = Duration::from_millis(1_500);

/// After a decrease a probe waits so long: the queue has drained, and what was lost was not lost for the moment only.
const CALM: Duration = Duration::from_millis(1_200);

/// A longer queue than this would be measured instead of the link.
const MAX_QUEUE: Duration = Duration::from_millis(15);

/// Results are waited for so long.
const MAX_FLIGHT: Duration = Duration::from_millis(1_500);

/// Share of a cluster that has to arrive.
const MIN_ARRIVED: f64 = 0.6;

/// Arrives this much slower than sent: the link was full.
const FULL: f64 = 0.9;

/// Longest spread of arrivals that is one cluster.
const MAX_SPREAD: Duration = Duration::from_millis(1_000);

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
    /// Share lost whatever is sent.
    pub(super) inherent_loss: f64,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    cluster: ProbeCluster,
    until: Instant,
    first_sent: Option<(Instant, DataSize)>,
    last_sent: Option<(Instant, DataSize)>,
    first_received: Option<(Duration, DataSize)>,
    last_received: Option<Duration>,
    sent: DataSize,
    received: DataSize,
    packets: u32,
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
}

impl Default for Prober {
    fn default() -> Self {
        Self { next_id: 1, ready: None, flight: None, chained: None, first: true, due: None }
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

    /// Takes what became of a packet; says what the cluster said when that is known.
    pub(super) fn handle_result(&mut self, result: &PacketResult, inherent_loss: f64) -> Option<Outcome> {
        let flight = self.flight.as_mut()?;
        if result.probe != Some(flight.cluster.id) {
            // What was sent after it and arrived says that nothing more of it will come.
            let after = flight.last_sent.is_some_and(|(last, _)| result.sent_at > last);
            return if after && result.received_at.is_some() { self.conclude(inherent_loss) } else { None };
        }
        let sent = (result.sent_at, result.size);
        flight.first_sent.get_or_insert(sent);
        flight.last_sent = Some(sent);
        flight.sent += result.size;
        if let Some(received) = result.received_at {
            flight.first_received.get_or_insert((received, result.size));
            flight.last_received = Some(flight.last_received.map_or(received, |last| last.max(received)));
            flight.received += result.size;
            flight.packets += 1;
        }
        None
    }

    fn conclude(&mut self, inherent_loss: f64) -> Option<Outcome> {
        let flight = self.flight.take()?;
        let outcome = measure(&flight, inherent_loss);
        self.chained = outcome.filter(|outcome| !outcome.full).map(|outcome| outcome.rate * NEXT_FACTOR);
        outcome
    }

    /// Plans the next cluster if it is time for one.
    pub(super) fn plan(&mut self, now: Instant, view: &ProbeView) {
        if self.flight.is_some_and(|flight| flight.until <= now) {
            self.conclude(view.inherent_loss);
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
        let wanted = self.wanted(view);
        self.chained = None;
        let interval = if view.before.is_some() { RECOVERY_INTERVAL } else { INTERVAL };
        self.due = Some(now + interval);
        let most = view.ceiling * MIN_FACTOR;
        let rate = wanted.min(most);
        if rate < view.rate * MIN_FACTOR || view.queue > MAX_QUEUE {
            self.first = false;
            return;
        }
        self.launch(now, rate, view.rate);
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

    fn launch(&mut self, now: Instant, rate: DataRate, present: DataRate) {
        let length = if self.first { FIRST_LENGTH } else { LENGTH };
        let bound = present.size_in(MAX_COST).as_bytes().max(3 * PACKET);
        let size = DataSize::bytes(rate.size_in(length).as_bytes().max(MIN_PACKETS * PACKET).min(bound));
        let cluster = ProbeCluster { id: ClusterId(self.next_id), rate, size };
        self.next_id += 1;
        self.ready = Some(cluster);
        self.flight = Some(Flight {
            cluster,
            until: now + MAX_FLIGHT,
            first_sent: None,
            last_sent: None,
            first_received: None,
            last_received: None,
            sent: DataSize::ZERO,
            received: DataSize::ZERO,
            packets: 0,
        });
        // The first cluster and those it leads to are one beginning.
        self.first = false;
    }
}

/// The rate of a cluster that arrived.
fn measure(flight: &Flight, inherent_loss: f64) -> Option<Outcome> {
    let (first_sent, _) = flight.first_sent?;
    let (last_sent, last_size) = flight.last_sent?;
    let (first_received, first_size) = flight.first_received?;
    let last_received = flight.last_received?;
    let kept = (1.0 - inherent_loss).max(0.5);
    let arrived = flight.received.as_bytes() as f64;
    if flight.packets < 4 || arrived < flight.cluster.size.as_bytes() as f64 * MIN_ARRIVED * kept {
        return None;
    }
    let spread = last_received.checked_sub(first_received).filter(|spread| *spread <= MAX_SPREAD)?;
    let sent = (flight.sent - last_size).per(last_sent.saturating_duration_since(first_sent));
    if sent == DataRate::ZERO {
        return None;
    }
    let whole = DataSize::bytes(((flight.received - first_size).as_bytes() as f64 / kept) as u64);
    // Arrivals all at once (a radio that sends in blocks) say nothing against the rate sent.
    let received = if spread.is_zero() { sent } else { whole.per(spread) };
    let full = received < sent * FULL;
    Some(Outcome { rate: received.min(sent), full })
}
