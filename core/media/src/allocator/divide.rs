//! Dividing a rate among streams by their class: no memory, no time.

use segue_model::DataRate;

use super::{AllocatorRung, Class};

/// A stream that wants a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share<'a> {
    pub(super) class: Class,
    pub(super) rungs: &'a [AllocatorRung],
}

/// Which rungs may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Every rung, and tiles one by one: what is given already may stay as long as it fits.
    Every,
    /// Rungs with their whole frame rate, and tiles together: what rises.
    Whole,
}

/// The rung of each stream, in their order; `None`: nothing.
pub(super) fn divide(total: DataRate, shares: &[Share<'_>], fill: Fill) -> Vec<Option<usize>> {
    let mut division = Division { left: total, given: vec![None; shares.len()], shares, fill };
    division.voices();
    for class in [Class::Screen, Class::Speaker] {
        division.raise(class, Level::Least);
    }
    division.raise(Class::Screen, Level::Most);
    division.raise(Class::Speaker, Level::Middle);
    division.raise(Class::Tile, Level::Least);
    division.raise(Class::Speaker, Level::Most);
    division.tiles();
    division.given
}

/// How far a class rises at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// The smallest rung.
    Least,
    /// The smallest encoding but one.
    Middle,
    /// All that is wished.
    Most,
}

struct Division<'a> {
    left: DataRate,
    given: Vec<Option<usize>>,
    shares: &'a [Share<'a>],
    fill: Fill,
}

impl Division<'_> {
    /// Voices get what they take, whether it is there or not.
    fn voices(&mut self) {
        for (given, share) in self.given.iter_mut().zip(self.shares).filter(|(_, share)| share.class == Class::Audio) {
            *given = share.rungs.len().checked_sub(1);
            self.left = self.left - share.rungs.last().map_or(DataRate::ZERO, |rung| rung.rate);
        }
    }

    /// Raises the streams of a class, by rank, as far as the level and what is left allow.
    fn raise(&mut self, class: Class, level: Level) {
        for (given, share) in self.given.iter_mut().zip(self.shares).filter(|(_, share)| share.class == class) {
            let Some(bound) = bound(share.rungs, level, self.fill) else { continue };
            raise(&mut self.left, given, share.rungs, bound, self.fill);
        }
    }

    /// Raises tiles encoding by encoding. Together: all of them or none.
    fn tiles(&mut self) {
        loop {
            let before = (self.left, self.given.clone());
            let (mut rose, mut stuck) = (false, false);
            for (given, share) in self.given.iter_mut().zip(self.shares).filter(|(_, share)| share.class == Class::Tile) {
                let Some(next) = next_encoding(share.rungs, *given, self.fill) else { continue };
                let reached = raise(&mut self.left, given, share.rungs, next, self.fill);
                rose |= reached;
                stuck |= !reached;
            }
            if stuck && self.fill == Fill::Whole {
                (self.left, self.given) = before;
                return;
            }
            if !rose || stuck {
                return;
            }
        }
    }
}

/// The highest rung a stream may have at a level.
fn bound(rungs: &[AllocatorRung], level: Level, fill: Fill) -> Option<usize> {
    let fits = |rung: &AllocatorRung| fill == Fill::Every || rung.whole;
    match level {
        Level::Least => rungs.iter().position(fits),
        Level::Most => rungs.iter().rposition(fits),
        Level::Middle => {
            let least = rungs.first()?.encoding;
            let middle = rungs.iter().find(|rung| rung.encoding != least).map_or(least, |rung| rung.encoding);
            rungs.iter().rposition(|rung| fits(rung) && (rung.encoding == middle || rung.encoding == least))
        }
    }
}

/// The highest rung of the encoding above the present one.
fn next_encoding(rungs: &[AllocatorRung], given: Option<usize>, fill: Fill) -> Option<usize> {
    let present = given.and_then(|given| rungs.get(given)).map(|rung| rung.encoding);
    let fits = |rung: &AllocatorRung| fill == Fill::Every || rung.whole;
    let from = given.map_or(0, |given| given + 1);
    let above = rungs.iter().enumerate().skip(from).filter(|(_, rung)| fits(rung));
    let next = above.clone().find(|(_, rung)| Some(rung.encoding) != present).map(|(_, rung)| rung.encoding);
    // Where there is no other encoding there may be more of this one.
    let wanted = next.or(present)?;
    above.filter(|(_, rung)| rung.encoding == wanted).map(|(index, _)| index).next_back()
}

/// Raises one stream to the highest rung that fits, up to `bound`; whether that was reached.
fn raise(left: &mut DataRate, given: &mut Option<usize>, rungs: &[AllocatorRung], bound: usize, fill: Fill) -> bool {
    let paid = given.and_then(|given| rungs.get(given)).map_or(DataRate::ZERO, |rung| rung.rate);
    let room = *left + paid;
    let mut candidates = rungs.iter().enumerate().take(bound + 1).skip(given.map_or(0, |given| given + 1));
    let fits = |(_, rung): &(usize, &AllocatorRung)| rung.rate <= room && (fill == Fill::Every || rung.whole);
    if let Some((index, rung)) = candidates.rfind(fits) {
        *left = room - rung.rate;
        *given = Some(index);
    }
    given.is_some_and(|given| given >= bound)
}
