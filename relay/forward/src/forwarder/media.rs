//! The way of one media packet through the room.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use segue_media::packet::{Extensions, RtpHeader, RtpView};
use segue_model::{EncodingId, ParticipantId, TrackKind};

use super::{Job, Participant, RoomForwarder, Transmit};
use crate::cache::Packet;
use crate::drops::DropReason;
use crate::publisher::Accepted;
use crate::rewrite::Numbered;
use crate::select::{Active, Verdict};
use crate::subscriber::Slot;
use crate::track::{Out, Track, Tracks};

/// What all subscribers share while one packet is distributed.
struct Passing<'a> {
    now: Instant,
    encoding: EncodingId,
    packet: &'a Packet,
    active: Active,
    /// It carries media that may be played.
    playable: bool,
    probe: bool,
    /// Among the loudest, or not audio.
    chosen: bool,
}

impl RoomForwarder {
    /// A plain RTP packet from a participant's publisher transport. What it causes is in [`RoomForwarder::poll_transmit`] and
    /// [`RoomForwarder::poll_rtcp`].
    ///
    /// # Errors
    /// Why it went no further; counted already.
    pub fn handle_rtp(&mut self, now: Instant, from: ParticipantId, packet: &[u8]) -> Result<(), DropReason> {
        self.counters.packets_in += 1;
        let handled = self.accept(now, from, packet).and_then(|accepted| self.distribute(now, &accepted));
        handled.inspect_err(|&reason| self.drops.count(reason))
    }

    /// Writes the next packet into `out`, which is cleared first.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        while let Some(job) = self.jobs.pop_front() {
            let Some(participant) = self.participants.get_mut(&job.to) else { continue };
            if let Some(transmit) = write(now, participant, &job, out) {
                self.counters.packets_out += 1;
                self.counters.bytes_out += out.len() as u64;
                self.counters.retransmissions += u64::from(job.repeats.is_some());
                return Some(transmit);
            }
        }
        None
    }

    fn accept(&mut self, now: Instant, from: ParticipantId, packet: &[u8]) -> Result<Accepted, DropReason> {
        let view = RtpView::parse(packet).map_err(|_| DropReason::Malformed)?;
        let participant = self.participants.get_mut(&from).ok_or(DropReason::UnknownParticipant)?;
        participant.publisher.record_arrival(now, &view);
        let tracks = Tracks { tracks: &self.tracks, publisher: from };
        let accepted = participant.publisher.accept(now, participant.origin, view, &tracks)?;
        self.next_report.get_or_insert(now);
        Ok(accepted)
    }

    fn distribute(&mut self, now: Instant, accepted: &Accepted) -> Result<(), DropReason> {
        let Accepted { track: id, encoding, packet } = accepted;
        let track = self.tracks.get_mut(id).ok_or(DropReason::UnknownStream)?;
        let probe = packet.origin.is_some_and(|origin| origin.flags.probe);
        let playable = !probe && !packet.payload.is_empty();
        if let Some(level) = packet.level.filter(|_| playable && !track.muted) {
            self.speakers.observe(now, *id, level);
        }
        note_arrival(now, track, accepted, playable);
        let passing = Passing {
            now,
            encoding: *encoding,
            packet,
            active: track.active(now),
            playable,
            probe,
            chosen: track.kind == TrackKind::Video || self.speakers.is_chosen(*id),
        };
        let mut wants_keyframe = false;
        // The outs are taken out for the walk, because each may look into the track's cache.
        let mut outs = std::mem::take(&mut track.outs);
        for (&subscriber, out) in outs.iter_mut().filter(|(_, out)| out.is_wanted()) {
            let Some(participant) = self.participants.get_mut(&subscriber) else { continue };
            wants_keyframe |= pass(&passing, track, subscriber, participant, out, &mut self.jobs);
        }
        track.outs = outs;
        let owner = track.owner;
        if let Some(state) = track.encoding_mut(*encoding).filter(|_| wants_keyframe) {
            state.keyframes.request();
        }
        self.ask_for_keyframe(now, owner, *id, *encoding);
        if playable || probe { Ok(()) } else { Err(DropReason::Padding) }
    }
}

/// Brings the encoding up to date with a packet of its own.
fn note_arrival(now: Instant, track: &mut Track, accepted: &Accepted, playable: bool) {
    let facts = track.facts(accepted.encoding, &accepted.packet);
    let video = track.kind == TrackKind::Video;
    let Some(state) = track.encoding_mut(accepted.encoding) else { return };
    state.highest = state.highest.max(Some(accepted.packet.seq));
    if !playable {
        return;
    }
    state.last_at = Some(now);
    if video {
        if facts.keyframe_start {
            state.keyframes.satisfy();
        }
        state.cache.insert(now, accepted.packet.clone());
    }
}

