//! Why datagrams are dropped, with a count for every reason.

/// Why a datagram went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Neither STUN, DTLS, RTP nor RTCP by its first bytes (RFC 7983).
    Unrecognised,
    /// From an address that has not passed a connectivity check of this session.
    UnknownAddress,
    /// STUN that cannot be parsed, or whose fingerprint is wrong.
    StunMalformed,
    /// STUN that is not a binding request or indication.
    StunUnexpected,
    /// A binding request for another session.
    StunUsername,
    /// A binding request whose MESSAGE-INTEGRITY is missing or wrong.
    StunIntegrity,
    /// DTLS before the peer's certificate fingerprint is known.
    DtlsEarly,
    /// DTLS that is no handshake where one has to begin.
    DtlsMalformed,
    /// More handshake datagrams than a handshake has.
    DtlsFlood,
    /// DTLS the association had no use for: replayed, not authentic or out of date.
    DtlsDiscarded,
    /// RTP or RTCP before there are keys.
    MediaEarly,
    /// RTP that is truncated or malformed.
    RtpMalformed,
    /// RTP that came before.
    RtpReplayed,
    /// RTP that is not authentic.
    RtpUnauthentic,
    /// RTCP that is truncated, malformed or not encrypted.
    RtcpMalformed,
    /// RTCP that came before.
    RtcpReplayed,
    /// RTCP that is not authentic.
    RtcpUnauthentic,
    /// RTP or RTCP of more streams than one transport may have.
    StreamLimit,
    /// SCTP that is malformed or belongs to no association.
    SctpDiscarded,
    /// SCTP that would make the association hold or count more than it should.
    SctpRefused,
    /// A data channel message of an unknown kind, or larger than announced.
    DataMalformed,
    /// Outbound: nowhere to send to, since no address is nominated or consent is lost.
    NoDestination,
    /// Outbound: the queue of control datagrams is full.
    TransmitQueueFull,
    /// The session is over.
    SessionOver,
}

impl DropReason {
    /// Every reason, in the order of its count.
    pub const ALL: [Self; 24] = [
        Self::Unrecognised,
        Self::UnknownAddress,
        Self::StunMalformed,
        Self::StunUnexpected,
        Self::StunUsername,
        Self::StunIntegrity,
        Self::DtlsEarly,
        Self::DtlsMalformed,
        Self::DtlsFlood,
        Self::DtlsDiscarded,
        Self::MediaEarly,
        Self::RtpMalformed,
        Self::RtpReplayed,
        Self::RtpUnauthentic,
        Self::RtcpMalformed,
        Self::RtcpReplayed,
        Self::RtcpUnauthentic,
        Self::StreamLimit,
        Self::SctpDiscarded,
        Self::SctpRefused,
        Self::DataMalformed,
        Self::NoDestination,
        Self::TransmitQueueFull,
        Self::SessionOver,
    ];

    /// The reason as a label of metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unrecognised => "unrecognised",
            Self::UnknownAddress => "unknown_address",
            Self::StunMalformed => "stun_malformed",
            Self::StunUnexpected => "stun_unexpected",
            Self::StunUsername => "stun_username",
            Self::StunIntegrity => "stun_integrity",
            Self::DtlsEarly => "dtls_early",
            Self::DtlsMalformed => "dtls_malformed",
            Self::DtlsFlood => "dtls_flood",
            Self::DtlsDiscarded => "dtls_discarded",
            Self::MediaEarly => "media_early",
            Self::RtpMalformed => "rtp_malformed",
            Self::RtpReplayed => "rtp_replayed",
            Self::RtpUnauthentic => "rtp_unauthentic",
            Self::RtcpMalformed => "rtcp_malformed",
            Self::RtcpReplayed => "rtcp_replayed",
            Self::RtcpUnauthentic => "rtcp_unauthentic",
            Self::StreamLimit => "stream_limit",
            Self::SctpDiscarded => "sctp_discarded",
            Self::SctpRefused => "sctp_refused",
            Self::DataMalformed => "data_malformed",
            Self::NoDestination => "no_destination",
            Self::TransmitQueueFull => "transmit_queue_full",
            Self::SessionOver => "session_over",
        }
    }
}

/// How many datagrams were dropped for each reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropCounts([u64; DropReason::ALL.len()]);

impl DropCounts {
    /// Counts one.
    pub fn count(&mut self, reason: DropReason) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// The count of `reason`.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// All that were dropped.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds the counts of another, for sums over sessions.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_count_and_name() {
        let mut counts = DropCounts::default();
        let mut names = BTreeSet::new();
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(names.insert(reason.name()));
            counts.count(reason);
            assert_eq!(counts.of(reason), 1);
        }
        assert_eq!(counts.total(), DropReason::ALL.len() as u64);
    }
}
