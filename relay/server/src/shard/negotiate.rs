//! Descriptions: what clients offer and answer, and what a shard offers and answers.

use std::time::Instant;

use segue_forward::{Binding, LegParameters, PayloadTypes, SlotInfo};
use segue_media::packet::{ExtensionMap, Label};
use segue_model::{EncodingId, ParticipantId, Ssrc, TrackKind};

use super::egress::Outlet;
use super::room::{Member, PublisherLeg, SdpNumbers, SubscriberLeg};
use super::session::{Session, SessionKey};
use super::worker::{Shard, Timer};
use crate::media_plane::{DescriptionKind, MediaEvent, MidTrack, Refusal, RoomKey, TransportKind, TransportState};
use crate::sdp::{
    IceFragment, LocalTransport, PlayerOffer, PublisherOffer, SdpRefusal, Slot, StreamPair, SubscriberAnswer, subscriber_offer,
};
use crate::transport::{Fingerprint, IceCredentials, SessionConfig, TransportSession};

/// Sections of an SDK peer's subscriber transport: one for each kind, whatever the number of tracks.
const MERGED_SECTIONS: [(&str, TrackKind); 2] = [("0", TrackKind::Audio), ("1", TrackKind::Video)];

/// A description that cannot be used.
struct Refused {
    reason: Refusal,
    message: String,
}

impl From<SdpRefusal> for Refused {
    fn from(refusal: SdpRefusal) -> Self {
        Self { reason: refusal.kind(), message: refusal.to_string() }
    }
}

impl Refused {
    fn ours(message: &str) -> Self {
        Self { reason: Refusal::Ours, message: message.to_owned() }
    }

    fn limit(message: &str) -> Self {
        Self { reason: Refusal::Limit, message: message.to_owned() }
    }
}

impl Shard {
    /// An offer for a publisher transport: answered, or refused.
    #[expect(clippy::too_many_arguments, reason = "the fields of one command")]
    pub(super) fn handle_publisher_offer(
        &mut self,
        now: Instant,
        sender: &dyn Outlet,
        room: RoomKey,
        participant: ParticipantId,
        generation: u32,
        sdp: &str,
        tracks: &[MidTrack],
    ) {
        let transport = TransportKind::Publisher;
        let event = match self.answer_publisher(now, sender, room, participant, sdp, tracks) {
            Ok(sdp) => {
                let kind = DescriptionKind::Answer;
                MediaEvent::Description { participant, transport, kind, generation, sdp, tracks: Vec::new() }
            }
            Err(Refused { reason, message }) => MediaEvent::Refused { participant, transport, generation, reason, message },
        };
        self.emit(now, room, event);
    }

    fn answer_publisher(
        &mut self,
        now: Instant,
        sender: &dyn Outlet,
        key: RoomKey,
        participant: ParticipantId,
        sdp: &str,
        tracks: &[MidTrack],
    ) -> Result<String, Refused> {
        let offer = PublisherOffer::parse(sdp)?;
        let member = self.member(key, participant).ok_or_else(|| Refused::ours("the participant is not in the room"))?;
        let leg = member.publisher.as_ref().map(|leg| (leg.session, leg.ufrag != offer.ufrag(), leg.sdp));
        let kept = leg.filter(|&(session, ..)| self.continues(now, session, offer.fingerprints()));
        let (session, numbers) = match kept {
            Some((session, restarted, mut numbers)) => {
                if restarted {
                    self.restart_ice(session)?;
                    self.restart_subscriber(now, sender, key, participant);
                }
                numbers.advance();
                (session, numbers)
            }
            None => {
                if let Some((session, ..)) = leg {
                    self.remove_session(now, sender, session);
                }
                let session = self.new_session(key, participant, TransportKind::Publisher)?;
                self.connect(now, session, offer.fingerprints());
                self.emit_connecting(now, key, participant, TransportKind::Publisher);
                (session, SdpNumbers { session: (self.random)() >> 2, version: 1 })
            }
        };
        let up = kept.is_some() && self.sessions.get_mut(session).is_some_and(|session| session.transport.is_connected());
        let Some(room) = self.rooms.get_mut(key) else { return Err(Refused::ours("the room is over")) };
        let Some(member) = room.members.get_mut(&participant) else { return Err(Refused::ours("the participant left")) };
        member.publisher = Some(PublisherLeg { session, ufrag: offer.ufrag().to_owned(), sdp: numbers, up });
        let bindings = if member.origin { Vec::new() } else { bindings(&offer, tracks) };
        room.forwarder.set_publisher_leg(participant, publisher_parameters(&offer), bindings);
        let answer = self.with_local(session, numbers, |local| offer.answer(local));
        self.service(now, sender, session);
        answer.ok_or_else(|| Refused::ours("the transport is gone"))
    }

