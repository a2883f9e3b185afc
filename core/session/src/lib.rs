//! Everything that decides in a call, on both sides, as pure machines: no clock, socket, task or global random number in here.
//!
//! [`peer`] is one participant's side of a room and [`room`] the relay's; [`sdp`] reads what two ends agreed on; [`carrier`] numbers
//! and resends the frames of the signalling connection on both of its sides.

pub mod carrier;
pub mod peer;
pub mod room;
pub mod sdp;
