//! How much loss a voice encoder prepares for, from what receivers report.

use std::time::{Duration, Instant};

/// Reports are looked at this often: receivers send them about once a second.
const INTERVAL: Duration = Duration::from_secs(1);

/// Prepared for where nothing is lost, in percent: a change of path or a burst on a radio comes without a warning, and repair data for
/// this much costs a voice of 32 kbit/s hardly a tenth of its quality.
const LEAST: u8 = 10;

/// Prepared for at most, in percent: beyond, repair data takes more from the voice than it gives back.
const MOST: u8 = 30;

/// Taken back per interval, in percent, so that the gap between two bursts does not disarm the encoder.
const FALL: u8 = 1;

/// What an encoder is told (`OPUS_SET_PACKET_LOSS_PERC`): up at once with the worst receiver, down slowly.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedLoss {
    percent: u8,
    next: Option<Instant>,
}

impl Default for ExpectedLoss {
    fn default() -> Self {
        Self { percent: LEAST, next: None }
    }
}

impl ExpectedLoss {
    /// Prepared for now, in percent.
    #[must_use]
    pub const fn percent(&self) -> u8 {
        self.percent
    }

    /// It wants to know the loss again.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }

    /// The worst share that a receiver reports as lost, 0 to 1. Gives what the encoder is to be told, where that has changed.
    pub fn handle_loss(&mut self, now: Instant, share: f32) -> Option<u8> {
        if !self.is_due(now) {
            return None;
        }
        self.next = Some(now + INTERVAL);
        let reported = ((share.clamp(0.0, 1.0) * 100.0).ceil() as u8).clamp(LEAST, MOST);
        let percent = reported.max(self.percent.saturating_sub(FALL));
        let changed = percent != self.percent;
        self.percent = percent;
        changed.then_some(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoder_is_armed_at_once_and_disarmed_slowly() {
        let mut now = Instant::now();
        let mut expected = ExpectedLoss::default();
        assert_eq!(expected.handle_loss(now, 0.0), None);
        assert_eq!(expected.handle_loss(now, 0.9), None, "not twice in a second");
        let mut next = |share| {
            now += INTERVAL;
            expected.handle_loss(now, share)
        };
        assert_eq!(next(0.183), Some(19));
        assert_eq!((next(0.0), next(0.0)), (Some(18), Some(17)));
        assert_eq!(next(0.9), Some(MOST));
        let down: Vec<_> = (0..30).filter_map(|_| next(f32::NAN.max(0.0))).collect();
        assert_eq!((down.len(), down.last()), (usize::from(MOST - LEAST), Some(&LEAST)));
    }
}