    /// An offer for the receiving transport of a participant that offers it itself: answered, or refused.
    pub(super) fn handle_subscriber_offer(
        &mut self,
        now: Instant,
        sender: &dyn Outlet,
        room: RoomKey,
        participant: ParticipantId,
        generation: u32,
        sdp: &str,
    ) {
        let transport = TransportKind::Subscriber;
        let event = match self.answer_player(now, sender, room, participant, sdp) {
            Ok(sdp) => {
                let kind = DescriptionKind::Answer;
                MediaEvent::Description { participant, transport, kind, generation, sdp, tracks: Vec::new() }
            }
            Err(Refused { reason, message }) => MediaEvent::Refused { participant, transport, generation, reason, message },
        };
        self.emit(now, room, event);
    }

    fn answer_player(
        &mut self,
        now: Instant,
        sender: &dyn Outlet,
        key: RoomKey,
        participant: ParticipantId,
        sdp: &str,
    ) -> Result<String, Refused> {
        let offer = PlayerOffer::parse(sdp)?;
        let member = self.member(key, participant).filter(|member| member.offers && member.subscriber.is_none());
        member.ok_or_else(|| Refused::ours("the participant offers no transport, or has one"))?;
        let session = self.new_session(key, participant, TransportKind::Subscriber)?;
        self.connect(now, session, offer.fingerprints());
        let sdp = SdpNumbers { session: (self.random)() >> 2, version: 1 };
        let Some(room) = self.rooms.get_mut(key) else { return Err(Refused::ours("the room is over")) };
        let Some(member) = room.members.get_mut(&participant) else { return Err(Refused::ours("the participant left")) };
        let sections = offer.sections().iter().map(|section| section.kind).collect();
        let slots: Vec<_> = offer.sections().iter().map(|section| (section.kind, Label::new(&section.mid))).collect();
        let (parameters, generation) = (Some(player_parameters(&offer)), 1);
        member.subscriber = Some(SubscriberLeg {
            session,
            generation,
            outstanding: false,
            stale: false,
            sections,
            parameters,
            sdp,
            up: false,
            failures: 0,
        });
        room.forwarder.fix_slots(participant, &slots);
        let streams: Vec<_> = room.forwarder.slots(participant).iter().map(stream_pair).collect();
        self.emit_connecting(now, key, participant, TransportKind::Subscriber);
        let answer = self.with_local(session, sdp, |local| offer.answer(local, &streams));
        self.service(now, sender, session);
        answer.ok_or_else(|| Refused::ours("the transport is gone"))
    }

    /// A client that offered a transport restarts its ICE without another offer.
    #[expect(clippy::too_many_arguments, reason = "the fields of one command")]
    pub(super) fn handle_restart(
        &mut self,
        now: Instant,
        sender: &dyn Outlet,
        room: RoomKey,
        participant: ParticipantId,
        transport: TransportKind,
        generation: u32,
        fragment: &IceFragment,
    ) {
        let event = match self.answer_restart(now, sender, room, participant, transport, fragment) {
            Ok(sdp) => {
                let kind = DescriptionKind::Answer;
                MediaEvent::Description { participant, transport, kind, generation, sdp, tracks: Vec::new() }
            }
            Err(Refused { reason, message }) => MediaEvent::Refused { participant, transport, generation, reason, message },
        };
        self.emit(now, room, event);
    }

