//! The room: who is in it, what they publish, who gets it.

mod control;
mod media;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use segue_media::packet::{Label, RtcpPacket};
use segue_model::{DataRate, EncodingId, ExtSeq, ParticipantId, Quality, Ssrc, TemporalId, TrackId, TrackKind};
use thiserror::Error;

use crate::cache::MAX_PAYLOAD;
use crate::drops::DropCounts;
use crate::header::MAX_HEADER;
use crate::leg::{Binding, LegParameters};
use crate::publisher::Publisher;
use crate::seed::Seed;
use crate::select::Shed;
use crate::speaker::{N_LOUDEST, Speakers};
use crate::subscriber::{SlotInfo, Subscriber};
use crate::table::Table;
use crate::track::{Out, Track};

/// Participants of one room on one forwarder: the work per packet grows with them.
pub const MAX_PARTICIPANTS: usize = 1024;

/// Tracks of one room on one forwarder.
pub const MAX_TRACKS: usize = 4096;

/// How a room forwards.
#[derive(Clone, Copy, Debug)]
pub struct ForwarderConfig {
    /// Seeds SSRCs and first sequence numbers.
    pub seed: u64,
    /// Audio tracks forwarded at once.
    pub n_loudest: usize,
}

impl Default for ForwarderConfig {
    fn default() -> Self {
        Self { seed: 0, n_loudest: N_LOUDEST }
    }
}

/// Which of a participant's transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// It sends media to the relay.
    Publish,
    /// It gets media from the relay.
    Subscribe,
}

/// Bytes of the longest packet the relay writes: header, number of a repeated packet, payload, padding included.
pub const MAX_PACKET: usize = MAX_HEADER + 2 + MAX_PAYLOAD;

/// A subscriber's place in its room, for what happens per packet: see [`RoomForwarder::leg_index`]. It is another's when its participant has
/// left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegIndex(pub u32);

/// One plain RTP packet, ready to be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Whose subscriber transport it leaves on.
    pub to: ParticipantId,
    /// Extended sequence number: roll-overs for the sealer.
    pub index: ExtSeq,
    /// Its stream.
    pub ssrc: Ssrc,
    /// Bytes before the payload.
    pub header_len: usize,
    /// Bytes in all.
    pub len: usize,
}

/// RTCP that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtcpOut {
    /// To whom.
    pub to: ParticipantId,
    /// On which of its transports.
    pub direction: Direction,
    /// A reduced-size compound (RFC 5506).
    pub packets: Vec<RtcpPacket>,
}

/// What the room's shell must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardEvent {
    /// A subscriber needs a media section more: see [`RoomForwarder::slots`].
    SlotsAdded {
        /// Whose.
        subscriber: ParticipantId,
    },
    /// A subscriber's sections carry other tracks.
    SlotsChanged {
        /// Whose.
        subscriber: ParticipantId,
    },
    /// A subscriber has no slot left ([`crate::MAX_SLOTS`]) for a track it wishes; the track begins when one is freed.
    SlotsExhausted {
        /// Whose.
        subscriber: ParticipantId,
    },
    /// Who speaks, loudest first, with -dBov.
    Speakers(Vec<(ParticipantId, u8)>),
}

/// What went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets taken from publishers.
    pub packets_in: u64,
    /// Packets written for subscribers, retransmissions included.
    pub packets_out: u64,
    /// Bytes written for subscribers.
    pub bytes_out: u64,
    /// Of them retransmissions.
    pub retransmissions: u64,
    /// Packets asked of publishers again.
    pub nacks_sent: u64,
    /// Keyframes asked of publishers.
    pub keyframe_requests: u64,
    /// Retransmissions refused because the subscriber's rate is spent.
    pub retransmissions_refused: u64,
    /// Packets that were no longer held when their time came, or for which too many others waited.
    pub late: u64,
    /// Times a subscriber had no slot left for a track it wishes ([`crate::MAX_SLOTS`]).
    pub slots_refused: u64,
}

/// A change that cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RosterError {
    /// [`MAX_PARTICIPANTS`] or [`MAX_TRACKS`] is reached.
    #[error("room is full")]
    Full,
    /// The participant is not in the room.
    #[error("participant is not in the room")]
    UnknownParticipant,
}

#[derive(Debug)]
struct Participant {
    /// Stamps and merges by origin.
    origin: bool,
    /// What it publishes: an edge of a large room changes without a look at the tracks of all.
    tracks: BTreeSet<TrackId>,
    publisher: Publisher,
    subscriber: Subscriber,
}

