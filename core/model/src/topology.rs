//! Paths, topologies and their numbers.

use serde::{Deserialize, Serialize};

/// The way media takes along one edge (publisher to subscriber).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Path {
    /// Peer to peer.
    Direct,
    /// Through the relay.
    Relayed,
}

impl Path {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Direct => Self::Relayed,
            Self::Relayed => Self::Direct,
        }
    }
}

/// What the edges of a room are, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topology {
    /// Every edge is direct.
    Mesh,
    /// Some are direct, some relayed.
    Mixed,
    /// Every edge is relayed.
    Relayed,
}

/// What an application allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TopologyPolicy {
    /// Mesh while small, relay when grown.
    #[default]
    Auto,
    /// Direct edges wherever they connect.
    MeshOnly,
    /// Everything through the relay.
    RelayOnly,
    /// Through the relay, and no address is told to other participants.
    HideAddress,
}

/// The number of a topology decision: issued by the relay only; lower ones are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch {
    /// Of the relay process.
    pub incarnation: u64,
    /// Counts its decisions for the room.
    pub counter: u64,
}
