//! Queues of several streams that share a rate evenly.
//!
//! One keyframe of a shared screen is as large as half a second of a camera: in one queue the camera would stand still behind it. The stream
//! that was served fewest bytes goes next (start-time fair queuing: Goyal, Vin and Cheng, SIGCOMM 1996, without weights).

use std::collections::VecDeque;

use super::Waiting;

/// What waits of one stream.
#[derive(Debug)]
struct Lane<T> {
    stream: u32,
    waiting: VecDeque<Waiting<T>>,
    /// Bytes that left since the lane began, and what the others had then.
    served: u64,
}

/// Lanes of streams in which something waits.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    lanes: Vec<Lane<T>>,
    len: usize,
    /// What the lane that was served last had before: where whoever comes begins.
    time: u64,
}

impl<T> Lanes<T> {
    pub(super) const fn new() -> Self {
        Self { lanes: Vec::new(), len: 0, time: 0 }
    }

    /// Packets of all lanes.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn push(&mut self, stream: u32, waiting: Waiting<T>) {
        self.len += 1;
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.stream == stream) {
            lane.waiting.push_back(waiting);
            return;
        }
        // Whoever comes has the same claim as those that are there, and none for the time before.
        self.lanes.push(Lane { stream, waiting: VecDeque::from([waiting]), served: self.time });
    }

    /// The packet that goes next.
    pub(super) fn front(&self) -> Option<&Waiting<T>> {
        self.lanes.iter().min_by_key(|lane| lane.served)?.waiting.front()
    }

    pub(super) fn pop_front(&mut self) -> Option<Waiting<T>> {
        let (at, lane) = self.lanes.iter_mut().enumerate().min_by_key(|(_, lane)| lane.served)?;
        let next = lane.waiting.pop_front()?;
        self.time = lane.served;
        lane.served += next.size.as_bytes();
        if lane.waiting.is_empty() {
            self.lanes.remove(at);
        }
        self.len -= 1;
        Some(next)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Waiting<T>) -> bool) {
        self.lanes.iter_mut().for_each(|lane| lane.waiting.retain(&mut keep));
        self.lanes.retain(|lane| !lane.waiting.is_empty());
        self.len = self.lanes.iter().map(|lane| lane.waiting.len()).sum();
    }
}
