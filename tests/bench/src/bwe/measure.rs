//! What is read out of a run.

use std::time::Duration;

use super::world::{Record, SAMPLE, Setup};

/// A rate counts as reached when this share of the capacity arrived as media over one second.
const REACHED: f64 = 0.9;

/// Settled: for this long no packet waited longer than this, none was dropped, and the estimates stayed within these shares of the capacity.
const SETTLED_SECONDS: f64 = 5.0;
const SETTLED_QUEUE_MS: f64 = 80.0;
const SETTLED_RATE: (f64, f64) = (0.5, 1.1);

/// A quantity.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Seconds until the rate was reached.
    Reached,
    /// Seconds until everything was quiet.
    Settled,
    /// 95th percentile of the wait of packets in the bottleneck's queue, in milliseconds.
    QueueP95,
    /// The longest wait, in milliseconds.
    QueueMax,
    /// Packets dropped at the full queue.
    Drops,
    /// Media that arrived, each packet once, as a share of the capacity.
    Utilisation,
    /// The estimate as a share of the capacity, on average.
    Estimate,
    /// Jain's fairness index over the flows' media.
    Jain,
}

/// A bound that has to be kept.
#[derive(Clone, Copy, Debug)]
pub enum Floor {
    AtMost(f64),
    AtLeast(f64),
}

impl Floor {
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }

    pub const fn bound(self) -> f64 {
        let (Self::AtMost(bound) | Self::AtLeast(bound)) = self;
        bound
    }
}

/// A quantity over a part of a run.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub name: &'static str,
    pub what: What,
    /// In seconds.
    pub from: f64,
    pub to: f64,
    pub floor: Option<Floor>,
}

impl Measure {
    /// Its value in a run; infinite for a time that never came.
    pub fn read(&self, setup: &Setup, record: &Record) -> f64 {
        let (from, to) = (Duration::from_secs_f64(self.from), Duration::from_secs_f64(self.to));
        let part = Part { setup, record, from, to };
        match self.what {
            What::Reached => part.reached(),
            What::Settled => part.settled(),
            What::QueueP95 => part.queue(0.95),
            What::QueueMax => part.queue(1.0),
            What::Drops => record.drops.iter().filter(|at| **at >= from && **at < to).count() as f64,
            What::Utilisation => part.useful().iter().sum::<f64>() / setup.capacity.bits(from, to),
            What::Estimate => part.estimate(),
            What::Jain => jain(&part.useful()),
        }
    }
}

struct Part<'a> {
    setup: &'a Setup,
    record: &'a Record,
    from: Duration,
    to: Duration,
}

impl Part<'_> {
    fn reached(&self) -> f64 {
        const WINDOW: usize = 10;
        let count = self.record.samples.iter().map(Vec::len).min().unwrap_or_default();
        let useful: Vec<u64> = (0..count).map(|at| self.record.samples.iter().map(|flow| flow[at].useful).sum()).collect();
        for (number, pair) in (0..).zip(useful.iter().zip(useful.iter().skip(WINDOW))) {
            let (begin, end) = (SAMPLE * number, SAMPLE * (number + WINDOW as u32));
            let bits = (pair.1 - pair.0) as f64 * 8.0;
            if end >= self.from + SAMPLE * 5 && end < self.to && bits >= REACHED * self.setup.capacity.bits(begin, end) {
                return (end - self.from).as_secs_f64();
            }
        }
        f64::INFINITY
    }

    fn settled(&self) -> f64 {
        let late = self.record.departures.iter().filter(|d| d.waited.as_secs_f64() * 1e3 > SETTLED_QUEUE_MS).map(|d| d.at);
        let off = (0..).zip(self.samples()).filter_map(|(number, rate)| {
            let at = SAMPLE * number;
            let share = rate / self.setup.capacity.at(at).0 as f64;
            (share < SETTLED_RATE.0 || share > SETTLED_RATE.1).then_some(at)
        });
        let mut troubles: Vec<Duration> =
            late.chain(off).chain(self.record.drops.iter().copied()).filter(|at| *at >= self.from && *at < self.to).collect();
        troubles.sort_unstable();
        let mut quiet = self.from;
        for at in troubles {
            if (at - quiet).as_secs_f64() > SETTLED_SECONDS {
                break;
            }
            quiet = at;
        }
        let settled = (self.to - quiet).as_secs_f64() > SETTLED_SECONDS;
        if settled { (quiet - self.from).as_secs_f64() } else { f64::INFINITY }
    }

    fn queue(&self, quantile: f64) -> f64 {
        let inside = |at: Duration| at >= self.from && at < self.to;
        let waits = self.record.departures.iter().filter(|departure| inside(departure.at));
        let mut waits: Vec<f64> = waits.map(|departure| departure.waited.as_secs_f64() * 1e3).collect();
        waits.sort_unstable_by(f64::total_cmp);
        let index = ((waits.len() as f64 * quantile) as usize).min(waits.len().saturating_sub(1));
        waits.get(index).copied().unwrap_or_default()
    }

    /// Useful bits per flow.
    fn useful(&self) -> Vec<f64> {
        let at = |time: Duration| (time.as_millis() / SAMPLE.as_millis()) as usize;
        let bytes = |samples: &Vec<super::flow::Sample>| {
            let last = samples.len().saturating_sub(1);
            let (from, to) = (samples.get(at(self.from).min(last)), samples.get(at(self.to).min(last)));
            to.map_or(0, |s| s.useful) - from.map_or(0, |s| s.useful)
        };
        self.record.samples.iter().map(|samples| bytes(samples) as f64 * 8.0).collect()
    }

    /// Estimates of all flows together, sample by sample.
    fn samples(&self) -> Vec<f64> {
        let count = self.record.samples.iter().map(Vec::len).min().unwrap_or_default();
        (0..count).map(|at| self.record.samples.iter().map(|flow| flow[at].rate as f64).sum()).collect()
    }

    fn estimate(&self) -> f64 {
        let of = |time: Duration| (time.as_millis() / SAMPLE.as_millis()) as usize;
        let samples = self.samples();
        let part = &samples[of(self.from).min(samples.len())..of(self.to).min(samples.len())];
        let rate = part.iter().sum::<f64>() / part.len().max(1) as f64;
        rate * (self.to - self.from).as_secs_f64() / self.setup.capacity.bits(self.from, self.to)
    }
}

fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    if squares == 0.0 { 1.0 } else { sum * sum / (squares * shares.len() as f64) }
}
