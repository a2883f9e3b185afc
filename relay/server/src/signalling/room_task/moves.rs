//! Counts what the room decides about its topology and what its participants do about it.

use std::time::Instant;

use segue_wire::proto::{self, client_frame, server_frame};

use crate::metrics::Metrics;

/// What of a room's decisions has been counted: everybody is told of each, newcomers of the last one again.
#[derive(Debug, Default)]
pub(super) struct Moves {
    counted: (u64, u64),
    under_way: Option<Instant>,
}

impl Moves {
    /// Somebody is told something.
    pub(super) fn note_sent(&mut self, now: Instant, message: &server_frame::Message, metrics: &Metrics) {
        match message {
            server_frame::Message::TopologyPrepare(prepare) if self.is_new(prepare.epoch.as_ref()) => {
                metrics.handovers_begun.increment();
                self.under_way = Some(now);
            }
            server_frame::Message::TopologyCommit(commit) => {
                // Without a decision before it, this says that edges moved by themselves.
                if let Some(since) = self.under_way.take_if(|_| same(commit.epoch.as_ref(), self.counted)) {
                    metrics.count_handover(commit.topology());
                    metrics.handover_ms.add(now.saturating_duration_since(since).as_millis() as u64);
                }
            }
            server_frame::Message::TopologyAbort(abort)
                if self.under_way.take_if(|_| same(abort.epoch.as_ref(), self.counted)).is_some() =>
            {
                metrics.handovers_aborted.increment();
            }
            _ => {}
        }
    }

    /// Somebody says by which path it sends to somebody.
    pub(super) fn note_received(message: Option<&client_frame::Message>, metrics: &Metrics) {
        if let Some(client_frame::Message::EdgePath(edge)) = message {
            metrics.count_edge(edge.path());
        }
    }

    fn is_new(&mut self, epoch: Option<&proto::Epoch>) -> bool {
        let number = number(epoch);
        let new = number > self.counted;
        self.counted = self.counted.max(number);
        new
    }
}

fn same(epoch: Option<&proto::Epoch>, counted: (u64, u64)) -> bool {
    number(epoch) == counted
}

fn number(epoch: Option<&proto::Epoch>) -> (u64, u64) {
    epoch.map_or((0, 0), |epoch| (epoch.incarnation, epoch.counter))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn a_decision_counts_once_however_many_are_told() {
        let (metrics, mut moves, now) = (Metrics::default(), Moves::default(), clock::now());
        let epoch = |counter| Some(proto::Epoch { incarnation: 1, counter });
        let relayed = i32::from(proto::Topology::Relayed);
        let prepare = |counter| {
            let prepare = proto::TopologyPrepare { epoch: epoch(counter), target: relayed, reason: String::new() };
            server_frame::Message::TopologyPrepare(prepare)
        };
        let commit = |counter| {
            let commit = proto::TopologyCommit { epoch: epoch(counter), topology: relayed, reason: String::new() };
            server_frame::Message::TopologyCommit(commit)
        };
        moves.note_sent(now, &commit(1), &metrics);
        for _ in 0..3 {
            moves.note_sent(now, &prepare(2), &metrics);
        }
        for _ in 0..3 {
            moves.note_sent(now + Duration::from_millis(300), &commit(2), &metrics);
        }
        moves.note_sent(now, &commit(3), &metrics);
        let text = metrics.render(&[]);
        assert!(text.contains("segue_handovers_begun_total 1\n"), "{text}");
        assert!(text.contains("segue_handovers_total{to=\"relayed\"} 1\n"), "{text}");
        assert!(text.contains("segue_handover_milliseconds_total 300\n"), "{text}");
    }
}
