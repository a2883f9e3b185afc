//! Numbers that are never given twice, yet can be asked for by a participant that had one in the relay's former incarnation.

use std::collections::BTreeSet;

/// How far above the highest number given a wish may lie, and how many skipped numbers are remembered for later wishes: rooms of the
/// former incarnation that were larger or older than this get new numbers, which costs them a fresh stream and nothing else.
const MAX_GAP: u32 = 4096;

/// Gives the numbers from 1 to a highest one.
#[derive(Debug)]
pub(super) struct IdPool {
    next: u32,
    highest: u32,
    skipped: BTreeSet<u32>,
}

impl IdPool {
    /// Numbers from 1 to `highest`.
    pub(super) fn new(highest: u32) -> Self {
        Self { next: 1, highest, skipped: BTreeSet::new() }
    }

    /// A new number; `None` when all are used up.
    pub(super) fn fresh(&mut self) -> Option<u32> {
        if self.next > self.highest {
            return None;
        }
        let id = self.next;
        self.next += 1;
        Some(id)
    }

    /// The number `wish` if it was never given, a new one otherwise.
    pub(super) fn wish(&mut self, wish: u32) -> Option<u32> {
        if self.skipped.remove(&wish) {
            return Some(wish);
        }
        let gap = wish.saturating_sub(self.next);
        if wish < self.next || wish > self.highest || gap.saturating_add(self.skipped.len() as u32) > MAX_GAP {
            return self.fresh();
        }
        self.skipped.extend(self.next..wish);
        self.next = wish + 1;
        Some(wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_granted_in_any_order_and_once() {
        let mut pool = IdPool::new(u32::MAX - 1);
        assert_eq!(pool.wish(3), Some(3));
        assert_eq!(pool.wish(1), Some(1));
        assert_eq!(pool.wish(3), Some(4));
        assert_eq!(pool.fresh(), Some(5));
        assert_eq!(pool.wish(2), Some(2));
        assert_eq!(pool.wish(2), Some(6));
    }

    #[test]
    fn wild_wishes_cost_nothing() {
        let mut pool = IdPool::new(65_535);
        assert_eq!(pool.wish(u32::MAX), Some(1));
        assert_eq!(pool.wish(60_000), Some(2));
        assert_eq!(pool.wish(0), Some(3));
        assert!(pool.skipped.is_empty());
    }

    #[test]
    fn numbers_end() {
        let mut pool = IdPool::new(2);
        assert_eq!((pool.fresh(), pool.fresh(), pool.fresh()), (Some(1), Some(2), None));
    }
}
