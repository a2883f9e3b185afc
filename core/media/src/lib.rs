//! The media machines: packets, merge by origin, jitter buffers, repair, pacing and feedback. Pure.

pub mod frame;
pub mod h264;
pub mod merge;
pub mod opus;
pub mod packet;
pub mod source;
