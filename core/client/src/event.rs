//! What happens in a room.

use bytes::Bytes;
use segue_model::{Epoch, ParticipantId, Path, Topology, TrackId};
use segue_wire::proto;

use crate::room::{RemoteParticipant, RemoteTrack};

pub use segue_session::peer::{Edge, PathInfo, Speaker};

/// What happens in a room; see [`crate::Room::events`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RoomEvent {
    /// This participant's own connection changed.
    ConnectionStateChanged(ConnectionState),
    /// Somebody came, or was there before us.
    ParticipantJoined(RemoteParticipant),
    /// Somebody went; their tracks end with them.
    ParticipantLeft {
        /// Who.
        participant: RemoteParticipant,
        /// Why.
        reason: LeaveReason,
    },
    /// Somebody published a track.
    TrackPublished {
        /// Who.
        participant: RemoteParticipant,
        /// What.
        track: RemoteTrack,
    },
    /// A track ended.
    TrackUnpublished {
        /// Whose it was.
        participant: RemoteParticipant,
        /// Which.
        track: RemoteTrack,
    },
    /// A track was silenced by its publisher, or not any more.
    TrackMuted {
        /// Which.
        track: RemoteTrack,
        /// Which of the two.
        muted: bool,
    },
    /// A moderator silenced one of this participant's own tracks. [`crate::TrackPublication::set_muted`] takes it back.
    MutedByModerator {
        /// Which.
        track: TrackId,
    },
    /// The room moved between mesh and relay.
    TopologyChanged {
        /// Before.
        from: Topology,
        /// Now.
        to: Topology,
        /// Why.
        reason: String,
        /// The number of the relay's decision; numbers grow. The last one known while the relay is away.
        epoch: Epoch,
    },
    /// The media of one direction between two participants moved.
    PathChanged {
        /// Which direction.
        edge: Edge,
        /// Where to.
        path: Path,
        /// Why.
        reason: String,
    },
    /// A message of somebody.
    DataReceived {
        /// Who.
        from: ParticipantId,
        /// The sender's.
        topic: String,
        /// The sender's.
        payload: Bytes,
        /// How it was sent.
        reliability: Reliability,
    },
    /// Who speaks, loudest first.
    SpeakersChanged(Vec<Speaker>),
    /// The relay refused something that nobody waits for.
    Warning {
        /// Stable code.
        code: &'static str,
        /// A sentence.
        message: String,
    },
}

/// How a data message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    /// Once and in order, across any change of path; at most 60,000 bytes.
    Reliable,
    /// As it comes, or not at all; at most 15 KiB.
    Lossy,
}

/// This participant's own connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Joining.
    Connecting,
    /// In the room.
    Connected,
    /// The relay is out of reach and sought; direct media and signalling go on meanwhile.
    Reconnecting,
    /// Out of the room for good.
    Disconnected {
        /// Why.
        reason: LeaveReason,
        /// Stable code of the relay's, `unspecified` for none.
        code: &'static str,
        /// A sentence; may be empty.
        message: String,
    },
}

/// Why somebody is not in the room any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveReason {
    /// Not known.
    Unknown,
    /// Left.
    Left,
    /// Lost the connection and did not come back in time.
    Timeout,
    /// Joined again from elsewhere.
    Replaced,
    /// Was put out.
    Kicked,
    /// The room was closed.
    RoomClosed,
    /// The relay stops.
    Shutdown,
    /// Did not read fast enough.
    TooSlow,
    /// Was refused; the code says why.
    Refused,
}

impl From<proto::LeaveReason> for LeaveReason {
    fn from(reason: proto::LeaveReason) -> Self {
        match reason {
            proto::LeaveReason::Unspecified => Self::Unknown,
            proto::LeaveReason::Left => Self::Left,
            proto::LeaveReason::Timeout => Self::Timeout,
            proto::LeaveReason::Replaced => Self::Replaced,
            proto::LeaveReason::Kicked => Self::Kicked,
            proto::LeaveReason::RoomClosed => Self::RoomClosed,
            proto::LeaveReason::Shutdown => Self::Shutdown,
            proto::LeaveReason::TooSlow => Self::TooSlow,
            proto::LeaveReason::Refused => Self::Refused,
        }
    }
}
