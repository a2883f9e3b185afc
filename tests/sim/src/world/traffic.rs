//! What a participant sent and received, frame by frame.

use std::collections::BTreeMap;

use segue_media::packet::RtpPacket;
use segue_model::TrackId;

/// A frame: its track, and its RTP timestamp, which is the same on every path and in every run.
pub type FrameKey = (TrackId, u32);

/// Bytes of a frame on all legs together, repairs included.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameBytes {
    pub bytes: u64,
    pub keyframe: bool,
}

/// One direction.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub frames: BTreeMap<FrameKey, FrameBytes>,
    /// What belongs to no frame: padding, and probes of silent sources.
    pub other: u64,
}

impl Ledger {
    pub fn note(&mut self, packet: &RtpPacket) {
        let bytes = packet.payload.len() as u64;
        match packet.header.extensions.origin.filter(|origin| !origin.flags.probe) {
            Some(origin) => {
                let frame = self.frames.entry((origin.source, packet.header.timestamp)).or_default();
                frame.bytes += bytes;
                frame.keyframe |= origin.flags.keyframe;
            }
            None => self.other += bytes,
        }
    }
}

/// Both directions.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    pub sent: Ledger,
    pub received: Ledger,
}
