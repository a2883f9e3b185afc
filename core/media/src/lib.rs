//! What becomes of media between an encoder and a decoder, as pure machines: no clock, socket, task or global random number in here.
//!
//! Sending: [`source`] gives frames their origin, [`h264`], [`opus`] and [`red`] cut them into packets, [`leg`] carries them over one
//! transport with [`rtx`], [`pacer`] and [`feedback`], and [`bwe`] says how much all legs of one uplink may carry together. Receiving: each
//! leg asks by [`nack`] for what is missing; [`merge`] puts the legs of a source together by origin, first copy wins, *before* [`jitter`]
//! holds frames until they are due; [`receiver`] is all of that for every track. [`layers`] reads what browsers send, [`allocator`]
//! divides what a subscriber can take, [`heartbeat`] tells a dead path, [`interruption`] measures what was not played.
//!
//! Packets are read from and written to bytes in [`packet`]; bytes from outside that are not what they should be are counted and dropped.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]
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
