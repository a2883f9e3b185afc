//! One received stream: its numbers, its holes, what is reported of it (RFC 3550 appendix A).

use std::time::{Duration, Instant};

use segue_model::{DataSize, ExtSeq, SeqNo, Ssrc, TrackKind};

use crate::nack::{NackGenerator, NackStats};
use crate::packet::rtcp::{ReportBlock, SenderReport};

use super::super::SenderClock;
use super::super::clock::{middle, short_units};
use super::bind::Binding;
use super::sequence::{Arrival, SeqTracker};
use super::stamp::OriginStamper;

/// Shortest distance of two requests for a keyframe of one stream: encoders need a moment, and keyframes are dear.
pub const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// Counts of one received stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvStreamStats {
    /// Its source.
    pub ssrc: Ssrc,
    /// What it is.
    pub binding: Binding,
    /// Audio or video.
    pub kind: TrackKind,
    /// Packets that came by themselves.
    pub packets: u64,
    /// Payload bytes of these.
    pub payload: DataSize,
    /// Packets that came by retransmission only.
    pub repaired: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets expected less packets that came by themselves: what the hop lost. Below zero where it duplicates.
    pub lost: i64,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Holes and requests.
    pub nack: NackStats,
    /// Requests for keyframes.
    pub keyframe_requests: u64,
}

