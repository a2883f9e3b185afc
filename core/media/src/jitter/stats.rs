//! What a jitter buffer counts.

use std::time::Duration;

/// Least time between two requests for a keyframe of one track: encoders and relays coalesce, and a keyframe needs a round trip.
pub const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// Counters of one jitter buffer since it was made, and its delays as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferStats {
    /// Frames handed out.
    pub frames: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// Frames that were sent to us and were not played: lost, too late, or not decodable without one that was.
    pub missed: u64,
    /// Packets that came when their frame's turn was over.
    pub late: u64,
    /// Payloads that could not be read.
    pub malformed: u64,
    /// Interruptions: runs of concealed audio, or video frames that came more than two frames late.
    pub gaps: u64,
    /// The longest of them.
    pub longest_gap: Duration,
    /// Audio that was made up in the place of missing packets.
    pub concealed: Duration,
    /// Audio concealed with forward error correction from the next packet (part of `concealed`).
    pub corrected: Duration,
    /// Audio added to raise the delay.
    pub stretched: Duration,
    /// Audio left out to lower the delay.
    pub shrunk: Duration,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    pub jitter: Duration,
    /// Delay the buffer plays at, above that of the quickest packet.
    pub target: Duration,
    /// Changes from one encoding to another.
    pub switches: u64,
    /// Keyframes asked for.
    pub keyframe_requests: u64,
}

impl BufferStats {
    /// Adds the counters of an earlier buffer of the same track; delays stay as they are.
    pub(crate) fn add_counters(&mut self, earlier: &Self) {
        self.frames += earlier.frames;
        self.keyframes += earlier.keyframes;
        self.missed += earlier.missed;
        self.late += earlier.late;
        self.malformed += earlier.malformed;
        self.gaps += earlier.gaps;
        self.longest_gap = self.longest_gap.max(earlier.longest_gap);
        self.concealed += earlier.concealed;
        self.corrected += earlier.corrected;
        self.stretched += earlier.stretched;
        self.shrunk += earlier.shrunk;
        self.switches += earlier.switches;
        self.keyframe_requests += earlier.keyframe_requests;
    }
}
