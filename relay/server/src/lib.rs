//! The Segue relay: signalling, tokens and the selective forwarding unit behind one binary, `segue-relay`.

pub mod media_plane;
pub mod sdp;
pub mod shard;
pub mod transport;
