//! One sent stream: its numbers, its cache, what its receiver says of it.

use std::time::{Duration, Instant};

use segue_model::{DataSize, EncodingId, ExtSeq, SeqNo, Ssrc, TrackId, TrackKind};

use crate::packet::MediaPacket;
use crate::packet::rtcp::{ReportBlock, SenderReport};
use crate::packet::rtp::{Extensions, Label, RtpHeader, RtpPacket};
use crate::rtx::{self, RtxCache};

use super::super::WallClock;
use super::tail::Tail;

/// One stream of a leg: an encoding of a track with the numbers it has here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendStream {
    /// The track.
    pub track: TrackId,
    /// Which of its encodings.
    pub encoding: EncodingId,
    /// Audio or video.
    pub kind: TrackKind,
    /// Its source on this leg.
    pub ssrc: Ssrc,
    /// The source of its retransmissions; without one there are none. The same number is never sent twice with another header.
    pub rtx_ssrc: Option<Ssrc>,
    /// Payload type.
    pub payload_type: u8,
    /// Payload type of its retransmissions.
    pub rtx_payload_type: Option<u8>,
    /// Media section, written in every packet where there is one.
    pub mid: Option<Label>,
    /// Encoding by its restriction id, likewise.
    pub rid: Option<Label>,
}

/// Counts of one sent stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SendStreamStats {
    /// Packets sent, retransmissions apart.
    pub packets: u64,
    /// Payload bytes of these.
    pub payload: DataSize,
    /// Packets sent again.
    pub resent: u64,
    /// Packets repeated to fill probes.
    pub padding: u64,
    /// Packets dropped because the pacer was full, or because a keyframe was awaited after that.
    pub dropped: u64,
    /// Numbers asked for that were no longer there.
    pub gone: u64,
    /// Share lost in the latest receiver report, 0 to 1.
    pub loss: f32,
    /// Interarrival jitter in the latest receiver report, in timestamp units.
    pub jitter: u32,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) spec: SendStream,
    next: ExtSeq,
    rtx_next: ExtSeq,
    cache: RtxCache,
    /// Of pictures that can be sent again.
    pub(super) tail: Tail,
    /// RTP timestamp and the instant it was captured or pushed.
    anchor: Option<(u32, Instant)>,
    /// The anchor was given by the source, so that pushing does not move it.
    anchored: bool,
    pub(super) awaits_keyframe: bool,
    pub(super) keyframe_asked: bool,
    pub(super) fir: Option<u8>,
    pub(super) stats: SendStreamStats,
    /// Share the receiver lost, smoothed over its reports.
    pub(super) loss: Option<f32>,
}

impl Outgoing {
    /// `first` gives the first number of a source: never one it has sent before.
    pub(super) fn new(spec: SendStream, first: impl Fn(Ssrc) -> ExtSeq) -> Self {
        Self {
            spec,
            next: first(spec.ssrc),
            rtx_next: first(spec.rtx_ssrc.unwrap_or(spec.ssrc)),
            cache: RtxCache::default(),
            tail: Tail::default(),
            anchor: None,
            anchored: false,
            awaits_keyframe: false,
            keyframe_asked: false,
            fir: None,
            stats: SendStreamStats::default(),
            loss: None,
        }
    }

