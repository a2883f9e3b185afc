//! What the room refuses, with the stable code and the sentence that says what to do.

use segue_model::ParticipantId;
use segue_wire::proto::{self, ErrorCode};

/// A refusal. Its text is for the person who builds or uses the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// The room has its full number of participants.
    #[error("the room is full ({0} participants); wait until somebody leaves or raise `limits.participants` of the relay")]
    Full(usize),
    /// The room has no more numbers to give at present.
    #[error("all {0} numbers of the room are in use or were until a moment ago; try again in a minute")]
    NumbersUsedUp(&'static str),
    /// The token does not allow it.
    #[error("not permitted: the token has no `{0}` grant; ask for a token that has")]
    NotPermitted(&'static str),
    /// No such track here, or not the sender's own.
    #[error("t{0} is not a track {1}; use the ids of TrackPublished and Published")]
    UnknownTrack(u32, &'static str),
    /// No such participant.
    #[error("{0} is not in the room; send to participants of the roster only")]
    UnknownParticipant(ParticipantId),
    /// Nobody of that identity to play.
    #[error("nobody with the identity {0:?} is in the room; play somebody of its roster, and begin when they have joined")]
    NotHere(String),
    /// A value is missing or makes no sense.
    #[error("{0}")]
    Malformed(&'static str),
    /// Too many tracks.
    #[error("a participant may publish {0} tracks at a time; unpublish one first or raise `limits.tracks` of the relay")]
    TooManyTracks(usize),
    /// Too much in too little time.
    #[error("too many messages: at most {0} a second in the long run; this one was dropped, send fewer and larger ones")]
    Rate(u32),
    /// Too many bytes in too little time.
    #[error(
        "too much data for others: at most {0} bytes a second in the long run, each receiver counted; this message was dropped"
    )]
    ByteRate(u32),
    /// Too many tracks in too little time.
    #[error("too many tracks one after another: at most {0} a second in the long run; wait a moment, or mute instead")]
    PublishRate(u32),
    /// Too many descriptions and candidates in too little time.
    #[error("too many descriptions or candidates one after another; this one was dropped, negotiate again in a moment")]
    NegotiationRate,
    /// A frame without a message this relay knows.
    #[error("unknown kind of message or signal; this relay speaks version 1 of the protocol, update it or send what it knows")]
    UnknownMessage,
    /// A second Join or Resume on a connection that has a session.
    #[error("this connection has joined already; open another one for another session")]
    AlreadyJoined,
}

impl RoomError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Full(_) => ErrorCode::RoomFull,
            Self::NumbersUsedUp(_) | Self::TooManyTracks(_) => ErrorCode::Limit,
            Self::NotPermitted(_) => ErrorCode::NotPermitted,
            Self::UnknownTrack(..) => ErrorCode::UnknownTrack,
            Self::UnknownParticipant(_) | Self::NotHere(_) => ErrorCode::UnknownParticipant,
            Self::Malformed(_) => ErrorCode::Malformed,
            Self::Rate(_) | Self::ByteRate(_) | Self::PublishRate(_) | Self::NegotiationRate => ErrorCode::Rate,
            Self::UnknownMessage => ErrorCode::UnknownMessage,
            Self::AlreadyJoined => ErrorCode::AlreadyJoined,
        }
    }

    /// The message for the client: of which request, of which frame.
    #[must_use]
    pub fn to_message(&self, request: u32, seq: u64) -> proto::Error {
        proto::Error { code: self.code().into(), message: self.to_string(), request, seq }
    }
}
