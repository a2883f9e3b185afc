//! Encodings and layers: what a sender makes and what a selector picks.

use serde::{Deserialize, Serialize};

/// Encodings of one source: full, half and quarter size.
pub const MAX_ENCODINGS: usize = 3;

/// Temporal layers of one encoding (two bits of the origin's layer byte are kept for them).
pub const MAX_TEMPORAL_LAYERS: usize = 4;

/// One encoding of a source, 0 the largest. Its RID (RFC 8852) is `f`, `h` or `q`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EncodingId(pub u8);

impl EncodingId {
    /// The restriction identifier this encoding carries in SDP and in the RID header extension.
    #[must_use]
    pub const fn rid(self) -> &'static str {
        match self.0 {
            0 => "f",
            1 => "h",
            _ => "q",
        }
    }

    /// The encoding of a RID; `None` for a RID this house does not use.
    #[must_use]
    pub fn from_rid(rid: &str) -> Option<Self> {
        match rid {
            "f" => Some(Self(0)),
            "h" => Some(Self(1)),
            "q" => Some(Self(2)),
            _ => None,
        }
    }
}

/// A temporal layer, 0 the base that everything else refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TemporalId(pub u8);

/// An encoding and a temporal layer of it: one packet number space of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayerId {
    /// The encoding.
    pub encoding: EncodingId,
    /// The temporal layer in it.
    pub temporal: TemporalId,
}

impl LayerId {
    /// A layer from its two numbers.
    #[must_use]
    pub const fn new(encoding: u8, temporal: u8) -> Self {
        Self { encoding: EncodingId(encoding), temporal: TemporalId(temporal) }
    }
}
