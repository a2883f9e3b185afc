//! What can go wrong, with stable codes.

use segue_wire::proto::ErrorCode;

pub use crate::net::signalling::UrlError;
pub use segue_codec::EncodeError;
pub use segue_session::peer::DataError;

/// Why an operation on a room failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The relay's address cannot be used.
    #[error("the relay's address cannot be used: {0}")]
    Url(#[from] UrlError),
    /// The relay could not be reached or did not answer within the time given in [`crate::RoomOptions::connect_timeout`].
    #[error("no connection to the relay in time ({reason}): check its address and that it runs")]
    Timeout {
        /// What became of the latest attempt.
        reason: String,
    },
    /// The relay said no.
    #[error("the relay refused ({code}): {message}")]
    Refused {
        /// Stable code, such as `token_expired`.
        code: &'static str,
        /// A sentence that says what to do.
        message: String,
    },
    /// A data message was not taken.
    #[error("{0}")]
    Data(#[from] DataError),
    /// An encoder could not be set up.
    #[error("the encoder could not be set up: {0}")]
    Encoder(#[from] EncodeError),
    /// The room was left, or its connection ended for good.
    #[error("the room was left: connect again")]
    Left,
    /// The track is gone.
    #[error("the track is not published any more")]
    NoTrack,
    /// The token does not allow it.
    #[error("not permitted: the token has no `{0}` grant; ask for a token that has")]
    NotPermitted(&'static str),
    /// There is no tokio runtime to run on and none could be started.
    #[error("no runtime could be started: {0}")]
    Runtime(String),
}

impl Error {
    /// A stable code: of the relay where the relay said no, of this crate otherwise.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::Timeout { .. } => "timeout",
            Self::Refused { code, .. } => code,
            Self::Data(DataError::TooLong { .. }) => "data_too_long",
            Self::Data(DataError::Backlog { .. }) => "data_backlog",
            Self::Data(DataError::NotJoined) => "not_joined",
            Self::Encoder(_) => "encoder",
            Self::Left => "left",
            Self::NoTrack => "no_track",
            Self::NotPermitted(_) => "not_permitted",
            Self::Runtime(_) => "runtime",
        }
    }
}

/// The relay's error codes as this crate shows them.
pub(crate) const fn code_name(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Unspecified => "unspecified",
        ErrorCode::Malformed => "malformed",
        ErrorCode::TooLarge => "too_large",
        ErrorCode::UnknownMessage => "unknown_message",
        ErrorCode::NotJoined => "not_joined",
        ErrorCode::ProtocolVersion => "protocol_version",
        ErrorCode::TokenInvalid => "token_invalid",
        ErrorCode::TokenExpired => "token_expired",
        ErrorCode::WrongRoom => "wrong_room",
        ErrorCode::RoomFull => "room_full",
        ErrorCode::NotPermitted => "not_permitted",
        ErrorCode::SessionUnknown => "session_unknown",
        ErrorCode::Replaced => "replaced",
        ErrorCode::BadSdp => "bad_sdp",
        ErrorCode::Incompatible => "incompatible",
        ErrorCode::UnknownTrack => "unknown_track",
        ErrorCode::UnknownParticipant => "unknown_participant",
        ErrorCode::Limit => "limit",
        ErrorCode::Rate => "rate",
        ErrorCode::Shutdown => "shutdown",
        ErrorCode::TooSlow => "too_slow",
        ErrorCode::Ours => "ours",
        ErrorCode::AlreadyJoined => "already_joined",
        ErrorCode::Kicked => "kicked",
        ErrorCode::Overloaded => "overloaded",
    }
}
