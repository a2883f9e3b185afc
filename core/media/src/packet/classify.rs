//! Whose datagram it is, by its first bytes (RFC 7983 section 7, RFC 5761 section 4).

/// The protocol of a datagram on a bundled transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DatagramKind {
    /// STUN (RFC 8489): first byte 0 to 3.
    Stun,
    /// DTLS: first byte 20 to 63.
    Dtls,
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP: packet type 192 to 223 in the second byte.
    Rtcp,
    /// None of these (ZRTP, TURN channels, too short, noise).
    Unknown,
}

/// Sorts a datagram by its first two bytes; says nothing about whether the rest is well formed.
#[must_use]
pub fn classify(datagram: &[u8]) -> DatagramKind {
    match datagram {
        [0..=3, ..] => DatagramKind::Stun,
        [20..=63, ..] => DatagramKind::Dtls,
        [128..=191, 192..=223, ..] => DatagramKind::Rtcp,
        [128..=191, _, ..] => DatagramKind::Rtp,
        _ => DatagramKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_decide() {
        assert_eq!(classify(&[0, 1, 0, 0]), DatagramKind::Stun);
        assert_eq!(classify(&[22, 254, 253]), DatagramKind::Dtls);
        assert_eq!(classify(&[0x80, 111]), DatagramKind::Rtp);
        assert_eq!(classify(&[0x80, 0x80 | 102]), DatagramKind::Rtp);
        assert_eq!(classify(&[0x81, 200]), DatagramKind::Rtcp);
        assert_eq!(classify(&[0x80]), DatagramKind::Unknown);
        assert_eq!(classify(&[]), DatagramKind::Unknown);
        assert_eq!(classify(&[0x40, 0]), DatagramKind::Unknown);
    }
}