#[derive(Clone, Copy, Debug, Default)]
struct Edge {
    on: bool,
    overlap: bool,
    voice_only: bool,
}

impl Edge {
    fn carries(self, kind: TrackKind) -> bool {
        self.on && (kind == TrackKind::Audio || !self.voice_only)
    }
}

/// The forwarder of one room.
#[derive(Debug)]
pub struct RoomForwarder {
    participants: Table<ParticipantId, Participant>,
    tracks: Table<TrackId, Track>,
    /// By (publisher, subscriber); none: not forwarded.
    edges: BTreeMap<(ParticipantId, ParticipantId), Edge>,
    speakers: Speakers,
    /// Places of subscribers for whom audio waits, and video.
    waiting: [VecDeque<u32>; 2],
    rtcp: VecDeque<RtcpOut>,
    events: VecDeque<ForwardEvent>,
    drops: DropCounts,
    counters: Counters,
    seed: Seed,
    /// Sender of our feedback.
    ssrc: Ssrc,
    next_report: Option<Instant>,
    shed: Shed,
    /// Nothing is due before; what was found to be due later may be gone since.
    due: Option<Instant>,
}

impl RoomForwarder {
    /// An empty room.
    #[must_use]
    pub fn new(config: ForwarderConfig) -> Self {
        let mut seed = Seed::new(config.seed);
        Self {
            participants: Table::new(),
            tracks: Table::new(),
            edges: BTreeMap::new(),
            speakers: Speakers::new(config.n_loudest),
            waiting: Default::default(),
            rtcp: VecDeque::new(),
            events: VecDeque::new(),
            drops: DropCounts::default(),
            counters: Counters::default(),
            ssrc: Ssrc(seed.next() as u32),
            seed,
            next_report: None,
            shed: Shed::Nothing,
            due: None,
        }
    }

    /// A participant came. It wishes every track, and nothing is forwarded from or to it yet.
    ///
    /// # Errors
    /// [`RosterError::Full`].
    pub fn add_participant(&mut self, participant: ParticipantId, origin: bool) -> Result<(), RosterError> {
        if self.participants.len() >= MAX_PARTICIPANTS {
            return Err(RosterError::Full);
        }
        let mut subscriber = Subscriber::new(origin, &mut self.seed);
        if !origin {
            // A session description needs a section of each kind before there is anything to carry.
            for kind in [TrackKind::Audio, TrackKind::Video] {
                subscriber.add(kind, &mut self.seed);
            }
        }
        let added = Participant { origin, tracks: BTreeSet::new(), publisher: Publisher::default(), subscriber };
        let place = self.participants.insert(participant, added);
        for (_, _, track) in self.tracks.entries_mut() {
            if let Some(out) = track.out_mut(place) {
                *out = Out { is_there: true, ..Out::new() };
            }
        }
        Ok(())
    }

    /// A participant left, and everything of it.
    pub fn remove_participant(&mut self, participant: ParticipantId) {
        for track in self.owned(participant) {
            self.remove_track(track);
        }
        let Some((place, _)) = self.participants.remove(participant) else { return };
        for (other, _) in self.participants.places() {
            self.edges.remove(&(participant, other));
            self.edges.remove(&(other, participant));
        }
        for (_, _, track) in self.tracks.entries_mut() {
            if let Some(out) = track.out_mut(place) {
                *out = Out::new();
            }
        }
        self.rtcp.retain(|rtcp| rtcp.to != participant);
    }

    /// A track was published, in so many encodings.
    ///
    /// # Errors
    /// [`RosterError::Full`], or [`RosterError::UnknownParticipant`] for the owner.
    pub fn add_track(
        &mut self,
        track: TrackId,
        owner: ParticipantId,
        kind: TrackKind,
        encodings: usize,
        muted: bool,
    ) -> Result<(), RosterError> {
        if self.tracks.len() >= MAX_TRACKS {
            return Err(RosterError::Full);
        }
        let owner_place = self.participants.place(owner).ok_or(RosterError::UnknownParticipant)?;
        let mut added = Track::new(owner, owner_place, kind, encodings, muted);
        for (subscriber, place) in self.participants.places() {
            let edge = self.edges.get(&(owner, subscriber)).copied().unwrap_or_default();
            let merges = self.merges(owner, subscriber);
            let Some(out) = added.out_mut(place) else { continue };
            (out.is_there, out.on, out.overlap) = (true, edge.carries(kind), edge.overlap);
            out.selector.set_pinned(edge.overlap && merges);
        }
        if let Some(owner) = self.participants.get_mut(owner) {
            owner.tracks.insert(track);
        }
        self.tracks.insert(track, added);
        if kind == TrackKind::Audio {
            self.speakers.add(track);
        }
        let subscribers: Vec<_> = self.participants.places().map(|(subscriber, _)| subscriber).collect();
        for subscriber in subscribers.into_iter().filter(|&subscriber| subscriber != owner) {
            self.place(track, subscriber);
        }
        Ok(())
    }

