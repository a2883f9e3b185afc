//! What a room measures about itself.

use std::time::Duration;

use segue_model::{DataRate, Epoch, ParticipantId, Path, Topology, TrackId, TrackKind};
use segue_session::peer::Edge;

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
    /// RTP timestamp of capture time zero, the same on every path: what tells which capture a packet holds.
    pub timestamp_base: u32,
}

/// What the last changes of path cost, measured where media is played; see [`crate::Room::handover_report`]. Oldest first; a bounded number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandoverReport {
    /// Changes of the room.
    pub topology: Vec<TopologyChange>,
    /// Changes of single edges of this participant.
    pub paths: Vec<PathChange>,
}

/// The room moved between mesh and relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyChange {
    /// Before.
    pub from: Topology,
    /// After.
    pub to: Topology,
    /// Why.
    pub reason: String,
    /// The number of the relay's decision.
    pub epoch: Epoch,
    /// How long ago.
    pub ago: Duration,
}

/// The media of one direction between two participants moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange {
    /// Which direction.
    pub edge: Edge,
    /// Where to.
    pub path: Path,
    /// Why.
    pub reason: String,
    /// How long ago it was committed.
    pub ago: Duration,
    /// Three seconds have passed: `tracks` will not change any more.
    pub settled: bool,
    /// What was missed of each track the edge brings here; empty where it leads away from this participant.
    pub tracks: Vec<TrackGap>,
}

/// What was missed of a track around a change of its path, from the change to three seconds after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackGap {
    /// Which.
    pub track: TrackId,
    /// Audio or video.
    pub kind: TrackKind,
    /// Audio: the longest run of frames that were sent and not played, silence of the sender not counted. Video: by how much a picture
    /// came later after the one before it than it was captured after that one, at most.
    pub gap: Duration,
    /// Frames sent and not played; `None` for video, whose senders leave frames out on purpose.
    pub frames_lost: Option<u64>,
}

impl HandoverReport {
    /// The longest gap of a kind over all changes.
    #[must_use]
    pub fn longest_gap(&self, kind: TrackKind) -> Duration {
        let tracks = self.paths.iter().flat_map(|change| &change.tracks);
        tracks.filter(|track| track.kind == kind).map(|track| track.gap).max().unwrap_or_default()
    }
}
