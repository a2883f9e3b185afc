//! When a silent source has to prove its path.

use std::time::{Duration, Instant};

/// A source that sent nothing for this long is silent, not only between two frames.
pub const SILENT_AFTER: Duration = Duration::from_millis(100);

/// Between two probes of a silent source: 50 a second, as often as voice would come.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// Says when a probe is due, while two paths are being compared and silence must not look like loss.
#[derive(Clone, Debug, Default)]
pub struct ProbeTimer {
    due: Option<Instant>,
}

impl ProbeTimer {
    /// Two paths began or ceased to be compared.
    pub fn handle_comparison(&mut self, now: Instant, comparing: bool) {
        self.due = comparing.then(|| now + SILENT_AFTER);
    }

    /// The source sent a frame.
    pub fn handle_frame(&mut self, now: Instant) {
        if self.due.is_some() {
            self.due = Some(now + SILENT_AFTER);
        }
    }

    /// When [`ProbeTimer::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a probe has to leave now.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.due = Some(now + PROBE_INTERVAL);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_stand_in_for_silence_only() {
        let start = Instant::now();
        let mut timer = ProbeTimer::default();
        assert_eq!(timer.poll_timeout(), None);
        timer.handle_comparison(start, true);
        timer.handle_frame(start + Duration::from_millis(90));
        assert!(!timer.handle_timeout(start + SILENT_AFTER));
        let silent = start + Duration::from_millis(190);
        assert!(timer.handle_timeout(silent));
        assert!(!timer.handle_timeout(silent + Duration::from_millis(19)));
        assert!(timer.handle_timeout(silent + PROBE_INTERVAL));
        timer.handle_comparison(silent, false);
        assert_eq!(timer.poll_timeout(), None);
    }
}
