//! RTCP of the room: reports, requests for packets and for keyframes, both ways.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use segue_media::packet::RtcpPacket;
use segue_media::packet::rtcp::{MAX_REPORTS, ReceiverReport, ReportBlock, SenderReport};
use segue_model::{EncodingId, ParticipantId, SeqNo, Ssrc, TrackId, TrackKind};

use super::{Direction, ForwardEvent, RoomForwarder, RtcpOut};
use crate::publisher::{Accepted, Publisher};
use crate::subscriber::{Job, Slot};

/// Between two receiver reports to a publisher (RFC 3550 section 6.2 allows more than one per 5 s on a link of this rate).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Numbers in one NACK: scattered as they may be, it fits a datagram.
const NACK_CHUNK: usize = 256;

/// RTCP packets that wait to be fetched, for a shell that does not.
const MAX_WAITING: usize = 4096;

/// How often a packet that is sent again goes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copies {
    One,
    /// Twice where its subscriber has not had many of late.
    AsSpare,
}

impl RoomForwarder {
    /// Plain RTCP of a participant, from its publisher or its subscriber transport.
    pub fn handle_rtcp(&mut self, now: Instant, from: ParticipantId, direction: Direction, packets: &[RtcpPacket]) {
        for packet in packets {
            match (direction, packet) {
                (Direction::Publish, RtcpPacket::SenderReport(report)) => self.handle_sender_report(now, from, report),
                (Direction::Subscribe, RtcpPacket::Nack { media, lost, .. }) => self.repeat(now, from, *media, lost),
                (Direction::Subscribe, RtcpPacket::Pli { media, .. }) => self.want_keyframe(now, from, *media),
                (Direction::Subscribe, RtcpPacket::Fir(fir)) => {
                    for entry in &fir.entries {
                        self.want_keyframe(now, from, entry.ssrc);
                    }
                }
                // Reports of what arrived feed an estimator: `FixedRate` has no use for them.
                _ => {}
            }
        }
    }

    /// The round trip to a publisher, where the shell measures it.
    pub fn set_round_trip(&mut self, publisher: ParticipantId, rtt: Duration) {
        if let Some(participant) = self.participants.get_mut(publisher) {
            participant.publisher.set_rtt(rtt);
        }
    }

    /// When [`RoomForwarder::handle_timeout`] is due: never later than something is, sometimes sooner.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// When something is due, looked for everywhere.
    fn earliest(&self) -> Option<Instant> {
        let publishers = || self.participants.iter().map(|(_, participant)| &participant.publisher);
        let missing = publishers().flat_map(Publisher::streams).filter_map(|stream| stream.nack.poll_timeout()).min();
        let arrivals = publishers().filter_map(Publisher::arrivals_due).min();
        let encodings = self.tracks.iter().flat_map(|(_, track)| track.encodings.iter());
        let keyframes = encodings.filter_map(|state| state.keyframes.due()).min();
        [missing, arrivals, keyframes, self.next_report, self.speakers.poll_timeout()].into_iter().flatten().min()
    }

