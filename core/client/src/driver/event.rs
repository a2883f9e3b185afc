//! What the participant's machine tells, as the application sees it.

use std::time::Instant;

use segue_model::{ParticipantId, Quality};
use segue_session::peer::{ConnectionState as PeerState, ParticipantInfo, PeerEvent, TrackInfo};
use segue_wire::proto::LeaveReason as WireReason;

use super::Driver;
use super::history::TopologyMove;
use crate::error::{Error, code_name};
use crate::event::{ConnectionState, Reliability, RoomEvent};
use crate::room::RemoteTrack;

impl Driver {
    pub(super) fn handle_event(&mut self, now: Instant, event: PeerEvent) {
        match event {
            PeerEvent::ConnectionStateChanged(state) => self.handle_state(&state),
            PeerEvent::Joined { room, local } => {
                let mut view = self.shared.view();
                view.room = room;
                view.local = Some(local);
                view.topology = self.machine.topology();
                drop(view);
                self.answer_join(Ok(()));
            }
            PeerEvent::ParticipantJoined(info) => self.add_participant(info),
            PeerEvent::ParticipantLeft { participant, reason } => self.remove_participant(participant, reason),
            PeerEvent::TrackPublished { participant, track } => self.add_track(now, participant, track),
            PeerEvent::TrackUnpublished { track, .. } => self.remove_track(track),
            PeerEvent::TrackMuted { track, muted, .. } => {
                let found = self.shared.view().tracks.get(&track).cloned();
                if let Some(track) = found {
                    track.inner().set_muted(muted);
                    self.shared.emit(&RoomEvent::TrackMuted { track, muted });
                } else if self.publications.contains_key(&track) {
                    self.mute_publication(now, track, muted);
                    self.shared.emit(&RoomEvent::MutedByModerator { track });
                }
            }
            PeerEvent::Published { request, track } => self.begin_publication(request, &track),
            PeerEvent::PublishFailed { request, code, message } => {
                if let Some(pending) = self.pending.remove(&request) {
                    let _ = pending.reply.send(Err(Error::Refused { code: code_name(code), message }));
                }
            }
            PeerEvent::TrackRenumbered { old, new } => self.renumber(old, new),
            PeerEvent::WishChanged { .. } => {}
            PeerEvent::TopologyChanged { from, to, reason, epoch } => {
                self.shared.view().topology = to;
                self.history.note_topology(now, TopologyMove { from, to, reason: reason.clone(), epoch });
                self.shared.emit(&RoomEvent::TopologyChanged { from, to, reason, epoch });
            }
            PeerEvent::PathChanged { edge, path, reason } => {
                self.shared.view().paths = self.machine.path_info();
                self.history.note_path(now, edge, path, &reason);
                self.shared.emit(&RoomEvent::PathChanged { edge, path, reason });
            }
            PeerEvent::DataReceived { from, topic, payload, reliable } => {
                let reliability = if reliable { Reliability::Reliable } else { Reliability::Lossy };
                self.shared.emit(&RoomEvent::DataReceived { from, topic, payload, reliability });
            }
            PeerEvent::SpeakersChanged(speakers) => self.shared.emit(&RoomEvent::SpeakersChanged(speakers)),
            PeerEvent::KeyframeRequested { track, encoding } => {
                if let Some(publication) = self.publications.get(&track) {
                    publication.feed.request_keyframe(encoding);
                }
            }
            PeerEvent::ServerError { code, message } => {
                tracing::info!(code = code_name(code), message, "the relay refused");
                self.shared.emit(&RoomEvent::Warning { code: code_name(code), message });
            }
        }
    }

    fn handle_state(&mut self, state: &PeerState) {
        let state = match state {
            PeerState::Idle | PeerState::Connecting => ConnectionState::Connecting,
            PeerState::Connected => ConnectionState::Connected,
            PeerState::Reconnecting => {
                self.fetch_token();
                ConnectionState::Reconnecting
            }
            PeerState::Disconnected { reason, code, message } => {
                let (code, message) = (code_name(*code), message.clone());
                // Before the join was answered, this is the answer.
                if self.leave_by.is_none() {
                    self.answer_join(Err(Error::Refused { code, message: message.clone() }));
                    self.leave_by = Some(crate::clock::now() + super::LEAVE_TIME);
                }
                ConnectionState::Disconnected { reason: (*reason).into(), code, message }
            }
        };
        self.shared.view().state = state.clone();
        self.shared.emit(&RoomEvent::ConnectionStateChanged(state));
    }

    /// Asks the application for a token for the joins to come.
    fn fetch_token(&self) {
        let Some(provider) = self.options.token_provider.clone() else { return };
        let tokens = self.inlets.tokens.clone();
        tokio::spawn(async move {
            if let Some(token) = provider.token().await {
                let _ = tokens.send(token).await;
            }
        });
    }

    fn add_participant(&self, info: ParticipantInfo) {
        let participant = self.shared.view().add_participant(info, &self.shared);
        self.shared.emit(&RoomEvent::ParticipantJoined(participant));
    }

    fn remove_participant(&mut self, id: ParticipantId, reason: WireReason) {
        let tracks: Vec<RemoteTrack> =
            self.shared.view().tracks.values().filter(|track| track.participant() == id).cloned().collect();
        for track in tracks {
            self.remove_track(track.id());
        }
        let gone = self.shared.view().participants.remove(&id);
        if let Some(participant) = gone {
            self.shared.emit(&RoomEvent::ParticipantLeft { participant, reason: reason.into() });
        }
    }

    fn add_track(&mut self, now: Instant, owner: ParticipantId, info: TrackInfo) {
        let Some(participant) = self.shared.view().participants.get(&owner).cloned() else { return };
        let track = self.shared.view().add_track(owner, info, &self.shared);
        self.add_remote(now, &track, participant.is_native());
        if !self.options.auto_subscribe {
            self.machine.subscribe(now, track.id(), Quality::Off);
        }
        self.shared.emit(&RoomEvent::TrackPublished { participant, track });
    }

    fn remove_track(&mut self, id: segue_model::TrackId) {
        self.remove_remote(id);
        let gone = self.shared.view().tracks.remove(&id);
        let Some(track) = gone else { return };
        let owner = self.shared.view().participants.get(&track.participant()).cloned();
        if let Some(participant) = owner {
            self.shared.emit(&RoomEvent::TrackUnpublished { participant, track });
        }
    }
}
