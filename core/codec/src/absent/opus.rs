//! What [`crate::opus`] is in a build without codecs.

use std::convert::Infallible;

use segue_model::{DataRate, MediaTime};

use crate::audio::{AudioFrame, Channels};
use crate::traits::{AudioDecoder, AudioEncoder, DecodeError, EncodeError, EncodedAudio};

/// What an encoder would be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusEncoderConfig {
    /// One channel or two.
    pub channels: Channels,
    /// Target rate.
    pub rate: DataRate,
    /// Percent of packets that are lost.
    pub expected_loss: u8,
}

impl Default for OpusEncoderConfig {
    fn default() -> Self {
        Self { channels: Channels::Mono, rate: DataRate::ZERO, expected_loss: 0 }
    }
}

/// Cannot be made.
#[derive(Debug)]
pub struct OpusEncoder(Infallible);

impl OpusEncoder {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: OpusEncoderConfig) -> Result<Self, EncodeError> {
        Err(EncodeError::Refused(super::WITHOUT))
    }
}

impl AudioEncoder for OpusEncoder {
    fn encode(&mut self, _: &AudioFrame) -> Result<EncodedAudio, EncodeError> {
        match self.0 {}
    }

    fn set_rate(&mut self, _: DataRate) {
        match self.0 {}
    }

    fn set_expected_loss(&mut self, _: u8) {
        match self.0 {}
    }

    fn set_dtx(&mut self, _: bool) {
        match self.0 {}
    }
}

/// Cannot be made.
#[derive(Debug)]
pub struct OpusDecoder(Infallible);

impl OpusDecoder {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: Channels) -> Result<Self, DecodeError> {
        Err(DecodeError::Unsupported)
    }
}

impl AudioDecoder for OpusDecoder {
    fn decode(&mut self, _: &[u8], _: MediaTime) -> Result<AudioFrame, DecodeError> {
        match self.0 {}
    }

    fn decode_fec(&mut self, _: &[u8], _: MediaTime) -> Result<AudioFrame, DecodeError> {
        match self.0 {}
    }

    fn conceal(&mut self, _: MediaTime) -> Result<AudioFrame, DecodeError> {
        match self.0 {}
    }
}
