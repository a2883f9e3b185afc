//! What was negotiated for one transport, as far as forwarding needs it.

use segue_media::packet::{ExtensionMap, Label};
use segue_model::{EncodingId, Ssrc, TrackId, TrackKind};

/// Negotiated payload types (RFC 3551 section 6); `None`: not negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadTypes {
    /// Opus.
    pub audio: Option<u8>,
    /// H.264.
    pub video: Option<u8>,
    /// Retransmissions of H.264 (RFC 4588).
    pub video_rtx: Option<u8>,
}

/// One transport's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegParameters {
    /// Ids of the header extensions.
    pub extensions: ExtensionMap,
    /// Payload types.
    pub payload_types: PayloadTypes,
}

/// Which kind of stream a payload type means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamKind {
    pub(crate) kind: TrackKind,
    pub(crate) rtx: bool,
}

impl PayloadTypes {
    pub(crate) fn stream_kind(&self, payload_type: u8) -> Option<StreamKind> {
        let payload_type = Some(payload_type);
        if payload_type == self.audio {
            Some(StreamKind { kind: TrackKind::Audio, rtx: false })
        } else if payload_type == self.video {
            Some(StreamKind { kind: TrackKind::Video, rtx: false })
        } else if payload_type == self.video_rtx {
            Some(StreamKind { kind: TrackKind::Video, rtx: true })
        } else {
            None
        }
    }

    pub(crate) fn of(&self, kind: TrackKind) -> Option<u8> {
        match kind {
            TrackKind::Audio => self.audio,
            TrackKind::Video => self.video,
        }
    }
}

/// A stream of a publisher without origin, as its session description ties it to an encoding of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The track of the media section.
    pub track: TrackId,
    /// The encoding; 0 where there is one only.
    pub encoding: EncodingId,
    /// MID of the section (RFC 9143).
    pub mid: Option<Label>,
    /// RID of the encoding (RFC 8852), where there are several.
    pub rid: Option<Label>,
    /// Declared SSRC (`a=ssrc`).
    pub ssrc: Option<Ssrc>,
    /// Declared SSRC of its retransmissions (`a=ssrc-group:FID`).
    pub rtx_ssrc: Option<Ssrc>,
}
