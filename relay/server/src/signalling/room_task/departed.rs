//! Sessions that ended for good, so that a device that was away hears so when it comes back. Told that its session is unknown it would join
//! anew, and throw out the device that has taken its place.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_session::room::MAX_PARTICIPANTS;
use segue_wire::proto::{self, ErrorCode};

use crate::signalling::session::SecretHash;

/// Sessions of a room that are remembered: as many as may be in it at once. Beyond, the oldest is forgotten.
const MAX_REMEMBERED: usize = MAX_PARTICIPANTS;

/// What was said, or would have been, to those whose sessions ended a moment ago.
#[derive(Debug)]
pub(super) struct Departed {
    /// Nobody seeks to resume for longer.
    window: Duration,
    /// The oldest first.
    sessions: VecDeque<(Instant, SecretHash, proto::Goodbye)>,
}

impl Departed {
    pub(super) fn new(window: Duration) -> Self {
        Self { window, sessions: VecDeque::new() }
    }

    /// A session has ended. What its client is to take up again by itself, or to join anew for, is not remembered.
    pub(super) fn insert(&mut self, now: Instant, secret: SecretHash, goodbye: &proto::Goodbye) {
        while self.sessions.len() >= MAX_REMEMBERED || self.sessions.front().is_some_and(|entry| entry.0 + self.window <= now) {
            self.sessions.pop_front();
        }
        if goodbye.retry_after_ms == 0 && goodbye.code() != ErrorCode::SessionUnknown {
            self.sessions.push_back((now, secret, goodbye.clone()));
        }
    }

    /// What to say to whoever shows the secret of a session that has ended.
    pub(super) fn goodbye(&self, now: Instant, secret: &SecretHash) -> Option<&proto::Goodbye> {
        let found = self.sessions.iter().find(|(since, theirs, _)| theirs == secret && *since + self.window > now);
        found.map(|(_, _, goodbye)| goodbye)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn secret(number: usize) -> SecretHash {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&(number as u64).to_be_bytes());
        secret
    }

    #[test]
    fn what_is_final_is_remembered_for_the_window_and_within_bounds() {
        let (window, start) = (Duration::from_secs(30), clock::now());
        let mut departed = Departed::new(window);
        let replaced = proto::Goodbye { code: ErrorCode::Replaced.into(), ..Default::default() };
        let restart = proto::Goodbye { retry_after_ms: 1000, ..replaced.clone() };
        let timeout = proto::Goodbye { code: ErrorCode::SessionUnknown.into(), ..Default::default() };
        departed.insert(start, secret(1), &replaced);
        departed.insert(start, secret(2), &restart);
        departed.insert(start, secret(3), &timeout);
        let known = |departed: &Departed, now, number| departed.goodbye(now, &secret(number)).is_some();
        assert_eq!([1, 2, 3].map(|number| known(&departed, start, number)), [true, false, false]);
        assert!(!known(&departed, start + window, 1));
        for number in 0..2 * MAX_REMEMBERED {
            departed.insert(start, secret(100 + number), &replaced);
        }
        assert_eq!(departed.sessions.len(), MAX_REMEMBERED);
        departed.insert(start + window, secret(4), &replaced);
        assert_eq!(departed.sessions.len(), 1);
    }
}
