//! The relay's session descriptions: answers to publishers, offers to subscribers (JSEP RFC 9429, for an ICE-lite host that only
//! ever bundles).
//!
//! Descriptions of clients are read by [`segue_session::sdp`]; what is decided and written stands here. A description that cannot
//! be used is an [`SdpRefusal`]: bad SDP, or incompatible, with a sentence for whoever has to fix it.

mod answer;
mod fragment;
mod offer;
#[cfg(test)]
mod tests;
mod write;

use std::net::SocketAddr;

use segue_model::{Ssrc, TrackKind};
use segue_session::sdp::{Codec, Description, SdpError, Section, SectionKind};
use thiserror::Error;

use crate::media_plane::Refusal;
use crate::transport::{Fingerprint, IceCredentials};

pub use answer::{PlayerOffer, PublisherOffer, PublisherSection};
pub use fragment::IceFragment;
pub use offer::{AnsweredSlot, Slot, SubscriberAnswer, subscriber_offer};

/// Payload type of Opus in our offers.
pub const OPUS: u8 = 111;

/// Payload type of H.264 in our offers.
pub const H264: u8 = 102;

/// Payload type of its repair format in our offers.
pub const H264_RTX: u8 = 103;

/// Our side of a transport, as it is written into every description of it.
#[derive(Clone, Copy, Debug)]
pub struct LocalTransport<'a> {
    /// ICE credentials of the session.
    pub credentials: &'a IceCredentials,
    /// Of this process's certificate.
    pub fingerprint: &'a Fingerprint,
    /// Announced UDP addresses of the shard, best first; at least one.
    pub candidates: &'a [SocketAddr],
    /// Session id of the `o=` line: one for the life of a transport.
    pub session: u64,
    /// Session version of the `o=` line: grows with every description.
    pub version: u64,
}

/// A media stream with its repair stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPair {
    /// SSRC of the media.
    pub ssrc: Ssrc,
    /// SSRC of its retransmissions.
    pub rtx: Option<Ssrc>,
}

/// Why a description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SdpRefusal {
    /// Not a session description.
    #[error(transparent)]
    Bad(#[from] SdpError),
    /// An answer that does not fit the offer.
    #[error("the answer has {got} sections where the offer has {wanted}: answer every section, in order")]
    SectionCount {
        /// Sections of the offer.
        wanted: usize,
        /// Sections of the answer.
        got: usize,
    },
    /// No section can be used.
    #[error("no common codec: offer Opus for audio and H.264 constrained baseline with packetization-mode=1 for video")]
    NoCommonCodec,
    /// No section of a player's offer receives.
    #[error("the offer receives nothing: say recvonly or sendrecv in at least one section of audio or video")]
    NothingReceived,
    /// No section of a publisher's offer sends.
    #[error("the offer sends nothing: say sendonly or sendrecv in at least one section of audio or video")]
    NothingSent,
    /// ICE parameters are missing.
    #[error("the session description has no ice-ufrag or ice-pwd: the relay speaks ICE only")]
    NoIce,
    /// The certificate fingerprint is missing.
    #[error(
        "the session description has no usable fingerprint: the relay speaks DTLS-SRTP only, with sha-256, sha-384 or sha-512"
    )]
    NoFingerprint,
    /// The client wants to be the DTLS server.
    #[error(
        "the session description says setup:passive: the relay is always the DTLS server, so offer actpass or answer active"
    )]
    Passive,
    /// RTP and RTCP on two ports.
    #[error("a section of the session description lacks rtcp-mux: the relay has one port for RTP and RTCP")]
    NoRtcpMux,
}

