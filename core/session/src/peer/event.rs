//! What a participant's machine tells its application.

use bytes::Bytes;
use segue_model::{EncodingId, Epoch, ParticipantId, Path, Quality, Topology, TopologyPolicy, TrackId, TrackKind, TrackSource};
use segue_wire::proto::{ErrorCode, LeaveReason};

/// A participant as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParticipantInfo {
    /// Given by the room.
    pub id: ParticipantId,
    /// From the token.
    pub identity: String,
    /// For people.
    pub name: String,
    /// The application's.
    pub metadata: String,
    /// SHA-256 of the device key, empty where there is none.
    pub peer_id: Vec<u8>,
    /// Stamps and merges by origin.
    pub origin: bool,
    /// Can build direct legs.
    pub direct: bool,
    /// What it allows.
    pub policy: TopologyPolicy,
}

/// A track as it is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    /// Given by the room.
    pub id: TrackId,
    /// Audio or video.
    pub kind: TrackKind,
    /// What it shows or sounds.
    pub source: TrackSource,
    /// The application's name.
    pub name: String,
    /// Silenced by its publisher.
    pub muted: bool,
    /// Largest first; empty for audio.
    pub encodings: Vec<EncodingInfo>,
}

/// One encoding as announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodingInfo {
    /// `f`, `h`, `q`.
    pub rid: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Upper end of its rate in kbit/s.
    pub max_kbps: u32,
}

/// A wish to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRequest {
    /// Audio or video.
    pub kind: TrackKind,
    /// What it shows or sounds.
    pub source: TrackSource,
    /// The application's name.
    pub name: String,
    /// Begins silent.
    pub muted: bool,
    /// Largest first; empty for audio.
    pub encodings: Vec<EncodingInfo>,
}

/// One direction between two participants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// Who sends.
    pub publisher: ParticipantId,
    /// Who receives.
    pub subscriber: ParticipantId,
}

/// The truth about one edge of this participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// Which.
    pub edge: Edge,
    /// The path its media counts on.
    pub path: Path,
    /// Media can flow on it now, as far as this side knows.
    pub active: bool,
    /// A move to the other path is under way; both carry media.
    pub moving: bool,
    /// Why it is so.
    pub reason: String,
}

/// A speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// Who.
    pub participant: ParticipantId,
    /// -dBov: 0 loudest, 127 silent (RFC 6464).
    pub level: u8,
}

/// This participant's own state in the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Not begun.
    Idle,
    /// Joining for the first time.
    Connecting,
    /// In the room.
    Connected,
    /// The connection to the relay is lost and sought again; media goes on where it can.
    Reconnecting,
    /// Over.
    Disconnected {
        /// Why.
        reason: LeaveReason,
        /// Which error, `Unspecified` for none.
        code: ErrorCode,
        /// For people; may be empty.
        message: String,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerEvent {
    /// Our own state changed.
    ConnectionStateChanged(ConnectionState),
    /// We are in the room under this id. Again after the relay forgot us and we joined anew.
    Joined {
        /// The room.
        room: String,
        /// Ourselves.
        local: ParticipantInfo,
    },
    /// Somebody came, or was there before us.
    ParticipantJoined(ParticipantInfo),
    /// Somebody went; their tracks are gone with them.
    ParticipantLeft {
        /// Who.
        participant: ParticipantId,
        /// Why.
        reason: LeaveReason,
    },
    /// Somebody published a track.
    TrackPublished {
        /// Who.
        participant: ParticipantId,
        /// What.
        track: TrackInfo,
    },
    /// A track is gone.
    TrackUnpublished {
        /// Whose.
        participant: ParticipantId,
        /// Which.
        track: TrackId,
    },
    /// A track was silenced or not any more.
    TrackMuted {
        /// Whose.
        participant: ParticipantId,
        /// Which.
        track: TrackId,
        /// Which of the two.
        muted: bool,
    },
    /// The answer to `publish`: encode and send under this id.
    Published {
        /// As returned by `publish`.
        request: u32,
        /// The track.
        track: TrackInfo,
    },
    /// The other answer to `publish`.
    PublishFailed {
        /// As returned by `publish`.
        request: u32,
        /// Which error.
        code: ErrorCode,
        /// A sentence.
        message: String,
    },
    /// The relay gave our track another id (it restarted and the old one was taken): continue under the new one.
    TrackRenumbered {
        /// Until now.
        old: TrackId,
        /// From now on.
        new: TrackId,
    },
    /// A direct subscriber wants this much of one of our tracks.
    WishChanged {
        /// Which.
        track: TrackId,
        /// Who.
        subscriber: ParticipantId,
        /// The most it wants.
        quality: Quality,
    },
    /// The room moved.
    TopologyChanged {
        /// Before.
        from: Topology,
        /// Now.
        to: Topology,
        /// Why.
        reason: String,
        /// The number of the decision it follows from; the last one known while the relay is away.
        epoch: Epoch,
    },
    /// One of our edges moved.
    PathChanged {
        /// Which.
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
        /// The application's.
        topic: String,
        /// The application's.
        payload: Bytes,
        /// Once and in order, or as it came.
        reliable: bool,
    },
    /// Who speaks, loudest first.
    SpeakersChanged(Vec<Speaker>),
    /// Make a keyframe of one of our tracks. At most one for an encoding in half a second.
    KeyframeRequested {
        /// Which.
        track: TrackId,
        /// Which encoding.
        encoding: EncodingId,
    },
    /// The relay refused something that was not a publication.
    ServerError {
        /// Which error.
        code: ErrorCode,
        /// A sentence.
        message: String,
    },
}
