//! A publisher's streams: which SSRC carries which encoding of which track, and whether it may.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segue_media::feedback::TwccRecorder;
use segue_media::nack::{Filled, NackGenerator};
use segue_media::packet::rtcp::TransportFeedback;
use segue_media::packet::{AudioLevel, Label, Origin, RtpView};
use segue_model::{EncodingId, ExtSeq, MAX_TEMPORAL_LAYERS, SeqNo, SeqUnwrapper, Ssrc, TrackId, TrackKind};

use crate::cache::Packet;
use crate::drops::DropReason;
use crate::leg::{Binding, LegParameters, StreamKind};
use crate::reception::{Reception, Seen, SeenWindow};
use crate::track::Tracks;

/// SSRCs one publisher may have: eight tracks of three encodings with their retransmissions, and room to change them.
pub const MAX_STREAMS: usize = 64;

/// Silence after which a stream gives way to a new one when a publisher has [`MAX_STREAMS`].
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// Packet numbers a sender may be ahead of the last one seen, whatever the time since: what several keyframes take.
const JUMP: u64 = 2_000;

/// And for every second since: an encoding of 20 Mbit/s in full packets.
const JUMP_PER_SECOND: u64 = 2_500;

/// Numbers left free between two SSRCs of one encoding, so that late packets of the second keep numbers of their own.
const STREAM_GAP: u64 = 1 << 16;

/// One SSRC of a publisher.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) ssrc: Ssrc,
    pub(crate) track: TrackId,
    /// The track's place in the room's table.
    pub(crate) place: usize,
    pub(crate) encoding: EncodingId,
    pub(crate) kind: StreamKind,
    pub(crate) reception: Reception,
    pub(crate) nack: NackGenerator,
    unwrapper: SeqUnwrapper,
    seen: SeenWindow,
    /// Added to extended sequence numbers, so that those of one encoding go on over a change of SSRC.
    base: u64,
    /// Last packet number per temporal layer.
    origins: [Option<(u32, Instant)>; MAX_TEMPORAL_LAYERS],
    last_at: Instant,
}

/// A media packet that may go on.
#[derive(Debug)]
pub(crate) struct Accepted<'a> {
    pub(crate) track: TrackId,
    pub(crate) place: usize,
    pub(crate) encoding: EncodingId,
    pub(crate) packet: Packet,
    pub(crate) payload: &'a [u8],
    /// Numbers before it are missing, and will be asked for.
    pub(crate) after_hole: bool,
    /// It came before, and its publisher sent it again.
    pub(crate) again: bool,
}

/// Streams of one publisher transport.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    pub(crate) leg: LegParameters,
    pub(crate) bindings: Vec<Binding>,
    arrivals: TwccRecorder,
    /// Any stream of the transport, as feedback names it.
    media: Option<Ssrc>,
    rtt: Option<Duration>,
    streams: Vec<Stream>,
    by_ssrc: BTreeMap<Ssrc, usize>,
    /// The stream of the last packet: packets come in runs.
    last: usize,
}

/// What every packet says of itself.
struct Parsed<'a> {
    view: RtpView<'a>,
    kind: StreamKind,
    origin: Option<Origin>,
}

