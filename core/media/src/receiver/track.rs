//! One track of a receiver: its jitter buffer, or one for each leg where legs are numbered apart.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use segue_model::{TrackId, TrackKind};

use super::ReceiverEvent;
use crate::frame::ReceivedFrame;
use crate::jitter::{AudioBuffer, AudioPull, BufferStats, VideoBuffer};
use crate::merge::{LegId, TrackMode};
use crate::packet::MediaPacket;

/// Legs that may carry one track numbered per leg at a time: the old and the new path, and one more for a change within a change.
const MAX_STREAMS: usize = 4;

/// A leg that brings nothing for so long has ended: another may take over, and it is new when it returns.
const IDLE: Duration = Duration::from_secs(1);

/// A track and its buffers.
#[derive(Debug)]
pub(super) struct Track {
    id: TrackId,
    kind: TrackKind,
    mode: TrackMode,
    /// One under `None` where legs are merged, otherwise one for each leg.
    streams: BTreeMap<Option<LegId>, Stream>,
    active: Option<Option<LegId>>,
    /// Counters of streams that have gone.
    gone: BufferStats,
    floor: Duration,
    /// The audio track this one is kept in step with.
    follows: Option<TrackId>,
    events: VecDeque<ReceiverEvent>,
}

#[derive(Debug)]
struct Stream {
    buffer: Buffer,
    last_packet: Instant,
    /// Another leg has taken over; this one must pause before it may take over again.
    retired: bool,
}

#[derive(Debug)]
enum Buffer {
    Audio(Box<AudioBuffer>),
    Video(Box<VideoBuffer>),
}

impl Track {
    pub(super) fn new(id: TrackId, kind: TrackKind, mode: TrackMode) -> Self {
        Self {
            id,
            kind,
            mode,
            streams: BTreeMap::new(),
            active: None,
            gone: BufferStats::default(),
            floor: Duration::ZERO,
            follows: None,
            events: VecDeque::new(),
        }
    }

    pub(super) fn kind(&self) -> TrackKind {
        self.kind
    }

    pub(super) fn mode(&self) -> TrackMode {
        self.mode
    }

    pub(super) fn active_leg(&self) -> Option<LegId> {
        self.active.flatten()
    }

    /// Takes a first copy.
    pub(super) fn push(&mut self, now: Instant, leg: LegId, packet: MediaPacket, restarted: bool) {
        let key = self.key(leg);
        if !self.streams.contains_key(&key) && !self.add_stream(now, key) {
            return;
        }
        let alone = self.active.is_none_or(|active| active == key || self.is_idle(now, active));
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let returns = now.saturating_duration_since(stream.last_packet) > IDLE;
        stream.last_packet = now;
        if stream.retired && (returns || alone) {
            stream.retired = false;
            stream.buffer.begin_anew();
        }
        if !stream.retired {
            stream.buffer.push(now, packet, restarted);
        }
    }

    pub(super) fn observe_copy(&mut self, now: Instant, leg: LegId, packet: &MediaPacket) {
        let key = self.key(leg);
        // A second copy on the same numbering per leg is a retransmission and says nothing about paths.
        if key.is_some() {
            return;
        }
        match self.streams.get_mut(&key).map(|stream| &mut stream.buffer) {
            Some(Buffer::Audio(audio)) => audio.observe_copy(now, packet),
            Some(Buffer::Video(video)) => video.observe_copy(now, packet),
            None => {}
        }
    }

    pub(super) fn poll_frame(&mut self, now: Instant) -> Option<ReceivedFrame> {
        self.choose_stream(now);
        match &mut self.streams.get_mut(&self.active?)?.buffer {
            Buffer::Video(video) => video.poll_frame(now),
            Buffer::Audio(_) => None,
        }
    }

