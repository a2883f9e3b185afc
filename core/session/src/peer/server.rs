//! What the relay says.

use std::time::Instant;

use segue_model::ParticipantId;
use segue_wire::proto::server_frame::Message;
use segue_wire::proto::{self, LeaveReason};

use super::legs::OpenReason;
use super::{Command, LegKey, PeerEvent, PeerMachine, Speaker, convert};
use crate::data;

/// A room without a size of its own in Joined.
const DEFAULT_MESH_MAX: usize = 4;

impl PeerMachine {
    pub(super) fn handle_server_message(&mut self, now: Instant, message: Message, ack: u64) {
        match message {
            Message::Joined(joined) => self.handle_joined(now, joined),
            Message::Resumed(_) => self.handle_resumed(now, ack),
            Message::Goodbye(goodbye) => self.handle_goodbye(now, goodbye),
            Message::ParticipantJoined(joined) => {
                if let Some(participant) = joined.participant {
                    self.add_remote(now, &participant);
                }
            }
            Message::ParticipantLeft(left) => {
                let reason = LeaveReason::try_from(left.reason).unwrap_or(LeaveReason::Unspecified);
                self.remove_remote(ParticipantId(left.participant), reason);
            }
            Message::TrackPublished(published) => {
                if let Some(track) = published.track.as_ref().and_then(convert::track) {
                    self.add_track(ParticipantId(published.participant), track);
                }
            }
            Message::TrackUnpublished(gone) => {
                if let Some(track) = convert::track_id(gone.track) {
                    self.remove_track(ParticipantId(gone.participant), track);
                }
            }
            Message::TrackMuted(muted) => {
                let track = convert::track_id(muted.track);
                if let Some(track) = track.filter(|track| self.publications.contains_key(track)) {
                    self.note_moderated(track, muted.muted);
                } else if let Some(track) = track {
                    self.set_remote_muted(ParticipantId(muted.participant), track, muted.muted);
                }
            }
            Message::Published(published) => self.handle_published(&published),
            Message::Description(description) => self.handle_relay_description(now, description),
            Message::Candidate(candidate) => self.handle_relay_candidate(candidate),
            Message::Signal(signal) => self.handle_signal(now, ParticipantId(signal.from), &signal),
            Message::TopologyPrepare(prepare) => self.handle_topology_prepare(now, &prepare),
            Message::TopologyCommit(commit) => self.handle_topology_commit(&commit),
            Message::TopologyAbort(abort) => self.handle_topology_abort(&abort),
            Message::Speakers(speakers) => self.handle_speakers(&speakers),
            Message::Slots(slots) => self.commands.push_back(Command::SetSlots(slots.slots)),
            Message::Error(error) => {
                if !self.handle_publish_error(&error) {
                    self.handle_error(now, error);
                }
            }
            // Heard is heard; see the connection.
            Message::Pong(_) => {}
        }
    }

    /// A new session: the first, or one after the relay forgot us.
    fn handle_joined(&mut self, now: Instant, joined: proto::Joined) {
        let Some(wire) = &joined.self_ else { return };
        let local = convert::participant(wire);
        if self.local().is_some_and(|before| before != local.id) {
            // Under a new id we are somebody else to the others: their legs to us belong to the old one.
            self.become_somebody_else();
        }
        let known: Vec<_> = self.remotes.keys().copied().collect();
        let restarted = self.incarnation != joined.incarnation;
        self.incarnation = joined.incarnation;
        self.mesh_max = usize::try_from(joined.mesh_max).ok().filter(|max| *max > 0).unwrap_or(DEFAULT_MESH_MAX);
        self.ice_servers = joined.ice_servers;
        self.grants = joined.grants.unwrap_or_default();
        self.local = Some(local.clone());
        self.reset_topology(joined.topology.as_ref(), joined.others.len() + 1);
        if known.is_empty() {
            self.topology.announced = self.topology.committed;
        }
        self.note_session(now, &joined.resume_token, joined.resume_window_ms);
        self.events.push_back(PeerEvent::Joined { room: joined.room, local });
        for leg in [LegKey::RelayPublisher, LegKey::RelaySubscriber] {
            // A new session counts its offers anew.
            self.close_leg(leg);
            self.open_leg(now, leg, OpenReason::First);
        }
        self.send_pending(now);
        // First of all ours: the ids that we lost may be others' by now.
        self.carry_publications(now, &wire.tracks);
        self.replace_roster(now, &joined.others, restarted);
        if !known.is_empty() {
            self.retell_edges();
        }
    }

    fn become_somebody_else(&mut self) {
        let ids: Vec<_> = self.remotes.keys().copied().collect();
        for id in ids {
            self.remove_remote(id, LeaveReason::Timeout);
        }
        self.data = data::Outgoing::default();
        self.signal_number = 0;
    }

    fn handle_speakers(&mut self, speakers: &proto::Speakers) {
        let speaker = |wire: &proto::Speaker| Speaker {
            participant: ParticipantId(wire.participant),
            level: u8::try_from(wire.level).unwrap_or(127).min(127),
        };
        self.events.push_back(PeerEvent::SpeakersChanged(speakers.speakers.iter().map(speaker).collect()));
    }
}
