//! What SRTP needs to know of an RTP or RTCP header: where it ends, whose it is and its number.

use segue_model::{SeqNo, Ssrc};

use crate::RTCP_CLEAR_LEN;

/// Bytes of the fixed RTP header (RFC 3550 section 5.1).
const FIXED_LEN: usize = 12;

/// Bytes of the header of an RTP header extension block (RFC 3550 section 5.3.1).
const EXTENSION_HEADER_LEN: usize = 4;

/// The parts of an RTP header a cipher context needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RtpHead {
    pub(crate) ssrc: Ssrc,
    pub(crate) sequence: SeqNo,
}

/// The length of the header of an RTP packet with its CSRCs and its extension block: everything that is authenticated but not
/// encrypted (RFC 7714 section 8.2). `None` where the bytes are no RTP packet or end inside the header.
#[must_use]
pub fn rtp_header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut len = FIXED_LEN + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = packet.get(len + 2..len + EXTENSION_HEADER_LEN)?.first_chunk::<2>()?;
        len += EXTENSION_HEADER_LEN + 4 * usize::from(u16::from_be_bytes(*words));
    }
    (packet.len() >= len).then_some(len)
}

/// Number and SSRC of an RTP packet.
pub(crate) fn rtp_head(packet: &[u8]) -> Option<RtpHead> {
    let fixed = packet.first_chunk::<FIXED_LEN>()?;
    let [_, _, s0, s1, _, _, _, _, a, b, c, d] = *fixed;
    Some(RtpHead { ssrc: Ssrc(u32::from_be_bytes([a, b, c, d])), sequence: SeqNo(u16::from_be_bytes([s0, s1])) })
}

/// The SSRC of an RTCP packet: that of the first packet of a compound.
pub(crate) fn rtcp_ssrc(packet: &[u8]) -> Option<Ssrc> {
    let [first, _, _, _, a, b, c, d] = *packet.first_chunk::<RTCP_CLEAR_LEN>()?;
    (first >> 6 == 2).then(|| Ssrc(u32::from_be_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[0] = first;
        bytes
    }

    #[test]
    fn header_ends_after_csrcs_and_extension() {
        assert_eq!(rtp_header_len(&packet(0x80, 12)), Some(12));
        assert_eq!(rtp_header_len(&packet(0x82, 20)), Some(20));
        let mut extended = packet(0x91, 40);
        extended[19] = 3;
        assert_eq!(rtp_header_len(&extended), Some(12 + 4 + 4 + 12));
    }

    #[test]
    fn a_header_that_does_not_fit_is_none() {
        assert_eq!(rtp_header_len(&[]), None);
        assert_eq!(rtp_header_len(&packet(0x40, 40)), None);
        assert_eq!(rtp_header_len(&packet(0x8f, 71)), None);
        assert_eq!(rtp_header_len(&packet(0x90, 15)), None);
        let mut long = packet(0x90, 40);
        long[14] = 0xff;
        assert_eq!(rtp_header_len(&long), None);
    }
}
