//! Which encodings of a track anybody wants.

use std::time::{Duration, Instant};

use segue_model::{EncodingId, MAX_ENCODINGS};

/// An encoding that nobody wants is stopped after this: a new one costs a keyframe and the time until it comes.
pub const STOP_AFTER: Duration = Duration::from_secs(3);

/// What a track's publisher is told to send. Begins with everything.
#[derive(Clone, Debug)]
pub struct Demand {
    wanted: [bool; MAX_ENCODINGS],
    /// Since when nobody wants it.
    unwanted_since: [Option<Instant>; MAX_ENCODINGS],
    told: [bool; MAX_ENCODINGS],
}

impl Default for Demand {
    fn default() -> Self {
        Self { wanted: [true; MAX_ENCODINGS], unwanted_since: [None; MAX_ENCODINGS], told: [true; MAX_ENCODINGS] }
    }
}

impl Demand {
    /// What all subscribers together want now, by number of the encoding.
    pub fn handle_wanted(&mut self, now: Instant, wanted: [bool; MAX_ENCODINGS]) {
        self.wanted = wanted;
        for (since, wanted) in self.unwanted_since.iter_mut().zip(wanted) {
            *since = if wanted { None } else { since.or(Some(now)) };
        }
    }

    /// When something will have been unwanted for long enough.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.unwanted_since.iter().zip(self.told).filter(|(_, told)| *told);
        waiting.filter_map(|(since, _)| since.map(|since| since + STOP_AFTER)).min()
    }

    /// What the publisher is to send from now on, where that is not what it was told: at once where something more is wanted.
    pub fn poll_change(&mut self, now: Instant) -> Option<[bool; MAX_ENCODINGS]> {
        let mut next = self.told;
        for ((next, wanted), since) in next.iter_mut().zip(self.wanted).zip(self.unwanted_since) {
            let stopped = since.is_some_and(|since| now.saturating_duration_since(since) >= STOP_AFTER);
            *next = wanted || (*next && !stopped);
        }
        if next == self.told {
            return None;
        }
        self.told = next;
        Some(next)
    }

    /// Whether the publisher was told to send an encoding, or not told otherwise.
    #[must_use]
    pub fn is_sent(&self, encoding: EncodingId) -> bool {
        self.told.get(usize::from(encoding.0)).copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_wants_stops_after_a_while_and_begins_again_at_once() {
        let start = Instant::now();
        let mut demand = Demand::default();
        demand.handle_wanted(start, [false, true, true]);
        assert_eq!(demand.poll_change(start), None);
        assert_eq!(demand.poll_timeout(), Some(start + STOP_AFTER));
        demand.handle_wanted(start + STOP_AFTER / 2, [false, true, false]);
        assert_eq!(demand.poll_change(start + STOP_AFTER), Some([false, true, true]));
        assert!(!demand.is_sent(EncodingId(0)) && demand.is_sent(EncodingId(2)));
        demand.handle_wanted(start + STOP_AFTER, [true, false, true]);
        assert_eq!(demand.poll_change(start + STOP_AFTER), Some([true, true, true]));
        demand.handle_wanted(start + STOP_AFTER * 2, [true, true, true]);
        assert_eq!(demand.poll_change(start + STOP_AFTER * 9), None);
        assert_eq!(demand.poll_timeout(), None);
    }
}
