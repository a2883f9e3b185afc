//! The network: who can reach whom, how late, and what is lost on the way.
//!
//! Between two hosts lies a path with conditions of its own, and before each host its access link, a rate with a queue in front. Delay and
//! loss of a packet are functions of the seed and of what the packet is, not of how many went before it.

mod access;
mod conditions;
pub mod nat;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

pub use access::{Access, Rate};
pub use conditions::{Burst, Common, Conditions};
use nat::Nat;

use crate::rng::{hash, unit};
use access::Shaper;
use conditions::Chain;

/// What hangs on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The relay.
    Relay,
    /// A participant's host.
    Host(usize),
}

impl End {
    /// As part of a hash.
    #[must_use]
    pub const fn word(self) -> u64 {
        match self {
            Self::Relay => 0,
            Self::Host(at) => at as u64 + 1,
        }
    }
}

/// One datagram on its way.
#[derive(Clone, Copy, Debug)]
pub struct Parcel {
    /// Who sends it.
    pub from: End,
    /// Whom to.
    pub to: End,
    /// Bytes of payload; headers of IP and UDP are added.
    pub size: usize,
    /// Which it is: equal on all paths for a media packet, so that both runs of a comparison lose the same.
    pub key: u64,
    /// For media: who made it, and when, in virtual time since the beginning.
    pub media: Option<(End, Duration)>,
}

/// What stands between two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plane {
    /// Datagrams.
    Media,
    /// The connection to the relay.
    Signalling,
}

/// IPv4, UDP, and what SRTP or SRTCP adds.
const OVERHEAD: usize = 20 + 8 + 16;

/// Everything between the ends.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    base: Instant,
    /// Of paths for which nothing else was said.
    pub direct: Conditions,
    /// Of paths to and from the relay for which nothing else was said.
    pub relay: Conditions,
    /// What befalls media end to end, whatever path it takes.
    pub common: Common,
    special: HashMap<(End, End), Conditions>,
    blocked: BTreeSet<(Plane, End, End)>,
    up: HashMap<End, Shaper>,
    down: HashMap<End, Shaper>,
    nats: HashMap<End, Nat>,
    /// When the last packet of an owner came over a path: what is not reordered does not overtake.
    last: HashMap<(End, End, End), Instant>,
    chains: HashMap<(End, End, bool), Chain>,
    /// Dropped by a queue that was full.
    pub dropped: u64,
    /// Lost on the way.
    pub lost: u64,
}

impl Network {
    /// Without delay or loss.
    #[must_use]
    pub fn new(seed: u64, base: Instant) -> Self {
        Self {
            seed,
            base,
            direct: Conditions::default(),
            relay: Conditions::default(),
            common: Common::default(),
            special: HashMap::new(),
            blocked: BTreeSet::new(),
            up: HashMap::new(),
            down: HashMap::new(),
            nats: HashMap::new(),
            last: HashMap::new(),
            chains: HashMap::new(),
            dropped: 0,
            lost: 0,
        }
    }

    /// Sets the conditions of one direction between two ends.
    pub fn set_path(&mut self, from: End, to: End, conditions: Conditions) {
        self.special.insert((from, to), conditions);
        self.chains.remove(&(from, to, false));
    }

    /// Sets a host's access link.
    pub fn set_access(&mut self, end: End, access: &Access) {
        self.up.insert(end, Shaper::new(self.base, access.up.clone(), access.queue_ms));
        self.down.insert(end, Shaper::new(self.base, access.down.clone(), access.queue_ms));
    }

    /// Puts a host behind a translator.
    pub fn set_nat(&mut self, end: End, nat: Nat) {
        self.nats.insert(end, nat);
    }

    /// The translator of a host.
    #[must_use]
    pub fn nat(&self, end: End) -> Option<Nat> {
        self.nats.get(&end).copied()
    }

    /// Cuts one direction, or mends it.
    pub fn block(&mut self, plane: Plane, from: End, to: End, blocked: bool) {
        if blocked {
            self.blocked.insert((plane, from, to));
        } else {
            self.blocked.remove(&(plane, from, to));
        }
    }

    /// Mends everything that was cut.
    pub fn heal(&mut self) {
        self.blocked.clear();
    }