    fn answer_restart(
        &mut self,
        now: Instant,
        sender: &dyn Outlet,
        key: RoomKey,
        participant: ParticipantId,
        transport: TransportKind,
        fragment: &IceFragment,
    ) -> Result<String, Refused> {
        let member = self.member(key, participant).ok_or_else(|| Refused::ours("the participant is not in the room"))?;
        let leg = match transport {
            TransportKind::Publisher => member.publisher.as_mut().map(|leg| {
                leg.ufrag.clone_from(&fragment.ufrag);
                (leg.session, leg.sdp)
            }),
            TransportKind::Subscriber => member.subscriber.as_ref().map(|leg| (leg.session, leg.sdp)),
        };
        let (session, numbers) = leg.ok_or_else(|| Refused::ours("the participant has no such transport"))?;
        self.restart_ice(session)?;
        let answer = self.with_local(session, numbers, |local| fragment.answer(local));
        self.service(now, sender, session);
        answer.ok_or_else(|| Refused::ours("the transport is gone"))
    }

    /// The client's answer to the offer that is outstanding.
    pub(super) fn handle_subscriber_answer(
        &mut self,
        now: Instant,
        sender: &dyn Outlet,
        key: RoomKey,
        participant: ParticipantId,
        generation: u32,
        sdp: &str,
    ) {
        let leg = self.member(key, participant).and_then(|member| member.subscriber.as_mut());
        // An answer that crossed a newer offer is merely late; one to an offer yet to be made is a mistake of the client.
        if leg.as_ref().is_none_or(|leg| generation > leg.generation) {
            let (transport, reason) = (TransportKind::Subscriber, Refusal::BadSdp);
            let message = "no such offer was made; answer an offer with the generation it came with".to_owned();
            self.emit(now, key, MediaEvent::Refused { participant, transport, generation, reason, message });
            return;
        }
        let Some(leg) = leg.filter(|leg| leg.outstanding && leg.generation == generation) else { return };
        leg.outstanding = false;
        let (sections, session) = (leg.sections.len(), leg.session);
        let transport = TransportKind::Subscriber;
        match SubscriberAnswer::parse(sdp, sections) {
            Ok(answer) if self.continues(now, session, &answer.fingerprints) => {
                self.apply_answer(now, key, participant, &answer)
            }
            // Another certificate needs another transport (RFC 8842 section 4).
            Ok(_) => {
                self.remove_session(now, sender, session);
                self.offer_subscriber(now, sender, key, participant);
                return;
            }
            Err(refusal) => {
                let Refused { reason, message } = refusal.into();
                self.emit(now, key, MediaEvent::Refused { participant, transport, generation, reason, message });
            }
        }
        self.schedule(session);
        if self.member(key, participant).and_then(|member| member.subscriber.as_ref()).is_some_and(|leg| leg.stale) {
            self.offer_subscriber(now, sender, key, participant);
        }
    }

