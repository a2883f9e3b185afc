//! The video jitter buffer: packets of all encodings of a source in, decodable frames in their time out.
//!
//! A frame is handed out when it is complete, can be decoded after what was handed out before, and is due. Frames that are not
//! complete by the time a later decodable one is due, or of which a part came an interval after that, are left behind. What is missing is told from the packet numbers of each
//! temporal layer, so a layer that somebody chose not to send is no loss.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use segue_model::{EncodingId, MAX_TEMPORAL_LAYERS, MediaTime, MediaTimeUnwrapper, TrackId, TrackKind};

use super::assembly::Assembly;
use super::delay::PlayoutDelay;
use super::stats::{BufferStats, KEYFRAME_INTERVAL};
use crate::frame::ReceivedFrame;
use crate::merge::extend;
use crate::packet::MediaPacket;

/// Share of the frames that shall be complete when due: at 1 % of loss some three in a hundred need a retransmission, and those shall be
/// in time. The rest is repaired late or concealed by the decoder.
const QUANTILE_PERMILLE: usize = 990;

/// What a frame of which a part came is waited for, at most, when the one after it is due: to leave it out makes as long a step in what is
/// shown as to show it an interval late.
const GRACE: Duration = Duration::from_millis(40);

/// A frame this much later than the quickest was repaired, or waited in a queue.
const REPAIRED: Duration = Duration::from_millis(15);

/// Frames held of one encoding: four seconds at 60 per second.
const MAX_FRAMES: usize = 256;

/// Bytes held of one track: over ten seconds of what we send at most.
const MAX_BYTES: usize = 16 << 20;

/// How long after a frame that cannot be decoded was due a retransmission is waited for before a keyframe is asked for: a
/// round trip across an ocean.
const PATIENCE: Duration = Duration::from_millis(250);

/// An encoding that brings nothing for so long while another does has been replaced by it.
const STALL: Duration = Duration::from_millis(300);

/// An encoding that brings nothing for so long needs nothing: it is paused, not broken.
const PAUSED: Duration = Duration::from_secs(1);

/// Longest distance of references (one byte of the origin).
const MAX_REFERENCE: usize = 255;

/// A video frame this much later than its predecessor lets expect is an interruption: more than two frames at 25 per second.
const GAP: Duration = Duration::from_millis(80);

/// An upper temporal layer that brings nothing for so many frames was left out by choice, and nothing of it is missed.
const LEFT_OUT: u64 = 64;

/// Ticks behind what is playing that are no late frame but another timeline: ten seconds.
const NEW_TIMELINE_TICKS: u64 = 900_000;

/// Video of one source, from one merge.
#[derive(Debug)]
pub struct VideoBuffer {
    track: TrackId,
    times: MediaTimeUnwrapper,
    delay: PlayoutDelay,
    encodings: BTreeMap<EncodingId, Encoding>,
    playing: Option<Playing>,
    bytes: usize,
    asked: Option<Instant>,
    stats: BufferStats,
}

#[derive(Debug)]
struct Encoding {
    /// By extended frame number.
    frames: BTreeMap<u64, Assembly>,
    newest: u64,
    newest_arrival: Instant,
    first_arrival: Instant,
    /// Of a keyframe's packets, the latest.
    keyframe_arrival: Option<Instant>,
    /// Extended numbers of the frames handed out, ascending: what others may refer to.
    delivered: VecDeque<u64>,
    trails: [Option<Trail>; MAX_TEMPORAL_LAYERS],
}

/// The last frame of a temporal layer that was handed out.
#[derive(Clone, Copy, Debug)]
struct Trail {
    frame: u64,
    /// What the next frame begins with; `None` after losses that are counted already.
    next_packet: Option<u32>,
    /// Frames from one of this layer to the next.
    stride: u64,
}

#[derive(Clone, Copy, Debug)]
struct Playing {
    encoding: EncodingId,
    number: u64,
    time: MediaTime,
    at: Instant,
    /// Between the last two frames with nothing missing between them.
    interval: Option<Duration>,
}

