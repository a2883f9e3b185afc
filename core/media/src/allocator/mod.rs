//! Divides what one subscriber's downlink bears: voices first, then a shared screen, then whoever speaks, then the tiles.
//!
//! An [`Allocator`] looks after one subscriber. Streams with their rungs and an estimate go in; what each stream gets ([`Grant`]) and
//! the changes of it come out. [`Demand`] looks after one track: from what all its subscribers are granted it tells the publisher which
//! encodings nobody wants.
//!
//! The rules, in their order:
//! 1. Voices are never left out, and are paid first.
//! 2. A screen and a speaker get their smallest rung, then a screen all it is wished for, then a speaker its middle one, then every tile
//!    its smallest, then a speaker the rest, then the tiles, by rank.
//! 3. What the estimate no longer bears goes at once: the last in this order first, to a lower frame rate before a smaller size, and to
//!    nothing where the smallest does not fit. What comes back waits until there is some room to spare for a while, longer where it was
//!    lost before, so that an estimate that swings does not show.
//! 4. Tiles rise together, when there is room for all of them: which of many equal pictures is the sharpest would only change again.

mod demand;
mod divide;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use segue_model::{DataRate, EncodingId, TemporalId, TrackId};

use divide::{Fill, Share, divide};

pub use demand::{Demand, STOP_AFTER};

/// Streams of one subscriber: as many as a relay sends to one at most.
pub const MAX_STREAMS: usize = 256;

/// Rungs of one stream: three encodings with three temporal layers each, or as many layers in one.
pub const MAX_RUNGS: usize = 12;

/// Share of the estimate that is given to what rises. The rest is for keyframes, repairs and an estimate that comes down again.
const SAFE: f64 = 0.88;

/// How long there is room before a picture that was left out comes back, and before one rises.
const RESUME_AFTER: Duration = Duration::from_millis(500);
const RISE_AFTER: Duration = Duration::from_millis(1_500);

/// A stream that fell so soon after it rose waits twice as long for the next time, up to a bound.
const REGRET: Duration = Duration::from_secs(8);
const MAX_STRIKES: u32 = 4;

/// Without a fall for so long a stream's strikes are forgotten.
const FORGIVE: Duration = Duration::from_secs(60);

/// What a stream is to its subscriber, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A voice.
    Audio,
    /// A shared screen.
    Screen,
    /// The picture of who speaks.
    Speaker,
    /// Any other picture.
    Tile,
}

/// What a stream can be sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatorRung {
    /// The encoding.
    pub encoding: EncodingId,
    /// The highest temporal layer of it.
    pub temporal: TemporalId,
    /// All temporal layers the encoding has: the frame rate its publisher meant.
    pub whole: bool,
    /// What it takes.
    pub rate: DataRate,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocatorStream {
    /// Its track.
    pub track: TrackId,
    /// What it is.
    pub class: Class,
    /// Order in its class, the lowest first.
    pub rank: u32,
    /// What it can be, from the least to the most that is wished; [`MAX_RUNGS`] at most, others are left out. Voices have one.
    pub rungs: Vec<AllocatorRung>,
}

/// What a stream gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Nothing: it does not fit.
    Paused,
    /// This encoding, up to this temporal layer.
    Layers {
        /// The encoding.
        encoding: EncodingId,
        /// The highest temporal layer.
        temporal: TemporalId,
    },
}

/// A stream gets something else from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantChanged {
    /// Its track.
    pub track: TrackId,
    /// What it got.
    pub from: Grant,
    /// What it gets.
    pub to: Grant,
}

#[derive(Clone, Debug)]
struct Entry {
    class: Class,
    rank: u32,
    rungs: Vec<AllocatorRung>,
    grant: Grant,
    /// Since when there has been room for more.
    room_since: Option<Instant>,
    rose_at: Option<Instant>,
    fell_at: Option<Instant>,
    strikes: u32,
}

impl Entry {
    /// Index of the rung it is granted; the nearest below where rungs changed. `None`: paused.
    fn rung(&self) -> Option<usize> {
        let Grant::Layers { encoding, temporal } = self.grant else { return None };
        let key = |rung: &AllocatorRung| (rung.encoding == encoding, rung.temporal <= temporal);
        self.rungs.iter().rposition(|rung| key(rung) == (true, true)).or_else(|| self.rungs.iter().position(|rung| key(rung).0))
    }

    fn grant_of(&self, rung: Option<usize>) -> Grant {
        let rung = rung.and_then(|rung| self.rungs.get(rung));
        rung.map_or(Grant::Paused, |rung| Grant::Layers { encoding: rung.encoding, temporal: rung.temporal })
    }

    fn wait(&self) -> Duration {
        let base = if self.grant == Grant::Paused { RESUME_AFTER } else { RISE_AFTER };
        // The first fall costs a picture that was left out nothing: links change.
        let strikes = if self.grant == Grant::Paused { self.strikes.saturating_sub(1) } else { self.strikes };
        base * (1 << strikes.min(MAX_STRIKES))
    }
}

/// Divides one subscriber's estimate.
#[derive(Debug)]
pub struct Allocator {
    streams: BTreeMap<TrackId, Entry>,
    estimate: DataRate,
    changes: VecDeque<GrantChanged>,
    /// Something waits for room to last.
    due: Option<Instant>,
    stale: bool,
}

impl Allocator {
    /// Nothing to divide yet.
    #[must_use]
    pub const fn new(estimate: DataRate) -> Self {
        Self { streams: BTreeMap::new(), estimate, changes: VecDeque::new(), due: None, stale: false }
    }

