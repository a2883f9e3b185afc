//! What the topology controller looks at, and what it concludes.

use std::time::Instant;

use segue_model::{Path, Topology};

use super::config::TopologyConfig;
use super::edges::EdgeCounts;

/// What the members are and publish: changes with them, not with their edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RoomFacts {
    /// Participants.
    pub(super) members: usize,
    /// Somebody publishes video.
    pub(super) video: bool,
    /// Somebody shares a screen.
    pub(super) screen: bool,
    /// Somebody wants direct edges however many there are.
    pub(super) mesh_only: bool,
    /// Somebody goes by the relay only.
    pub(super) relay_only: bool,
    /// Somebody cannot build direct legs.
    pub(super) indirect: bool,
    /// Somebody only receives.
    pub(super) receive_only: bool,
}

/// The room in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RoomView {
    /// Its members.
    pub(super) facts: RoomFacts,
    /// Some participant has two edges on the relay although direct ones could exist, or reports two unreachable peers.
    pub(super) tangled: bool,
    /// Between some two the direct path is missing or clearly worse than the relay: not a mesh to go back to.
    pub(super) direct_worse: bool,
    /// Since when somebody's uplink has borne too little for a mesh.
    pub(super) short_since: Option<Instant>,
    /// A mesh would cost somebody's pictures something.
    pub(super) lacks_uplink: bool,
    /// Live edges.
    pub(super) edges: EdgeCounts,
}

/// Where the room should be, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) path: Path,
    pub(super) reason: &'static str,
    /// A failure asks for it: the limit on the number of handovers does not hold.
    pub(super) failure: bool,
    /// Since when an uplink asks for it, which has to last.
    pub(super) short_since: Option<Instant>,
}

impl RoomView {
    /// Where this room should be; `None`: where it is.
    pub(super) fn want(&self, config: &TopologyConfig) -> Option<Want> {
        let relayed = |reason| Some(Want { path: Path::Relayed, reason, failure: false, short_since: None });
        let direct = |reason| Some(Want { path: Path::Direct, reason, failure: false, short_since: None });
        let facts = &self.facts;
        let max = if facts.video { config.mesh_max } else { config.mesh_max_audio };
        if facts.members <= 1 {
            return direct("alone in the room");
        }
        if facts.relay_only {
            return relayed("a participant goes by the relay only");
        }
        if facts.indirect {
            return relayed("a participant cannot be reached directly");
        }
        if facts.receive_only {
            return relayed("a participant only receives");
        }
        if facts.mesh_only {
            return direct("a participant asks for direct paths");
        }
        if facts.members > max {
            return relayed("the room has grown");
        }
        if facts.screen && config.relay_for_screens && facts.members > 2 {
            return relayed("a screen is shared");
        }
        if self.tangled {
            let reason = "two direct paths of a participant failed";
            return Some(Want { path: Path::Relayed, reason, failure: true, short_since: None });
        }
        if self.short_since.is_some() && facts.members > 2 {
            let reason = "an uplink does not bear the mesh";
            return Some(Want { path: Path::Relayed, reason, failure: false, short_since: self.short_since });
        }
        if facts.members < max && !self.direct_worse && (!self.lacks_uplink || facts.members <= 2) {
            return direct("the room has shrunk");
        }
        None
    }

    /// Every live edge is on `path`, or cannot be.
    pub(super) fn all_on(&self, path: Path) -> bool {
        let edges = self.edges;
        match path {
            Path::Direct => edges.direct + edges.stuck == edges.total,
            Path::Relayed => edges.relayed == edges.total,
        }
    }

    /// The topology as it stands in a room that is to be on `target`: pure only where every edge is there.
    pub(super) fn standing(&self, target: Path) -> Topology {
        let edges = self.edges;
        match target {
            Path::Direct if edges.direct == edges.total => Topology::Mesh,
            Path::Relayed if edges.relayed == edges.total => Topology::Relayed,
            _ => Topology::Mixed,
        }
    }
}
