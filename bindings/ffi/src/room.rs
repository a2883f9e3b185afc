//! A room and what is done in it.

use std::sync::Arc;

use segue::{ParticipantId, Reliability, TrackId};

use crate::audio::AudioSource;
use crate::blob::Blob;
use crate::cancel::CancelToken;
use crate::encoded::EncodedSource;
use crate::error::CallError;
use crate::event::{ConnectionState, ParticipantInfo, RoomListener, Subscription};
use crate::options::{ConnectOptions, PublishOptions, TokenProvider};
use crate::publication::{Claim, Publication};
use crate::runtime;
use crate::stats::RoomStats;
use crate::track::RemoteTrack;
use crate::video::VideoSource;

/// What the edges of a room are, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Topology {
    /// Every edge is direct.
    Mesh,
    /// Some are direct, some relayed.
    Mixed,
    /// Every edge is relayed.
    Relayed,
}

/// The way media takes along one edge (publisher to subscriber).
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Path {
    /// Peer to peer.
    Direct,
    /// Through the relay.
    Relayed,
}

/// The truth about one direction between this participant and another.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PathInfo {
    /// Who sends.
    pub publisher: u32,
    /// Who receives.
    pub subscriber: u32,
    /// The path its media counts on.
    pub path: Path,
    /// Media can flow on it now, as far as this side knows.
    pub active: bool,
    /// A move to the other path is under way; both carry media.
    pub moving: bool,
    /// Why it is so.
    pub reason: String,
}

/// A call. It is left by [`Room::leave`], or when the last handle goes.
#[derive(uniffi::Object)]
pub struct Room {
    room: segue::Room,
}

