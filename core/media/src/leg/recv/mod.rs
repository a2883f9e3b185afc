//! The receiving half of a leg.

mod bind;
mod sequence;
mod stamp;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use segue_model::{DataSize, EncodingId, ExtSeq, SeqNo, Ssrc, TrackId, TrackKind};

use crate::feedback::TwccRecorder;
use crate::merge::Lacks;
use crate::nack::{Filled, FramePoint};
use crate::packet::rtcp::{MAX_REPORTS, ReceiverReport, RtcpPacket};
use crate::packet::rtp::{RtpHeader, RtpPacket};
use crate::packet::{MediaPacket, Origin};
use crate::rtx;

use super::{REPORT_INTERVAL, SenderClock};
use bind::Bindings;
pub use bind::{Binding, MAX_BINDINGS, PayloadKind, PayloadMap, StreamKey};
use sequence::Arrival;
use stamp::audio_origin;
pub use stamp::{Numbers, OriginStamper};
use stream::Incoming;
pub use stream::{KEYFRAME_INTERVAL, RecvStreamStats};

/// Media streams a leg learns, retransmissions apart: a screen full of tracks with three encodings. A peer that goes on
/// inventing sources replaces its own idle ones.
pub const MAX_STREAMS: usize = 512;

/// A stream that was silent this long may be replaced when there is no room.
const IDLE: Duration = Duration::from_secs(10);

/// From the first packet to the first report.
const FIRST_REPORT: Duration = Duration::from_millis(250);

/// Numbers in one NACK: below 1,200 bytes even where no two share a mask.
const MAX_PER_NACK: usize = 256;

/// Packets that wait to be taken. Only streams without origin let go of more than one at a time; what nobody takes is lost.
const MAX_READY: usize = 4_096;

/// What a receiving leg needs to know.
#[derive(Clone, Debug)]
pub struct RecvLegConfig {
    /// Source of its own reports.
    pub ssrc: Ssrc,
    /// Payload types negotiated for this leg.
    pub payloads: PayloadMap,
}

/// Why a packet was dropped. Counted, never fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Its payload type was not negotiated.
    UnknownPayloadType,
    /// Neither an origin nor a binding says what it belongs to.
    Unidentified,
    /// The leg has [`MAX_STREAMS`] that are in use.
    TooManyStreams,
    /// Its hop sequence is too far from that of its stream.
    SequenceJump,
    /// Its stream carries the other kind of media.
    WrongKind,
}

/// A packet on its way to the merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The media source it belongs to on this leg; for a retransmission that of the original.
    pub ssrc: Ssrc,
    /// Its track, the same as in its origin.
    pub track: TrackId,
    /// It came by retransmission.
    pub repaired: bool,
    /// The packet, its origin made up where it carries none.
    pub packet: MediaPacket,
}

/// Counts of a receiving leg.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecvLegStats {
    /// Per media stream.
    pub streams: Vec<RecvStreamStats>,
    /// RTP packets that came, of any kind.
    pub packets: u64,
    /// Payload bytes of these.
    pub payload: DataSize,
    /// Retransmissions among these, padding included.
    pub retransmissions: u64,
    /// Packets dropped, by reason.
    pub violations: BTreeMap<Violation, u64>,
}

/// Receives media packets over one transport.
#[derive(Debug)]
pub struct RecvLeg {
    config: RecvLegConfig,
    streams: BTreeMap<Ssrc, Incoming>,
    sources: BTreeMap<(TrackId, EncodingId), Ssrc>,
    bindings: Bindings,
    numbers: BTreeMap<(TrackId, EncodingId), Numbers>,
    ready: VecDeque<Received>,
    twcc: TwccRecorder,
    last_ssrc: Ssrc,
    rtt: Rtt,
    /// Zero of arrival times in timestamp units.
    zero: Option<Instant>,
    next_report: Option<Instant>,
    outbox: VecDeque<Vec<RtcpPacket>>,
    packets: u64,
    payload: DataSize,
    retransmissions: u64,
    violations: BTreeMap<Violation, u64>,
}