    /// The sources of the stream, with the numbers that follow their last.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (Ssrc, ExtSeq)> + use<> {
        std::iter::once((self.spec.ssrc, self.next)).chain(self.spec.rtx_ssrc.map(|rtx| (rtx, self.rtx_next)))
    }

    /// Whether the packet may go to the pacer: after a drop nothing can be decoded before the next keyframe.
    pub(super) const fn admits(&mut self, packet: &MediaPacket) -> bool {
        let flags = packet.origin.flags;
        if flags.keyframe && flags.first {
            self.awaits_keyframe = false;
        }
        !self.awaits_keyframe || flags.probe
    }

    /// Notes which RTP timestamp belongs to now, unless the source said it better.
    pub(super) fn note_time(&mut self, now: Instant, timestamp: u32) {
        if !self.anchored {
            self.anchor = Some((timestamp, now));
        }
    }

    pub(super) const fn set_anchor(&mut self, timestamp: u32, captured_at: Instant) {
        self.anchor = Some((timestamp, captured_at));
        self.anchored = true;
    }

    /// The packet as it leaves, but for what belongs to the transport. Numbers are given here and not before, so that a packet
    /// the pacer dropped leaves no hole.
    pub(super) fn stamp(&mut self, now: Instant, packet: MediaPacket) -> RtpPacket {
        let sequence = self.next;
        self.next = ExtSeq(sequence.0 + 1);
        let extensions = Extensions {
            audio_level: packet.audio_level,
            mid: self.spec.mid,
            rid: self.spec.rid,
            origin: Some(packet.origin),
            ..Extensions::default()
        };
        let header = RtpHeader {
            marker: packet.marker,
            payload_type: self.spec.payload_type,
            sequence: sequence.wire(),
            timestamp: packet.timestamp,
            ssrc: self.spec.ssrc,
            extensions,
        };
        self.stats.packets += 1;
        self.stats.payload += DataSize::bytes(packet.payload.len() as u64);
        let stamped = RtpPacket { header, payload: packet.payload, padding: 0 };
        if self.spec.rtx_ssrc.is_some() {
            self.cache.insert(now, sequence, stamped.clone());
            self.tail.handle_sent(now);
        }
        stamped
    }

    pub(super) fn resend(&mut self, now: Instant, lost: SeqNo, rtt: Duration) -> Option<RtpPacket> {
        match self.cache.resend(now, lost, rtt) {
            rtx::Resend::Packet(packet) => Some(packet),
            rtx::Resend::TooSoon => None,
            rtx::Resend::Gone => {
                self.stats.gone += 1;
                None
            }
        }
    }

    /// The retransmission of `original` as it leaves; `None` where the stream has no repair stream.
    pub(super) fn stamp_repair(&mut self, original: &RtpPacket) -> Option<RtpPacket> {
        let (ssrc, payload_type) = self.spec.rtx_ssrc.zip(self.spec.rtx_payload_type)?;
        let sequence = self.rtx_next;
        self.rtx_next = ExtSeq(sequence.0 + 1);
        self.stats.resent += 1;
        Some(rtx::pack(original, ssrc, payload_type, sequence.wire()))
    }

    /// A repeat of something sent lately, to fill a probe.
    pub(super) fn pad(&mut self, back: usize) -> Option<RtpPacket> {
        let original = self.cache.repeat(back)?;
        let (ssrc, payload_type) = self.spec.rtx_ssrc.zip(self.spec.rtx_payload_type)?;
        let sequence = self.rtx_next;
        let repeat = rtx::pack(original, ssrc, payload_type, sequence.wire());
        self.rtx_next = ExtSeq(sequence.0 + 1);
        self.stats.padding += 1;
        Some(repeat)
    }

    /// What was sent last, where it is to be sent once more.
    pub(super) fn repeat_tail(&mut self, now: Instant) -> Option<RtpPacket> {
        self.tail.handle_timeout(now).then(|| self.cache.repeat(0).cloned()).flatten()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.tail.poll_timeout()
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.cache.expire(now);
    }

    /// What to say of the stream now (RFC 3550 section 6.4.1); `None` before its first packet.
    pub(super) fn report(&self, now: Instant, clock: &WallClock) -> Option<SenderReport> {
        let (timestamp, at) = self.anchor.filter(|_| self.stats.packets > 0)?;
        let rate = i128::from(self.spec.kind.clock_rate());
        let since = now.saturating_duration_since(at).as_nanos() as i128 - at.saturating_duration_since(now).as_nanos() as i128;
        let units = since * rate / 1_000_000_000;
        Some(SenderReport {
            ssrc: self.spec.ssrc,
            ntp: clock.ntp(now),
            rtp_timestamp: timestamp.wrapping_add(units as u32),
            packets: self.stats.packets as u32,
            octets: self.stats.payload.as_bytes() as u32,
            reports: Vec::new(),
        })
    }

    pub(super) fn handle_report(&mut self, block: &ReportBlock) {
        let loss = f32::from(block.fraction_lost) / 256.0;
        self.stats.loss = loss;
        self.loss = Some(self.loss.map_or(loss, |mean| mean.mul_add(0.875, loss * 0.125)));
        self.stats.jitter = block.jitter;
    }
}
