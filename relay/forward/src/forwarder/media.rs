//! The way of one media packet through the room.
//!
//! A packet is kept once, in the cache of its encoding. For each subscriber that gets it a number is given and a job queued; the packet is
//! written from the cache, with its subscriber's header, into the buffer it is sealed in when the shell fetches it.

use std::time::Instant;

use segue_media::packet::RtpView;
use segue_model::{EncodingId, ParticipantId, Ssrc, TrackKind};

use super::{LegIndex, MAX_PACKET, Participant, RoomForwarder, Transmit};
use crate::cache::Packet;
use crate::drops::DropReason;
use crate::header::{Fields, Layout, Template};
use crate::publisher::Accepted;
use crate::rewrite::Numbered;
use crate::select::{Active, Facts, Shed, Verdict};
use crate::subscriber::{Job, Queue, Slot};
use crate::table::Table;
use crate::track::{Out, Track, Tracks};

/// What all subscribers share while one packet is distributed.
struct Passing {
    now: Instant,
    /// Place of the track.
    track: usize,
    kind: TrackKind,
    encoding: EncodingId,
    packet: Packet,
    /// Bytes of its payload.
    len: u16,
    facts: Facts,
    active: Active,
    /// It carries media that may be played.
    playable: bool,
    probe: bool,
    /// Among the loudest, or not audio.
    chosen: bool,
}

/// What became of a packet for one subscriber.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    /// Only a keyframe of this encoding helps it on.
    wants_keyframe: bool,
    /// Something waits for it that the room does not know of.
    unlisted: bool,
}

impl RoomForwarder {
    /// A plain RTP packet from a participant's publisher transport. What it causes is in [`RoomForwarder::poll_leg`] and
    /// [`RoomForwarder::poll_rtcp`].
    ///
    /// # Errors
    /// Why it went no further; counted already.
    pub fn handle_rtp(&mut self, now: Instant, from: ParticipantId, packet: &[u8]) -> Result<(), DropReason> {
        self.counters.packets_in += 1;
        let handled = self.accept(now, from, packet);
        handled.inspect_err(|&reason| self.drops.count(reason))
    }

    /// The next subscriber for whom media of a kind waits. Fetch it with [`RoomForwarder::poll_transmit`] until there is no more, or the
    /// leg is told again only when more comes.
    pub fn poll_leg(&mut self, kind: TrackKind) -> Option<LegIndex> {
        while let Some(place) = self.waiting[kind as usize].pop_front() {
            let Some(participant) = self.participants.at_mut(place as usize) else { continue };
            let queue = participant.subscriber.queue(kind);
            if std::mem::take(&mut queue.listed) && !queue.is_empty() {
                return Some(LegIndex(place));
            }
        }
        None
    }

    /// Writes a subscriber's next packet of a kind to the beginning of `out`, which has [`MAX_PACKET`] bytes at least.
    pub fn poll_transmit(&mut self, now: Instant, leg: LegIndex, kind: TrackKind, out: &mut [u8]) -> Option<Transmit> {
        debug_assert!(out.len() >= MAX_PACKET, "room for any packet");
        let to = self.participants.key_at(leg.0 as usize)?;
        let participant = self.participants.at_mut(leg.0 as usize)?;
        self.counters.late += std::mem::take(&mut participant.subscriber.queue(kind).refused);
        while let Some((job, level)) = participant.subscriber.queue(kind).pop() {
            let held = self.tracks.at(job.track).and_then(|track| track.encoding(job.encoding)?.cache.find(job.seq));
            let Some((packet, payload)) = held else {
                self.counters.late += 1;
                continue;
            };
            let payload = if job.filled { &[] } else { payload };
            if let Some((ssrc, header_len, len)) = write(now, participant, &job, packet, (payload, level), out) {
                self.counters.packets_out += 1;
                self.counters.bytes_out += len as u64;
                self.counters.retransmissions += u64::from(job.repeats.is_some());
                return Some(Transmit { to, index: job.number, ssrc, header_len, len });
            }
        }
        None
    }

    /// Drops what waits for a subscriber that nothing can be sent to.
    pub fn discard(&mut self, leg: LegIndex, kind: TrackKind) {
        if let Some(participant) = self.participants.at_mut(leg.0 as usize) {
            let queue = participant.subscriber.queue(kind);
            while queue.pop().is_some() {}
        }
    }

    fn accept(&mut self, now: Instant, from: ParticipantId, packet: &[u8]) -> Result<(), DropReason> {
        let view = RtpView::parse(packet).map_err(|_| DropReason::Malformed)?;
        let participant = self.participants.get_mut(from).ok_or(DropReason::UnknownParticipant)?;
        participant.publisher.record_arrival(now, &view);
        let arrivals_due = participant.publisher.arrivals_due();
        let tracks = Tracks { tracks: &self.tracks, publisher: from };
        let accepted = participant.publisher.accept(now, participant.origin, view, &tracks);
        self.expect(arrivals_due);
        let accepted = accepted?;
        if accepted.again {
            self.repeat_tail(now, &accepted);
            return Err(DropReason::Duplicate);
        }
        if accepted.after_hole {
            // Requests wait a little for what is only late; exactly how long is found out then.
            self.expect(Some(now + segue_media::nack::MIN_REORDER_WAIT));
        }
        if self.next_report.is_none() {
            self.next_report = Some(now);
            self.expect(Some(now));
        }
        self.distribute(now, &accepted)
    }

