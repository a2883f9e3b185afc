//! Frames the application encoded itself.

use std::sync::{Arc, Mutex, PoisonError};

use segue_media::frame::EncodedFrame;
use segue_model::{EncodingId, TrackKind};
use segue_session::peer::EncodingInfo;

use super::input::Input;
use crate::stream::{FrameSink, FrameStream, frames};

/// Frames that may wait to be packetised. Dropping one breaks what refers to it, so the queue is deeper than a codec's.
const MAX_WAITING: usize = 64;

/// Keyframe requests that may wait for the application.
const MAX_REQUESTS: usize = 16;

/// Encoded frames to publish. Clones push into the same source.
#[derive(Clone)]
pub struct EncodedSource {
    pub(crate) input: Arc<EncodedInput>,
}

pub(crate) struct EncodedInput {
    kind: TrackKind,
    encodings: Vec<EncodingInfo>,
    pub(crate) frames: Input<EncodedFrame>,
    requests: Mutex<Vec<FrameSink<EncodingId>>>,
}

impl EncodedSource {
    /// H.264 access units in Annex B form, constrained baseline; `encodings` largest first.
    #[must_use]
    pub fn video(encodings: Vec<EncodingInfo>) -> Self {
        Self::new(TrackKind::Video, encodings)
    }

    /// Opus packets of 20 ms.
    #[must_use]
    pub fn audio() -> Self {
        Self::new(TrackKind::Audio, Vec::new())
    }

    fn new(kind: TrackKind, encodings: Vec<EncodingInfo>) -> Self {
        let input = EncodedInput { kind, encodings, frames: Input::new(MAX_WAITING), requests: Mutex::new(Vec::new()) };
        Self { input: Arc::new(input) }
    }

    /// Adds a frame. False while the source is not published.
    pub fn push(&self, frame: EncodedFrame) -> bool {
        self.input.frames.push(frame)
    }

    /// A publication takes what is pushed.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.input.frames.is_open()
    }

    /// Encodings of which the next frame should be a keyframe.
    #[must_use]
    pub fn keyframe_requests(&self) -> FrameStream<EncodingId> {
        let (sink, stream) = frames(MAX_REQUESTS);
        self.input.requests.lock().unwrap_or_else(PoisonError::into_inner).push(sink);
        stream
    }

    pub(crate) fn kind(&self) -> TrackKind {
        self.input.kind
    }

    pub(crate) fn encodings(&self) -> Vec<EncodingInfo> {
        self.input.encodings.clone()
    }
}

impl EncodedInput {
    /// Tells the application.
    pub(crate) fn request_keyframe(&self, encoding: EncodingId) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).retain(|sink| sink.push(encoding));
    }
}
