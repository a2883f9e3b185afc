//! The origin: one identity per media packet, the same on every leg it travels (`core/ARCHITECTURE.md`, "Origin").

use segue_model::{EncodingId, LayerId, TemporalId, TrackId};

/// URI of the header extension in SDP (`a=extmap`).
pub const ORIGIN_URI: &str = "urn:segue:origin";

/// Length of the extension on the wire. Fits the one-byte form of RFC 8285 section 4.2 (at most 16 bytes).
pub const ORIGIN_LEN: usize = 13;

/// End-to-end identity of a media packet. Wire form, big endian: source u16 | encoding (high nibble) and temporal layer (low
/// nibble) u8 | flags u8 | packet number u32 | frame number u32 | reference distance u8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The track.
    pub source: TrackId,
    /// The encoding and temporal layer: one packet number space.
    pub layer: LayerId,
    /// What the packet is to its frame.
    pub flags: OriginFlags,
    /// Counts packets of (source, encoding, temporal layer).
    pub packet: u32,
    /// Counts frames of (source, encoding) over all temporal layers.
    pub frame: u32,
    /// How many frames back the frame lies that this one refers to; 0 for none (keyframe, audio).
    pub refers_back: u8,
}

/// Bits of the origin's flag byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OriginFlags {
    /// First packet of its frame.
    pub first: bool,
    /// Last packet of its frame.
    pub last: bool,
    /// Belongs to a keyframe.
    pub keyframe: bool,
    /// No other frame refers to this one.
    pub discardable: bool,
    /// A probe: proves a path, carries no media and is never played.
    pub probe: bool,
    /// On keyframes: no larger encoding of the track goes to the relay from here on. Whoever got one is to get this one.
    pub largest: bool,
}

impl OriginFlags {
    const FIRST: u8 = 0x01;
    const LAST: u8 = 0x02;
    const KEYFRAME: u8 = 0x04;
    const DISCARDABLE: u8 = 0x08;
    const PROBE: u8 = 0x10;
    const LARGEST: u8 = 0x20;

    fn to_byte(self) -> u8 {
        let bit = |set: bool, mask: u8| if set { mask } else { 0 };
        bit(self.first, Self::FIRST)
            | bit(self.last, Self::LAST)
            | bit(self.keyframe, Self::KEYFRAME)
            | bit(self.discardable, Self::DISCARDABLE)
            | bit(self.probe, Self::PROBE)
            | bit(self.largest, Self::LARGEST)
    }

    fn from_byte(byte: u8) -> Self {
        Self {
            first: byte & Self::FIRST != 0,
            last: byte & Self::LAST != 0,
            keyframe: byte & Self::KEYFRAME != 0,
            discardable: byte & Self::DISCARDABLE != 0,
            probe: byte & Self::PROBE != 0,
            largest: byte & Self::LARGEST != 0,
        }
    }
}

impl Origin {
    /// The wire form.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ORIGIN_LEN] {
        let [s0, s1] = self.source.0.to_be_bytes();
        let [p0, p1, p2, p3] = self.packet.to_be_bytes();
        let [f0, f1, f2, f3] = self.frame.to_be_bytes();
        let layer = (self.layer.encoding.0 << 4) | (self.layer.temporal.0 & 0x0f);
        [s0, s1, layer, self.flags.to_byte(), p0, p1, p2, p3, f0, f1, f2, f3, self.refers_back]
    }

    /// Reads the wire form; `None` where the length is not [`ORIGIN_LEN`] or a layer is out of range.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let &[s0, s1, layer, flags, p0, p1, p2, p3, f0, f1, f2, f3, refers_back] = bytes else {
            return None;
        };
        let (encoding, temporal) = (layer >> 4, layer & 0x0f);
        if usize::from(encoding) >= segue_model::MAX_ENCODINGS || usize::from(temporal) >= segue_model::MAX_TEMPORAL_LAYERS {
            return None;
        }
        Some(Self {
            source: TrackId(u16::from_be_bytes([s0, s1])),
            layer: LayerId { encoding: EncodingId(encoding), temporal: TemporalId(temporal) },
            flags: OriginFlags::from_byte(flags),
            packet: u32::from_be_bytes([p0, p1, p2, p3]),
            frame: u32::from_be_bytes([f0, f1, f2, f3]),
            refers_back,
        })
    }
}
