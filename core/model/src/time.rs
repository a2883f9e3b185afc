//! Sequence numbers and the times that travel in packets.

/// An RTP sequence number as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeqNo(pub u16);

/// A sequence number that does not wrap: roll-overs in the upper bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtSeq(pub u64);

impl ExtSeq {
    /// The sixteen bits the wire carries.
    #[must_use]
    pub const fn wire(self) -> SeqNo {
        SeqNo(self.0 as u16)
    }
}

/// A media timestamp: RTP clock units (48 kHz for Opus, 90 kHz for video), extended past the 32 bits of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaTime(pub u64);

impl MediaTime {
    /// The thirty-two bits the wire carries.
    #[must_use]
    pub const fn wire(self) -> u32 {
        self.0 as u32
    }
}

/// Wallclock as RTCP sender reports carry it: 32.32 fixed-point seconds since 1900 (RFC 3550 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NtpTime(pub u64);

/// Extends 16-bit sequence numbers: each is taken as the one nearest to the highest seen.
#[derive(Clone, Debug, Default)]
pub struct SeqUnwrapper {
    highest: Option<u64>,
}

impl SeqUnwrapper {
    /// The extended number of `seq`. The first number seen is extended above zero, so that packets that come late by up to half
    /// the number space still have a number of their own.
    pub fn unwrap(&mut self, seq: SeqNo) -> ExtSeq {
        let extended = match self.highest {
            None => (1 << 16) | u64::from(seq.0),
            Some(highest) => nearest(highest, u64::from(seq.0), 16),
        };
        self.highest = Some(self.highest.map_or(extended, |highest| highest.max(extended)));
        ExtSeq(extended)
    }

    /// The extended number `seq` would get, without remembering it.
    #[must_use]
    pub fn peek(&self, seq: SeqNo) -> ExtSeq {
        self.clone().unwrap(seq)
    }
}

/// Extends 32-bit RTP timestamps in the same way.
#[derive(Clone, Debug, Default)]
pub struct MediaTimeUnwrapper {
    highest: Option<u64>,
}

impl MediaTimeUnwrapper {
    /// The extended time of `timestamp`.
    pub fn unwrap(&mut self, timestamp: u32) -> MediaTime {
        let extended = match self.highest {
            None => (1 << 32) | u64::from(timestamp),
            Some(highest) => nearest(highest, u64::from(timestamp), 32),
        };
        self.highest = Some(self.highest.map_or(extended, |highest| highest.max(extended)));
        MediaTime(extended)
    }
}

/// The number that ends in the low `bits` of `low` and is nearest to `reference`.
fn nearest(reference: u64, low: u64, bits: u32) -> u64 {
    let span = 1u64 << bits;
    let forward = low.wrapping_sub(reference) & (span - 1);
    if forward < span / 2 {
        reference.saturating_add(forward)
    } else {
        let back = span - forward;
        // Below zero there is nothing: take the number ahead instead.
        reference.checked_sub(back).unwrap_or_else(|| reference.saturating_add(forward))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wraps_forward_and_back() {
        let mut unwrapper = SeqUnwrapper::default();
        let first = unwrapper.unwrap(SeqNo(65_530));
        let after = unwrapper.unwrap(SeqNo(4));
        assert_eq!(after.0 - first.0, 10);
        assert_eq!(unwrapper.unwrap(SeqNo(65_535)).0 - first.0, 5);
    }

    proptest! {
        #[test]
        fn any_walk_of_small_steps_is_followed(start in any::<u16>(), steps in proptest::collection::vec(-500i64..2_000, 1..300)) {
            let mut unwrapper = SeqUnwrapper::default();
            let base = unwrapper.unwrap(SeqNo(start)).0;
            let mut at = base as i64;
            let mut highest = at;
            for step in steps {
                at = (highest + step).max(1 << 16);
                highest = highest.max(at);
                prop_assert_eq!(unwrapper.unwrap(SeqNo(at as u16)).0, at as u64);
            }
        }

        #[test]
        fn media_time_follows_across_the_wrap(start in any::<u32>(), steps in proptest::collection::vec(0u32..1_000_000, 1..200)) {
            let mut unwrapper = MediaTimeUnwrapper::default();
            let mut at = unwrapper.unwrap(start).0;
            for step in steps {
                at += u64::from(step);
                prop_assert_eq!(unwrapper.unwrap(at as u32).0, at);
            }
        }
    }
}
