//! Reliable messages, end to end: numbered by their sender, held until everybody in the room acknowledged, sent again on whatever path
//! lives, delivered once and in order.
//!
//! A receiver that came late must know where its stream begins, or it would wait for what was said before it came: messages carry the
//! lowest number it will ever get (`first`) until it has acknowledged something.

mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use incoming::{Delivered, Incoming};
pub use outgoing::{Outgoing, Resend, SendError};

/// Longest message in bytes: with its envelope below the 64 KiB every browser accepts on a data channel (RFC 8841 section 6.1).
pub const MAX_MESSAGE_LEN: usize = 60_000;

/// Longest topic in bytes.
pub const MAX_TOPIC_LEN: usize = 256;

/// Most messages held for receivers.
pub const MAX_HELD: usize = 1024;

/// Most bytes held for receivers: two seconds of a 16 Mbit/s link.
pub const MAX_HELD_BYTES: usize = 4 * 1024 * 1024;

/// First wait for an acknowledgement, doubled up to [`RESEND_MAX`].
pub const RESEND_FIRST: Duration = Duration::from_millis(500);

/// Longest wait between two attempts: a path that returns is used within this.
pub const RESEND_MAX: Duration = Duration::from_secs(4);

/// Most messages sent again to one receiver at once, so that a returning path is not flooded.
pub const RESEND_BURST: usize = 32;
