//! The seam alone, without a room or a codec: for `cargo xtask bench bindings` and for tests of the packages.

use std::sync::{Arc, Mutex, PoisonError};

use segue::{AudioFrame as Sound, Channels, I420, MediaTime, PlayedAudio};

use crate::audio::{AudioFrame, AudioSource};
use crate::error::CallError;
use crate::quality::size_error;
use crate::video::{VideoFrame, VideoSource};

/// Makes a source take what is pushed although nobody encodes it: the newest pictures are kept, the others dropped.
#[uniffi::export]
pub fn measure_video(source: Arc<VideoSource>) {
    segue::testing::open_video(&source.source);
}

/// Likewise.
#[uniffi::export]
pub fn measure_audio(source: Arc<AudioSource>) {
    segue::testing::open_audio(&source.source);
}

/// The picture that is handed out: made once, as a decoder's is.
static PICTURE: Mutex<Option<Arc<I420>>> = Mutex::new(None);

/// A black picture as a stream would give it.
#[uniffi::export]
pub fn measure_frame(width: u32, height: u32) -> Result<Arc<VideoFrame>, CallError> {
    let mut kept = PICTURE.lock().unwrap_or_else(PoisonError::into_inner);
    let picture = match kept.take().filter(|picture| (picture.width(), picture.height()) == (width, height)) {
        Some(picture) => picture,
        None => Arc::new(I420::new(width, height).map_err(|_| size_error(width, height))?),
    };
    *kept = Some(picture.clone());
    Ok(VideoFrame::new(segue::VideoFrame { picture, time: MediaTime(0) }))
}

/// 20 ms of silence as a stream would give it.
#[uniffi::export]
pub fn measure_sound() -> AudioFrame {
    PlayedAudio { frame: Sound::silence(Channels::Mono, MediaTime(0)), playout: segue::Playout::Silence }.into()
}
