//! Everything that decides in a call, on both sides, as pure machines.

pub mod room;
