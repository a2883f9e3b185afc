//! Hop sequence numbers and timestamps of one outgoing stream.
//!
//! Two numberings. What a subscriber merges by origin gets [`Numbering::SendOrder`]: the next number for whatever leaves, so that a
//! hole can only mean a loss on its own hop. A browser orders frames by sequence number, and so does everybody the packets of a
//! browser, which have no origin: they get [`Numbering::Ordered`]: packets
//! the publisher's leg still lacks keep a number reserved, packets filtered by choice leave none.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_model::ExtSeq;

/// Numbers kept for packets that may yet arrive: what a NACK round of the publisher's leg repairs.
const MAX_RESERVED: u64 = 128;

/// Least step in time between two sources of one slot: enough to tell their frames apart.
const MIN_STEP: u32 = 1;

/// How the sequence numbers of a stream follow those of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// By the order of sending.
    SendOrder,
    /// By the order of the source's own numbers.
    Ordered,
}

/// Gives sequence numbers: each at most once, in a row.
#[derive(Debug)]
pub(crate) struct Sequencer {
    numbering: Numbering,
    next: u64,
    /// Highest number of the source that was looked at; `None` after a switch of source.
    highest_in: Option<u64>,
    /// (source's number, reserved number), ascending.
    reserved: VecDeque<(u64, u64)>,
}

/// What becomes of one packet of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbered {
    /// It leaves under this number.
    Send(ExtSeq),
    /// It does not leave, but a number was kept for it: an empty packet must take its place.
    Fill(ExtSeq),
    /// Nothing leaves.
    Nothing,
}

impl Sequencer {
    /// The first number is below 2^15, so that the first roll-over is unmistakable (RFC 3711 section 3.3.1).
    pub(crate) fn new(numbering: Numbering, random: u64) -> Self {
        Self { numbering, next: random & 0x7fff, highest_in: None, reserved: VecDeque::new() }
    }

    /// Another source, or another encoding: numbers go on, what was reserved is given up.
    pub(crate) fn switch(&mut self) {
        self.highest_in = None;
        self.reserved.clear();
    }

    /// A packet with number `seq` of the source: forwarded or filtered by choice.
    pub(crate) fn number(&mut self, seq: u64, forwarded: bool) -> Numbered {
        if self.numbering == Numbering::SendOrder {
            return if forwarded { Numbered::Send(self.take()) } else { Numbered::Nothing };
        }
        let Some(highest) = self.highest_in else {
            if !forwarded {
                return Numbered::Nothing;
            }
            self.highest_in = Some(seq);
            return Numbered::Send(self.take());
        };
        if seq <= highest {
            return self.late(seq, forwarded);
        }
        self.reserve(highest + 1, seq);
        self.highest_in = Some(seq);
        if forwarded { Numbered::Send(self.take()) } else { Numbered::Nothing }
    }

    /// The highest number given.
    pub(crate) fn last(&self) -> Option<ExtSeq> {
        self.next.checked_sub(1).map(ExtSeq)
    }

    /// A number outside the source's order, for a packet of the relay's own.
    fn take(&mut self) -> ExtSeq {
        let number = ExtSeq(self.next);
        self.next += 1;
        number
    }

    fn late(&mut self, seq: u64, forwarded: bool) -> Numbered {
        let Ok(at) = self.reserved.binary_search_by_key(&seq, |&(number, _)| number) else {
            return Numbered::Nothing;
        };
        match self.reserved.remove(at) {
            Some((_, number)) if forwarded => Numbered::Send(ExtSeq(number)),
            Some((_, number)) => Numbered::Fill(ExtSeq(number)),
            None => Numbered::Nothing,
        }
    }

    /// Keeps numbers for what is missing in `from..to`. A longer gap is a pause, not a loss: nothing is kept for it.
    fn reserve(&mut self, from: u64, to: u64) {
        if to.saturating_sub(from) > MAX_RESERVED {
            self.reserved.clear();
            return;
        }
        for seq in from..to {
            let number = self.take();
            self.reserved.push_back((seq, number.0));
        }
        while self.reserved.len() as u64 > MAX_RESERVED {
            self.reserved.pop_front();
        }
    }
}

/// Timestamps of a slot whose sources change: each source has a base of its own, the slot's time never jumps back.
#[derive(Debug)]
pub(crate) struct TimeBase {
    /// `None`: end-to-end timestamps, never touched.
    rewriting: Option<Offset>,
    clock_rate: u32,
}

#[derive(Debug)]
struct Offset {
    /// Added to the source's timestamps; `None` until its first packet.
    offset: Option<u32>,
    /// The highest timestamp sent and when.
    last: Option<(u32, Instant)>,
    /// The next timestamp must be above the last: another encoding of the same moment must not look like the same frame.
    advance: bool,
}

impl TimeBase {
    /// Timestamps as the publisher sent them.
    pub(crate) const fn end_to_end(clock_rate: u32) -> Self {
        Self { rewriting: None, clock_rate }
    }

    /// Continuous over sources.
    pub(crate) const fn continuous(clock_rate: u32) -> Self {
        Self { rewriting: Some(Offset { offset: None, last: None, advance: false }), clock_rate }
    }

    /// Another source with a base of its own begins with the next packet.
    pub(crate) fn switch(&mut self) {
        if let Some(rewriting) = &mut self.rewriting {
            rewriting.offset = None;
        }
    }

    /// Another encoding of the same source begins, whose base differs from the former by `difference` (new minus former).
    pub(crate) fn shift(&mut self, difference: u32) {
        if let Some(Offset { offset: Some(offset), advance, .. }) = &mut self.rewriting {
            *offset = offset.wrapping_sub(difference);
            *advance = true;
        }
    }

