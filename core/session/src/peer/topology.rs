//! The room's decisions as the relay issues them, and our own view while it is away.

use std::time::{Duration, Instant};

use segue_model::{Epoch, Path, Topology, TopologyPolicy};
use segue_wire::proto::{self, client_frame};

use super::{LegKey, ParticipantInfo, PeerEvent, PeerMachine, convert};
use crate::handover::FIRST_PATH_PATIENCE;

/// What the relay decided last.
#[derive(Debug)]
pub(super) struct TopologyState {
    pub epoch: Epoch,
    /// Where the room is going, or is.
    pub target: Topology,
    /// Where it is by the relay's word.
    pub committed: Topology,
    pub reason: String,
    /// The last the application was told.
    pub announced: Topology,
    /// A prepare that we have not answered yet, and when we answer it at the latest.
    pub prepared: Option<Instant>,
}

impl Default for TopologyState {
    fn default() -> Self {
        Self {
            epoch: Epoch::default(),
            target: Topology::Mesh,
            committed: Topology::Mesh,
            reason: String::new(),
            announced: Topology::Mesh,
            prepared: None,
        }
    }
}

impl TopologyState {
    /// The path of an edge that may be direct.
    pub fn preferred(&self) -> Path {
        match self.target {
            Topology::Mesh | Topology::Mixed => Path::Direct,
            Topology::Relayed => Path::Relayed,
        }
    }
}

impl PeerMachine {
    /// The room as a new session finds it. Its epoch holds whatever we knew before.
    pub(super) fn reset_topology(&mut self, commit: Option<&proto::TopologyCommit>, size: usize) {
        let committed = commit.and_then(|commit| convert::topology(commit.topology)).unwrap_or(Topology::Mesh);
        self.topology.epoch = convert::epoch(commit.and_then(|commit| commit.epoch));
        self.topology.committed = committed;
        self.topology.prepared = None;
        self.uplink_told.forget();
        self.topology.reason = commit.map(|commit| commit.reason.clone()).unwrap_or_default();
        // A mixed room does not say where it was going; its size does.
        self.topology.target = match committed {
            Topology::Mixed if size > self.mesh_max => Topology::Relayed,
            Topology::Mixed => Topology::Mesh,
            pure => pure,
        };
    }

    pub(super) fn handle_topology_prepare(&mut self, now: Instant, prepare: &proto::TopologyPrepare) {
        let epoch = convert::epoch(prepare.epoch);
        let Some(target) = convert::topology(prepare.target).filter(|_| epoch >= self.topology.epoch) else {
            self.dropped.stale += 1;
            return;
        };
        // A newcomer hears of a move under way under the epoch that also says how the room stands.
        let under_way = epoch == self.topology.epoch;
        self.topology.epoch = epoch;
        self.topology.target = target;
        if under_way {
            self.begin_edges_anew(now, epoch);
        }
        prepare.reason.clone_into(&mut self.topology.reason);
        self.topology.prepared = Some(now + FIRST_PATH_PATIENCE);
        self.note_decision();
    }

    pub(super) fn handle_topology_commit(&mut self, commit: &proto::TopologyCommit) {
        let epoch = convert::epoch(commit.epoch);
        let Some(committed) = convert::topology(commit.topology).filter(|_| epoch >= self.topology.epoch) else {
            self.dropped.stale += 1;
            return;
        };
        self.topology.committed = committed;
        let target = if committed == Topology::Mixed { self.topology.target } else { committed };
        self.set_target(epoch, target, &commit.reason);
    }

    pub(super) fn handle_topology_abort(&mut self, abort: &proto::TopologyAbort) {
        let epoch = convert::epoch(abort.epoch);
        let Some(back) = convert::topology(abort.topology).filter(|_| epoch >= self.topology.epoch) else {
            self.dropped.stale += 1;
            return;
        };
        self.topology.committed = back;
        let target = match (back, self.topology.target) {
            (Topology::Mixed, Topology::Relayed) => Topology::Mesh,
            (Topology::Mixed, _) => Topology::Relayed,
            (pure, _) => pure,
        };
        self.set_target(epoch, target, &abort.reason);
    }

    fn set_target(&mut self, epoch: Epoch, target: Topology, reason: &str) {
        let changed = target != self.topology.target;
        self.topology.epoch = epoch;
        self.topology.target = target;
        self.topology.prepared = None;
        reason.clone_into(&mut self.topology.reason);
        if changed {
            self.note_decision();
        }
    }

    fn note_decision(&mut self) {
        for remote in self.remotes.values_mut() {
            remote.out.handle_decision();
        }
    }

    /// Where the edge to `other` should be, and why.
    pub(super) fn wished_path(&self, other: &ParticipantInfo) -> (Path, &str) {
        if !self.direct_permitted(other) {
            return (Path::Relayed, "no direct path is allowed between these two");
        }
        if !self.direct_wanted(other) {
            return (Path::Relayed, "the room is too large for direct paths");
        }
        if self.config.policy == TopologyPolicy::MeshOnly || other.policy == TopologyPolicy::MeshOnly {
            return (Path::Direct, "a participant wants direct paths");
        }
        (self.topology.preferred(), &self.topology.reason)
    }

    /// Answers a prepare once the legs of its target are up, or have had their time: the room does not wait for one that cannot.
    pub(super) fn announce_ready(&mut self, now: Instant) {
        let Some(latest) = self.topology.prepared else { return };
        let up = match self.topology.target {
            Topology::Relayed => self.leg_is_up(LegKey::RelayPublisher) && self.leg_is_up(LegKey::RelaySubscriber),
            Topology::Mesh | Topology::Mixed => {
                let direct = self.remotes.values().filter(|remote| self.direct_wanted(&remote.info));
                direct.map(|remote| LegKey::Peer(remote.info.id)).all(|leg| self.leg_is_up(leg))
            }
        };
        if up || now >= latest {
            self.topology.prepared = None;
            let epoch = convert::wire_epoch(self.topology.epoch);
            self.send_server(now, client_frame::Message::TopologyReady(proto::TopologyReady { epoch }));
        }
    }

    /// The relay's word while it is there, our own edges taken together otherwise.
    pub(super) fn current_topology(&self) -> Topology {
        if self.connection.is_live() || self.remotes.is_empty() {
            return self.topology.committed;
        }
        let mut paths = self.remotes.values().flat_map(|remote| [remote.out.path(), remote.inc.path()]);
        match paths.next() {
            Some(first) if paths.all(|path| path == first) => match first {
                Path::Direct => Topology::Mesh,
                Path::Relayed => Topology::Relayed,
            },
            _ => Topology::Mixed,
        }
    }

    pub(super) fn announce_topology(&mut self) {
        let to = self.current_topology();
        let from = std::mem::replace(&mut self.topology.announced, to);
        if from != to {
            let reason = if self.connection.is_live() { self.topology.reason.clone() } else { "the relay is away".to_owned() };
            self.events.push_back(PeerEvent::TopologyChanged { from, to, reason, epoch: self.topology.epoch });
        }
    }

    /// Time for which packets of an edge's old path may still come: twice the longer round trip and a playout delay.
    pub(super) fn drain_time(&self, legs: [LegKey; 2]) -> Duration {
        // What a jitter buffer holds at most on a fair path.
        const PLAYOUT: Duration = Duration::from_millis(200);
        let longest = legs.iter().filter_map(|leg| self.legs.get(leg)?.rtt).max().unwrap_or_default();
        longest * 2 + PLAYOUT
    }
}
