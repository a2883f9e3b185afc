//! Why a packet went no further: counted by name, never an error that climbs.

/// A reason for dropping a packet that came from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// Not an RTP packet, or one whose header does not fit its length.
    Malformed,
    /// From a participant this room does not know.
    UnknownParticipant,
    /// A payload type that was not negotiated.
    UnknownPayloadType,
    /// An SSRC that neither the origin extension nor the session description ties to a track.
    UnknownStream,
    /// The origin names a track of somebody else, or one that does not exist.
    OriginNotOwned,
    /// The origin does not match the stream it came on.
    OriginMismatch,
    /// The origin's packet number is further ahead than any sender could have got.
    OriginJump,
    /// More SSRCs than one publisher may have.
    TooManyStreams,
    /// Came before, on its own or as a retransmission.
    Duplicate,
    /// Older than the window in which duplicates are known.
    TooOld,
    /// A retransmission packet too short to hold the original sequence number.
    EmptyRetransmission,
    /// A packet without payload: padding, or a bandwidth probe of the other side.
    Padding,
}

impl DropReason {
    /// Every reason, in counting order.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::UnknownParticipant,
        Self::UnknownPayloadType,
        Self::UnknownStream,
        Self::OriginNotOwned,
        Self::OriginMismatch,
        Self::OriginJump,
        Self::TooManyStreams,
        Self::Duplicate,
        Self::TooOld,
        Self::EmptyRetransmission,
        Self::Padding,
    ];

    /// The name under which metrics count it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownParticipant => "unknown_participant",
            Self::UnknownPayloadType => "unknown_payload_type",
            Self::UnknownStream => "unknown_stream",
            Self::OriginNotOwned => "origin_not_owned",
            Self::OriginMismatch => "origin_mismatch",
            Self::OriginJump => "origin_jump",
            Self::TooManyStreams => "too_many_streams",
            Self::Duplicate => "duplicate",
            Self::TooOld => "too_old",
            Self::EmptyRetransmission => "empty_retransmission",
            Self::Padding => "padding",
        }
    }
}

/// How often each reason applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropCounts {
    counts: [u64; DropReason::ALL.len()],
}

impl DropCounts {
    /// The count of one reason.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.counts.get(reason as usize).copied().unwrap_or(0)
    }

    /// Reasons that applied at least once, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason.name(), self.get(reason))).filter(|&(_, count)| count > 0)
    }

    /// Adds another room's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
    }

    pub(crate) fn count(&mut self, reason: DropReason) {
        if let Some(count) = self.counts.get_mut(reason as usize) {
            *count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let mut counts = DropCounts::default();
        for reason in DropReason::ALL {
            counts.count(reason);
        }
        assert!(DropReason::ALL.iter().all(|&reason| counts.get(reason) == 1));
        let mut names: Vec<_> = counts.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
