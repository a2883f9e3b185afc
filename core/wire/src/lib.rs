//! The messages of Segue: one protobuf schema, compiled at build time, with JSON of the same shape.
//!
//! [`proto`] holds the generated types. Anything that comes from outside is read through [`decode_client_frame`],
//! [`decode_server_frame`], [`decode_signal`] and their JSON twins, which check every length against [`limits`] before a message reaches
//! a machine.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod check;
mod codec;
pub mod json;
pub mod limits;

pub use codec::{
    Encoding, WireError, decode_client_frame, decode_lossy, decode_server_frame, decode_signal, encode_client_frame,
    encode_lossy, encode_server_frame, encode_signal,
};

/// Generated from `proto/segue.proto`.
pub mod proto {
    #![allow(clippy::all, missing_docs)]
    include!(concat!(env!("OUT_DIR"), "/segue.v1.rs"));
}
