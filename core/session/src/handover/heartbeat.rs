//! When a leg has gone silent.

use std::time::{Duration, Instant};

use super::{HEARTBEAT_INTERVAL, MISSED_HEARTBEATS};

/// The last of the missing heartbeats gets half an interval to be late.
const SILENCE: Duration = HEARTBEAT_INTERVAL.saturating_mul(MISSED_HEARTBEATS).saturating_add(Duration::from_millis(100));

/// A leg to the same end was heard so recently that this end and the network to it live.
const SIBLING: Duration = HEARTBEAT_INTERVAL.saturating_mul(2);

/// Watches the heartbeats of one leg. It says nothing before the first one: not everybody sends them (browsers do not).
#[derive(Clone, Copy, Debug, Default)]
pub struct HeartbeatWatch {
    last: Option<Instant>,
    suspect: bool,
    /// The other leg to the same end is heard: this one is given twice the time, since loss alone takes three heartbeats in a row
    /// often enough where no media flows.
    excused: bool,
}

impl HeartbeatWatch {
    /// A heartbeat came. Gives whether this ends a suspicion.
    pub fn handle_heartbeat(&mut self, now: Instant) -> bool {
        self.last = Some(now);
        self.excused = false;
        std::mem::take(&mut self.suspect)
    }

    /// Media came: as good as a heartbeat once there were any.
    pub fn handle_media(&mut self, now: Instant) -> bool {
        self.last.is_some() && self.handle_heartbeat(now)
    }

    /// Somebody else noticed.
    pub fn handle_lost(&mut self) {
        self.suspect = true;
    }

    /// Gives whether the leg becomes suspect now. `sibling`: the watch of another leg to the same end, where there is one.
    pub fn handle_timeout(&mut self, now: Instant, sibling: Option<&Self>) -> bool {
        if self.suspect || self.deadline().is_none_or(|at| now < at) {
            return false;
        }
        if !self.excused && sibling.is_some_and(|sibling| sibling.last.is_some_and(|last| now < last + SIBLING)) {
            self.excused = true;
            // After a stall of our own even twice the time may be over.
            if self.deadline().is_some_and(|at| now < at) {
                return false;
            }
        }
        self.suspect = true;
        true
    }

    /// When [`HeartbeatWatch::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline().filter(|_| !self.suspect)
    }

    fn deadline(&self) -> Option<Instant> {
        let silence = if self.excused { SILENCE * 2 } else { SILENCE };
        self.last.map(|last| last + silence)
    }

    /// When the last one came.
    #[must_use]
    pub fn heard_at(&self) -> Option<Instant> {
        self.last
    }

    /// Three heartbeats are missing.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.suspect
    }
}
