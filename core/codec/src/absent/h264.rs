//! What [`crate::h264`] is in a build without codecs: nothing of it can be made, and applications bring encoders and decoders of their
//! platform.

use std::convert::Infallible;

use segue_model::{DataRate, EncodingId, MediaTime};

use crate::frame::{FramePool, VideoFrame};
use crate::traits::{DecodeError, EncodeError, EncodedVideo, VideoDecoder, VideoEncoder};

/// What the pictures show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Faces and rooms.
    Camera,
    /// Text and windows.
    Screen,
}

/// One encoding of a ladder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rung {
    /// Which one: 0 full size, 1 half, 2 quarter.
    pub encoding: EncodingId,
    /// Target rate.
    pub rate: DataRate,
    /// Pictures per second.
    pub frame_rate: f32,
    /// Encoded from the start.
    pub active: bool,
}

/// What a ladder would be set to.
#[derive(Clone, Debug, PartialEq)]
pub struct LadderConfig {
    /// What the pictures show.
    pub usage: Usage,
    /// Leave pictures out when the rate would be exceeded otherwise.
    pub frame_skip: bool,
    /// The encodings.
    pub rungs: Vec<Rung>,
}

/// Cannot be made.
#[derive(Debug)]
pub struct H264Ladder(Infallible);

impl H264Ladder {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: LadderConfig) -> Result<Self, EncodeError> {
        Err(EncodeError::Refused(super::WITHOUT))
    }
}

impl VideoEncoder for H264Ladder {
    fn encode(&mut self, _: &VideoFrame) -> Result<Vec<EncodedVideo>, EncodeError> {
        match self.0 {}
    }

    fn request_keyframe(&mut self, _: EncodingId) {
        match self.0 {}
    }

    fn set_rate(&mut self, _: EncodingId, _: DataRate) {
        match self.0 {}
    }

    fn set_frame_rate(&mut self, _: EncodingId, _: f32) {
        match self.0 {}
    }

    fn set_active(&mut self, _: EncodingId, _: bool) {
        match self.0 {}
    }
}

/// Cannot be made.
#[derive(Debug)]
pub struct H264Decoder(Infallible);

impl H264Decoder {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: FramePool) -> Result<Self, DecodeError> {
        Err(DecodeError::Unsupported)
    }
}

impl VideoDecoder for H264Decoder {
    fn decode(&mut self, _: &[u8], _: MediaTime) -> Result<Option<VideoFrame>, DecodeError> {
        match self.0 {}
    }
}
