//! Whole calls in virtual time: the machines that ship, over a network that is made up.
//!
//! A [`world::World`] holds participants and a relay. Nothing in it reads a clock, opens a socket or draws a random number that is not of
//! its seed, so a run is repeated by its seed. [`oracle`] watches what must hold at every step.

pub mod bench;
pub mod clock;
pub mod net;
pub mod oracle;
pub mod parallel;
pub mod played;
pub mod queue;
pub mod random;
pub mod rng;
pub mod scenario;
pub mod timeline;
pub mod trace;
pub mod world;