/// A frame that could be handed out next.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    encoding: EncodingId,
    number: u64,
    time: MediaTime,
}

impl VideoBuffer {
    /// Without frames.
    #[must_use]
    pub fn new(track: TrackId) -> Self {
        Self {
            track,
            times: MediaTimeUnwrapper::default(),
            delay: PlayoutDelay::new(TrackKind::Video.clock_rate(), QUANTILE_PERMILLE),
            encodings: BTreeMap::new(),
            playing: None,
            bytes: 0,
            asked: None,
            stats: BufferStats::default(),
        }
    }

    /// Takes the first copy of a packet.
    pub fn push(&mut self, now: Instant, packet: MediaPacket) {
        let encoding_id = packet.origin.layer.encoding;
        let time = self.times.unwrap(packet.timestamp);
        self.leave_old_timeline(time);
        let playing = self.playing;
        let encoding = self.encodings.entry(encoding_id).or_insert_with(|| Encoding::new(now, packet.origin.frame));
        let number = extend(encoding.newest, packet.origin.frame);
        encoding.newest = encoding.newest.max(number);
        if now.saturating_duration_since(encoding.newest_arrival) > PAUSED {
            encoding.forget_trails();
        }
        encoding.newest_arrival = now;
        if packet.origin.flags.keyframe {
            encoding.keyframe_arrival = Some(now);
        }
        match playing {
            Some(playing) if playing.encoding == encoding_id && number <= playing.number => {
                self.stats.late += 1;
                return;
            }
            // Another encoding of what was shown already.
            Some(playing) if playing.encoding != encoding_id && time <= playing.time => return,
            _ => {}
        }
        let size = packet.payload.len();
        let frame = encoding.frames.entry(number).or_insert_with(|| Assembly::new(&packet, time));
        if !frame.insert(packet) {
            self.stats.malformed += 1;
            return;
        }
        self.bytes += size;
        let watched = playing.is_none_or(|playing| playing.encoding == encoding_id);
        if frame.is_complete() && watched {
            self.delay.observe(now, time);
        }
        self.shed(encoding_id);
    }

    /// Takes a later copy of a packet, from another path: only its delay matters.
    pub fn observe_copy(&mut self, now: Instant, packet: &MediaPacket) {
        // The delay that matters is that of whole frames.
        if packet.origin.flags.last {
            let time = self.times.clone().unwrap(packet.timestamp);
            self.delay.observe_copy(now, time);
        }
    }

    /// The numbering of an encoding began anew: forgets what was gathered of it.
    pub fn restart(&mut self, encoding: EncodingId) {
        if let Some(gone) = self.encodings.remove(&encoding) {
            self.bytes -= gone.frames.values().map(Assembly::bytes).sum::<usize>();
        }
        if self.playing.is_some_and(|playing| playing.encoding == encoding) {
            self.playing = None;
        }
    }

    /// Forgets all that was gathered: the next frame handed out is a keyframe.
    pub fn begin_anew(&mut self) {
        self.encodings.clear();
        self.bytes = 0;
        self.playing = None;
        self.delay.restart();
    }

    /// The next frame whose time has come.
    pub fn poll_frame(&mut self, now: Instant) -> Option<ReceivedFrame> {
        self.delay.advance(now);
        loop {
            let candidate = self.choose()?;
            if self.due(candidate).is_some_and(|due| due > now) {
                return None;
            }
            if let Some(frame) = self.take(now, candidate) {
                return Some(frame);
            }
        }
    }

    /// Whether [`VideoBuffer::poll_frame`] would return a frame.
    #[must_use]
    pub fn is_ready(&self, now: Instant) -> bool {
        self.choose().is_some_and(|next| self.due(next).is_none_or(|due| due <= now))
    }