impl Publisher {
    pub(crate) fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter()
    }

    pub(crate) fn streams_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.streams.iter_mut()
    }

    /// The stream that at present carries an encoding.
    pub(crate) fn carrier(&self, track: TrackId, encoding: EncodingId) -> Option<&Stream> {
        self.carrier_index(track, encoding).and_then(|index| self.streams.get(index))
    }

    pub(crate) fn stream_mut(&mut self, ssrc: Ssrc) -> Option<&mut Stream> {
        self.by_ssrc.get(&ssrc).copied().and_then(|index| self.streams.get_mut(index))
    }

    pub(crate) fn forget_track(&mut self, track: TrackId) {
        self.bindings.retain(|binding| binding.track != track);
        self.streams.retain(|stream| stream.track != track);
        self.index();
    }

    /// Notes when a packet arrived, for the sender's estimator: whatever it carries, it took its share of the link.
    pub(crate) fn record_arrival(&mut self, now: Instant, view: &RtpView<'_>) {
        let number = self.leg.extensions.transport_cc.and_then(|id| view.extension(id));
        if let Some(&[high, low, ..]) = number {
            self.media = Some(view.ssrc());
            self.arrivals.record(now, SeqNo(u16::from_be_bytes([high, low])));
        }
    }

    pub(crate) fn arrivals_due(&self) -> Option<Instant> {
        self.arrivals.poll_timeout()
    }

    pub(crate) fn poll_arrivals(&mut self, now: Instant, sender: Ssrc) -> Option<TransportFeedback> {
        self.arrivals.poll_feedback(now, sender, self.media?)
    }

    /// The round trip requests for packets are spaced by.
    pub(crate) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = Some(rtt);
        for stream in &mut self.streams {
            stream.nack.set_rtt(rtt);
        }
    }

    /// Takes one plain packet: finds its stream, checks that it may be sent, unwraps retransmissions.
    pub(crate) fn accept<'a>(
        &mut self,
        now: Instant,
        stamps_origin: bool,
        view: RtpView<'a>,
        tracks: &Tracks<'_>,
    ) -> Result<Accepted<'a>, DropReason> {
        let kind = self.leg.payload_types.stream_kind(view.payload_type()).ok_or(DropReason::UnknownPayloadType)?;
        let origin = self.leg.extensions.origin.filter(|_| stamps_origin).and_then(|id| view.extension(id));
        let parsed = Parsed { view, kind, origin: origin.and_then(Origin::from_bytes) };
        let index = self.identify(now, stamps_origin, &parsed, tracks)?;
        let (arrived, after_hole) = self.arrive(now, index, &parsed)?;
        if kind.rtx {
            self.repair(now, index, &parsed)
        } else {
            let accepted = self.original(index, &parsed, arrived)?;
            Ok(Accepted { after_hole, ..accepted })
        }
    }

    /// The index of the packet's stream, which is made where it is new.
    fn identify(
        &mut self,
        now: Instant,
        stamps_origin: bool,
        parsed: &Parsed<'_>,
        tracks: &Tracks<'_>,
    ) -> Result<usize, DropReason> {
        let ssrc = parsed.view.ssrc();
        if self.streams.get(self.last).is_none_or(|stream| stream.ssrc != ssrc) {
            self.last = self.by_ssrc.get(&ssrc).copied().unwrap_or(usize::MAX);
        }
        let index = self.last;
        if index != usize::MAX {
            let stream = self.streams.get_mut(index).ok_or(DropReason::UnknownStream)?;
            if stamps_origin {
                check_origin(now, stream, parsed, tracks)?;
            }
            if stream.kind != parsed.kind {
                return Err(DropReason::UnknownPayloadType);
            }
            return Ok(index);
        }
        let (track, encoding) = if stamps_origin {
            let origin = parsed.origin.ok_or(DropReason::UnknownStream)?;
            (origin.source, origin.layer.encoding)
        } else {
            self.bound(parsed, tracks).ok_or(DropReason::UnknownStream)?
        };
        if tracks.kind(track) != Some(parsed.kind.kind) {
            return Err(DropReason::OriginNotOwned);
        }
        self.make_room(now)?;
        let place = tracks.place(track).ok_or(DropReason::UnknownStream)?;
        let highest = tracks.highest(track, encoding);
        let mut nack = NackGenerator::default();
        if let Some(rtt) = self.rtt {
            nack.set_rtt(rtt);
        }
        let mut stream = Stream {
            ssrc,
            track,
            place,
            encoding,
            kind: parsed.kind,
            reception: Reception::default(),
            nack,
            unwrapper: SeqUnwrapper::default(),
            seen: SeenWindow::default(),
            base: highest.map_or(0, |highest| highest + STREAM_GAP),
            origins: [None; MAX_TEMPORAL_LAYERS],
            last_at: now,
        };
        if stamps_origin {
            check_origin(now, &mut stream, parsed, tracks)?;
        }
        self.streams.push(stream);
        self.index();
        self.by_ssrc.get(&ssrc).copied().ok_or(DropReason::TooManyStreams)
    }

    /// Counts an arrival. The extended number, and whether numbers before it are missing.
    fn arrive(&mut self, now: Instant, index: usize, parsed: &Parsed<'_>) -> Result<(u64, bool), DropReason> {
        let stream = self.streams.get_mut(index).ok_or(DropReason::UnknownStream)?;
        stream.last_at = now;
        let seq = stream.unwrapper.unwrap(parsed.view.sequence()).0;
        let after_hole = stream.reception.highest().is_some_and(|highest| seq > highest + 1);
        let clock_rate = parsed.kind.kind.clock_rate();
        stream.reception.insert(now, seq, parsed.view.timestamp(), clock_rate);
        match stream.seen.insert(seq) {
            Seen::New => {}
            Seen::Before => return Err(DropReason::Duplicate),
            Seen::TooOld => return Err(DropReason::TooOld),
        }
        // Voice is not asked for again: a second copy on another path repairs it sooner.
        if parsed.kind == (StreamKind { kind: TrackKind::Video, rtx: false }) {
            let filled = stream.nack.handle_packet(now, ExtSeq(seq), None);
            self.note_round_trip(filled);
        }
        Ok((seq, after_hole))
    }

    fn original<'a>(&self, index: usize, parsed: &Parsed<'a>, seq: u64) -> Result<Accepted<'a>, DropReason> {
        let stream = self.streams.get(index).ok_or(DropReason::UnknownStream)?;
        let level = self.leg.extensions.audio_level.and_then(|id| parsed.view.extension(id)).and_then(read_level);
        Ok(stream.accepted(parsed, seq, level, parsed.view.payload()))
    }

    /// Unwraps a retransmission (RFC 4588 section 4): its payload begins with the original's sequence number.
    fn repair<'a>(&mut self, now: Instant, index: usize, parsed: &Parsed<'a>) -> Result<Accepted<'a>, DropReason> {
        let [high, low, payload @ ..] = parsed.view.payload() else { return Err(DropReason::EmptyRetransmission) };
        let (track, encoding) =
            self.streams.get(index).map(|stream| (stream.track, stream.encoding)).ok_or(DropReason::UnknownStream)?;
        if payload.is_empty() {
            return Err(DropReason::Padding);
        }
        let carrier = self.carrier_index(track, encoding).ok_or(DropReason::UnknownStream)?;
        let stream = self.streams.get_mut(carrier).ok_or(DropReason::UnknownStream)?;
        let seq = stream.unwrapper.unwrap(SeqNo(u16::from_be_bytes([*high, *low]))).0;
        let filled = stream.nack.handle_packet(now, ExtSeq(seq), None);
        let accepted = match stream.seen.insert(seq) {
            Seen::New => Ok(stream.accepted(parsed, seq, None, payload)),
            Seen::Before => Ok(Accepted { again: true, ..stream.accepted(parsed, seq, None, payload) }),
            Seen::TooOld => Err(DropReason::TooOld),
        };
        self.note_round_trip(filled);
        accepted
    }

    /// A packet that was asked for once and came measures the round trip (smoothed as in RFC 6298 section 2.3).
    fn note_round_trip(&mut self, filled: Filled) {
        if let Filled::Asked(Some(sample)) = filled {
            self.set_rtt(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
        }
    }

    fn carrier_index(&self, track: TrackId, encoding: EncodingId) -> Option<usize> {
        let matching = self.streams.iter().enumerate();
        let matching = matching.filter(|(_, stream)| stream.track == track && stream.encoding == encoding && !stream.kind.rtx);
        matching.max_by_key(|(_, stream)| stream.last_at).map(|(index, _)| index)
    }

    /// The track and encoding the session description ties a packet to: by its SSRC, by its labels, or by its payload type where that
    /// belongs to one section only (RFC 9143 section 9.2).
    fn bound(&self, parsed: &Parsed<'_>, tracks: &Tracks<'_>) -> Option<(TrackId, EncodingId)> {
        let ssrc = Some(parsed.view.ssrc());
        let label = |id: Option<u8>| id.and_then(|id| parsed.view.extension(id)).and_then(Label::from_bytes);
        let mid = label(self.leg.extensions.mid);
        let rid = label(if parsed.kind.rtx { self.leg.extensions.repaired_rid } else { self.leg.extensions.rid });
        let declared = |binding: &&Binding| if parsed.kind.rtx { binding.rtx_ssrc == ssrc } else { binding.ssrc == ssrc };
        let labelled = |binding: &&Binding| mid.is_some() && binding.mid == mid && binding.rid == rid;
        let known = self.bindings.iter().find(declared).or_else(|| self.bindings.iter().find(labelled));
        let found = known.or_else(|| {
            let mut alike = self.bindings.iter().filter(|binding| tracks.kind(binding.track) == Some(parsed.kind.kind));
            alike.next().filter(|only| only.rid.is_none() && mid.is_none() && alike.next().is_none())
        })?;
        Some((found.track, found.encoding))
    }

    /// Room for one more stream, at the cost of the one that is silent for longest.
    fn make_room(&mut self, now: Instant) -> Result<(), DropReason> {
        if self.streams.len() < MAX_STREAMS {
            return Ok(());
        }
        let idle = self.streams.iter().enumerate().min_by_key(|(_, stream)| stream.last_at);
        let (index, _) = idle
            .filter(|(_, stream)| now.saturating_duration_since(stream.last_at) > IDLE_AFTER)
            .ok_or(DropReason::TooManyStreams)?;
        self.streams.remove(index);
        self.index();
        Ok(())
    }

    fn index(&mut self) {
        self.last = usize::MAX;
        self.by_ssrc = self.streams.iter().enumerate().map(|(index, stream)| (stream.ssrc, index)).collect();
    }
}

