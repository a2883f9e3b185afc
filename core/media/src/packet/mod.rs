//! RTP and RTCP as bytes and as values.
//!
//! Parsers take any bytes: they answer with a [`PacketError`] and never panic. They read one datagram at a time and keep at most
//! a bounded multiple of it, so what they allocate is limited by the datagram.

mod classify;
mod cursor;
mod error;
mod extension;
mod media;
mod origin;
pub mod rtcp;
pub mod rtp;
mod view;

pub use classify::{DatagramKind, classify};
pub use error::PacketError;
pub use extension::{ExtensionMap, Extensions, Label, MAX_LABEL, uri};
pub use media::{AudioLevel, MediaPacket};
pub use origin::{ORIGIN_LEN, ORIGIN_URI, Origin, OriginFlags};
pub use rtcp::{RtcpPacket, parse_compound, write_compound};
pub use rtp::{RtpHeader, RtpPacket};
pub use view::{ExtensionElements, RtpView};