    /// When the next frame is due, or patience with a missing one ends.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.choose().and_then(|next| self.due(next));
        let need = self.keyframe_need().map(|(_, at)| at);
        due.into_iter().chain(need).min()
    }

    /// The encoding a keyframe is needed of at `now`, where one is and was not asked for just before.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<EncodingId> {
        self.delay.advance(now);
        let (encoding, at) = self.keyframe_need()?;
        if at > now {
            return None;
        }
        self.asked = Some(now);
        self.stats.keyframe_requests += 1;
        Some(encoding)
    }

    /// Raises the delay by `by`, for a slower path that is about to be used, and by `repair` too where retransmissions are lived on.
    pub fn raise_target(&mut self, now: Instant, by: Duration, repair: Duration) {
        let repaired = self.delay.spread() > REPAIRED;
        self.delay.raise(now, if repaired { by + repair } else { by });
    }

    /// Plays at no less delay than this.
    pub fn set_target_floor(&mut self, floor: Duration) {
        self.delay.set_floor(floor);
    }

    /// Counters and delays.
    #[must_use]
    pub fn stats(&self) -> BufferStats {
        BufferStats { jitter: self.delay.jitter(), target: self.delay.target(), ..self.stats }
    }

    /// A source that starts its clock anew must not be taken for one that is late for ever.
    fn leave_old_timeline(&mut self, time: MediaTime) {
        if self.playing.is_some_and(|playing| playing.time.0.saturating_sub(time.0) > NEW_TIMELINE_TICKS) {
            self.begin_anew();
        }
    }

    /// Keeps the bounds by leaving the oldest frames behind.
    fn shed(&mut self, encoding: EncodingId) {
        let Some(encoding) = self.encodings.get_mut(&encoding) else { return };
        while encoding.frames.len() > MAX_FRAMES || (self.bytes > MAX_BYTES && encoding.frames.len() > 1) {
            if let Some((_, frame)) = encoding.frames.pop_first() {
                self.bytes -= frame.bytes();
            }
        }
    }

    /// The frame to hand out next, whether it is due or not: of the playing encoding the first that can be decoded, or the
    /// keyframe of another one that takes over before it.
    fn choose(&self) -> Option<Candidate> {
        let Some(playing) = self.playing else {
            let keyframes = self.encodings.iter().filter_map(|(id, encoding)| encoding.first_keyframe(*id, None));
            return keyframes.min_by_key(|keyframe| (keyframe.time, keyframe.encoding));
        };
        let own = self.encodings.get(&playing.encoding);
        let next = own.and_then(|own| own.first_decodable(playing));
        let own_newest = own.and_then(|own| own.frames.last_key_value()).map(|(_, frame)| frame.time);
        let others = self.encodings.iter().filter(|(id, _)| **id != playing.encoding);
        let takes_over = others
            .filter_map(|(id, encoding)| encoding.first_keyframe(*id, Some(playing.time)))
            // A larger encoding is what was waited for; a smaller one is only meant where the present one has stopped.
            .filter(|key| key.encoding < playing.encoding || own_newest.is_none_or(|newest| newest < key.time))
            .min_by_key(|keyframe| (keyframe.time, keyframe.encoding));
        match (next, takes_over) {
            (Some(next), Some(other)) if next.time < other.time => Some(next),
            (next, other) => other.or(next),
        }
    }

    /// When a frame is handed out: in its time, and later where a part of one before it has come.
    fn due(&self, candidate: Candidate) -> Option<Instant> {
        let due = self.delay.due(candidate.time)?;
        let playing = self.playing.filter(|playing| playing.encoding == candidate.encoding);
        let waits = playing.filter(|playing| {
            let own = self.encodings.get(&playing.encoding);
            own.is_some_and(|own| own.awaits_a_part(playing.number + 1..candidate.number))
        });
        Some(due + waits.map_or(Duration::ZERO, |playing| playing.interval.map_or(GRACE, |interval| interval.min(GRACE))))
    }

    fn take(&mut self, now: Instant, candidate: Candidate) -> Option<ReceivedFrame> {
        let Candidate { encoding: id, number, time } = candidate;
        let encoding = self.encodings.get_mut(&id)?;
        let frame = encoding.frames.remove(&number)?;
        self.bytes -= frame.bytes();
        let Ok(finished) = frame.finish() else {
            // As good as lost: what refers to it cannot be decoded.
            self.stats.malformed += 1;
            return None;
        };
        while encoding.frames.first_key_value().is_some_and(|(oldest, _)| *oldest < number) {
            if let Some((_, left)) = encoding.frames.pop_first() {
                self.bytes -= left.bytes();
            }
        }
        let switched = self.playing.is_some_and(|playing| playing.encoding != id);
        if switched || self.playing.is_none() {
            encoding.trails = Default::default();
            encoding.delivered.clear();
        }
        let missed = encoding.deliver(number, &frame);
        self.stats.missed += missed;
        self.stats.frames += 1;
        self.stats.keyframes += u64::from(frame.keyframe);
        self.stats.switches += u64::from(switched);
        self.note_interval(now, candidate, missed == 0 && !switched);
        self.drop_superseded(id, time);
        Some(ReceivedFrame { track: self.track, number: number as u32, timestamp: frame.timestamp, frame: finished })
    }

    /// Measures the interval since the frame before against what it should be.
    fn note_interval(&mut self, now: Instant, candidate: Candidate, contiguous: bool) {
        let Candidate { encoding, number, time } = candidate;
        let mut interval = None;
        if let Some(before) = self.playing {
            let ticks = time.0.saturating_sub(before.time.0);
            let captured = Duration::from_millis(ticks.saturating_mul(1_000) / u64::from(TrackKind::Video.clock_rate()));
            interval = if contiguous { Some(captured) } else { before.interval };
            let excess = now.saturating_duration_since(before.at).saturating_sub(interval.unwrap_or(captured));
            if excess > GAP {
                self.stats.gaps += 1;
                self.stats.longest_gap = self.stats.longest_gap.max(excess);
            }
        }
        self.playing = Some(Playing { encoding, number, time, at: now, interval });
    }

    /// Other encodings of what was shown are of no use any more.
    fn drop_superseded(&mut self, playing: EncodingId, time: MediaTime) {
        let Self { encodings, bytes, .. } = self;
        for (_, other) in encodings.iter_mut().filter(|(id, _)| **id != playing) {
            while other.frames.first_key_value().is_some_and(|(_, frame)| frame.time <= time) {
                if let Some((_, frame)) = other.frames.pop_first() {
                    *bytes -= frame.bytes();
                }
            }
        }
    }

    /// Which encoding needs a keyframe, and from when on to ask for it.
    fn keyframe_need(&self) -> Option<(EncodingId, Instant)> {
        if self.choose().is_some() {
            return None;
        }
        let (encoding, at) = match self.playing {
            None => self.need_to_start()?,
            Some(playing) => self.need_of_playing(playing).or_else(|| self.need_to_follow(playing))?,
        };
        let at = self.asked.map_or(at, |asked| at.max(asked + KEYFRAME_INTERVAL));
        let alive = self.encodings.get(&encoding).is_some_and(|encoding| at <= encoding.newest_arrival + PAUSED);
        alive.then_some((encoding, at))
    }

    /// Nothing was shown yet: ask at once, unless a keyframe is already coming in.
    fn need_to_start(&self) -> Option<(EncodingId, Instant)> {
        let (id, encoding) = self.encodings.iter().max_by_key(|(_, encoding)| encoding.newest_arrival)?;
        // What comes after it says nothing of what is missing of it: its first packet is not asked for where nothing came before.
        Some((*id, encoding.keyframe_arrival.map_or(encoding.first_arrival, |latest| latest + PATIENCE)))
    }

    /// The oldest frame that waits for something missing has waited long enough.
    fn need_of_playing(&self, playing: Playing) -> Option<(EncodingId, Instant)> {
        let own = self.encodings.get(&playing.encoding)?;
        let (_, waiting) = own.frames.range(playing.number + 1..).next()?;
        Some((playing.encoding, self.delay.due(waiting.time)? + PATIENCE))
    }

    /// The playing encoding has stopped and another one goes on.
    fn need_to_follow(&self, playing: Playing) -> Option<(EncodingId, Instant)> {
        let stopped = self.encodings.get(&playing.encoding).map(|own| own.newest_arrival)?;
        let others = self.encodings.iter().filter(|(id, _)| **id != playing.encoding);
        let (id, _) = others.filter(|(_, other)| other.newest_arrival > stopped + STALL).min_by_key(|(id, _)| **id)?;
        Some((*id, stopped + STALL))
    }
}

