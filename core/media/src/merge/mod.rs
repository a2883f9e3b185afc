//! Merge by origin, before the jitter buffer: of all copies of a packet, on whatever leg, the first wins.
//!
//! This is the receiving half of RFC 7198 (duplicated streams) and of SMPTE ST 2022-7 (hitless merge), with the origin in the
//! place of the sequence number: a change of path then loses nothing, doubles nothing and needs no keyframe. Nothing is
//! accepted from a leg that may not carry it, and nobody can push a window away from the true stream with one packet
//! (see [`RejectReason::Jump`]).

mod source;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use segue_model::{EncodingId, TrackId};

use crate::packet::MediaPacket;
use source::SourceMerge;
pub(crate) use window::extend;

/// Tracks of one room a receiver will hold: far more than a screen shows, little enough to bound memory.
pub const MAX_TRACKS: usize = 512;

/// Legs of one receiver: the relay's and one for each peer of the largest mesh, with room for legs being replaced.
pub const MAX_LEGS: usize = 64;

/// One hop's transport as a receiver knows it. The shell numbers its legs; numbers are not reused while a leg lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u32);

/// Answers a leg that lost packets: is anything of these frames still missing, after all other legs?
pub trait Lacks {
    /// Whether a packet of the frames `first_frame..=last_frame` (origin frame numbers, they may wrap) of `encoding` of `track`
    /// may still be missing. False only where every such packet is known to have come, so that a leg asks for retransmissions
    /// of nothing that another leg delivered.
    fn lacks(&self, track: TrackId, encoding: EncodingId, first_frame: u32, last_frame: u32) -> bool;
}

/// Which tracks a leg may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegSources {
    /// All: the relay's leg, because the relay checks every origin against its publisher.
    Any,
    /// Those named by [`OriginMerge::allow`]: a direct leg carries its peer's tracks only.
    Listed,
}

/// How the copies of one track on several legs are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackMode {
    /// One numbering end to end (merge edges): legs are merged.
    Merged,
    /// Every leg has a numbering of its own (switch edges, a browser at either end): copies cannot be matched.
    PerLeg,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeOutcome {
    /// First copy: use it.
    Fresh,
    /// A later copy of a packet that came already.
    Duplicate,
    /// Carries no media; proves that the leg works for this track.
    Probe,
    /// Not accepted.
    Rejected(RejectReason),
}

/// Why a packet was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectReason {
    /// The leg was never added, or was removed.
    UnknownLeg,
    /// The track was never added, or was removed.
    UnknownTrack,
    /// The leg may not carry this track: somebody else's source, or a mistake of the sender.
    ForeignSource,
    /// Older than the window: whether it is a copy cannot be told any more, and nobody waits for it.
    Late,
    /// Further ahead than the source can have come since its last packet. Several consistent ones in a row are believed
    /// (the source began anew), one alone is a violation.
    Jump,
    /// The packet is of the other kind than the track.
    WrongKind,
}

/// Packets of one leg by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegCounts {
    /// First copies.
    pub fresh: u64,
    /// Later copies.
    pub duplicate: u64,
    /// Probes.
    pub probes: u64,
    /// Not accepted, by reason.
    pub rejected: BTreeMap<RejectReason, u64>,
}

/// Packets of one track over all its legs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// First copies.
    pub fresh: u64,
    /// Later copies, dropped.
    pub duplicate: u64,
    /// Older than the window, dropped.
    pub late: u64,
    /// Numbers that jumped, dropped.
    pub jumps: u64,
    /// Times the numbering was believed to have begun anew.
    pub restarts: u64,
}

/// Merges the legs of one room.
#[derive(Debug, Default)]
pub struct OriginMerge {
    legs: BTreeMap<LegId, Leg>,
    modes: BTreeMap<TrackId, TrackMode>,
    sources: BTreeMap<(TrackId, Option<LegId>), SourceMerge>,
}

#[derive(Debug)]
struct Leg {
    sources: LegSources,
    allowed: BTreeSet<TrackId>,
    counts: LegCounts,
}

impl OriginMerge {
    /// Without legs and tracks: everything is rejected.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts packets of a leg from now on; false where [`MAX_LEGS`] are in use. A leg added twice keeps its counts.
    pub fn add_leg(&mut self, leg: LegId, sources: LegSources) -> bool {
        if let Some(known) = self.legs.get_mut(&leg) {
            known.sources = sources;
            return true;
        }
        if self.legs.len() >= MAX_LEGS {
            return false;
        }
        self.legs.insert(leg, Leg { sources, allowed: BTreeSet::new(), counts: LegCounts::default() });
        true
    }

    /// Forgets a leg; its packets are rejected from now on.
    pub fn remove_leg(&mut self, leg: LegId) {
        self.legs.remove(&leg);
        self.sources.retain(|(_, on), _| *on != Some(leg));
    }

