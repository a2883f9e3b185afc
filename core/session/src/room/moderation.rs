//! What the `admin` grant allows.

use std::time::Instant;

use segue_model::ParticipantId;
use segue_wire::proto::{self, ErrorCode, LeaveReason, server_frame};

use super::ForwardCommand;
use super::authority::{RoomAuthority, goodbye};
use super::error::RoomError;
use super::messages::track_id;

impl RoomAuthority {
    /// Puts a participant out. It may join again for as long as it has a token that is valid.
    pub(super) fn kick(&mut self, now: Instant, from: ParticipantId, whom: ParticipantId) -> Result<(), RoomError> {
        self.check_moderator(from)?;
        if whom == from {
            return Err(RoomError::Malformed("a moderator puts out others, this one itself; send Leave to go"));
        }
        if !self.members.contains_key(&whom) {
            return Err(RoomError::UnknownParticipant(whom));
        }
        let message = "a moderator of the room put this participant out";
        self.end(now, whom, goodbye(LeaveReason::Kicked, ErrorCode::Kicked, message));
        self.reconsider(now);
        Ok(())
    }

    /// Silences somebody's track. Its publisher hears of it like everybody else, and may take it back.
    pub(super) fn mute_track(&mut self, now: Instant, from: ParticipantId, track: u32) -> Result<(), RoomError> {
        self.check_moderator(from)?;
        let unknown = RoomError::UnknownTrack(track, "of a participant");
        let Some(id) = track_id(track) else { return Err(unknown) };
        let Some(owner) = self.members.values().find(|member| member.tracks.contains_key(&id)).map(|member| member.id) else {
            return Err(unknown);
        };
        self.charge(now, from, 0, self.members.len())?;
        let published = self.members.get_mut(&owner).and_then(|member| member.tracks.get_mut(&id));
        let Some(published) = published.filter(|published| !published.muted) else { return Ok(()) };
        published.muted = true;
        self.forward(ForwardCommand::TrackMuted { track: id, muted: true });
        let muted = proto::TrackMuted { participant: owner.0, track, muted: true };
        self.broadcast(None, &server_frame::Message::TrackMuted(muted));
        Ok(())
    }

    fn check_moderator(&self, from: ParticipantId) -> Result<(), RoomError> {
        let moderates = self.members.get(&from).is_some_and(|member| member.grants.admin);
        if moderates { Ok(()) } else { Err(RoomError::NotPermitted("admin")) }
    }
}
