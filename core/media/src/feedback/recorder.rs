//! The receiving side: which packets came, and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segue_model::{ExtSeq, SeqNo, SeqUnwrapper, Ssrc};

use crate::packet::rtcp::{DELTA_TICK, MAX_STATUSES, REFERENCE_TICK, TransportFeedback};

/// Time from the first packet not yet reported to the report: estimators want some ten reports a second or more.
pub const FEEDBACK_DELAY: Duration = Duration::from_millis(50);

/// Arrivals in one report: with two bytes each, and status chunks for the worst pattern of losses, it fits a datagram.
const MAX_ARRIVALS: usize = 256;

/// Reported arrivals are kept this long, so that a report that goes back for a late packet repeats its neighbours.
const HISTORY: Duration = Duration::from_millis(500);

/// Arrivals kept at all; beyond it the oldest go, reported or not.
const MAX_RECORDED: usize = 4_096;

/// Records the arrivals of one transport.
#[derive(Debug, Default)]
pub struct TwccRecorder {
    unwrapper: SeqUnwrapper,
    arrivals: BTreeMap<u64, Instant>,
    /// Lowest number no report has covered.
    next: Option<u64>,
    /// Lowest number that came and is in no report, and when the first such came.
    pending: Option<(u64, Instant)>,
    /// Zero of the clock reports are in.
    zero: Option<Instant>,
    count: u8,
}

impl TwccRecorder {
    /// Notes that the packet numbered `number` came now.
    pub fn record(&mut self, now: Instant, number: SeqNo) {
        self.zero.get_or_insert(now);
        let ExtSeq(number) = self.unwrapper.unwrap(number);
        if self.next.is_some_and(|next| number + (MAX_STATUSES as u64) < next) || self.arrivals.contains_key(&number) {
            return;
        }
        self.arrivals.insert(number, now);
        let (lowest, since) = self.pending.map_or((number, now), |(lowest, since)| (lowest.min(number), since));
        self.pending = Some((lowest, since));
        while self.arrivals.len() > MAX_RECORDED {
            self.arrivals.pop_first();
        }
    }

    /// When a report is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pending.map(|(_, since)| since + FEEDBACK_DELAY)
    }

    /// The report that is due now, if any. Call until `None`.
    pub fn poll_feedback(&mut self, now: Instant, sender: Ssrc, media: Ssrc) -> Option<TransportFeedback> {
        let (pending, since) = self.pending.filter(|(_, since)| *since + FEEDBACK_DELAY <= now)?;
        let zero = self.zero?;
        let (base, reference, deltas) = self.statuses(pending, zero)?;
        let end = base + deltas.len() as u64;
        let next = self.next.map_or(end, |next| next.max(end));
        self.next = Some(next);
        self.pending = self.arrivals.range(end..).next().map(|(number, _)| (*number, since));
        // Numbers come nearly in the order of their times: what is old is in front.
        while let Some(first) = self.arrivals.first_entry()
            && *first.key() < end
            && now.saturating_duration_since(*first.get()) >= HISTORY
        {
            first.remove();
        }
        let count = self.count;
        self.count = count.wrapping_add(1);
        Some(TransportFeedback { sender, media, base: ExtSeq(base).wire(), reference, count, deltas })
    }

    /// The number the report begins with, its reference time, and its statuses.
    fn statuses(&self, pending: u64, zero: Instant) -> Option<(u64, i32, Vec<Option<i16>>)> {
        let highest = *self.arrivals.last_key_value()?.0;
        let mut base = self.next.map_or(pending, |next| next.min(pending));
        if highest - base >= MAX_STATUSES as u64 {
            base = pending.max(highest + 1 - MAX_STATUSES as u64);
        }
        let (_, first) = self.arrivals.range(base..).next()?;
        let references = first.saturating_duration_since(zero).as_millis() / REFERENCE_TICK.as_millis();
        let mut at = references as i64 * (REFERENCE_TICK.as_micros() / DELTA_TICK.as_micros()) as i64;
        let mut deltas = Vec::new();
        for (number, arrival) in self.arrivals.range(base..).take(MAX_ARRIVALS) {
            let ticks = (arrival.saturating_duration_since(zero).as_micros() / DELTA_TICK.as_micros()) as i64;
            // A pause too long for one delta begins the next report.
            let Ok(delta) = i16::try_from(ticks - at) else {
                break;
            };
            at = ticks;
            deltas.resize((number - base) as usize, None);
            deltas.push(Some(delta));
        }
        // Twenty-four bits, signed, that wrap.
        Some((base, ((references as u32) << 8) as i32 >> 8, deltas))
    }
}
