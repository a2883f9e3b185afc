//! A media packet between its packetiser and its merge: what is the same on every leg.

use bytes::Bytes;
use segue_model::TrackKind;

use super::origin::Origin;

/// One packet of media before a leg gives it a hop header, and after a leg took that off again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPacket {
    /// End-to-end identity.
    pub origin: Origin,
    /// Audio or video: decides the payload type on a leg and the queue in a pacer.
    pub kind: TrackKind,
    /// RTP timestamp, end to end: 48 kHz for audio, 90 kHz for video.
    pub timestamp: u32,
    /// RTP marker: last packet of a video frame, first audio packet after silence.
    pub marker: bool,
    /// Audio level (RFC 6464): -dBov, 0 loudest to 127 silent, and whether it is voice.
    pub audio_level: Option<AudioLevel>,
    /// RTP payload.
    pub payload: Bytes,
}

/// Client-to-mixer audio level (RFC 6464 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AudioLevel {
    /// -dBov: 0 loudest, 127 silent.
    pub level: u8,
    /// The encoder thinks it is voice.
    pub voice: bool,
}
