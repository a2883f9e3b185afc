//! This participant and what it sends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use segue_model::{ParticipantId, TrackId, TrackKind, TrackSource};
use segue_session::peer::PublishRequest;
use tokio::sync::oneshot;

use super::Room;
use super::request::Request;
use super::shared::Shared;
use crate::error::Error;
use crate::source::LocalTrack;
use crate::stats::PublicationStats;

/// How a track is announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackOptions {
    /// What it shows or sounds; `None`: camera or microphone, by kind.
    pub source: Option<TrackSource>,
    /// For people.
    pub name: String,
    /// Begins silent.
    pub muted: bool,
}

/// This participant, as the room knows it.
#[derive(Clone)]
pub struct LocalParticipant {
    shared: Arc<Shared>,
}

impl LocalParticipant {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Given by the room. It changes only where the relay forgot the room and gave the number to somebody else meanwhile.
    #[must_use]
    pub fn id(&self) -> ParticipantId {
        self.shared.view().local.as_ref().map_or(ParticipantId(0), |local| local.id)
    }

    /// Who this is, from the token.
    #[must_use]
    pub fn identity(&self) -> String {
        self.shared.view().local.as_ref().map(|local| local.identity.clone()).unwrap_or_default()
    }

    /// For people.
    #[must_use]
    pub fn name(&self) -> String {
        self.shared.view().local.as_ref().map(|local| local.name.clone()).unwrap_or_default()
    }

    /// Publishes a source. It is sent until the publication is unpublished or the room left, whether or not the returned value
    /// is kept.
    ///
    /// # Errors
    /// [`Error::Refused`] where the relay does not permit it, [`Error::Encoder`], [`Error::Left`].
    pub async fn publish(&self, track: impl Into<LocalTrack>, options: TrackOptions) -> Result<TrackPublication, Error> {
        let source = track.into();
        let kind = source.kind();
        let shows = options.source.unwrap_or(match kind {
            TrackKind::Audio => TrackSource::Microphone,
            TrackKind::Video => TrackSource::Camera,
        });
        let request =
            PublishRequest { kind, source: shows, name: options.name, muted: options.muted, encodings: source.encodings() };
        let (reply, answer) = oneshot::channel();
        self.shared.requests.send(Request::Publish { request, source, reply }).await.map_err(|_| Error::Left)?;
        let id = answer.await.map_err(|_| Error::Left)??;
        Ok(TrackPublication { id, kind, shared: self.shared.clone() })
    }
}

/// What the `admin` grant of a token allows. What the relay cannot do (nobody of that number is in the room) it says by
/// [`crate::RoomEvent::Warning`].
impl LocalParticipant {
    /// Puts somebody out of the room: its session ends with [`crate::LeaveReason::Kicked`]. Whoever has a valid token may join again.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without the grant, [`Error::Left`].
    pub async fn kick(&self, participant: ParticipantId) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.shared.requests.send(Request::Kick { participant, reply }).await.map_err(|_| Error::Left)?;
        answer.await.map_err(|_| Error::Left)?
    }

    /// Silences a track of somebody else, for everybody. Its publisher hears [`crate::RoomEvent::MutedByModerator`] and may take it back.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without the grant, [`Error::Left`].
    pub async fn mute_remote(&self, track: TrackId) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.shared.requests.send(Request::MuteRemote { track, reply }).await.map_err(|_| Error::Left)?;
        answer.await.map_err(|_| Error::Left)?
    }
}

/// A published track. Cheap to clone; dropping it changes nothing.
#[derive(Clone)]
pub struct TrackPublication {
    /// Written by the room's task where the track is renumbered.
    id: Arc<AtomicU32>,
    kind: TrackKind,
    shared: Arc<Shared>,
}

impl TrackPublication {
    /// Given by the room. It changes only where the relay forgot the room and gave the number to somebody else meanwhile.
    #[must_use]
    pub fn id(&self) -> TrackId {
        TrackId(self.id.load(Ordering::Relaxed) as u16)
    }

    /// Audio or video.
    #[must_use]
    pub fn kind(&self) -> TrackKind {
        self.kind
    }

    /// Silences the track, or not any more: nothing is encoded or sent while it is silent, and everybody is told.
    ///
    /// # Errors
    /// [`Error::Left`].
    pub async fn set_muted(&self, muted: bool) -> Result<(), Error> {
        let request = Request::SetMuted { track: self.id(), muted };
        self.shared.requests.send(request).await.map_err(|_| Error::Left)
    }

    /// Takes the track back.
    ///
    /// # Errors
    /// [`Error::Left`].
    pub async fn unpublish(&self) -> Result<(), Error> {
        self.shared.requests.send(Request::Unpublish { track: self.id() }).await.map_err(|_| Error::Left)
    }

    /// What it measures.
    ///
    /// # Errors
    /// [`Error::Left`], [`Error::NoTrack`].
    pub async fn stats(&self) -> Result<PublicationStats, Error> {
        let stats = Room::request_stats(&self.shared).await?;
        stats.publications.into_iter().find(|publication| publication.track == self.id()).ok_or(Error::NoTrack)
    }
}

impl fmt::Debug for TrackPublication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackPublication").field("id", &self.id()).field("kind", &self.kind).finish_non_exhaustive()
    }
}
