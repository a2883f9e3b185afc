//! The only place of the client that reads a clock.
//!
//! Everything that decides is handed `now`; this is where it comes from.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use segue_model::NtpTime;

/// Seconds from the NTP epoch (1900) to the Unix epoch (RFC 5905 section 6).
const NTP_UNIX_OFFSET: u64 = 2_208_988_800;

/// The monotonic time everything is scheduled by.
#[expect(clippy::disallowed_methods, reason = "the one clock of the client")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Wallclock as RTCP sender reports carry it (RFC 3550 section 4).
#[expect(clippy::disallowed_methods, reason = "the one clock of the client")]
pub(crate) fn ntp() -> NtpTime {
    let since_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since_unix.subsec_nanos()) << 32) / 1_000_000_000;
    NtpTime(((since_unix.as_secs() + NTP_UNIX_OFFSET) << 32) | fraction)
}