    /// A track was taken back.
    pub fn remove_track(&mut self, track: TrackId) {
        let Some((_, removed)) = self.tracks.remove(track) else { return };
        self.speakers.remove(track);
        if let Some(owner) = self.participants.get_mut(removed.owner) {
            owner.tracks.remove(&track);
            owner.publisher.forget_track(track);
        }
        let outs = removed.outs.into_iter().enumerate();
        for (place, slot) in outs.filter_map(|(place, out)| Some((place, out.slot?))) {
            if let Some(subscriber) = self.participants.key_at(place) {
                self.vacate(subscriber, Some(slot));
            }
        }
    }

    /// A muted track does not speak. Its packets still go on: the publisher alone decides what it sends, and its word on mute comes by
    /// another way than its packets, so that the first of them after it would be lost here.
    pub fn set_muted(&mut self, track: TrackId, muted: bool) {
        if let Some(track) = self.tracks.get_mut(track) {
            track.muted = muted;
        }
    }

    /// Forwards, or stops forwarding, what `publisher` sends to `subscriber`. In `overlap` both paths carry it: the subscriber is held to the
    /// encoding it decodes, and loudness does not choose.
    pub fn set_edge(&mut self, publisher: ParticipantId, subscriber: ParticipantId, on: bool, overlap: bool) {
        let Some(place) = self.participants.place(subscriber).filter(|_| self.participants.contains(publisher)) else { return };
        self.change_edge(publisher, subscriber, place, Edge { on, overlap, voice_only: false });
    }

    /// An overlap begins: voice goes both ways, pictures follow with [`RoomForwarder::set_edge`], so that a subscriber's downlink does not
    /// bear every picture twice while voice is being proven.
    pub fn set_edge_voice(&mut self, publisher: ParticipantId, subscriber: ParticipantId) {
        let Some(place) = self.participants.place(subscriber).filter(|_| self.participants.contains(publisher)) else { return };
        self.change_edge(publisher, subscriber, place, Edge { on: true, overlap: true, voice_only: true });
    }

    fn change_edge(&mut self, publisher: ParticipantId, subscriber: ParticipantId, place: usize, edge: Edge) {
        self.edges.insert((publisher, subscriber), edge);
        let merges = self.merges(publisher, subscriber);
        for track in self.owned(publisher) {
            let Some(track_state) = self.tracks.get_mut(track) else { continue };
            let on = edge.carries(track_state.kind);
            let Some(out) = track_state.out_mut(place) else { continue };
            let stopped = out.on && !on;
            (out.on, out.overlap) = (on, edge.overlap);
            out.selector.set_pinned(edge.overlap && merges);
            if stopped {
                out.selector.reset();
                let slot = out.slot;
                self.restart(subscriber, slot);
            }
            self.place(track, subscriber);
        }
    }

    /// The encoding in which a subscriber got a track directly until now: the one it is held to in overlap, and goes on with after it, until
    /// the next [`RoomForwarder::set_edge`]. Where nothing was said it is taken to be the largest that anybody with a direct edge wishes.
    pub fn set_direct_encoding(&mut self, track: TrackId, subscriber: ParticipantId, encoding: EncodingId) {
        let Some(place) = self.participants.place(subscriber) else { return };
        let Some(owner) = self.tracks.get(track).map(|track| track.owner) else { return };
        // Whoever does not merge decodes each path by itself.
        if !self.merges(owner, subscriber) {
            return;
        }
        if let Some(out) = self.tracks.get_mut(track).and_then(|track| track.outs.get_mut(place)).filter(|out| out.is_there) {
            out.selector.set_direct(encoding);
        }
    }

