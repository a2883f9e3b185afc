//! Our edges: where each should be, what its paths are worth, and what its moves cause.

use std::time::{Duration, Instant};

use segue_model::{ParticipantId, Path, Quality, TrackId, TrackKind};
use segue_wire::proto::{self, client_frame};

use super::roster::Remote;
use super::{Edge, LegKey, PathInfo, PeerEvent, PeerMachine, TrackInfo, convert};
use crate::handover::{EdgeWish, OutgoingOutput, PathState, PathStates, raise_between};

impl PeerMachine {
    /// Compares every outgoing edge with where it should be.
    pub(super) fn reconcile_edges(&mut self, now: Instant) {
        let ids: Vec<_> = self.remotes.keys().copied().collect();
        for id in ids {
            self.reconcile_edge(now, id);
        }
    }

    fn reconcile_edge(&mut self, now: Instant, id: ParticipantId) {
        let Some(remote) = self.remotes.get(&id) else { return };
        let (path, reason) = self.wished_path(&remote.info);
        let reason = if reason.is_empty() { "the room wants it" } else { reason }.to_owned();
        let states = self.path_states(remote);
        let moving = remote.out.path() != path || remote.out.in_overlap();
        let tracks = if moving { self.audible_tracks(remote) } else { Vec::new() };
        let raise = if moving { self.raise_for(remote, path) } else { Duration::ZERO };
        let epoch = self.topology.epoch;
        let first_video = self.video_indices().start;
        let merges = self.config.origin && remote.info.origin;
        let Some(remote) = self.remotes.get_mut(&id) else { return };
        remote.out.reconcile(
            now,
            EdgeWish { path, reason: &reason, epoch, tracks: &tracks, raise, first_video, merges },
            states,
        );
        while let Some(output) = self.remotes.get_mut(&id).and_then(|remote| remote.out.poll_output()) {
            self.handle_edge_output(now, id, output);
        }
    }

    fn handle_edge_output(&mut self, now: Instant, id: ParticipantId, output: OutgoingOutput) {
        match output {
            OutgoingOutput::TellRelay { direct, relayed, voice_only, decodes, epoch, reason } => {
                let path = match (direct, relayed) {
                    (true, true) => proto::Path::Both,
                    (_, true) => proto::Path::Relayed,
                    _ => proto::Path::Direct,
                };
                let (epoch, path) = (convert::wire_epoch(epoch), path.into());
                let direct = if relayed && decodes { self.direct_encodings(id) } else { Vec::new() };
                let edge = proto::EdgePath { epoch, subscriber: id.0, path, reason, voice_only, direct };
                self.send_server(now, client_frame::Message::EdgePath(edge));
            }
            OutgoingOutput::Send(message) => self.send_edge_message(now, id, message),
            OutgoingOutput::Changed { path, reason } => {
                if let Some(publisher) = self.local() {
                    let edge = Edge { publisher, subscriber: id };
                    self.events.push_back(PeerEvent::PathChanged { edge, path, reason });
                }
            }
        }
    }

    /// In which encodings somebody gets our pictures directly.
    fn direct_encodings(&self, id: ParticipantId) -> Vec<proto::TrackEncoding> {
        let pictures = self.publications.values().filter(|track| track.kind == TrackKind::Video);
        let of = |track: &TrackInfo| {
            let encoding = self.encodings_on(track.id, LegKey::Peer(id)).first()?;
            Some(proto::TrackEncoding { track: track.id.0.into(), encoding: encoding.0.into() })
        };
        pictures.filter_map(of).collect()
    }

    /// What a subscriber should hear on a new path.
    fn audible_tracks(&self, remote: &Remote) -> Vec<TrackId> {
        let wanted = |track: &TrackId| remote.wishes.get(track) != Some(&Quality::Off);
        self.publications.values().filter(|track| !track.muted).map(|track| track.id).filter(wanted).collect()
    }

    /// By how much later than now `to` would deliver at somebody, as far as heartbeats tell.
    fn raise_for(&self, remote: &Remote, to: Path) -> Duration {
        let (direct, ours) = (self.leg_round_trip(LegKey::Peer(remote.info.id)), self.leg_round_trip(LegKey::RelayPublisher));
        let (Some(direct), Some(ours), Some(theirs)) = (direct, ours, remote.relay_round_trip) else { return Duration::ZERO };
        let (direct, relayed) = (direct / 2, (ours + theirs) / 2);
        match to {
            Path::Direct => raise_between(relayed, direct),
            Path::Relayed => raise_between(direct, relayed),
        }
    }

    /// The two paths from us to somebody.
    fn path_states(&self, remote: &Remote) -> PathStates {
        PathStates { direct: self.direct_state(remote), relayed: self.relayed_state(remote) }
    }

    fn direct_state(&self, remote: &Remote) -> PathState {
        let key = LegKey::Peer(remote.info.id);
        if self.leg_is_up(key) {
            PathState::Up
        } else if !self.direct_permitted(&remote.info) {
            PathState::Barred
        } else if self.leg_is_suspect(key) {
            PathState::Suspect
        } else {
            PathState::Down
        }
    }

    pub(super) fn relayed_state(&self, remote: &Remote) -> PathState {
        // A path that the relay must be told of is no path while the relay cannot be told.
        let reachable = self.connection.is_live() || remote.out.carries(Path::Relayed);
        if !self.leg_is_up(LegKey::RelayPublisher) {
            if self.leg_is_suspect(LegKey::RelayPublisher) { PathState::Suspect } else { PathState::Down }
        } else if !reachable {
            PathState::Down
        } else if remote.relay_lost {
            PathState::Suspect
        } else {
            PathState::Up
        }
    }

    /// The relay of a new session knows nothing of our edges.
    pub(super) fn retell_edges(&mut self) {
        for remote in self.remotes.values_mut() {
            remote.out.tell_relay();
        }
    }

    pub(super) fn edge_timeout(&self, now: Instant) -> Option<Instant> {
        let videos = self.video_indices();
        let of = |remote: &Remote| {
            let steps = [remote.out.poll_timeout(), remote.out.next_step(now, videos.clone()), remote.inc.poll_timeout()];
            steps.into_iter().flatten().min()
        };
        self.remotes.values().filter_map(of).min()
    }

    pub(super) fn handle_edge_timeouts(&mut self, now: Instant) {
        for remote in self.remotes.values_mut() {
            remote.inc.handle_timeout(now);
        }
    }

    pub(super) fn edge_info(&self) -> Vec<PathInfo> {
        let Some(local) = self.local() else { return Vec::new() };
        let mut infos = Vec::with_capacity(self.remotes.len() * 2);
        for (&id, remote) in &self.remotes {
            let up = |path, relay| match path {
                Path::Direct => self.leg_is_up(LegKey::Peer(id)),
                Path::Relayed => self.leg_is_up(relay),
            };
            infos.push(PathInfo {
                edge: Edge { publisher: local, subscriber: id },
                path: remote.out.path(),
                active: up(remote.out.path(), LegKey::RelayPublisher) && !remote.relay_lost_on(remote.out.path()),
                moving: remote.out.in_overlap(),
                reason: remote.out.reason().to_owned(),
            });
            infos.push(PathInfo {
                edge: Edge { publisher: id, subscriber: local },
                path: remote.inc.path(),
                active: up(remote.inc.path(), LegKey::RelaySubscriber),
                moving: remote.inc.moving_to().is_some(),
                reason: remote.inc.reason().to_owned(),
            });
        }
        infos
    }
}

impl Remote {
    fn relay_lost_on(&self, path: Path) -> bool {
        path == Path::Relayed && self.relay_lost
    }
}
