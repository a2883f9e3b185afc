//! The last changes of path, for whoever asks what they cost.

use std::collections::VecDeque;
use std::time::Instant;

use segue_media::interruption::AFTERMATH;
use segue_model::{Epoch, Path, Topology, TrackKind};

use super::Driver;
use crate::event::Edge;
use crate::stats::{HandoverReport, PathChange, TopologyChange, TrackGap};

/// Changes of the room kept: at one in 30 s, those of a quarter of an hour.
const MAX_MOVES: usize = 32;

/// Changes of edges kept: a room of 8 that moves there and back, twice over.
const MAX_CHANGES: usize = 64;

/// A change of the room.
pub(super) struct TopologyMove {
    pub(super) from: Topology,
    pub(super) to: Topology,
    pub(super) reason: String,
    pub(super) epoch: Epoch,
}

/// A change of one edge.
struct PathMove {
    edge: Edge,
    path: Path,
    reason: String,
}

#[derive(Default)]
pub(super) struct History {
    rooms: VecDeque<(Instant, TopologyMove)>,
    paths: VecDeque<(Instant, PathMove)>,
}

impl History {
    pub(super) fn note_topology(&mut self, now: Instant, change: TopologyMove) {
        push(&mut self.rooms, MAX_MOVES, (now, change));
    }

    pub(super) fn note_path(&mut self, now: Instant, edge: Edge, path: Path, reason: &str) {
        push(&mut self.paths, MAX_CHANGES, (now, PathMove { edge, path, reason: reason.to_owned() }));
    }
}

fn push<T>(to: &mut VecDeque<T>, most: usize, item: T) {
    if to.len() >= most {
        to.pop_front();
    }
    to.push_back(item);
}

impl Driver {
    /// What the last changes cost here.
    pub(super) fn handover_report(&self, now: Instant) -> HandoverReport {
        let rooms = self.history.rooms.iter().map(|(at, change)| TopologyChange {
            from: change.from,
            to: change.to,
            reason: change.reason.clone(),
            epoch: change.epoch,
            ago: now.saturating_duration_since(*at),
        });
        let paths = self.history.paths.iter().map(|(at, change)| PathChange {
            edge: change.edge,
            path: change.path,
            reason: change.reason.clone(),
            ago: now.saturating_duration_since(*at),
            settled: now > *at + AFTERMATH,
            tracks: self.gaps_of(change.edge, *at),
        });
        HandoverReport { topology: rooms.collect(), paths: paths.collect() }
    }

    /// Of an edge that leads here; what others hear of us they know themselves.
    fn gaps_of(&self, edge: Edge, at: Instant) -> Vec<TrackGap> {
        if self.machine.local() != Some(edge.subscriber) {
            return Vec::new();
        }
        let theirs = self.remotes.iter().filter(|(track, _)| self.machine.publisher(**track) == Some(edge.publisher));
        let gaps = theirs.map(|(track, remote)| {
            let found = remote.interruptions.around(at);
            let lost = matches!(remote.kind(), TrackKind::Audio).then_some(found.frames);
            TrackGap { track: *track, kind: remote.kind(), gap: found.longest, frames_lost: lost }
        });
        gaps.collect()
    }
}
