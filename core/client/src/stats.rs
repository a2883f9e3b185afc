//! What a room measures about itself.

use std::time::Duration;

use segue_model::{DataRate, ParticipantId, Path, TrackId, TrackKind};

/// Everything a room measures, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoomStats {
    /// What the uplink is thought to bear, over all legs together.
    pub uplink: DataRate,
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
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeStats {
    /// Who sends.
    pub publisher: ParticipantId,
    /// Who receives.
    pub subscriber: ParticipantId,
    /// The path its media counts on.
    pub path: Path,
    /// Media of this edge, over the last second. Of outgoing edges that are relayed: what goes to the relay, for everybody there.
    pub bitrate: DataRate,
    /// Fraction of packets lost on its path's leg, 0 to 1, before repair, as last reported.
    pub loss: f32,
    /// Round-trip time of its path's leg.
    pub rtt: Option<Duration>,
}

/// What is at the other end of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LegEnd {
    /// The relay, for what this participant sends.
    RelayPublisher,
    /// The relay, for what this participant receives.
    RelaySubscriber,
    /// Another participant.
    Peer(ParticipantId),
}

/// One transport.
#[derive(Clone, Debug, PartialEq)]
pub struct LegStats {
    /// Where it leads.
    pub end: LegEnd,
    /// ICE and DTLS are done.
    pub up: bool,
    /// Sent over the last second, RTP with headers and repair.
    pub send_rate: DataRate,
    /// What the leg's path is thought to bear; `None` where the other side does not report what arrives.
    pub estimate: Option<DataRate>,
    /// What may be sent here now: its part of the uplink, or less while a queue drains.
    pub target: DataRate,
    /// Wait of packets in a queue of the path, as far as it is of our making.
    pub queue: Duration,
    /// Received over the last second, likewise.
    pub receive_rate: DataRate,
    /// Media packets sent, repair not counted.
    pub packets_sent: u64,
    /// Packets sent again on request.
    pub packets_retransmitted: u64,
    /// RTP packets received, repair included.
    pub packets_received: u64,
    /// Packets missed on this leg, before repair.
    pub packets_lost: u64,
    /// Fraction of packets missed, 0 to 1: the worse of the two directions.
    pub loss: f32,
    /// Measured by heartbeats.
    pub rtt: Option<Duration>,
    /// Packets dropped because their origin does not belong to who sent them here.
    pub packets_foreign: u64,
    /// Packets dropped in a full queue of this process, either way.
    pub dropped_locally: u64,
}

/// One track received.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackStats {
    /// Which.
    pub track: TrackId,
    /// Whose.
    pub participant: ParticipantId,
    /// Audio or video.
    pub kind: TrackKind,
    /// Over the last second, payloads only.
    pub bitrate: DataRate,
    /// Whole frames handed to decoders.
    pub frames: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// Frames that were missing when their turn came.
    pub gaps: u64,
    /// The longest interruption.
    pub longest_gap: Duration,
    /// Delay the track is played at, above that of its quickest packet.
    pub delay: Duration,
    /// Packets that came more than once and were dropped.
    pub duplicates: u64,
    /// Frames a decoder could not decode.
    pub undecoded: u64,
    /// Frames decoded.
    pub decoded: u64,
    /// Audio frames made up for missing ones.
    pub concealed: u64,
    /// Of those, rebuilt from redundancy in the next packet.
    pub recovered: u64,
    /// Keyframes asked for.
    pub keyframe_requests: u64,
    /// Packets that came too late or out of bounds.
    pub rejected: u64,
}

/// One track sent.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicationStats {
    /// Which.
    pub track: TrackId,
    /// Audio or video.
    pub kind: TrackKind,
    /// What the encoders make, over the last second.
    pub bitrate: DataRate,
    /// What they are to make at most, all encodings that are sent together.
    pub target: DataRate,
    /// Frames encoded, all encodings together.
    pub frames: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// Frames pushed that the encoder had no time for.
    pub dropped: u64,
}