    /// The slot's timestamp for one of the source's.
    pub(crate) fn stamp(&mut self, now: Instant, timestamp: u32) -> u32 {
        let clock_rate = self.clock_rate;
        let Some(rewriting) = &mut self.rewriting else { return timestamp };
        let offset = *rewriting.offset.get_or_insert_with(|| match rewriting.last {
            None => 0,
            Some((last, at)) => {
                let step = ticks(now.saturating_duration_since(at), clock_rate).max(MIN_STEP);
                last.wrapping_add(step).wrapping_sub(timestamp)
            }
        });
        let mut stamped = timestamp.wrapping_add(offset);
        let ahead = rewriting.last.is_none_or(|(last, _)| stamped.wrapping_sub(last) < 1 << 31);
        if let Some((last, _)) = rewriting.last
            && std::mem::take(&mut rewriting.advance)
            && (!ahead || stamped == last)
        {
            stamped = last.wrapping_add(MIN_STEP);
            rewriting.offset = Some(stamped.wrapping_sub(timestamp));
        }
        let ahead = rewriting.last.is_none_or(|(last, _)| stamped.wrapping_sub(last) < 1 << 31);
        if ahead {
            rewriting.last = Some((stamped, now));
        }
        stamped
    }

    /// The slot's timestamp for one in a sender report; `None` before the first packet.
    pub(crate) fn translate(&self, timestamp: u32) -> Option<u32> {
        match &self.rewriting {
            None => Some(timestamp),
            Some(rewriting) => rewriting.offset.map(|offset| timestamp.wrapping_add(offset)),
        }
    }
}

/// Clock units in a span, modulo 2^32.
fn ticks(span: Duration, clock_rate: u32) -> u32 {
    (span.as_nanos() * u128::from(clock_rate) / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sent(numbered: Numbered) -> Option<u64> {
        match numbered {
            Numbered::Send(number) | Numbered::Fill(number) => Some(number.0),
            Numbered::Nothing => None,
        }
    }

    #[test]
    fn a_late_packet_takes_the_number_kept_for_it() {
        let mut sequencer = Sequencer::new(Numbering::Ordered, 0);
        assert_eq!(sequencer.number(10, true), Numbered::Send(ExtSeq(0)));
        assert_eq!(sequencer.number(13, true), Numbered::Send(ExtSeq(3)));
        assert_eq!(sequencer.number(11, true), Numbered::Send(ExtSeq(1)));
        assert_eq!(sequencer.number(12, false), Numbered::Fill(ExtSeq(2)));
        assert_eq!(sequencer.number(12, true), Numbered::Nothing);
        assert_eq!(sequencer.number(14, false), Numbered::Nothing);
        assert_eq!(sequencer.number(15, true), Numbered::Send(ExtSeq(4)));
    }

    #[test]
    fn send_order_leaves_no_hole_for_what_its_publisher_lost() {
        let mut sequencer = Sequencer::new(Numbering::SendOrder, 70_000);
        let first = sent(sequencer.number(10, true)).unwrap();
        assert!(first < 1 << 15);
        assert_eq!(sent(sequencer.number(15, true)), Some(first + 1));
        assert_eq!(sent(sequencer.number(12, true)), Some(first + 2));
    }

    #[test]
    fn a_slot_goes_on_in_time_when_its_source_changes() {
        let start = Instant::now();
        let mut base = TimeBase::continuous(90_000);
        assert_eq!(base.stamp(start, 4_000_000_000), 4_000_000_000);
        assert_eq!(base.stamp(start, 4_000_003_000), 4_000_003_000);
        base.switch();
        assert_eq!(base.translate(5), None);
        let next = base.stamp(start + Duration::from_millis(100), 17);
        assert_eq!(next, 4_000_012_000);
        assert_eq!(base.translate(17 + 90), Some(next + 90));
        base.shift(1000);
        assert_eq!(base.stamp(start + Duration::from_millis(100), 1017 + 3000), next + 3000);
        base.shift(0);
        assert_eq!(base.stamp(start + Duration::from_millis(100), 1017 + 3000), next + 3001);
    }

    proptest! {
        /// Any order of arrival, any filter: in a row, none twice, and the source's order is kept.
        #[test]
        fn ordered_numbers_have_no_hole_where_the_source_has_none(
            shuffled in proptest::collection::vec(0u64..8, 200),
            filtered in proptest::collection::vec(any::<bool>(), 200),
        ) {
            let mut order: Vec<u64> = (0..200).collect();
            // Packets come late by up to seven places.
            order.sort_by_key(|&index| index + shuffled[index as usize]);
            let first = order[0];
            let mut sequencer = Sequencer::new(Numbering::Ordered, 9);
            let mut given = BTreeSet::new();
            let mut by_source = Vec::new();
            for (place, &index) in order.iter().enumerate() {
                let forwarded = place == 0 || !filtered[index as usize];
                let numbered = sequencer.number(1000 + index, forwarded);
                if let Some(number) = sent(numbered) {
                    prop_assert!(given.insert(number), "twice: {number}");
                    by_source.push((index, number));
                } else {
                    prop_assert!(!forwarded || index < first, "lost {index}");
                }
            }
            by_source.sort_unstable();
            prop_assert!(by_source.windows(2).all(|pair| pair[0].1 < pair[1].1));
            let (low, high) = (*given.first().unwrap(), *given.last().unwrap());
            prop_assert_eq!(high - low + 1, given.len() as u64);
        }
    }
}
