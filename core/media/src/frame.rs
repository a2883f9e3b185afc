//! Encoded frames as they enter a packetiser and leave a jitter buffer.

use bytes::Bytes;
use segue_model::{LayerId, MediaTime, TrackId, TrackKind};

/// One encoded frame: an Opus packet or an H.264 access unit in Annex B form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFrame {
    /// Audio or video.
    pub kind: TrackKind,
    /// Encoding and temporal layer; the default for audio.
    pub layer: LayerId,
    /// Capture time in RTP clock units of the kind (48 kHz, 90 kHz), counted from the source's own zero.
    pub time: MediaTime,
    /// Can be decoded without any frame before it.
    pub keyframe: bool,
    /// No other frame refers to it.
    pub discardable: bool,
    /// How many frames of the same encoding back lies the frame it refers to; 0 for none.
    pub refers_back: u8,
    /// Audio level of the frame, audio only.
    pub audio_level: Option<crate::packet::AudioLevel>,
    /// The encoded bytes.
    pub payload: Bytes,
}

/// A whole frame as a receiver gets it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// Whose.
    pub track: TrackId,
    /// Number of the frame in (source, encoding).
    pub number: u32,
    /// RTP timestamp as it travelled.
    pub timestamp: u32,
    /// The frame; `time` is the extended RTP timestamp.
    pub frame: EncodedFrame,
}
