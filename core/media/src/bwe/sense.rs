//! What the fate of packets says of one path.

use std::time::{Duration, Instant};

use segue_model::{DataRate, DataSize};

use crate::feedback::PacketResult;

use super::delivered::RateWindow;
use super::loss::{LossModel, LossVerdict};
use super::queue::QueueGauge;
use super::trend::{Trend, Usage};

/// Delivered rate: the steady one, and that of the last moments, which is the link's where a queue stands.
const STEADY: Duration = Duration::from_millis(500);
const LATELY: Duration = Duration::from_millis(150);

/// Window of the sent rate.
const SENT: Duration = Duration::from_millis(500);

/// What there is to know at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signals {
    /// What the trend of the delay says.
    pub(super) usage: Usage,
    /// Wait in the queue.
    pub(super) queue: Duration,
    /// How much delays differ from one packet to the next.
    pub(super) jitter: Duration,
    /// Rate of arrivals over half a second.
    pub(super) delivered: Option<DataRate>,
    /// Rate of arrivals in the last moments.
    pub(super) delivered_lately: Option<DataRate>,
    /// Rate sent over half a second.
    pub(super) sent: DataRate,
    /// From sending a packet to hearing of it.
    pub(super) response: Duration,
    /// What losses say, where there is news.
    pub(super) verdict: Option<LossVerdict>,
    /// Share lost.
    pub(super) loss: f64,
}

/// Everything measured of one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Sense {
    zero: Option<Instant>,
    trend: Trend,
    gauge: QueueGauge,
    delivered: RateWindow,
    sent: RateWindow,
    loss: LossModel,
    highest: Option<u64>,
    response: Duration,
}

impl Sense {
    /// Notes a packet that leaves.
    pub(super) fn handle_sent(&mut self, now: Instant, size: DataSize) {
        let at = self.since_zero(now);
        self.sent.push(at, size);
    }

    fn since_zero(&mut self, at: Instant) -> Duration {
        at.saturating_duration_since(*self.zero.get_or_insert(at))
    }

    /// Notes what became of a packet.
    pub(super) fn handle_result(&mut self, now: Instant, result: &PacketResult) {
        let sent = self.since_zero(result.sent_at);
        let number = result.number.0;
        let late = self.highest.is_some_and(|highest| number <= highest);
        self.highest = Some(self.highest.map_or(number, |highest| highest.max(number)));
        if late {
            if result.received_at.is_some() {
                self.loss.handle_late();
            }
        } else {
            self.loss.handle_packet(sent, result.size, result.received_at.is_none());
        }
        let Some(received) = result.received_at else { return };
        self.delivered.push(received, result.size);
        self.response = now.saturating_duration_since(result.sent_at);
        let delay = received.as_micros() as i64 - sent.as_micros() as i64;
        self.gauge.handle_packet(sent, received, delay);
        if result.probe.is_some() {
            // The queue a probe leaves behind is its own doing and passes.
            self.trend.restart();
        } else if !late {
            self.trend.handle_packet(sent, received);
        }
    }

    /// What there is to know now.
    pub(super) fn signals(&mut self, now: Instant) -> Signals {
        let at = self.since_zero(now);
        Signals {
            usage: self.trend.usage(),
            queue: self.gauge.queue(),
            jitter: self.gauge.jitter(),
            delivered: self.delivered.between(STEADY),
            delivered_lately: self.delivered.between(LATELY),
            sent: self.sent.over(at, SENT),
            response: self.response,
            verdict: self.loss.poll_verdict(),
            loss: self.loss.share(),
        }
    }
}
