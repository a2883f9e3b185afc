//! What an application puts into a call: pictures, sound, or frames it encoded itself.

mod audio;
mod encoded;
mod input;
mod video;

use segue_model::TrackKind;
use segue_session::peer::EncodingInfo;

pub use audio::{AudioOptions, AudioSource};
pub use encoded::EncodedSource;
pub use segue_session::peer::EncodingInfo as Encoding;
pub use video::{VideoContent, VideoOptions, VideoSource};

pub(crate) use audio::{AudioInput, STEREO_RATE};
pub(crate) use encoded::EncodedInput;
pub(crate) use video::VideoInput;

/// Nobody's publication: what takes pushes and keeps the newest, for measurements of pushing alone.
const MEASUREMENT: u64 = 0;

/// Makes a source take what is pushed although nobody encodes it.
pub fn open_video(source: &VideoSource) {
    source.input.frames.open(MEASUREMENT);
}

/// Likewise.
pub fn open_audio(source: &AudioSource) {
    source.input.frames.open(MEASUREMENT);
}

/// A source to publish, by [`crate::LocalParticipant::publish`].
#[derive(Clone)]
pub enum LocalTrack {
    /// Pictures, encoded by this crate or by the encoder it is given.
    Video(VideoSource),
    /// Sound, encoded as Opus.
    Audio(AudioSource),
    /// Frames the application encoded itself.
    Encoded(EncodedSource),
}

impl LocalTrack {
    pub(crate) fn kind(&self) -> TrackKind {
        match self {
            Self::Video(_) => TrackKind::Video,
            Self::Audio(_) => TrackKind::Audio,
            Self::Encoded(source) => source.kind(),
        }
    }

    pub(crate) fn encodings(&self) -> Vec<EncodingInfo> {
        match self {
            Self::Video(source) => source.encodings(),
            Self::Audio(_) => Vec::new(),
            Self::Encoded(source) => source.encodings(),
        }
    }
}

impl From<VideoSource> for LocalTrack {
    fn from(source: VideoSource) -> Self {
        Self::Video(source)
    }
}

impl From<AudioSource> for LocalTrack {
    fn from(source: AudioSource) -> Self {
        Self::Audio(source)
    }
}

impl From<EncodedSource> for LocalTrack {
    fn from(source: EncodedSource) -> Self {
        Self::Encoded(source)
    }
}