impl Encoding {
    fn new(now: Instant, frame: u32) -> Self {
        Self {
            frames: BTreeMap::new(),
            newest: (1 << 32) | u64::from(frame),
            newest_arrival: now,
            first_arrival: now,
            keyframe_arrival: None,
            delivered: VecDeque::new(),
            trails: Default::default(),
        }
    }

    /// What was not sent during a pause is not missed.
    fn forget_trails(&mut self) {
        for trail in self.trails.iter_mut().flatten() {
            trail.next_packet = None;
        }
    }

    fn first_keyframe(&self, id: EncodingId, after: Option<MediaTime>) -> Option<Candidate> {
        let fits = |frame: &Assembly| frame.keyframe && after.is_none_or(|after| frame.time > after) && frame.is_complete();
        let (number, frame) = self.frames.iter().find(|(_, frame)| fits(frame))?;
        Some(Candidate { encoding: id, number: *number, time: frame.time })
    }

    fn first_decodable(&self, playing: Playing) -> Option<Candidate> {
        let mut newer = self.frames.range(playing.number + 1..);
        let (number, frame) = newer.find(|(number, frame)| self.has_reference(**number, frame) && frame.is_complete())?;
        Some(Candidate { encoding: playing.encoding, number: *number, time: frame.time })
    }