impl SdpRefusal {
    /// What kind of mistake, for signalling.
    #[must_use]
    pub fn kind(&self) -> Refusal {
        match self {
            Self::Bad(SdpError::TooManySections) => Refusal::Limit,
            Self::Bad(_) | Self::SectionCount { .. } => Refusal::BadSdp,
            Self::NoCommonCodec
            | Self::NothingReceived
            | Self::NothingSent
            | Self::NoIce
            | Self::NoFingerprint
            | Self::Passive
            | Self::NoRtcpMux => Refusal::Incompatible,
        }
    }
}

/// What of a codec list this relay forwards.
struct Chosen<'a> {
    codec: &'a Codec,
    /// What our `a=fmtp` says for it.
    fmtp: String,
}

/// Parameters of our H.264 beyond the profile: whole frames over several packets, and each end sends at the level it likes (RFC
/// 6184 section 8.1).
const H264_PARAMETERS: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=";

/// The profile and level of an H.264 format that names none (RFC 6184 section 8.1): baseline at level 1.
const DEFAULT_PROFILE: &str = "42000a";

/// Parameters of our Opus: packets may be short, and loss is answered with in-band FEC (RFC 7587 section 6.1).
const OPUS_PARAMETERS: &str = "minptime=10;useinbandfec=1";

fn choose<'a>(section: &'a Section) -> Option<Chosen<'a>> {
    match section.kind {
        SectionKind::Audio => {
            let codec =
                section.codecs.iter().find(|codec| codec.name.eq_ignore_ascii_case("opus") && codec.clock_rate == 48_000)?;
            Some(Chosen { codec, fmtp: OPUS_PARAMETERS.to_owned() })
        }
        SectionKind::Video => {
            let find = |profile: &str| {
                section.codecs.iter().find(|codec| {
                    codec.name.eq_ignore_ascii_case("h264")
                        && codec.clock_rate == 90_000
                        && codec.parameter("packetization-mode") == Some("1")
                        && codec
                            .parameter("profile-level-id")
                            .unwrap_or(DEFAULT_PROFILE)
                            .to_ascii_lowercase()
                            .starts_with(profile)
                })
            };
            // Constrained baseline; plain baseline is what old encoders call the same thing. What is forwarded is not looked into, so a client
            // that has another profile only may send it: whoever cannot decode that offered it nowhere.
            let (codec, profile) = find("42e0")
                .map(|codec| (codec, "42e01f"))
                .or_else(|| find("4200").map(|codec| (codec, "42001f")))
                .or_else(|| find("").map(|codec| (codec, codec.parameter("profile-level-id").unwrap_or(DEFAULT_PROFILE))))?;
            Some(Chosen { codec, fmtp: format!("{H264_PARAMETERS}{profile}") })
        }
        SectionKind::Data | SectionKind::Other => None,
    }
}

fn kind_of(section: &Section) -> Option<TrackKind> {
    match section.kind {
        SectionKind::Audio => Some(TrackKind::Audio),
        SectionKind::Video => Some(TrackKind::Video),
        SectionKind::Data | SectionKind::Other => None,
    }
}

/// ICE and DTLS of a description: those of its first section in use, since there is one transport (RFC 8843).
fn remote_transport(description: &Description) -> Result<(String, Vec<Fingerprint>), SdpRefusal> {
    let section = description.sections.iter().find(|section| !section.rejected).ok_or(SdpRefusal::NoCommonCodec)?;
    if section.ice.ufrag.is_empty() || section.ice.pwd.is_empty() {
        return Err(SdpRefusal::NoIce);
    }
    let usable = |algorithm: &str| matches!(algorithm, "sha-256" | "sha-384" | "sha-512");
    let fingerprints: Vec<_> = section
        .fingerprints
        .iter()
        .filter(|fingerprint| usable(&fingerprint.algorithm))
        .map(|fingerprint| Fingerprint { algorithm: fingerprint.algorithm.clone(), digest: fingerprint.digest.clone() })
        .collect();
    if fingerprints.is_empty() {
        return Err(SdpRefusal::NoFingerprint);
    }
    Ok((section.ice.ufrag.clone(), fingerprints))
}
