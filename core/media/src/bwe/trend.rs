//! Whether the queue grows: the slope of the one-way delay over groups of packets, against a threshold that adapts
//! (draft-ietf-rmcat-gcc-02 sections 5.2 to 5.4, with a regression in the place of the Kalman filter).

use std::collections::VecDeque;
use std::time::Duration;

/// Packets sent within this time are one group: what a pacer sends in one turn says little about the path.
const GROUP: Duration = Duration::from_millis(5);

/// Groups the slope is taken over.
const WINDOW: usize = 20;

/// Share of the past in the smoothed delay.
const SMOOTHING: f64 = 0.9;

/// The slope is weighed by the number of groups seen, up to this, and by the gain: a slope of 5 % then stands at the first threshold.
const MAX_WEIGHT: f64 = 60.0;
const GAIN: f64 = 4.0;

/// Threshold to begin with and its bounds, and the shares of the distance it moves per millisecond, up and down. It goes up slowly so that
/// jitter does not look like overuse, and does not follow jumps further than `MAX_STEP` above it.
const THRESHOLD: f64 = 12.5;
const THRESHOLD_RANGE: (f64, f64) = (6.0, 600.0);
const UP: f64 = 0.0087;
const DOWN: f64 = 0.039;
const MAX_STEP: f64 = 15.0;

/// Longest step of time the threshold is moved by at once, in milliseconds.
const MAX_ELAPSED: f64 = 100.0;

/// Overuse lasts this long in milliseconds, and over two groups, before it counts.
const MIN_OVERUSE: f64 = 10.0;

/// What the delay says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Usage {
    /// The queue drains.
    Under,
    /// It stays as it is.
    #[default]
    Normal,
    /// It grows.
    Over,
}

/// Filter and detector.
#[derive(Clone, Debug)]
pub(super) struct Trend {
    group: Option<Group>,
    groups: u64,
    /// Arrival and smoothed delay in milliseconds since the first group.
    points: VecDeque<(f64, f64)>,
    smoothed: Option<f64>,
    threshold: f64,
    updated: Option<f64>,
    /// For how long, in milliseconds and groups, the slope has stood above the threshold.
    over: Option<(f64, u32)>,
    last_slope: f64,
    usage: Usage,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: Duration,
    last_sent: Duration,
    last_received: Duration,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            group: None,
            groups: 0,
            points: VecDeque::new(),
            smoothed: None,
            threshold: THRESHOLD,
            updated: None,
            over: None,
            last_slope: 0.0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    /// Notes a packet; both times count from zeros of their own.
    pub(super) fn handle_packet(&mut self, sent: Duration, received: Duration) {
        match &mut self.group {
            Some(group) if sent < group.first_sent => {}
            Some(group) if sent - group.first_sent <= GROUP => {
                group.last_sent = group.last_sent.max(sent);
                group.last_received = group.last_received.max(received);
            }
            _ => {
                let begun = Group { first_sent: sent, last_sent: sent, last_received: received };
                if let Some(ended) = self.group.replace(begun) {
                    self.handle_group(ended);
                }
            }
        }
    }

    /// What the latest groups say.
    pub(super) const fn usage(&self) -> Usage {
        self.usage
    }

    /// Begins a new slope: what comes next is not the continuation of what was.
    pub(super) fn restart(&mut self) {
        self.points.clear();
        self.group = None;
        self.smoothed = None;
        self.over = None;
        self.last_slope = 0.0;
        self.usage = Usage::Normal;
    }

    fn handle_group(&mut self, group: Group) {
        let arrival = milliseconds(group.last_received);
        let delay = arrival - milliseconds(group.last_sent);
        let smoothed = self.smoothed.map_or(delay, |smoothed| SMOOTHING * smoothed + (1.0 - SMOOTHING) * delay);
        self.smoothed = Some(smoothed);
        self.groups += 1;
        self.points.push_back((arrival, smoothed));
        if self.points.len() > WINDOW {
            self.points.pop_front();
        }
        let slope = if self.points.len() == WINDOW { slope(&self.points).unwrap_or(self.last_slope) } else { 0.0 };
        self.detect(arrival, slope);
    }

    fn detect(&mut self, arrival: f64, slope: f64) {
        let elapsed = self.updated.map_or(0.0, |updated| (arrival - updated).max(0.0));
        let weighed = (self.groups as f64).min(MAX_WEIGHT) * slope * GAIN;
        if weighed > self.threshold {
            let (lasted, groups) = self.over.map_or((elapsed / 2.0, 1), |(lasted, groups)| (lasted + elapsed, groups + 1));
            self.over = Some((lasted, groups));
            if lasted > MIN_OVERUSE && groups > 1 && slope >= self.last_slope {
                self.over = Some((0.0, 0));
                self.usage = Usage::Over;
            }
        } else {
            self.over = None;
            self.usage = if weighed < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.last_slope = slope;
        self.updated = Some(arrival);
        if weighed.abs() > self.threshold + MAX_STEP {
            return;
        }
        let share = if weighed.abs() < self.threshold { DOWN } else { UP };
        let (least, most) = THRESHOLD_RANGE;
        let moved = self.threshold + share * (weighed.abs() - self.threshold) * elapsed.min(MAX_ELAPSED);
        self.threshold = moved.clamp(least, most);
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Least squares; `None` where all came at once.
fn slope(points: &VecDeque<(f64, f64)>) -> Option<f64> {
    let count = points.len() as f64;
    let (x_sum, y_sum) = points.iter().fold((0.0, 0.0), |(xs, ys), (x, y)| (xs + x, ys + y));
    let (x_mean, y_mean) = (x_sum / count, y_sum / count);
    let above: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let below: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(packets: u64, delay: impl Fn(u64) -> u64) -> Usage {
        let mut trend = Trend::default();
        for packet in 0..packets {
            let sent = Duration::from_millis(packet * 10);
            trend.handle_packet(sent, sent + Duration::from_micros(delay(packet)));
        }
        trend.usage()
    }

    #[test]
    fn a_queue_that_grows_is_overuse_and_one_that_drains_is_not() {
        assert_eq!(after(100, |_| 30_000), Usage::Normal);
        assert_eq!(after(100, |packet| 30_000 + packet * 1_500), Usage::Over);
        assert_eq!(after(100, |packet| 300_000 - packet * 1_500), Usage::Under);
    }

    #[test]
    fn jitter_without_trend_is_normal() {
        assert_eq!(after(1_000, |packet| 30_000 + (packet * 7_919) % 10_000), Usage::Normal);
    }
}
