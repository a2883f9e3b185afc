//! One source: a window for each layer of it.

use std::collections::BTreeMap;
use std::time::Instant;

use segue_model::{EncodingId, LayerId, TemporalId};

use super::window::{LayerWindow, WindowOutcome};
use super::{MergeOutcome, RejectReason, SourceCounts};
use crate::packet::MediaPacket;

/// A layer that has brought nothing for so many frames of its encoding is dropped by somebody's choice, and what is missing of
/// it is not missed. Longer than any temporal structure (at most 8 frames), shorter than half a second.
const ACTIVE_FRAMES: u32 = 16;

/// Frames a question may span. A leg that lost more needs a keyframe, not an answer.
const MAX_FRAMES_ASKED: u32 = 128;

/// The windows of one source, on all its legs or on one.
#[derive(Debug, Default)]
pub(super) struct SourceMerge {
    /// At most one for each pair that an origin can name: 12.
    layers: BTreeMap<LayerId, LayerWindow>,
    counts: SourceCounts,
}

/// What became of a packet, and whether it began its encoding's numbering anew.
pub(super) struct Inserted {
    pub(super) outcome: MergeOutcome,
    pub(super) restarted: bool,
}

impl SourceMerge {
    pub(super) fn insert(&mut self, now: Instant, packet: &MediaPacket) -> Inserted {
        let origin = &packet.origin;
        let window = self.layers.entry(origin.layer).or_insert_with(|| LayerWindow::new(packet.kind));
        let (outcome, restarted) = match window.insert(now, origin) {
            WindowOutcome::Fresh => (MergeOutcome::Fresh, false),
            WindowOutcome::Restarted => (MergeOutcome::Fresh, true),
            WindowOutcome::Duplicate => (MergeOutcome::Duplicate, false),
            WindowOutcome::Late => (MergeOutcome::Rejected(RejectReason::Late), false),
            WindowOutcome::Jump => (MergeOutcome::Rejected(RejectReason::Jump), false),
        };
        match outcome {
            MergeOutcome::Fresh => self.counts.fresh += 1,
            MergeOutcome::Duplicate => self.counts.duplicate += 1,
            MergeOutcome::Rejected(RejectReason::Late) => self.counts.late += 1,
            _ => self.counts.jumps += 1,
        }
        if restarted {
            self.counts.restarts += 1;
            // The other layers of this encoding restart with it and need not prove it again.
            self.layers.retain(|layer, _| *layer == origin.layer || layer.encoding != origin.layer.encoding);
        }
        Inserted { outcome, restarted }
    }

    pub(super) fn counts(&self) -> SourceCounts {
        self.counts
    }

    pub(super) fn lacks(&self, encoding: EncodingId, first: u32, last: u32) -> bool {
        let span = last.wrapping_sub(first);
        if span >= MAX_FRAMES_ASKED {
            return true;
        }
        let lowest = LayerId { encoding, temporal: TemporalId(0) };
        let highest = LayerId { encoding, temporal: TemporalId(u8::MAX) };
        let newest = self.layers.range(lowest..=highest).map(|(_, window)| window.newest_frame()).reduce(later);
        let Some(newest) = newest else { return true };
        // What a layer lacks is not missed where nothing of it came for long.
        let active = || {
            let windows = self.layers.range(lowest..=highest).map(|(_, window)| window);
            windows.filter(|window| newest.wrapping_sub(window.newest_frame()) <= ACTIVE_FRAMES)
        };
        let mut seen = [false; MAX_FRAMES_ASKED as usize];
        active().for_each(|window| window.mark_seen(first, &mut seen));
        if active().any(|window| window.lacks(first, span, &seen)) {
            return true;
        }
        // Where all active layers have gone past a frame, holes in their numbers have told; of later ones nothing is known.
        let passed = active().map(|window| frames_passed(first, window.newest_frame())).min().unwrap_or(0);
        seen.iter().take(span as usize + 1).skip(passed as usize).any(|seen| !seen)
    }
}

/// How many frames from `first` on lie at or before `newest`.
fn frames_passed(first: u32, newest: u32) -> u32 {
    let passed = newest.wrapping_sub(first);
    if passed > u32::MAX / 2 { 0 } else { passed + 1 }
}

/// The later of two frame numbers that may have wrapped.
fn later(a: u32, b: u32) -> u32 {
    if b.wrapping_sub(a) <= u32::MAX / 2 { b } else { a }
}
