//! The messages of Segue: one protobuf schema, compiled at build time, with JSON of the same shape.

/// Generated from `proto/segue.proto`.
pub mod proto {
    #![allow(clippy::all, missing_docs)]
    include!(concat!(env!("OUT_DIR"), "/segue.v1.rs"));
}
