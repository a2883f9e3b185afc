//! The others and what they send.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use segue_codec::VideoFrame;
use segue_media::frame::ReceivedFrame;
use segue_model::{ParticipantId, Quality, TrackId, TrackKind, TrackSource};
use segue_session::peer::{EncodingInfo, ParticipantInfo, TrackInfo};

use super::Room;
use super::played::PlayedAudio;
use super::request::Request;
use super::shared::Shared;
use crate::error::Error;
use crate::stats::TrackStats;
use crate::stream::{FrameSink, FrameStream, frames};

/// Decoded pictures that may wait for the application: more would be stale, and each holds a buffer of the pool.
const MAX_PICTURES: usize = 4;

/// Decoded sound that may wait: 200 ms.
const MAX_SOUND: usize = 10;

/// Encoded frames that may wait: dropping one breaks those after it, so there is room for a second or two.
const MAX_ENCODED: usize = 120;

/// Somebody else in the room. Cheap to clone.
#[derive(Clone)]
pub struct RemoteParticipant {
    info: Arc<ParticipantInfo>,
    room: Weak<Shared>,
}

impl RemoteParticipant {
    pub(crate) fn new(info: ParticipantInfo, shared: &Arc<Shared>) -> Self {
        Self { info: Arc::new(info), room: Arc::downgrade(shared) }
    }

    /// Given by the room, never reused in it.
    #[must_use]
    pub fn id(&self) -> ParticipantId {
        self.info.id
    }

    /// Who it is, from the token.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.info.identity
    }

    /// For people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// The application's own.
    #[must_use]
    pub fn metadata(&self) -> &str {
        &self.info.metadata
    }

    /// SHA-256 of the device's key; empty for browsers.
    #[must_use]
    pub fn peer_id(&self) -> &[u8] {
        &self.info.peer_id
    }

    /// A participant of this SDK, whose media moves between paths without a seam; others are browsers.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.info.origin
    }

    /// What it sends at this moment.
    #[must_use]
    pub fn tracks(&self) -> Vec<RemoteTrack> {
        let Some(room) = self.room.upgrade() else { return Vec::new() };
        room.view().tracks.values().filter(|track| track.participant() == self.id()).cloned().collect()
    }
}

impl fmt::Debug for RemoteParticipant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteParticipant").field("id", &self.id()).field("identity", &self.identity()).finish()
    }
}

/// A track of somebody else. The same from publication to end, whatever path it takes. Cheap to clone.
#[derive(Clone)]
pub struct RemoteTrack {
    inner: Arc<TrackInner>,
    room: Weak<Shared>,
}

/// A track's sinks and what its decoder counts.
pub(crate) struct TrackInner {
    participant: ParticipantId,
    info: TrackInfo,
    muted: AtomicBool,
    ended: AtomicBool,
    sinks: Mutex<Sinks>,
    pub(crate) counters: DecodeCounters,
}

/// Who takes what.
#[derive(Default)]
struct Sinks {
    pictures: Vec<FrameSink<VideoFrame>>,
    sound: Vec<FrameSink<PlayedAudio>>,
    encoded: Vec<FrameSink<ReceivedFrame>>,
}

/// What a track's decoder did.
#[derive(Default)]
pub(crate) struct DecodeCounters {
    pub(crate) decoded: AtomicU64,
    pub(crate) undecoded: AtomicU64,
    pub(crate) concealed: AtomicU64,
    pub(crate) recovered: AtomicU64,
}

impl RemoteTrack {
    pub(crate) fn new(participant: ParticipantId, info: TrackInfo, shared: &Arc<Shared>) -> Self {
        let inner = TrackInner {
            participant,
            muted: AtomicBool::new(info.muted),
            ended: AtomicBool::new(false),
            info,
            sinks: Mutex::new(Sinks::default()),
            counters: DecodeCounters::default(),
        };
        Self { inner: Arc::new(inner), room: Arc::downgrade(shared) }
    }

    /// Given by the room, and again only long after the track is gone.
    #[must_use]
    pub fn id(&self) -> TrackId {
        self.inner.info.id
    }

    /// Who publishes it.
    #[must_use]
    pub fn participant(&self) -> ParticipantId {
        self.inner.participant
    }

    /// Audio or video.
    #[must_use]
    pub fn kind(&self) -> TrackKind {
        self.inner.info.kind
    }

    /// What it shows or sounds.
    #[must_use]
    pub fn source(&self) -> TrackSource {
        self.inner.info.source
    }