    /// A subscriber's wish; [`Quality::Off`] is not to receive the track.
    pub fn set_subscription(&mut self, track: TrackId, subscriber: ParticipantId, quality: Quality) {
        let Some(out) = self.out_mut(track, subscriber) else { return };
        out.quality = quality;
        out.selector.set_quality(quality);
        if quality == Quality::Off {
            out.selector.reset();
            let slot = out.slot.take();
            self.vacate(subscriber, slot);
        } else {
            self.place(track, subscriber);
        }
    }

    /// The highest temporal layer a subscriber gets of a track: what an allocator decides.
    pub fn set_max_temporal(&mut self, track: TrackId, subscriber: ParticipantId, temporal: TemporalId) {
        if let Some(out) = self.out_mut(track, subscriber) {
            out.selector.set_max_temporal(temporal.0);
        }
    }

    /// What a subscriber's downlink bears: what an estimator says.
    pub fn set_rate(&mut self, subscriber: ParticipantId, rate: DataRate) {
        if let Some(participant) = self.participants.get_mut(subscriber) {
            participant.subscriber.rate.set_rate(rate);
        }
    }

    /// What everybody in the room does without, because the relay has too much to do. Pictures that begin again begin at a keyframe.
    pub fn set_shed(&mut self, shed: Shed) {
        let ended = shed == Shed::Video && self.shed != Shed::Video;
        self.shed = shed;
        if !ended {
            return;
        }
        let mut stopped = Vec::new();
        for (_, _, track) in self.tracks.entries_mut().filter(|(.., track)| track.kind == TrackKind::Video) {
            for (place, out) in track.outs.iter_mut().enumerate() {
                out.selector.reset();
                stopped.extend(out.slot.map(|slot| (place, slot)));
            }
        }
        for (place, slot) in stopped {
            if let Some(subscriber) = self.participants.key_at(place) {
                self.restart(subscriber, Some(slot));
            }
        }
    }

    /// What was negotiated for a publisher transport. Bindings to tracks of others are left out.
    pub fn set_publisher_leg(&mut self, participant: ParticipantId, leg: LegParameters, mut bindings: Vec<Binding>) {
        bindings.retain(|binding| self.tracks.get(binding.track).is_some_and(|track| track.owner == participant));
        if let Some(participant) = self.participants.get_mut(participant) {
            participant.publisher.leg = leg;
            participant.publisher.bindings = bindings;
        }
    }

    /// What was negotiated for a subscriber transport that is connected; `None` when it is not.
    pub fn set_subscriber_leg(&mut self, participant: ParticipantId, leg: Option<LegParameters>) {
        if let Some(participant) = self.participants.get_mut(participant) {
            participant.subscriber.set_leg(leg);
        }
        self.look_again(participant);
    }

    /// Where a participant's packets wait, for what happens per packet: valid until it leaves.
    #[must_use]
    pub fn leg_index(&self, participant: ParticipantId) -> Option<LegIndex> {
        self.participants.place(participant).map(|place| LegIndex(place as u32))
    }

    /// A subscriber accepted these sections: packets may flow on them.
    pub fn confirm_slots(&mut self, participant: ParticipantId, mids: &[Label]) {
        if let Some(participant) = self.participants.get_mut(participant) {
            participant.subscriber.confirm(mids);
        }
        self.look_again(participant);
    }

    /// A subscriber that offers its transport itself has these sections, named so where names are negotiated, and gets no others: tracks
    /// that find none wait until one is free. Called before its leg is up.
    pub fn fix_slots(&mut self, subscriber: ParticipantId, sections: &[(TrackKind, Option<Label>)]) {
        let Some(place) = self.participants.place(subscriber) else { return };
        if let Some(participant) = self.participants.at_mut(place) {
            participant.subscriber.fix(sections, &mut self.seed);
        }
        for (_, _, track) in self.tracks.entries_mut() {
            if let Some(out) = track.out_mut(place) {
                out.slot = None;
            }
        }
        let tracks: Vec<_> = self.tracks.places().map(|(track, _)| track).collect();
        for track in tracks {
            self.place(track, subscriber);
        }
    }

    /// A subscriber's outgoing streams, in the order of its media sections.
    #[must_use]
    pub fn slots(&self, participant: ParticipantId) -> Vec<SlotInfo> {
        self.participants.get(participant).map(|participant| participant.subscriber.infos().collect()).unwrap_or_default()
    }