    /// Whether packets of one end can reach the other.
    #[must_use]
    pub fn passes(&self, plane: Plane, from: End, to: End) -> bool {
        !self.blocked.contains(&(plane, from, to))
    }

    /// Conditions of a path.
    #[must_use]
    pub fn conditions(&self, from: End, to: End) -> &Conditions {
        let usual = if from == End::Relay || to == End::Relay { &self.relay } else { &self.direct };
        self.special.get(&(from, to)).unwrap_or(usual)
    }

    /// One way, without jitter.
    #[must_use]
    pub fn delay(&self, from: End, to: End) -> Duration {
        millis(self.conditions(from, to).delay_ms)
    }

    /// There and back.
    #[must_use]
    pub fn round_trip(&self, a: End, b: End) -> Duration {
        self.delay(a, b) + self.delay(b, a)
    }

    /// Whether a message on a reliable connection has to be sent twice.
    #[must_use]
    pub fn stumbles(&self, from: End, to: End, key: u64) -> bool {
        let loss = 1.0 - (1.0 - self.conditions(from, to).loss) * (1.0 - self.common.control_loss);
        loss > 0.0 && unit(hash(&[self.seed, 7, from.word(), to.word(), key])) < loss
    }

    /// When a datagram arrives: never, once or twice.
    pub fn send(&mut self, now: Instant, parcel: Parcel) -> [Option<Instant>; 2] {
        let Parcel { from, to, size, key, media } = parcel;
        if !self.passes(Plane::Media, from, to) {
            return [None, None];
        }
        let bytes = size + OVERHEAD;
        let Some(left) = shape(self.up.get_mut(&from), now, bytes) else {
            self.dropped += 1;
            return [None, None];
        };
        let conditions = self.conditions(from, to).clone();
        if self.is_lost(&conditions, parcel, left) {
            self.lost += 1;
            return [None, None];
        }
        let draw = |salt: u64| unit(hash(&[self.seed, salt, from.word(), to.word(), key]));
        let mut delay =
            millis(conditions.delay_ms + conditions.jitter_ms * if conditions.jitter_ms > 0.0 { draw(2) } else { 0.0 });
        let mut owner = from;
        if let Some((made_by, at)) = media.filter(|(made_by, _)| to != End::Relay || *made_by == End::Relay) {
            owner = made_by;
            if self.common.jitter_ms > 0.0 {
                let slot = at.as_millis() as u64 / conditions::SLOT_MS;
                delay += millis(self.common.jitter_ms * unit(hash(&[self.seed, 3, made_by.word(), to.word(), slot])));
            }
        }
        let mut at = left + delay;
        if conditions.reorder > 0.0 && draw(4) < conditions.reorder {
            at += millis(conditions.reorder_ms);
        } else {
            let last = self.last.entry((from, to, owner)).or_insert(at);
            at = at.max(*last);
            *last = at;
        }
        let again =
            conditions.duplicate > 0.0 && unit(hash(&[self.seed, 5, from.word(), to.word(), key])) < conditions.duplicate;
        let Some(at) = shape(self.down.get_mut(&to), at, bytes) else {
            self.dropped += 1;
            return [None, None];
        };
        [Some(at), again.then(|| at + Duration::from_millis(1))]
    }

    fn is_lost(&mut self, conditions: &Conditions, parcel: Parcel, now: Instant) -> bool {
        let Parcel { from, to, key, media, .. } = parcel;
        let draw = |salt: u64, from: End| unit(hash(&[self.seed, salt, from.word(), to.word(), key]));
        if conditions.loss > 0.0 && draw(1, from) < conditions.loss {
            return true;
        }
        if let Some(burst) = conditions.burst {
            let slot = now.saturating_duration_since(self.base).as_millis() as u64 / conditions::SLOT_MS;
            let (own, other) = (from.word(), to.word());
            let chain = self.chains.entry((from, to, false)).or_insert_with(|| Chain::new(hash(&[self.seed, 11, own, other])));
            if chain.is_bad(burst, slot) && unit(hash(&[self.seed, 6, own, other, key])) < burst.loss {
                return true;
            }
        }
        if media.is_none() && self.common.control_loss > 0.0 && draw(10, from) < self.common.control_loss {
            return true;
        }
        // On the way to the relay nothing is decided yet: the packet has one fate for each of its receivers.
        let Some((owner, at)) = media.filter(|_| to != End::Relay) else { return false };
        if self.common.loss > 0.0 && unit(hash(&[self.seed, 8, owner.word(), to.word(), key])) < self.common.loss {
            return true;
        }
        let Some(burst) = self.common.burst else { return false };
        let slot = at.as_millis() as u64 / conditions::SLOT_MS;
        let words = [self.seed, 12, owner.word(), to.word()];
        let chain = self.chains.entry((owner, to, true)).or_insert_with(|| Chain::new(hash(&words)));
        chain.is_bad(burst, slot) && unit(hash(&[self.seed, 9, owner.word(), to.word(), key])) < burst.loss
    }
}

