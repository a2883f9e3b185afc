//! The audio jitter buffer: Opus packets in, something to play every 20 ms out.
//!
//! Follows NetEQ in its aims (play early enough to feel near, late enough to miss nothing) with whole frames instead of
//! stretched samples: the delay grows by a concealed frame and shrinks by a left-out one, quiet ones first, at most one in
//! ten. An underrun holds the place (the packet may only be late); a loss moves on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_model::{MediaTime, MediaTimeUnwrapper, TrackId, TrackKind};

use super::delay::PlayoutDelay;
use super::stats::BufferStats;
use crate::frame::{EncodedFrame, ReceivedFrame};
use crate::merge::extend;
use crate::opus;
use crate::packet::MediaPacket;

/// Share of the packets that shall be in time.
const QUANTILE_PERMILLE: usize = 980;

/// Packets held: three seconds, more than the largest delay.
const MAX_PACKETS: usize = 150;

/// A level at or below -50 dBov (RFC 6464) is a pause between words: the place to change the delay unheard.
const QUIET_LEVEL: u8 = 50;

/// Behind its time by more than this for long, a frame is left out; before its time by more than that, one is added. The
/// distance between the two is more than the phase of the pull can move.
const BEHIND_US: i64 = 40_000;
const AHEAD_US: i64 = 10_000;

/// How long it must have been behind: a pause between words may be shortened soon, speech only where it stays behind.
const BEHIND_QUIET: Duration = Duration::from_millis(200);
const BEHIND_LOUD: Duration = Duration::from_secs(1);

/// This far behind speech is shortened as soon as pauses are.
const FAR_BEHIND_US: i64 = 100_000;

/// This far behind (after a stall) nobody wants to hear all of it at most 10 % faster: what is too old is left out at once.
const LOST_US: i64 = 500_000;

/// Frames between two changes of the delay, in pauses and in speech (10 %).
const CHANGE_QUIET: u32 = 4;
const CHANGE_LOUD: u32 = 10;

/// Frames of concealment before silence: what a decoder can make up without droning.
const MAX_CONCEALED: u32 = 5;

/// Frames without any packet after which the source counts as paused and the delay is chosen afresh when it returns: one second.
const PAUSED: u32 = 50;

/// What to play for the next 20 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioPull {
    /// Decode this.
    Frame(ReceivedFrame),
    /// The frame is lost; recover it from the redundancy in the packet after it (Opus in-band FEC). That packet itself
    /// comes with the next pull.
    Fec {
        /// The Opus packet that follows the lost one.
        from: Bytes,
    },
    /// Let the decoder make something up.
    Conceal,
    /// The sender is silent.
    Silence,
    /// Nothing to add: playing has not begun, or the frame before lasts longer than 20 ms.
    Wait,
}

/// Audio of one source, from one merge.
#[derive(Debug)]
pub struct AudioBuffer {
    track: TrackId,
    times: MediaTimeUnwrapper,
    delay: PlayoutDelay,
    /// By extended timestamp.
    packets: BTreeMap<u64, Held>,
    newest_number: Option<u64>,
    cursor: Option<Cursor>,
    /// Nothing before this time is ever played (again).
    floor: u64,
    started: bool,
    /// Pulls that the frame before lasts on.
    covered: u32,
    /// Pulls concealed or silent without moving on.
    held: u32,
    /// Frames concealed since the last real one.
    concealed_run: u32,
    corrected_run: u32,
    behind_since: Option<Instant>,
    since_change: u32,
    stats: BufferStats,
}

#[derive(Debug)]
struct Held {
    number: u64,
    packet: MediaPacket,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    time: u64,
    number: u64,
    /// The last packet said that silence follows.
    silence: bool,
}

/// The oldest packet held, in short.
#[derive(Clone, Copy)]
struct Head {
    time: u64,
    number: u64,
    quiet: bool,
}

impl AudioBuffer {
    /// Without packets.
    #[must_use]
    pub fn new(track: TrackId) -> Self {
        Self {
            track,
            times: MediaTimeUnwrapper::default(),
            delay: PlayoutDelay::new(TrackKind::Audio.clock_rate(), QUANTILE_PERMILLE),
            packets: BTreeMap::new(),
            newest_number: None,
            cursor: None,
            floor: 0,
            started: false,
            covered: 0,
            held: 0,
            concealed_run: 0,
            corrected_run: 0,
            behind_since: None,
            since_change: 0,
            stats: BufferStats::default(),
        }
    }

