//! When a leg has gone silent.

use std::time::Instant;

use super::{HEARTBEAT_INTERVAL, MISSED_HEARTBEATS};

/// Watches the heartbeats of one leg. It says nothing before the first one: not everybody sends them (browsers do not).
#[derive(Clone, Copy, Debug, Default)]
pub struct HeartbeatWatch {
    last: Option<Instant>,
    suspect: bool,
}

impl HeartbeatWatch {
    /// A heartbeat came. Gives whether this ends a suspicion.
    pub fn handle_heartbeat(&mut self, now: Instant) -> bool {
        self.last = Some(now);
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

    /// Gives whether the leg becomes suspect now.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let silent = self.last.is_some_and(|last| last + HEARTBEAT_INTERVAL * MISSED_HEARTBEATS <= now);
        let becomes = silent && !self.suspect;
        self.suspect |= silent;
        becomes
    }

    /// When [`HeartbeatWatch::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.last.filter(|_| !self.suspect).map(|last| last + HEARTBEAT_INTERVAL * MISSED_HEARTBEATS)
    }

    /// Three heartbeats are missing.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.suspect
    }
}
