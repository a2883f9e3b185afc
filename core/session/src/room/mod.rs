//! The relay's authority over one room: who is in it, what they publish, which way each edge goes.

mod command;

pub use command::{EncodingSpec, ForwardCommand};
