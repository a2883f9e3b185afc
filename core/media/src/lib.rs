//! The media machines: packets, merge by origin, jitter buffers, repair, pacing and feedback. Pure.

pub mod frame;
pub mod packet;