    /// A stream came, or is something else now: its class, its wish or its rates. False where there are [`MAX_STREAMS`] already. Takes
    /// effect with the next [`Allocator::handle_timeout`] or [`Allocator::handle_estimate`].
    pub fn set_stream(&mut self, stream: AllocatorStream) -> bool {
        let AllocatorStream { track, class, rank, mut rungs } = stream;
        rungs.truncate(MAX_RUNGS);
        self.stale = true;
        if let Some(entry) = self.streams.get_mut(&track) {
            if entry.class > class {
                // Who begins to speak does not wait for what happened to a tile.
                (entry.strikes, entry.room_since) = (0, None);
            }
            (entry.class, entry.rank, entry.rungs) = (class, rank, rungs);
            return true;
        }
        if self.streams.len() >= MAX_STREAMS {
            return false;
        }
        let entry =
            Entry { class, rank, rungs, grant: Grant::Paused, room_since: None, rose_at: None, fell_at: None, strikes: 0 };
        self.streams.insert(track, entry);
        true
    }

    /// A stream is gone, or not wished any more.
    pub fn remove_stream(&mut self, track: TrackId) {
        self.stale |= self.streams.remove(&track).is_some();
    }

    /// What the downlink bears from now on.
    pub fn handle_estimate(&mut self, now: Instant, estimate: DataRate) {
        self.estimate = estimate;
        self.decide(now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.stale || self.due.is_some_and(|due| due <= now) {
            self.decide(now);
        }
    }

    /// When time matters next; in the past where a stream changed.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a stream changed since the last decision.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.stale
    }

    /// The next change.
    pub fn poll_change(&mut self) -> Option<GrantChanged> {
        self.changes.pop_front()
    }

    /// What a stream gets; `None` for one it does not know.
    #[must_use]
    pub fn grant(&self, track: TrackId) -> Option<Grant> {
        self.streams.get(&track).map(|entry| entry.grant)
    }

    /// What all that is granted takes.
    #[must_use]
    pub fn granted(&self) -> DataRate {
        let rate = |entry: &Entry| entry.rung().and_then(|rung| entry.rungs.get(rung)).map_or(DataRate::ZERO, |rung| rung.rate);
        self.streams.values().map(rate).fold(DataRate::ZERO, |sum, rate| sum + rate)
    }

    /// What would be of use: with this estimate every stream gets all that is wished. More need not be probed for.
    #[must_use]
    pub fn useful(&self) -> DataRate {
        let most = |entry: &Entry| entry.rungs.last().map_or(DataRate::ZERO, |rung| rung.rate);
        self.streams.values().map(most).fold(DataRate::ZERO, |sum, rate| sum + rate) * (1.0 / SAFE)
    }

    fn decide(&mut self, now: Instant) {
        (self.stale, self.due) = (false, None);
        let mut order: Vec<TrackId> = self.streams.keys().copied().collect();
        order.sort_by_key(|track| self.streams.get(track).map(|entry| (entry.class, entry.rank, *track)));
        let share = |track: &TrackId| self.streams.get(track).map(|entry| Share { class: entry.class, rungs: &entry.rungs });
        let shares: Vec<Share<'_>> = order.iter().filter_map(share).collect();
        let most = divide(self.estimate, &shares, Fill::Every);
        let safe = divide(self.estimate * SAFE, &shares, Fill::Whole);
        for ((track, most), safe) in order.into_iter().zip(most).zip(safe) {
            let Some(entry) = self.streams.get_mut(&track) else { continue };
            let from = entry.grant;
            settle(now, entry, most, safe.min(most));
            if let Some(since) = entry.room_since {
                let due = since + entry.wait();
                self.due = Some(self.due.map_or(due, |other| other.min(due)));
            }
            if entry.grant != from {
                self.changes.push_back(GrantChanged { track, from, to: entry.grant });
            }
        }
        // One change a stream is of use.
        while self.changes.len() > 2 * MAX_STREAMS {
            self.changes.pop_front();
        }
    }
}

/// Moves one stream: down to what it may have at `most` at once, up to what is `safe` when that has lasted.
fn settle(now: Instant, entry: &mut Entry, most: Option<usize>, safe: Option<usize>) {
    if entry.fell_at.is_some_and(|at| now.saturating_duration_since(at) > FORGIVE) {
        (entry.strikes, entry.fell_at) = (0, None);
    }
    let present = entry.rung();
    if present > most {
        let regretted = entry.rose_at.is_some_and(|at| now.saturating_duration_since(at) < REGRET);
        entry.strikes = (entry.strikes + u32::from(regretted)).min(MAX_STRIKES);
        (entry.fell_at, entry.room_since) = (Some(now), None);
        entry.grant = entry.grant_of(most);
        return;
    }
    if entry.class == Class::Audio {
        entry.grant = entry.grant_of(most);
        return;
    }
    if present >= safe {
        entry.room_since = None;
        // Rungs may have changed under it.
        entry.grant = entry.grant_of(present);
        return;
    }
    // The first grant of all waits for nothing.
    let fresh = entry.rose_at.is_none() && entry.fell_at.is_none();
    let since = *entry.room_since.get_or_insert(now);
    if fresh || now.saturating_duration_since(since) >= entry.wait() {
        (entry.rose_at, entry.room_since) = (Some(now), None);
        entry.grant = entry.grant_of(safe);
    }
}

#[cfg(test)]
mod tests;
