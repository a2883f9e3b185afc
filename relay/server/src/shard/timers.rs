//! When what is due, over all sessions and rooms of a shard: a timer wheel.
//!
//! A deadline that moves to later, as most do, costs a look into a table: the entry in the wheel stays and is put further back when its
//! turn comes. One that moves to sooner gets another entry, and the old one is passed over.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Slots of the wheel, of a millisecond (a tick) each, inside which deadlines are kept to the nanosecond: a round is a second, which is further than most deadlines lie ahead.
const SLOTS: usize = 1024;

/// Deadlines by key: each key has at most one.
#[derive(Debug)]
pub(super) struct Timers<K> {
    deadlines: HashMap<K, Deadline>,
    /// Keys by the tick they are looked at, modulo the slots.
    slots: Vec<Vec<(u64, K)>>,
    /// The tick whose slot is looked at next: what lies before is done.
    at: u64,
    /// Where ticks begin.
    zero: Option<Instant>,
    /// Taken from the wheel, not looked at yet.
    taken: Vec<(u64, K)>,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    /// The tick of the entry that stands for it.
    tick: u64,
}

impl<K: Copy + Eq + Hash> Timers<K> {
    pub(super) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { deadlines: HashMap::new(), slots, at: 0, zero: None, taken: Vec::new() }
    }

    /// Sets, moves or removes the deadline of a key.
    pub(super) fn set(&mut self, key: K, deadline: Option<Instant>) {
        let Some(at) = deadline else {
            self.deadlines.remove(&key);
            return;
        };
        let tick = self.tick(at);
        if let Some(before) = self.deadlines.get_mut(&key) {
            before.at = at;
            if before.tick <= tick {
                return;
            }
        }
        self.put(key, at, tick);
    }

    /// The earliest deadline, or where none lies within a round of the wheel, the end of the round.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.deadlines.is_empty() {
            return None;
        }
        let zero = self.zero?;
        let current = |&(tick, key): &(u64, K)| {
            let deadline = self.deadlines.get(&key).filter(|deadline| deadline.tick == tick)?;
            // One that moved to later is put further back when its entry's slot is over.
            Some(if ticks(zero, deadline.at) > tick { start(zero, tick + 1) } else { deadline.at })
        };
        let in_slot = |tick: u64| {
            let slot = self.slots.get(tick as usize % SLOTS)?;
            slot.iter().filter(|(at, _)| *at == tick).filter_map(current).min()
        };
        let round = self.at..self.at + SLOTS as u64;
        let end = start(zero, round.end);
        Some(round.into_iter().find_map(in_slot).map_or(end, |at| at.min(end)))
    }

    /// A key whose deadline has passed; its deadline is gone.
    pub(super) fn pop(&mut self, now: Instant) -> Option<K> {
        let tick = self.zero.map(|_| self.tick(now))?;
        loop {
            while let Some((entry, key)) = self.taken.pop() {
                let Some(&deadline) = self.deadlines.get(&key).filter(|deadline| deadline.tick == entry) else { continue };
                if deadline.at <= now {
                    self.deadlines.remove(&key);
                    return Some(key);
                }
                let later = self.tick(deadline.at);
                self.put(key, deadline.at, later);
            }
            if !self.take_due(tick, now) {
                return None;
            }
        }
    }

    /// Takes the entries of the next slot that has some which are due. False where there is none up to `tick`.
    fn take_due(&mut self, tick: u64, now: Instant) -> bool {
        let (deadlines, zero) = (&self.deadlines, self.zero);
        while self.at <= tick {
            let last = self.at == tick;
            if let Some(slot) = self.slots.get_mut(self.at as usize % SLOTS).filter(|slot| !slot.is_empty()) {
                let due = |&(entry, key): &(u64, K)| {
                    let deadline = deadlines.get(&key).filter(|deadline| deadline.tick == entry);
                    // In the present tick only what has passed, or has moved out of it.
                    let moved = |at: Instant| zero.is_some_and(|zero| ticks(zero, at) > tick);
                    entry <= tick && (!last || deadline.is_none_or(|deadline| deadline.at <= now || moved(deadline.at)))
                };
                let mut at = 0;
                while let Some(entry) = slot.get(at) {
                    if due(entry) {
                        self.taken.push(slot.swap_remove(at));
                    } else {
                        at += 1;
                    }
                }
            }
            if !last {
                self.at += 1;
            }
            if !self.taken.is_empty() {
                return true;
            }
            if last {
                return false;
            }
        }
        false
    }

    fn put(&mut self, key: K, at: Instant, tick: u64) {
        self.deadlines.insert(key, Deadline { at, tick });
        if let Some(slot) = self.slots.get_mut(tick as usize % SLOTS) {
            slot.push((tick, key));
        }
    }

    /// The tick of a time; what lies before the wheel's position is due at once.
    fn tick(&mut self, at: Instant) -> u64 {
        let zero = *self.zero.get_or_insert(at);
        ticks(zero, at).max(self.at)
    }
}

