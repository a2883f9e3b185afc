//! The slot between an application that captures and a thread that encodes: bounded, the newest wins.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long an idle encoder sleeps before it looks whether its track is gone.
const IDLE: Duration = Duration::from_millis(200);

/// A bounded queue whose oldest item makes room for the newest.
pub(crate) struct Input<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    capacity: usize,
    dropped: u64,
    /// The publication that takes items: before a source is published, what it captures goes nowhere.
    owner: Option<u64>,
}

impl<T> Input<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State { items: VecDeque::with_capacity(capacity), capacity, dropped: 0, owner: None };
        Self { state: Mutex::new(state), ready: Condvar::new() }
    }

    /// Adds an item; false, and nothing is kept, while nobody takes items.
    pub(crate) fn push(&self, item: T) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.owner.is_none() {
            return false;
        }
        if state.items.len() >= state.capacity {
            state.items.pop_front();
            state.dropped += 1;
        }
        state.items.push_back(item);
        drop(state);
        self.ready.notify_one();
        true
    }

    /// The oldest item, waited for a while; `None` at once where another publication owns the source.
    pub(crate) fn pop(&self, owner: u64) -> Option<T> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .ready
            .wait_timeout_while(state, IDLE, |state| state.items.is_empty() && state.owner == Some(owner))
            .unwrap_or_else(PoisonError::into_inner);
        if state.owner == Some(owner) { state.items.pop_front() } else { None }
    }

    /// A publication takes the items from now on.
    pub(crate) fn open(&self, owner: u64) {
        self.set_owner(|_| Some(owner));
    }

    /// A publication takes no more items; another one that took over meanwhile is not disturbed.
    pub(crate) fn close(&self, owner: u64) {
        self.set_owner(|present| present.filter(|present| *present != owner));
    }

    /// Whether anybody takes items.
    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).owner.is_some()
    }

    /// Whether this publication takes the items.
    pub(crate) fn is_owned_by(&self, owner: u64) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).owner == Some(owner)
    }

    fn set_owner(&self, change: impl FnOnce(Option<u64>) -> Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = change(state.owner);
        if state.owner != owner {
            state.owner = owner;
            state.items.clear();
        }
        drop(state);
        self.ready.notify_all();
    }

    /// Items dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }
}
