//! Sealing: one direction's packets on their way out.

use std::fmt;

use segue_model::{ExtSeq, Ssrc};
use thiserror::Error;

use crate::key::{Purpose, SessionCipher};
use crate::stream::StreamTable;
use crate::window::{IndexWindow, Seen};
use crate::{
    KeyError, MasterKey, RTCP_CLEAR_LEN, RTCP_ENCRYPTED, RTCP_INDEX_LEN, RTCP_OVERHEAD, RTP_OVERHEAD, TAG_LEN, header,
};

/// The highest index of an RTP packet: a 32-bit rollover counter over a 16-bit sequence number (RFC 3711 section 9.2).
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;

/// The highest index of an RTCP packet (RFC 3711 section 9.2).
const MAX_RTCP_INDEX: u32 = RTCP_ENCRYPTED - 1;

/// Why a packet was not sealed. Nothing of it may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// Not an RTP or RTCP packet, no room for the tag, or a header that says another number than the index.
    #[error("not a packet that can be sealed")]
    Malformed,
    /// This SSRC and index were sealed before, or lie so far behind that this cannot be ruled out.
    #[error("this ssrc and index may have been sealed before")]
    Repeated,
    /// The SSRC is new and the table of streams is full.
    #[error("too many streams on one transport")]
    TooManyStreams,
    /// The key has sealed all it may (RFC 3711 section 9.2).
    #[error("the key has sealed all it may")]
    Exhausted,
}

/// One stream on its way out.
#[derive(Debug)]
struct SentStream {
    /// Rollovers of the caller's extended numbers when the stream began: the receiver counts its own from zero.
    first_rollover: u64,
    sealed: IndexWindow,
}

/// What one key has sealed: gives every (SSRC, index) once. A sender has one of these; it stands by itself for ciphers that are
/// not in this crate.
#[derive(Debug)]
pub struct SealGuard {
    streams: StreamTable<SentStream>,
}

/// Seals the packets of one direction of one transport. Deliberately not `Clone`: two of them with one key would repeat nonces.
pub struct SrtpSender {
    rtp: SessionCipher,
    rtcp: SessionCipher,
    guard: SealGuard,
    /// The index of the last RTCP packet. One counter for all SSRCs: receivers ask only that it grows (RFC 3711 section 3.4).
    rtcp_index: u32,
}

