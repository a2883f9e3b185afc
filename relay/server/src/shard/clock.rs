//! The only place of the media plane that reads a clock: once per batch, everything else is handed `now`.

use std::time::Instant;

/// The time of this batch.
#[expect(clippy::disallowed_methods, reason = "the one clock of a shard")]
pub(super) fn now() -> Instant {
    Instant::now()
}
