//! Frames that the host's own codecs make and take (MediaCodec, VideoToolbox, files).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use segue::{AudioLevel, EncodingId, FrameStream, LayerId, MediaTime, ReceivedFrame, TemporalId};

use crate::blob::Blob;
use crate::error::CallError;
use crate::publication::Claim;
use crate::quality::VideoEncoding;
use crate::queue::{Queue, ReadyListener};
use crate::track::TrackKind;

/// Most encodings of a track.
const MAX_ENCODINGS: usize = 3;

/// Longest encoded frame: what a keyframe of 4K takes at most, with room to spare. Longer ones are a mistake.
const MAX_FRAME: usize = 4 << 20;

/// Units of media time in a millisecond, by kind.
const fn units_per_ms(kind: segue::TrackKind) -> u64 {
    kind.clock_rate() as u64 / 1_000
}

/// Frames to publish that the application encoded itself. Any thread may push.
#[derive(uniffi::Object)]
pub struct EncodedSource {
    pub(crate) source: segue::EncodedSource,
    pub(crate) claim: Claim,
    kind: segue::TrackKind,
    encodings: usize,
    requests: Mutex<FrameStream<EncodingId>>,
}

#[uniffi::export]
impl EncodedSource {
    /// Of H.264 access units in Annex B form, constrained baseline; `encodings` largest first, one to three.
    #[uniffi::constructor]
    pub fn video(encodings: Vec<VideoEncoding>) -> Result<Arc<Self>, CallError> {
        if encodings.is_empty() || encodings.len() > MAX_ENCODINGS {
            let detail = format!("{} encodings: name one to {MAX_ENCODINGS}, largest first", encodings.len());
            return Err(CallError::argument("size", detail));
        }
        let count = encodings.len();
        let encodings = encodings.into_iter().enumerate().map(|(number, encoding)| encoding.into_core(number)).collect();
        Ok(Self::new(segue::EncodedSource::video(encodings), segue::TrackKind::Video, count))
    }

    /// Of Opus packets of 20 ms.
    #[uniffi::constructor]
    pub fn audio() -> Arc<Self> {
        Self::new(segue::EncodedSource::audio(), segue::TrackKind::Audio, 1)
    }

    /// Adds an access unit of one encoding (0 the largest). `refers_back`: how many frames of the same encoding back lies the one
    /// it refers to, 0 for a keyframe. False while the source is not published.
    #[allow(clippy::too_many_arguments, reason = "a record would cross by serializer, for every frame")]
    pub fn push_video(
        &self,
        payload: &[u8],
        timestamp_us: i64,
        encoding: u8,
        temporal: u8,
        keyframe: bool,
        discardable: bool,
        refers_back: u8,
    ) -> Result<bool, CallError> {
        self.require(segue::TrackKind::Video)?;
        if usize::from(encoding) >= self.encodings {
            let detail = format!("encoding {encoding} of a source that has {}: count from 0, the largest", self.encodings);
            return Err(CallError::argument("size", detail));
        }
        let layer = LayerId { encoding: EncodingId(encoding), temporal: TemporalId(temporal) };
        self.push(payload, timestamp_us, |frame| segue::EncodedFrame { layer, keyframe, discardable, refers_back, ..frame })
    }

    /// Adds an Opus packet. `level`: how loud it is in -dBov, 0 loudest, 127 silent (RFC 6464). False while the source is not
    /// published.
    pub fn push_audio(&self, payload: &[u8], timestamp_us: i64, level: u8, voice: bool) -> Result<bool, CallError> {
        self.require(segue::TrackKind::Audio)?;
        let audio_level = Some(AudioLevel { level: level.min(127), voice });
        self.push(payload, timestamp_us, |frame| segue::EncodedFrame { audio_level, ..frame })
    }

    /// Whether the next frame of an encoding should be a keyframe; asked before each frame is encoded. Says so once for each request.
    pub fn take_keyframe_requests(&self) -> Vec<u8> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted: Vec<u8> = std::iter::from_fn(|| requests.try_next()).map(|encoding| encoding.0).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Somebody takes what is pushed.
    pub fn is_published(&self) -> bool {
        self.source.is_published()
    }
}

