//! The receiving end of a room: every leg's packets in, frames in their time out.
//!
//! Merge, jitter buffers and depacketisers of all tracks in one machine. The shell hands in packets as its legs deliver them
//! ([`Receiver::handle_packet`]), drains [`Receiver::poll_frame`] and [`Receiver::poll_event`] afterwards and at
//! [`Receiver::poll_timeout`], and pulls audio every 20 ms ([`Receiver::pull_audio`]).

mod track;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use segue_model::{EncodingId, TrackId, TrackKind};

use crate::frame::ReceivedFrame;
pub use crate::jitter::{AudioPull, BufferStats};
use crate::merge::{Lacks, LegCounts, LegId, LegSources, MergeOutcome, OriginMerge, RejectReason, SourceCounts, TrackMode};
use crate::packet::MediaPacket;
use track::Track;

/// Events waiting to be polled at most: a shell that does not poll loses the oldest, which are stale by then.
const MAX_EVENTS: usize = 256;

/// What a receiver wants done or known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverEvent {
    /// Nothing of this encoding can be decoded without a new keyframe: ask for one on a leg that carries it. At most one per
    /// [`KEYFRAME_INTERVAL`](crate::jitter::KEYFRAME_INTERVAL) and track, again while the need lasts.
    KeyframeNeeded {
        /// Of which track.
        track: TrackId,
        /// Of which encoding of it.
        encoding: EncodingId,
        /// The only leg that a keyframe helps on, for a track numbered per leg; otherwise any that carries the track.
        leg: Option<LegId>,
    },
    /// A track with a numbering per leg is now played from this leg; its former leg can be stopped.
    LegActive {
        /// Which track.
        track: TrackId,
        /// The leg it is played from.
        leg: LegId,
    },
}

/// What came of a track and what was played of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackStats {
    /// Packets.
    pub packets: SourceCounts,
    /// Frames and delays.
    pub buffer: BufferStats,
}

/// Receives all tracks of a room.
#[derive(Debug, Default)]
pub struct Receiver {
    merge: OriginMerge,
    tracks: BTreeMap<TrackId, Track>,
    events: VecDeque<ReceiverEvent>,
}

impl Receiver {
    /// Without legs and tracks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts packets of a leg; see [`OriginMerge::add_leg`].
    pub fn add_leg(&mut self, leg: LegId, sources: LegSources) -> bool {
        self.merge.add_leg(leg, sources)
    }

    /// Forgets a leg. What it brought is played still.
    pub fn remove_leg(&mut self, leg: LegId) {
        self.merge.remove_leg(leg);
    }

    /// Lets a direct leg carry a track of its peer; see [`OriginMerge::allow`].
    pub fn allow(&mut self, leg: LegId, track: TrackId) {
        self.merge.allow(leg, track);
    }

    /// Takes [`Receiver::allow`] back.
    pub fn disallow(&mut self, leg: LegId, track: TrackId) {
        self.merge.disallow(leg, track);
    }

    /// Receives a track whose publisher stamps origins: its legs are merged. False where there are too many tracks.
    pub fn add_track(&mut self, track: TrackId, kind: TrackKind) -> bool {
        self.insert_track(track, kind, TrackMode::Merged)
    }

    /// Receives a track whose numbering differs from leg to leg (its publisher is a browser): each leg has a buffer of its own,
    /// and a leg that begins to deliver takes over with its first keyframe or audio packet that can be played.
    pub fn add_track_per_leg(&mut self, track: TrackId, kind: TrackKind) -> bool {
        self.insert_track(track, kind, TrackMode::PerLeg)
    }

    /// Forgets a track.
    pub fn remove_track(&mut self, track: TrackId) {
        self.merge.remove_track(track);
        self.tracks.remove(&track);
        for video in self.tracks.values_mut().filter(|other| other.follows() == Some(track)) {
            video.follow_none();
        }
    }

    /// Whether the track is received.
    #[must_use]
    pub fn has_track(&self, track: TrackId) -> bool {
        self.tracks.contains_key(&track)
    }

