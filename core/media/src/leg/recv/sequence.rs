//! Hop sequence numbers of one received stream: extended, each taken once, restarts noticed (RFC 3550 appendix A.1).

use segue_model::{ExtSeq, SeqNo};

/// Numbers a packet may be behind the highest: at 1,000 packets a second two seconds, twice what retransmission takes.
const WINDOW: u64 = 2_048;

/// Numbers a packet may be ahead of the highest without looking like a new beginning (`MAX_DROPOUT` of RFC 3550).
const MAX_AHEAD: i16 = 3_000;

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Take it.
    Fresh(ExtSeq),
    /// Take it; the numbering began anew with the one before it, so that nothing can be said of losses.
    Restarted(ExtSeq),
    /// It came before.
    Duplicate,
    /// Too far from the others. If the next one follows it, the numbering began anew.
    Jump,
}

/// Which numbers have come.
#[derive(Debug)]
pub(super) struct SeqTracker {
    highest: Option<u64>,
    seen: [u64; WINDOW as usize / 64],
    restart_at: Option<u16>,
}

impl Default for SeqTracker {
    fn default() -> Self {
        Self { highest: None, seen: [0; WINDOW as usize / 64], restart_at: None }
    }
}

impl SeqTracker {
    pub(super) fn highest(&self) -> Option<ExtSeq> {
        self.highest.map(ExtSeq)
    }

    /// Takes a number. A retransmission (`repaired`) never begins a numbering.
    pub(super) fn insert(&mut self, seq: SeqNo, repaired: bool) -> Arrival {
        let Some(highest) = self.highest else {
            return Arrival::Fresh(self.begin(1, seq));
        };
        let ahead = seq.0.wrapping_sub(highest as u16) as i16;
        if ahead > MAX_AHEAD || u64::from(ahead.min(0).unsigned_abs()) >= WINDOW {
            if repaired {
                return Arrival::Jump;
            }
            if self.restart_at != Some(seq.0) {
                self.restart_at = Some(seq.0.wrapping_add(1));
                return Arrival::Jump;
            }
            // Far enough ahead of everything before that no number is given twice.
            return Arrival::Restarted(self.begin((highest >> 16) + 2, seq));
        }
        let number = highest.saturating_add_signed(i64::from(ahead));
        if ahead > 0 {
            (highest + 1..=number).for_each(|number| self.mark(number, false));
            self.highest = Some(number);
        } else if self.is_marked(number) {
            return Arrival::Duplicate;
        }
        self.mark(number, true);
        Arrival::Fresh(ExtSeq(number))
    }

    fn begin(&mut self, cycle: u64, seq: SeqNo) -> ExtSeq {
        let number = (cycle << 16) | u64::from(seq.0);
        self.seen = [0; WINDOW as usize / 64];
        self.highest = Some(number);
        self.restart_at = None;
        self.mark(number, true);
        ExtSeq(number)
    }

    fn mark(&mut self, number: u64, seen: bool) {
        let bit = 1 << (number % 64);
        if let Some(word) = self.seen.get_mut((number % WINDOW / 64) as usize) {
            *word = if seen { *word | bit } else { *word & !bit };
        }
    }

    fn is_marked(&self, number: u64) -> bool {
        self.seen.get((number % WINDOW / 64) as usize).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_is_taken_once(start in any::<u16>(), order in proptest::collection::vec(0u64..1_000, 1..600)) {
            let mut tracker = SeqTracker::default();
            let Arrival::Fresh(first) = tracker.insert(SeqNo(start), false) else { unreachable!() };
            let mut taken = std::collections::BTreeSet::from([first]);
            for offset in order {
                let number = ExtSeq(first.0 + offset);
                let expected = if taken.insert(number) { Arrival::Fresh(number) } else { Arrival::Duplicate };
                prop_assert_eq!(tracker.insert(number.wire(), offset % 2 == 0), expected);
            }
        }
    }

    #[test]
    fn one_stray_number_is_dropped_and_two_in_a_row_begin_anew() {
        let mut tracker = SeqTracker::default();
        tracker.insert(SeqNo(100), false);
        assert_eq!(tracker.insert(SeqNo(20_000), true), Arrival::Jump);
        assert_eq!(tracker.insert(SeqNo(20_000), false), Arrival::Jump);
        assert_eq!(tracker.insert(SeqNo(101), false), Arrival::Fresh(ExtSeq((1 << 16) + 101)));
        assert_eq!(tracker.insert(SeqNo(20_001), false), Arrival::Restarted(ExtSeq((3 << 16) + 20_001)));
        assert_eq!(tracker.insert(SeqNo(20_001), false), Arrival::Duplicate);
    }
}
