//! Transport-wide feedback to a publisher: when each of its packets arrived
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01). Recorded here, estimated at the sender.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segue_media::packet::rtcp::{DELTA_TICK, REFERENCE_TICK, TransportFeedback};
use segue_model::{SeqNo, SeqUnwrapper, Ssrc};

/// Between two feedback packets: several per round trip for most senders, at less than 1 % of the rate they steer.
pub const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);

/// Packets one feedback may cover: 20,000 a second.
const MAX_COVERED: u64 = 2_000;

/// Ticks of a delta in one reference tick.
const TICKS: i64 = (REFERENCE_TICK.as_micros() / DELTA_TICK.as_micros()) as i64;

/// What arrived on one transport.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    unwrapper: SeqUnwrapper,
    epoch: Option<Instant>,
    /// Arrival in ticks by extended number, reported ones included for a while, so that a late packet does not make its
    /// neighbours look lost.
    history: BTreeMap<u64, i64>,
    /// Where the next feedback begins; `None`: nothing new.
    begin: Option<u64>,
    /// One above the highest number reported on.
    reported: Option<u64>,
    due: Option<Instant>,
    media: Option<Ssrc>,
    count: u8,
}

impl Arrivals {
    pub(crate) fn record(&mut self, now: Instant, number: u16, ssrc: Ssrc) {
        let number = self.unwrapper.unwrap(SeqNo(number)).0;
        let epoch = *self.epoch.get_or_insert(now);
        let ticks = now.saturating_duration_since(epoch).as_micros() / DELTA_TICK.as_micros();
        if self.history.insert(number, ticks as i64).is_some() {
            return;
        }
        self.media = Some(ssrc);
        let begin = self.begin.or(self.reported).unwrap_or(number).min(number);
        self.begin = Some(begin);
        self.due.get_or_insert(now + FEEDBACK_INTERVAL);
        self.bound();
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The feedback that is due.
    pub(crate) fn poll(&mut self, now: Instant, sender: Ssrc) -> Option<TransportFeedback> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        self.due = None;
        let begin = self.begin.take()?;
        let (&highest, _) = self.history.last_key_value()?;
        let (_, &first) = self.history.range(begin..).next()?;
        let reference = first.div_euclid(TICKS);
        let mut at = reference * TICKS;
        let mut deltas = Vec::new();
        let mut next = begin;
        while next <= highest {
            let delta = match self.history.get(&next) {
                None => None,
                Some(&ticks) => match i16::try_from(ticks - at) {
                    Ok(delta) => {
                        at = ticks;
                        Some(delta)
                    }
                    // Further apart than a delta can say: the rest goes in a feedback of its own.
                    Err(_) => break,
                },
            };
            deltas.push(delta);
            next += 1;
        }
        if next <= highest {
            self.begin = Some(next);
            self.due = Some(now);
        }
        self.reported = Some(self.reported.map_or(next, |reported| reported.max(next)));
        let count = self.count;
        self.count = count.wrapping_add(1);
        // The field has 24 bits and wraps.
        let reference = ((reference as i32) << 8) >> 8;
        Some(TransportFeedback { sender, media: self.media?, base: SeqNo(begin as u16), reference, count, deltas })
    }

    fn bound(&mut self) {
        let Some((&highest, _)) = self.history.last_key_value() else { return };
        let low = highest.saturating_sub(MAX_COVERED);
        while let Some(entry) = self.history.first_entry().filter(|entry| *entry.key() < low) {
            entry.remove();
        }
        self.begin = self.begin.map(|begin| begin.max(low));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn every_number_is_reported_with_its_arrival() {
        let start = Instant::now();
        let mut arrivals = Arrivals::default();
        for (number, millis) in [(65_534u16, 0), (65_535, 5), (1, 70)] {
            arrivals.record(at(start, millis), number, Ssrc(7));
        }
        assert_eq!(arrivals.poll(at(start, 99), Ssrc(1)), None);
        let feedback = arrivals.poll(at(start, 100), Ssrc(1)).unwrap();
        let reported: Vec<_> = feedback.arrivals().collect();
        assert_eq!(reported, [(SeqNo(65_534), Some(0)), (SeqNo(65_535), Some(20)), (SeqNo(0), None), (SeqNo(1), Some(280))]);
        assert_eq!(arrivals.due(), None);

        // A late one is reported again with those after it, and the next begins where the last ended.
        arrivals.record(at(start, 110), 0, Ssrc(7));
        arrivals.record(at(start, 120), 3, Ssrc(7));
        let feedback = arrivals.poll(at(start, 210), Ssrc(1)).unwrap();
        assert_eq!((feedback.base, feedback.count), (SeqNo(0), 1));
        let reported: Vec<_> = feedback.arrivals().collect();
        assert_eq!(reported, [(SeqNo(0), Some(440)), (SeqNo(1), Some(280)), (SeqNo(2), None), (SeqNo(3), Some(480))]);
    }

    #[test]
    fn a_long_pause_takes_two_packets() {
        let start = Instant::now();
        let mut arrivals = Arrivals::default();
        arrivals.record(start, 1, Ssrc(7));
        arrivals.record(at(start, 60_000), 2, Ssrc(7));
        let now = at(start, 60_100);
        assert_eq!(arrivals.poll(now, Ssrc(1)).unwrap().deltas.len(), 1);
        assert_eq!(arrivals.poll(now, Ssrc(1)).unwrap().arrivals().next(), Some((SeqNo(2), Some(240_000))));
        assert_eq!(arrivals.due(), None);
    }

    #[test]
    fn history_is_bounded() {
        let start = Instant::now();
        let mut arrivals = Arrivals::default();
        for number in 0..60_000u32 {
            arrivals.record(start, (number * 7) as u16, Ssrc(7));
            assert!(arrivals.history.len() as u64 <= MAX_COVERED + 1);
        }
        assert!(arrivals.poll(at(start, 100), Ssrc(1)).unwrap().deltas.len() as u64 <= MAX_COVERED + 1);
    }
}
