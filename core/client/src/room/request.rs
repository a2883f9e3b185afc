//! What the application asks the task of its room to do.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use bytes::Bytes;
use segue_model::{ParticipantId, Quality, TrackId};
use segue_session::peer::PublishRequest;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::source::LocalTrack;
use crate::stats::{HandoverReport, RoomStats};

/// Requests that may wait for the room's task.
pub(crate) const MAX_REQUESTS: usize = 256;

/// One request. Where a reply is expected and the room ends first, the reply's channel closes.
pub(crate) enum Request {
    Publish { request: PublishRequest, source: LocalTrack, reply: oneshot::Sender<Result<Arc<AtomicU32>, Error>> },
    Unpublish { track: TrackId },
    SetMuted { track: TrackId, muted: bool },
    Subscribe { track: TrackId, quality: Quality },
    Keyframe { track: TrackId },
    SendReliable { topic: String, payload: Bytes, reply: oneshot::Sender<Result<(), Error>> },
    SendLossy { to: Option<ParticipantId>, topic: String, payload: Bytes, reply: oneshot::Sender<Result<(), Error>> },
    NetworkChanged,
    Kick { participant: ParticipantId, reply: oneshot::Sender<Result<(), Error>> },
    MuteRemote { track: TrackId, reply: oneshot::Sender<Result<(), Error>> },
    Stats { reply: oneshot::Sender<RoomStats> },
    HandoverReport { reply: oneshot::Sender<HandoverReport> },
    Leave { reply: oneshot::Sender<()> },
    Inject(Fault),
}

/// A failure brought about on purpose, for tests.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection to the relay breaks now; the room reconnects by itself.
    DropSignalling,
    /// Nothing passes the direct leg to a participant any more, either way; it is not told so.
    CutDirect(ParticipantId),
    /// Takes [`Fault::CutDirect`] back.
    RestoreDirect(ParticipantId),
    /// Nothing passes the legs to the relay any more, either way.
    CutRelayMedia,
    /// Takes [`Fault::CutRelayMedia`] back.
    RestoreRelayMedia,
    /// From now on no candidate is exchanged with participants of this identity: a pair that cannot connect.
    RefuseDirect(String),
    /// From now on every packet sent claims to belong to this track of somebody else.
    StealOrigin(TrackId),
}
