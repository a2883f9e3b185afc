//! Queues of several tracks that share a rate evenly.
//!
//! One keyframe of a shared screen is as large as half a second of a camera: in one queue the camera would stand still behind it. The track
//! that was served fewest bytes goes next (start-time fair queuing: Goyal, Vin and Cheng, SIGCOMM 1996, without weights). Encodings of one
//! track leave in their order: taking turns would only make the largest of them later.

use std::collections::VecDeque;

use segue_model::TrackId;

use super::Waiting;

/// Lanes kept although nothing waits in them, so that their memory is used again: a camera, a screen and some to spare.
const KEPT: usize = 8;

/// What waits of one track.
#[derive(Debug)]
struct Lane<T> {
    track: TrackId,
    waiting: VecDeque<Waiting<T>>,
    /// Bytes that left, and what the others had when this one began.
    served: u64,
}

/// Lanes of all tracks.
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

    pub(super) fn push(&mut self, track: TrackId, waiting: Waiting<T>) {
        let at = self.lane_of(track);
        let lane = &mut self.lanes[at];
        if lane.waiting.is_empty() {
            // Whoever comes has the same claim as those that are there, and none for the time before.
            lane.served = lane.served.max(self.time);
        }
        lane.waiting.push_back(waiting);
        self.len += 1;
    }

    /// The lane of a track: its own, one that is empty where there are many, or a new one.
    fn lane_of(&mut self, track: TrackId) -> usize {
        if let Some(at) = self.lanes.iter().position(|lane| lane.track == track) {
            return at;
        }
        if self.lanes.len() >= KEPT
            && let Some((at, lane)) = self.lanes.iter_mut().enumerate().find(|(_, lane)| lane.waiting.is_empty())
        {
            (lane.track, lane.served) = (track, self.time);
            return at;
        }
        self.lanes.push(Lane { track, waiting: VecDeque::new(), served: self.time });
        self.lanes.len() - 1
    }

    /// The packet that goes next.
    pub(super) fn front(&self) -> Option<&Waiting<T>> {
        let lanes = self.lanes.iter().filter(|lane| !lane.waiting.is_empty());
        lanes.min_by_key(|lane| lane.served)?.waiting.front()
    }

    pub(super) fn pop_front(&mut self) -> Option<Waiting<T>> {
        let lanes = self.lanes.iter_mut().filter(|lane| !lane.waiting.is_empty());
        let lane = lanes.min_by_key(|lane| lane.served)?;
        let next = lane.waiting.pop_front()?;
        self.time = lane.served;
        lane.served += next.size.as_bytes();
        self.len -= 1;
        Some(next)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Waiting<T>) -> bool) {
        self.lanes.iter_mut().for_each(|lane| lane.waiting.retain(&mut keep));
        self.len = self.lanes.iter().map(|lane| lane.waiting.len()).sum();
    }
}
