//! Video codecs the house knows.

use serde::{Deserialize, Serialize};

/// How the pictures of a track are coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VideoCodec {
    /// RFC 6184; what every participant decodes.
    #[default]
    H264,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// "RTP Payload Format For AV1" of the Alliance for Open Media.
    Av1,
}

impl VideoCodec {
    /// All of them, in the order of our offers.
    pub const ALL: [Self; 4] = [Self::H264, Self::Vp8, Self::Vp9, Self::Av1];

    /// Its place in [`VideoCodec::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::H264 => 0,
            Self::Vp8 => 1,
            Self::Vp9 => 2,
            Self::Av1 => 3,
        }
    }

    /// Its name in `a=rtpmap`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
        }
    }

    /// The codec of an `a=rtpmap` name, whatever its case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }
}