    fn apply_answer(&mut self, now: Instant, key: RoomKey, participant: ParticipantId, answer: &SubscriberAnswer) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(leg) = room.members.get_mut(&participant).and_then(|member| member.subscriber.as_mut()) else { return };
        let parameters = subscriber_parameters(answer, &leg.sections);
        leg.parameters = Some(parameters);
        let mids: Vec<_> = answer.slots.iter().filter(|slot| slot.receives).filter_map(|slot| Label::new(&slot.mid)).collect();
        if leg.up {
            room.forwarder.set_subscriber_leg(participant, Some(parameters));
        } else {
            self.emit_connecting(now, key, participant, TransportKind::Subscriber);
        }
        if let Some(room) = self.rooms.get_mut(key) {
            room.forwarder.confirm_slots(participant, &mids);
        }
    }

    /// Sections were added for a subscriber: they are offered, now or after the answer that is awaited.
    pub(super) fn offer_sections(&mut self, now: Instant, sender: &dyn Outlet, key: RoomKey, participant: ParticipantId) {
        let Some(leg) = self.member(key, participant).and_then(|member| member.subscriber.as_mut()) else { return };
        if leg.outstanding {
            leg.stale = true;
        } else {
            self.offer_subscriber(now, sender, key, participant);
        }
    }

    /// Sections carry other tracks, none was added.
    pub(super) fn tell_slots(&mut self, now: Instant, key: RoomKey, participant: ParticipantId) {
        let Some(room) = self.rooms.get(key) else { return };
        let slots = room.forwarder.slots(participant).iter().filter_map(mid_track).collect();
        self.emit(now, key, MediaEvent::Slots { participant, slots });
    }

    /// Offers the subscriber transport as it has to be, on a new session where there is none.
    pub(super) fn offer_subscriber(&mut self, now: Instant, sender: &dyn Outlet, key: RoomKey, participant: ParticipantId) {
        self.timers.set(Timer::Offer(key, participant), None);
        let Some(member) = self.member(key, participant).filter(|member| member.subscribe) else { return };
        let (origin, before) = (member.origin, member.subscriber.as_ref().map(|leg| (leg.session, leg.generation, leg.sdp)));
        let session = match before.filter(|&(session, ..)| self.is_alive(session)) {
            Some((session, ..)) => session,
            None => match self.new_session(key, participant, TransportKind::Subscriber) {
                Ok(session) => session,
                Err(Refused { message, .. }) => {
                    tracing::warn!(%participant, message, "a subscriber transport cannot be offered");
                    return;
                }
            },
        };
        let kept = before.filter(|&(kept, ..)| kept == session);
        let generation = before.map_or(1, |(_, generation, _)| generation.wrapping_add(1));
        let mut numbers = kept.map_or(SdpNumbers { session: (self.random)() >> 2, version: 0 }, |(.., numbers)| numbers);
        numbers.advance();
        let Some(room) = self.rooms.get_mut(key) else { return };
        let infos = room.forwarder.slots(participant);
        let slots = if origin { merged_slots(numbers.session) } else { infos.iter().filter_map(slot).collect() };
        let tracks = infos.iter().filter_map(mid_track).collect();
        let Some(member) = room.members.get_mut(&participant) else { return };
        let leg = SubscriberLeg {
            session,
            generation,
            outstanding: true,
            stale: false,
            sections: slots.iter().map(|slot| slot.kind).collect(),
            parameters: member.subscriber.as_ref().filter(|_| kept.is_some()).and_then(|leg| leg.parameters),
            sdp: numbers,
            up: kept.is_some() && member.subscriber.as_ref().is_some_and(|leg| leg.up),
            failures: member.subscriber.as_ref().map_or(0, |leg| leg.failures),
        };
        member.subscriber = Some(leg);
        let Some(sdp) = self.with_local(session, numbers, |local| subscriber_offer(local, &slots)) else { return };
        let (transport, kind) = (TransportKind::Subscriber, DescriptionKind::Offer);
        self.emit(now, key, MediaEvent::Description { participant, transport, kind, generation, sdp, tracks });
        self.service(now, sender, session);
    }

    /// A subscriber transport failed: it is offered anew after a while, for as long as that may help.
    pub(super) fn offer_after_failure(&mut self, now: Instant, key: RoomKey, participant: ParticipantId, session: SessionKey) {
        let Some(member) = self.member(key, participant).filter(|member| member.is_current(TransportKind::Subscriber, session))
        else {
            return;
        };
        let Some(leg) = &mut member.subscriber else { return };
        leg.failures += 1;
        leg.outstanding = false;
        if let Some(wait) = segue_forward::offer_again(leg.failures) {
            self.timers.set(Timer::Offer(key, participant), Some(now + wait));
        }
    }

    /// The client restarted ICE of its publisher transport, so its addresses changed: the other transport follows.
    fn restart_subscriber(&mut self, now: Instant, sender: &dyn Outlet, key: RoomKey, participant: ParticipantId) {
        let Some(leg) = self.member(key, participant).and_then(|member| member.subscriber.as_mut()) else { return };
        leg.failures = 0;
        let session = leg.session;
        if self.is_alive(session) && self.restart_ice(session).is_err() {
            return;
        }
        self.offer_subscriber(now, sender, key, participant);
    }

    fn new_session(&mut self, room: RoomKey, participant: ParticipantId, kind: TransportKind) -> Result<SessionKey, Refused> {
        let credentials = IceCredentials::random().ok_or_else(|| Refused::ours("no randomness for ICE"))?;
        let ufrag = credentials.ufrag.clone();
        let transport = TransportSession::new(SessionConfig { identity: self.identity.clone(), credentials });
        let place = self.rooms.place(room).ok_or_else(|| Refused::ours("the room is over"))?;
        let member = self.rooms.at_mut(place).and_then(|room| room.members.get(&participant));
        let publishes = kind == TransportKind::Publisher && member.is_some_and(|member| member.publish);
        let session = Session {
            room,
            place,
            participant,
            kind,
            transport,
            ufrags: vec![ufrag.clone()],
            heartbeats: None,
            publishes,
            seal_refused: false,
        };
        let key = self.sessions.insert(session);
        if self.demux.insert_ufrag(&ufrag, key).is_err() {
            self.sessions.remove(key);
            return Err(Refused::limit("the relay has too many transports: try again later"));
        }
        Ok(key)
    }

    /// New credentials of ours for a session.
    fn restart_ice(&mut self, key: SessionKey) -> Result<(), Refused> {
        let credentials = IceCredentials::random().ok_or_else(|| Refused::ours("no randomness for ICE"))?;
        let full = self.demux.insert_ufrag(&credentials.ufrag, key).is_err();
        let session = self.sessions.get_mut(key).filter(|_| !full);
        let session = session.ok_or_else(|| Refused::limit("the relay has too many transports: try again later"))?;
        // Those before the last are retired by the transport itself.
        session.ufrags.push(credentials.ufrag.clone());
        if session.ufrags.len() > 2 {
            session.ufrags.remove(0);
        }
        session.transport.restart_ice(credentials);
        Ok(())
    }

    /// Whether a session goes on under a description with these fingerprints.
    fn continues(&mut self, now: Instant, key: SessionKey, fingerprints: &[Fingerprint]) -> bool {
        self.is_alive(key) && self.connect(now, key, fingerprints)
    }

    fn connect(&mut self, now: Instant, key: SessionKey, fingerprints: &[Fingerprint]) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        let goes_on = session.transport.set_remote(now, fingerprints.to_vec()).is_ok();
        self.schedule(key);
        goes_on
    }

    fn is_alive(&mut self, key: SessionKey) -> bool {
        self.sessions.get_mut(key).is_some_and(|session| !session.transport.is_over())
    }

    fn emit_connecting(&mut self, now: Instant, room: RoomKey, participant: ParticipantId, transport: TransportKind) {
        let state = TransportState::Connecting;
        self.emit(now, room, MediaEvent::TransportState { participant, transport, state });
    }

    fn member(&mut self, room: RoomKey, participant: ParticipantId) -> Option<&mut Member> {
        self.rooms.get_mut(room)?.members.get_mut(&participant)
    }

    fn with_local<R>(
        &mut self,
        key: SessionKey,
        numbers: SdpNumbers,
        describe: impl FnOnce(&LocalTransport<'_>) -> R,
    ) -> Option<R> {
        let session = self.sessions.get_mut(key)?;
        Some(describe(&LocalTransport {
            credentials: session.transport.credentials(),
            fingerprint: self.identity.fingerprint(),
            candidates: &self.announced,
            session: numbers.session,
            version: numbers.version,
        }))
    }
}

