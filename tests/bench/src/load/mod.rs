//! Legs for load: real HTTP, ICE, DTLS and SRTP over WHIP and WHEP, and as little else as possible.
//!
//! A leg has a socket of its own, so that the relay's segmentation works as towards distinct receivers. What is sent carries its time of
//! sending in its payload, and arrivals are stamped by the kernel: delay does not depend on when a busy generator reads.

pub mod attack;
pub mod batch;
mod dtls;
pub mod http;
pub mod leg;
pub mod media;
pub mod offer;
pub mod process;
pub mod publish;
pub mod receive;
pub mod schedule;
mod sctp;
pub mod stats;
pub mod stun;
pub mod token;

pub use leg::{Leg, LegError, Way};
