//! What arrives on one SSRC: duplicates, and the figures of receiver reports (RFC 3550 section 6.4 and appendix A).

use std::time::Instant;

use segue_model::NtpTime;

/// Sequence numbers back from the highest in which a duplicate is known: more than a second of one encoding.
const WINDOW: u64 = 1024;

const WORDS: usize = (WINDOW / 64) as usize;

/// Whether a sequence number is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    New,
    Before,
    TooOld,
}

/// The last numbers that arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenWindow {
    highest: Option<u64>,
    bits: [u64; WORDS],
}

impl SeenWindow {
    pub(crate) fn insert(&mut self, seq: u64) -> Seen {
        match self.highest {
            Some(highest) if seq <= highest => {
                if highest - seq >= WINDOW {
                    return Seen::TooOld;
                }
            }
            Some(highest) => {
                // Only what the window slides over is cleared.
                for passed in (highest + 1..=seq).take(WINDOW as usize) {
                    self.clear(passed);
                }
                if seq - highest >= WINDOW {
                    self.bits = [0; WORDS];
                }
                self.highest = Some(seq);
            }
            None => self.highest = Some(seq),
        }
        let mask = 1 << (seq % 64);
        let Some(word) = self.bits.get_mut(Self::word(seq)) else { return Seen::TooOld };
        if *word & mask != 0 {
            return Seen::Before;
        }
        *word |= mask;
        Seen::New
    }

    const fn word(seq: u64) -> usize {
        ((seq % WINDOW) / 64) as usize
    }

    fn clear(&mut self, seq: u64) {
        if let Some(word) = self.bits.get_mut(Self::word(seq)) {
            *word &= !(1 << (seq % 64));
        }
    }
}

/// Counters of a receiver report block for one SSRC.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reception {
    first: Option<u64>,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// Interarrival jitter times 16 (RFC 3550 appendix A.8), in clock units.
    jitter: u32,
    transit: Option<u32>,
    epoch: Option<Instant>,
    /// Middle 32 bits of the last sender report's NTP time, and when it came.
    sender_report: Option<(u32, Instant)>,
}

/// A report block, without its SSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceptionReport {
    /// Lost since the last report, in 256ths.
    pub(crate) fraction_lost: u8,
    /// Lost altogether; below zero where duplicates came.
    pub(crate) cumulative_lost: i32,
    /// Extended highest sequence number.
    pub(crate) highest: u32,
    /// In clock units.
    pub(crate) jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time, 0 for none.
    pub(crate) last_sender_report: u32,
    /// Since that report, in 65536ths of a second.
    pub(crate) delay: u32,
}

impl Reception {
    /// A packet arrived in its own right, not as a retransmission.
    pub(crate) fn insert(&mut self, now: Instant, seq: u64, timestamp: u32, clock_rate: u32) {
        self.first.get_or_insert(seq);
        self.highest = self.highest.max(seq);
        self.received += 1;
        let epoch = *self.epoch.get_or_insert(now);
        let since = now.saturating_duration_since(epoch);
        // In 64 bits for four years.
        let micros = since.as_secs().wrapping_mul(1_000_000).wrapping_add(u64::from(since.subsec_micros()));
        let elapsed = micros.wrapping_mul(u64::from(clock_rate)) / 1_000_000;
        let transit = (elapsed as u32).wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs().min(clock_rate);
            self.jitter = (self.jitter + difference).saturating_sub((self.jitter + 8) >> 4);
        }
    }

    /// The highest number so far.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.first.map(|_| self.highest)
    }

    pub(crate) const fn sender_report(&mut self, now: Instant, ntp: NtpTime) {
        self.sender_report = Some(((ntp.0 >> 16) as u32, now));
    }

    /// The block for now; a new interval begins. `None` before the first packet.
    pub(crate) fn report(&mut self, now: Instant) -> Option<ReceptionReport> {
        const LOST_LIMIT: i64 = 0x7f_ffff;
        let expected = self.highest - self.first? + 1;
        let expected_since = expected.saturating_sub(self.expected_before);
        let lost_since = expected_since.saturating_sub(self.received.saturating_sub(self.received_before));
        self.expected_before = expected;
        self.received_before = self.received;
        let fraction = (lost_since * 256).checked_div(expected_since).unwrap_or(0).min(255);
        let lost = (expected as i64 - self.received as i64).clamp(-LOST_LIMIT - 1, LOST_LIMIT);
        let (last_sender_report, delay) = self.sender_report.map_or((0, 0), |(ntp, at)| {
            let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
            (ntp, u32::try_from(delay).unwrap_or(u32::MAX))
        });
        Some(ReceptionReport {
            fraction_lost: fraction as u8,
            cumulative_lost: lost as i32,
            highest: self.highest as u32,
            jitter: self.jitter >> 4,
            last_sender_report,
            delay,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(steps in proptest::collection::vec(-600i64..900, 1..400)) {
            let mut window = SeenWindow::default();
            let mut set = BTreeSet::new();
            let mut highest: Option<u64> = None;
            let mut at = 1_000_000i64;
            for step in steps {
                at = (highest.map_or(at, |highest| highest as i64) + step).max(0);
                let seq = at as u64;
                let expected = match highest {
                    Some(highest) if highest >= seq + WINDOW => Seen::TooOld,
                    _ if set.contains(&seq) => Seen::Before,
                    _ => Seen::New,
                };
                prop_assert_eq!(window.insert(seq), expected);
                set.insert(seq);
                highest = Some(highest.map_or(seq, |highest| highest.max(seq)));
            }
        }
    }

    #[test]
    fn loss_and_delay_are_reported_as_the_rfc_counts_them() {
        let start = Instant::now();
        let mut reception = Reception::default();
        assert_eq!(reception.report(start), None);
        for seq in [65_536u64, 65_537, 65_538, 65_540] {
            reception.insert(start, seq, 0, 90_000);
        }
        reception.sender_report(start, NtpTime(0x0001_0002_0003_0004));
        let report = reception.report(start + Duration::from_millis(500)).unwrap();
        assert_eq!(report.fraction_lost, 51);
        assert_eq!(report.cumulative_lost, 1);
        assert_eq!(report.highest, 65_540);
        assert_eq!(report.last_sender_report, 0x0002_0003);
        assert_eq!(report.delay, 32_768);
        let next = reception.report(start + Duration::from_secs(1)).unwrap();
        assert_eq!((next.fraction_lost, next.cumulative_lost), (0, 1));
    }

    #[test]
    fn even_arrival_has_no_jitter() {
        let start = Instant::now();
        let mut reception = Reception::default();
        for step in 0..100u32 {
            reception.insert(start + Duration::from_millis(20) * step, u64::from(step), 960 * step, 48_000);
        }
        assert_eq!(reception.report(start).unwrap().jitter, 0);
    }
}
