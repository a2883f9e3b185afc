//! The end of what was sent, in case it was lost.
//!
//! A receiver tells what is missing from what comes after it. Where nothing does, because the source pauses or goes another way, it would
//! never know: the last packet is sent once more then, and shows what is missing before it (as TCP probes its tail: RFC 8985 section 7).

use std::time::{Duration, Instant};

/// Least silence before the last packet is repeated: more than an interval at 25 frames per second.
const LEAST: Duration = Duration::from_millis(50);

/// So many times the usual silence between frames, which comes to pass by itself.
const USUAL: u32 = 2;

/// Longest wait: later nobody needs the frame.
const MOST: Duration = Duration::from_millis(500);

/// Packets this close belong together.
const TOGETHER: Duration = Duration::from_millis(4);

/// When one stream fell silent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tail {
    sent_at: Option<Instant>,
    /// Between frames, smoothed.
    silence: Duration,
    repeated: bool,
    /// Somebody else brings it too.
    copy: bool,
}

impl Tail {
    /// Says whether somebody else brings too what is sent from now on. What was sent keeps what it was.
    pub(super) fn set_copy(&mut self, copy: bool) {
        self.copy = copy;
    }

    /// Notes that a packet left.
    pub(super) fn handle_sent(&mut self, now: Instant) {
        let silence = self.sent_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if silence > TOGETHER {
            let silence = silence.min(MOST);
            self.silence = if self.silence.is_zero() { silence } else { (self.silence * 7 + silence) / 8 };
        }
        self.sent_at = Some(now);
        self.repeated = self.copy;
    }

    /// When the last packet is to be repeated.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let sent_at = self.sent_at.filter(|_| !self.repeated)?;
        Some(sent_at + (self.silence * USUAL).clamp(LEAST, MOST))
    }

    /// Whether it is to be repeated now, once.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let due = self.poll_timeout().is_some_and(|at| at <= now);
        self.repeated |= due;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_packet_is_repeated_once_and_that_of_a_second_copy_is_not() {
        let start = Instant::now();
        let mut tail = Tail::default();
        tail.handle_sent(start);
        // Made a copy while it is silent: the last one was none.
        tail.set_copy(true);
        assert_eq!(tail.poll_timeout(), Some(start + LEAST));
        assert!(tail.handle_timeout(start + LEAST));
        assert_eq!(tail.poll_timeout(), None);
        tail.handle_sent(start + LEAST);
        assert_eq!(tail.poll_timeout(), None);
        tail.set_copy(false);
        tail.handle_sent(start + LEAST * 2);
        assert!(tail.poll_timeout().is_some());
    }
}
