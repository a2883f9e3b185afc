//! H.264 constrained baseline (ITU-T H.264) by OpenH264, over its C interface.
//!
//! One capture becomes a ladder of up to three encodings, each with an encoder of its own and two temporal layers: pictures of the
//! upper layer refer to the base picture before them and nothing refers to them, so half of all pictures can be left out anywhere on
//! the way. The decoder conceals nothing: a picture whose references are missing is an error, and the next keyframe starts anew.

mod decoder;
mod encoder;
mod ladder;
mod nal;

pub use decoder::H264Decoder;
pub use ladder::{H264Ladder, LadderConfig, Rung, Usage};
pub use nal::{NalUnits, is_keyframe, picture_size};
