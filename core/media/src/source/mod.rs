//! The sending half of a track: encoded frames become media packets with an origin, the same for every leg.

mod probe;

use std::collections::BTreeMap;

use bytes::Bytes;
use segue_model::{EncodingId, LayerId, MAX_ENCODINGS, MAX_TEMPORAL_LAYERS, MediaTime, TrackId, TrackKind};

pub use probe::{PROBE_INTERVAL, ProbeTimer, SILENT_AFTER};

use crate::frame::EncodedFrame;
use crate::packet::{MediaPacket, Origin, OriginFlags};
use crate::{h264, opus};

/// Largest frame taken: a keyframe of 4K screen content. Larger ones are a mistake of the encoder.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// Makes the packets of one track. All legs send what it makes; what differs between legs is theirs to add.
#[derive(Debug)]
pub struct SourceSender {
    track: TrackId,
    kind: TrackKind,
    /// Base of all timestamps (RFC 3550 section 5.1: random), the same for all encodings and legs.
    timestamp_base: u32,
    first_packet: u32,
    first_frame: u32,
    packets: BTreeMap<LayerId, u32>,
    frames: BTreeMap<EncodingId, u32>,
    probes: u32,
    last_time: Option<MediaTime>,
    /// The largest encoding the relay gets.
    largest: Option<EncodingId>,
}

impl SourceSender {
    /// A source whose timestamp base and first numbers come from `seed`.
    #[must_use]
    pub fn new(track: TrackId, kind: TrackKind, seed: u64) -> Self {
        let mixed = mix(seed ^ u64::from(track.0));
        let again = mix(mixed);
        Self {
            track,
            kind,
            timestamp_base: mixed as u32,
            first_packet: (mixed >> 32) as u32,
            first_frame: again as u32,
            packets: BTreeMap::new(),
            frames: BTreeMap::new(),
            probes: (again >> 32) as u32,
            last_time: None,
            largest: None,
        }
    }

    /// Says which encoding is the largest that the relay gets from now on, where it gets any: its keyframes say so.
    pub fn set_largest(&mut self, largest: Option<EncodingId>) {
        self.largest = largest;
    }

    /// The RTP timestamp of a capture time of this source, as every leg sends it.
    #[must_use]
    pub fn timestamp(&self, time: MediaTime) -> u32 {
        self.timestamp_base.wrapping_add(time.wire())
    }

    /// The packets of a frame, in order. Empty where the frame is none: no payload, no NAL unit, too large, a layer that an
    /// origin cannot name, or of the other kind.
    pub fn packetise(&mut self, frame: &EncodedFrame) -> Vec<MediaPacket> {
        let layer = frame.layer;
        let named = usize::from(layer.encoding.0) < MAX_ENCODINGS && usize::from(layer.temporal.0) < MAX_TEMPORAL_LAYERS;
        if !named || frame.kind != self.kind || frame.payload.is_empty() || frame.payload.len() > MAX_FRAME_BYTES {
            return Vec::new();
        }
        let payloads = match self.kind {
            TrackKind::Audio => vec![frame.payload.clone()],
            TrackKind::Video => h264::packetise(&frame.payload),
        };
        if payloads.is_empty() {
            return Vec::new();
        }
        let largest = self.largest == Some(layer.encoding);
        let number = self.frames.entry(layer.encoding).or_insert(self.first_frame);
        let frame_number = *number;
        *number = number.wrapping_add(1);
        let talk_starts = self.talk_starts(frame.time);
        self.last_time = Some(frame.time);
        let timestamp = self.timestamp(frame.time);
        let count = payloads.len();
        let next = self.packets.entry(layer).or_insert(self.first_packet);
        let mut packets = Vec::with_capacity(count);
        for (index, payload) in payloads.into_iter().enumerate() {
            let (first, last) = (index == 0, index + 1 == count);
            let EncodedFrame { keyframe, discardable, .. } = *frame;
            let flags = OriginFlags { first, last, keyframe, discardable, probe: false, largest: keyframe && largest };
            let refers_back = if frame.keyframe { 0 } else { frame.refers_back };
            let origin = Origin { source: self.track, layer, flags, packet: *next, frame: frame_number, refers_back };
            *next = next.wrapping_add(1);
            let marker = match self.kind {
                TrackKind::Video => last,
                TrackKind::Audio => talk_starts,
            };
            packets.push(MediaPacket { origin, kind: self.kind, timestamp, marker, audio_level: frame.audio_level, payload });
        }
        packets
    }

