//! What happens in a room, as it is handed to the host.

use std::sync::{Arc, Mutex, PoisonError};

use segue::FrameStream;

use crate::blob::Blob;
use crate::error::CallError;
use crate::host::{self, Foreign, Pump};
use crate::room::{Path, Topology};
use crate::track::RemoteTrack;

/// Somebody in the room.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ParticipantInfo {
    /// Given by the room, never reused in it.
    pub id: u32,
    /// Who it is, from the token.
    pub identity: String,
    /// For people.
    pub name: String,
    /// The application's own.
    pub metadata: String,
    /// Of this SDK; others are browsers.
    pub native: bool,
}

/// This participant's own connection.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ConnectionState {
    /// Joining.
    Connecting,
    /// In the room.
    Connected,
    /// The relay is out of reach and sought; direct media goes on meanwhile.
    Reconnecting,
    /// Out of the room for good.
    Disconnected {
        /// Why.
        reason: LeaveReason,
        /// Stable code of the relay's, `unspecified` for none.
        code: String,
        /// A sentence; may be empty.
        detail: String,
    },
}

/// Why somebody is not in the room any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
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

/// Somebody who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Speaker {
    /// Who.
    pub participant: u32,
    /// -dBov: 0 loudest, 127 silent (RFC 6464).
    pub level: u8,
}

/// What happens in a room.
#[derive(uniffi::Enum)]
pub enum RoomEvent {
    /// This participant's own connection changed.
    ConnectionStateChanged {
        /// What it is now.
        state: ConnectionState,
    },
    /// Somebody came, or was there before us.
    ParticipantJoined {
        /// Who.
        participant: ParticipantInfo,
    },
    /// Somebody went; their tracks end with them.
    ParticipantLeft {
        /// Who.
        participant: ParticipantInfo,
        /// Why.
        reason: LeaveReason,
    },
    /// Somebody published a track.
    TrackPublished {
        /// Who.
        participant: ParticipantInfo,
        /// What.
        track: Arc<RemoteTrack>,
    },
    /// A track ended.
    TrackUnpublished {
        /// Whose it was.
        participant: ParticipantInfo,
        /// Which.
        track: Arc<RemoteTrack>,
    },
    /// A track was silenced by its publisher, or not any more.
    TrackMuted {
        /// Which.
        track: Arc<RemoteTrack>,
        /// Which of the two.
        muted: bool,
    },
    /// The room moved between mesh and relay.
    TopologyChanged {
        /// Before.
        previous: Topology,
        /// Now.
        current: Topology,
        /// Why.
        reason: String,
    },
    /// The media of one direction between two participants moved.
    PathChanged {
        /// Who sends.
        publisher: u32,
        /// Who receives.
        subscriber: u32,
        /// Where to.
        path: Path,
        /// Why.
        reason: String,
    },
    /// A message of somebody.
    DataReceived {
        /// Who.
        sender: u32,
        /// The sender's.
        topic: String,
        /// The sender's.
        payload: Blob,
        /// Once and in order, or as it came.
        reliable: bool,
    },
    /// Who speaks, loudest first.
    SpeakersChanged {
        /// All who do.
        speakers: Vec<Speaker>,
    },
    /// The relay refused something that nobody waits for.
    Warning {
        /// Stable.
        code: String,
        /// A sentence.
        detail: String,
    },
}

/// Told what happens in a room.
#[uniffi::export(foreign)]
pub trait RoomListener: Send + Sync {
    /// Something happened. Do nothing here but hand it on: this is the thread all callbacks come on.
    fn on_event(&self, event: RoomEvent) -> Result<(), CallError>;

    /// Nothing follows: the room was left.
    fn on_end(&self) -> Result<(), CallError>;
}

/// A listener that listens. It stops when this is cancelled or goes.
#[derive(uniffi::Object)]
pub struct Subscription {
    pump: Mutex<Option<Pump>>,
}

