//! Messages that changed nothing, and why.

use super::PeerMachine;

/// Counts since the beginning. Some are ordinary: two carriers bring each signal twice, and a decision overtakes another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Of an epoch that is over, or overtaken by a later word of the same participant.
    pub stale: u64,
    /// Seen before.
    pub repeated: u64,
    /// From somebody who is not in the room, in another's name, or meant for somebody else.
    pub foreign: u64,
    /// Not to be read.
    pub malformed: u64,
}

impl PeerMachine {
    /// Messages of others and of the relay that changed nothing.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }
}
