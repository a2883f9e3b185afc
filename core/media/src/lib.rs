//! The media machines: packets, merge by origin, jitter buffers, repair, pacing and feedback. Pure.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "virtual time needs an instant to begin at"))]

pub mod allocator;
pub mod bwe;
pub mod feedback;
pub mod frame;
pub mod h264;
pub mod heartbeat;
pub mod interruption;
pub mod jitter;
pub mod layers;
pub mod leg;
pub mod merge;
pub mod nack;
pub mod opus;
pub mod pacer;
pub mod packet;
pub mod receiver;
pub mod red;
pub mod rtx;
pub mod source;
