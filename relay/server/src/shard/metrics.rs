//! Figures of one shard: written by it once a second, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};

use segue_forward::DropReason as ForwardDrop;

use crate::media_plane::Sample;
use crate::transport::DropReason as TransportDrop;

/// Everything a shard counts on its own, besides drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Rooms,
    Transports,
    DatagramsIn,
    PacketsIn,
    PacketsOut,
    BytesOut,
    Retransmissions,
    NacksSent,
    KeyframeRequests,
    SendCalls,
    SendFailures,
    DataMessages,
    DataRefused,
    StrayChecks,
    StrayHandshakes,
    StrayMedia,
    StrayGarbage,
    MediaRefused,
    EventsDropped,
    SealRefused,
    SlotsRefused,
    PacketsLate,
    Load,
    Full,
    TracksRefused,
    DataLimited,
    Ended,
}

impl Figure {
    const ALL: [(Self, &'static str, &'static str); 27] = [
        (Self::Rooms, "media_rooms", "Rooms on the shards"),
        (Self::Transports, "media_transports", "Transports on the shards"),
        (Self::DatagramsIn, "datagrams_received_total", "UDP datagrams received"),
        (Self::PacketsIn, "rtp_packets_received_total", "RTP packets taken from publishers"),
        (Self::PacketsOut, "rtp_packets_sent_total", "RTP packets sent to subscribers"),
        (Self::BytesOut, "rtp_bytes_sent_total", "Bytes of RTP packets sent to subscribers, before encryption"),
        (Self::Retransmissions, "retransmissions_total", "Packets sent again to subscribers"),
        (Self::NacksSent, "nacks_sent_total", "Packets asked of publishers again"),
        (Self::KeyframeRequests, "keyframe_requests_total", "Keyframes asked of publishers"),
        (Self::SendCalls, "send_calls_total", "System calls that sent"),
        (Self::SendFailures, "send_failures_total", "System calls whose packets were dropped by the kernel"),
        (Self::DataMessages, "data_messages_total", "Lossy data messages forwarded"),
        (Self::DataRefused, "data_messages_refused_total", "Lossy data messages refused: malformed or not granted"),
        (Self::StrayChecks, "stray_checks_total", "STUN that belongs to no transport"),
        (Self::StrayHandshakes, "stray_handshakes_total", "DTLS that belongs to no transport"),
        (Self::StrayMedia, "stray_media_total", "RTP and RTCP that belong to no transport"),
        (Self::StrayGarbage, "stray_garbage_total", "Datagrams of no known protocol, from addresses of no transport"),
        (Self::MediaRefused, "media_refused_total", "RTP where none may come, and RTCP that is not well formed"),
        (Self::EventsDropped, "media_events_dropped_total", "Events dropped because the control plane was busy"),
        (Self::SealRefused, "seals_refused_total", "Packets not sent because they could not be sealed"),
        (Self::SlotsRefused, "slots_refused_total", "Times a subscriber had no slot left for a track"),
        (Self::PacketsLate, "packets_late_total", "Packets that were no longer held when their time came to be sent"),
        (Self::Load, "shard_load_permille", "Share of its time a shard is busy, over the last second"),
        (Self::Full, "shard_full", "1 where a shard takes no more people because of its load"),
        (Self::TracksRefused, "tracks_refused_total", "Tracks and participants not forwarded because their room has too many"),
        (
            Self::DataLimited,
            "data_messages_limited_total",
            "Lossy data messages dropped: over their sender's messages or bytes a second",
        ),
        (Self::Ended, "shards_ended_total", "Shards that ended although nobody told them to"),
    ];
}

/// The shard's atomics. Plain values: nothing is ordered by them.
#[derive(Debug)]
pub(super) struct ShardMetrics {
    figures: [AtomicU64; Figure::ALL.len()],
    forward_drops: [AtomicU64; ForwardDrop::ALL.len()],
    transport_drops: [AtomicU64; TransportDrop::ALL.len()],
}

impl ShardMetrics {
    pub(super) const fn new() -> Self {
        Self {
            figures: [const { AtomicU64::new(0) }; Figure::ALL.len()],
            forward_drops: [const { AtomicU64::new(0) }; ForwardDrop::ALL.len()],
            transport_drops: [const { AtomicU64::new(0) }; TransportDrop::ALL.len()],
        }
    }

    pub(super) fn set(&self, figure: Figure, value: u64) {
        if let Some(cell) = self.figures.get(figure as usize) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn add(&self, figure: Figure, value: u64) {
        if let Some(cell) = self.figures.get(figure as usize) {
            // The shard alone writes, so nothing comes between the two.
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self, figure: Figure) -> u64 {
        self.figures.get(figure as usize).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    pub(super) fn set_forward_drops(&self, drops: &segue_forward::DropCounts) {
        for (cell, reason) in self.forward_drops.iter().zip(ForwardDrop::ALL) {
            cell.store(drops.get(reason), Ordering::Relaxed);
        }
    }

    pub(super) fn set_transport_drops(&self, drops: &crate::transport::DropCounts) {
        for (cell, reason) in self.transport_drops.iter().zip(TransportDrop::ALL) {
            cell.store(drops.of(reason), Ordering::Relaxed);
        }
    }

    /// All figures, labelled with the shard.
    pub(super) fn samples(&self, shard: usize) -> Vec<Sample> {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed) as f64;
        let figures = Figure::ALL.iter().zip(&self.figures).map(|(&(_, name, help), cell)| Sample {
            name,
            help,
            labels: vec![("shard", shard.to_string())],
            value: read(cell),
        });
        let dropped = |stage: &'static str, reason: &'static str, cell: &AtomicU64| Sample {
            name: "dropped_total",
            help: "What came from outside and went no further, by stage and reason",
            labels: vec![("shard", shard.to_string()), ("stage", stage.to_owned()), ("reason", reason.to_owned())],
            value: read(cell),
        };
        let forward =
            ForwardDrop::ALL.iter().zip(&self.forward_drops).map(|(reason, cell)| dropped("forward", reason.name(), cell));
        let transport = TransportDrop::ALL
            .iter()
            .zip(&self.transport_drops)
            .map(|(reason, cell)| dropped("transport", reason.name(), cell));
        figures.chain(forward).chain(transport).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_where_they_are_named() {
        let places = Figure::ALL.iter().enumerate();
        assert!(places.clone().all(|(index, (figure, ..))| *figure as usize == index));
        let metrics = ShardMetrics::new();
        metrics.add(Figure::SendCalls, 3);
        let samples = metrics.samples(1);
        let found = samples.iter().find(|sample| sample.name == "send_calls_total").unwrap();
        assert_eq!(found.value, 3.0);
    }
}