    /// What a frame refers to was handed out.
    fn has_reference(&self, number: u64, frame: &Assembly) -> bool {
        let handed_out = |back| number.checked_sub(back).is_some_and(|needed| self.delivered.binary_search(&needed).is_ok());
        frame.needs().is_none_or(handed_out)
    }

    /// A frame among these could be decoded if the rest of it came.
    fn awaits_a_part(&self, numbers: Range<u64>) -> bool {
        self.frames.range(numbers).any(|(number, frame)| !frame.is_complete() && self.has_reference(*number, frame))
    }

    /// Notes that a frame was handed out; answers how many that were sent to us should have been before it.
    fn deliver(&mut self, number: u64, frame: &Assembly) -> u64 {
        debug_assert!(self.delivered.back().is_none_or(|before| *before < number));
        if self.delivered.len() >= MAX_REFERENCE {
            self.delivered.pop_front();
        }
        self.delivered.push_back(number);
        let Some((first, next_packet)) = frame.packet_range() else { return 0 };
        let Some((base, upper)) = self.trails.split_first_mut() else { return 0 };
        let temporal = usize::from(frame.layer.temporal.0);
        let trail = match temporal.checked_sub(1) {
            None => &mut *base,
            Some(index) => match upper.get_mut(index) {
                Some(trail) => trail,
                None => return 0,
            },
        };
        let (mut missed, mut stride, mut from) = (0, 1, number);
        if let Some(last) = *trail {
            from = last.frame;
            let span = number.saturating_sub(last.frame);
            stride = last.stride;
            if last.next_packet == Some(first) {
                stride = span.max(1);
            } else if last.next_packet.is_some() && (temporal == 0 || span <= LEFT_OUT) {
                missed = span.div_ceil(stride.max(1)).saturating_sub(1).max(1);
            }
        }
        *trail = Some(Trail { frame: number, next_packet: Some(next_packet), stride });
        if temporal == 0 && missed > 0 {
            // Without the base layer the upper layers were lost too. What is missing of them is counted here and not again.
            for lost in upper.iter_mut().flatten() {
                if lost.next_packet.take().is_some() && from.saturating_sub(lost.frame) <= LEFT_OUT {
                    missed += number.saturating_sub(lost.frame + 1) / lost.stride.max(1);
                }
            }
        }
        missed
    }
}

#[cfg(test)]
mod tests;