#[uniffi::export]
impl Room {
    /// Joins the room a token is for, at the relay `url` (`wss://`, `https://`; `ws://` and `http://` for development). Without a
    /// token the provider is asked for one first. A cancelled call leaves nobody behind in the room.
    #[uniffi::constructor]
    pub async fn connect(
        url: String,
        token: Option<String>,
        provider: Option<Arc<dyn TokenProvider>>,
        options: ConnectOptions,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Arc<Self>, CallError> {
        runtime::run(cancel, async move {
            let token = match (token, &provider) {
                (Some(token), _) => token,
                (None, Some(provider)) => provider.token().await.map_err(|error| {
                    CallError::callback("token_provider", format!("the token provider gave no token: {error}"))
                })?,
                (None, None) => {
                    return Err(CallError::argument("token", "neither a token nor a token provider: give one of them"));
                }
            };
            let room = segue::Room::connect(&url, &token, options.into_core(provider)).await?;
            Ok(Arc::new(Self { room }))
        })
        .await
    }

    /// Name of the room, from the token.
    pub fn name(&self) -> String {
        self.room.name()
    }

    /// This participant.
    pub fn local_participant(&self) -> ParticipantInfo {
        let local = self.room.local_participant();
        ParticipantInfo {
            id: local.id().0,
            identity: local.identity(),
            name: local.name(),
            metadata: String::new(),
            native: true,
        }
    }

    /// The others.
    pub fn participants(&self) -> Vec<ParticipantInfo> {
        self.room.participants().iter().map(Into::into).collect()
    }

    /// What the others send.
    pub fn tracks(&self) -> Vec<Arc<RemoteTrack>> {
        let tracks = self.room.participants().into_iter().flat_map(|participant| participant.tracks());
        tracks.map(RemoteTrack::new).collect()
    }

    /// One of them, while it is published.
    pub fn track(&self, id: u32) -> Option<Arc<RemoteTrack>> {
        let id = TrackId(u16::try_from(id).ok()?);
        let mut tracks = self.room.participants().into_iter().flat_map(|participant| participant.tracks());
        tracks.find(|track| track.id() == id).map(RemoteTrack::new)
    }

    /// This participant's connection.
    pub fn state(&self) -> ConnectionState {
        self.room.state().into()
    }

    /// Mesh, mixed or relayed, as it stands.
    pub fn topology(&self) -> Topology {
        self.room.topology().into()
    }

    /// Which path each direction between this participant and another takes, and why.
    pub fn path_info(&self) -> Vec<PathInfo> {
        self.room.path_info().into_iter().map(Into::into).collect()
    }

    /// Listens from now on; the first listener is also told what happened since the room was joined.
    pub fn add_listener(&self, listener: Arc<dyn RoomListener>) -> Result<Arc<Subscription>, CallError> {
        Subscription::new(self.room.events(), listener)
    }

    /// Publishes pictures.
    pub async fn publish_video(
        &self,
        source: Arc<VideoSource>,
        options: PublishOptions,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Arc<Publication>, CallError> {
        self.publish(
            source,
            |source| (source.source.clone().into(), source.source.is_published(), &source.claim),
            options,
            cancel,
        )
        .await
    }

    /// Publishes sound.
    pub async fn publish_audio(
        &self,
        source: Arc<AudioSource>,
        options: PublishOptions,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Arc<Publication>, CallError> {
        self.publish(
            source,
            |source| (source.source.clone().into(), source.source.is_published(), &source.claim),
            options,
            cancel,
        )
        .await
    }

    /// Publishes frames that the application encodes itself.
    pub async fn publish_encoded(
        &self,
        source: Arc<EncodedSource>,
        options: PublishOptions,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Arc<Publication>, CallError> {
        self.publish(
            source,
            |source| (source.source.clone().into(), source.source.is_published(), &source.claim),
            options,
            cancel,
        )
        .await
    }

    /// Sends a message to everybody in the room, or a lossy one to one participant. Reliable messages arrive once and in order,
    /// at most 60,000 bytes; lossy ones as they come, at most 15 KiB.
    pub async fn send_data(&self, topic: String, payload: Blob, reliable: bool, to: Option<u32>) -> Result<(), CallError> {
        if reliable && to.is_some() {
            let detail = "a reliable message goes to everybody: leave out the recipient, or send it lossy";
            return Err(CallError::argument("kind", detail));
        }
        let room = self.room.clone();
        runtime::run(None, async move {
            let reliability = if reliable { Reliability::Reliable } else { Reliability::Lossy };
            match to {
                Some(to) => room.send_data_to(ParticipantId(to), &topic, payload.0).await?,
                None => room.send_data(&topic, payload.0, reliability).await?,
            }
            Ok(())
        })
        .await
    }

    /// The host's network changed (another Wi-Fi, from Wi-Fi to mobile): every path is sought anew at once, before its loss is noticed.
    pub async fn network_changed(&self) -> Result<(), CallError> {
        let room = self.room.clone();
        runtime::run(None, async move { Ok(room.network_changed().await?) }).await
    }

    /// What the room measures about itself.
    pub async fn stats(&self) -> Result<RoomStats, CallError> {
        let room = self.room.clone();
        runtime::run(None, async move { Ok(room.stats().await?.into()) }).await
    }

    /// Leaves, after telling the relay and the others so. Streams end; handles stay valid and show the last state. Leaving twice does
    /// no harm.
    pub async fn leave(&self) -> Result<(), CallError> {
        let room = self.room.clone();
        runtime::run(None, async move {
            room.leave().await;
            Ok(())
        })
        .await
    }
}

impl Room {
    async fn publish<S: Send + Sync + 'static>(
        &self,
        source: Arc<S>,
        parts: impl Fn(&S) -> (segue::LocalTrack, bool, &Claim) + Send + 'static,
        options: PublishOptions,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Arc<Publication>, CallError> {
        let local = self.room.local_participant();
        runtime::run(cancel, async move {
            let (track, published, claim) = parts(&source);
            let _claimed = claim.take(published)?;
            let publication = local.publish(track, options.into_core()).await?;
            Ok(Publication::new(publication))
        })
        .await
    }
}

impl From<segue::Topology> for Topology {
    fn from(topology: segue::Topology) -> Self {
        match topology {
            segue::Topology::Mesh => Self::Mesh,
            segue::Topology::Mixed => Self::Mixed,
            segue::Topology::Relayed => Self::Relayed,
        }
    }
}

impl From<segue::Path> for Path {
    fn from(path: segue::Path) -> Self {
        match path {
            segue::Path::Direct => Self::Direct,
            segue::Path::Relayed => Self::Relayed,
        }
    }
}

impl From<segue::PathInfo> for PathInfo {
    fn from(info: segue::PathInfo) -> Self {
        Self {
            publisher: info.edge.publisher.0,
            subscriber: info.edge.subscriber.0,
            path: info.path.into(),
            active: info.active,
            moving: info.moving,
            reason: info.reason,
        }
    }
}
