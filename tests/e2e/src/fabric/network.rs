//! What stands between two ends, and what it does to a datagram.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::fate::Fates;
use crate::link::{Conditions, Shaper};

/// What hangs on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The relay.
    Relay,
    /// A participant, by its place in the cast.
    Host(usize),
}

/// A participant's access link: rates and queues in front of everything it sends and receives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Access {
    /// Towards the network.
    pub up: Conditions,
    /// From it.
    pub down: Conditions,
}

/// Conditions between all ends.
#[derive(Default)]
pub struct Network {
    /// Between two participants.
    pub direct: Conditions,
    /// Between a participant and the relay.
    pub relay: Conditions,
    /// What befalls media end to end, whatever path it takes.
    pub fates: Fates,
    blocked: BTreeSet<(End, End)>,
    paths: BTreeMap<(End, End), Shaper>,
    access: BTreeMap<(End, bool), Shaper>,
    sent: BTreeMap<End, u64>,
    /// Datagrams that were dropped because their way is cut.
    pub cut: u64,
}

impl Network {
    /// Puts a participant behind an access link.
    pub fn set_access(&mut self, host: usize, access: Access) {
        for (up, conditions) in [(true, access.up), (false, access.down)] {
            self.access.insert((End::Host(host), up), Shaper::new(conditions, seed(End::Host(host), End::Host(host))));
        }
    }

    /// Drops everything between two ends, both ways, or nothing any more.
    pub fn block(&mut self, one: End, other: End, blocked: bool) {
        for pair in [(one, other), (other, one)] {
            if blocked {
                self.blocked.insert(pair);
            } else {
                self.blocked.remove(&pair);
            }
        }
    }

    /// Bytes of datagrams sent so far.
    #[must_use]
    pub fn sent_by(&self, end: End) -> u64 {
        self.sent.get(&end).copied().unwrap_or(0)
    }

    /// When a datagram that is sent now arrives; `None`: never.
    pub(super) fn pass(&mut self, now: Instant, from: End, to: End, datagram: &[u8]) -> Option<Instant> {
        let size = datagram.len();
        *self.sent.entry(from).or_default() += size as u64;
        let mut at = now;
        if let Some(access) = self.access.get_mut(&(from, true)) {
            at = access.push(at, size)?;
        }
        if self.blocked.contains(&(from, to)) {
            self.cut += 1;
            return None;
        }
        // On the way to the relay nothing is decided yet: a packet has one fate for each of its receivers.
        if let End::Host(receiver) = to
            && self.fates.is_lost(receiver, datagram)
        {
            return None;
        }
        let usual = if from == End::Relay || to == End::Relay { self.relay } else { self.direct };
        let path = self.paths.entry((from, to)).or_insert_with(|| Shaper::new(usual, seed(from, to)));
        path.set_conditions(usual);
        at = path.push(at, size)?;
        match self.access.get_mut(&(to, false)) {
            Some(access) => access.push(at, size),
            None => Some(at),
        }
    }
}

fn seed(from: End, to: End) -> u64 {
    let word = |end| match end {
        End::Relay => 0,
        End::Host(at) => at as u64 + 1,
    };
    word(from) * 1_000 + word(to)
}