impl SrtpSender {
    /// A sender that writes with `key`. A key must be given to one sender only, ever.
    pub fn new(key: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self { rtp: key.session(Purpose::Rtp)?, rtcp: key.session(Purpose::Rtcp)?, guard: SealGuard::new(), rtcp_index: 0 })
    }

    /// Seals an RTP packet in place. `packet` is the whole packet followed by [`RTP_OVERHEAD`] bytes for the tag; `index` is the
    /// extended form of the sequence number in its header. Rollovers are counted from the first packet sealed for the SSRC, so
    /// any extension does that goes on without jumps. A stream should begin at a sequence number below 2^15 (RFC 3711 section
    /// 3.3.1): a receiver that misses its beginning could not know of a rollover.
    pub fn seal_rtp(&mut self, index: ExtSeq, packet: &mut [u8]) -> Result<(), SealError> {
        let end = packet.len().checked_sub(RTP_OVERHEAD).ok_or(SealError::Malformed)?;
        let (plain, tag) = packet.split_at_mut_checked(end).ok_or(SealError::Malformed)?;
        let header_len = header::rtp_header_len(plain).ok_or(SealError::Malformed)?;
        let head = header::rtp_head(plain).filter(|head| head.sequence == index.wire()).ok_or(SealError::Malformed)?;
        let (clear, text) = plain.split_at_mut_checked(header_len).ok_or(SealError::Malformed)?;
        // Marked before it is sealed: a number is spent even where sealing should fail.
        let index = self.guard.reserve(head.ssrc, index)?;
        let sealed = self.rtp.seal(head.ssrc.0, index, clear, text).ok_or(SealError::Exhausted)?;
        copy(tag, sealed.as_ref());
        Ok(())
    }

    /// Seals the RTP packet in `packet`, which grows by [`RTP_OVERHEAD`] bytes; otherwise as [`Self::seal_rtp`]. On an error the
    /// bytes are of no use.
    pub fn seal_rtp_vec(&mut self, index: ExtSeq, packet: &mut Vec<u8>) -> Result<(), SealError> {
        packet.resize(packet.len() + RTP_OVERHEAD, 0);
        self.seal_rtp(index, packet)
    }

    /// Seals a compound RTCP packet in place: `packet` is the packet followed by [`RTCP_OVERHEAD`] bytes for tag and index.
    pub fn seal_rtcp(&mut self, packet: &mut [u8]) -> Result<(), SealError> {
        let end = packet.len().checked_sub(RTCP_OVERHEAD).ok_or(SealError::Malformed)?;
        let (plain, trailer) = packet.split_at_mut_checked(end).ok_or(SealError::Malformed)?;
        let ssrc = header::rtcp_ssrc(plain).ok_or(SealError::Malformed)?;
        let (clear, text) = plain.split_at_mut_checked(RTCP_CLEAR_LEN).ok_or(SealError::Malformed)?;
        if self.rtcp_index >= MAX_RTCP_INDEX {
            return Err(SealError::Exhausted);
        }
        self.rtcp_index += 1;
        let word = (RTCP_ENCRYPTED | self.rtcp_index).to_be_bytes();
        let aad = rtcp_aad(clear, word);
        let sealed = self.rtcp.seal(ssrc.0, u64::from(self.rtcp_index), &aad, text).ok_or(SealError::Exhausted)?;
        let (tag, index) = trailer.split_at_mut_checked(TAG_LEN).ok_or(SealError::Malformed)?;
        copy(tag, sealed.as_ref());
        copy(index, &word);
        Ok(())
    }

    /// Seals the RTCP packet in `packet`, which grows by [`RTCP_OVERHEAD`] bytes.
    pub fn seal_rtcp_vec(&mut self, packet: &mut Vec<u8>) -> Result<(), SealError> {
        packet.resize(packet.len() + RTCP_OVERHEAD, 0);
        self.seal_rtcp(packet)
    }

    /// How many SSRCs have been used.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.guard.streams.len()
    }
}

impl SealGuard {
    /// A guard for a key that has sealed nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { streams: StreamTable::new() }
    }

    /// Marks (SSRC, index) as sealed and gives the index as the receiver counts it: 16 bits of sequence number below the rollovers
    /// since the stream's first packet.
    pub fn reserve(&mut self, ssrc: Ssrc, index: ExtSeq) -> Result<u64, SealError> {
        if let Some(stream) = self.streams.get_mut(ssrc) {
            // Below the rollover the stream began with there is no index to give.
            let index = index.0.checked_sub(stream.first_rollover).ok_or(SealError::Repeated)?;
            if index > MAX_RTP_INDEX {
                return Err(SealError::Exhausted);
            }
            if stream.sealed.seen(index) != Seen::New {
                return Err(SealError::Repeated);
            }
            stream.sealed.insert(index);
            return Ok(index);
        }
        let first_rollover = index.0 & !u64::from(u16::MAX);
        let index = index.0 - first_rollover;
        let mut sealed = IndexWindow::default();
        sealed.insert(index);
        self.streams.insert(ssrc, SentStream { first_rollover, sealed }).map_err(|_| SealError::TooManyStreams)?;
        Ok(index)
    }
}

impl Default for SealGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpSender").field("streams", &self.streams()).finish_non_exhaustive()
    }
}

/// What is authenticated of an RTCP packet but not encrypted: its first header and the word of E bit and index (RFC 7714
/// section 9.2).
pub(crate) fn rtcp_aad(clear: &[u8], word: [u8; RTCP_INDEX_LEN]) -> [u8; RTCP_CLEAR_LEN + RTCP_INDEX_LEN] {
    let mut aad = [0; RTCP_CLEAR_LEN + RTCP_INDEX_LEN];
    aad.iter_mut().zip(clear.iter().chain(&word)).for_each(|(to, from)| *to = *from);
    aad
}

/// Copies as much as both have.
fn copy(to: &mut [u8], from: &[u8]) {
    let len = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..len), from.get(..len)) {
        to.copy_from_slice(from);
    }
}