fn publisher_parameters(offer: &PublisherOffer) -> LegParameters {
    let mut parameters = LegParameters::default();
    for section in offer.sections() {
        let payload_types = &mut parameters.payload_types;
        note(payload_types, section.kind, section.payload_type, section.rtx_payload_type);
        merge(&mut parameters.extensions, &section.extensions);
    }
    parameters
}

fn player_parameters(offer: &PlayerOffer) -> LegParameters {
    let mut parameters = LegParameters::default();
    for section in offer.sections() {
        note(&mut parameters.payload_types, section.kind, section.payload_type, section.rtx_payload_type);
        merge(&mut parameters.extensions, &section.extensions);
    }
    parameters
}

fn subscriber_parameters(answer: &SubscriberAnswer, sections: &[TrackKind]) -> LegParameters {
    let mut parameters = LegParameters::default();
    for (slot, &kind) in answer.slots.iter().zip(sections).filter(|(slot, _)| slot.receives) {
        let payload_types = &mut parameters.payload_types;
        note(payload_types, kind, slot.payload_type, slot.rtx_payload_type);
        merge(&mut parameters.extensions, &slot.extensions);
    }
    parameters
}

/// Payload types of the first section of a kind are those of all: one peer names one codec one way.
fn note(payload_types: &mut PayloadTypes, kind: TrackKind, payload_type: u8, rtx: Option<u8>) {
    match kind {
        TrackKind::Audio => payload_types.audio = payload_types.audio.or(Some(payload_type)),
        TrackKind::Video if payload_types.video.is_none() => {
            (payload_types.video, payload_types.video_rtx) = (Some(payload_type), rtx);
        }
        TrackKind::Video => {}
    }
}

