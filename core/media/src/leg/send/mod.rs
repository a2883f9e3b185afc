//! The sending half of a leg.

mod stream;
mod tail;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use segue_model::{DataRate, DataSize, EncodingId, ExtSeq, SeqNo, Ssrc, TrackId, TrackKind};
use thiserror::Error;

use crate::bwe::{ClusterId, ProbeCluster};
use crate::feedback::{MAX_SENT, PacketResult, TwccHistory};
use crate::nack::ASSUMED_RTT;
use crate::pacer::{FixedRate, Pacer, PacerQueue};
use crate::packet::MediaPacket;
use crate::packet::rtcp::{Bye, Fir, ReportBlock, RtcpPacket, Sdes, SdesChunk};
use crate::packet::rtp::{ExtensionMap, RtpPacket};
use crate::source::mix;

use super::clock::{from_short_units, middle};
use super::{REPORT_INTERVAL, WallClock};
use stream::Outgoing;
pub use stream::{SendStream, SendStreamStats};

/// Streams of one leg: the publisher leg of a client has a handful, a relay's leg to a subscriber one per track it is shown.
pub const MAX_SEND_STREAMS: usize = 512;

/// Sources remembered after their streams ended, so that their numbers go on: a call does not publish this often.
const MAX_RETIRED: usize = 8_192;

/// Sender reports in one compound packet, each with its part of the description: below 1,200 bytes.
const MAX_REPORTS: usize = 16;

/// Events kept for the shell; only requests for keyframes and drops add any, one per stream at a time.
const MAX_EVENTS: usize = 2 * MAX_SEND_STREAMS;

/// From this round trip on a second request is answered when the picture is due already: what is sent again goes twice at once, so that
/// losing it again does not show.
const TWICE_FROM: Duration = Duration::from_millis(40);

/// Where more than this share is lost, as far as is known, the second copies would be a load themselves.
const TWICE_LOSS: f32 = 0.06;

/// Round trips beyond this are not believed: a report with a wrong time.
const MAX_RTT: Duration = Duration::from_secs(10);

/// Longest canonical name of ours, so that reports stay small.
const MAX_CNAME: usize = 32;

/// What a sending leg needs to know.
#[derive(Clone, Debug)]
pub struct SendLegConfig {
    /// Extension ids negotiated for this leg.
    pub extensions: ExtensionMap,
    /// Canonical name: the same on all legs of a participant (RFC 7022). Cut to 32 bytes.
    pub cname: String,
    /// Of first sequence numbers.
    pub seed: u64,
    /// What the pacer spends.
    pub rate: FixedRate,
    /// Wallclock of sender reports: the same on all legs.
    pub clock: WallClock,
}

/// Why a stream was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddStreamError {
    /// Its source is in use on this leg.
    #[error("a source of the stream is in use on this leg")]
    SsrcInUse,
    /// The leg already has a stream of this encoding of this track.
    #[error("the encoding has a stream on this leg")]
    EncodingInUse,
    /// The leg has [`MAX_SEND_STREAMS`], or has had very many sources.
    #[error("the leg has or has had as many streams as it may")]
    TooMany,
}

/// What a sending leg has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendLegEvent {
    /// The other side, or a drop on this one, needs a keyframe. Said once until it is taken.
    KeyframeRequested {
        /// Of which track.
        track: TrackId,
        /// Of which encoding.
        encoding: EncodingId,
    },
    /// The pacer was full: packets of this encoding are dropped until its next keyframe.
    Overflow {
        /// Of which track.
        track: TrackId,
        /// Of which encoding.
        encoding: EncodingId,
    },
    /// Round trip, smoothed. Only the latest is kept.
    Rtt(Duration),
    /// The other side's estimate of what it can receive (REMB). Only the latest is kept.
    Remb(DataRate),
}

/// Counts of a sending leg.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SendLegStats {
    /// Per stream.
    pub streams: Vec<(SendStream, SendStreamStats)>,
    /// Smoothed round trip, where known.
    pub rtt: Option<Duration>,
    /// Bytes that wait in the pacer.
    pub waiting: DataSize,
    /// RTP bytes sent, headers and retransmissions included.
    pub sent: DataSize,
    /// Media packets no stream of this leg carries.
    pub unrouted: u64,
}

