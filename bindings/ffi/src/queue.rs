//! Queues towards the host: bounded, the newest wins, what was dropped is counted. The host is told once that something is there
//! and then takes items until there are none: no future of ours waits in a language that cannot drop it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use segue::FrameStream;

use crate::error::CallError;
use crate::host::{self, Foreign, Pump};

/// Items the host may let wait. A host that is further behind is better off with newer ones.
pub(crate) const MAX_QUEUE: u32 = 1_024;

/// Told that a stream has something.
#[uniffi::export(foreign)]
pub trait ReadyListener: Send + Sync {
    /// Items are there, or the stream has ended. Not called again before `try_next` has returned nothing. Do nothing here but
    /// wake whoever reads: this is the thread all callbacks come on.
    fn on_ready(&self) -> Result<(), CallError>;
}

struct State<T> {
    items: VecDeque<T>,
    capacity: usize,
    dropped: u64,
    /// Dropped before they came here.
    dropped_upstream: u64,
    told: bool,
    ended: bool,
}

/// The reading end and what it shares with its pump.
pub(crate) struct Queue<T> {
    state: Arc<Mutex<State<T>>>,
    pump: Mutex<Option<Pump>>,
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Send + 'static> Queue<T> {
    /// Items of a stream; `listener` is told of them.
    pub(crate) fn new(stream: FrameStream<T>, capacity: u32, listener: Arc<dyn ReadyListener>) -> Result<Self, CallError> {
        if capacity == 0 || capacity > MAX_QUEUE {
            let detail = format!("a queue of {capacity}: give it room for 1 to {MAX_QUEUE} items");
            return Err(CallError::argument("queue", detail));
        }
        let state = State {
            items: VecDeque::new(),
            capacity: capacity as usize,
            dropped: 0,
            dropped_upstream: 0,
            told: false,
            ended: false,
        };
        let state = Arc::new(Mutex::new(state));
        let pump = host::pump(fill(stream, state.clone(), Foreign::new(listener)))?;
        Ok(Self { state, pump: Mutex::new(Some(pump)) })
    }

    pub(crate) fn try_next(&self) -> Option<T> {
        let mut state = lock(&self.state);
        let item = state.items.pop_front();
        if item.is_none() {
            state.told = false;
        }
        item
    }

    pub(crate) fn dropped(&self) -> u64 {
        let state = lock(&self.state);
        state.dropped + state.dropped_upstream
    }

    /// Nothing follows, and nothing waits.
    pub(crate) fn has_ended(&self) -> bool {
        let state = lock(&self.state);
        state.ended && state.items.is_empty()
    }

    /// Ends the stream from this side: nothing waits or follows, and nothing is decoded for it any more.
    pub(crate) fn stop(&self) {
        *lock(&self.pump) = None;
        let mut state = lock(&self.state);
        state.ended = true;
        state.items.clear();
    }
}

async fn fill<T>(mut stream: FrameStream<T>, state: Arc<Mutex<State<T>>>, listener: Foreign<dyn ReadyListener>) {
    loop {
        let item = stream.next().await;
        let tell = {
            let mut state = lock(&state);
            state.dropped_upstream = stream.dropped();
            state.push(item)
        };
        if tell
            && host::is_open()
            && let Err(error) = listener.on_ready()
        {
            tracing::warn!(%error, "a listener of the application failed");
        }
        if lock(&state).ended {
            return;
        }
    }
}

impl<T> State<T> {
    /// Adds an item, or the end; whether the host is to be told.
    fn push(&mut self, item: Option<T>) -> bool {
        match item {
            Some(item) => {
                if self.items.len() >= self.capacity {
                    self.items.pop_front();
                    self.dropped += 1;
                }
                self.items.push_back(item);
            }
            None => self.ended = true,
        }
        // The end is always told: it may come after the host has taken everything but before it has seen that.
        let tell = !self.told || self.ended;
        self.told = true;
        tell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_items_win_and_the_host_is_told_once() {
        let mut state =
            State { items: VecDeque::new(), capacity: 2, dropped: 0, dropped_upstream: 0, told: false, ended: false };
        let told: Vec<bool> = (0..4).map(|item| state.push(Some(item))).collect();
        assert_eq!(told, [true, false, false, false]);
        assert_eq!((state.items.make_contiguous().to_vec(), state.dropped), (vec![2, 3], 2));
        assert!(state.push(None), "the end is told");
    }
}
