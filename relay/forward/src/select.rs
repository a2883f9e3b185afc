//! Which packets of a track one subscriber gets: one encoding at a time, and of it the temporal layers it bears.

use std::time::{Duration, Instant};

use segue_model::{EncodingId, MAX_ENCODINGS, Quality};

/// What a packet is to its frame and its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) encoding: EncodingId,
    pub(crate) temporal: u8,
    /// First packet of a keyframe: decoding may begin here.
    pub(crate) keyframe_start: bool,
    /// Number of its frame, where the packet says so.
    pub(crate) frame: Option<u32>,
    /// Nothing larger comes from here on.
    pub(crate) largest: bool,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Forward,
    /// It goes on and is the first of another encoding.
    Switch {
        /// The encoding before; `None` at the very start.
        from: Option<EncodingId>,
        /// Something may be missing before it.
        wants_keyframe: bool,
    },
    /// Of the chosen encoding, but left out.
    Filter,
    /// Of another encoding. `wants_keyframe`: of the one this subscriber waits for.
    Ignore {
        /// Only a keyframe lets the subscriber have this encoding.
        wants_keyframe: bool,
    },
}

/// Encodings of a track at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Active {
    /// Which arrive, by number.
    pub(crate) arriving: [bool; MAX_ENCODINGS],
    /// The one direct edges share.
    pub(crate) direct: EncodingId,
    /// What everybody does without at present.
    pub(crate) shed: Shed,
    /// When all this is so.
    pub(crate) now: Instant,
}

/// What a room leaves out while its shard has more to do than it can: pictures first, voices never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shed {
    /// Nothing.
    #[default]
    Nothing,
    /// Temporal layers above the base.
    TemporalLayers,
    /// Encodings other than the smallest that arrives, too.
    LargeEncodings,
    /// All pictures.
    Video,
}

impl Active {
    fn nearest(&self, wanted: usize) -> Option<EncodingId> {
        let arrives = |&index: &usize| self.arriving.get(index).copied().unwrap_or(false);
        let smaller = (wanted..MAX_ENCODINGS).find(arrives);
        let larger = || (0..wanted.min(MAX_ENCODINGS)).rev().find(arrives);
        smaller.or_else(larger).map(|index| EncodingId(index as u8))
    }
}

/// The encoding a quality means where there are `count`.
pub(crate) fn encoding_for(quality: Quality, count: usize) -> EncodingId {
    let last = count.clamp(1, MAX_ENCODINGS) - 1;
    EncodingId(match quality {
        Quality::High => 0,
        Quality::Medium => last.min(1),
        Quality::Off | Quality::Low => last,
    } as u8)
}

/// A pinned subscriber gets nothing but the encoding of its direct path for so long, in which a frame of it comes by the relay too, however
/// seldom there is one (three turns of 250 ms, and then without a pause); a smaller one may flow already, for newcomers. After that its
/// publisher has no room for that encoding, and the nearest is taken.
const PIN_PATIENCE: Duration = Duration::from_millis(1_200);

/// The choice for one (subscriber, video track).
#[derive(Debug)]
pub(crate) struct Selector {
    quality: Quality,
    max_temporal: u8,
    /// A change of path is in hand: the subscriber decodes already, nothing changes under it.
    pinned: bool,
    /// First packet after that.
    pinned_since: Option<Instant>,
    /// What it gets by its direct path, where its publisher said so.
    direct: Option<EncodingId>,
    current: Option<EncodingId>,
    /// Highest temporal layer that goes on at present, changed between frames only.
    temporal: u8,
    frame: Option<u32>,
}

impl Selector {
    pub(crate) const fn new(quality: Quality) -> Self {
        Self {
            quality,
            max_temporal: u8::MAX,
            pinned: false,
            pinned_since: None,
            direct: None,
            current: None,
            temporal: u8::MAX,
            frame: None,
        }
    }

    pub(crate) const fn set_quality(&mut self, quality: Quality) {
        self.quality = quality;
    }

    pub(crate) const fn set_max_temporal(&mut self, temporal: u8) {
        self.max_temporal = temporal;
    }

    pub(crate) const fn set_pinned(&mut self, pinned: bool) {
        if self.pinned != pinned {
            self.pinned_since = None;
        }
        self.pinned = pinned;
        self.direct = None;
    }

    pub(crate) const fn set_direct(&mut self, encoding: EncodingId) {
        self.direct = Some(encoding);
    }

    pub(crate) const fn current(&self) -> Option<EncodingId> {
        self.current
    }

    /// The stream stopped: it begins again at a keyframe.
    pub(crate) const fn reset(&mut self) {
        self.current = None;
        self.frame = None;
        if !self.pinned {
            self.direct = None;
        }
    }

    /// Whether a subscriber that has just left its direct path, before anything went on here, decodes this encoding.
    fn decodes(&self, encoding: EncodingId) -> bool {
        !self.pinned && self.current.is_none() && self.direct == Some(encoding)
    }

