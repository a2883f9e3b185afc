//! The one queue of everything that is going to happen.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Things that happen, in the order of their times, and of their coming where these are equal.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Entry>,
    /// Bodies stay where they are while their entries move through the heap.
    bodies: Vec<Option<T>>,
    free: Vec<u32>,
    order: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Instant,
    order: u64,
    body: u32,
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), bodies: Vec::new(), free: Vec::new(), order: 0 }
    }
}

impl<T> Queue<T> {
    /// Lets something happen at a time.
    pub fn push(&mut self, at: Instant, body: T) {
        self.order += 1;
        let index = match self.free.pop() {
            Some(index) => {
                self.bodies[index as usize] = Some(body);
                index
            }
            None => {
                self.bodies.push(Some(body));
                self.bodies.len() as u32 - 1
            }
        };
        self.heap.push(Entry { at, order: self.order, body: index });
    }

    /// When the next thing happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The next thing, if it happens by `until`.
    pub fn pop(&mut self, until: Instant) -> Option<(Instant, T)> {
        let entry = *self.heap.peek().filter(|entry| entry.at <= until)?;
        self.heap.pop();
        self.free.push(entry.body);
        Some((entry.at, self.bodies[entry.body as usize].take()?))
    }

    /// How many things are to happen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Nothing is to happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}