    pub(super) fn pull_audio(&mut self, now: Instant) -> AudioPull {
        self.choose_stream(now);
        match self.active.and_then(|active| self.streams.get_mut(&active)).map(|stream| &mut stream.buffer) {
            Some(Buffer::Audio(audio)) => audio.pull(now),
            _ => AudioPull::Wait,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let videos = self.streams.values().filter(|stream| !stream.retired).filter_map(|stream| match &stream.buffer {
            Buffer::Video(video) => video.poll_timeout(),
            Buffer::Audio(_) => None,
        });
        videos.min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for (leg, stream) in self.streams.iter_mut().filter(|(_, stream)| !stream.retired) {
            if let Buffer::Video(video) = &mut stream.buffer
                && let Some(encoding) = video.handle_timeout(now)
            {
                self.events.push_back(ReceiverEvent::KeyframeNeeded { track: self.id, encoding, leg: *leg });
            }
        }
    }

    pub(super) fn drain_events(&mut self, mut take: impl FnMut(ReceiverEvent)) {
        while let Some(event) = self.events.pop_front() {
            take(event);
        }
    }

    pub(super) fn raise_target(&mut self, now: Instant, by: Duration, repair: Duration) {
        for stream in self.streams.values_mut() {
            match &mut stream.buffer {
                Buffer::Audio(audio) => audio.raise_target(now, by),
                Buffer::Video(video) => video.raise_target(now, by, repair),
            }
        }
    }

    pub(super) fn follows(&self) -> Option<TrackId> {
        self.follows
    }

    pub(super) fn follow(&mut self, audio: TrackId) {
        self.follows = Some(audio);
    }

    pub(super) fn follow_none(&mut self) {
        self.follows = None;
        self.set_target_floor(Duration::ZERO);
    }

    pub(super) fn set_target_floor(&mut self, floor: Duration) {
        self.floor = floor;
        for stream in self.streams.values_mut() {
            stream.buffer.set_target_floor(floor);
        }
    }

    pub(super) fn stats(&self) -> BufferStats {
        let active = self.active.and_then(|active| self.streams.get(&active));
        let mut stats = active.map(|stream| stream.buffer.stats()).unwrap_or_default();
        stats.add_counters(&self.gone);
        for (_, stream) in self.streams.iter().filter(|(key, _)| Some(**key) != self.active) {
            stats.add_counters(&stream.buffer.stats());
        }
        stats
    }

    fn key(&self, leg: LegId) -> Option<LegId> {
        (self.mode == TrackMode::PerLeg).then_some(leg)
    }

    fn is_idle(&self, now: Instant, key: Option<LegId>) -> bool {
        self.streams.get(&key).is_none_or(|stream| now.saturating_duration_since(stream.last_packet) > IDLE)
    }

    fn add_stream(&mut self, now: Instant, key: Option<LegId>) -> bool {
        if self.streams.len() >= MAX_STREAMS {
            let others = self.streams.iter().filter(|(key, _)| Some(**key) != self.active);
            let Some(oldest) = others.min_by_key(|(_, stream)| stream.last_packet).map(|(key, _)| *key) else { return false };
            if let Some(stream) = self.streams.remove(&oldest) {
                self.gone.add_counters(&stream.buffer.stats());
            }
        }
        let mut buffer = match self.kind {
            TrackKind::Audio => Buffer::Audio(Box::new(AudioBuffer::new(self.id))),
            TrackKind::Video => Buffer::Video(Box::new(VideoBuffer::new(self.id))),
        };
        buffer.set_target_floor(self.floor);
        self.streams.insert(key, Stream { buffer, last_packet: now, retired: false });
        if key.is_none() {
            self.active = Some(None);
        }
        true
    }

    /// A leg that can be played takes over from the one before it (make before break).
    fn choose_stream(&mut self, now: Instant) {
        if self.mode == TrackMode::Merged {
            return;
        }
        let ready = self.streams.iter().filter(|(key, stream)| Some(**key) != self.active && !stream.retired);
        let Some(key) = ready.filter(|(_, stream)| stream.buffer.is_ready(now)).map(|(key, _)| *key).next() else { return };
        if let Some(before) = self.active.and_then(|active| self.streams.get_mut(&active)) {
            before.retired = true;
        }
        self.active = Some(key);
        if let Some(leg) = key {
            self.events.push_back(ReceiverEvent::LegActive { track: self.id, leg });
        }
    }
}

impl Buffer {
    fn push(&mut self, now: Instant, packet: MediaPacket, restarted: bool) {
        match self {
            Self::Audio(audio) => {
                if restarted {
                    audio.restart();
                }
                audio.push(now, packet);
            }
            Self::Video(video) => {
                if restarted {
                    video.restart(packet.origin.layer.encoding);
                }
                video.push(now, packet);
            }
        }
    }

    /// Forgets what was gathered before a pause.
    fn begin_anew(&mut self) {
        match self {
            Self::Audio(audio) => audio.restart(),
            Self::Video(video) => video.begin_anew(),
        }
    }

    fn is_ready(&self, now: Instant) -> bool {
        match self {
            Self::Audio(audio) => audio.is_ready(now),
            Self::Video(video) => video.is_ready(now),
        }
    }

    fn set_target_floor(&mut self, floor: Duration) {
        match self {
            Self::Audio(audio) => audio.set_target_floor(floor),
            Self::Video(video) => video.set_target_floor(floor),
        }
    }

    fn stats(&self) -> BufferStats {
        match self {
            Self::Audio(audio) => audio.stats(),
            Self::Video(video) => video.stats(),
        }
    }
}
