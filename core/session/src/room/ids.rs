//! Numbers that are given once, yet can be asked for by a participant that had one in the relay's former incarnation. Only where all
//! were given, as happens to the tracks of a room that stays open for months, those that were given back long ago come again.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// How far above the highest number given a wish may lie, and how many skipped numbers are remembered for later wishes: rooms of the
/// former incarnation that were larger or older than this get new numbers, which costs them a fresh stream and nothing else.
const MAX_GAP: u32 = 4096;

/// Above a wish that was granted so many numbers are left out: those who had them of the former incarnation have yet to return, and until
/// they do they speak under them on their direct paths.
const YET_TO_RETURN: u32 = 64;

/// A number that was given back is given again after this at the earliest: by then no packet or message under way means what had it before.
/// Longer than connections are held by default, and no longer than the numbers of a room last its tracks at their fastest.
const QUARANTINE: Duration = Duration::from_secs(60);

/// Gives the numbers from 1 to a highest one.
#[derive(Debug)]
pub(super) struct IdPool {
    next: u32,
    highest: u32,
    skipped: BTreeSet<u32>,
    /// Given back, the oldest first.
    released: VecDeque<(Instant, u32)>,
}

impl IdPool {
    /// Numbers from 1 to `highest`.
    pub(super) fn new(highest: u32) -> Self {
        Self { next: 1, highest, skipped: BTreeSet::new(), released: VecDeque::new() }
    }

    /// A number nobody has: a new one while there are any. `None` when all are in use or were until a moment ago.
    pub(super) fn fresh(&mut self, now: Instant) -> Option<u32> {
        if self.next > self.highest {
            return self.skipped.pop_first().or_else(|| self.recycle(now));
        }
        let id = self.next;
        self.next += 1;
        Some(id)
    }

    /// A number is no longer in use.
    pub(super) fn release(&mut self, now: Instant, id: u32) {
        self.released.push_back((now, id));
    }

    fn recycle(&mut self, now: Instant) -> Option<u32> {
        let (_, id) = self.released.pop_front_if(|(since, _)| now.saturating_duration_since(*since) >= QUARANTINE)?;
        Some(id)
    }

    /// The number `wish` if it was never given, a new one otherwise.
    pub(super) fn wish(&mut self, now: Instant, wish: u32) -> Option<u32> {
        if self.skipped.remove(&wish) {
            return Some(wish);
        }
        let gap = wish.saturating_sub(self.next);
        if wish < self.next || wish > self.highest || gap.saturating_add(self.skipped.len() as u32) > MAX_GAP {
            return self.fresh(now);
        }
        let next = wish.saturating_add(1 + YET_TO_RETURN).min(self.highest.saturating_add(1));
        self.skipped.extend((self.next..next).filter(|number| *number != wish));
        self.next = next;
        Some(wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_granted_in_any_order_and_once() {
        let (mut pool, now) = (IdPool::new(u32::MAX - 1), Instant::now());
        assert_eq!(pool.wish(now, 3), Some(3));
        assert_eq!(pool.wish(now, 1), Some(1));
        assert_eq!(pool.wish(now, 3), Some(4 + YET_TO_RETURN));
        assert_eq!(pool.fresh(now), Some(5 + YET_TO_RETURN));
        assert_eq!(pool.wish(now, 2), Some(2));
        assert_eq!(pool.wish(now, 2), Some(6 + YET_TO_RETURN));
        assert_eq!(pool.wish(now, 3 + YET_TO_RETURN), Some(3 + YET_TO_RETURN));
    }

    #[test]
    fn wild_wishes_cost_nothing() {
        let (mut pool, now) = (IdPool::new(65_535), Instant::now());
        assert_eq!(pool.wish(now, u32::MAX), Some(1));
        assert_eq!(pool.wish(now, 60_000), Some(2));
        assert_eq!(pool.wish(now, 0), Some(3));
        assert!(pool.skipped.is_empty());
    }

    #[test]
    fn numbers_come_again_only_when_all_were_given_and_long_after_they_were_given_back() {
        let (mut pool, mut now) = (IdPool::new(4), Instant::now());
        assert_eq!((pool.fresh(now), pool.wish(now, 3)), (Some(1), Some(3)));
        pool.release(now, 1);
        now += QUARANTINE;
        pool.release(now, 3);
        // 2 and 4 were never given.
        assert_eq!((pool.fresh(now), pool.fresh(now), pool.fresh(now)), (Some(2), Some(4), Some(1)));
        assert_eq!(pool.fresh(now), None);
        now += QUARANTINE;
        assert_eq!((pool.fresh(now), pool.fresh(now)), (Some(3), None));
    }
}