/// Sends media packets over one transport.
#[derive(Debug)]
pub struct SendLeg {
    config: SendLegConfig,
    streams: BTreeMap<Ssrc, Outgoing>,
    routes: BTreeMap<(TrackId, EncodingId), Ssrc>,
    /// Sources no longer in use, with the numbers they would go on with.
    retired: BTreeMap<Ssrc, ExtSeq>,
    pacer: Pacer<Queued>,
    history: TwccHistory,
    results: VecDeque<PacketResult>,
    events: VecDeque<SendLegEvent>,
    rtt: Option<Duration>,
    rtt_news: bool,
    remb: Option<DataRate>,
    outbox: VecDeque<Vec<RtcpPacket>>,
    next_report: Option<Instant>,
    sent: DataSize,
    /// Sent with a transport-wide number and not yet told to an estimator.
    sent_news: DataSize,
    /// The cluster being sent.
    cluster: Option<ClusterId>,
    /// Repeats sent to fill it.
    padded: usize,
    unrouted: u64,
}

#[derive(Debug)]
enum Queued {
    Media(Ssrc, MediaPacket),
    Repair(Ssrc, RtpPacket),
}

impl Queued {
    const fn ssrc(&self) -> Ssrc {
        match self {
            Self::Media(ssrc, _) | Self::Repair(ssrc, _) => *ssrc,
        }
    }

    const fn frame(&self) -> Option<u32> {
        match self {
            Self::Media(_, packet) => Some(packet.origin.frame),
            Self::Repair(..) => None,
        }
    }
}

/// What an overflow leaves of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// The frame of the packet that is next.
    FrameUnderWay,
    Nothing,
}

impl SendLeg {
    /// Without streams.
    #[must_use]
    pub fn new(mut config: SendLegConfig) -> Self {
        let end = (0..=MAX_CNAME).rev().find(|end| config.cname.is_char_boundary(*end)).unwrap_or(0);
        if config.cname.len() > MAX_CNAME {
            config.cname.truncate(end);
        }
        let pacer = Pacer::new(config.rate);
        Self {
            config,
            streams: BTreeMap::new(),
            routes: BTreeMap::new(),
            retired: BTreeMap::new(),
            pacer,
            history: TwccHistory::default(),
            results: VecDeque::new(),
            events: VecDeque::new(),
            rtt: None,
            rtt_news: false,
            remb: None,
            outbox: VecDeque::new(),
            next_report: None,
            sent: DataSize::ZERO,
            sent_news: DataSize::ZERO,
            cluster: None,
            padded: 0,
            unrouted: 0,
        }
    }

    /// Takes the ids of a new negotiation.
    pub const fn set_extensions(&mut self, extensions: ExtensionMap) {
        self.config.extensions = extensions;
    }

    /// Changes what the pacer spends.
    pub const fn set_rate(&mut self, rate: DataRate) {
        self.config.rate = FixedRate(rate);
        self.pacer.set_rate(self.config.rate);
    }

    /// Lets the leg carry an encoding of a track.
    ///
    /// # Errors
    /// [`AddStreamError`]; the leg stays as it was.
    pub fn add_stream(&mut self, stream: SendStream) -> Result<(), AddStreamError> {
        if self.streams.len() >= MAX_SEND_STREAMS || self.retired.len() >= MAX_RETIRED {
            return Err(AddStreamError::TooMany);
        }
        let taken = |ssrc: Ssrc| self.streams.values().any(|s| s.spec.ssrc == ssrc || s.spec.rtx_ssrc == Some(ssrc));
        if taken(stream.ssrc) || stream.rtx_ssrc.is_some_and(|rtx| taken(rtx) || rtx == stream.ssrc) {
            return Err(AddStreamError::SsrcInUse);
        }
        let route = (stream.track, stream.encoding);
        if self.routes.contains_key(&route) {
            return Err(AddStreamError::EncodingInUse);
        }
        self.routes.insert(route, stream.ssrc);
        self.streams.insert(stream.ssrc, Outgoing::new(stream, |ssrc| self.first_number(ssrc)));
        Ok(())
    }

    /// RFC 3550 section 5.1: random, with the upper half left free, so that early reordering does not wrap. A source that
    /// was in use before goes on where it ended: its keys may be the same, and no number is sealed twice.
    fn first_number(&self, ssrc: Ssrc) -> ExtSeq {
        let random = ExtSeq((1 << 16) | (mix(self.config.seed ^ u64::from(ssrc.0)) & 0x7fff));
        self.retired.get(&ssrc).copied().unwrap_or(random)
    }

