//! A bottleneck: a rate that changes and a queue in front of it that is cut off at its end.

use std::collections::VecDeque;
use std::time::Duration;

/// Capacity over time: from so long after the beginning, so many bits per second. Repeats where `period` says so.
#[derive(Clone, Debug)]
pub struct Capacity {
    steps: Vec<(Duration, u64)>,
    period: Option<Duration>,
}

impl Capacity {
    /// `steps` are (second, kbit/s) pairs, the first at 0; the last holds for ever.
    pub fn steps(steps: &[(f64, u64)]) -> Self {
        Self { steps: steps.iter().map(|(at, kbps)| (Duration::from_secs_f64(*at), kbps * 1_000)).collect(), period: None }
    }

    /// Steps in milliseconds and kbit/s that repeat after `period`.
    pub fn repeating(steps: &[(u64, u64)], period: Duration) -> Self {
        let steps = steps.iter().map(|(at, kbps)| (Duration::from_millis(*at), kbps * 1_000)).collect();
        Self { steps, period: Some(period) }
    }

    /// The rate at a time, and when it ends, if ever.
    pub fn at(&self, time: Duration) -> (u64, Option<Duration>) {
        let base = self.period.map_or(Duration::ZERO, |period| {
            let rounds = time.as_nanos() / period.as_nanos();
            Duration::from_nanos((rounds * period.as_nanos()) as u64)
        });
        let passed = self.steps.partition_point(|(at, _)| base + *at <= time);
        let rate = passed.checked_sub(1).map_or(0, |last| self.steps[last].1);
        let end = self.steps.get(passed).map(|(at, _)| base + *at).or(self.period.map(|period| base + period));
        (rate, end)
    }

    /// Bits between two times.
    pub fn bits(&self, from: Duration, to: Duration) -> f64 {
        let (mut at, mut bits) = (from, 0.0);
        while at < to {
            let (rate, end) = self.at(at);
            let next = end.map_or(to, |end| end.min(to));
            bits += rate as f64 * (next - at).as_secs_f64();
            at = next;
        }
        bits
    }

    /// When `bits` that begin at `from` have passed; `None` if never.
    fn pass(&self, from: Duration, bits: u64) -> Option<Duration> {
        let (mut at, mut left) = (from, bits as f64);
        loop {
            let (rate, end) = self.at(at);
            let room = end.map_or(f64::INFINITY, |end| rate as f64 * (end - at).as_secs_f64());
            if rate > 0 && room >= left {
                return Some(at + Duration::from_nanos((left * 1e9 / rate as f64).ceil() as u64));
            }
            left -= room;
            at = end?;
        }
    }
}

/// How much waits at most.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// What the rate of the moment carries in this time.
    Time(Duration),
    /// So many bytes.
    Bytes(u64),
}

/// A packet in the queue.
#[derive(Debug)]
struct Queued<T> {
    item: T,
    bytes: u64,
    since: Duration,
}

/// The bottleneck.
#[derive(Debug)]
pub struct Link<T> {
    capacity: Capacity,
    limit: Limit,
    queue: VecDeque<Queued<T>>,
    backlog: u64,
    /// When the first of the queue has passed, and since when it passes.
    passing: Option<(Duration, Duration)>,
}

/// A packet that has passed.
#[derive(Debug)]
pub struct Passed<T> {
    pub item: T,
    /// Time in the queue before its first bit left.
    pub waited: Duration,
}

impl<T> Link<T> {
    pub fn new(capacity: Capacity, limit: Limit) -> Self {
        Self { capacity, limit, queue: VecDeque::new(), backlog: 0, passing: None }
    }

    /// Queues a packet; false where it is dropped.
    pub fn push(&mut self, now: Duration, bytes: u64, item: T) -> bool {
        let most = match self.limit {
            Limit::Time(time) => (self.capacity.at(now).0 as f64 * time.as_secs_f64() / 8.0) as u64,
            Limit::Bytes(bytes) => bytes,
        };
        if self.backlog + bytes > most.max(bytes) {
            return false;
        }
        self.backlog += bytes;
        self.queue.push_back(Queued { item, bytes, since: now });
        self.begin(now);
        true
    }

    fn begin(&mut self, now: Duration) {
        if self.passing.is_none() {
            let next = self.queue.front().and_then(|first| self.capacity.pass(now, first.bytes * 8));
            self.passing = next.map(|at| (at, now));
        }
    }

    pub fn poll_timeout(&self) -> Option<Duration> {
        self.passing.map(|(at, _)| at)
    }

    /// The next packet that has passed by now.
    pub fn poll_passed(&mut self, now: Duration) -> Option<Passed<T>> {
        let (at, since) = self.passing.filter(|(at, _)| *at <= now)?;
        self.passing = None;
        let first = self.queue.pop_front()?;
        self.backlog -= first.bytes;
        self.begin(at);
        Some(Passed { item: first.item, waited: since.saturating_sub(first.since) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn packets_pass_at_the_rate_of_the_moment_and_the_queue_is_cut_off() {
        // A packet takes 10 ms, then 20.
        let mut link = Link::new(Capacity::steps(&[(0.0, 1_000), (0.025, 500)]), Limit::Time(MS * 100));
        let taken = (0..20).filter(|number| link.push(Duration::ZERO, 1_250, *number)).count();
        assert_eq!(taken, 10);
        let mut times = Vec::new();
        while let Some(at) = link.poll_timeout() {
            let passed = link.poll_passed(at).unwrap();
            times.push((passed.item, at.as_millis(), passed.waited.as_millis()));
        }
        assert_eq!(times[..4], [(0, 10, 0), (1, 20, 10), (2, 35, 20), (3, 55, 35)]);
    }

    #[test]
    fn a_trace_repeats_and_its_outages_hold_the_queue() {
        let capacity = Capacity::repeating(&[(0, 0), (50, 1_000)], MS * 100);
        assert!((capacity.bits(Duration::ZERO, MS * 1_000) - 500_000.0).abs() < 1.0);
        let mut link = Link::new(capacity, Limit::Bytes(10_000));
        assert!(link.push(MS * 210, 1_250, ()));
        assert_eq!(link.poll_timeout(), Some(MS * 260));
    }
}
