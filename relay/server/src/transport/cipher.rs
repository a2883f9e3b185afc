//! SRTP of one session: AES-GCM in place, or AES-CM on a slow path for peers that have nothing better.

use rtc_crypto::RTCCryptoProvider;
use rtc_shared::error::Error;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use segue_model::{ExtSeq, Ssrc};
use segue_srtp::{KeyingMaterial, OpenError, Profile, SealError, SealGuard, SrtpReceiver, SrtpSender};
use thiserror::Error;

use super::contain::contain;
use super::drops::DropReason;

/// Bytes a caller leaves behind an RTP packet that is to be sealed: the most any profile adds.
pub const RTP_ROOM: usize = 16;

/// Bytes a caller leaves behind an RTCP packet that is to be sealed.
pub const RTCP_ROOM: usize = 20;

/// SSRCs one direction of the slow path may have, as in `segue_srtp`.
const MAX_SLOW_STREAMS: usize = segue_srtp::MAX_STREAMS;

/// Replay window of the slow path in packets, as in `segue_srtp`.
const SLOW_WINDOW: usize = segue_srtp::WINDOW as usize;

/// Key and salt lengths of AES-CM (RFC 3711 section 8.2).
const CM_KEY_LEN: usize = 16;
const CM_SALT_LEN: usize = 14;

