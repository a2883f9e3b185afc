//! What an encoder and a decoder are to the rest of the house.
//!
//! The codecs of this crate implement these traits; so does an application that brings hardware codecs. A video encoder makes all
//! encodings of a source (full, half, quarter) from one capture, because only it knows how to share work between them.

use bytes::Bytes;
use segue_model::{DataRate, EncodingId, LayerId, MediaTime};

use crate::audio::{AudioFrame, AudioLevel};
use crate::frame::VideoFrame;

/// One encoded picture of one encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedVideo {
    /// Encoding and temporal layer.
    pub layer: LayerId,
    /// Capture time, 90 kHz units, counted from the source's own zero.
    pub time: MediaTime,
    /// Can be decoded without any picture before it (an IDR picture with its parameter sets).
    pub keyframe: bool,
    /// No other picture refers to it.
    pub discardable: bool,
    /// How many encoded pictures of the same encoding back lies the one it refers to; 0 for a keyframe.
    pub refers_back: u8,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// One H.264 access unit in Annex B form (start codes included).
    pub payload: Bytes,
}

/// One encoded stretch of sound, normally 20 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedAudio {
    /// Capture time, 48 kHz units, counted from the source's own zero.
    pub time: MediaTime,
    /// Loudness and voice flag of the sound that went in.
    pub level: AudioLevel,
    /// Silence that need not be sent (discontinuous transmission): the receiver makes comfort noise by itself.
    pub silence: bool,
    /// One Opus packet (RFC 6716).
    pub payload: Bytes,
}

/// Why an encoder made nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The encoder could not be set up with these parameters.
    #[error("encoder refuses the {0}")]
    Refused(&'static str),
    /// The frame has a size, duration or number of channels that the encoder cannot take.
    #[error("frame of a shape the encoder does not take")]
    Shape,
    /// The codec library failed with a code of its own.
    #[error("codec library failed with code {0}")]
    Library(i32),
}

/// Why a decoder gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The decoder could not be set up.
    #[error("decoder could not be set up (code {0})")]
    Setup(i32),
    /// The bytes are not what they should be, or refer to pictures that never came.
    #[error("damaged or incomplete data (code {0})")]
    Damaged(i32),
    /// A picture that refers to others came while the decoder waits for a keyframe.
    #[error("waiting for a keyframe")]
    AwaitingKeyframe,
    /// A profile of the codec that this house does not speak.
    #[error("profile not supported")]
    Unsupported,
    /// More bytes or more pixels than this house decodes.
    #[error("larger than the decoder's limit")]
    TooLarge,
    /// The pool has no frame left: whoever takes decoded frames keeps too many of them.
    #[error("no free frame in the pool")]
    NoFrame,
}

/// Makes all encodings of one video source.
pub trait VideoEncoder: Send {
    /// Encodes one captured frame: at most one picture per active encoding, largest encoding first. Encodings that run at a lower
    /// frame rate, and pictures the rate control leaves out, are absent.
    ///
    /// # Errors
    /// When the frame cannot be taken or the codec fails; the next frame may be tried.
    fn encode(&mut self, frame: &VideoFrame) -> Result<Vec<EncodedVideo>, EncodeError>;

    /// Makes the next picture of an encoding a keyframe. Unknown encodings are ignored.
    fn request_keyframe(&mut self, encoding: EncodingId);

    /// Sets the target rate of an encoding without restarting it. Unknown encodings are ignored.
    fn set_rate(&mut self, encoding: EncodingId, rate: DataRate);

    /// Sets the frame rate of an encoding, in frames per second, without restarting it. Unknown encodings are ignored.
    fn set_frame_rate(&mut self, encoding: EncodingId, frame_rate: f32);

    /// Switches an encoding on or off. One that is switched on starts with a keyframe.
    fn set_active(&mut self, encoding: EncodingId, active: bool);
}

/// Turns encoded pictures of one stream back into frames.
pub trait VideoDecoder: Send {
    /// Decodes one access unit in Annex B form that was captured at `time` (90 kHz). `None` when the unit holds no picture.
    ///
    /// # Errors
    /// See [`DecodeError`]; after an error the decoder waits for the next keyframe, for which the caller asks.
    fn decode(&mut self, access_unit: &[u8], time: MediaTime) -> Result<Option<VideoFrame>, DecodeError>;
}

/// Encodes one source of sound.
pub trait AudioEncoder: Send {
    /// Encodes 20 ms of 48 kHz sound.
    ///
    /// # Errors
    /// When the frame has another length or number of channels, or the codec fails.
    fn encode(&mut self, frame: &AudioFrame) -> Result<EncodedAudio, EncodeError>;

    /// Sets the target rate.
    fn set_rate(&mut self, rate: DataRate);

    /// Tells the encoder how many packets in a hundred are lost: it spends more on in-band repair data the higher that is.
    fn set_expected_loss(&mut self, percent: u8);

    /// Switches discontinuous transmission on or off.
    fn set_dtx(&mut self, on: bool);
}

/// Turns packets of one sound stream back into sound, and makes up for those that are missing.
pub trait AudioDecoder: Send {
    /// Decodes a packet whose first sample stands at `time` (48 kHz).
    ///
    /// # Errors
    /// When the packet is damaged; the caller conceals instead.
    fn decode(&mut self, packet: &[u8], time: MediaTime) -> Result<AudioFrame, DecodeError>;

    /// Recovers the 20 ms *before* `next` from the repair data `next` carries, or conceals when it carries none.
    ///
    /// # Errors
    /// When `next` is damaged; the caller conceals instead.
    fn decode_fec(&mut self, next: &[u8], time: MediaTime) -> Result<AudioFrame, DecodeError>;

    /// Makes up 20 ms out of what was heard before.
    ///
    /// # Errors
    /// When the codec library fails.
    fn conceal(&mut self, time: MediaTime) -> Result<AudioFrame, DecodeError>;
}