    fn distribute(&mut self, now: Instant, accepted: &Accepted<'_>) -> Result<(), DropReason> {
        let &Accepted { track: id, place, encoding, packet, payload, .. } = accepted;
        let track = self.tracks.at_mut(place).ok_or(DropReason::UnknownStream)?;
        let probe = packet.origin.is_some_and(|origin| origin.flags.probe);
        let playable = !probe && !payload.is_empty();
        let kind = track.kind;
        let facts = track.facts(encoding, &packet, payload);
        note_arrival(now, track, accepted, facts, playable)?;
        if let Some(level) = packet.level.filter(|_| playable && !track.muted) {
            self.speakers.observe(now, id, level);
        }
        if track.stale {
            refresh(track, &self.participants);
        }
        let passing = Passing {
            now,
            track: place,
            kind,
            encoding,
            packet,
            len: payload.len() as u16,
            facts,
            active: track.active(now, self.shed),
            playable,
            probe,
            chosen: kind == TrackKind::Video || self.speakers.is_chosen(id),
        };
        let mut wants_keyframe = false;
        // Taken out for the walk, because each may look into the track's cache.
        let (live, mut outs) = (std::mem::take(&mut track.live), std::mem::take(&mut track.outs));
        let spared = kind == TrackKind::Video && self.shed == Shed::Video;
        for &at in live.iter().filter(|_| !spared) {
            let Some(out) = outs.get_mut(at as usize) else { continue };
            let Some(participant) = self.participants.at_mut(at as usize) else { continue };
            let passed = pass(&passing, track, participant, out);
            wants_keyframe |= passed.wants_keyframe;
            if passed.unlisted {
                self.waiting[kind as usize].push_back(at);
            }
        }
        (track.live, track.outs) = (live, outs);
        let owner = track.owner;
        if let Some(state) = track.encoding_mut(encoding) {
            if wants_keyframe {
                state.keyframes.request();
            }
            if state.keyframes.is_pending() {
                self.ask_for_keyframe(now, owner, id, encoding);
            }
        }
        self.expect(self.speakers.poll_timeout());
        if playable || probe { Ok(()) } else { Err(DropReason::Padding) }
    }
}

/// Finds out to whom the track's packets go.
fn refresh(track: &mut Track, participants: &Table<ParticipantId, Participant>) {
    let gets = |place: usize, out: &Out| {
        let subscriber = participants.at(place).map(|participant| &participant.subscriber);
        let slot = out.slot.and_then(|index| subscriber?.slot(index));
        out.is_wanted()
            && subscriber.is_some_and(|subscriber| subscriber.leg().is_some())
            && slot.is_some_and(|slot| slot.ready)
    };
    track.live.clear();
    let live = track.outs.iter().enumerate().filter(|(place, out)| gets(*place, out));
    track.live.extend(live.map(|(place, _)| place as u32));
    track.overlaps = track.outs.iter().any(|out| out.overlap);
    track.stale = false;
}

/// Brings the encoding up to date with a packet of its own, and keeps the packet.
fn note_arrival(
    now: Instant,
    track: &mut Track,
    accepted: &Accepted<'_>,
    facts: Facts,
    playable: bool,
) -> Result<(), DropReason> {
    let video = track.kind == TrackKind::Video;
    let state = track.encoding_mut(accepted.encoding).ok_or(DropReason::UnknownStream)?;
    if !state.cache.insert(now, accepted.packet, accepted.payload, playable) {
        return Err(DropReason::TooOld);
    }
    state.highest = state.highest.max(Some(accepted.packet.seq));
    if playable {
        state.note_played(now, accepted.packet.seq);
        if video && facts.keyframe_start {
            state.keyframes.satisfy();
        }
        if facts.keyframe_start && facts.largest {
            track.end_larger(accepted.encoding);
        }
    }
    Ok(())
}

/// One packet towards one subscriber.
fn pass(passing: &Passing, track: &Track, participant: &mut Participant, out: &mut Out) -> Passed {
    let Some(index) = out.slot else { return Passed::default() };
    let Some((slot, queue)) = participant.subscriber.queueing(index, passing.kind) else { return Passed::default() };
    let merges = slot.merged;
    let audio = passing.kind == TrackKind::Audio;
    let forwarded = if passing.probe {
        merges
    } else if audio || !passing.playable {
        passing.playable && (passing.chosen || out.overlap)
    } else {
        match out.selector.select(passing.facts, &passing.active) {
            Verdict::Forward => true,
            Verdict::Filter => false,
            Verdict::Ignore { wants_keyframe } => return Passed { wants_keyframe, unlisted: false },
            Verdict::Switch { from, wants_keyframe } => {
                switch(track, slot, from, passing);
                number(passing, index, slot, queue, (&passing.packet, passing.len), true);
                catch_up(passing, track, out, |packet, forwarded| number(passing, index, slot, queue, packet, forwarded));
                return Passed { wants_keyframe, unlisted: queue.list() };
            }
        }
    };
    // What is not of the encoding a decoder gets has no place among numbers that it orders frames by.
    if audio || merges || out.selector.current() == Some(passing.encoding) {
        number(passing, index, slot, queue, (&passing.packet, passing.len), forwarded);
    }
    Passed { wants_keyframe: false, unlisted: queue.list() }
}

