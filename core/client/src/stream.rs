//! Queues of frames towards the application: bounded, the newest wins, and what was dropped is counted.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

struct State<T> {
    items: VecDeque<T>,
    capacity: usize,
    dropped: u64,
    waker: Option<Waker>,
    ended: bool,
    abandoned: bool,
}

struct Inner<T>(Mutex<State<T>>);

impl<T> Inner<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The filling end.
pub(crate) struct FrameSink<T>(Arc<Inner<T>>);

/// Frames of a track, in order. When the application is slower than the track, the oldest are dropped and counted.
///
/// Also a [`futures_util::Stream`]. Dropping it stops the work that fills it.
pub struct FrameStream<T>(Arc<Inner<T>>);

/// A queue of at most `capacity` frames.
pub(crate) fn frames<T>(capacity: usize) -> (FrameSink<T>, FrameStream<T>) {
    let state =
        State { items: VecDeque::new(), capacity: capacity.max(1), dropped: 0, waker: None, ended: false, abandoned: false };
    let inner = Arc::new(Inner(Mutex::new(state)));
    (FrameSink(inner.clone()), FrameStream(inner))
}

impl<T> FrameSink<T> {
    /// Adds a frame; false where nobody takes frames any more.
    pub(crate) fn push(&self, item: T) -> bool {
        let mut state = self.0.state();
        if state.abandoned {
            return false;
        }
        if state.items.len() >= state.capacity {
            state.items.pop_front();
            state.dropped += 1;
        }
        state.items.push_back(item);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Nobody takes frames any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.state().abandoned
    }
}

impl<T> Drop for FrameSink<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.ended = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> FrameStream<T> {
    /// The next frame; `None` once the track is gone.
    pub async fn next(&mut self) -> Option<T> {
        std::future::poll_fn(|context| self.poll_frame(context)).await
    }

    /// The next frame if there is one now.
    pub fn try_next(&mut self) -> Option<T> {
        self.0.state().items.pop_front()
    }

    /// Frames dropped so far because they were not taken in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.state().dropped
    }

    fn poll_frame(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.state();
        if let Some(item) = state.items.pop_front() {
            return Poll::Ready(Some(item));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for FrameStream<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.abandoned = true;
        state.items.clear();
    }
}

impl<T> Stream for FrameStream<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_frame(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_frames_win_and_the_rest_is_counted() {
        let (sink, mut stream) = frames(2);
        assert!((0..5).all(|frame| sink.push(frame)));
        assert_eq!((stream.next().await, stream.next().await, stream.dropped()), (Some(3), Some(4), 3));
        assert_eq!(stream.try_next(), None);
        drop(sink);
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let (sink, mut stream) = frames(2);
        let reader = tokio::spawn(async move { stream.next().await });
        tokio::task::yield_now().await;
        assert!(sink.push(7));
        assert_eq!(reader.await.expect("no panic"), Some(7));
        assert!(!sink.push(8), "the reader is gone");
        assert!(sink.is_abandoned());
    }
}
