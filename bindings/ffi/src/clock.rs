//! The only place of this crate that reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, for the times in tokens.
#[expect(clippy::disallowed_methods, reason = "the one clock of the bindings")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
