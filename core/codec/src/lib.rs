//! Codecs and what stands around them: Opus, H.264 as a ladder of encodings, frames, mixing, and sources of sound and pictures.
//!
//! A leaf crate: it knows the words of [`segue_model`] and nothing of packets, sessions or sockets. Encoders and decoders stand
//! behind the traits of [`traits`], so that an application can put the hardware codecs of its platform in their place. No clock is
//! read here: every frame carries its media time. Errors are values; bytes from the network never make a codec panic.

#[cfg(not(feature = "codecs"))]
mod absent;
pub mod audio;
pub mod counter;
pub mod frame;
#[cfg(feature = "codecs")]
pub mod h264;
pub mod mix;
#[cfg(feature = "codecs")]
pub mod opus;
pub mod resample;
pub mod source;
pub mod traits;

#[cfg(not(feature = "codecs"))]
pub use absent::{h264, opus};
pub use audio::{AudioFrame, AudioLevel, Channels, LevelMeter};
pub use frame::{FramePool, I420, MemoryHold, Plane, VideoFrame};
pub use traits::{
    AudioDecoder, AudioEncoder, DecodeError, EncodeError, EncodedAudio, EncodedVideo, VideoDecoder, VideoEncoder,
};
