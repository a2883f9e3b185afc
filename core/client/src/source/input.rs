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
    /// Somebody takes items: before a source is published, what it captures goes nowhere.
    open: bool,
}

impl<T> Input<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State { items: VecDeque::with_capacity(capacity), capacity, dropped: 0, open: false };
        Self { state: Mutex::new(state), ready: Condvar::new() }
    }

    /// Adds an item; false, and nothing is kept, while nobody takes items.
    pub(crate) fn push(&self, item: T) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.open {
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

    /// The oldest item, waited for a while.
    pub(crate) fn pop(&self) -> Option<T> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .ready
            .wait_timeout_while(state, IDLE, |state| state.items.is_empty() && state.open)
            .unwrap_or_else(PoisonError::into_inner);
        state.items.pop_front()
    }

    /// Somebody takes items from now on, or nobody does any more.
    pub(crate) fn set_open(&self, open: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open = open;
        state.items.clear();
        drop(state);
        self.ready.notify_all();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).open
    }

    /// Items dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }
}