    /// The encoding this subscriber should have: the wanted one, or the nearest smaller that arrives, or the nearest at all. While
    /// it is pinned that is the one it decodes by its direct path, and after that until it has one.
    pub(crate) fn target(&self, active: &Active) -> EncodingId {
        let quality = if active.shed >= Shed::LargeEncodings { Quality::Low } else { self.quality };
        let direct = self.direct.unwrap_or(active.direct);
        if self.pinned && self.pinned_since.is_none_or(|since| active.now < since + PIN_PATIENCE) {
            return direct;
        }
        let wanted = if self.pinned || self.decodes(direct) { direct } else { encoding_for(quality, MAX_ENCODINGS) };
        active.nearest(usize::from(wanted.0)).or(self.current).unwrap_or(EncodingId(0))
    }

    pub(crate) fn select(&mut self, facts: Facts, active: &Active) -> Verdict {
        if self.current == Some(facts.encoding) {
            return self.filter(facts, active.shed);
        }
        if self.pinned {
            self.pinned_since.get_or_insert(active.now);
        }
        let target = self.target(active);
        if facts.encoding != target || (self.pinned && self.current.is_some()) {
            return Verdict::Ignore { wants_keyframe: false };
        }
        // A pinned subscriber without a choice decodes the track by its other path: what arrives goes on at once. So it does to whom has just
        // left that path; but what came before the publisher's word on that may be missing.
        let follows = self.decodes(facts.encoding);
        if !facts.keyframe_start && !self.pinned && !follows {
            return Verdict::Ignore { wants_keyframe: true };
        }
        let from = self.current.replace(facts.encoding);
        if !self.pinned {
            self.direct = None;
        }
        self.frame = facts.frame;
        self.temporal = self.bearable(active.shed).max(facts.temporal);
        Verdict::Switch { from, wants_keyframe: follows && !facts.keyframe_start }
    }

    /// The highest temporal layer that may go on.
    const fn bearable(&self, shed: Shed) -> u8 {
        if matches!(shed, Shed::Nothing) { self.max_temporal } else { 0 }
    }