impl Stream {
    fn accepted<'a>(&self, parsed: &Parsed<'_>, seq: u64, level: Option<AudioLevel>, payload: &'a [u8]) -> Accepted<'a> {
        let packet = Packet {
            seq: self.base + seq,
            origin: parsed.origin,
            stamp: parsed.origin.map(|origin| origin.to_bytes()).unwrap_or_default(),
            timestamp: parsed.view.timestamp(),
            marker: parsed.view.marker(),
            level,
        };
        let (track, place, encoding) = (self.track, self.place, self.encoding);
        Accepted { track, place, encoding, packet, payload, after_hole: false, again: false }
    }
}

/// A packet speaks for a track of its sender only, on one stream for one encoding only, and counts up at a believable pace.
fn check_origin(now: Instant, stream: &mut Stream, parsed: &Parsed<'_>, tracks: &Tracks<'_>) -> Result<(), DropReason> {
    let origin = parsed.origin.ok_or(DropReason::OriginMismatch)?;
    // The stream's own track is its publisher's: a stream goes with its track.
    if origin.source != stream.track && !tracks.owns(origin.source) {
        return Err(DropReason::OriginNotOwned);
    }
    if origin.source != stream.track || origin.layer.encoding != stream.encoding {
        return Err(DropReason::OriginMismatch);
    }
    if origin.flags.probe || parsed.kind.rtx {
        return Ok(());
    }
    let Some(last) = stream.origins.get_mut(usize::from(origin.layer.temporal.0)) else {
        return Err(DropReason::OriginMismatch);
    };
    if let Some((number, at)) = *last {
        let ahead = origin.packet.wrapping_sub(number);
        if ahead >= 1 << 31 {
            return Ok(());
        }
        let allowed = JUMP + now.saturating_duration_since(at).as_secs().saturating_add(1).saturating_mul(JUMP_PER_SECOND);
        if u64::from(ahead) > allowed {
            return Err(DropReason::OriginJump);
        }
    }
    *last = Some((origin.packet, now));
    Ok(())
}

/// RFC 6464 section 3.
fn read_level(data: &[u8]) -> Option<AudioLevel> {
    data.first().map(|byte| AudioLevel { level: byte & 0x7f, voice: byte & 0x80 != 0 })
}
