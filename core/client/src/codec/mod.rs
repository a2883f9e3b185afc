//! Threads that encode and decode: one per published track, one per remote track that somebody looks at or listens to.

mod decode;
mod encode;

pub(crate) use decode::{DecodeWorker, Sound};
pub(crate) use encode::{Encoded, Feed};
