//! Pictures from the application.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use segue_codec::{I420, VideoEncoder, VideoFrame};
use segue_model::{EncodingId, MAX_ENCODINGS, MediaTime, TrackKind};
use segue_session::peer::EncodingInfo;

use super::input::Input;
use crate::clock;

/// Pictures that may wait for the encoder: one in hand, one next. An older one is stale.
const MAX_WAITING: usize = 2;

/// Bits per pixel and frame that H.264 needs for a talking head, in thousandths.
const MILLIBITS_PER_PIXEL: u64 = 90;

/// No encoding gets less than this, in kbit/s.
const MIN_KBPS: u64 = 80;

/// No encoding gets more than this, in kbit/s.
const MAX_KBPS: u64 = 4_000;

/// An encoding smaller than this on its longer side is not made.
const MIN_LONG_SIDE: u32 = 160;

/// What pictures show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VideoContent {
    /// Faces and rooms: every picture is sent, coarser if need be.
    #[default]
    Camera,
    /// Text and windows: sharp, at the cost of pictures left out.
    Screen,
}

/// How pictures are encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VideoOptions {
    /// Of the largest encoding, in pixels; pictures pushed must have this size.
    pub width: u32,
    /// Likewise.
    pub height: u32,
    /// Pictures per second that will be pushed.
    pub frame_rate: f32,
    /// How many encodings are made, each half the size of the one before; 1 to 3. Those that would be too small are left out.
    pub encodings: u8,
    /// Upper end of the largest encoding's rate in kbit/s; 0: chosen by size and frame rate.
    pub max_kbps: u32,
    /// What the pictures show.
    pub content: VideoContent,
}

impl VideoOptions {
    /// Pictures of this size and frequency, in as many encodings as make sense.
    #[must_use]
    pub const fn new(width: u32, height: u32, frame_rate: f32) -> Self {
        Self { width, height, frame_rate, encodings: MAX_ENCODINGS as u8, max_kbps: 0, content: VideoContent::Camera }
    }

    /// A shared screen of this size and frequency, in one encoding.
    #[must_use]
    pub const fn screen(width: u32, height: u32, frame_rate: f32) -> Self {
        Self { width, height, frame_rate, encodings: 1, max_kbps: 0, content: VideoContent::Screen }
    }

    /// The encodings these options make, largest first.
    #[must_use]
    pub fn encodings(&self) -> Vec<EncodingInfo> {
        let wanted = self.encodings.clamp(1, MAX_ENCODINGS as u8);
        let mut encodings = Vec::new();
        let (mut width, mut height) = (self.width, self.height);
        for number in 0..wanted {
            if number > 0 && width.max(height) < MIN_LONG_SIDE {
                break;
            }
            let rid = EncodingId(number).rid().to_owned();
            encodings.push(EncodingInfo { rid, width, height, max_kbps: self.kbps(number, width, height) });
            (width, height) = I420::half_size(width, height);
        }
        encodings
    }

    fn kbps(&self, number: u8, width: u32, height: u32) -> u32 {
        if self.max_kbps > 0 {
            // A quarter of the pixels needs somewhat more than a quarter of the bits.
            return (self.max_kbps / 3_u32.pow(u32::from(number))).max(MIN_KBPS as u32);
        }
        let pixels = u64::from(width) * u64::from(height) * self.frame_rate.max(1.0) as u64;
        (pixels * MILLIBITS_PER_PIXEL / 1_000_000).clamp(MIN_KBPS, MAX_KBPS) as u32
    }
}

/// Pictures to publish. Clones push into the same source.
#[derive(Clone)]
pub struct VideoSource {
    pub(crate) input: Arc<VideoInput>,
}

pub(crate) struct VideoInput {
    pub(crate) options: VideoOptions,
    pub(crate) frames: Input<VideoFrame>,
    /// Brought by the application, taken by the first publication.
    pub(crate) encoder: Mutex<Option<Box<dyn VideoEncoder>>>,
    timeline: Mutex<Timeline>,
}

#[derive(Default)]
struct Timeline {
    start: Option<Instant>,
    last: Option<u64>,
}

impl VideoSource {
    /// A source whose pictures this crate encodes.
    #[must_use]
    pub fn new(options: VideoOptions) -> Self {
        let frames = Input::new(MAX_WAITING);
        let input = VideoInput { options, frames, encoder: Mutex::new(None), timeline: Mutex::new(Timeline::default()) };
        Self { input: Arc::new(input) }
    }

    /// A source whose pictures the application's own encoder encodes (one that stands on hardware, say).
    #[must_use]
    pub fn with_encoder(options: VideoOptions, encoder: Box<dyn VideoEncoder>) -> Self {
        let source = Self::new(options);
        *source.input.encoder.lock().unwrap_or_else(PoisonError::into_inner) = Some(encoder);
        source
    }

    /// Adds a picture captured just now. False while the source is not published.
    pub fn push(&self, picture: I420) -> bool {
        self.push_shared(Arc::new(picture))
    }

    /// Adds a picture that others hold too, as captured just now. False while the source is not published.
    pub fn push_shared(&self, picture: Arc<I420>) -> bool {
        let now = clock::now();
        let time = self.input.timeline.lock().unwrap_or_else(PoisonError::into_inner).stamp(now);
        self.push_frame(VideoFrame { picture, time })
    }

    /// Adds a picture with a capture time of the application's own: 90 kHz units from any zero, growing.
    pub fn push_frame(&self, frame: VideoFrame) -> bool {
        self.input.frames.push(frame)
    }

    /// A publication takes what is pushed.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.input.frames.is_open()
    }

    /// Pictures dropped because the encoder had no time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.input.frames.dropped()
    }

    pub(crate) fn encodings(&self) -> Vec<EncodingInfo> {
        self.input.options.encodings()
    }
}

impl Timeline {
    fn stamp(&mut self, now: Instant) -> MediaTime {
        let rate = u128::from(TrackKind::Video.clock_rate());
        let start = *self.start.get_or_insert(now);
        let elapsed = (now.saturating_duration_since(start).as_micros() * rate / 1_000_000) as u64;
        let time = self.last.map_or(elapsed, |last| elapsed.max(last + 1));
        self.last = Some(time);
        MediaTime(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_halve_until_too_small() {
        let sizes = |options: VideoOptions| -> Vec<(u32, u32)> {
            options.encodings().iter().map(|encoding| (encoding.width, encoding.height)).collect()
        };
        assert_eq!(sizes(VideoOptions::new(1280, 720, 30.0)), [(1280, 720), (640, 360), (320, 180)]);
        assert_eq!(sizes(VideoOptions::new(320, 240, 25.0)), [(320, 240), (160, 120)]);
        let rates: Vec<u32> = VideoOptions::new(1280, 720, 30.0).encodings().iter().map(|encoding| encoding.max_kbps).collect();
        assert!(rates.is_sorted_by(|a, b| a > b) && rates[0] > 1_500 && rates[2] >= 80, "{rates:?}");
    }
}
