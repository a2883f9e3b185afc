//! The window of indices already used (RFC 3711 section 3.3.2).

/// How many indices behind the highest are remembered one by one; what is older counts as used. Wide enough for a retransmitted
/// or reordered packet at the highest rates of one stream (1,024 packets are half a second at 2,000 packets a second), small
/// enough to keep for every stream of every leg (128 bytes).
pub const WINDOW: u64 = 1024;

const WORD_BITS: u64 = 64;
const WORDS: usize = (WINDOW / WORD_BITS) as usize;

/// What the window says of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not used yet.
    New,
    /// Used before.
    Used,
    /// Behind the window: whether it was used is not known.
    TooOld,
}

/// Which of the last [`WINDOW`] indices were used. A ring of bits: index `i` has bit `i % WINDOW`.
#[derive(Clone, Debug, Default)]
pub(crate) struct IndexWindow {
    highest: Option<u64>,
    bits: [u64; WORDS],
}

impl IndexWindow {
    /// The highest index used.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether `index` may still be used.
    pub(crate) fn seen(&self, index: u64) -> Seen {
        match self.highest {
            None => Seen::New,
            Some(highest) if index > highest => Seen::New,
            Some(highest) if highest - index >= WINDOW => Seen::TooOld,
            Some(_) if self.bit(index) => Seen::Used,
            Some(_) => Seen::New,
        }
    }

    /// Marks `index` as used. What is behind the window stays behind it.
    pub(crate) fn insert(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => {
                if highest - index >= WINDOW {
                    return;
                }
            }
            Some(highest) => {
                self.forget(highest, index);
                self.highest = Some(index);
            }
            None => self.highest = Some(index),
        }
        if let Some(word) = self.bits.get_mut(word_of(index)) {
            *word |= mask_of(index);
        }
    }

    /// Clears the bits of the indices after `highest` up to `index`: they were those of indices one window lower.
    fn forget(&mut self, highest: u64, index: u64) {
        if index - highest >= WINDOW {
            self.bits = [0; WORDS];
            return;
        }
        for skipped in highest + 1..=index {
            if let Some(word) = self.bits.get_mut(word_of(skipped)) {
                *word &= !mask_of(skipped);
            }
        }
    }

    fn bit(&self, index: u64) -> bool {
        self.bits.get(word_of(index)).is_some_and(|word| word & mask_of(index) != 0)
    }
}

fn word_of(index: u64) -> usize {
    ((index % WINDOW) / WORD_BITS) as usize
}

fn mask_of(index: u64) -> u64 {
    1 << (index % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set_of_everything_used(start in 0u64..1 << 47, steps in proptest::collection::vec(-1_500i64..1_500, 1..400)) {
            let mut window = IndexWindow::default();
            let mut used = BTreeSet::new();
            let mut highest = start;
            for step in steps {
                let index = highest.saturating_add_signed(step);
                let expected = match used.last() {
                    Some(&last) if index + WINDOW <= last => Seen::TooOld,
                    _ if used.contains(&index) => Seen::Used,
                    _ => Seen::New,
                };
                prop_assert_eq!(window.seen(index), expected);
                if expected == Seen::New {
                    window.insert(index);
                    used.insert(index);
                }
                highest = used.last().copied().unwrap_or(start);
                prop_assert_eq!(window.highest(), used.last().copied());
            }
        }
    }
}
