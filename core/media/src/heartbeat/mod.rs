//! Proves every 200 ms that a leg works, in both directions, whether or not media flows.

use std::time::{Duration, Instant};

use segue_model::Ssrc;

use crate::packet::rtcp::{Heartbeat, HeartbeatEcho};

/// Distance of heartbeats.
pub const INTERVAL: Duration = Duration::from_millis(200);

/// Missed heartbeats after which a path is suspect.
pub const MISSED: u32 = 3;

/// Time on top, so that ordinary jitter suspects nobody.
const GRACE: Duration = Duration::from_millis(50);

/// Round trips beyond this are not believed: an echo with a wrong time.
const MAX_RTT: Duration = Duration::from_secs(10);

/// What a leg's heartbeats say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatEvent {
    /// One came; the round trip where it answers one of ours.
    Heard {
        /// Round trip without the time the other side held it.
        rtt: Option<Duration>,
    },
    /// [`MISSED`] in a row did not come. Said once; the next one to come is `Heard`.
    Lost,
}

/// Sends and judges the heartbeats of one leg. Until the first one comes, none is missed.
#[derive(Debug)]
pub struct Heartbeats {
    ssrc: Ssrc,
    /// Zero of the times that travel.
    zero: Instant,
    next: Instant,
    sequence: u32,
    heard: Option<(Heartbeat, Instant)>,
    lost: bool,
    event: Option<HeartbeatEvent>,
}

impl Heartbeats {
    /// Begins now; `ssrc` says who sends, any number of this leg will do.
    #[must_use]
    pub const fn new(now: Instant, ssrc: Ssrc) -> Self {
        Self { ssrc, zero: now, next: now, sequence: 0, heard: None, lost: false, event: None }
    }

    /// Takes one that came.
    pub fn handle_heartbeat(&mut self, now: Instant, heartbeat: &Heartbeat) {
        let stale = self.heard.is_some_and(|(last, _)| (heartbeat.sequence.wrapping_sub(last.sequence) as i32) <= 0);
        // A peer that began anew counts from one again.
        if stale && heartbeat.sequence != 1 && !self.lost {
            return;
        }
        self.heard = Some((*heartbeat, now));
        self.lost = false;
        let rtt = heartbeat.echo.and_then(|echo| self.rtt(now, echo));
        self.event = Some(HeartbeatEvent::Heard { rtt });
    }

    fn rtt(&self, now: Instant, echo: HeartbeatEcho) -> Option<Duration> {
        let round = self.micros(now).checked_sub(echo.sent_us)?.checked_sub(u64::from(echo.hold_us))?;
        Some(Duration::from_micros(round)).filter(|rtt| *rtt <= MAX_RTT)
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.zero).as_micros()).unwrap_or(u64::MAX)
    }

    /// Notices what did not come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.lost && self.deadline().is_some_and(|deadline| deadline <= now) {
            self.lost = true;
            self.event = Some(HeartbeatEvent::Lost);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.heard.map(|(_, at)| at + INTERVAL * MISSED + GRACE)
    }

    /// When the next heartbeat is to be sent, or one is missed.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let deadline = self.deadline().filter(|_| !self.lost);
        deadline.map_or(self.next, |deadline| deadline.min(self.next))
    }

    /// The heartbeat to be sent now, if one is due.
    pub fn poll_heartbeat(&mut self, now: Instant) -> Option<Heartbeat> {
        if self.next > now {
            return None;
        }
        // After a stall the rhythm begins anew: no burst.
        let next = self.next + INTERVAL;
        self.next = if next > now { next } else { now + INTERVAL };
        self.sequence = self.sequence.wrapping_add(1);
        let echo = self.heard.map(|(heartbeat, at)| HeartbeatEcho {
            sequence: heartbeat.sequence,
            sent_us: heartbeat.sent_us,
            hold_us: u32::try_from(now.saturating_duration_since(at).as_micros()).unwrap_or(u32::MAX),
        });
        Some(Heartbeat { sender: self.ssrc, sequence: self.sequence, sent_us: self.micros(now), echo })
    }

    /// What there is to say; only the latest is kept.
    pub const fn poll_event(&mut self) -> Option<HeartbeatEvent> {
        self.event.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn two_ends_measure_the_round_trip() {
        let start = Instant::now();
        let mut left = Heartbeats::new(start, Ssrc(1));
        let mut right = Heartbeats::new(start + ms(70), Ssrc(2));
        let ping = left.poll_heartbeat(start).unwrap();
        right.handle_heartbeat(start + ms(90), &ping);
        assert_eq!(right.poll_event(), Some(HeartbeatEvent::Heard { rtt: None }));
        let pong = right.poll_heartbeat(start + ms(100)).unwrap();
        left.handle_heartbeat(start + ms(130), &pong);
        assert_eq!(left.poll_event(), Some(HeartbeatEvent::Heard { rtt: Some(ms(120)) }));
        assert_eq!(left.poll_heartbeat(start + ms(130)), None);
        assert!(left.poll_heartbeat(start + ms(200)).is_some());
    }

    #[test]
    fn three_missed_are_said_once_and_the_next_one_heals() {
        let start = Instant::now();
        let mut left = Heartbeats::new(start, Ssrc(1));
        let mut right = Heartbeats::new(start, Ssrc(2));
        left.handle_timeout(start + Duration::from_secs(5));
        assert_eq!(left.poll_event(), None);
        left.handle_heartbeat(start, &right.poll_heartbeat(start).unwrap());
        left.poll_event();
        left.handle_timeout(start + ms(600));
        assert_eq!(left.poll_event(), None);
        left.handle_timeout(start + ms(650));
        assert_eq!(left.poll_event(), Some(HeartbeatEvent::Lost));
        left.handle_timeout(start + ms(1_000));
        assert_eq!(left.poll_event(), None);
        left.handle_heartbeat(start + ms(1_000), &right.poll_heartbeat(start + ms(1_000)).unwrap());
        assert!(matches!(left.poll_event(), Some(HeartbeatEvent::Heard { .. })));
    }

    #[test]
    fn a_stall_makes_no_burst() {
        let start = Instant::now();
        let mut beats = Heartbeats::new(start, Ssrc(1));
        let later = start + Duration::from_secs(10);
        assert_eq!(std::iter::from_fn(|| beats.poll_heartbeat(later)).count(), 1);
    }
}