/// Another encoding begins on a slot.
fn switch(track: &Track, slot: &mut Slot, from: Option<EncodingId>, passing: &Passing) {
    slot.sequencer.switch();
    let Some(from) = from else { return };
    // A source with origin has one time base for all its encodings.
    let difference = if passing.packet.origin.is_some() { Some(0) } else { track.base_difference(from, passing.encoding) };
    match difference {
        Some(difference) => slot.time.shift(difference),
        None => slot.time.switch(),
    }
}

/// A keyframe's first packet that came late (a retransmission) is followed by what came before it.
fn catch_up(passing: &Passing, track: &Track, out: &mut Out, mut send: impl FnMut((&Packet, u16), bool)) {
    let Some(state) = track.encoding(passing.encoding) else { return };
    for (packet, payload) in state.cache.after(passing.now, passing.packet.seq) {
        let verdict = out.selector.select(track.facts(passing.encoding, packet, payload), &passing.active);
        send((packet, payload.len() as u16), verdict == Verdict::Forward);
    }
}

/// Gives a packet its number and time on a slot, and queues it.
fn number(passing: &Passing, index: usize, slot: &mut Slot, queue: &mut Queue, (packet, len): (&Packet, u16), forwarded: bool) {
    let (number, filled) = match slot.sequencer.number(packet.seq, forwarded) {
        Numbered::Send(number) => (number, false),
        Numbered::Fill(number) => (number, true),
        Numbered::Nothing => return,
    };
    let timestamp = slot.time.stamp(passing.now, packet.timestamp);
    if slot.kind == TrackKind::Video && !filled && !passing.probe {
        slot.remember(number, packet.seq, passing.encoding, timestamp);
    }
    queue.push(Job {
        track: passing.track,
        seq: packet.seq,
        number,
        timestamp,
        slot: index as u16,
        repeats: None,
        encoding: passing.encoding,
        filled,
        len,
    });
}

/// Writes a job with the header of its subscriber's leg: its SSRC, and the lengths of header and packet.
fn write(
    now: Instant,
    participant: &mut Participant,
    job: &Job,
    packet: &Packet,
    (payload, level): (&[u8], usize),
    out: &mut [u8],
) -> Option<(Ssrc, usize, usize)> {
    let subscriber = &mut participant.subscriber;
    let transport_cc = match subscriber.leg()?.extensions.transport_cc {
        Some(_) => subscriber.number_transport_wide(),
        None => 0,
    };
    let (leg, slot) = subscriber.writing(usize::from(job.slot))?;
    let (ssrc, payload_type) = match job.repeats {
        None => (slot.ssrc, leg.payload_types.of(slot.kind)?),
        Some(_) => (slot.rtx_ssrc?, leg.payload_types.video_rtx?),
    };
    let voice = packet.level.filter(|_| !job.filled);
    let layout = Layout { mid: slot.mid, level: voice.is_some(), origin: slot.merged && packet.origin.is_some() };
    if slot.template.as_ref().is_none_or(|template| !template.is_for(&layout)) {
        slot.template = Some(Template::new(leg, layout));
    }
    let padding = level.saturating_sub(payload.len());
    let fields = Fields {
        ssrc,
        payload_type,
        sequence: job.number.wire(),
        timestamp: job.timestamp,
        marker: packet.marker && !job.filled,
        padded: padding > 0,
        level: voice,
        transport_cc,
        origin: packet.origin.map(|_| packet.stamp),
    };
    let header_len = slot.template.as_ref()?.write(&fields, out)?;
    let repeated = job.repeats.map(u16::to_be_bytes);
    let repeated = repeated.as_ref().map_or(&[][..], |bytes| &bytes[..]);
    let begin = header_len + repeated.len();
    let end = begin + payload.len();
    let len = end + padding;
    out.get_mut(header_len..begin)?.copy_from_slice(repeated);
    out.get_mut(begin..end)?.copy_from_slice(payload);
    if let Some((count, zeros)) = out.get_mut(end..len)?.split_last_mut() {
        zeros.fill(0);
        *count = padding as u8;
    }
    if job.repeats.is_none() {
        slot.packets = slot.packets.wrapping_add(1);
        slot.octets = slot.octets.wrapping_add(payload.len() as u32);
        let repaired = slot.rtx_ssrc.is_some();
        subscriber.rate.spend(now, len);
        if repaired {
            subscriber.earn_spare();
        }
    }
    Some((ssrc, header_len, len))
}
