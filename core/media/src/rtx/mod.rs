//! Retransmission (RFC 4588): the sender's cache of what it sent, and the packing of what it sends again.
//!
//! A retransmission carries the header extensions of the packet it repeats, the origin included, so that a receiver can tell
//! what it repairs without SDP. The RID becomes the repaired RID (RFC 8852 section 3.2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use segue_model::{ExtSeq, SeqNo, Ssrc};

use crate::packet::rtp::{Extensions, RtpHeader, RtpPacket};

/// Packets are kept this long: receivers give up on older ones.
pub const MAX_AGE: Duration = Duration::from_millis(1_000);

/// Payload bytes kept per stream: a second at 3 Mbit/s.
pub const MAX_BYTES: usize = 384 * 1024;

/// Packets kept per stream: far below half the number space, so that a 16-bit number names one of them only.
pub const MAX_PACKETS: usize = 2_048;

/// Shortest distance of two retransmissions of one packet, however short the round trip: repeated requests in one burst.
const MIN_RESEND: Duration = Duration::from_millis(5);

/// Packets that are repeated for a probe: the newest are the likeliest to be of use to the other side.
const MAX_REPEATED: usize = 16;

/// Length of the original sequence number in front of the payload (RFC 4588 section 4).
const OSN_LEN: usize = 2;

/// What a request finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resend {
    /// The packet as it was sent.
    Packet(RtpPacket),
    /// It was sent again less than a round trip ago: that answer may still be on its way.
    TooSoon,
    /// No longer, or never, in the cache.
    Gone,
}

/// What one stream sent lately, in the order of its hop sequence and without gaps.
#[derive(Debug, Default)]
pub struct RtxCache {
    packets: VecDeque<Cached>,
    bytes: usize,
}

#[derive(Debug)]
struct Cached {
    seq: ExtSeq,
    packet: RtpPacket,
    sent_at: Instant,
    resent_at: Option<Instant>,
}

impl RtxCache {
    /// Keeps a packet that leaves now. Numbers follow each other; a gap empties the cache.
    pub fn insert(&mut self, now: Instant, seq: ExtSeq, packet: RtpPacket) {
        if self.packets.back().is_some_and(|last| last.seq.0 + 1 != seq.0) {
            self.packets.clear();
            self.bytes = 0;
        }
        self.bytes += packet.payload.len();
        self.packets.push_back(Cached { seq, packet, sent_at: now, resent_at: None });
        while self.packets.len() > MAX_PACKETS || self.bytes > MAX_BYTES {
            self.pop();
        }
        self.expire(now);
    }

    /// Drops what is too old.
    pub fn expire(&mut self, now: Instant) {
        while self.packets.front().is_some_and(|first| now.saturating_duration_since(first.sent_at) > MAX_AGE) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(first) = self.packets.pop_front() {
            self.bytes = self.bytes.saturating_sub(first.packet.payload.len());
        }
    }

    /// The packet sent `back` packets before the newest, in a circle over the newest few: what a probe repeats in want of media.
    #[must_use]
    pub fn repeat(&self, back: usize) -> Option<&RtpPacket> {
        let few = self.packets.len().min(MAX_REPEATED);
        let index = self.packets.len().checked_sub(1 + back.checked_rem(few)?)?;
        self.packets.get(index).map(|cached| &cached.packet)
    }

    /// Answers a request for `seq`; `rtt` is the round trip to the one that asks.
    pub fn resend(&mut self, now: Instant, seq: SeqNo, rtt: Duration) -> Resend {
        self.expire(now);
        let Some(last) = self.packets.back() else {
            return Resend::Gone;
        };
        let back = usize::from(last.seq.wire().0.wrapping_sub(seq.0));
        let index = self.packets.len().checked_sub(back + 1);
        let Some(cached) = index.and_then(|index| self.packets.get_mut(index)) else {
            return Resend::Gone;
        };
        let again = (rtt * 3 / 4).max(MIN_RESEND);
        if cached.resent_at.is_some_and(|resent| now.saturating_duration_since(resent) < again) {
            return Resend::TooSoon;
        }
        cached.resent_at = Some(now);
        Resend::Packet(cached.packet.clone())
    }
}

