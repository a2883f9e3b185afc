//! What the heartbeats of a leg tell of its path.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{HEARTBEAT_INTERVAL, MAX_RAISE, MIN_RAISE};

/// Round trips remembered: the least of three seconds is the path's own, the others waited in queues.
const ROUND_TRIPS: usize = 16;

/// Heartbeats counted for loss: ten seconds.
const BEATS: usize = 50;

/// Fewer say nothing of loss.
const MIN_BEATS: usize = 25;

/// Round trip and loss of one leg.
#[derive(Clone, Debug, Default)]
pub struct Quality {
    round_trips: VecDeque<Duration>,
    beats: VecDeque<Instant>,
}

impl Quality {
    /// A heartbeat came, perhaps with a round trip.
    pub fn handle_heartbeat(&mut self, now: Instant, round_trip: Option<Duration>) {
        if self.beats.len() >= BEATS {
            self.beats.pop_front();
        }
        self.beats.push_back(now);
        if let Some(round_trip) = round_trip {
            if self.round_trips.len() >= ROUND_TRIPS {
                self.round_trips.pop_front();
            }
            self.round_trips.push_back(round_trip);
        }
    }

    /// Begins anew: the path may be another one.
    pub fn reset(&mut self) {
        self.round_trips.clear();
        self.beats.clear();
    }

    /// The least round trip of late.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trips.iter().min().copied()
    }

    /// Share of the heartbeats that did not come, in thousandths; 0 where too few are known.
    #[must_use]
    pub fn loss_permille(&self) -> u32 {
        let (Some(first), Some(last)) = (self.beats.front(), self.beats.back()) else { return 0 };
        if self.beats.len() < MIN_BEATS {
            return 0;
        }
        let interval = HEARTBEAT_INTERVAL.as_millis();
        let sent = (last.saturating_duration_since(*first).as_millis() + interval / 2) / interval + 1;
        let lost = sent.saturating_sub(self.beats.len() as u128);
        u32::try_from(lost * 1_000 / sent).unwrap_or(0)
    }
}

/// By how much playout is to be raised before an edge moves between paths with these one-way delays.
#[must_use]
pub fn raise_between(from: Duration, to: Duration) -> Duration {
    let later = to.saturating_sub(from).min(MAX_RAISE);
    if later < MIN_RAISE { Duration::ZERO } else { later }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_round_trip_counts_and_missing_heartbeats_are_loss() {
        let mut quality = Quality::default();
        let base = Instant::now();
        for beat in 0..40u32 {
            if beat % 4 != 3 {
                let waited = Duration::from_millis(u64::from(beat % 5) * 10);
                quality.handle_heartbeat(base + HEARTBEAT_INTERVAL * beat, Some(Duration::from_millis(50) + waited));
            }
        }
        assert_eq!(quality.round_trip(), Some(Duration::from_millis(50)));
        assert!((200..=260).contains(&quality.loss_permille()), "{}", quality.loss_permille());
    }

    #[test]
    fn playout_is_raised_for_a_slower_path_only_and_within_bounds() {
        let ms = Duration::from_millis;
        assert_eq!(raise_between(ms(25), ms(175)), ms(150));
        assert_eq!(raise_between(ms(75), ms(25)), Duration::ZERO);
        assert_eq!(raise_between(ms(25), ms(30)), Duration::ZERO);
        assert_eq!(raise_between(ms(25), ms(2_000)), MAX_RAISE);
    }
}