fn shape(shaper: Option<&mut Shaper>, now: Instant, bytes: usize) -> Option<Instant> {
    match shaper {
        Some(shaper) => shaper.pass(now, bytes),
        None => Some(now),
    }
}

/// Milliseconds as a duration; nothing below zero.
#[must_use]
pub fn millis(ms: f64) -> Duration {
    Duration::from_nanos((ms.max(0.0) * 1e6) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::base;

    fn parcel(key: u64, path: (End, End)) -> Parcel {
        Parcel { from: path.0, to: path.1, size: 1_000, key, media: None }
    }

    #[test]
    fn losses_come_as_often_as_asked_and_belong_to_the_packet() {
        let base = base();
        let ends = (End::Host(0), End::Host(1));
        let lost = |seed: u64| {
            let mut network = Network::new(seed, base);
            network.direct.loss = 0.1;
            (0..10_000).map(|key| network.send(base, parcel(key, ends))[0].is_none()).collect::<Vec<_>>()
        };
        let first = lost(1);
        let count = first.iter().filter(|lost| **lost).count();
        assert!((900..1_100).contains(&count), "{count} of 10000");
        assert_eq!(first, lost(1));
        assert_ne!(first, lost(2));
    }

    #[test]
    fn common_losses_are_the_same_on_every_path() {
        let base = base();
        let mut network = Network::new(5, base);
        network.common = Common { loss: 0.2, burst: Some(Burst { enter: 0.02, leave: 0.3, loss: 0.8 }), ..Common::default() };
        let (a, b) = (End::Host(0), End::Host(1));
        for key in 0..5_000 {
            let media = Some((a, Duration::from_millis(key * 20)));
            let direct = network.send(base, Parcel { media, ..parcel(key, (a, b)) })[0].is_some();
            assert!(network.send(base, Parcel { media, ..parcel(key, (a, End::Relay)) })[0].is_some());
            let relayed = network.send(base, Parcel { media, ..parcel(key, (End::Relay, b)) })[0].is_some();
            assert_eq!(direct, relayed, "packet {key}");
        }
    }

    #[test]
    fn a_queue_delays_until_it_is_full_and_then_drops() {
        let base = base();
        let mut network = Network::new(1, base);
        let access = Access { up: Rate::kbps(1_000), down: Rate::default(), queue_ms: 100 };
        network.set_access(End::Host(0), &access);
        let ends = (End::Host(0), End::Host(1));
        let arrivals: Vec<_> = (0..40).map(|key| network.send(base, parcel(key, ends))[0]).collect();
        // 1,044 bytes take 8.4 ms each at that rate.
        assert_eq!(arrivals[0].unwrap() - base, Duration::from_micros(8_352 + 12_500));
        assert!(arrivals[11].is_some() && arrivals[14].is_none());
        assert!(network.dropped > 20);
    }

    #[test]
    fn what_jitters_does_not_overtake_unless_reordered() {
        let base = base();
        let mut network = Network::new(1, base);
        network.direct = Conditions { delay_ms: 10.0, jitter_ms: 50.0, ..Conditions::default() };
        let ends = (End::Host(0), End::Host(1));
        let mut last = base;
        for key in 0..1_000 {
            let at = network.send(base + Duration::from_millis(key), parcel(key, ends))[0].unwrap();
            assert!(at >= last);
            last = at;
        }
        network.direct.reorder = 0.5;
        network.direct.reorder_ms = 30.0;
        let times: Vec<_> = (0..1_000).filter_map(|key| network.send(last, parcel(key, ends))[0]).collect();
        assert!(times.windows(2).any(|pair| pair[1] < pair[0]));
    }
}
