//! Flows that share a bottleneck, in virtual time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segue_media::packet::RtpPacket;

use super::flow::{Flow, FlowSpec, Sample};
use super::link::{Capacity, Limit, Link};
use super::rng::Rng;

/// How often flows are looked at.
pub const SAMPLE: Duration = Duration::from_millis(100);

/// Everything about a run but its seed.
#[derive(Clone, Debug)]
pub struct Setup {
    pub capacity: Capacity,
    pub limit: Limit,
    /// Share of packets lost by chance, after the bottleneck.
    pub loss: f64,
    /// Delay varies by up to this, without overtaking, in milliseconds.
    pub jitter_ms: f64,
    pub flows: Vec<FlowSpec>,
    pub seconds: f64,
}

/// A packet that left the bottleneck.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    pub at: Duration,
    pub waited: Duration,
    pub bytes: u64,
}

/// What a run left behind.
#[derive(Debug, Default)]
pub struct Record {
    pub departures: Vec<Departure>,
    /// Times of drops at the full queue.
    pub drops: Vec<Duration>,
    /// Per flow, one sample every [`SAMPLE`].
    pub samples: Vec<Vec<Sample>>,
}

/// A packet under way.
#[derive(Debug)]
struct Parcel {
    flow: usize,
    leg: usize,
    bytes: u64,
    packet: RtpPacket,
}

struct World {
    link: Link<Parcel>,
    flows: Vec<Flow>,
    forward: BTreeMap<(Duration, u64), Parcel>,
    last_arrival: Vec<Duration>,
    count: u64,
    rng: Rng,
    record: Record,
}

/// Runs a setup to its end.
pub fn run(setup: &Setup, seed: u64) -> Record {
    // Virtual time counts from here; the clock is not read again.
    let base = Instant::now();
    let mut rng = Rng::new(seed);
    let flows: Vec<Flow> = setup.flows.iter().map(|spec| Flow::new(base, spec.clone(), rng.next())).collect();
    let mut world = World {
        link: Link::new(setup.capacity.clone(), setup.limit),
        forward: BTreeMap::new(),
        last_arrival: vec![Duration::ZERO; flows.len()],
        record: Record { samples: vec![Vec::new(); flows.len()], ..Record::default() },
        flows,
        count: 0,
        rng,
    };
    let end = Duration::from_secs_f64(setup.seconds);
    let (mut now, mut next_sample) = (Duration::ZERO, Duration::ZERO);
    while now < end {
        world.turn(now, setup);
        while next_sample <= now {
            for (samples, flow) in world.record.samples.iter_mut().zip(&world.flows) {
                samples.push(flow.sample());
            }
            next_sample += SAMPLE;
        }
        now = world.next(now);
    }
    world.record
}

impl World {
    fn turn(&mut self, now: Duration, setup: &Setup) {
        while let Some(passed) = self.link.poll_passed(now) {
            let parcel = passed.item;
            self.record.departures.push(Departure { at: now, waited: passed.waited, bytes: parcel.bytes });
            if self.rng.chance(setup.loss) {
                continue;
            }
            let jitter = Duration::from_secs_f64(self.jitter(setup.jitter_ms) / 1e3);
            let arrival = (now + self.flows[parcel.flow].delay() + jitter).max(self.last_arrival[parcel.flow]);
            self.last_arrival[parcel.flow] = arrival;
            self.count += 1;
            self.forward.insert((arrival, self.count), parcel);
        }
        while let Some(entry) = self.forward.first_entry().filter(|entry| entry.key().0 <= now) {
            let Parcel { flow, leg, bytes, packet } = entry.remove();
            self.flows[flow].handle_arrival(now, leg, packet, bytes);
        }
        let mut out = Vec::new();
        for (flow, sender) in self.flows.iter_mut().enumerate() {
            sender.handle_timeout(now, &mut out);
            for (leg, bytes, packet) in out.drain(..) {
                if !self.link.push(now, bytes, Parcel { flow, leg, bytes, packet }) {
                    self.record.drops.push(now);
                }
            }
        }
    }

    /// RFC 8867 section 4: one side of a normal distribution, cut off at the bound.
    fn jitter(&mut self, bound_ms: f64) -> f64 {
        if bound_ms <= 0.0 {
            return 0.0;
        }
        (self.rng.normal().abs() * bound_ms / 2.0).min(bound_ms)
    }

    fn next(&self, now: Duration) -> Duration {
        let forward = self.forward.first_key_value().map(|((at, _), _)| *at);
        let flows = self.flows.iter().map(Flow::poll_timeout);
        let next = flows.chain(forward).chain(self.link.poll_timeout()).min();
        next.map_or(now + SAMPLE, |next| next.clamp(now + Duration::from_micros(20), now + SAMPLE))
    }
}
