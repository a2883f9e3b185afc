//! RTP header extensions (RFC 8285): which are known, which ids they have on a leg, what they carry.

use std::fmt;

use super::media::AudioLevel;
use super::origin::Origin;

/// Longest MID or RID that is taken: what the one-byte form of RFC 8285 section 4.2 can carry.
pub const MAX_LABEL: usize = 16;

/// Highest id of the one-byte form; 15 is reserved there (RFC 8285 section 4.2).
pub(super) const MAX_ONE_BYTE_ID: u8 = 14;

/// URIs of the extensions as they stand in `a=extmap`.
pub mod uri {
    /// RFC 6464.
    pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    /// 24 bits of 6.18 fixed-point seconds.
    pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    /// draft-holmer-rmcat-transport-wide-cc-extensions-01 section 2.
    pub const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    /// RFC 9143.
    pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    /// RFC 8852.
    pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    /// RFC 8852.
    pub const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
    pub use super::super::origin::ORIGIN_URI as ORIGIN;
}

/// A MID or RID: one to [`MAX_LABEL`] printable ASCII bytes, inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    len: u8,
    bytes: [u8; MAX_LABEL],
}

impl Label {
    /// `None` where the text is empty, too long or not printable ASCII.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes())
    }

    /// Same from the bytes of a header extension.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        if text.is_empty() || !text.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut bytes = [0; MAX_LABEL];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { len: u8::try_from(text.len()).ok()?, bytes })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The ids negotiated for a leg. `None`: not negotiated, neither written nor read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExtensionMap {
    /// Audio level.
    pub audio_level: Option<u8>,
    /// Absolute send time.
    pub abs_send_time: Option<u8>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u8>,
    /// Media section.
    pub mid: Option<u8>,
    /// Segue's origin.
    pub origin: Option<u8>,
    /// Encoding.
    pub rid: Option<u8>,
    /// Encoding an RTX stream repairs.
    pub repaired_rid: Option<u8>,
}

impl ExtensionMap {
    /// The ids of our own offers.
    #[must_use]
    pub const fn ours() -> Self {
        Self {
            audio_level: Some(1),
            abs_send_time: Some(2),
            transport_cc: Some(3),
            mid: Some(4),
            origin: Some(5),
            rid: Some(10),
            repaired_rid: Some(11),
        }
    }

    /// Takes one `a=extmap` entry; false where the URI is not one of ours or the id is not usable (0, or above 255).
    pub fn insert(&mut self, uri: &str, id: u16) -> bool {
        let Some(id) = u8::try_from(id).ok().filter(|id| *id != 0) else {
            return false;
        };
        let slot = match uri {
            uri::AUDIO_LEVEL => &mut self.audio_level,
            uri::ABS_SEND_TIME => &mut self.abs_send_time,
            uri::TRANSPORT_CC => &mut self.transport_cc,
            uri::MID => &mut self.mid,
            uri::ORIGIN => &mut self.origin,
            uri::RID => &mut self.rid,
            uri::REPAIRED_RID => &mut self.repaired_rid,
            _ => return false,
        };
        *slot = Some(id);
        true
    }

    /// Every negotiated (URI, id), in the order of our offers.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, u8)> + use<> {
        [
            (uri::AUDIO_LEVEL, self.audio_level),
            (uri::ABS_SEND_TIME, self.abs_send_time),
            (uri::TRANSPORT_CC, self.transport_cc),
            (uri::MID, self.mid),
            (uri::ORIGIN, self.origin),
            (uri::RID, self.rid),
            (uri::REPAIRED_RID, self.repaired_rid),
        ]
        .into_iter()
        .filter_map(|(uri, id)| id.map(|id| (uri, id)))
    }
}

/// What the known extensions of one packet carry. An element of wrong length or content counts as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 6464.
    pub audio_level: Option<AudioLevel>,
    /// 6.18 fixed-point seconds, 24 bits.
    pub abs_send_time: Option<u32>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u16>,
    /// Media section.
    pub mid: Option<Label>,
    /// End-to-end identity.
    pub origin: Option<Origin>,
    /// Encoding.
    pub rid: Option<Label>,
    /// Encoding an RTX stream repairs.
    pub repaired_rid: Option<Label>,
}

impl Extensions {
    /// Reads the element `id` carries on this leg.
    pub(super) fn read(&mut self, map: &ExtensionMap, id: u8, data: &[u8]) {
        let id = Some(id);
        if id == map.origin {
            self.origin = Origin::from_bytes(data);
        } else if id == map.transport_cc {
            // The second version of the extension has four bytes: the number comes first.
            self.transport_cc = data.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        } else if id == map.abs_send_time {
            self.abs_send_time = <&[u8; 3]>::try_from(data).ok().map(|&[a, b, c]| u32::from_be_bytes([0, a, b, c]));
        } else if id == map.audio_level {
            self.audio_level = data.first().map(|byte| AudioLevel { level: byte & 0x7f, voice: byte & 0x80 != 0 });
        } else if id == map.mid {
            self.mid = Label::from_bytes(data);
        } else if id == map.rid {
            self.rid = Label::from_bytes(data);
        } else if id == map.repaired_rid {
            self.repaired_rid = Label::from_bytes(data);
        }
    }

    /// Calls `element` with every (id, data) to be written on this leg, always in the same order, so that the layout of a
    /// stream's packets does not change.
    pub(super) fn each(&self, map: &ExtensionMap, mut element: impl FnMut(u8, &[u8])) {
        if let (Some(id), Some(level)) = (map.audio_level, self.audio_level) {
            element(id, &[(level.level & 0x7f) | if level.voice { 0x80 } else { 0 }]);
        }
        if let (Some(id), Some(time)) = (map.abs_send_time, self.abs_send_time) {
            element(id, &super::cursor::u24_bytes(time));
        }
        if let (Some(id), Some(number)) = (map.transport_cc, self.transport_cc) {
            element(id, &number.to_be_bytes());
        }
        if let (Some(id), Some(origin)) = (map.origin, self.origin) {
            element(id, &origin.to_bytes());
        }
        for (id, label) in [(map.mid, self.mid), (map.rid, self.rid), (map.repaired_rid, self.repaired_rid)] {
            if let (Some(id), Some(label)) = (id, label) {
                element(id, label.as_bytes());
            }
        }
    }
}
