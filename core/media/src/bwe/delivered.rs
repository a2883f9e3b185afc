//! Rates over sliding windows.

use std::collections::VecDeque;
use std::time::Duration;

use segue_model::{DataRate, DataSize};

/// Longest window anybody asks for.
const MAX_SPAN: Duration = Duration::from_millis(1_000);

/// Packets kept: a second at 100 Mbit/s.
const MAX_KEPT: usize = 10_000;

/// Packets a rate is computed from at least.
const MIN_PACKETS: usize = 4;

/// Packets with times on one clock, the newest second of them.
#[derive(Clone, Debug, Default)]
pub(super) struct RateWindow {
    packets: VecDeque<(Duration, DataSize)>,
}

impl RateWindow {
    /// Adds a packet. One older than the last is counted with it.
    pub(super) fn push(&mut self, at: Duration, size: DataSize) {
        let at = self.packets.back().map_or(at, |(last, _)| at.max(*last));
        self.packets.push_back((at, size));
        let old = |first: &(Duration, DataSize)| at - first.0 > MAX_SPAN;
        while self.packets.front().is_some_and(old) || self.packets.len() > MAX_KEPT {
            self.packets.pop_front();
        }
    }

    /// The rate between the first and the last packet of the newest `span`. `None` for too few packets to say.
    pub(super) fn between(&self, span: Duration) -> Option<DataRate> {
        let newest = self.packets.back()?.0;
        let begin = self.packets.partition_point(|(at, _)| *at + span < newest);
        let mut window = self.packets.range(begin..);
        if window.len() < MIN_PACKETS {
            return None;
        }
        let first = window.next()?.0;
        let size = window.fold(DataSize::ZERO, |sum, (_, size)| sum + *size);
        (newest > first).then(|| size.per(newest - first))
    }

    /// The rate over the whole of the `span` that ends at `now`, pauses included.
    pub(super) fn over(&self, now: Duration, span: Duration) -> DataRate {
        let begin = self.packets.partition_point(|(at, _)| *at + span <= now);
        self.packets.range(begin..).fold(DataSize::ZERO, |sum, (_, size)| sum + *size).per(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate_and_a_pause_lowers_it() {
        let mut window = RateWindow::default();
        for packet in 0..100 {
            window.push(Duration::from_millis(10 * packet), DataSize::bytes(1_250));
        }
        let span = Duration::from_millis(500);
        assert_eq!(window.between(span), Some(DataRate::kbps(1_000)));
        assert_eq!(window.over(Duration::from_millis(990), span), DataRate::kbps(1_000));
        assert_eq!(window.over(Duration::from_millis(1_240), span), DataRate::kbps(500));
        assert_eq!(RateWindow::default().between(span), None);
    }
}