    /// Lets a leg carry a track. A leg that is not known yet is added as [`LegSources::Listed`].
    pub fn allow(&mut self, leg: LegId, track: TrackId) {
        if !self.legs.contains_key(&leg) && !self.add_leg(leg, LegSources::Listed) {
            return;
        }
        if let Some(known) = self.legs.get_mut(&leg).filter(|known| known.allowed.len() < MAX_TRACKS) {
            known.allowed.insert(track);
        }
    }

    /// Takes [`OriginMerge::allow`] back.
    pub fn disallow(&mut self, leg: LegId, track: TrackId) {
        if let Some(known) = self.legs.get_mut(&leg) {
            known.allowed.remove(&track);
        }
    }

    /// Accepts packets of a track from now on; false where [`MAX_TRACKS`] are in use. Adding a track again in another mode
    /// forgets what was received of it.
    pub fn add_track(&mut self, track: TrackId, mode: TrackMode) -> bool {
        match self.modes.get(&track) {
            Some(known) if *known == mode => return true,
            Some(_) => self.sources.retain(|(of, _), _| *of != track),
            None if self.modes.len() >= MAX_TRACKS => return false,
            None => {}
        }
        self.modes.insert(track, mode);
        true
    }

    /// Forgets a track and its windows.
    pub fn remove_track(&mut self, track: TrackId) {
        self.modes.remove(&track);
        self.sources.retain(|(of, _), _| *of != track);
        for leg in self.legs.values_mut() {
            leg.allowed.remove(&track);
        }
    }

    /// Takes a packet that came on `leg` at `now`.
    pub fn insert(&mut self, now: Instant, leg: LegId, packet: &MediaPacket) -> MergeOutcome {
        self.insert_noting_restart(now, leg, packet).0
    }

    /// As [`OriginMerge::insert`]; the second value says that this packet began the numbering of its encoding anew, so that
    /// whatever was gathered of it is void.
    pub(crate) fn insert_noting_restart(&mut self, now: Instant, leg: LegId, packet: &MediaPacket) -> (MergeOutcome, bool) {
        let Some(known) = self.legs.get_mut(&leg) else {
            return (MergeOutcome::Rejected(RejectReason::UnknownLeg), false);
        };
        let track = packet.origin.source;
        let (outcome, restarted) = match self.modes.get(&track) {
            None => (MergeOutcome::Rejected(RejectReason::UnknownTrack), false),
            Some(_) if known.sources == LegSources::Listed && !known.allowed.contains(&track) => {
                (MergeOutcome::Rejected(RejectReason::ForeignSource), false)
            }
            Some(_) if packet.origin.flags.probe => (MergeOutcome::Probe, false),
            Some(mode) => {
                let on = (*mode == TrackMode::PerLeg).then_some(leg);
                let source = self.sources.entry((track, on)).or_default();
                let inserted = source.insert(now, packet);
                (inserted.outcome, inserted.restarted)
            }
        };
        known.counts.count(outcome);
        (outcome, restarted)
    }

    /// Counts a packet that a user of the merge refused before it got here.
    pub(crate) fn count_rejected(&mut self, leg: LegId, reason: RejectReason) -> MergeOutcome {
        let outcome = MergeOutcome::Rejected(reason);
        if let Some(known) = self.legs.get_mut(&leg) {
            known.counts.count(outcome);
        }
        outcome
    }

    /// What came on a leg; `None` for an unknown one.
    #[must_use]
    pub fn leg_counts(&self, leg: LegId) -> Option<&LegCounts> {
        self.legs.get(&leg).map(|known| &known.counts)
    }

    /// What came of a track, over all legs.
    #[must_use]
    pub fn source_counts(&self, track: TrackId) -> SourceCounts {
        let mut sum = SourceCounts::default();
        for (_, source) in self.sources.range((track, None)..=(track, Some(LegId(u32::MAX)))) {
            sum.add(source.counts());
        }
        sum
    }
}

impl Lacks for OriginMerge {
    fn lacks(&self, track: TrackId, encoding: EncodingId, first_frame: u32, last_frame: u32) -> bool {
        match self.modes.get(&track) {
            // Nobody wants a track that is not there.
            None => false,
            // No other leg can have brought the packets of this one.
            Some(TrackMode::PerLeg) => true,
            Some(TrackMode::Merged) => match self.sources.get(&(track, None)) {
                Some(source) => source.lacks(encoding, first_frame, last_frame),
                None => true,
            },
        }
    }
}

impl LegCounts {
    fn count(&mut self, outcome: MergeOutcome) {
        match outcome {
            MergeOutcome::Fresh => self.fresh += 1,
            MergeOutcome::Duplicate => self.duplicate += 1,
            MergeOutcome::Probe => self.probes += 1,
            MergeOutcome::Rejected(reason) => *self.rejected.entry(reason).or_default() += 1,
        }
    }
}

impl SourceCounts {
    fn add(&mut self, other: Self) {
        self.fresh += other.fresh;
        self.duplicate += other.duplicate;
        self.late += other.late;
        self.jumps += other.jumps;
        self.restarts += other.restarts;
    }
}

#[cfg(test)]
mod tests;
