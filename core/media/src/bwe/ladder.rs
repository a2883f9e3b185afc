//! Which encodings of a picture a leg carries: as large as its budget bears, and not another one every few seconds.

use std::time::{Duration, Instant};

use segue_model::{DataRate, EncodingId};

/// An encoding is worth sending with this share of what the next smaller one makes at most: below it the smaller one looks better.
const WORTH: f64 = 0.9;

/// The smallest encoding is worth sending with this.
const LEAST: DataRate = DataRate::kbps(30);

/// A budget that is short for so long takes an encoding away: estimates dip, and a probe may find the room that lacks.
const SHORT: Duration = Duration::from_millis(700);

/// Room by this factor, for `PATIENCE`, brings it back. An encoding that did not last makes it twice as long the next time.
const MARGIN: f64 = 1.25;
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_PATIENCE: Duration = Duration::from_secs(32);

/// No picture at all is worse than one that may not last: the first time it comes back after so long.
const RESUME: Duration = Duration::from_millis(400);

/// One that lasted for so long was no mistake.
const LASTED: Duration = Duration::from_secs(20);

/// An encoding and the payload it makes at most.
pub type Rung = (EncodingId, DataRate);

/// The choice of one leg for one picture, by place in its ladder; the place after the last: nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ladder {
    place: usize,
    short_since: Option<Instant>,
    room_since: Option<Instant>,
    raised_at: Option<Instant>,
    patience: Duration,
}

impl Default for Ladder {
    /// The largest: what a leg begins with is not known to be too little.
    fn default() -> Self {
        Self { place: 0, short_since: None, room_since: None, raised_at: None, patience: PATIENCE }
    }
}

impl Ladder {
    /// The place chosen.
    pub(super) const fn place(&self) -> usize {
        self.place
    }

    /// Weighs the budget, payload only. `together`: a larger one goes beside the smaller ones.
    pub(super) fn handle_budget(&mut self, now: Instant, budget: DataRate, rungs: &[Rung], together: bool) {
        self.place = self.place.min(rungs.len());
        let bears = |place: &usize, factor: f64| budget >= need(rungs, *place, together) * factor;
        let lasts =
            |since: &mut Option<Instant>, length: Duration| now.saturating_duration_since(*since.get_or_insert(now)) >= length;
        let before = self.place;
        if self.place < rungs.len() && !bears(&self.place, 1.0) {
            self.room_since = None;
            if lasts(&mut self.short_since, SHORT) {
                self.place = (self.place..rungs.len()).find(|place| bears(place, 1.0)).unwrap_or(rungs.len());
                let flapped = self.raised_at.is_some_and(|at| now.saturating_duration_since(at) < LASTED);
                self.patience = if flapped { (self.patience * 2).min(MAX_PATIENCE) } else { PATIENCE };
            }
        } else {
            self.short_since = None;
            let waits = self.waits(rungs);
            let larger = (0..self.place).find(|place| bears(place, MARGIN));
            match larger {
                None => self.room_since = None,
                Some(larger) if lasts(&mut self.room_since, waits) => {
                    self.place = larger;
                    self.raised_at = Some(now);
                }
                Some(_) => {}
            }
        }
        if self.place != before {
            (self.short_since, self.room_since) = (None, None);
        }
    }

    /// How long there must be room before a larger encoding comes back.
    fn waits(&self, rungs: &[Rung]) -> Duration {
        let nothing = self.place >= rungs.len() && self.patience == PATIENCE;
        if nothing { RESUME } else { self.patience }
    }

    /// Tries the smallest again, where nothing can be known of the path because nothing is sent.
    pub(super) const fn retry(&mut self, rungs: &[Rung]) {
        if self.place >= rungs.len() {
            self.place = rungs.len().saturating_sub(1);
        }
    }
}

/// The least budget with which the encoding at a place is worth sending.
fn need(rungs: &[Rung], place: usize, together: bool) -> DataRate {
    let smaller = rungs.get(place + 1..).unwrap_or_default();
    let worth = smaller.first().map_or(LEAST, |(_, most)| *most * WORTH);
    let beside = smaller.iter().filter(|_| together).fold(DataRate::ZERO, |sum, (_, most)| sum + *most);
    beside + worth
}

/// What each of the encodings that are carried together gets of a budget: the smaller ones what they can use, the largest the rest, and none
/// less than `least` or more than it makes.
pub(super) fn rates(budget: DataRate, carried: &[Rung], least: DataRate) -> Vec<(EncodingId, DataRate)> {
    let mut left = budget;
    let mut rates: Vec<(EncodingId, DataRate)> = Vec::with_capacity(carried.len());
    for (encoding, most) in carried.iter().rev() {
        let rate = left.max(least).min(*most);
        left = left - rate;
        rates.push((*encoding, rate));
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNGS: [Rung; 3] =
        [(EncodingId(0), DataRate::kbps(600)), (EncodingId(1), DataRate::kbps(200)), (EncodingId(2), DataRate::kbps(80))];

    /// Places chosen at the end of stretches of so many milliseconds with so many kbit/s.
    fn places(ladder: &mut Ladder, start: &mut Instant, together: bool, stretches: &[(u64, u64)]) -> Vec<usize> {
        let mut end = |(milliseconds, kbps): &(u64, u64)| {
            for _ in 0..milliseconds / 50 {
                *start += Duration::from_millis(50);
                ladder.handle_budget(*start, DataRate::kbps(*kbps), &RUNGS, together);
            }
            ladder.place()
        };
        stretches.iter().map(&mut end).collect()
    }

    #[test]
    fn the_largest_worth_sending_is_chosen_after_a_while() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let one = [(1_000, 190), (500, 150), (500, 150), (5_000, 200), (3_000, 230), (1_000, 60), (1_000, 20)];
        assert_eq!(places(&mut ladder, &mut now, false, &one), [0, 0, 1, 1, 0, 2, 3]);
        let mut ladder = Ladder::default();
        assert_eq!(
            places(&mut ladder, &mut now, true, &[(1_000, 500), (1_000, 400), (1_000, 140), (3_000, 600)]),
            [0, 1, 2, 0]
        );
    }

    #[test]
    fn a_choice_that_did_not_last_is_not_made_again_so_soon() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let flaps = [(1_000, 100), (2_500, 300), (1_000, 100), (2_500, 300), (2_000, 300)];
        assert_eq!(places(&mut ladder, &mut now, false, &flaps), [1, 0, 1, 1, 0]);
        // After a long time in which it did last all is as in the beginning.
        let later = [(30_000, 300), (1_000, 100), (2_500, 300)];
        assert_eq!(places(&mut ladder, &mut now, false, &later), [0, 1, 0]);
    }

    #[test]
    fn nothing_is_sent_where_not_even_the_smallest_is_worth_it_and_that_is_tried_again() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        assert_eq!(places(&mut ladder, &mut now, false, &[(1_000, 10)]), [3]);
        ladder.retry(&RUNGS);
        assert_eq!(ladder.place(), 2);
    }

    #[test]
    fn the_smaller_ones_are_served_first() {
        let of =
            |kbps| rates(DataRate::kbps(kbps), &RUNGS, DataRate::kbps(60)).iter().map(|(_, rate)| rate.as_kbps()).collect();
        let all: [Vec<u64>; 3] = [of(2_000), of(500), of(100)];
        assert_eq!(all, [vec![80, 200, 600], vec![80, 200, 220], vec![80, 60, 60]]);
    }
}