fn start(zero: Instant, tick: u64) -> Instant {
    zero + Duration::from_millis(tick)
}

/// Whole ticks from one time to another.
fn ticks(zero: Instant, at: Instant) -> u64 {
    at.saturating_duration_since(zero).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_key_is_due_once_at_its_latest_deadline() {
        let start = super::super::clock::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut timers = Timers::new();
        timers.set(1, Some(at(10)));
        timers.set(2, Some(at(5)));
        timers.set(1, Some(at(20)));
        timers.set(3, Some(at(1)));
        timers.set(3, None);
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.pop(at(15)), Some(2));
        assert_eq!(timers.pop(at(15)), None);
        assert_eq!(timers.pop(at(20)), Some(1));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn it_still_turns_after_two_months() {
        let start = super::super::clock::now();
        let mut timers = Timers::new();
        timers.set(1, Some(start));
        assert_eq!(timers.pop(start), Some(1));
        let later = start + Duration::from_secs(60 * 86_400);
        timers.set(2, Some(later + Duration::from_millis(30)));
        assert_eq!(timers.pop(later), None);
        assert_eq!(timers.next(), Some(later + Duration::from_millis(30)));
        timers.set(2, Some(later + Duration::from_secs(3_600)));
        assert_eq!(timers.pop(later + Duration::from_millis(40)), None);
        assert!(timers.next().is_some_and(|at| at > later + Duration::from_millis(40)));
    }

    proptest! {
        /// Whatever is set, moved and removed: a key is due when its deadline has passed, not before, and once.
        #[test]
        fn the_wheel_agrees_with_a_list(steps in proptest::collection::vec((0u8..12, 0u64..4_000_000, any::<bool>(), 0u64..900_000), 1..300)) {
            let start = super::super::clock::now();
            let (mut timers, mut list) = (Timers::new(), BTreeMap::new());
            let mut now = start;
            prop_assert_eq!(timers.pop(now), None);
            for (key, ahead, keep, wait) in steps {
                let deadline = keep.then(|| now + Duration::from_micros(ahead));
                timers.set(key, deadline);
                match deadline {
                    Some(at) => list.insert(key, at),
                    None => list.remove(&key),
                };
                if let Some(&first) = list.values().min() {
                    let next = timers.next().expect("something is set");
                    prop_assert!(next <= first.max(now), "sleeps past a deadline");
                } else {
                    prop_assert_eq!(timers.next(), None);
                }
                now += Duration::from_micros(wait);
                while let Some(due) = timers.pop(now) {
                    let at = list.remove(&due);
                    prop_assert!(at.is_some_and(|at| at <= now), "{due} is not due");
                }
                prop_assert!(list.values().all(|at| *at > now), "a deadline was missed");
                prop_assert!(timers.next().is_none_or(|next| next > now), "wakes for nothing again and again");
            }
        }
    }
}
