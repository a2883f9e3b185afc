//! Wallclock without reading one: an anchor the shell took once, and the time since.

use std::time::{Duration, Instant};

use segue_model::NtpTime;

/// Fractions of a second in an [`NtpTime`].
const NTP_SECOND: u128 = 1 << 32;

/// The wallclock of a leg. All legs of a client share one, so that receivers can line up what takes different paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// An instant.
    pub at: Instant,
    /// What the wallclock said then.
    pub ntp: NtpTime,
}

impl WallClock {
    /// What the wallclock says at `now`.
    #[must_use]
    pub fn ntp(&self, now: Instant) -> NtpTime {
        let since = ntp_units(now.saturating_duration_since(self.at));
        let before = ntp_units(self.at.saturating_duration_since(now));
        NtpTime(self.ntp.0.wrapping_add(since).wrapping_sub(before))
    }

    /// The value of the abs-send-time extension at `now`: 6.18 fixed-point seconds.
    #[must_use]
    pub fn abs_send_time(&self, now: Instant) -> u32 {
        (self.ntp(now).0 >> 14) as u32 & 0x00ff_ffff
    }
}

/// A sender report's statement: this RTP timestamp belongs to this wallclock time of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderClock {
    /// Wallclock of the sender.
    pub ntp: NtpTime,
    /// RTP timestamp of the same instant.
    pub rtp_timestamp: u32,
    /// When the report came.
    pub received_at: Instant,
}

fn ntp_units(time: Duration) -> u64 {
    (time.as_nanos() * NTP_SECOND / 1_000_000_000) as u64
}

/// The middle 32 bits of an NTP time: 16.16 seconds (RFC 3550 section 6.4.1, LSR).
pub(super) const fn middle(ntp: NtpTime) -> u32 {
    (ntp.0 >> 16) as u32
}

/// A duration in 16.16 seconds, as DLSR carries it.
pub(super) fn short_units(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() * 65_536 / 1_000_000_000).unwrap_or(u32::MAX)
}

/// The reverse of [`short_units`].
pub(super) fn from_short_units(units: u32) -> Duration {
    Duration::from_nanos(u64::from(units) * 1_000_000_000 / 65_536)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wallclock_runs_both_ways_from_its_anchor() {
        let at = Instant::now() + Duration::from_secs(100);
        let clock = WallClock { at, ntp: NtpTime(1_000 << 32) };
        assert_eq!(clock.ntp(at + Duration::from_millis(500)), NtpTime((1_000 << 32) + (1 << 31)));
        assert_eq!(clock.ntp(at - Duration::from_secs(1)), NtpTime(999 << 32));
        assert_eq!(clock.abs_send_time(at), (1_000 % 64) << 18);
        assert_eq!(from_short_units(short_units(Duration::from_millis(250))), Duration::from_millis(250));
    }
}