    fn filter(&mut self, facts: Facts, shed: Shed) -> Verdict {
        let bearable = self.bearable(shed);
        let new_frame = facts.frame.is_none() || facts.frame != self.frame;
        if new_frame && facts.frame.is_none_or(|frame| self.frame.is_none_or(|last| frame.wrapping_sub(last) < 1 << 31)) {
            self.frame = facts.frame;
            // Down at any frame; up at a frame of the base layer, which the layers above it refer to.
            if bearable < self.temporal || facts.temporal == 0 {
                self.temporal = bearable;
            }
        }
        if facts.temporal <= self.temporal { Verdict::Forward } else { Verdict::Filter }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Active {
        Active { arriving: [true; MAX_ENCODINGS], direct: EncodingId(0), shed: Shed::Nothing, now: Instant::now() }
    }

    fn facts(encoding: u8, temporal: u8, keyframe_start: bool, frame: u32) -> Facts {
        Facts { encoding: EncodingId(encoding), temporal, keyframe_start, frame: Some(frame), largest: false }
    }

    #[test]
    fn begins_and_switches_at_keyframes_only() {
        let mut selector = Selector::new(Quality::High);
        assert_eq!(selector.select(facts(0, 0, false, 1), &all()), Verdict::Ignore { wants_keyframe: true });
        assert_eq!(selector.select(facts(1, 0, true, 1), &all()), Verdict::Ignore { wants_keyframe: false });
        assert_eq!(selector.select(facts(0, 0, true, 2), &all()), Verdict::Switch { from: None, wants_keyframe: false });
        selector.set_quality(Quality::Medium);
        assert_eq!(selector.select(facts(0, 0, false, 3), &all()), Verdict::Forward);
        assert_eq!(selector.select(facts(1, 0, false, 3), &all()), Verdict::Ignore { wants_keyframe: true });
        assert_eq!(
            selector.select(facts(1, 0, true, 4), &all()),
            Verdict::Switch { from: Some(EncodingId(0)), wants_keyframe: false }
        );
        assert_eq!(selector.select(facts(0, 0, true, 5), &all()), Verdict::Ignore { wants_keyframe: false });
    }

    #[test]
    fn pinned_begins_at_once_and_never_switches() {
        let mut selector = Selector::new(Quality::High);
        selector.set_pinned(true);
        assert_eq!(selector.select(facts(0, 1, false, 1), &all()), Verdict::Switch { from: None, wants_keyframe: false });
        selector.set_quality(Quality::Low);
        assert_eq!(selector.select(facts(2, 0, true, 2), &all()), Verdict::Ignore { wants_keyframe: false });
        selector.set_pinned(false);
        assert_eq!(
            selector.select(facts(2, 0, true, 3), &all()),
            Verdict::Switch { from: Some(EncodingId(0)), wants_keyframe: false }
        );
    }

    #[test]
    fn takes_the_nearest_encoding_that_arrives() {
        let mut selector = Selector::new(Quality::High);
        let arriving = |arriving| Active { arriving, ..all() };
        assert_eq!(selector.target(&arriving([false, true, true])), EncodingId(1));
        selector.set_quality(Quality::Low);
        assert_eq!(selector.target(&arriving([true, false, false])), EncodingId(0));
        assert_eq!(selector.target(&arriving([true, true, false])), EncodingId(1));
        selector.set_pinned(true);
        assert_eq!(selector.target(&Active { direct: EncodingId(1), ..all() }), EncodingId(1));
    }

    #[test]
    fn a_pinned_subscriber_is_held_to_what_its_publisher_says_it_decodes() {
        let mut selector = Selector::new(Quality::High);
        selector.set_pinned(true);
        selector.set_direct(EncodingId(1));
        assert_eq!(selector.target(&all()), EncodingId(1));
        assert_eq!(selector.select(facts(0, 0, false, 1), &all()), Verdict::Ignore { wants_keyframe: false });
        assert_eq!(selector.select(facts(1, 0, false, 1), &all()), Verdict::Switch { from: None, wants_keyframe: false });
        selector.set_pinned(false);
        assert_eq!(selector.target(&all()), EncodingId(0));
        selector.set_pinned(true);
        assert_eq!(selector.target(&all()), EncodingId(0));
    }

    #[test]
    fn whoever_left_its_direct_path_before_anything_went_on_goes_on_with_what_it_decodes() {
        let mut selector = Selector::new(Quality::High);
        selector.set_pinned(true);
        selector.set_direct(EncodingId(1));
        selector.set_pinned(false);
        // Not said anew: the path may have died long ago.
        assert_eq!(selector.select(facts(1, 0, false, 1), &all()), Verdict::Ignore { wants_keyframe: false });
        assert_eq!(selector.select(facts(0, 0, false, 1), &all()), Verdict::Ignore { wants_keyframe: true });
        selector.set_direct(EncodingId(1));
        assert_eq!(selector.select(facts(0, 0, false, 1), &all()), Verdict::Ignore { wants_keyframe: false });
        assert_eq!(selector.select(facts(1, 0, false, 1), &all()), Verdict::Switch { from: None, wants_keyframe: true });
        assert_eq!(selector.select(facts(0, 0, false, 2), &all()), Verdict::Ignore { wants_keyframe: true });
        // Where that encoding does not come, there is another.
        selector.reset();
        selector.set_direct(EncodingId(1));
        let others = Active { arriving: [true, false, false], ..all() };
        assert_eq!(selector.select(facts(0, 0, true, 3), &others), Verdict::Switch { from: None, wants_keyframe: false });
    }

    #[test]
    fn a_pinned_subscriber_waits_a_moment_for_the_encoding_it_decodes() {
        let mut selector = Selector::new(Quality::High);
        selector.set_pinned(true);
        let begun = Active { arriving: [false, false, true], ..all() };
        assert_eq!(selector.select(facts(2, 0, true, 1), &begun), Verdict::Ignore { wants_keyframe: false });
        let late = Active { now: begun.now + PIN_PATIENCE, ..begun };
        assert_eq!(selector.select(facts(2, 0, false, 2), &late), Verdict::Switch { from: None, wants_keyframe: false });
    }

    #[test]
    fn a_busy_shard_leaves_out_temporal_layers_first_and_large_encodings_next() {
        let mut selector = Selector::new(Quality::High);
        let shed = |shed| Active { shed, ..all() };
        selector.select(facts(0, 0, true, 1), &all());
        assert_eq!(selector.select(facts(0, 1, false, 2), &shed(Shed::TemporalLayers)), Verdict::Filter);
        assert_eq!(selector.select(facts(0, 0, false, 3), &shed(Shed::TemporalLayers)), Verdict::Forward);
        assert_eq!(selector.target(&shed(Shed::TemporalLayers)), EncodingId(0));
        assert_eq!(selector.target(&shed(Shed::LargeEncodings)), EncodingId(2));
        assert_eq!(selector.select(facts(0, 0, false, 4), &all()), Verdict::Forward);
        assert_eq!(selector.select(facts(0, 1, false, 5), &all()), Verdict::Forward);
    }

    #[test]
    fn temporal_layers_change_between_frames() {
        let mut selector = Selector::new(Quality::High);
        selector.select(facts(0, 0, true, 1), &all());
        assert_eq!(selector.select(facts(0, 1, false, 2), &all()), Verdict::Forward);
        selector.set_max_temporal(0);
        assert_eq!(selector.select(facts(0, 1, false, 2), &all()), Verdict::Forward);
        assert_eq!(selector.select(facts(0, 0, false, 3), &all()), Verdict::Forward);
        assert_eq!(selector.select(facts(0, 1, false, 4), &all()), Verdict::Filter);
        selector.set_max_temporal(3);
        assert_eq!(selector.select(facts(0, 1, false, 4), &all()), Verdict::Filter);
        assert_eq!(selector.select(facts(0, 1, false, 6), &all()), Verdict::Filter);
        assert_eq!(selector.select(facts(0, 0, false, 7), &all()), Verdict::Forward);
        assert_eq!(selector.select(facts(0, 1, false, 8), &all()), Verdict::Forward);
    }
}