    /// Takes the first copy of a packet.
    pub fn push(&mut self, now: Instant, packet: MediaPacket) {
        let time = self.times.unwrap(packet.timestamp);
        let wire = packet.origin.packet;
        let reference = self.newest_number.unwrap_or((1 << 32) | u64::from(wire));
        let number = extend(reference, wire);
        self.newest_number = Some(reference.max(number));
        if self.delay.observe(now, time) {
            self.forget_timeline();
        }
        if time.0 < self.floor {
            self.stats.late += 1;
            return;
        }
        self.packets.entry(time.0).or_insert(Held { number, packet });
        while self.packets.len() > MAX_PACKETS {
            self.packets.pop_first();
        }
    }

    /// Takes a later copy of a packet, from another path: only its delay matters.
    pub fn observe_copy(&mut self, now: Instant, packet: &MediaPacket) {
        let time = self.times.clone().unwrap(packet.timestamp);
        self.delay.observe_copy(now, time);
    }

    /// The numbering of the source began anew.
    pub fn restart(&mut self) {
        self.forget_timeline();
        self.newest_number = None;
        self.delay.restart();
    }

    /// What to play for the next 20 ms.
    pub fn pull(&mut self, now: Instant) -> AudioPull {
        self.delay.advance(now);
        self.since_change = self.since_change.saturating_add(1);
        if self.covered > 0 {
            self.covered -= 1;
            return AudioPull::Wait;
        }
        let Some(cursor) = self.cursor else { return self.start(now) };
        match self.head() {
            None => self.starve(cursor),
            Some(head) if head.time > cursor.time => self.bridge(now, cursor, head),
            Some(head) => self.play_in_time(now, head),
        }
    }

    /// Whether there is a packet whose time has come.
    #[must_use]
    pub fn is_ready(&self, now: Instant) -> bool {
        self.head().is_some_and(|head| self.is_due(now, head.time))
    }