/// The retransmission of `original` on the repair stream `ssrc`, numbered `sequence` there (RFC 4588 section 4).
#[must_use]
pub fn pack(original: &RtpPacket, ssrc: Ssrc, payload_type: u8, sequence: SeqNo) -> RtpPacket {
    let mut payload = BytesMut::with_capacity(OSN_LEN + original.payload.len());
    payload.put_u16(original.header.sequence.0);
    payload.put_slice(&original.payload);
    let Extensions { rid, .. } = original.header.extensions;
    let extensions = Extensions { rid: None, repaired_rid: rid, ..original.header.extensions };
    let header = RtpHeader { payload_type, sequence, ssrc, extensions, ..original.header };
    RtpPacket { header, payload: payload.freeze(), padding: 0 }
}

/// The number and payload a retransmission repeats; `None` for one that carries nothing, as padding probes do.
#[must_use]
pub fn unpack(repair: &RtpPacket) -> Option<(SeqNo, Bytes)> {
    let number = repair.payload.first_chunk::<OSN_LEN>()?;
    Some((SeqNo(u16::from_be_bytes(*number)), repair.payload.slice(OSN_LEN..)))
}

#[cfg(test)]
mod tests {
    use crate::packet::Label;

    use super::*;

    fn packet(seq: ExtSeq, len: usize) -> RtpPacket {
        let extensions = Extensions { rid: Label::new("h"), transport_cc: Some(9), ..Extensions::default() };
        let header =
            RtpHeader { marker: true, payload_type: 102, sequence: seq.wire(), timestamp: 7, ssrc: Ssrc(1), extensions };
        RtpPacket { header, payload: vec![seq.0 as u8; len].into(), padding: 0 }
    }

    fn filled(now: Instant, first: u64, count: u64) -> RtxCache {
        let mut cache = RtxCache::default();
        (first..first + count).for_each(|seq| cache.insert(now, ExtSeq(seq), packet(ExtSeq(seq), 1_000)));
        cache
    }

    #[test]
    fn packets_are_found_across_the_wrap_and_not_beyond() {
        let now = Instant::now();
        let mut cache = filled(now, (2 << 16) - 5, 10);
        for seq in (2 << 16) - 5..(2 << 16) + 5 {
            let seq = ExtSeq(seq);
            assert_eq!(cache.resend(now, seq.wire(), Duration::ZERO), Resend::Packet(packet(seq, 1_000)));
        }
        assert_eq!(cache.resend(now, SeqNo(5), Duration::ZERO), Resend::Gone);
        assert_eq!(cache.resend(now, SeqNo(65_530), Duration::ZERO), Resend::Gone);
    }

    #[test]
    fn a_packet_is_sent_again_once_per_round_trip() {
        let now = Instant::now();
        let rtt = Duration::from_millis(100);
        let mut cache = filled(now, 70_000, 1);
        let seq = ExtSeq(70_000).wire();
        assert!(matches!(cache.resend(now, seq, rtt), Resend::Packet(_)));
        assert_eq!(cache.resend(now + rtt / 2, seq, rtt), Resend::TooSoon);
        assert!(matches!(cache.resend(now + rtt, seq, rtt), Resend::Packet(_)));
    }

    #[test]
    fn time_and_bytes_bound_the_cache() {
        let now = Instant::now();
        let mut cache = filled(now, 70_000, 1_000);
        assert!(cache.bytes <= MAX_BYTES);
        assert_eq!(cache.resend(now, ExtSeq(70_000).wire(), Duration::ZERO), Resend::Gone);
        let later = now + MAX_AGE + Duration::from_millis(1);
        assert_eq!(cache.resend(later, ExtSeq(70_999).wire(), Duration::ZERO), Resend::Gone);
        assert_eq!((cache.bytes, cache.packets.len()), (0, 0));
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let original = packet(ExtSeq(70_000), 20);
        let repair = pack(&original, Ssrc(2), 103, SeqNo(4));
        assert_eq!((repair.header.ssrc, repair.header.payload_type, repair.header.sequence), (Ssrc(2), 103, SeqNo(4)));
        assert_eq!(repair.header.timestamp, original.header.timestamp);
        assert_eq!(repair.header.extensions.repaired_rid, Label::new("h"));
        assert_eq!(repair.header.extensions.rid, None);
        assert_eq!(unpack(&repair), Some((original.header.sequence, original.payload)));
        assert_eq!(unpack(&RtpPacket { payload: Bytes::new(), ..repair }), None);
    }
}