#[uniffi::export]
impl Subscription {
    /// Stops listening. A call that is under way may still come.
    pub fn cancel(&self) {
        *self.pump.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Subscription {
    pub(crate) fn new(events: FrameStream<segue::RoomEvent>, listener: Arc<dyn RoomListener>) -> Result<Arc<Self>, CallError> {
        let pump = host::pump(hand_over(events, Foreign::new(listener)))?;
        Ok(Arc::new(Self { pump: Mutex::new(Some(pump)) }))
    }
}

async fn hand_over(mut events: FrameStream<segue::RoomEvent>, listener: Foreign<dyn RoomListener>) {
    while let Some(event) = events.next().await {
        let Some(event) = RoomEvent::from_core(event) else { continue };
        tell(&*listener, |listener| listener.on_event(event));
    }
    tell(&*listener, |listener| listener.on_end());
}

fn tell(listener: &dyn RoomListener, call: impl FnOnce(&dyn RoomListener) -> Result<(), CallError>) {
    if host::is_open()
        && let Err(error) = call(listener)
    {
        tracing::warn!(%error, "a listener of the application failed");
    }
}

impl RoomEvent {
    /// `None` for events that this crate does not know yet.
    fn from_core(event: segue::RoomEvent) -> Option<Self> {
        use segue::RoomEvent as Core;
        Some(match event {
            Core::ConnectionStateChanged(state) => Self::ConnectionStateChanged { state: state.into() },
            Core::ParticipantJoined(participant) => Self::ParticipantJoined { participant: (&participant).into() },
            Core::ParticipantLeft { participant, reason } => {
                Self::ParticipantLeft { participant: (&participant).into(), reason: reason.into() }
            }
            Core::TrackPublished { participant, track } => {
                Self::TrackPublished { participant: (&participant).into(), track: RemoteTrack::new(track) }
            }
            Core::TrackUnpublished { participant, track } => {
                Self::TrackUnpublished { participant: (&participant).into(), track: RemoteTrack::new(track) }
            }
            Core::TrackMuted { track, muted } => Self::TrackMuted { track: RemoteTrack::new(track), muted },
            Core::TopologyChanged { from, to, reason, .. } => {
                Self::TopologyChanged { previous: from.into(), current: to.into(), reason }
            }
            Core::PathChanged { edge, path, reason, .. } => {
                Self::PathChanged { publisher: edge.publisher.0, subscriber: edge.subscriber.0, path: path.into(), reason }
            }
            Core::DataReceived { from, topic, payload, reliability } => Self::DataReceived {
                sender: from.0,
                topic,
                payload: payload.into(),
                reliable: reliability == segue::Reliability::Reliable,
            },
            Core::SpeakersChanged(speakers) => {
                let speaker = |speaker: segue::Speaker| Speaker { participant: speaker.participant.0, level: speaker.level };
                Self::SpeakersChanged { speakers: speakers.into_iter().map(speaker).collect() }
            }
            Core::Warning { code, message } => Self::Warning { code: code.to_owned(), detail: message },
            _ => return None,
        })
    }
}

impl From<&segue::RemoteParticipant> for ParticipantInfo {
    fn from(participant: &segue::RemoteParticipant) -> Self {
        Self {
            id: participant.id().0,
            identity: participant.identity().to_owned(),
            name: participant.name().to_owned(),
            metadata: participant.metadata().to_owned(),
            native: participant.is_native(),
        }
    }
}

impl From<segue::ConnectionState> for ConnectionState {
    fn from(state: segue::ConnectionState) -> Self {
        match state {
            segue::ConnectionState::Connecting => Self::Connecting,
            segue::ConnectionState::Connected => Self::Connected,
            segue::ConnectionState::Reconnecting => Self::Reconnecting,
            segue::ConnectionState::Disconnected { reason, code, message } => {
                Self::Disconnected { reason: reason.into(), code: code.to_owned(), detail: message }
            }
        }
    }
}

impl From<segue::LeaveReason> for LeaveReason {
    fn from(reason: segue::LeaveReason) -> Self {
        match reason {
            segue::LeaveReason::Left => Self::Left,
            segue::LeaveReason::Timeout => Self::Timeout,
            segue::LeaveReason::Replaced => Self::Replaced,
            segue::LeaveReason::Kicked => Self::Kicked,
            segue::LeaveReason::RoomClosed => Self::RoomClosed,
            segue::LeaveReason::Shutdown => Self::Shutdown,
            segue::LeaveReason::TooSlow => Self::TooSlow,
            segue::LeaveReason::Refused => Self::Refused,
            _ => Self::Unknown,
        }
    }
}
