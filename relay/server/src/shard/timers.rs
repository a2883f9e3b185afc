//! When what is due, over all sessions and rooms of a shard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Deadlines by key: each key has at most one.
#[derive(Debug)]
pub(super) struct Timers<K> {
    queue: BTreeSet<(Instant, K)>,
    deadlines: BTreeMap<K, Instant>,
}

impl<K: Copy + Ord> Timers<K> {
    pub(super) const fn new() -> Self {
        Self { queue: BTreeSet::new(), deadlines: BTreeMap::new() }
    }

    /// Sets, moves or removes the deadline of a key.
    pub(super) fn set(&mut self, key: K, deadline: Option<Instant>) {
        let before = match deadline {
            Some(at) => self.deadlines.insert(key, at),
            None => self.deadlines.remove(&key),
        };
        if before == deadline {
            return;
        }
        if let Some(before) = before {
            self.queue.remove(&(before, key));
        }
        if let Some(at) = deadline {
            self.queue.insert((at, key));
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|&(at, _)| at)
    }

    /// A key whose deadline has passed; its deadline is gone.
    pub(super) fn pop(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.queue.first().filter(|(at, _)| *at <= now)?;
        self.queue.remove(&(at, key));
        self.deadlines.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