/// Round trip: told, or measured by requests until it is.
#[derive(Clone, Copy, Debug)]
enum Rtt {
    Unknown,
    Measured(Duration),
    Told(Duration),
}

impl RecvLeg {
    /// Without streams: they are learned as they come.
    #[must_use]
    pub fn new(config: RecvLegConfig) -> Self {
        Self {
            last_ssrc: config.ssrc,
            config,
            streams: BTreeMap::new(),
            sources: BTreeMap::new(),
            bindings: Bindings::default(),
            numbers: BTreeMap::new(),
            ready: VecDeque::new(),
            twcc: TwccRecorder::default(),
            rtt: Rtt::Unknown,
            zero: None,
            next_report: None,
            outbox: VecDeque::new(),
            packets: 0,
            payload: DataSize::ZERO,
            retransmissions: 0,
            violations: BTreeMap::new(),
        }
    }

    /// Takes the payload types of a new negotiation.
    pub fn set_payloads(&mut self, payloads: PayloadMap) {
        self.config.payloads = payloads;
    }

    /// Says what a stream without origin belongs to. False where [`MAX_BINDINGS`] are in use.
    pub fn bind(&mut self, key: StreamKey, track: TrackId, encoding: EncodingId) -> bool {
        self.bindings.bind(key, Binding { track, encoding })
    }

    /// Takes back all bindings of a track and forgets its streams.
    pub fn unbind(&mut self, track: TrackId) {
        self.bindings.unbind(track);
        self.numbers.retain(|(of, _), _| *of != track);
        self.streams.retain(|_, stream| stream.binding.track != track);
        self.sources.retain(|(of, _), _| *of != track);
    }

