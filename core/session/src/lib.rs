//! Everything that decides in a call, on both sides, as pure machines: no clock, socket, task or global random number in here.
//!
//! [`peer`] is one participant's side of a room and [`room`] the relay's; [`sdp`] reads what two ends agreed on; [`carrier`] numbers
//! and resends the frames of the signalling connection on both of its sides; [`dialog`] is offer and answer of one leg; [`data`]
//! delivers reliable messages once and in order over whatever path lives; [`handover`] moves an edge from one path to the other
//! without a gap.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "virtual time needs an instant to begin at"))]

pub mod carrier;
pub mod data;
pub mod dialog;
pub mod handover;
pub mod peer;
pub mod room;
pub mod sdp;
