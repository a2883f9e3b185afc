//! H.264 in RTP (RFC 6184), packetization mode 1: single NAL unit packets, STAP-A and FU-A.

mod depacketise;
mod packetise;

pub use depacketise::{DepacketiseError, depacketise};
pub use packetise::{MAX_PAYLOAD, nal_units, packetise};

/// Aggregation of whole NAL units (RFC 6184 section 5.7.1).
const STAP_A: u8 = 24;

/// Fragment of a NAL unit (RFC 6184 section 5.8).
const FU_A: u8 = 28;

/// The five bits of a NAL unit header that say its type (RFC 6184 section 1.3).
const TYPE_MASK: u8 = 0x1f;

/// The forbidden bit and nal_ref_idc of a NAL unit header.
const IMPORTANCE_MASK: u8 = 0xe0;

/// FU header: first and last fragment.
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

#[cfg(test)]
mod tests;