    /// Tells the round trip of this transport, as the sending leg or the heartbeats measured it.
    pub fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = Rtt::Told(rtt);
        self.streams.values_mut().for_each(|stream| stream.nack.set_rtt(rtt));
    }

    /// Takes a packet. What comes back is the first of [`RecvLeg::poll_received`]: that packet, or one that waited for it.
    pub fn handle_rtp(&mut self, now: Instant, packet: RtpPacket) -> Option<Received> {
        self.packets += 1;
        self.payload += DataSize::bytes(packet.payload.len() as u64);
        if let Some(number) = packet.header.extensions.transport_cc {
            self.twcc.record(now, SeqNo(number));
        }
        match self.config.payloads.get(packet.header.payload_type) {
            Some(PayloadKind::Media(kind)) => self.handle_media(now, kind, packet),
            Some(PayloadKind::Repair { kind, of }) => self.handle_repair(now, kind, of, packet),
            None => self.count(Violation::UnknownPayloadType),
        }
        self.poll_received()
    }

    /// The next packet for the merge. Call until `None` after [`RecvLeg::handle_rtp`] and [`RecvLeg::handle_timeout`].
    pub fn poll_received(&mut self) -> Option<Received> {
        self.ready.pop_front()
    }

    fn count(&mut self, violation: Violation) {
        *self.violations.entry(violation).or_default() += 1;
    }

    fn identify(&mut self, header: &RtpHeader, repair: bool) -> Option<Binding> {
        match header.extensions.origin {
            Some(Origin { source, layer, .. }) => Some(Binding { track: source, encoding: layer.encoding }),
            None => self.bindings.resolve(header.ssrc, repair, &header.extensions),
        }
    }

    fn handle_media(&mut self, now: Instant, kind: TrackKind, packet: RtpPacket) {
        let Some(binding) = self.identify(&packet.header, false) else {
            return self.count(Violation::Unidentified);
        };
        let ssrc = packet.header.ssrc;
        if !self.learn(now, ssrc, kind, packet.header.payload_type, binding) {
            return self.count(Violation::TooManyStreams);
        }
        self.last_ssrc = ssrc;
        self.next_report.get_or_insert(now + FIRST_REPORT);
        self.accept(now, ssrc, kind, false, packet);
    }

    /// Makes sure there is a stream, bound to what its packets say now.
    fn learn(&mut self, now: Instant, ssrc: Ssrc, kind: TrackKind, payload_type: u8, binding: Binding) -> bool {
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            stream.heard = now;
            if stream.binding == binding {
                return true;
            }
            // A source may alternate between the encodings of a track, but stands for one track only.
            if stream.binding.track != binding.track {
                self.sources.retain(|_, source| *source != ssrc);
            }
            stream.rebind(binding);
        } else {
            if self.streams.len() >= MAX_STREAMS && !self.evict(now) {
                return false;
            }
            let mut stream = Incoming::new(now, ssrc, kind, payload_type, binding);
            if let Rtt::Measured(rtt) | Rtt::Told(rtt) = self.rtt {
                stream.nack.set_rtt(rtt);
            }
            self.streams.insert(ssrc, stream);
        }
        self.sources.insert((binding.track, binding.encoding), ssrc);
        true
    }

    /// Makes room by forgetting the stream that was silent longest, if it was silent long enough.
    fn evict(&mut self, now: Instant) -> bool {
        let oldest = self.streams.values().min_by_key(|stream| stream.heard).map(|stream| (stream.ssrc, stream.heard));
        match oldest.filter(|(_, heard)| now.saturating_duration_since(*heard) >= IDLE) {
            Some((ssrc, _)) => {
                self.forget(ssrc);
                true
            }
            None => false,
        }
    }

    fn forget(&mut self, ssrc: Ssrc) {
        self.streams.remove(&ssrc);
        self.sources.retain(|_, source| *source != ssrc);
        self.bindings.forget(ssrc);
    }

    fn handle_repair(&mut self, now: Instant, kind: TrackKind, of: u8, packet: RtpPacket) {
        self.retransmissions += 1;
        let Some(binding) = self.identify(&packet.header, true) else {
            // Browsers probe with padding before they name a stream.
            if !packet.payload.is_empty() {
                self.count(Violation::Unidentified);
            }
            return;
        };
        let Some((sequence, payload)) = rtx::unpack(&packet) else {
            return;
        };
        let original = RtpPacket { payload, ..packet };
        match self.source_of(binding) {
            Some((ssrc, payload_type)) => {
                let header = RtpHeader { ssrc, sequence, payload_type, ..original.header };
                self.accept(now, ssrc, kind, true, RtpPacket { header, ..original });
            }
            // Nothing of the stream came but this: the merge can still use it.
            None => {
                if let Some(origin) = original.header.extensions.origin {
                    let header = RtpHeader { payload_type: of, ..original.header };
                    self.ready(true, header.ssrc, media_packet(origin, kind, RtpPacket { header, ..original }));
                }
            }
        }
    }

    /// The stream of an encoding. A forwarder may carry all encodings of a track on one source: then the latest to be heard.
    fn source_of(&self, binding: Binding) -> Option<(Ssrc, u8)> {
        let exact = self.sources.get(&(binding.track, binding.encoding)).and_then(|ssrc| self.streams.get(ssrc));
        let any = || self.streams.values().filter(|s| s.binding.track == binding.track).max_by_key(|s| s.heard);
        exact.or_else(any).map(|stream| (stream.ssrc, stream.payload_type))
    }

    /// Takes a packet of a known stream, retransmitted or not, once.
    fn accept(&mut self, now: Instant, ssrc: Ssrc, kind: TrackKind, repaired: bool, packet: RtpPacket) {
        let Some(stream) = self.streams.get_mut(&ssrc) else {
            return;
        };
        if stream.kind != kind {
            return self.count(Violation::WrongKind);
        }
        let number = match stream.arrive(packet.header.sequence, repaired, packet.payload.len()) {
            Arrival::Fresh(number) | Arrival::Restarted(number) => number,
            Arrival::Duplicate => return,
            Arrival::Jump => return self.count(Violation::SequenceJump),
        };
        if !repaired {
            let since = now.saturating_duration_since(*self.zero.get_or_insert(now));
            let units = since.as_micros() * u128::from(kind.clock_rate()) / 1_000_000;
            stream.note_transit(units as u32, packet.header.timestamp);
        }
        let origin = packet.header.extensions.origin;
        // Lost sound is covered by the codec, or by the other path; asking for it again comes too late more often than not.
        if kind == TrackKind::Video {
            let point = origin.map(|Origin { source, layer, frame, packet, .. }| FramePoint {
                track: source,
                encoding: layer.encoding,
                frame,
                temporal: layer.temporal,
                packet,
            });
            if let Filled::Asked(Some(sample)) = stream.nack.handle_packet(now, number, point) {
                self.measure(sample);
            }
        }
        match origin {
            Some(origin) => self.hand_on(repaired, ssrc, media_packet(origin, kind, packet)),
            None => self.make_up(now, ssrc, number, repaired, packet),
        }
    }

    /// Takes the time from request to answer for the round trip until something better is told.
    fn measure(&mut self, sample: Duration) {
        let rtt = match self.rtt {
            Rtt::Told(_) => return,
            Rtt::Unknown => sample,
            Rtt::Measured(rtt) => (rtt * 7 + sample) / 8,
        };
        self.rtt = Rtt::Measured(rtt);
        self.streams.values_mut().for_each(|stream| stream.nack.set_rtt(rtt));
    }

    fn hand_on(&mut self, repaired: bool, ssrc: Ssrc, packet: MediaPacket) {
        let flags = packet.origin.flags;
        if flags.keyframe
            && flags.first
            && let Some(stream) = self.streams.get_mut(&ssrc)
        {
            stream.keyframe_came();
        }
        self.ready(repaired, ssrc, packet);
    }

    fn ready(&mut self, repaired: bool, ssrc: Ssrc, packet: MediaPacket) {
        if self.ready.len() >= MAX_READY {
            self.ready.pop_front();
        }
        self.ready.push_back(Received { ssrc, track: packet.origin.source, repaired, packet });
    }

    /// Makes up the origin of a packet that has none.
    fn make_up(&mut self, now: Instant, ssrc: Ssrc, number: ExtSeq, repaired: bool, packet: RtpPacket) {
        let Some(stream) = self.streams.get_mut(&ssrc) else {
            return;
        };
        let binding = stream.binding;
        // Tracks come and go; what is left of the oldest is no use to anybody.
        if self.numbers.len() > MAX_BINDINGS {
            self.numbers.pop_first();
        }
        let numbers = self.numbers.entry((binding.track, binding.encoding)).or_default();
        let header = packet.header;
        if stream.kind == TrackKind::Video {
            let stamper = stream.stamper.get_or_insert_with(|| OriginStamper::new(binding, *numbers));
            stamper.push(now, number, header.timestamp, header.marker, repaired, packet.payload);
            return self.release(now, ssrc);
        }
        if packet.payload.is_empty() {
            return;
        }
        let offset = *stream.audio_offset.get_or_insert_with(|| numbers.packet.wrapping_add(2).wrapping_sub(number.0 as u32));
        let number = (number.0 as u32).wrapping_add(offset);
        if (number.wrapping_sub(numbers.packet) as i32) > 0 {
            numbers.packet = number;
        }
        self.hand_on(repaired, ssrc, media_packet(audio_origin(binding, number), TrackKind::Audio, packet));
    }

    /// Hands on what is in order.
    fn release(&mut self, now: Instant, ssrc: Ssrc) {
        loop {
            let Some(stream) = self.streams.get_mut(&ssrc) else {
                return;
            };
            let Binding { track, encoding } = stream.binding;
            let Some(stamper) = &mut stream.stamper else {
                return;
            };
            let Some((packet, repaired)) = stamper.poll_packet(now) else {
                return;
            };
            self.numbers.insert((track, encoding), stamper.numbers());
            self.hand_on(repaired, ssrc, packet);
        }
    }

    /// Takes what the other side says of its streams.
    pub fn handle_rtcp(&mut self, now: Instant, packet: &RtcpPacket) {
        match packet {
            RtcpPacket::SenderReport(report) => {
                if let Some(stream) = self.streams.get_mut(&report.ssrc) {
                    stream.handle_report(now, report);
                }
            }
            RtcpPacket::Bye(bye) => bye.ssrcs.iter().for_each(|ssrc| self.forget(*ssrc)),
            _ => {}
        }
    }

    /// What the sender last said of a track's clock: which wallclock time belongs to which RTP timestamp.
    #[must_use]
    pub fn sender_clock(&self, track: TrackId) -> Option<SenderClock> {
        let clocks = self.streams.values().filter(|stream| stream.binding.track == track).filter_map(|stream| stream.clock);
        clocks.max_by_key(|clock| clock.received_at)
    }

    /// Wants a keyframe of an encoding. Requests leave at most once per [`KEYFRAME_INTERVAL`] and stream; one that has to
    /// wait is dropped when a keyframe comes first. False where no stream of the track was heard on this leg.
    pub fn request_keyframe(&mut self, now: Instant, track: TrackId, encoding: EncodingId) -> bool {
        let source = self.source_of(Binding { track, encoding });
        let stream = source.and_then(|(ssrc, _)| self.streams.get_mut(&ssrc)).filter(|stream| stream.kind == TrackKind::Video);
        stream.map(|stream| stream.want_keyframe(now)).is_some()
    }

    /// Asks for what is missing on this leg and, as `lacks` says, after all others; gives up holes that stay.
    pub fn handle_timeout(&mut self, now: Instant, lacks: &dyn Lacks) {
        let sender = self.config.ssrc;
        let mut held = Vec::new();
        for (ssrc, stream) in &mut self.streams {
            let lost = stream.nack.handle_timeout(now, |span| lacks.lacks(span.track, span.encoding, span.first, span.last));
            for lost in lost.chunks(MAX_PER_NACK) {
                self.outbox.push_back(vec![RtcpPacket::Nack { sender, media: *ssrc, lost: lost.to_vec() }]);
            }
            if stream.stamper.as_ref().and_then(OriginStamper::poll_timeout).is_some_and(|at| at <= now) {
                held.push(*ssrc);
            }
        }
        held.into_iter().for_each(|ssrc| self.release(now, ssrc));
    }

    /// The next compound packet to send now: requests, reports and feedback. Call until `None`.
    pub fn poll_rtcp(&mut self, now: Instant) -> Option<Vec<RtcpPacket>> {
        if self.next_report.is_some_and(|at| at <= now) {
            self.next_report = Some(now + REPORT_INTERVAL);
            self.queue_reports(now);
        }
        let sender = self.config.ssrc;
        while let Some(feedback) = self.twcc.poll_feedback(now, sender, self.last_ssrc) {
            self.outbox.push_back(vec![RtcpPacket::TransportCc(feedback)]);
        }
        for (media, stream) in &mut self.streams {
            if stream.ask_keyframe(now) {
                self.outbox.push_back(vec![RtcpPacket::Pli { sender, media: *media }]);
            }
        }
        self.outbox.pop_front()
    }

    fn queue_reports(&mut self, now: Instant) {
        let ssrc = self.config.ssrc;
        let blocks: Vec<_> = self.streams.values_mut().filter_map(|stream| stream.report(now)).collect();
        for reports in blocks.chunks(MAX_REPORTS) {
            self.outbox.push_back(vec![RtcpPacket::ReceiverReport(ReceiverReport { ssrc, reports: reports.to_vec() })]);
        }
    }

    /// When there is something to ask for, to report or to give up.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let streams = self.streams.values().flat_map(|stream| {
            let held = stream.stamper.as_ref().and_then(OriginStamper::poll_timeout);
            stream.nack.poll_timeout().into_iter().chain(held).chain(stream.keyframe_due())
        });
        let reports = self.next_report.filter(|_| !self.streams.is_empty());
        streams.chain(reports).chain(self.twcc.poll_timeout()).min()
    }

    /// Counts so far.
    #[must_use]
    pub fn stats(&self) -> RecvLegStats {
        RecvLegStats {
            streams: self.streams.values().map(Incoming::stats).collect(),
            packets: self.packets,
            payload: self.payload,
            retransmissions: self.retransmissions,
            violations: self.violations.clone(),
        }
    }
}

fn media_packet(origin: Origin, kind: TrackKind, packet: RtpPacket) -> MediaPacket {
    let RtpHeader { timestamp, marker, extensions, .. } = packet.header;
    MediaPacket { origin, kind, timestamp, marker, audio_level: extensions.audio_level, payload: packet.payload }
}