/// Bundled sections have one id per extension (RFC 8843 section 7.1.2.1); not every section has every extension.
fn merge(into: &mut ExtensionMap, from: &ExtensionMap) {
    let ids = [
        (&mut into.audio_level, from.audio_level),
        (&mut into.abs_send_time, from.abs_send_time),
        (&mut into.transport_cc, from.transport_cc),
        (&mut into.mid, from.mid),
        (&mut into.origin, from.origin),
        (&mut into.rid, from.rid),
        (&mut into.repaired_rid, from.repaired_rid),
    ];
    for (into, from) in ids {
        *into = into.or(from);
    }
}

/// Which stream of a client without origin is which encoding of which track.
fn bindings(offer: &PublisherOffer, tracks: &[MidTrack]) -> Vec<Binding> {
    let mut bindings = Vec::new();
    for section in offer.sections() {
        let named = tracks.iter().find(|named| named.mid == section.mid).and_then(|named| named.track);
        let Some(track) = named else { continue };
        let mid = Label::new(&section.mid);
        if section.rids.is_empty() {
            let stream = section.streams.first();
            let (ssrc, rtx_ssrc) = (stream.map(|stream| stream.ssrc), stream.and_then(|stream| stream.rtx));
            bindings.push(Binding { track, encoding: EncodingId(0), mid, rid: None, ssrc, rtx_ssrc });
        }
        for (index, rid) in section.rids.iter().take(segue_model::MAX_ENCODINGS).enumerate() {
            let encoding = EncodingId::from_rid(rid).unwrap_or(EncodingId(index as u8));
            bindings.push(Binding { track, encoding, mid, rid: Label::new(rid), ssrc: None, rtx_ssrc: None });
        }
    }
    bindings
}

/// Each section declares one stream although none is ever sent on it: the SDK's stack takes no section without. `random` is the
/// same in every offer of a transport.
fn merged_slots(random: u64) -> Vec<Slot> {
    let slot = |(index, &(mid, kind)): (usize, &(&str, TrackKind))| Slot {
        mid: mid.to_owned(),
        kind,
        active: true,
        streams: vec![StreamPair { ssrc: Ssrc((random as u32).wrapping_add(index as u32)), rtx: None }],
        msid: Some(("segue".to_owned(), format!("section-{mid}"))),
    };
    MERGED_SECTIONS.iter().enumerate().map(slot).collect()
}

/// A browser's section: streams are declared, and each section is a media stream of its own, so that nothing ties the playout of
/// tracks of different participants together.
fn slot(info: &SlotInfo) -> Option<Slot> {
    let mid = info.mid?.as_str().to_owned();
    let msid = Some((format!("slot-{mid}"), format!("slot-{mid}")));
    Some(Slot { mid, kind: info.kind, active: true, streams: vec![stream_pair(info)], msid })
}

const fn stream_pair(info: &SlotInfo) -> StreamPair {
    StreamPair { ssrc: info.ssrc, rtx: info.rtx_ssrc }
}

fn mid_track(info: &SlotInfo) -> Option<MidTrack> {
    Some(MidTrack { mid: info.mid?.as_str().to_owned(), track: info.track })
}