    /// Ends all streams of a track: what waits is dropped, the other side is told (BYE).
    pub fn remove_stream(&mut self, track: TrackId) {
        let gone: Vec<Ssrc> = self.streams.values().map(|s| s.spec).filter(|s| s.track == track).map(|s| s.ssrc).collect();
        if gone.is_empty() {
            return;
        }
        self.routes.retain(|(of, _), _| *of != track);
        self.retired.extend(self.streams.values().filter(|s| s.spec.track == track).flat_map(Outgoing::numbers));
        self.streams.retain(|ssrc, _| !gone.contains(ssrc));
        for queue in [PacerQueue::Audio, PacerQueue::Repair, PacerQueue::Video] {
            self.pacer.retain(queue, |queued| !gone.contains(&queued.ssrc()));
        }
        self.outbox.push_back(vec![RtcpPacket::Bye(Bye { ssrcs: gone })]);
    }

    /// Whether the leg carries this encoding.
    #[must_use]
    pub fn has_stream(&self, track: TrackId, encoding: EncodingId) -> bool {
        self.routes.contains_key(&(track, encoding))
    }

    /// Says when the media with this RTP timestamp was captured. Sender reports build on the latest such statement; without
    /// any they take the time packets are pushed, which is off by the time of encoding.
    pub fn set_capture_time(&mut self, track: TrackId, timestamp: u32, captured_at: Instant) {
        self.streams.values_mut().filter(|s| s.spec.track == track).for_each(|s| s.set_anchor(timestamp, captured_at));
    }

    /// Queues a packet; one that no stream carries is counted and dropped.
    pub fn push(&mut self, now: Instant, packet: &MediaPacket) {
        self.queue(now, packet, false);
    }

    /// Queues a packet that its receivers get in another way too: it is not repeated where it is the last before a silence.
    pub fn push_copy(&mut self, now: Instant, packet: &MediaPacket) {
        self.queue(now, packet, true);
    }

    fn queue(&mut self, now: Instant, packet: &MediaPacket, copy: bool) {
        let route = (packet.origin.source, packet.origin.layer.encoding);
        let Some((ssrc, stream)) = self.routes.get(&route).and_then(|ssrc| Some((*ssrc, self.streams.get_mut(ssrc)?))) else {
            self.unrouted += 1;
            return;
        };
        if !stream.admits(packet) {
            stream.stats.dropped += 1;
            return;
        }
        stream.note_time(now, packet.timestamp);
        stream.tail.set_copy(copy);
        let queue = match stream.spec.kind {
            TrackKind::Audio => PacerQueue::Audio,
            TrackKind::Video => PacerQueue::Video,
        };
        let size = pacer_size(packet.payload.len());
        // A frame goes whole or not at all.
        let late = queue == PacerQueue::Video && packet.origin.flags.first && self.pacer.is_behind();
        if late {
            self.overflow(ssrc, queue, Keep::FrameUnderWay);
        } else if self.pacer.push(now, queue, route.0, size, Queued::Media(ssrc, packet.clone())).is_err() {
            self.overflow(ssrc, queue, Keep::Nothing);
        }
    }

    /// A queue of video that is behind or full loses all of the stream at once: what is new is of more use. The frame that is leaving may be
    /// the only one that ever gets through.
    fn overflow(&mut self, ssrc: Ssrc, queue: PacerQueue, keep: Keep) {
        let Some(stream) = self.streams.get_mut(&ssrc) else {
            return;
        };
        stream.stats.dropped += 1;
        if queue == PacerQueue::Audio {
            return;
        }
        let dropped = &mut stream.stats.dropped;
        let mut under_way = None;
        self.pacer.retain(queue, |queued| {
            let ours = queued.ssrc() == ssrc;
            let keep = !ours || (keep == Keep::FrameUnderWay && queued.frame() == *under_way.get_or_insert(queued.frame()));
            *dropped += u64::from(!keep);
            keep
        });
        stream.awaits_keyframe = true;
        let SendStream { track, encoding, .. } = stream.spec;
        self.event(SendLegEvent::Overflow { track, encoding });
        self.request_keyframe(ssrc);
    }

    fn request_keyframe(&mut self, ssrc: Ssrc) {
        if let Some(stream) = self.streams.get_mut(&ssrc).filter(|stream| !stream.keyframe_asked) {
            stream.keyframe_asked = true;
            let SendStream { track, encoding, .. } = stream.spec;
            self.event(SendLegEvent::KeyframeRequested { track, encoding });
        }
    }