    /// What was dropped, by reason.
    #[must_use]
    pub const fn drops(&self) -> &DropCounts {
        &self.drops
    }

    /// What went through.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ForwardEvent> {
        self.events.pop_front()
    }

    /// Whether the paths of an edge carry the same packets. Where they do not, a browser decodes each path by itself and begins at
    /// a keyframe.
    fn merges(&self, publisher: ParticipantId, subscriber: ParticipantId) -> bool {
        let origin = |participant| self.participants.get(participant).is_some_and(|found| found.origin);
        origin(publisher) && origin(subscriber)
    }

    /// Something is due at a time, if not before.
    fn expect(&mut self, at: Option<Instant>) {
        if let Some(at) = at
            && self.due.is_none_or(|due| at < due)
        {
            self.due = Some(at);
        }
    }

    fn out_mut(&mut self, track: TrackId, subscriber: ParticipantId) -> Option<&mut Out> {
        let place = self.participants.place(subscriber)?;
        self.tracks.get_mut(track)?.out_mut(place)
    }

    /// Whether packets may go to a subscriber has changed: its tracks find out again to whom they go.
    fn look_again(&mut self, subscriber: ParticipantId) {
        let Some(participant) = self.participants.get(subscriber) else { return };
        for track in participant.subscriber.tracks() {
            if let Some(track) = self.tracks.get_mut(track) {
                track.stale = true;
            }
        }
    }

    fn owned(&self, participant: ParticipantId) -> Vec<TrackId> {
        self.participants.get(participant).map(|found| found.tracks.iter().copied().collect()).unwrap_or_default()
    }

    /// Gives a wanted track a slot, if it has none.
    fn place(&mut self, track: TrackId, subscriber: ParticipantId) {
        let Some(at) = self.participants.place(subscriber) else { return };
        let Some(found) = self.tracks.get_mut(track) else { return };
        let kind = found.kind;
        let stamped = self.participants.get(found.owner).is_some_and(|owner| owner.origin);
        let Some(out) = found.out_mut(at).filter(|out| out.slot.is_none() && out.is_wanted()) else { return };
        let Some(participant) = self.participants.get_mut(subscriber) else { return };
        let Some((slot, new)) = participant.subscriber.assign(track, kind, stamped, &mut self.seed) else {
            participant.subscriber.lacking = true;
            if participant.subscriber.is_fixed() {
                return;
            }
            self.counters.slots_refused += 1;
            self.tell_slots(ForwardEvent::SlotsExhausted { subscriber });
            return;
        };
        out.slot = Some(slot);
        if !participant.origin && new {
            self.tell_slots(ForwardEvent::SlotsAdded { subscriber });
        } else if !participant.origin || !stamped {
            self.tell_slots(ForwardEvent::SlotsChanged { subscriber });
        }
    }

    fn vacate(&mut self, subscriber: ParticipantId, slot: Option<usize>) {
        let (Some(slot), Some(participant)) = (slot, self.participants.get_mut(subscriber)) else { return };
        participant.subscriber.release(slot);
        let merges = participant.origin;
        let lacking = std::mem::take(&mut participant.subscriber.lacking);
        if !merges {
            self.tell_slots(ForwardEvent::SlotsChanged { subscriber });
        }
        if lacking {
            self.place_waiting(subscriber);
        }
    }

    /// Gives slots to tracks that found none.
    fn place_waiting(&mut self, subscriber: ParticipantId) {
        let Some(place) = self.participants.place(subscriber) else { return };
        let waits = |track: &Track| track.out(place).is_some_and(|out| out.slot.is_none() && out.is_wanted());
        let waiting: Vec<_> = self.tracks.iter().filter(|(_, track)| waits(track)).map(|(id, _)| id).collect();
        for track in waiting {
            self.place(track, subscriber);
            if self.participants.get(subscriber).is_none_or(|found| found.subscriber.lacking) {
                break;
            }
        }
    }

    fn restart(&mut self, subscriber: ParticipantId, slot: Option<usize>) {
        let (Some(slot), Some(participant)) = (slot, self.participants.get_mut(subscriber)) else { return };
        if let Some(slot) = participant.subscriber.slot_mut(slot) {
            slot.restart();
        }
    }

    /// One event of a kind waits at most, so that the queue is bounded by the participants.
    fn tell_slots(&mut self, event: ForwardEvent) {
        if !self.events.contains(&event) {
            self.events.push_back(event);
        }
    }
}
