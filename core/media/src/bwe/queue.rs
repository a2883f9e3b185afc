//! How long packets wait on their way.

use std::collections::VecDeque;
use std::time::Duration;

/// The least delay of the last so many seconds counts as an empty queue. Long enough that a sender that gives way now and then sees
/// an empty queue in it, short enough that a new route, a drifting clock or a queue that others keep full is soon the new normal.
const BASE_SECONDS: u64 = 20;

/// The queue is the least delay of the packets that came in this time: jitter does not count, a queue does.
const RECENT: Duration = Duration::from_millis(80);

/// Where delays differ much it takes longer until one of them was short: so many times what they differ by, up to a bound.
const RECENT_JITTERS: u32 = 10;
const MAX_RECENT_TIME: Duration = Duration::from_millis(250);

/// Packets sent closer together than this met the same: they say nothing of how much delays differ. A link that holds packets back holds
/// back all of the next ten milliseconds or more.
const GROUP: Duration = Duration::from_millis(20);

/// Packets of that, at least: at low rates it lasts longer.
const RECENT_PACKETS: usize = 3;

/// Weight of a new difference in the jitter (RFC 3550 section 6.4.1).
const JITTER_WEIGHT: f64 = 1.0 / 16.0;

/// Packets looked at, at most.
const MAX_RECENT: usize = 1_000;

/// The one-way delay above the least seen.
#[derive(Clone, Debug, Default)]
pub(super) struct QueueGauge {
    /// Least delay in microseconds, by second.
    seconds: VecDeque<(u64, i64)>,
    recent: VecDeque<(Duration, i64)>,
    /// Of the last packet that was sent some time after the one counted before it: when, and its delay.
    last: Option<(Duration, i64)>,
    /// In microseconds.
    jitter: f64,
}

impl QueueGauge {
    /// Notes a packet that was `sent` (our clock) and came at `received` (theirs) after `delay` microseconds (difference of the two).
    pub(super) fn handle_packet(&mut self, sent: Duration, received: Duration, delay: i64) {
        if self.last.is_none_or(|(before, _)| sent >= before + GROUP) {
            let differs = self.last.replace((sent, delay)).map_or(0.0, |(_, last)| (delay - last).unsigned_abs() as f64);
            self.jitter += (differs - self.jitter) * JITTER_WEIGHT;
        }
        let second = received.as_secs();
        match self.seconds.back_mut() {
            Some((last, least)) if *last >= second => *least = delay.min(*least),
            _ => self.seconds.push_back((second, delay)),
        }
        while self.seconds.front().is_some_and(|(first, _)| first + BASE_SECONDS < second) {
            self.seconds.pop_front();
        }
        self.recent.push_back((received, delay));
        let recent = RECENT.max((self.jitter() * RECENT_JITTERS).min(MAX_RECENT_TIME));
        while self.recent.len() > RECENT_PACKETS
            && (self.recent.len() > MAX_RECENT || self.recent.front().is_some_and(|(at, _)| *at + recent < received))
        {
            self.recent.pop_front();
        }
    }

    /// By how much the delay of a group of packets differs from that of the one before, on average.
    pub(super) fn jitter(&self) -> Duration {
        Duration::from_micros(self.jitter as u64)
    }

    /// The wait of the latest packets.
    pub(super) fn queue(&self) -> Duration {
        let base = self.seconds.iter().map(|(_, least)| *least).min();
        let recent = self.recent.iter().map(|(_, delay)| *delay).min();
        let wait = recent.zip(base).map_or(0, |(recent, base)| recent.saturating_sub(base));
        Duration::from_micros(wait.max(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(gauge: &mut QueueGauge, from: u64, to: u64, delay: impl Fn(u64) -> i64) {
        (from..to).step_by(10).for_each(|ms| {
            let at = Duration::from_millis(ms);
            gauge.handle_packet(at, at, delay(ms));
        });
    }

    #[test]
    fn packets_sent_together_do_not_hide_how_much_delays_differ() {
        let mut gauge = QueueGauge::default();
        for group in 0..200u64 {
            let (sent, delay) = (Duration::from_millis(group * 33), (group * 37 % 60) as i64 * 1_000);
            for packet in 0..6 {
                let sent = sent + Duration::from_micros(packet * 200);
                gauge.handle_packet(sent, sent + Duration::from_micros(delay as u64), delay);
            }
        }
        assert!(gauge.jitter() > Duration::from_millis(12), "{:?}", gauge.jitter());
        assert!(gauge.queue() < Duration::from_millis(20), "{:?}", gauge.queue());
    }

    #[test]
    fn jitter_is_no_queue_and_a_queue_is() {
        let mut gauge = QueueGauge::default();
        run(&mut gauge, 0, 5_000, |ms| -7_000_000 + (ms as i64 * 7_919) % 30_000);
        assert!(gauge.queue() < Duration::from_millis(10), "{:?}", gauge.queue());
        run(&mut gauge, 5_000, 5_200, |ms| -6_900_000 + (ms as i64 * 7_919) % 30_000);
        assert!(gauge.queue() > Duration::from_millis(90), "{:?}", gauge.queue());
    }

    #[test]
    fn a_new_route_is_soon_the_new_normal() {
        let mut gauge = QueueGauge::default();
        run(&mut gauge, 0, 5_000, |_| 0);
        run(&mut gauge, 5_000, 27_000, |_| 50_000);
        assert_eq!(gauge.queue(), Duration::ZERO);
    }
}
