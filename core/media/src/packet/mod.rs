//! RTP and RTCP as bytes and as values.

mod media;
mod origin;

pub use media::{AudioLevel, MediaPacket};
pub use origin::{ORIGIN_LEN, ORIGIN_URI, Origin, OriginFlags};