impl EncodedSource {
    fn new(source: segue::EncodedSource, kind: segue::TrackKind, encodings: usize) -> Arc<Self> {
        let requests = Mutex::new(source.keyframe_requests());
        Arc::new(Self { source, claim: Claim::default(), kind, encodings, requests })
    }

    fn require(&self, kind: segue::TrackKind) -> Result<(), CallError> {
        if self.kind == kind {
            return Ok(());
        }
        let detail = "a frame of the other kind: push sound to a source made by `audio`, pictures to one made by `video`";
        Err(CallError::argument("kind", detail))
    }

    fn push(
        &self,
        payload: &[u8],
        timestamp_us: i64,
        complete: impl FnOnce(segue::EncodedFrame) -> segue::EncodedFrame,
    ) -> Result<bool, CallError> {
        if payload.is_empty() || payload.len() > MAX_FRAME {
            let detail = format!("a frame of {} bytes: give 1 to {MAX_FRAME}", payload.len());
            return Err(CallError::argument("size", detail));
        }
        let Ok(time) = u64::try_from(timestamp_us) else {
            let detail = format!("a time of {timestamp_us} us: count from 0, as frames are captured");
            return Err(CallError::argument("timestamp", detail));
        };
        if !self.source.is_published() {
            return Ok(false);
        }
        let frame = segue::EncodedFrame {
            kind: self.kind,
            layer: LayerId::default(),
            time: MediaTime(time.saturating_mul(units_per_ms(self.kind)) / 1_000),
            keyframe: false,
            discardable: false,
            refers_back: 0,
            audio_level: None,
            payload: Bytes::copy_from_slice(payload),
        };
        Ok(self.source.push(complete(frame)))
    }
}

/// An encoded frame as it was received: an H.264 access unit in Annex B form, or an Opus packet.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct EncodedFrame {
    /// The encoded bytes.
    pub payload: Blob,
    /// Audio or video.
    pub kind: TrackKind,
    /// Can be decoded without any frame before it; always so for audio.
    pub keyframe: bool,
    /// Which encoding, 0 the largest.
    pub encoding: u8,
    /// Which temporal layer.
    pub temporal: u8,
    /// Counts the frames of the encoding.
    pub number: u32,
    /// Capture time in microseconds, from a zero of the publisher's own.
    pub timestamp_us: i64,
}

impl From<ReceivedFrame> for EncodedFrame {
    fn from(received: ReceivedFrame) -> Self {
        let ReceivedFrame { frame, number, .. } = received;
        Self {
            kind: frame.kind.into(),
            keyframe: frame.keyframe || frame.kind == segue::TrackKind::Audio,
            encoding: frame.layer.encoding.0,
            temporal: frame.layer.temporal.0,
            number,
            timestamp_us: (frame.time.0 as i64).saturating_mul(1_000) / units_per_ms(frame.kind) as i64,
            payload: frame.payload.into(),
        }
    }
}

/// Encoded frames of a track.
#[derive(uniffi::Object)]
pub struct EncodedStream {
    queue: Queue<ReceivedFrame>,
    /// The first frame that can be decoded by itself was there.
    begun: AtomicBool,
}

impl EncodedStream {
    pub(crate) fn new(
        stream: FrameStream<ReceivedFrame>,
        max_queue: u32,
        listener: Arc<dyn ReadyListener>,
    ) -> Result<Arc<Self>, CallError> {
        Ok(Arc::new(Self { queue: Queue::new(stream, max_queue, listener)?, begun: AtomicBool::new(false) }))
    }
}

#[uniffi::export]
impl EncodedStream {
    /// The oldest frame that waits. The first is a keyframe: those before it refer to what was never seen.
    pub fn try_next(&self) -> Option<EncodedFrame> {
        loop {
            let frame = EncodedFrame::from(self.queue.try_next()?);
            if frame.keyframe || self.begun.load(Ordering::Relaxed) {
                self.begun.store(true, Ordering::Relaxed);
                return Some(frame);
            }
        }
    }

    /// Frames dropped because they were not taken in time. After one, ask for a keyframe.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Nothing waits and nothing follows.
    pub fn has_ended(&self) -> bool {
        self.queue.has_ended()
    }

    /// Ends it.
    pub fn stop(&self) {
        self.queue.stop();
    }
}