    /// Sends what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ask_again(now);
        let due = self.tracks.iter().flat_map(|(id, track)| {
            let waiting =
                track.encodings.iter().enumerate().filter(|(_, state)| state.keyframes.due().is_some_and(|due| due <= now));
            waiting.map(move |(encoding, _)| (track.owner, id, EncodingId(encoding as u8)))
        });
        let due: Vec<_> = due.collect();
        for (owner, track, encoding) in due {
            self.ask_for_keyframe(now, owner, track, encoding);
        }
        if self.next_report.is_some_and(|next| next <= now) {
            self.report(now);
        }
        if let Some(ranking) = self.speakers.poll(now) {
            let owner = |track: TrackId| self.tracks.get(track).map(|track| track.owner);
            let speakers = ranking.iter().filter_map(|&(track, level)| Some((owner(track)?, level))).collect();
            // Only the latest matters.
            self.events.retain(|event| !matches!(event, ForwardEvent::Speakers(_)));
            self.events.push_back(ForwardEvent::Speakers(speakers));
        }
        self.due = self.earliest();
    }

    /// The next RTCP to leave.
    pub fn poll_rtcp(&mut self) -> Option<RtcpOut> {
        self.rtcp.pop_front()
    }

    /// Sends the waiting keyframe request of an encoding, where its time has come and its stream is known.
    pub(super) fn ask_for_keyframe(&mut self, now: Instant, owner: ParticipantId, track: TrackId, encoding: EncodingId) {
        let Some(publisher) = self.participants.get(owner).map(|owner| &owner.publisher) else { return };
        let carrier = publisher.carrier(track, encoding).map(|stream| stream.ssrc);
        let Some(state) = self.tracks.get_mut(track).and_then(|track| track.encoding_mut(encoding)) else { return };
        let Some(media) = carrier else {
            // Nothing arrives that could be asked: the first packet that does will be.
            state.keyframes.satisfy();
            return;
        };
        if state.keyframes.poll(now) {
            self.counters.keyframe_requests += 1;
            let pli = RtcpPacket::Pli { sender: self.ssrc, media };
            self.send(owner, Direction::Publish, vec![pli]);
        } else {
            let due = state.keyframes.due();
            self.expect(due);
        }
    }

    fn handle_sender_report(&mut self, now: Instant, from: ParticipantId, report: &SenderReport) {
        let Some(participant) = self.participants.get_mut(from) else { return };
        let Some(stream) = participant.publisher.stream_mut(report.ssrc) else { return };
        stream.reception.sender_report(now, report.ntp);
        let (id, encoding, rtx) = (stream.track, stream.encoding, stream.kind.rtx);
        let Some(track) = self.tracks.get_mut(id).filter(|_| !rtx) else { return };
        if let Some(state) = track.encoding_mut(encoding) {
            state.report = Some((report.ntp, report.rtp_timestamp));
        }
        let audio = track.kind == TrackKind::Audio;
        let mut translated = Vec::new();
        for (place, out) in track.wanted() {
            if !audio && out.selector.current() != Some(encoding) {
                continue;
            }
            let Some(subscriber) = self.participants.key_at(place) else { continue };
            let Some(participant) = self.participants.at(place).filter(|found| found.subscriber.leg().is_some()) else {
                continue;
            };
            let Some(slot) = out.slot.and_then(|index| participant.subscriber.slot(index)) else { continue };
            let Some(rtp_timestamp) = slot.time.translate(report.rtp_timestamp).filter(|_| slot.packets > 0) else { continue };
            let (ssrc, packets, octets) = (slot.ssrc, slot.packets, slot.octets);
            let report = SenderReport { ssrc, ntp: report.ntp, rtp_timestamp, packets, octets, reports: Vec::new() };
            translated.push((subscriber, report));
        }
        for (subscriber, report) in translated {
            self.send(subscriber, Direction::Subscribe, vec![RtcpPacket::SenderReport(report)]);
        }
    }

    /// Answers a NACK with retransmissions (RFC 4588).
    fn repeat(&mut self, now: Instant, from: ParticipantId, media: Ssrc, lost: &[SeqNo]) {
        let Some(place) = self.participants.place(from) else { return };
        let Some(participant) = self.participants.at_mut(place) else { return };
        let Some((index, _)) = participant.subscriber.find(media) else { return };
        for &number in lost {
            if self.send_again(now, place, index, number, Copies::AsSpare).is_break() {
                break;
            }
        }
    }

    /// Queues a packet of a slot once more. Breaks where nothing can be sent again at present.
    fn send_again(&mut self, now: Instant, place: usize, index: usize, number: SeqNo, copies: Copies) -> ControlFlow<()> {
        let next = ControlFlow::Continue(());
        let Some(participant) = self.participants.at_mut(place) else { return ControlFlow::Break(()) };
        let subscriber = &mut participant.subscriber;
        if subscriber.leg().is_none_or(|leg| leg.payload_types.video_rtx.is_none()) {
            return ControlFlow::Break(());
        }
        let slot = subscriber.slot_mut(index).filter(|slot| slot.rtx_ssrc.is_some());
        let Some(slot) = slot else { return ControlFlow::Break(()) };
        let Some(at) = slot.track.and_then(|track| self.tracks.place(track)) else { return ControlFlow::Break(()) };
        let Some((sent, encoding)) = slot.recall(now, number) else { return next };
        let held = self.tracks.at(at).and_then(|track| track.encoding(encoding)?.cache.get(now, sent.seq));
        let Some(size) = held.map(|(_, payload)| payload.len()) else { return next };
        if !subscriber.rate.allows(now, size) {
            self.counters.retransmissions_refused += 1;
            return ControlFlow::Break(());
        }
        let copies = if copies == Copies::AsSpare && subscriber.take_spare() { 2 } else { 1 };
        for _ in 0..copies {
            let Some(slot) = subscriber.slot_mut(index) else { return ControlFlow::Break(()) };
            let job = Job {
                track: at,
                seq: sent.seq,
                number: slot.number_retransmission(),
                timestamp: sent.timestamp,
                slot: index as u16,
                repeats: Some(number.0),
                encoding,
                filled: false,
                len: size as u16,
            };
            let queue = subscriber.queue(TrackKind::Video);
            if queue.push(job) && queue.list() {
                self.waiting[TrackKind::Video as usize].push_back(place as u32);
            }
        }
        next
    }

    /// A publisher sends its last packet once more when it falls silent, in case it was lost: on the way to subscribers it may have been,
    /// too. Only what carries an origin: browsers repeat packets to probe. (Peers do so too, while pictures flow.)
    pub(super) fn repeat_tail(&mut self, now: Instant, accepted: &Accepted<'_>) {
        let seq = accepted.packet.seq;
        let Some(track) = self.tracks.at_mut(accepted.place).filter(|_| accepted.packet.origin.is_some()) else { return };
        let Some(state) = track.encoding_mut(accepted.encoding).filter(|state| state.is_tail(now, seq)) else { return };
        state.tail = Some(seq);
        let slots: Vec<_> = track.wanted().filter_map(|(place, out)| Some((place, out.slot?))).collect();
        for (place, index) in slots {
            let slot = self.participants.at(place).and_then(|participant| participant.subscriber.slot(index));
            let last = slot.and_then(Slot::last_sent);
            if let Some((number, _)) = last.filter(|(_, last)| *last == seq) {
                let _ = self.send_again(now, place, index, number, Copies::One);
            }
        }
    }

    /// A subscriber cannot decode one of our streams.
    fn want_keyframe(&mut self, now: Instant, from: ParticipantId, media: Ssrc) {
        let place = self.participants.place(from);
        let Some(participant) = self.participants.get_mut(from) else { return };
        let Some(id) = participant.subscriber.find(media).and_then(|(_, slot)| slot.track) else { return };
        let Some(track) = self.tracks.get_mut(id) else { return };
        let owner = track.owner;
        let active = track.active(now, self.shed);
        let Some(out) = place.and_then(|place| track.out(place)) else { return };
        let encoding = out.selector.current().unwrap_or_else(|| out.selector.target(&active));
        if let Some(state) = track.encoding_mut(encoding) {
            state.keyframes.request();
        }
        self.ask_for_keyframe(now, owner, id, encoding);
    }

    /// Asks publishers for what their streams lack, and tells them what arrived.
    fn ask_again(&mut self, now: Instant) {
        let sender = self.ssrc;
        let mut requests = Vec::new();
        for (_, id, participant) in self.participants.entries_mut() {
            for stream in participant.publisher.streams_mut() {
                // Whatever a stream lacks, its subscribers lack too.
                let lost = stream.nack.handle_timeout(now, |_| true);
                self.counters.nacks_sent += lost.len() as u64;
                let media = stream.ssrc;
                let nack = |lost: &[SeqNo]| (id, RtcpPacket::Nack { sender, media, lost: lost.to_vec() });
                requests.extend(lost.chunks(NACK_CHUNK).map(nack));
            }
            while let Some(feedback) = participant.publisher.poll_arrivals(now, sender) {
                requests.push((id, RtcpPacket::TransportCc(feedback)));
            }
        }
        for (id, packet) in requests {
            self.send(id, Direction::Publish, vec![packet]);
        }
    }

    fn report(&mut self, now: Instant) {
        let sender = self.ssrc;
        let mut reports = Vec::new();
        for (_, id, participant) in self.participants.entries_mut() {
            let blocks = blocks(now, &mut participant.publisher);
            for blocks in blocks.chunks(MAX_REPORTS) {
                reports.push((id, RtcpPacket::ReceiverReport(ReceiverReport { ssrc: sender, reports: blocks.to_vec() })));
            }
        }
        self.next_report = (!reports.is_empty()).then(|| now + REPORT_INTERVAL);
        for (id, report) in reports {
            self.send(id, Direction::Publish, vec![report]);
        }
    }

    fn send(&mut self, to: ParticipantId, direction: Direction, packets: Vec<RtcpPacket>) {
        if self.rtcp.len() < MAX_WAITING {
            self.rtcp.push_back(RtcpOut { to, direction, packets });
        }
    }
}

fn blocks(now: Instant, publisher: &mut Publisher) -> Vec<ReportBlock> {
    let streams = publisher.streams_mut();
    let reports = streams.filter_map(|stream| stream.reception.report(now).map(|report| (stream.ssrc, report)));
    let block = |(ssrc, report): (Ssrc, crate::reception::ReceptionReport)| ReportBlock {
        ssrc,
        fraction_lost: report.fraction_lost,
        lost: report.cumulative_lost,
        highest: report.highest,
        jitter: report.jitter,
        last_sender_report: report.last_sender_report,
        delay: report.delay,
    };
    reports.map(block).collect()
}
