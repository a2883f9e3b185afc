//! The path of every edge, and how many edges are where.

use std::collections::BTreeMap;

use segue_model::{ParticipantId, Path};

/// Where an edge is, in its publisher's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdgePath {
    /// On one path.
    On(Path),
    /// On both, on the way to another.
    Both,
    /// Likewise, but the relay is to forward voice only so far.
    Voice,
}

impl EdgePath {
    /// The relay forwards it.
    pub(super) fn forwarded(self) -> bool {
        self != Self::On(Path::Direct)
    }
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    path: EdgePath,
    /// A direct leg can exist between the two.
    possible: bool,
    /// Its publisher has something to send.
    live: bool,
}

/// How many live edges there are and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EdgeCounts {
    /// All of them.
    pub(super) total: usize,
    /// On the direct path alone.
    pub(super) direct: usize,
    /// On the relayed path alone.
    pub(super) relayed: usize,
    /// Of `relayed`, those that cannot be direct.
    pub(super) stuck: usize,
}

/// All edges of the room. Counts are kept as edges change: a large room has more edges than could be counted per message.
#[derive(Debug, Default)]
pub(super) struct EdgeTable {
    edges: BTreeMap<(ParticipantId, ParticipantId), Edge>,
    counts: EdgeCounts,
}

impl EdgeTable {
    /// A new edge on the path it has until its publisher says otherwise. `possible`: a direct leg can exist between the two;
    /// `live`: the publisher has something to send.
    pub(super) fn insert(
        &mut self,
        publisher: ParticipantId,
        subscriber: ParticipantId,
        path: Path,
        possible: bool,
        live: bool,
    ) {
        let edge = Edge { path: EdgePath::On(path), possible, live };
        if let Some(old) = self.edges.insert((publisher, subscriber), edge) {
            count(&mut self.counts, old, false);
        }
        count(&mut self.counts, edge, true);
    }

    /// A participant left; `others` are all it may have had edges with.
    pub(super) fn remove(&mut self, participant: ParticipantId, others: impl Iterator<Item = ParticipantId>) {
        for key in others.flat_map(|other| [(participant, other), (other, participant)]) {
            if let Some(edge) = self.edges.remove(&key) {
                count(&mut self.counts, edge, false);
            }
        }
    }

    /// A publisher has begun or ceased to publish anything at all.
    pub(super) fn set_live(&mut self, publisher: ParticipantId, live: bool) {
        let range = (publisher, ParticipantId(0))..=(publisher, ParticipantId(u32::MAX));
        for (_, edge) in self.edges.range_mut(range) {
            count(&mut self.counts, *edge, false);
            edge.live = live;
            count(&mut self.counts, *edge, true);
        }
    }

    /// A publisher says where an edge is. `None`: there is no such edge; otherwise where it was.
    pub(super) fn set_path(&mut self, publisher: ParticipantId, subscriber: ParticipantId, path: EdgePath) -> Option<EdgePath> {
        let edge = self.edges.get_mut(&(publisher, subscriber))?;
        let before = edge.path;
        count(&mut self.counts, *edge, false);
        edge.path = path;
        count(&mut self.counts, *edge, true);
        Some(before)
    }

    /// Edges nobody sends on follow the room: gives those that changed.
    pub(super) fn settle_idle(&mut self, path: Path) -> Vec<(ParticipantId, ParticipantId)> {
        let idle = self.edges.iter_mut().filter(|(_, edge)| !edge.live && edge.path != EdgePath::On(path));
        let movable = idle.filter(|(_, edge)| path == Path::Relayed || edge.possible);
        movable
            .map(|(&key, edge)| {
                edge.path = EdgePath::On(path);
                key
            })
            .collect()
    }

    pub(super) fn path(&self, publisher: ParticipantId, subscriber: ParticipantId) -> Option<EdgePath> {
        self.edges.get(&(publisher, subscriber)).map(|edge| edge.path)
    }

    pub(super) fn counts(&self) -> EdgeCounts {
        self.counts
    }

    /// How many live edges of a publisher go by the relay although a direct leg could exist.
    pub(super) fn fallbacks(&self, publisher: ParticipantId) -> usize {
        let range = (publisher, ParticipantId(0))..=(publisher, ParticipantId(u32::MAX));
        self.edges
            .range(range)
            .filter(|(_, edge)| edge.live && edge.possible && edge.path == EdgePath::On(Path::Relayed))
            .count()
    }
}

fn count(counts: &mut EdgeCounts, edge: Edge, add: bool) {
    if !edge.live {
        return;
    }
    let change = |field: &mut usize| *field = if add { field.saturating_add(1) } else { field.saturating_sub(1) };
    change(&mut counts.total);
    match edge.path {
        EdgePath::On(Path::Direct) => change(&mut counts.direct),
        EdgePath::On(Path::Relayed) => {
            change(&mut counts.relayed);
            if !edge.possible {
                change(&mut counts.stuck);
            }
        }
        EdgePath::Both | EdgePath::Voice => {}
    }
}
