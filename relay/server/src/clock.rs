//! The only place of the relay that reads a clock.
//!
//! Everything that decides is handed `now`; this is where it comes from.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time everything is scheduled by.
#[expect(clippy::disallowed_methods, reason = "the one clock of the relay")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, for the expiry of tokens.
#[must_use]
pub fn unix_seconds() -> u64 {
    unix_millis() / 1000
}

/// Milliseconds since 1970: the number of a relay's incarnation. Below 2^53 for the next 280,000 years, so JavaScript can read it.
#[expect(clippy::disallowed_methods, reason = "the one clock of the relay")]
#[must_use]
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