    /// Raises the delay by `by`, for a slower path that is about to be used.
    pub fn raise_target(&mut self, now: Instant, by: Duration) {
        self.delay.raise(now, by);
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

    fn forget_timeline(&mut self) {
        self.packets.clear();
        self.cursor = None;
        self.floor = 0;
        self.held = 0;
        self.concealed_run = 0;
        self.corrected_run = 0;
    }

    fn head(&self) -> Option<Head> {
        let (time, held) = self.packets.first_key_value()?;
        let quiet = held.packet.audio_level.is_some_and(|level| level.level >= QUIET_LEVEL);
        Some(Head { time: *time, number: held.number, quiet })
    }

    fn is_due(&self, now: Instant, time: u64) -> bool {
        self.delay.due(MediaTime(time)).is_none_or(|due| due <= now)
    }

    /// Begins, or begins again after a pause, at the oldest packet that is not too old.
    fn start(&mut self, now: Instant) -> AudioPull {
        while let Some((oldest, _)) = self.packets.first_key_value()
            && self.packets.len() > 1
            && self.delay.lateness_us(now, MediaTime(*oldest)) > BEHIND_US
        {
            self.packets.pop_first();
        }
        match self.head() {
            Some(head) if self.is_due(now, head.time) => {
                self.started = true;
                self.play()
            }
            _ if self.started => AudioPull::Silence,
            _ => AudioPull::Wait,
        }
    }

    /// There is no packet: it is late, or the source is silent. The place is held.
    fn starve(&mut self, cursor: Cursor) -> AudioPull {
        self.held += 1;
        if self.held > PAUSED {
            self.cursor = None;
            self.held = 0;
            self.concealed_run = 0;
            self.corrected_run = 0;
            return AudioPull::Silence;
        }
        if cursor.silence || self.concealed_run >= MAX_CONCEALED {
            return AudioPull::Silence;
        }
        self.concealed_run += 1;
        AudioPull::Conceal
    }

    /// The oldest packet is not the next one.
    fn bridge(&mut self, now: Instant, cursor: Cursor, head: Head) -> AudioPull {
        if head.number == cursor.number || cursor.silence {
            // Nothing was sent in between.
            return if self.is_due(now, head.time) { self.play() } else { AudioPull::Silence };
        }
        let frame = u64::from(opus::FRAME_SAMPLES);
        let missing = (head.time - cursor.time).div_ceil(frame);
        if u64::from(self.held) >= missing {
            // What was made up while it was still hoped for stands in the place of the lost.
            return self.play();
        }
        if self.concealed_run >= MAX_CONCEALED {
            return if self.is_due(now, head.time) { self.play() } else { AudioPull::Silence };
        }
        self.concealed_run += 1;
        let time = cursor.time + frame;
        self.floor = time;
        self.cursor = Some(Cursor { time, ..cursor });
        match self.packets.get(&time) {
            Some(next) if next.number == cursor.number + 1 => {
                self.corrected_run += 1;
                AudioPull::Fec { from: next.packet.payload.clone() }
            }
            _ => AudioPull::Conceal,
        }
    }

    /// The next packet is there: play it, or first change the delay.
    fn play_in_time(&mut self, now: Instant, head: Head) -> AudioPull {
        let lateness = self.delay.lateness_us(now, MediaTime(head.time));
        let may_change = self.since_change >= if head.quiet { CHANGE_QUIET } else { CHANGE_LOUD };
        if lateness < -AHEAD_US {
            self.behind_since = None;
            if may_change {
                self.since_change = 0;
                self.stats.stretched += opus::FRAME;
                return AudioPull::Conceal;
            }
            return self.play();
        }
        if lateness <= BEHIND_US {
            self.behind_since = None;
            return self.play();
        }
        if lateness > LOST_US {
            return self.catch_up(now);
        }
        let behind = now.saturating_duration_since(*self.behind_since.get_or_insert(now));
        let soon = head.quiet || lateness > FAR_BEHIND_US;
        let follows = self.packets.len() > 1;
        if may_change && follows && behind >= if soon { BEHIND_QUIET } else { BEHIND_LOUD } {
            self.since_change = 0;
            self.stats.shrunk += opus::FRAME;
            self.leave_out();
            return match (self.head(), self.cursor) {
                (Some(next), Some(cursor)) if next.time > cursor.time => self.bridge(now, cursor, next),
                _ => self.play(),
            };
        }
        self.play()
    }

    /// After a stall: leaves out what is too old.
    fn catch_up(&mut self, now: Instant) -> AudioPull {
        while let Some((next, _)) = self.packets.iter().nth(1)
            && self.delay.lateness_us(now, MediaTime(*next)) > 0
        {
            self.leave_out();
            self.stats.missed += 1;
        }
        self.play()
    }

    /// Moves past the oldest packet without playing it.
    fn leave_out(&mut self) {
        if let Some((time, held)) = self.packets.pop_first() {
            self.move_past(time, &held);
        }
    }

    fn move_past(&mut self, time: u64, held: &Held) -> u32 {
        let samples = opus::samples(&held.packet.payload).unwrap_or(opus::FRAME_SAMPLES);
        let time = time + u64::from(samples);
        self.floor = time;
        self.cursor = Some(Cursor { time, number: held.number + 1, silence: opus::is_dtx(&held.packet.payload) });
        samples
    }

    /// Plays the oldest packet.
    fn play(&mut self) -> AudioPull {
        let Some((time, held)) = self.packets.pop_first() else { return AudioPull::Silence };
        self.settle(time, held.number);
        let samples = self.move_past(time, &held);
        self.covered = (samples / opus::FRAME_SAMPLES).saturating_sub(1);
        self.stats.frames += 1;
        let MediaPacket { origin, kind, timestamp, audio_level, payload, .. } = held.packet;
        let frame = EncodedFrame {
            kind,
            layer: origin.layer,
            time: MediaTime(time),
            keyframe: origin.flags.keyframe,
            discardable: origin.flags.discardable,
            refers_back: origin.refers_back,
            audio_level,
            payload,
        };
        AudioPull::Frame(ReceivedFrame { track: self.track, number: origin.frame, timestamp, frame })
    }

    /// A real frame follows what was made up: was that a gap, or did the sender pause?
    fn settle(&mut self, time: u64, number: u64) {
        let concealed = std::mem::take(&mut self.concealed_run);
        let corrected = std::mem::take(&mut self.corrected_run);
        self.held = 0;
        let Some(cursor) = self.cursor else { return };
        let lost = number.saturating_sub(cursor.number);
        let paused = lost == 0 && time > cursor.time;
        self.stats.missed += lost;
        if concealed > 0 && !paused {
            let gap = opus::FRAME * concealed;
            self.stats.concealed += gap;
            self.stats.corrected += opus::FRAME * corrected;
            self.stats.gaps += 1;
            self.stats.longest_gap = self.stats.longest_gap.max(gap);
        }
    }
}

#[cfg(test)]
mod tests;