/// The SRTP profile of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrtpProfile {
    /// `SRTP_AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`.
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`: four times the cost, on the slow path.
    Aes128CmSha1_80,
}

/// Why a packet was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealFailure {
    /// There are no keys yet, or no longer.
    #[error("transport is not connected")]
    NotConnected,
    /// The buffer has no room for the tag.
    #[error("no room for the tag behind the packet")]
    NoRoom,
    /// As in `segue_srtp`.
    #[error(transparent)]
    Refused(#[from] SealError),
    /// The slow path failed.
    #[error("the slow path failed")]
    SlowPath,
}

/// Keys and state of both directions. We are the DTLS server, so we write with its key.
#[derive(Debug)]
pub(super) enum MediaCipher {
    Fast { send: Box<SrtpSender>, receive: Box<SrtpReceiver> },
    Slow(Box<SlowCipher>),
}

impl SrtpProfile {
    /// Our order of preference.
    const PREFERENCE: [Self; 3] = [Self::AeadAes128Gcm, Self::AeadAes256Gcm, Self::Aes128CmSha1_80];

    /// The number in `use_srtp`.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::AeadAes128Gcm => Profile::AeadAes128Gcm.id(),
            Self::AeadAes256Gcm => Profile::AeadAes256Gcm.id(),
            Self::Aes128CmSha1_80 => 0x0001,
        }
    }

    /// The best of what the client offers.
    pub(super) fn choose(offered: &[u16]) -> Option<Self> {
        Self::PREFERENCE.into_iter().find(|profile| offered.contains(&profile.id()))
    }

    /// Bytes to ask the DTLS exporter for.
    pub(super) const fn exporter_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm => Profile::AeadAes128Gcm.exporter_len(),
            Self::AeadAes256Gcm => Profile::AeadAes256Gcm.exporter_len(),
            Self::Aes128CmSha1_80 => 2 * (CM_KEY_LEN + CM_SALT_LEN),
        }
    }
}

impl MediaCipher {
    pub(super) fn new(profile: SrtpProfile, material: &[u8], crypto: &dyn RTCCryptoProvider) -> Option<Self> {
        let fast = match profile {
            SrtpProfile::AeadAes128Gcm => Profile::AeadAes128Gcm,
            SrtpProfile::AeadAes256Gcm => Profile::AeadAes256Gcm,
            SrtpProfile::Aes128CmSha1_80 => return SlowCipher::new(material, crypto).map(|slow| Self::Slow(Box::new(slow))),
        };
        let keys = KeyingMaterial::from_exporter(fast, material).ok()?;
        Some(Self::Fast {
            send: Box::new(SrtpSender::new(&keys.server).ok()?),
            receive: Box::new(SrtpReceiver::new(&keys.client).ok()?),
        })
    }

    pub(super) fn profile_is_slow(&self) -> bool {
        matches!(self, Self::Slow(_))
    }

    pub(super) fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        match self {
            Self::Fast { receive, .. } => receive.open_rtp(packet).map_err(|error| reason(error, false)),
            Self::Slow(slow) => slow.open(packet, false),
        }
    }

    pub(super) fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        match self {
            Self::Fast { receive, .. } => receive.open_rtcp(packet).map_err(|error| reason(error, true)),
            Self::Slow(slow) => slow.open(packet, true),
        }
    }

    pub(super) fn seal_rtp(&mut self, index: ExtSeq, buffer: &mut [u8], len: usize) -> Result<usize, SealFailure> {
        match self {
            Self::Fast { send, .. } => {
                let sealed = len + segue_srtp::RTP_OVERHEAD;
                send.seal_rtp(index, buffer.get_mut(..sealed).ok_or(SealFailure::NoRoom)?)?;
                Ok(sealed)
            }
            Self::Slow(slow) => slow.seal_rtp(index, buffer, len),
        }
    }

    pub(super) fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SealFailure> {
        match self {
            Self::Fast { send, .. } => {
                let sealed = len + segue_srtp::RTCP_OVERHEAD;
                send.seal_rtcp(buffer.get_mut(..sealed).ok_or(SealFailure::NoRoom)?)?;
                Ok(sealed)
            }
            Self::Slow(slow) => slow.seal_rtcp(buffer, len),
        }
    }
}

fn reason(error: OpenError, rtcp: bool) -> DropReason {
    match (error, rtcp) {
        (OpenError::Malformed | OpenError::Unencrypted, false) => DropReason::RtpMalformed,
        (OpenError::Malformed | OpenError::Unencrypted, true) => DropReason::RtcpMalformed,
        (OpenError::Replayed | OpenError::TooOld, false) => DropReason::RtpReplayed,
        (OpenError::Replayed | OpenError::TooOld, true) => DropReason::RtcpReplayed,
        (OpenError::Unauthentic, false) => DropReason::RtpUnauthentic,
        (OpenError::Unauthentic, true) => DropReason::RtcpUnauthentic,
        (OpenError::TooManyStreams, _) => DropReason::StreamLimit,
    }
}

/// AES-CM with HMAC-SHA1 through the library, which copies every packet. The library makes state for an SSRC before it knows that
/// the packet is authentic, so here an SSRC is first tried on a context that is thrown away.
pub(super) struct SlowCipher {
    send: Context,
    receive: Context,
    guard: SealGuard,
    keys: CmKeys,
    /// SSRCs that sent authentic RTP and RTCP, sorted.
    known: [Vec<u32>; 2],
}

/// The peer's key and salt, kept for trials.
struct CmKeys {
    key: [u8; CM_KEY_LEN],
    salt: [u8; CM_SALT_LEN],
    crypto: rtc_crypto::providers::RingProvider,
}

impl SlowCipher {
    fn new(material: &[u8], crypto: &dyn RTCCryptoProvider) -> Option<Self> {
        let (client_key, rest) = material.split_first_chunk::<CM_KEY_LEN>()?;
        let (server_key, rest) = rest.split_first_chunk::<CM_KEY_LEN>()?;
        let (client_salt, rest) = rest.split_first_chunk::<CM_SALT_LEN>()?;
        let server_salt = rest.first_chunk::<CM_SALT_LEN>()?;
        let profile = ProtectionProfile::Aes128CmHmacSha1_80;
        let send = Context::new(server_key, server_salt, profile, None, None, crypto.crypto()).ok()?;
        let keys = CmKeys { key: *client_key, salt: *client_salt, crypto: rtc_crypto::providers::RingProvider::new() };
        Some(Self { send, receive: keys.context()?, guard: SealGuard::new(), keys, known: [Vec::new(), Vec::new()] })
    }

    fn open(&mut self, packet: &mut [u8], rtcp: bool) -> Result<usize, DropReason> {
        let malformed = if rtcp { DropReason::RtcpMalformed } else { DropReason::RtpMalformed };
        let ssrc = ssrc_of(packet, rtcp).ok_or(malformed)?;
        let known = &mut self.known[usize::from(rtcp)];
        let place = known.binary_search(&ssrc);
        if let Err(at) = place {
            if known.len() >= MAX_SLOW_STREAMS {
                return Err(DropReason::StreamLimit);
            }
            let mut trial = self.keys.context().ok_or(malformed)?;
            decrypt(&mut trial, packet, rtcp)?;
            known.insert(at, ssrc);
        }
        let plain = decrypt(&mut self.receive, packet, rtcp)?;
        packet.get_mut(..plain.len()).ok_or(malformed)?.copy_from_slice(&plain);
        Ok(plain.len())
    }

    fn seal_rtp(&mut self, index: ExtSeq, buffer: &mut [u8], len: usize) -> Result<usize, SealFailure> {
        let plain = buffer.get(..len).ok_or(SealFailure::NoRoom)?;
        let ssrc = ssrc_of(plain, false).ok_or(SealError::Malformed)?;
        self.guard.reserve(Ssrc(ssrc), index)?;
        let send = &mut self.send;
        let sealed = contain(|| send.encrypt_rtp(plain)).ok().and_then(Result::ok).ok_or(SealFailure::SlowPath)?;
        buffer.get_mut(..sealed.len()).ok_or(SealFailure::NoRoom)?.copy_from_slice(&sealed);
        Ok(sealed.len())
    }

    fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SealFailure> {
        let plain = buffer.get(..len).ok_or(SealFailure::NoRoom)?;
        let send = &mut self.send;
        let sealed = contain(|| send.encrypt_rtcp(plain)).ok().and_then(Result::ok).ok_or(SealFailure::SlowPath)?;
        buffer.get_mut(..sealed.len()).ok_or(SealFailure::NoRoom)?.copy_from_slice(&sealed);
        Ok(sealed.len())
    }
}

impl CmKeys {
    fn context(&self) -> Option<Context> {
        let profile = ProtectionProfile::Aes128CmHmacSha1_80;
        let (rtp, rtcp) = (srtp_replay_protection(SLOW_WINDOW), srtcp_replay_protection(SLOW_WINDOW));
        Context::new(&self.key, &self.salt, profile, Some(rtp), Some(rtcp), self.crypto.crypto()).ok()
    }
}

impl std::fmt::Debug for SlowCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlowCipher").finish_non_exhaustive()
    }
}

/// A panic of the library leaves nothing half done here: the packet counts as not authentic.
fn decrypt(context: &mut Context, packet: &[u8], rtcp: bool) -> Result<bytes::BytesMut, DropReason> {
    let result = contain(|| if rtcp { context.decrypt_rtcp(packet) } else { context.decrypt_rtp(packet) });
    let (malformed, replayed, unauthentic) = if rtcp {
        (DropReason::RtcpMalformed, DropReason::RtcpReplayed, DropReason::RtcpUnauthentic)
    } else {
        (DropReason::RtpMalformed, DropReason::RtpReplayed, DropReason::RtpUnauthentic)
    };
    result.map_err(|_| malformed)?.map_err(|error| match error {
        Error::SrtpSsrcDuplicated(..) | Error::SrtcpSsrcDuplicated(..) => replayed,
        Error::ErrTooShortRtp | Error::ErrTooShortRtcp => malformed,
        _ => unauthentic,
    })
}

fn ssrc_of(packet: &[u8], rtcp: bool) -> Option<u32> {
    let at = if rtcp { 4 } else { 8 };
    packet.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
