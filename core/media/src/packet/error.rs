//! Why bytes are not a packet.

use thiserror::Error;

/// Why bytes are not the packet they should be. Counted by the caller, never fatal to a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
pub enum PacketError {
    /// Bytes end before the packet does.
    #[error("packet is cut short")]
    Truncated,
    /// Not version 2 (RFC 3550 sections 5.1 and 6.1).
    #[error("version is not 2")]
    Version,
    /// The padding count is zero or more than there is.
    #[error("padding is longer than the packet")]
    Padding,
    /// A field has a value the format does not allow.
    #[error("field is out of its range")]
    Malformed,
    /// More entries than this house takes from one packet.
    #[error("packet holds too many entries")]
    TooMany,
}
