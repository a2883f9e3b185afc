//! Opening: one direction's packets on their way in.

use std::fmt;

use segue_model::{SeqNo, Ssrc};
use thiserror::Error;

use crate::key::{Purpose, SessionCipher};
use crate::sender::rtcp_aad;
use crate::stream::StreamTable;
use crate::window::{IndexWindow, Seen};
use crate::{KeyError, MasterKey, RTCP_CLEAR_LEN, RTCP_ENCRYPTED, RTCP_INDEX_LEN, RTCP_OVERHEAD, RTP_OVERHEAD, header};

/// Why a packet was not opened. It is dropped; its bytes are of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// Not an RTP or RTCP packet, or shorter than header and tag.
    #[error("not a protected packet")]
    Malformed,
    /// An RTCP packet that is not encrypted; DTLS-SRTP always encrypts (RFC 5764 section 4.1.2).
    #[error("rtcp packet is not encrypted")]
    Unencrypted,
    /// Came before.
    #[error("packet came before")]
    Replayed,
    /// Behind the replay window.
    #[error("packet is older than the replay window")]
    TooOld,
    /// The tag does not fit.
    #[error("packet is not authentic")]
    Unauthentic,
    /// The packet is authentic, but its SSRC is new and the table of streams is full.
    #[error("too many streams on one transport")]
    TooManyStreams,
}

/// Opens the packets of one direction of one transport. State is kept for SSRCs of authentic packets only.
pub struct SrtpReceiver {
    rtp: SessionCipher,
    rtcp: SessionCipher,
    rtp_streams: StreamTable<IndexWindow>,
    rtcp_streams: StreamTable<IndexWindow>,
}

impl SrtpReceiver {
    /// A receiver of what the other end writes with `key`.
    pub fn new(key: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self {
            rtp: key.session(Purpose::Rtp)?,
            rtcp: key.session(Purpose::Rtcp)?,
            rtp_streams: StreamTable::new(),
            rtcp_streams: StreamTable::new(),
        })
    }

    /// Opens an SRTP packet in place and gives the length of the RTP packet that stands at its beginning.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, OpenError> {
        let len = packet.len().checked_sub(RTP_OVERHEAD).ok_or(OpenError::Malformed)?;
        let header_len = header::rtp_header_len(packet).filter(|header| *header <= len).ok_or(OpenError::Malformed)?;
        let head = header::rtp_head(packet).ok_or(OpenError::Malformed)?;
        let index = match self.rtp_streams.get_mut(head.ssrc) {
            Some(window) => estimate(window, head.sequence)?,
            None => u64::from(head.sequence.0),
        };
        let (clear, text) = packet.split_at_mut_checked(header_len).ok_or(OpenError::Malformed)?;
        self.rtp.open(head.ssrc.0, index, clear, text).ok_or(OpenError::Unauthentic)?;
        accept(&mut self.rtp_streams, head.ssrc, index)?;
        Ok(len)
    }

    /// Opens an SRTCP packet in place and gives the length of the RTCP packet that stands at its beginning.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, OpenError> {
        let len = packet.len().checked_sub(RTCP_OVERHEAD).ok_or(OpenError::Malformed)?;
        let ssrc = header::rtcp_ssrc(packet).filter(|_| len >= RTCP_CLEAR_LEN).ok_or(OpenError::Malformed)?;
        let word = *packet.last_chunk::<RTCP_INDEX_LEN>().ok_or(OpenError::Malformed)?;
        let index = u32::from_be_bytes(word);
        if index & RTCP_ENCRYPTED == 0 {
            return Err(OpenError::Unencrypted);
        }
        let index = u64::from(index & !RTCP_ENCRYPTED);
        if let Some(window) = self.rtcp_streams.get_mut(ssrc) {
            refuse_seen(window, index)?;
        }
        let sealed = packet.len() - RTCP_INDEX_LEN;
        let sealed = packet.get_mut(..sealed).ok_or(OpenError::Malformed)?;
        let (clear, text) = sealed.split_at_mut_checked(RTCP_CLEAR_LEN).ok_or(OpenError::Malformed)?;
        self.rtcp.open(ssrc.0, index, &rtcp_aad(clear, word), text).ok_or(OpenError::Unauthentic)?;
        accept(&mut self.rtcp_streams, ssrc, index)?;
        Ok(len)
    }

    /// How many SSRCs have sent RTP.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.rtp_streams.len()
    }
}

impl fmt::Debug for SrtpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpReceiver").field("streams", &self.rtp_streams.len()).finish_non_exhaustive()
    }
}

/// The index whose low bits are `sequence` and which is nearest to the highest one received (RFC 3711 section 3.3.1), unless it
/// was received before.
fn estimate(window: &IndexWindow, sequence: SeqNo) -> Result<u64, OpenError> {
    let highest = window.highest().unwrap_or(0);
    let ahead = u64::from(sequence.0.wrapping_sub(highest as u16));
    let index = if ahead < 1 << 15 {
        highest + ahead
    } else {
        // Below index zero there is nothing, so the packet can only be one far ahead.
        (highest + ahead).checked_sub(1 << 16).unwrap_or(highest + ahead)
    };
    refuse_seen(window, index)?;
    Ok(index)
}

fn refuse_seen(window: &IndexWindow, index: u64) -> Result<(), OpenError> {
    match window.seen(index) {
        Seen::New => Ok(()),
        Seen::Used => Err(OpenError::Replayed),
        Seen::TooOld => Err(OpenError::TooOld),
    }
}

/// Remembers an authentic packet.
fn accept(streams: &mut StreamTable<IndexWindow>, ssrc: Ssrc, index: u64) -> Result<(), OpenError> {
    if let Some(window) = streams.get_mut(ssrc) {
        window.insert(index);
        return Ok(());
    }
    let mut window = IndexWindow::default();
    window.insert(index);
    streams.insert(ssrc, window).map_err(|_| OpenError::TooManyStreams)
}
