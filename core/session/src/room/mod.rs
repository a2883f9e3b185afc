//! The relay's authority over one room: who is in it, what they publish, which way each edge goes.
//!
//! [`RoomAuthority`] takes joins, messages and lost connections, and gives [`RoomOutput`]s: frames for participants, commands for the
//! forwarder, sessions that end. It owns the room's ids, its epochs and its topology controller; it knows no tokens, sockets or
//! packets. After any `handle_*` or `join`, drain [`RoomAuthority::poll_output`] and ask [`RoomAuthority::poll_timeout`] again.

mod authority;
mod command;
mod config;
mod edges;
mod error;
mod ids;
mod member;
mod messages;
mod moderation;
mod rate;
mod topology;
mod view;

#[cfg(test)]
mod tests;

use segue_model::{ParticipantId, TrackId};
use segue_wire::proto::{self, server_frame};

pub use authority::RoomAuthority;
pub use command::{EncodingSpec, ForwardCommand};
pub use config::{MAX_PARTICIPANTS, RoomConfig, TopologyConfig};
pub use error::RoomError;

/// A participant at the door: its token was checked, its message decoded.
#[derive(Clone, Debug, Default)]
pub struct JoinRequest {
    /// Who, from the token. One session of it is in the room at a time.
    pub identity: String,
    /// For people.
    pub name: String,
    /// The application's.
    pub metadata: String,
    /// SHA-256 of the device key; empty where the client has none.
    pub peer_id: Vec<u8>,
    /// From the token.
    pub grants: proto::Grants,
    /// From the message.
    pub capabilities: proto::Capabilities,
    /// From the message.
    pub policy: proto::TopologyPolicy,
    /// What it was in the relay's former incarnation.
    pub rejoin: Option<proto::Rejoin>,
    /// It plays what the participant of this identity publishes and nothing else, over a transport it offers itself (WHEP). It may come and
    /// go while the player stays.
    pub plays: Option<String>,
    /// What it is to show when it resumes: drawn by the shell, only passed on here.
    pub resume_token: String,
}

/// What the authority has the shell do, in order.
#[expect(clippy::large_enum_variant, reason = "most are `Send`, the largest")]
#[derive(Clone, Debug, PartialEq)]
pub enum RoomOutput {
    /// A frame for a participant.
    Send {
        /// To whom.
        to: ParticipantId,
        /// What.
        message: server_frame::Message,
    },
    /// A change to what is forwarded.
    Forward(ForwardCommand),
    /// The offer of a publisher transport.
    PublisherOffer {
        /// Whose.
        participant: ParticipantId,
        /// To be repeated in the answer.
        generation: u32,
        /// Unchecked but bounded.
        sdp: String,
        /// What the sections carry: only tracks of this participant.
        tracks: Vec<(String, TrackId)>,
    },
    /// The answer of a subscriber transport.
    SubscriberAnswer {
        /// Whose.
        participant: ParticipantId,
        /// Of the offer it answers.
        generation: u32,
        /// Unchecked but bounded.
        sdp: String,
    },
    /// A candidate of a client's transport.
    Candidate {
        /// Whose.
        participant: ParticipantId,
        /// Of which transport.
        transport: proto::RelayTransport,
        /// The candidate.
        candidate: proto::Candidate,
    },
    /// A session is over: say this and close its connection. The participant is unknown from here on.
    Ended {
        /// Whose.
        participant: ParticipantId,
        /// What to tell it.
        goodbye: proto::Goodbye,
    },
}