    fn event(&mut self, event: SendLegEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Takes what the other side says. Packets about streams of others are ignored.
    pub fn handle_rtcp(&mut self, now: Instant, packet: &RtcpPacket) {
        match packet {
            RtcpPacket::SenderReport(report) => self.handle_reports(now, &report.reports),
            RtcpPacket::ReceiverReport(report) => self.handle_reports(now, &report.reports),
            RtcpPacket::Nack { media, lost, .. } => self.handle_nack(now, *media, lost),
            RtcpPacket::Pli { media, .. } => self.request_keyframe(*media),
            RtcpPacket::Fir(fir) => self.handle_fir(fir),
            RtcpPacket::TransportCc(feedback) => {
                self.results.extend(self.history.handle_feedback(feedback));
                while self.results.len() > MAX_SENT {
                    self.results.pop_front();
                }
            }
            RtcpPacket::Remb(remb) => self.remb = Some(remb.bitrate),
            RtcpPacket::Sdes(_) | RtcpPacket::Bye(_) | RtcpPacket::Heartbeat(_) | RtcpPacket::Unknown { .. } => {}
        }
    }

    fn handle_reports(&mut self, now: Instant, blocks: &[ReportBlock]) {
        for block in blocks {
            let Some(stream) = self.streams.get_mut(&block.ssrc) else {
                continue;
            };
            stream.handle_report(block);
            if block.last_sender_report != 0 {
                // RFC 3550 section 6.4.1: A - LSR - DLSR.
                let arrival = middle(self.config.clock.ntp(now));
                let round = arrival.wrapping_sub(block.last_sender_report).wrapping_sub(block.delay);
                self.note_rtt(from_short_units(round));
            }
        }
    }

    /// Takes a round trip measured elsewhere on this transport (heartbeats).
    pub fn note_rtt(&mut self, sample: Duration) {
        if sample > MAX_RTT {
            return;
        }
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
        self.rtt_news = true;
    }

    fn handle_nack(&mut self, now: Instant, media: Ssrc, lost: &[SeqNo]) {
        let Some(stream) = self.streams.get_mut(&media) else {
            return;
        };
        let rtt = self.rtt.unwrap_or(ASSUMED_RTT);
        let twice = self.rtt.is_some_and(|rtt| rtt >= TWICE_FROM) && stream.loss.is_none_or(|loss| loss <= TWICE_LOSS);
        for number in lost {
            let Some(packet) = stream.resend(now, *number, rtt) else {
                continue;
            };
            let size = pacer_size(packet.payload.len());
            let mut copies = std::iter::repeat_n(packet, if twice { 2 } else { 1 });
            // A full queue answers none of the rest; the receiver asks again.
            if self.pacer.is_behind()
                || !copies.all(|copy| {
                    self.pacer.push(now, PacerQueue::Repair, stream.spec.track, size, Queued::Repair(media, copy)).is_ok()
                })
            {
                break;
            }
        }
    }

    fn handle_fir(&mut self, fir: &Fir) {
        for entry in &fir.entries {
            let news = self.streams.get_mut(&entry.ssrc).is_some_and(|s| s.fir.replace(entry.sequence) != Some(entry.sequence));
            if news {
                self.request_keyframe(entry.ssrc);
            }
        }
    }

    /// Sends a run of packets faster, as an estimator wishes: media that waits, then repeats of what was sent. A leg that has
    /// sent nothing that may be repeated ends it early.
    pub fn start_probe(&mut self, now: Instant, cluster: ProbeCluster) {
        self.cluster = Some(cluster.id);
        self.padded = 0;
        self.pacer.start_probe(now, cluster.rate, cluster.size);
    }

    /// The next packet to leave now, complete with the transport-wide number and send time. Call until `None`.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<RtpPacket> {
        loop {
            let cluster = self.cluster.filter(|_| self.pacer.is_probing());
            let stamped = match self.pacer.pop(now) {
                Some(queued) => self.stamp(now, queued),
                None => Some(self.pad(now)?),
            };
            let Some(mut packet) = stamped else {
                continue;
            };
            let ids = &self.config.extensions;
            let extensions = &mut packet.header.extensions;
            extensions.abs_send_time = ids.abs_send_time.map(|_| self.config.clock.abs_send_time(now));
            extensions.transport_cc = ids.transport_cc.map(|_| self.history.next().0);
            let size = DataSize::bytes(packet.wire_len(ids) as u64);
            if ids.transport_cc.is_some() {
                let size = size + BELOW;
                self.history.record(now, size, cluster);
                self.sent_news += size;
            }
            self.sent += size;
            return Some(packet);
        }
    }

    fn stamp(&mut self, now: Instant, queued: Queued) -> Option<RtpPacket> {
        let stream = self.streams.get_mut(&queued.ssrc())?;
        match queued {
            Queued::Media(_, packet) => {
                if stream.stats.packets == 0 {
                    // Receivers line up sound and picture by the first report.
                    self.next_report = Some(now);
                }
                Some(stream.stamp(now, packet))
            }
            Queued::Repair(_, original) => stream.stamp_repair(&original),
        }
    }

