//! Everything an application may say about quality, in one place. Settings of the core that are to be reached from Swift, Kotlin and
//! Python are added here: what a track is encoded as, what a subscriber wants of it, which paths a room may take. What came of it
//! is in `stats.rs`.

use segue::{Encoding, EncodingId};

use crate::error::CallError;

/// Fewest pictures per second of a source: one every ten seconds, a slide show.
const MIN_FRAME_RATE: f32 = 0.1;

/// Most pictures per second of a source.
const MAX_FRAME_RATE: f32 = 120.0;

/// What an application allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum TopologyPolicy {
    /// Mesh while small, relay when grown.
    Auto,
    /// Direct edges wherever they connect.
    MeshOnly,
    /// Everything through the relay.
    RelayOnly,
    /// Through the relay, and no address is told to other participants.
    HideAddress,
}

/// The most that is wanted of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Quality {
    /// Nothing: paused by wish.
    Off,
    /// The smallest encoding.
    Low,
    /// The middle one.
    Medium,
    /// The largest there is.
    High,
}

/// What pictures show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum VideoContent {
    /// Faces and rooms: every picture is sent, coarser if need be.
    Camera,
    /// Text and windows: sharp, at the cost of pictures left out.
    Screen,
}

/// How pictures are encoded.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Record)]
pub struct VideoOptions {
    /// Of the pictures that will be pushed, in pixels; even.
    pub width: u32,
    /// Likewise.
    pub height: u32,
    /// Pictures per second that will be pushed.
    #[uniffi(default = 30.0)]
    pub frame_rate: f32,
    /// How many encodings are made, each half the size of the one before; 1 to 3. Those that would be too small are left out.
    #[uniffi(default = 3)]
    pub encodings: u8,
    /// Upper end of the largest encoding's rate in kbit/s; 0: chosen by size and frame rate. Below it the rate follows the path.
    #[uniffi(default = 0)]
    pub max_kbps: u32,
    /// What the pictures show; absent: a camera.
    #[uniffi(default = None)]
    pub content: Option<VideoContent>,
}

/// One encoding of a track, as announced.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct VideoEncoding {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Upper end of its rate in kbit/s.
    pub max_kbps: u32,
}

impl VideoOptions {
    /// The core's form, once it is known that pictures of this shape can be made.
    pub(crate) fn into_core(self) -> Result<segue::VideoOptions, CallError> {
        segue::I420::new(self.width, self.height).map_err(|_| size_error(self.width, self.height))?;
        if !(MIN_FRAME_RATE..=MAX_FRAME_RATE).contains(&self.frame_rate) {
            let detail =
                format!("a frame rate of {}: give {MIN_FRAME_RATE} to {MAX_FRAME_RATE} pictures per second", self.frame_rate);
            return Err(CallError::argument("frame_rate", detail));
        }
        Ok(segue::VideoOptions {
            width: self.width,
            height: self.height,
            frame_rate: self.frame_rate,
            encodings: self.encodings,
            max_kbps: self.max_kbps,
            content: match self.content {
                Some(VideoContent::Screen) => segue::VideoContent::Screen,
                Some(VideoContent::Camera) | None => segue::VideoContent::Camera,
            },
        })
    }
}

/// A picture of this size cannot be made.
pub(crate) fn size_error(width: u32, height: u32) -> CallError {
    let detail = format!(
        "a picture of {width} x {height}: width and height have to be even, at least 16, and together at most 3840 x 2160"
    );
    CallError::argument("size", detail)
}

impl From<TopologyPolicy> for segue::TopologyPolicy {
    fn from(policy: TopologyPolicy) -> Self {
        match policy {
            TopologyPolicy::Auto => Self::Auto,
            TopologyPolicy::MeshOnly => Self::MeshOnly,
            TopologyPolicy::RelayOnly => Self::RelayOnly,
            TopologyPolicy::HideAddress => Self::HideAddress,
        }
    }
}

impl From<Quality> for segue::Quality {
    fn from(quality: Quality) -> Self {
        match quality {
            Quality::Off => Self::Off,
            Quality::Low => Self::Low,
            Quality::Medium => Self::Medium,
            Quality::High => Self::High,
        }
    }
}

impl From<&Encoding> for VideoEncoding {
    fn from(encoding: &Encoding) -> Self {
        Self { width: encoding.width, height: encoding.height, max_kbps: encoding.max_kbps }
    }
}

impl VideoEncoding {
    /// The core's form of the encoding at this place of a list.
    pub(crate) fn into_core(self, number: usize) -> Encoding {
        let rid = EncodingId(number as u8).rid().to_owned();
        Encoding { rid, width: self.width, height: self.height, max_kbps: self.max_kbps }
    }
}
