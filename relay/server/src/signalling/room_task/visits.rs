//! Visitors: what a room does for participants without a signalling connection.

use std::time::Instant;

use segue_model::ParticipantId;
use segue_wire::proto::{self, client_frame, server_frame};

use super::RoomTask;
use crate::media_plane::{MediaCommand, TransportKind};
use crate::signalling::session::SecretHash;
use crate::signalling::visitor::{self, GENERATION, Patching, Purpose, Visiting, Visitor, gone};

impl RoomTask {
    /// Lets a visitor in: its sections are published, and the media plane is asked for the answer.
    pub(super) fn visit(&mut self, now: Instant, visiting: Visiting) {
        let Visiting { request, purpose, sdp, secret, reply } = visiting;
        let participant = match self.authority.join(now, request) {
            Ok(participant) => participant,
            Err(error) => {
                // Whoever is gone needs no answer.
                let _ = reply.send(Err(error.into()));
                return;
            }
        };
        let transport = match purpose {
            Purpose::Publish(_) => TransportKind::Publisher,
            Purpose::Play => TransportKind::Subscriber,
        };
        self.visitors.insert(participant, Visitor::new(secret, transport, reply));
        self.hub.metrics.joins.increment();
        tracing::info!(room = %self.name, %participant, "participant joined over HTTP");
        match purpose {
            Purpose::Play => {
                // The media plane is to know it first.
                self.carry_out_all(now);
                self.command(MediaCommand::SubscriberOffer { participant, generation: GENERATION, sdp });
            }
            Purpose::Publish(sections) => {
                for (section, request) in sections.iter().zip(1..) {
                    let publish = visitor::publish(section, request);
                    self.authority.handle_message(now, participant, 0, Some(publish));
                }
                self.carry_out_all(now);
                // Where a section was refused the visitor is gone.
                let offer = self.visitors.get(&participant).and_then(|visitor| visitor.description(&sections, sdp));
                if offer.is_some() {
                    self.authority.handle_message(now, participant, 0, offer);
                }
            }
        }
    }

    /// A visitor leaves; false where there is none with this secret.
    pub(super) fn end_visit(&mut self, now: Instant, secret: &SecretHash) -> bool {
        let found = self.visitors.iter().find(|(_, visitor)| visitor.secret == *secret);
        let Some((&participant, _)) = found else { return false };
        let leave = client_frame::Message::Leave(proto::Leave::default());
        self.authority.handle_message(now, participant, 0, Some(leave));
        true
    }

    /// More of a visitor's ICE: candidates, which nobody needs, or a restart.
    pub(super) fn patch_visit(&mut self, patching: Patching) {
        let Patching { secret, fragment, tag, reply } = patching;
        let found = self.visitors.iter_mut().find(|(_, visitor)| visitor.secret == secret);
        let Some((&participant, visitor)) = found else {
            // Whoever asked may be gone.
            let _ = reply.send(Err(visitor::no_session()));
            return;
        };
        if let Some(restart) = visitor.patch(fragment, tag.as_deref(), reply) {
            let transport = visitor.transport();
            self.command(MediaCommand::RestartIce { participant, transport, generation: GENERATION, fragment: restart });
        }
    }

    /// Hands a visitor what the room says to it.
    pub(super) fn tell_visitor(&mut self, now: Instant, to: ParticipantId, message: server_frame::Message) {
        let stays = self.visitors.get_mut(&to).is_none_or(|visitor| visitor.handle_message(message));
        if !stays {
            self.authority.remove(now, to, gone());
        }
    }

    /// The transport of a participant failed. A visitor has nothing else.
    pub(super) fn end_failed_visit(&mut self, now: Instant, participant: ParticipantId) {
        if self.visitors.contains_key(&participant) {
            self.authority.remove(now, participant, gone());
        }
    }
}