#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) ssrc: Ssrc,
    pub(super) kind: TrackKind,
    pub(super) payload_type: u8,
    pub(super) binding: Binding,
    pub(super) nack: NackGenerator,
    /// For streams without an origin.
    pub(super) stamper: Option<OriginStamper>,
    /// Added to hop numbers of sound without an origin.
    pub(super) audio_offset: Option<u32>,
    pub(super) heard: Instant,
    pub(super) clock: Option<SenderClock>,
    tracker: SeqTracker,
    reception: Reception,
    keyframe: KeyframeWish,
    payload: DataSize,
    repaired: u64,
    duplicates: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reception {
    /// First number of the present numbering.
    base: u64,
    received: u64,
    /// Expected and received in numberings before this one.
    expected_before: u64,
    expected_reported: u64,
    received_reported: u64,
    transit: Option<u32>,
    /// Sixteen times the jitter (RFC 3550 appendix A.8).
    jitter: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct KeyframeWish {
    wanted: Option<Instant>,
    asked: Option<Instant>,
    requests: u64,
}

impl Incoming {
    pub(super) fn new(now: Instant, ssrc: Ssrc, kind: TrackKind, payload_type: u8, binding: Binding) -> Self {
        Self {
            ssrc,
            kind,
            payload_type,
            binding,
            nack: NackGenerator::default(),
            stamper: None,
            audio_offset: None,
            heard: now,
            clock: None,
            tracker: SeqTracker::default(),
            reception: Reception::default(),
            keyframe: KeyframeWish::default(),
            payload: DataSize::ZERO,
            repaired: 0,
            duplicates: 0,
        }
    }

    /// The stream became another one: a forwarder or a browser gave its source to another track or encoding.
    pub(super) fn rebind(&mut self, binding: Binding) {
        if self.binding.track != binding.track {
            self.keyframe.wanted = None;
        }
        self.binding = binding;
        self.stamper = None;
        self.audio_offset = None;
    }

    /// Counts a packet's number; what to do with the packet.
    pub(super) fn arrive(&mut self, seq: SeqNo, repaired: bool, size: usize) -> Arrival {
        let arrival = self.tracker.insert(seq, repaired);
        match arrival {
            Arrival::Fresh(_) => {}
            Arrival::Restarted(number) => {
                self.nack.reset();
                if let Some(stamper) = &mut self.stamper {
                    stamper.reset();
                }
                self.audio_offset = None;
                self.reception.restart(number);
            }
            Arrival::Duplicate => {
                self.duplicates += 1;
                return arrival;
            }
            Arrival::Jump => return arrival,
        }
        if repaired {
            self.repaired += 1;
        } else {
            if let Arrival::Fresh(number) = arrival
                && self.reception.received == 0
            {
                self.reception.base = number.0;
            }
            self.reception.received += 1;
            self.payload += DataSize::bytes(size as u64);
        }
        arrival
    }

    /// Interarrival jitter; `units` is the arrival in units of the timestamp, on any zero.
    pub(super) fn note_transit(&mut self, units: u32, timestamp: u32) {
        let transit = units.wrapping_sub(timestamp);
        if let Some(last) = self.reception.transit.replace(transit) {
            let distance = (transit.wrapping_sub(last) as i32).unsigned_abs();
            // A step of the sender's timestamps says nothing about the network.
            if distance < self.kind.clock_rate() * 10 {
                let jitter = self.reception.jitter;
                self.reception.jitter = jitter.saturating_add(distance).saturating_sub((jitter + 8) >> 4);
            }
        }
    }

    fn expected(&self) -> u64 {
        let now = self.tracker.highest().map_or(0, |ExtSeq(highest)| (highest + 1).saturating_sub(self.reception.base));
        self.reception.expected_before + now
    }

    /// The report on the stream now; `None` where nothing came since the last.
    pub(super) fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let highest = self.tracker.highest()?;
        let expected = self.expected();
        let reception = &mut self.reception;
        let received = reception.received - reception.received_reported;
        let interval = expected - reception.expected_reported;
        if received == 0 {
            return None;
        }
        reception.received_reported = reception.received;
        reception.expected_reported = expected;
        let lost = interval.saturating_sub(received);
        let fraction = (lost * 256).checked_div(interval).unwrap_or(0).min(255);
        let sender = self.clock.map(|clock| (middle(clock.ntp), now.saturating_duration_since(clock.received_at)));
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction as u8,
            lost: i32::try_from(expected as i64 - reception.received as i64).unwrap_or(i32::MAX),
            highest: highest.0.wrapping_sub(1 << 16) as u32,
            jitter: reception.jitter >> 4,
            last_sender_report: sender.map_or(0, |(middle, _)| middle),
            delay: sender.map_or(0, |(_, since)| short_units(since)),
        })
    }

    pub(super) const fn handle_report(&mut self, now: Instant, report: &SenderReport) {
        self.clock = Some(SenderClock { ntp: report.ntp, rtp_timestamp: report.rtp_timestamp, received_at: now });
    }

    pub(super) fn want_keyframe(&mut self, now: Instant) {
        self.keyframe.wanted.get_or_insert(now);
    }

    /// A keyframe began: whoever waited for one has it.
    pub(super) const fn keyframe_came(&mut self) {
        self.keyframe.wanted = None;
    }

    /// When a request for a keyframe may leave, if one is wanted.
    pub(super) fn keyframe_due(&self) -> Option<Instant> {
        let wanted = self.keyframe.wanted?;
        Some(self.keyframe.asked.map_or(wanted, |asked| wanted.max(asked + KEYFRAME_INTERVAL)))
    }

    /// Whether a request for a keyframe leaves now.
    pub(super) fn ask_keyframe(&mut self, now: Instant) -> bool {
        let due = self.keyframe_due().is_some_and(|at| at <= now);
        if due {
            self.keyframe = KeyframeWish { wanted: None, asked: Some(now), requests: self.keyframe.requests + 1 };
        }
        due
    }

    pub(super) fn stats(&self) -> RecvStreamStats {
        RecvStreamStats {
            ssrc: self.ssrc,
            binding: self.binding,
            kind: self.kind,
            packets: self.reception.received,
            payload: self.payload,
            repaired: self.repaired,
            duplicates: self.duplicates,
            lost: self.expected() as i64 - self.reception.received as i64,
            jitter: self.reception.jitter >> 4,
            nack: self.nack.stats(),
            keyframe_requests: self.keyframe.requests,
        }
    }
}

impl Reception {
    /// Losses around a new beginning are not known: what was expected so far is what came.
    fn restart(&mut self, ExtSeq(number): ExtSeq) {
        let transit = None;
        self.expected_before = self.received;
        *self = Self { base: number, transit, ..*self };
        self.expected_reported = self.received_reported;
    }
}
