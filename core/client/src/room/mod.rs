//! A room as its application sees it.

mod local;
mod played;
mod remote;
pub(crate) mod request;
pub(crate) mod shared;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use segue_model::{ParticipantId, Topology};
use tokio::sync::oneshot;

use crate::driver;
use crate::error::Error;
use crate::event::{ConnectionState, PathInfo, Reliability, RoomEvent};
use crate::options::RoomOptions;
use crate::stats::{HandoverReport, RoomStats};
use crate::stream::FrameStream;

pub use local::{LocalParticipant, TrackOptions, TrackPublication};
pub use played::{PlayedAudio, Playout};
pub use remote::{RemoteParticipant, RemoteTrack};
pub use request::Fault;

pub(crate) use remote::TrackInner;
pub(crate) use request::Request;
pub(crate) use shared::Shared;

/// A call. Mesh, mixed or relayed, it is one room with the same participants and tracks from the first second to the last.
///
/// Cheap to clone. The room is left by [`Room::leave`], or when the last clone is dropped.
#[derive(Clone)]
pub struct Room {
    shared: Arc<Shared>,
    _guard: Arc<LeaveGuard>,
}

/// Leaves when the last handle is gone.
struct LeaveGuard(Arc<Shared>);

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Drop for LeaveGuard {
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        let _ = self.0.requests.try_send(Request::Leave { reply });
    }
}

impl Room {
    /// Joins the room that `token` is for, at the relay `url` (`wss://`, `https://`; `ws://` and `http://` for development).
    /// Resolves once the relay has let this participant in.
    ///
    /// Runs on the tokio runtime it is called on, or on one of its own where there is none.
    ///
    /// Whoever stops to wait for it has not joined: the room is left as soon as the future is dropped.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::Timeout`], [`Error::Refused`], [`Error::Runtime`].
    pub async fn connect(url: &str, token: &str, options: RoomOptions) -> Result<Self, Error> {
        let (shared, answer) = driver::join(url, token, options)?;
        let room = Self { _guard: Arc::new(LeaveGuard(shared.clone())), shared };
        answer.await.unwrap_or(Err(Error::Left))?;
        Ok(room)
    }

    /// What happens from now on; the first stream also tells what happened since [`Room::connect`]. Every call makes a stream of
    /// its own.
    #[must_use]
    pub fn events(&self) -> FrameStream<RoomEvent> {
        self.shared.listen()
    }

    /// Name of the room, from the token.
    #[must_use]
    pub fn name(&self) -> String {
        self.shared.view().room.clone()
    }

    /// This participant.
    #[must_use]
    pub fn local_participant(&self) -> LocalParticipant {
        LocalParticipant::new(self.shared.clone())
    }

    /// The others.
    #[must_use]
    pub fn participants(&self) -> Vec<RemoteParticipant> {
        self.shared.view().participants.values().cloned().collect()
    }

    /// One of the others.
    #[must_use]
    pub fn participant(&self, id: ParticipantId) -> Option<RemoteParticipant> {
        self.shared.view().participants.get(&id).cloned()
    }

    /// This participant's connection.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        self.shared.view().state.clone()
    }

    /// Mesh, mixed or relayed, as it stands.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.shared.view().topology
    }

    /// Which path each direction between this participant and another takes, and why.
    #[must_use]
    pub fn path_info(&self) -> Vec<PathInfo> {
        self.shared.view().paths.clone()
    }

    /// Sends a message to everybody in the room.
    ///
    /// # Errors
    /// [`Error::Data`] where it is too long or too many wait, [`Error::Left`].
    pub async fn send_data(&self, topic: &str, payload: impl Into<Bytes>, reliability: Reliability) -> Result<(), Error> {
        match reliability {
            Reliability::Reliable => {
                let (topic, payload) = (topic.to_owned(), payload.into());
                self.ask(|reply| Request::SendReliable { topic, payload, reply }).await?
            }
            Reliability::Lossy => self.send_lossy(None, topic, payload.into()).await,
        }
    }

    /// Sends a lossy message to one participant.
    ///
    /// # Errors
    /// As [`Room::send_data`].
    pub async fn send_data_to(&self, to: ParticipantId, topic: &str, payload: impl Into<Bytes>) -> Result<(), Error> {
        self.send_lossy(Some(to), topic, payload.into()).await
    }

    /// The network of this host changed (another Wi-Fi, from Wi-Fi to mobile): the connection to the relay is made anew and every path
    /// sought again at once, before the loss of the old ones is noticed.
    ///
    /// # Errors
    /// [`Error::Left`].
    pub async fn network_changed(&self) -> Result<(), Error> {
        self.shared.requests.send(Request::NetworkChanged).await.map_err(|_| Error::Left)
    }

    /// What the room measures about itself.
    ///
    /// # Errors
    /// [`Error::Left`].
    pub async fn stats(&self) -> Result<RoomStats, Error> {
        Self::request_stats(&self.shared).await
    }

    /// What the last changes of path cost this participant, measured on what it played.
    ///
    /// # Errors
    /// [`Error::Left`].
    pub async fn handover_report(&self) -> Result<HandoverReport, Error> {
        self.ask(|reply| Request::HandoverReport { reply }).await
    }

    /// Leaves, after telling the relay and the others so. Streams end; handles stay valid and show the last state.
    pub async fn leave(&self) {
        let _ = self.ask(|reply| Request::Leave { reply }).await;
    }

    /// Brings a failure about, for tests.
    #[doc(hidden)]
    pub async fn inject(&self, fault: Fault) {
        let _ = self.shared.requests.send(Request::Inject(fault)).await;
    }

    pub(crate) async fn request_stats(shared: &Shared) -> Result<RoomStats, Error> {
        let (reply, answer) = oneshot::channel();
        shared.requests.send(Request::Stats { reply }).await.map_err(|_| Error::Left)?;
        answer.await.map_err(|_| Error::Left)
    }

    async fn send_lossy(&self, to: Option<ParticipantId>, topic: &str, payload: Bytes) -> Result<(), Error> {
        let topic = topic.to_owned();
        self.ask(|reply| Request::SendLossy { to, topic, payload, reply }).await?
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.shared.requests.send(request(reply)).await.map_err(|_| Error::Left)?;
        answer.await.map_err(|_| Error::Left)
    }
}
