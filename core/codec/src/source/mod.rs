//! Sources of sound and pictures for demos and tests: files, tones, and a drawn moving picture.
//!
//! A source reads no clock: whoever pulls frames out of it keeps the beat, and each frame carries the media time at which it stands.

mod real;
mod synthetic;
mod tone;
mod wav;
mod y4m;

use std::path::PathBuf;

pub use real::{Found, find_speech, speech, video};
pub use synthetic::SyntheticSource;
pub use tone::{ToneSource, detect_tone, loudest_tone, tone_frequency, tone_strength};
pub use wav::WavSource;
pub use y4m::Y4mSource;

use crate::audio::AudioFrame;
use crate::frame::{FrameError, VideoFrame};

/// Why a source gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {reason}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the reader says.
        reason: String,
    },
    /// The file holds something this source does not take.
    #[error("{path}: {what}", path = path.display())]
    Unsupported {
        /// Which file.
        path: PathBuf,
        /// What is not taken.
        what: &'static str,
    },
    /// There is no free frame, or the picture has a size that is not allowed.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Gives pictures one after the other, without end.
pub trait VideoSource: Send {
    /// The next picture, one frame interval after the last.
    ///
    /// # Errors
    /// When the file can no longer be read or the pool of frames is exhausted; the next call tries again.
    fn next_frame(&mut self) -> Result<VideoFrame, SourceError>;

    /// Width and height of the pictures.
    fn size(&self) -> (u32, u32);

    /// Pictures per second.
    fn frame_rate(&self) -> f32;
}

/// Gives 20 ms frames of 48 kHz mono sound one after the other, without end.
pub trait AudioSource: Send {
    /// The next 20 ms.
    fn next_frame(&mut self) -> AudioFrame;
}