/// One packet towards one subscriber. True where only a keyframe of this encoding helps it on.
fn pass(
    passing: &Passing<'_>,
    track: &Track,
    subscriber: ParticipantId,
    participant: &mut Participant,
    out: &mut Out,
    jobs: &mut VecDeque<Job>,
) -> bool {
    if participant.subscriber.leg.is_none() {
        return false;
    }
    let Some(index) = out.slot else { return false };
    let Some(slot) = participant.subscriber.slot_mut(index).filter(|slot| slot.ready) else { return false };
    let merges = slot.merged;
    let to = (subscriber, index);
    let audio = track.kind == TrackKind::Audio;
    let forwarded = if passing.probe {
        merges
    } else if audio || !passing.playable {
        passing.playable && (passing.chosen || out.overlap)
    } else {
        let facts = track.facts(passing.encoding, passing.packet);
        match out.selector.select(facts, &passing.active) {
            Verdict::Forward => true,
            Verdict::Filter => false,
            Verdict::Ignore { wants_keyframe } => return wants_keyframe,
            Verdict::Switch { from } => {
                switch(track, slot, from, passing);
                jobs.extend(number(passing, to, slot, passing.packet, true));
                catch_up(passing, track, out, |packet, forwarded| {
                    jobs.extend(number(passing, to, slot, packet, forwarded));
                });
                return false;
            }
        }
    };
    // What is not of the encoding a decoder gets has no place among numbers that it orders frames by.
    if audio || merges || out.selector.current() == Some(passing.encoding) {
        jobs.extend(number(passing, to, slot, passing.packet, forwarded));
    }
    false
}

/// Another encoding begins on a slot.
fn switch(track: &Track, slot: &mut Slot, from: Option<EncodingId>, passing: &Passing<'_>) {
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
fn catch_up(passing: &Passing<'_>, track: &Track, out: &mut Out, mut send: impl FnMut(&Packet, bool)) {
    let Some(state) = track.encoding(passing.encoding) else { return };
    for packet in state.cache.after(passing.now, passing.packet.seq) {
        let verdict = out.selector.select(track.facts(passing.encoding, packet), &passing.active);
        send(packet, verdict == Verdict::Forward);
    }
}

/// Gives a packet its number and time on a slot.
fn number(
    passing: &Passing<'_>,
    (to, index): (ParticipantId, usize),
    slot: &mut Slot,
    packet: &Packet,
    forwarded: bool,
) -> Option<Job> {
    let (number, filled) = match slot.sequencer.number(packet.seq, forwarded) {
        Numbered::Send(number) => (number, false),
        Numbered::Fill(number) => (number, true),
        Numbered::Nothing => return None,
    };
    let timestamp = slot.time.stamp(passing.now, packet.timestamp);
    if slot.kind == TrackKind::Video && !filled && !passing.probe {
        slot.remember(number, packet.seq, passing.encoding, timestamp);
    }
    Some(Job {
        to,
        slot: index,
        number,
        repeats: None,
        timestamp,
        marker: packet.marker && !filled,
        origin: packet.origin,
        level: packet.level.filter(|_| !filled),
        payload: if filled { Bytes::new() } else { packet.payload.clone() },
    })
}

/// Writes a job with the header of its subscriber's leg.
fn write(now: Instant, participant: &mut Participant, job: &Job, out: &mut Vec<u8>) -> Option<Transmit> {
    let subscriber = &mut participant.subscriber;
    let leg = subscriber.leg?;
    let transport_cc = leg.extensions.transport_cc.map(|_| subscriber.number_transport_wide());
    let slot = subscriber.slot_mut(job.slot)?;
    let (ssrc, payload_type) = match job.repeats {
        None => (slot.ssrc, leg.payload_types.of(slot.kind)?),
        Some(_) => (slot.rtx_ssrc?, leg.payload_types.video_rtx?),
    };
    let extensions = Extensions {
        audio_level: job.level,
        transport_cc,
        mid: slot.mid,
        origin: job.origin.filter(|_| participant.origin),
        ..Extensions::default()
    };
    let (sequence, marker, timestamp) = (job.number.wire(), job.marker, job.timestamp);
    let header = RtpHeader { marker, payload_type, sequence, timestamp, ssrc, extensions };
    out.clear();
    header.write(&leg.extensions, false, out);
    let header_len = out.len();
    if let Some(original) = job.repeats {
        out.extend_from_slice(&original.to_be_bytes());
    } else {
        slot.packets = slot.packets.wrapping_add(1);
        slot.octets = slot.octets.wrapping_add(job.payload.len() as u32);
    }
    out.extend_from_slice(&job.payload);
    if job.repeats.is_none() {
        subscriber.rate.spend(now, out.len());
    }
    Some(Transmit { to: job.to, index: job.number, ssrc, header_len })
}
