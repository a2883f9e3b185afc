//! A host's access link: a rate that may change, and a queue in front of it that is cut off at its end.

use std::time::{Duration, Instant};

use serde::Deserialize;

/// What an access link bears.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// From the host.
    pub up: Rate,
    /// To the host.
    pub down: Rate,
    /// Longest wait in the queue; what would wait longer is dropped. 0: 300.
    pub queue_ms: u64,
}

/// A rate over time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rate {
    /// In kbit/s; 0: unlimited.
    pub kbps: u64,
    /// Changes: from so many milliseconds after the beginning, so many kbit/s. Before the first, `kbps` holds.
    pub trace: Vec<(u64, u64)>,
    /// A file of such pairs, one a line, beside the scenario; read into `trace`.
    pub trace_file: Option<String>,
}

impl Rate {
    /// One that never changes.
    #[must_use]
    pub fn kbps(kbps: u64) -> Self {
        Self { kbps, ..Self::default() }
    }

    fn at(&self, ms: u64) -> u64 {
        let passed = self.trace.partition_point(|(from, _)| *from <= ms);
        passed.checked_sub(1).map_or(self.kbps, |last| self.trace[last].1)
    }
}

/// Wait where nothing else was said.
const QUEUE_MS: u64 = 300;

/// One direction of an access link.
#[derive(Debug)]
pub struct Shaper {
    base: Instant,
    rate: Rate,
    queue: Duration,
    busy_until: Instant,
}

impl Shaper {
    /// Idle.
    pub fn new(base: Instant, rate: Rate, queue_ms: u64) -> Self {
        let queue = Duration::from_millis(if queue_ms == 0 { QUEUE_MS } else { queue_ms });
        Self { base, rate, queue, busy_until: base }
    }

    /// When a packet that comes at `now` has passed; `None` where the queue is full.
    pub fn pass(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let ms = now.saturating_duration_since(self.base).as_millis() as u64;
        let kbps = self.rate.at(ms);
        if kbps == 0 {
            return Some(now);
        }
        let begin = self.busy_until.max(now);
        if begin - now > self.queue {
            return None;
        }
        self.busy_until = begin + Duration::from_nanos(bytes as u64 * 8_000_000 / kbps);
        Some(self.busy_until)
    }
}