    /// A repeat, where a probe wants a packet now and nothing waits.
    fn pad(&mut self, now: Instant) -> Option<RtpPacket> {
        if !self.pacer.padding_due(now) {
            return None;
        }
        let back = self.padded;
        let Some(packet) = self.streams.values_mut().find_map(|stream| stream.pad(back)) else {
            self.pacer.end_probe();
            return None;
        };
        self.padded += 1;
        self.pacer.handle_padding(now, pacer_size(packet.payload.len()));
        Some(packet)
    }

    /// Bytes sent since the last call that results will tell of, sized as they will be there; `None` for none.
    pub fn poll_sent(&mut self) -> Option<DataSize> {
        let sent = std::mem::take(&mut self.sent_news);
        (sent > DataSize::ZERO).then_some(sent)
    }

    /// The next compound packet to send now: sender reports and goodbyes. Call until `None`.
    pub fn poll_rtcp(&mut self, now: Instant) -> Option<Vec<RtcpPacket>> {
        if self.next_report.is_some_and(|at| at <= now) {
            self.next_report = Some(now + REPORT_INTERVAL);
            self.queue_reports(now);
        }
        self.outbox.pop_front()
    }

    fn queue_reports(&mut self, now: Instant) {
        let clock = &self.config.clock;
        let reports: Vec<_> = self.streams.values().filter_map(|stream| stream.report(now, clock)).collect();
        for reports in reports.chunks(MAX_REPORTS) {
            let cname = self.config.cname.as_bytes();
            let chunks = reports.iter().map(|report| SdesChunk { ssrc: report.ssrc, cname: cname.to_vec() }).collect();
            let mut compound: Vec<_> = reports.iter().cloned().map(RtcpPacket::SenderReport).collect();
            compound.push(RtcpPacket::Sdes(Sdes { chunks }));
            self.outbox.push_back(compound);
        }
    }

    /// Drops what is too old to be sent again, and repeats what was sent last before a silence.
    pub fn handle_timeout(&mut self, now: Instant) {
        for (ssrc, stream) in &mut self.streams {
            if let Some(last) = stream.repeat_tail(now) {
                let size = pacer_size(last.payload.len());
                // A pacer that is full has something after it.
                let _ = self.pacer.push(now, PacerQueue::Repair, stream.spec.track, size, Queued::Repair(*ssrc, last));
            }
            stream.expire(now);
        }
    }

    /// When there is something to send.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let reports = self.next_report.filter(|_| !self.streams.is_empty());
        let tails = self.streams.values().filter_map(Outgoing::poll_timeout);
        reports.into_iter().chain(self.pacer.poll_timeout()).chain(tails).min()
    }

    /// What there is to say. Call until `None`.
    pub fn poll_event(&mut self) -> Option<SendLegEvent> {
        if let Some(event) = self.events.pop_front() {
            if let SendLegEvent::KeyframeRequested { track, encoding } = event
                && let Some(stream) = self.routes.get(&(track, encoding)).and_then(|ssrc| self.streams.get_mut(ssrc))
            {
                stream.keyframe_asked = false;
            }
            return Some(event);
        }
        if let Some(remb) = self.remb.take() {
            return Some(SendLegEvent::Remb(remb));
        }
        let rtt = self.rtt.filter(|_| self.rtt_news)?;
        self.rtt_news = false;
        Some(SendLegEvent::Rtt(rtt))
    }

    /// What became of sent packets, for an estimator. The oldest go where nobody asks.
    pub fn poll_result(&mut self) -> Option<PacketResult> {
        self.results.pop_front()
    }

    /// Bytes that wait in the pacer.
    #[must_use]
    pub const fn waiting(&self) -> DataSize {
        self.pacer.waiting()
    }

    /// Counts so far.
    #[must_use]
    pub fn stats(&self) -> SendLegStats {
        SendLegStats {
            streams: self.streams.values().map(|stream| (stream.spec, stream.stats)).collect(),
            rtt: self.rtt,
            waiting: self.pacer.waiting(),
            sent: self.sent,
            unrouted: self.unrouted,
        }
    }
}

/// What lies below RTP in a packet: IPv4, UDP and the SRTP tag. Estimates are of what a link carries.
const BELOW: DataSize = DataSize::bytes(20 + 8 + 16);

/// What a packet costs the pacer: its payload and, about, its headers down to IP.
const fn pacer_size(payload: usize) -> DataSize {
    /// RTP with extensions, SRTP tag, UDP, IPv4.
    const HEADERS: u64 = 96;
    DataSize::bytes(payload as u64 + HEADERS)
}