    /// A packet that proves a path while the source is silent. Probes have numbers of their own, so a lost one is no gap.
    pub fn probe(&mut self) -> MediaPacket {
        self.probes = self.probes.wrapping_add(1);
        let flags = OriginFlags { probe: true, ..OriginFlags::default() };
        let origin = Origin {
            source: self.track,
            layer: LayerId::default(),
            flags,
            packet: self.probes,
            frame: self.frames.get(&EncodingId(0)).copied().unwrap_or(self.first_frame),
            refers_back: 0,
        };
        let timestamp = self.timestamp(self.last_time.unwrap_or(MediaTime(0)));
        MediaPacket { origin, kind: self.kind, timestamp, marker: false, audio_level: None, payload: Bytes::new() }
    }

    /// RFC 7587 section 4.2: the first packet after silence carries the marker.
    fn talk_starts(&self, time: MediaTime) -> bool {
        self.last_time.is_none_or(|last| time.0.saturating_sub(last.0) > u64::from(opus::FRAME_SAMPLES))
    }
}

/// SplitMix64: seeds that differ little give numbers that differ much.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(time: u64, size: usize, keyframe: bool, layer: LayerId) -> EncodedFrame {
        let payload: Bytes = [0, 0, 0, 1, 0x65].into_iter().chain(std::iter::repeat_n(0x55, size)).collect();
        EncodedFrame {
            kind: TrackKind::Video,
            layer,
            time: MediaTime(time),
            keyframe,
            discardable: false,
            refers_back: u8::from(!keyframe),
            audio_level: None,
            payload,
        }
    }

    #[test]
    fn packets_count_per_layer_and_frames_per_encoding() {
        let mut sender = SourceSender::new(TrackId(7), TrackKind::Video, 1);
        let base = sender.packetise(&video(0, 3_000, true, LayerId::new(0, 0)));
        let upper = sender.packetise(&video(3_000, 10, false, LayerId::new(0, 1)));
        let next = sender.packetise(&video(6_000, 10, false, LayerId::new(0, 0)));
        let other = sender.packetise(&video(6_000, 10, true, LayerId::new(1, 0)));
        assert_eq!(base.len(), 3);
        assert!(base[0].origin.flags.first && !base[0].origin.flags.last && !base[0].marker);
        assert!(base[2].origin.flags.last && base[2].marker);
        assert_eq!(next[0].origin.packet, base[2].origin.packet.wrapping_add(1));
        assert_eq!(upper[0].origin.packet, base[0].origin.packet);
        assert_eq!(next[0].origin.frame, base[0].origin.frame.wrapping_add(2));
        assert_eq!(other[0].timestamp, next[0].timestamp, "timestamps are shared by all encodings");
        assert_eq!(next[0].timestamp.wrapping_sub(base[0].timestamp), 6_000);
    }

    #[test]
    fn keyframes_of_the_largest_encoding_say_so() {
        let mut sender = SourceSender::new(TrackId(7), TrackKind::Video, 1);
        sender.set_largest(Some(EncodingId(1)));
        let mut says =
            |keyframe, encoding| sender.packetise(&video(0, 10, keyframe, LayerId::new(encoding, 0)))[0].origin.flags.largest;
        assert_eq!([says(true, 0), says(true, 1), says(false, 1), says(true, 2)], [false, true, false, false]);
    }

    #[test]
    fn probes_take_no_media_number() {
        let mut sender = SourceSender::new(TrackId(7), TrackKind::Video, 1);
        let before = sender.packetise(&video(0, 10, true, LayerId::default()));
        let probes = [sender.probe(), sender.probe()];
        let after = sender.packetise(&video(3_000, 10, false, LayerId::default()));
        assert!(probes[0].origin.flags.probe);
        assert_ne!(probes[0].origin.packet, probes[1].origin.packet);
        assert_eq!(after[0].origin.packet, before[0].origin.packet.wrapping_add(1));
    }

    #[test]
    fn frames_that_are_none_give_no_packets() {
        let mut sender = SourceSender::new(TrackId(7), TrackKind::Video, 1);
        assert!(sender.packetise(&video(0, 10, true, LayerId::new(3, 0))).is_empty());
        assert!(
            sender.packetise(&EncodedFrame { kind: TrackKind::Audio, ..video(0, 10, true, LayerId::default()) }).is_empty()
        );
        assert!(sender.packetise(&EncodedFrame { payload: Bytes::new(), ..video(0, 10, true, LayerId::default()) }).is_empty());
        assert!(sender.packetise(&video(0, MAX_FRAME_BYTES, true, LayerId::default())).is_empty());
    }
}
