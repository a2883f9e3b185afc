//! Picture ids, base layer indices and frame numbers of one outgoing stream: they go on when its source changes, and picture ids have no
//! hole where pictures were left out by choice, because decoders wait for what such a hole might have been.

use super::PictureId;

/// Pictures left out that are remembered: of 30 a second more than half are never left out, and what is later than a second is lost.
const SKIPPED: usize = 32;

/// Where new numbers begin in [`Pictures`], so that numbers before them exist.
const START: u64 = 1 << 32;

/// The numbers a packet leaves with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MappedPicture {
    /// Picture id, 15 bits.
    pub picture: u16,
    /// Base layer index.
    pub base: u8,
}

/// The present source.
#[derive(Clone, Copy, Debug)]
struct Source {
    /// Highest picture id seen, extended.
    highest: u64,
    /// Subtracted from extended ids, less what was skipped.
    offset: u64,
    /// Subtracted from base layer indices.
    base: u8,
    /// Nothing at or before this can be mapped any more.
    floor: u64,
}

/// Numbers the pictures of one outgoing stream.
#[derive(Clone, Copy, Debug)]
pub struct Pictures {
    /// Highest given, extended.
    last: u64,
    last_base: u8,
    source: Option<Source>,
    /// Ids left out since [`Source::floor`], ascending, in the first `skips` places.
    skipped: [u64; SKIPPED],
    skips: usize,
}

impl Pictures {
    /// The first picture gets the id behind `seed`.
    #[must_use]
    pub const fn new(seed: u16) -> Self {
        Self { last: START + seed as u64, last_base: seed as u8, source: None, skipped: [0; SKIPPED], skips: 0 }
    }

    /// Another source begins with the next picture.
    pub const fn switch(&mut self) {
        self.source = None;
        self.skips = 0;
    }

    /// The numbers for a packet that goes on. `None`: its picture was left out, or is too late to be given any.
    pub fn map(&mut self, picture: PictureId, base: Option<u8>) -> Option<MappedPicture> {
        let base_in = base.unwrap_or_default();
        let Some(source) = &mut self.source else {
            let id = START + u64::from(picture.value);
            let next = self.last + 1;
            let base = base_in.wrapping_sub(self.last_base.wrapping_add(1));
            // Numbers below stand for pictures before the switch.
            self.source = Some(Source { highest: id, offset: id.wrapping_sub(next), base, floor: id - 1 });
            return Some(self.give(next, base_in.wrapping_sub(base)));
        };
        let id = extend(source.highest, picture);
        source.highest = source.highest.max(id);
        let before = self.skipped.get(..self.skips)?.partition_point(|&skipped| skipped < id);
        if id <= source.floor || self.skipped.get(..self.skips)?.get(before) == Some(&id) {
            return None;
        }
        let given = id.wrapping_sub(source.offset) - before as u64;
        let base = base_in.wrapping_sub(source.base);
        Some(self.give(given, base))
    }

    /// A packet's picture is left out.
    pub fn skip(&mut self, picture: PictureId) {
        let Some(source) = &mut self.source else { return };
        let id = extend(source.highest, picture);
        // Later ones left already as if it existed: its number stays unused.
        if id <= source.highest {
            return;
        }
        source.highest = id;
        if self.skips == SKIPPED {
            if let Some(&oldest) = self.skipped.first() {
                source.floor = oldest;
            }
            source.offset = source.offset.wrapping_add(1);
            self.skipped.rotate_left(1);
            self.skips -= 1;
        }
        if let Some(place) = self.skipped.get_mut(self.skips) {
            *place = id;
            self.skips += 1;
        }
    }

    fn give(&mut self, id: u64, base: u8) -> MappedPicture {
        if id > self.last {
            self.last = id;
            self.last_base = base;
        }
        MappedPicture { picture: (id & 0x7fff) as u16, base }
    }
}

/// The extended id nearest to `highest`.
fn extend(highest: u64, picture: PictureId) -> u64 {
    let span = 1u64 << picture.bits();
    let ahead = u64::from(picture.value).wrapping_sub(highest) & (span - 1);
    if ahead < span / 2 { highest + ahead } else { (highest + ahead).saturating_sub(span) }
}

/// Frame numbers of dependency descriptors. Frames left out may leave holes: frames name what they refer to by distance, which a change of
/// the offset does not touch.
#[derive(Clone, Copy, Debug)]
pub struct FrameNumbers {
    last: u16,
    offset: Option<u16>,
}

impl FrameNumbers {
    /// The first frame gets the number behind `seed`.
    #[must_use]
    pub const fn new(seed: u16) -> Self {
        Self { last: seed, offset: None }
    }

    /// Another source begins with the next frame.
    pub const fn switch(&mut self) {
        self.offset = None;
    }

    /// The number for a frame of the source.
    pub fn map(&mut self, frame: u16) -> u16 {
        let next = self.last.wrapping_add(1);
        let offset = *self.offset.get_or_insert(frame.wrapping_sub(next));
        let mapped = frame.wrapping_sub(offset);
        if mapped.wrapping_sub(self.last) < 1 << 15 {
            self.last = mapped;
        }
        mapped
    }
}
