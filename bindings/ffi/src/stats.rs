//! What a room measures, in numbers a host can draw: rates in kbit/s, times in milliseconds.

use std::time::Duration;

use segue::{DataRate, LegEnd};

use crate::room::Path;
use crate::track::TrackKind;

/// Everything a room measures, at one moment.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct RoomStats {
    /// What the uplink is thought to bear, over all legs together.
    pub uplink_kbps: f64,
    /// Every direction between this participant and another.
    pub edges: Vec<EdgeStats>,
    /// Every transport.
    pub legs: Vec<LegStats>,
    /// Every track received.
    pub tracks: Vec<TrackStats>,
    /// Every track sent.
    pub publications: Vec<PublicationStats>,
}

/// One direction between this participant and another.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct EdgeStats {
    /// Who sends.
    pub publisher: u32,
    /// Who receives.
    pub subscriber: u32,
    /// The path its media counts on.
    pub path: Path,
    /// Media over the last second.
    pub kbps: f64,
    /// Fraction of packets lost before repair, 0 to 1.
    pub loss: f64,
    /// Round-trip time of its path's leg, where it is known.
    pub rtt_ms: Option<f64>,
}

/// One transport.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct LegStats {
    /// The participant at the other end; absent: the relay.
    pub participant: Option<u32>,
    /// Where the relay is at the other end: for what this participant sends, or for what it receives.
    pub publisher: bool,
    /// Media can flow.
    pub up: bool,
    /// Sent over the last second.
    pub send_kbps: f64,
    /// What its path is thought to bear, where the other side reports what arrives.
    pub estimate_kbps: Option<f64>,
    /// What may be sent here now.
    pub target_kbps: f64,
    /// Wait in a queue of the path, as far as it is of our making.
    pub queue_ms: f64,
    /// Received over the last second.
    pub receive_kbps: f64,
    /// Media packets sent.
    pub packets_sent: u64,
    /// Packets sent again on request.
    pub packets_retransmitted: u64,
    /// Packets received.
    pub packets_received: u64,
    /// Packets missed, before repair.
    pub packets_lost: u64,
    /// Fraction of packets missed, 0 to 1.
    pub loss: f64,
    /// Round-trip time, where it is known.
    pub rtt_ms: Option<f64>,
}

/// One track received.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct TrackStats {
    /// Which.
    pub track: u32,
    /// Whose.
    pub participant: u32,
    /// Audio or video.
    pub kind: TrackKind,
    /// Over the last second.
    pub kbps: f64,
    /// Whole frames handed to decoders.
    pub frames: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// Frames that were missing when their turn came.
    pub gaps: u64,
    /// The longest interruption.
    pub longest_gap_ms: f64,
    /// Delay the track is played at.
    pub delay_ms: f64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Frames decoded.
    pub decoded: u64,
    /// Frames a decoder could not decode.
    pub undecoded: u64,
    /// Audio frames made up for missing ones.
    pub concealed: u64,
    /// Of those, rebuilt from redundancy in the next packet.
    pub recovered: u64,
    /// Keyframes asked for.
    pub keyframe_requests: u64,
}

/// One track sent.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct PublicationStats {
    /// Which.
    pub track: u32,
    /// Audio or video.
    pub kind: TrackKind,
    /// What the encoders make, over the last second.
    pub kbps: f64,
    /// What they are to make at most now, all encodings that are sent together.
    pub target_kbps: f64,
    /// Frames encoded, all encodings together.
    pub frames: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// Frames pushed that the encoder had no time for.
    pub dropped: u64,
}

fn kbps(rate: DataRate) -> f64 {
    rate.as_bps() as f64 / 1_000.0
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

impl From<segue::RoomStats> for RoomStats {
    fn from(stats: segue::RoomStats) -> Self {
        Self {
            uplink_kbps: kbps(stats.uplink),
            edges: stats.edges.into_iter().map(Into::into).collect(),
            legs: stats.legs.into_iter().map(Into::into).collect(),
            tracks: stats.tracks.into_iter().map(Into::into).collect(),
            publications: stats.publications.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<segue::EdgeStats> for EdgeStats {
    fn from(stats: segue::EdgeStats) -> Self {
        Self {
            publisher: stats.publisher.0,
            subscriber: stats.subscriber.0,
            path: stats.path.into(),
            kbps: kbps(stats.bitrate),
            loss: f64::from(stats.loss),
            rtt_ms: stats.rtt.map(ms),
        }
    }
}

impl From<segue::LegStats> for LegStats {
    fn from(stats: segue::LegStats) -> Self {
        Self {
            participant: match stats.end {
                LegEnd::Peer(participant) => Some(participant.0),
                LegEnd::RelayPublisher | LegEnd::RelaySubscriber => None,
            },
            publisher: stats.end == LegEnd::RelayPublisher,
            up: stats.up,
            send_kbps: kbps(stats.send_rate),
            estimate_kbps: stats.estimate.map(kbps),
            target_kbps: kbps(stats.target),
            queue_ms: ms(stats.queue),
            receive_kbps: kbps(stats.receive_rate),
            packets_sent: stats.packets_sent,
            packets_retransmitted: stats.packets_retransmitted,
            packets_received: stats.packets_received,
            packets_lost: stats.packets_lost,
            loss: f64::from(stats.loss),
            rtt_ms: stats.rtt.map(ms),
        }
    }
}

impl From<segue::TrackStats> for TrackStats {
    fn from(stats: segue::TrackStats) -> Self {
        Self {
            track: u32::from(stats.track.0),
            participant: stats.participant.0,
            kind: stats.kind.into(),
            kbps: kbps(stats.bitrate),
            frames: stats.frames,
            keyframes: stats.keyframes,
            gaps: stats.gaps,
            longest_gap_ms: ms(stats.longest_gap),
            delay_ms: ms(stats.delay),
            duplicates: stats.duplicates,
            decoded: stats.decoded,
            undecoded: stats.undecoded,
            concealed: stats.concealed,
            recovered: stats.recovered,
            keyframe_requests: stats.keyframe_requests,
        }
    }
}

impl From<segue::PublicationStats> for PublicationStats {
    fn from(stats: segue::PublicationStats) -> Self {
        Self {
            track: u32::from(stats.track.0),
            kind: stats.kind.into(),
            kbps: kbps(stats.bitrate),
            target_kbps: kbps(stats.target),
            frames: stats.frames,
            keyframes: stats.keyframes,
            dropped: stats.dropped,
        }
    }
}