    /// The publisher's name for it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.info.name
    }

    /// The encodings announced, largest first; none for audio.
    #[must_use]
    pub fn encodings(&self) -> &[EncodingInfo] {
        &self.inner.info.encodings
    }

    /// Silenced by its publisher.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.inner.muted.load(Ordering::Relaxed)
    }

    /// Unpublished, or its publisher left.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.inner.ended.load(Ordering::Relaxed)
    }

    /// Decoded pictures from now on. Nothing is decoded while nobody asks. Empty for audio.
    #[must_use]
    pub fn video_frames(&self) -> FrameStream<VideoFrame> {
        self.attach(MAX_PICTURES, TrackKind::Video, |sinks| &mut sinks.pictures)
    }

    /// Decoded sound from now on, 20 ms at a time, losses made up for: one frame every 20 ms while the track sounds. Empty for
    /// video.
    #[must_use]
    pub fn audio_frames(&self) -> FrameStream<PlayedAudio> {
        self.attach(MAX_SOUND, TrackKind::Audio, |sinks| &mut sinks.sound)
    }

    /// Encoded frames from now on, in order and in their time, for decoders of the application's own. A keyframe is asked for, so that
    /// a decoder can begin; frames before it refer to what was never seen.
    #[must_use]
    pub fn encoded_frames(&self) -> FrameStream<ReceivedFrame> {
        let stream = self.attach(MAX_ENCODED, self.kind(), |sinks| &mut sinks.encoded);
        self.request_keyframe();
        stream
    }

    /// Asks the publisher for a keyframe: for an application's own decoder that lost its way. Nothing happens for audio. Decoders of this
    /// crate ask by themselves.
    pub fn request_keyframe(&self) {
        if self.kind() == TrackKind::Video
            && let Some(room) = self.room.upgrade()
        {
            let _ = room.requests.try_send(Request::Keyframe { track: self.id() });
        }
    }

    /// Whether the track is to be sent here at all.
    pub fn set_subscribed(&self, subscribed: bool) {
        self.set_quality(if subscribed { Quality::High } else { Quality::Off });
    }

    /// The most that is wanted of the track.
    pub fn set_quality(&self, quality: Quality) {
        if let Some(room) = self.room.upgrade() {
            let _ = room.requests.try_send(Request::Subscribe { track: self.id(), quality });
        }
    }

    /// What the track measures.
    ///
    /// # Errors
    /// [`Error::Left`], [`Error::NoTrack`].
    pub async fn stats(&self) -> Result<TrackStats, Error> {
        let room = self.room.upgrade().ok_or(Error::Left)?;
        let stats = Room::request_stats(&room).await?;
        stats.tracks.into_iter().find(|stats| stats.track == self.id()).ok_or(Error::NoTrack)
    }

    pub(crate) fn inner(&self) -> &Arc<TrackInner> {
        &self.inner
    }

    fn attach<T>(
        &self,
        capacity: usize,
        kind: TrackKind,
        sinks: impl FnOnce(&mut Sinks) -> &mut Vec<FrameSink<T>>,
    ) -> FrameStream<T> {
        let (sink, stream) = frames(capacity);
        if kind == self.kind() && !self.has_ended() {
            sinks(&mut self.inner.sinks()).push(sink);
        }
        stream
    }
}

impl fmt::Debug for RemoteTrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTrack").field("id", &self.id()).field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl TrackInner {
    pub(crate) fn set_muted(&self, muted: bool) {
        self.muted.store(muted, Ordering::Relaxed);
    }

    /// Ends every stream.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        *self.sinks() = Sinks::default();
    }

    /// Somebody wants decoded frames.
    pub(crate) fn wants_decoding(&self) -> bool {
        let mut sinks = self.sinks();
        sinks.pictures.retain(|sink| !sink.is_abandoned());
        sinks.sound.retain(|sink| !sink.is_abandoned());
        !sinks.pictures.is_empty() || !sinks.sound.is_empty()
    }

    pub(crate) fn deliver_encoded(&self, frame: &ReceivedFrame) {
        self.sinks().encoded.retain(|sink| sink.push(frame.clone()));
    }

    pub(crate) fn deliver_picture(&self, picture: &VideoFrame) {
        self.sinks().pictures.retain(|sink| sink.push(picture.clone()));
    }

    pub(crate) fn deliver_sound(&self, sound: &PlayedAudio) {
        self.sinks().sound.retain(|sink| sink.push(sound.clone()));
    }

    fn sinks(&self) -> MutexGuard<'_, Sinks> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
