//! What the media plane tells a room.

use std::time::Instant;

use segue_wire::proto::{self, ErrorCode, server_frame};

use super::RoomTask;
use crate::media_plane::{DescriptionKind, MediaEvent, MidTrack, Refusal, TransportKind, TransportState};

impl RoomTask {
    pub(super) fn handle_media_event(&mut self, now: Instant, event: MediaEvent) {
        match event {
            MediaEvent::Description { participant, transport, kind, generation, sdp, tracks } => {
                let kind = match kind {
                    DescriptionKind::Offer => proto::SdpKind::Offer,
                    DescriptionKind::Answer => proto::SdpKind::Answer,
                };
                let description = proto::RelayDescription {
                    transport: transport_number(transport),
                    kind: kind.into(),
                    sdp,
                    tracks: tracks.into_iter().map(mid_track).collect(),
                    generation,
                };
                self.send(now, participant, server_frame::Message::Description(description));
            }
            MediaEvent::Slots { participant, slots } => {
                let slots = proto::Slots { slots: slots.into_iter().map(mid_track).collect() };
                self.send(now, participant, server_frame::Message::Slots(slots));
            }
            MediaEvent::Refused { participant, transport, generation, reason, message } => {
                if let Some(refusals) = self.sessions.get_mut(&participant).and_then(|session| session.refusals.count()) {
                    let room = &self.name;
                    tracing::warn!(%room, %participant, ?transport, generation, ?reason, refusals, "description refused");
                }
                let code = match reason {
                    Refusal::BadSdp => ErrorCode::BadSdp,
                    Refusal::Incompatible => ErrorCode::Incompatible,
                    Refusal::Limit => ErrorCode::Limit,
                    Refusal::Ours => ErrorCode::Ours,
                };
                let seq = self.sessions.get(&participant).map_or(0, |session| session.described_in(transport, generation));
                let name = match transport {
                    TransportKind::Publisher => "publisher",
                    TransportKind::Subscriber => "subscriber",
                };
                let message = format!("{name} transport, generation {generation}: {message}");
                let error = proto::Error { code: code.into(), message, request: 0, seq };
                self.send(now, participant, server_frame::Message::Error(error));
            }
            MediaEvent::TransportState { participant, transport, state } => {
                let session = self.sessions.get_mut(&participant);
                if let Some(changes) = session.map_or(Some(0), |session| session.changes.count()) {
                    tracing::info!(room = %self.name, %participant, ?transport, ?state, changes, "transport changed");
                }
                if state == TransportState::Failed {
                    self.end_failed_visit(now, participant);
                }
            }
            MediaEvent::Speakers { speakers } => self.authority.handle_speakers(&speakers),
        }
    }
}

fn transport_number(transport: TransportKind) -> i32 {
    match transport {
        TransportKind::Publisher => proto::RelayTransport::Publisher,
        TransportKind::Subscriber => proto::RelayTransport::Subscriber,
    }
    .into()
}

fn mid_track(entry: MidTrack) -> proto::MidTrack {
    proto::MidTrack { mid: entry.mid, track: entry.track.map_or(0, |track| u32::from(track.0)) }
}
