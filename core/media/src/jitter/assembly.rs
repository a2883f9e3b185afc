//! One video frame while its packets come.

use std::collections::BTreeMap;

use bytes::Bytes;
use segue_model::{LayerId, MediaTime, TrackKind};

use crate::frame::EncodedFrame;
use crate::h264::{self, DepacketiseError};
use crate::packet::{MediaPacket, Origin};

/// Packets of a frame at most: what a sender may cut its largest frame into.
const MAX_PACKETS: usize = 4_096;

/// A frame and the packets of it that came.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) layer: LayerId,
    pub(super) time: MediaTime,
    pub(super) timestamp: u32,
    pub(super) keyframe: bool,
    discardable: bool,
    refers_back: u8,
    /// All packets are placed by their distance from this number, so that a wrap of the numbers does not matter.
    base: u32,
    packets: BTreeMap<i32, Bytes>,
    first: Option<i32>,
    last: Option<i32>,
    bytes: usize,
}

impl Assembly {
    pub(super) fn new(packet: &MediaPacket, time: MediaTime) -> Self {
        let Origin { layer, flags, packet: base, refers_back, .. } = packet.origin;
        Self {
            layer,
            time,
            timestamp: packet.timestamp,
            keyframe: flags.keyframe,
            discardable: flags.discardable,
            refers_back,
            base,
            packets: BTreeMap::new(),
            first: None,
            last: None,
            bytes: 0,
        }
    }

    /// Adds a packet; false where it contradicts what the frame is known to be.
    pub(super) fn insert(&mut self, packet: MediaPacket) -> bool {
        let Origin { layer, flags, .. } = packet.origin;
        let same = layer == self.layer && packet.timestamp == self.timestamp;
        let place = packet.origin.packet.wrapping_sub(self.base) as i32;
        if !same || place.unsigned_abs() as usize > MAX_PACKETS || self.packets.len() >= MAX_PACKETS {
            return false;
        }
        if flags.first {
            self.first = Some(place);
        }
        if flags.last {
            self.last = Some(place);
        }
        // A frame of a browser is known for a keyframe by its first slice only.
        self.keyframe |= flags.keyframe;
        self.bytes += packet.payload.len();
        self.packets.insert(place, packet.payload);
        true
    }

    pub(super) fn is_complete(&self) -> bool {
        let (Some(first), Some(last)) = (self.first, self.last) else { return false };
        let count = i64::from(last) - i64::from(first) + 1;
        count == self.packets.len() as i64
    }

    /// How many frames back lies the frame it needs; `None` where it needs none. A frame that is no keyframe and names none
    /// (a browser's) needs the one before it.
    pub(super) fn needs(&self) -> Option<u64> {
        (!self.keyframe).then(|| u64::from(self.refers_back.max(1)))
    }

    /// Payload bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of the first packet of a complete frame, and of the packet after it.
    pub(super) fn packet_range(&self) -> Option<(u32, u32)> {
        let number = |place: i32| self.base.wrapping_add(place as u32);
        Some((number(self.first?), number(self.last?).wrapping_add(1)))
    }

    /// The frame, from a complete assembly.
    pub(super) fn finish(&self) -> Result<EncodedFrame, DepacketiseError> {
        Ok(EncodedFrame {
            kind: TrackKind::Video,
            layer: self.layer,
            time: self.time,
            keyframe: self.keyframe,
            discardable: self.discardable,
            refers_back: if self.keyframe { 0 } else { self.refers_back },
            audio_level: None,
            payload: h264::depacketise(self.packets.values())?,
        })
    }
}