    /// Takes a packet that came on `leg` at `now`, in any order with others.
    pub fn handle_packet(&mut self, now: Instant, leg: LegId, packet: MediaPacket) -> MergeOutcome {
        let track_id = packet.origin.source;
        if self.tracks.get(&track_id).is_some_and(|track| track.kind() != packet.kind) {
            return self.merge.count_rejected(leg, RejectReason::WrongKind);
        }
        let (outcome, restarted) = self.merge.insert_noting_restart(now, leg, &packet);
        let Some(track) = self.tracks.get_mut(&track_id) else { return outcome };
        match outcome {
            MergeOutcome::Fresh => track.push(now, leg, packet, restarted),
            MergeOutcome::Duplicate => track.observe_copy(now, leg, &packet),
            MergeOutcome::Probe | MergeOutcome::Rejected(_) => {}
        }
        outcome
    }

    /// The next video frame whose time has come, of any track.
    pub fn poll_frame(&mut self, now: Instant) -> Option<ReceivedFrame> {
        let Self { tracks, events, .. } = self;
        tracks.values_mut().find_map(|track| {
            let frame = track.poll_frame(now);
            track.drain_events(|event| push_event(events, event));
            frame
        })
    }

    /// What to play of an audio track for the next 20 ms. To be called every 20 ms while the track is listened to.
    pub fn pull_audio(&mut self, now: Instant, track: TrackId) -> AudioPull {
        let Some(found) = self.tracks.get_mut(&track) else { return AudioPull::Wait };
        let pull = found.pull_audio(now);
        let target = found.stats().target;
        let events = &mut self.events;
        found.drain_events(|event| push_event(events, event));
        for video in self.tracks.values_mut().filter(|other| other.follows() == Some(track)) {
            video.set_target_floor(target);
        }
        pull
    }

    /// When [`Receiver::handle_timeout`] is due, and after it the polls.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.tracks.values().filter_map(Track::poll_timeout).min()
    }

    /// Notices frames that will not come any more.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Self { tracks, events, .. } = self;
        for track in tracks.values_mut() {
            track.handle_timeout(now);
            track.drain_events(|event| push_event(events, event));
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ReceiverEvent> {
        self.events.pop_front()
    }

    /// Raises the delay of a track by `by`, by stretching time by at most 10 %: what a path that is about to be used will lag
    /// behind the present one. Video that has been living on retransmissions is raised by `repair` besides: they will take so much
    /// longer. Held for 15 s unless arrivals confirm it.
    pub fn raise_target(&mut self, now: Instant, track: TrackId, by: Duration, repair: Duration) {
        if let Some(track) = self.tracks.get_mut(&track) {
            track.raise_target(now, by, repair);
        }
    }

    /// Delay a track is played at, above that of its quickest packet.
    #[must_use]
    pub fn target(&self, track: TrackId) -> Option<Duration> {
        self.tracks.get(&track).map(|track| track.stats().target)
    }

    /// Keeps the picture of a participant in step with its voice: `video` is played at no less delay than `audio`. Voice never
    /// waits for the picture. Forgotten with either track.
    pub fn synchronise(&mut self, audio: TrackId, video: TrackId) {
        if let Some(track) = self.tracks.get_mut(&video) {
            track.follow(audio);
        }
    }

    /// The leg that a track with a numbering per leg is played from.
    #[must_use]
    pub fn active_leg(&self, track: TrackId) -> Option<LegId> {
        self.tracks.get(&track).and_then(Track::active_leg)
    }

    /// Counters and delays of a track.
    #[must_use]
    pub fn stats(&self, track: TrackId) -> Option<TrackStats> {
        let buffer = self.tracks.get(&track)?.stats();
        Some(TrackStats { packets: self.merge.source_counts(track), buffer })
    }

    /// What came on a leg.
    #[must_use]
    pub fn leg_counts(&self, leg: LegId) -> Option<&LegCounts> {
        self.merge.leg_counts(leg)
    }

    fn insert_track(&mut self, track: TrackId, kind: TrackKind, mode: TrackMode) -> bool {
        if !self.merge.add_track(track, mode) {
            return false;
        }
        let same = self.tracks.get(&track).is_some_and(|known| known.kind() == kind && known.mode() == mode);
        if !same {
            self.tracks.insert(track, Track::new(track, kind, mode));
        }
        true
    }
}

impl Lacks for Receiver {
    fn lacks(&self, track: TrackId, encoding: EncodingId, first_frame: u32, last_frame: u32) -> bool {
        self.merge.lacks(track, encoding, first_frame, last_frame)
    }
}

fn push_event(events: &mut VecDeque<ReceiverEvent>, event: ReceiverEvent) {
    if events.len() >= MAX_EVENTS {
        events.pop_front();
    }
    events.push_back(event);
}

#[cfg(test)]
mod tests;
