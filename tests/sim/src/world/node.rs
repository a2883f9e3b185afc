//! A participant: what `core/client`'s driver does, without its sockets, threads and codecs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_media::bwe::{EstimatorConfig, Uplink};
use segue_media::merge::{LegId, LegSources, MergeOutcome};
use segue_media::packet::{MediaPacket, RtpPacket};
use segue_media::receiver::{AudioPull, Receiver, ReceiverEvent};
use segue_model::{EncodingId, ParticipantId, Path, Topology, TopologyPolicy, TrackId, TrackKind, TrackSource};
use segue_session::peer::{
    CarrierState, Command, ConnectionState, LegEvent, LegKey, LinkState, PeerConfig, PeerEvent, PeerMachine, RouteLeg, SdpKind,
    TrackInfo,
};
use segue_wire::proto;

use super::leg::{Leg, Session};
use super::source::{AUDIO_FRAME, Publication, SourceSpec, seed_that_rolls_over};
use super::traffic::Traffic;
use super::uplink::START_RATE;
use crate::clock::LocalClock;
use crate::played::Played;
use crate::rng::{Rng, hash};

/// Pulls made up for at once after a stall.
const MAX_LATE_PULLS: u32 = 5;

/// From a negotiation step to its result.
const DESCRIBE_TIME: Duration = Duration::from_millis(1);

/// Turns of one drain; more means that machines keep each other busy for ever.
const MAX_TURNS: usize = 200;

/// What a participant wants the world to do.
#[derive(Debug)]
pub enum Effect {
    Connect,
    Disconnect,
    Server(proto::ClientFrame),
    Signal {
        to: ParticipantId,
        signal: proto::Signal,
    },
    Rtp {
        leg: LegKey,
        packet: RtpPacket,
    },
    Rtcp {
        leg: LegKey,
        bytes: Bytes,
    },
    Opened {
        session: Session,
    },
    Closed {
        session: Session,
    },
    /// A description was set: the transport may be able to connect.
    Negotiated {
        leg: LegKey,
    },
    /// An event of a leg comes back after a while.
    Later {
        leg: LegKey,
        session: Session,
        event: LegEvent,
        after: Duration,
    },
}

/// Something worth a line when a run fails.
#[derive(Clone, Debug)]
pub enum Note {
    Event(PeerEvent),
    Failed(String),
}

/// A remote track.
pub struct Remote {
    pub kind: TrackKind,
    pub source: TrackSource,
    pub owner: ParticipantId,
    pub played: Played,
}

/// What a participant gets from its world.
#[derive(Clone, Copy, Debug)]
pub struct NodeSetup {
    pub clock: LocalClock,
    pub base: Instant,
    pub number: u64,
    pub seed: u64,
    /// Keep everything that is played.
    pub record: bool,
}

/// A participant.
pub struct Node {
    pub name: String,
    pub policy: TopologyPolicy,
    pub clock: LocalClock,
    base: Instant,
    number: u64,
    pub machine: PeerMachine,
    pub receiver: Receiver,
    pub legs: BTreeMap<LegKey, Leg>,
    sessions: BTreeMap<Session, LegKey>,
    next_session: u64,
    pub publications: BTreeMap<TrackId, Publication>,
    pending: BTreeMap<u32, SourceSpec>,
    /// What everything that is sent may spend.
    pub uplink: Uplink,
    /// Legs or what they carry changed: the budget has to be told.
    pub(super) routes_changed: bool,
    pub remotes: BTreeMap<TrackId, Remote>,
    /// What was played of tracks that are gone.
    pub retired: Vec<(TrackId, Remote)>,
    next_pull: Option<Instant>,
    rng: Rng,
    pub effects: Vec<Effect>,
    pub notes: Vec<Note>,
    pub topologies: Vec<(Instant, Topology, String)>,
    pub paths: Vec<(Instant, ParticipantId, ParticipantId, Path, String)>,
    /// Reliable messages received, in order: from whom and which.
    pub messages: Vec<(String, u64)>,
    /// Everything played and carried is kept, not only the last of it.
    record: bool,
    /// What was carried, where it is kept.
    pub traffic: Traffic,
    fresh: Vec<MediaPacket>,
    due_legs: Vec<LegKey>,
    /// The machine was handed something, or said something, since it was last asked when it is due.
    pub machine_stale: bool,
    machine_due: Option<Instant>,
    /// Likewise the receiver.
    receiver_stale: bool,
    receiver_due: Option<Instant>,
    pub gone: bool,
    /// The call ended for it though it did not want to leave.
    pub thrown_out: bool,
    /// When the numbers of what it publishes begin anew, by its own clock.
    pub rollover: Option<Instant>,
}

impl Node {
    pub fn new(now: Instant, name: &str, setup: NodeSetup, options: PeerConfig) -> Self {
        let NodeSetup { clock, base, number, seed, record } = setup;
        let mut node = Self {
            name: name.to_owned(),
            policy: options.policy,
            clock,
            base,
            number,
            machine: PeerMachine::new(options),
            receiver: Receiver::new(),
            legs: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_session: 0,
            publications: BTreeMap::new(),
            pending: BTreeMap::new(),
            uplink: Uplink::new(EstimatorConfig { start: START_RATE, ..EstimatorConfig::default() }),
            routes_changed: true,
            remotes: BTreeMap::new(),
            retired: Vec::new(),
            next_pull: None,
            rng: Rng::new(hash(&[seed, 31, number])),
            effects: Vec::new(),
            notes: Vec::new(),
            topologies: Vec::new(),
            paths: Vec::new(),
            messages: Vec::new(),
            record,
            traffic: Traffic::default(),
            fresh: Vec::new(),
            due_legs: Vec::new(),
            machine_stale: true,
            machine_due: None,
            receiver_stale: true,
            receiver_due: None,
            gone: false,
            thrown_out: false,
            rollover: None,
        };
        node.machine.connect(now);
        node
    }

    pub fn publish(&mut self, now: Instant, spec: SourceSpec) {
        let request = self.machine.publish(now, spec.request());
        self.pending.insert(request, spec);
    }

    pub fn set_muted(&mut self, now: Instant, source: TrackSource, muted: bool) {
        self.pending.values_mut().filter(|spec| spec.source == source).for_each(|spec| spec.muted = muted);
        let tracks: Vec<_> =
            self.publications.iter().filter(|(_, found)| found.spec.source == source).map(|(id, _)| *id).collect();
        self.routes_changed = true;
        for track in tracks {
            let Some(publication) = self.publications.get_mut(&track) else { continue };
            publication.spec.muted = muted;
            if !muted {
                publication.request_keyframes();
            }
            self.machine.set_muted(now, track, muted);
        }
    }

    pub fn unpublish(&mut self, now: Instant, source: TrackSource) {
        let tracks: Vec<_> =
            self.publications.iter().filter(|(_, found)| found.spec.source == source).map(|(id, _)| *id).collect();
        for track in tracks {
            self.machine.unpublish(now, track);
            self.end_publication(track);
        }
    }

    pub fn leave(&mut self, now: Instant) {
        self.gone = true;
        self.machine.leave(now);
    }

    fn end_publication(&mut self, track: TrackId) {
        self.routes_changed = true;
        self.publications.remove(&track);
        self.legs.values_mut().for_each(|leg| leg.remove_track(track));
    }

    pub fn leg_of(&self, session: Session) -> Option<LegKey> {
        self.sessions.get(&session).copied()
    }

    pub fn handle_rtp(&mut self, now: Instant, session: Session, packet: RtpPacket) {
        let Some(key) = self.leg_of(session) else { return };
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let id = leg.id;
        if self.record {
            self.traffic.received.note(&packet);
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        leg.handle_rtp(now, packet, &mut fresh);
        self.merge(now, key, id, &mut fresh);
        self.fresh = fresh;
    }

    pub fn handle_rtcp(&mut self, now: Instant, session: Session, bytes: &[u8]) {
        let leg = self.leg_of(session).and_then(|key| self.legs.get_mut(&key));
        if let Some(leg) = leg {
            leg.handle_rtcp(now, bytes);
        }
    }

    pub fn handle_leg(&mut self, now: Instant, session: Session, event: LegEvent) {
        let Some(key) = self.leg_of(session) else { return };
        if let (LegEvent::State(state), Some(leg)) = (&event, self.legs.get_mut(&key)) {
            self.routes_changed = true;
            leg.set_up(now, *state == LinkState::Up);
        }
        self.machine.handle_leg(now, key, event);
    }

    pub fn handle_carrier(&mut self, now: Instant, state: CarrierState) {
        self.machine.handle_carrier(now, state);
    }

    fn merge(&mut self, now: Instant, key: LegKey, id: LegId, media: &mut Vec<MediaPacket>) {
        for packet in media.drain(..) {
            if !self.machine.handle_media(now, key, &packet.origin) {
                continue;
            }
            let track = packet.origin.source;
            let outcome = self.receiver.handle_packet(now, id, packet);
            self.receiver_stale |= outcome == MergeOutcome::Fresh;
            if let Some(remote) = self.remotes.get_mut(&track) {
                remote.played.arrived(outcome);
            }
            debug_assert!(outcome != MergeOutcome::Rejected(segue_media::merge::RejectReason::UnknownLeg));
        }
    }

    /// Lets every machine notice the time.
    pub fn handle_timeouts(&mut self, now: Instant) {
        // A deadline that was remembered may have moved on since.
        if self.machine_due.is_some_and(|at| at <= now) {
            self.machine_stale = true;
            if self.machine.poll_timeout().is_some_and(|at| at <= now) {
                self.machine.handle_timeout(now);
                let left = self.machine.poll_timeout();
                if left.is_some_and(|at| at <= now) {
                    let what = "a timeout of the participant's machine is in the past after handle_timeout";
                    self.notes.push(Note::Failed(what.into()));
                }
            }
        }
        if self.gone {
            // Whoever has left neither speaks nor listens any more.
            return;
        }
        if self.receiver_due.is_some_and(|at| at <= now) {
            self.receiver_stale = true;
            self.receiver.handle_timeout(now);
        }
        self.uplink.handle_timeout(now);
        self.handle_leg_timeouts(now);
        self.pull_audio(now);
        self.run_sources(now);
    }

    fn handle_leg_timeouts(&mut self, now: Instant) {
        let mut keys = std::mem::take(&mut self.due_legs);
        keys.extend(self.legs.iter().filter(|(_, leg)| leg.due.is_some_and(|at| at <= now)).map(|(key, _)| *key));
        let mut fresh = std::mem::take(&mut self.fresh);
        for key in keys.drain(..) {
            let Some(leg) = self.legs.get_mut(&key) else { continue };
            let id = leg.id;
            leg.handle_timeout(now, &self.receiver, &mut fresh);
            self.merge(now, key, id, &mut fresh);
        }
        self.fresh = fresh;
        self.due_legs = keys;
    }

    fn run_sources(&mut self, now: Instant) {
        let mut packets = std::mem::take(&mut self.fresh);
        for publication in self.publications.values_mut() {
            if publication.poll_timeout().is_none_or(|at| at > now) {
                continue;
            }
            publication.handle_timeout(now, &mut packets);
            for packet in packets.drain(..) {
                let probe = packet.origin.flags.probe;
                for route in &publication.routes {
                    if let Some(leg) = self.legs.get_mut(&route.leg).filter(|_| probe || publication.bears(route.leg)) {
                        let copy = probe || route.is_copy(&publication.routes, packet.origin.layer);
                        leg.push(now, &packet, copy);
                    }
                }
            }
        }
        self.fresh = packets;
    }

    fn pull_audio(&mut self, now: Instant) {
        let Some(mut due) = self.next_pull.filter(|due| *due <= now) else { return };
        // Pictures follow the delay of their sound.
        self.receiver_stale = true;
        let mut late = 0;
        while due <= now && late < MAX_LATE_PULLS {
            for (track, remote) in self.remotes.iter_mut().filter(|(_, remote)| remote.kind == TrackKind::Audio) {
                let pull = self.receiver.pull_audio(now, *track);
                remote.played.pulled(now, &pull);
                if let AudioPull::Frame(frame) = &pull {
                    remote.played.audio_frame(now, frame);
                }
            }
            due += AUDIO_FRAME;
            late += 1;
        }
        self.next_pull = Some(if due <= now { now + AUDIO_FRAME } else { due });
    }

    /// Carries out everything the machines ask for, until they ask for nothing more.
    pub fn drain(&mut self, now: Instant) {
        for turn in 0.. {
            let mut busy = false;
            while let Some(event) = self.machine.poll_event() {
                self.handle_event(now, event);
                busy = true;
                self.receiver_stale = true;
            }
            while let Some(command) = self.machine.poll_command() {
                self.execute(now, command);
                busy = true;
            }
            busy |= self.drain_receiver(now);
            busy |= self.drain_legs(now);
            busy |= self.drain_uplink(now);
            self.machine_stale |= busy;
            if !busy {
                break;
            }
            if turn > MAX_TURNS {
                self.notes.push(Note::Failed("machines keep each other busy without end".into()));
                break;
            }
        }
    }

    fn drain_receiver(&mut self, now: Instant) -> bool {
        if !std::mem::take(&mut self.receiver_stale) {
            return false;
        }
        let mut busy = false;
        while let Some(frame) = self.receiver.poll_frame(now) {
            busy = true;
            if let Some(remote) = self.remotes.get_mut(&frame.track) {
                remote.played.video_frame(now, &frame);
            }
        }
        while let Some(event) = self.receiver.poll_event() {
            busy = true;
            match event {
                ReceiverEvent::KeyframeNeeded { track, encoding, leg: None } => {
                    if let Some(remote) = self.remotes.get_mut(&track) {
                        remote.played.keyframe_asked(now);
                    }
                    self.machine.request_keyframe(now, track, Some(encoding));
                }
                ReceiverEvent::KeyframeNeeded { leg: Some(_), .. } | ReceiverEvent::LegActive { .. } => {}
            }
        }
        self.receiver_due = self.receiver.poll_timeout();
        busy
    }

    fn drain_legs(&mut self, now: Instant) -> bool {
        let mut busy = false;
        for (key, leg) in self.legs.iter_mut().filter(|(_, leg)| leg.stale) {
            while let Some(packet) = leg.poll_transmit(now) {
                if self.record {
                    self.traffic.sent.note(&packet);
                }
                self.effects.push(Effect::Rtp { leg: *key, packet });
            }
            leg.account(now, &mut self.uplink);
            while let Some(bytes) = leg.poll_rtcp(now) {
                self.effects.push(Effect::Rtcp { leg: *key, bytes });
            }
            while let Some(event) = leg.poll_event() {
                busy = true;
                self.machine.handle_leg(now, *key, event);
            }
            leg.stale = false;
            leg.due = leg.poll_timeout();
        }
        busy
    }

    /// When the next machine has something to do, by our own clock.
    pub fn deadline(&mut self) -> Option<Instant> {
        if std::mem::take(&mut self.machine_stale) {
            self.machine_due = self.machine.poll_timeout();
        }
        if self.gone {
            return self.machine_due;
        }
        let machines = [self.machine_due, self.receiver_due, self.next_pull, self.uplink.poll_timeout()];
        let sources = self.publications.values().filter_map(Publication::poll_timeout);
        let legs = self.legs.values().filter_map(|leg| leg.due);
        machines.into_iter().flatten().chain(sources).chain(legs).min()
    }

    fn execute(&mut self, now: Instant, command: Command) {
        match command {
            Command::ConnectServer => self.effects.push(Effect::Connect),
            Command::DisconnectServer => self.effects.push(Effect::Disconnect),
            Command::SendServer(frame) => self.effects.push(Effect::Server(frame)),
            Command::SendPeer { to, signal } => self.effects.push(Effect::Signal { to, signal }),
            Command::OpenLeg { leg, .. } => self.open_leg(now, leg),
            Command::CloseLeg { leg } => self.close_leg(now, leg),
            Command::CreateOffer { leg, restart, generation } => self.describe(leg, SdpKind::Offer, restart, generation),
            Command::CreateAnswer { leg, generation } => self.describe(leg, SdpKind::Answer, false, generation),
            Command::SetRemote { leg, kind, sdp, .. } => self.set_remote(leg, kind, &sdp),
            Command::Rollback { leg } => {
                if let Some(found) = self.legs.get_mut(&leg) {
                    found.signalling = 0;
                }
            }
            Command::Route { track, legs } => self.route(now, track, legs),
            Command::RequestKeyframe { leg, track, encoding } => {
                if let Some(found) = self.legs.get_mut(&leg) {
                    found.request_keyframe(now, track, encoding.unwrap_or(EncodingId(0)));
                }
            }
            Command::RaisePlayout { track, by, repair } => {
                self.receiver_stale = true;
                self.receiver.raise_target(now, track, by, repair);
            }
            Command::AddCandidate { .. } | Command::SetSections { .. } | Command::SetSlots(_) | Command::SendLossy { .. } => {}
        }
    }

    fn open_leg(&mut self, now: Instant, key: LegKey) {
        self.close_leg(now, key);
        self.next_session += 1;
        let session = (self.number + 1) << 20 | self.next_session;
        let cname = self.machine.local().map(|id| id.to_string()).unwrap_or_default();
        let mut leg = Leg::new(session, self.base, cname, self.rng.next());
        let id = leg.id;
        self.routes_changed = true;
        for publication in self.publications.values_mut() {
            publication.set_paused(key, false);
            let route = publication.routes.iter().find(|route| route.leg == key);
            leg.set_route(publication.track, publication.spec.kind, route);
        }
        self.legs.insert(key, leg);
        self.sessions.insert(session, key);
        match key {
            LegKey::RelayPublisher => {}
            LegKey::RelaySubscriber => {
                self.receiver.add_leg(id, LegSources::Any);
            }
            LegKey::Peer(participant) => {
                self.receiver.add_leg(id, LegSources::Listed);
                for track in self.machine.tracks(participant) {
                    self.receiver.allow(id, track.id);
                }
            }
        }
        self.effects.push(Effect::Opened { session });
    }

    fn close_leg(&mut self, now: Instant, key: LegKey) {
        if let Some(leg) = self.legs.remove(&key) {
            self.uplink.remove_leg(now, leg.id);
            self.receiver.remove_leg(leg.id);
            self.sessions.remove(&leg.session);
            self.effects.push(Effect::Closed { session: leg.session });
        }
    }

    fn describe(&mut self, key: LegKey, kind: SdpKind, restart: bool, generation: u32) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let expected = if kind == SdpKind::Offer { 0 } else { 2 };
        if leg.signalling != expected {
            self.notes.push(Note::Failed(format!("{key:?}: {kind:?} made in signalling state {}", leg.signalling)));
        }
        leg.signalling = u8::from(kind == SdpKind::Offer);
        leg.restarts += u32::from(restart);
        let session = leg.session;
        let event = LegEvent::LocalDescription { kind, sdp: sdp(session, leg.restarts), generation, tracks: Vec::new() };
        self.effects.push(Effect::Later { leg: key, session, event, after: DESCRIBE_TIME });
        self.effects.push(Effect::Negotiated { leg: key });
    }

    fn set_remote(&mut self, key: LegKey, kind: SdpKind, sdp: &str) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let expected = if kind == SdpKind::Offer { 0 } else { 1 };
        if leg.signalling != expected {
            self.notes.push(Note::Failed(format!("{key:?}: {kind:?} set in signalling state {}", leg.signalling)));
        }
        leg.signalling = if kind == SdpKind::Offer { 2 } else { 0 };
        let (session, restarts) = read_sdp(sdp);
        leg.remote = Some(session);
        leg.remote_restarts = restarts;
        self.effects.push(Effect::Negotiated { leg: key });
    }

    fn route(&mut self, now: Instant, track: TrackId, legs: Vec<RouteLeg>) {
        let Some(publication) = self.publications.get_mut(&track) else { return };
        self.routes_changed = true;
        for (key, leg) in &mut self.legs {
            leg.set_route(track, publication.spec.kind, legs.iter().find(|route| route.leg == *key));
        }
        publication.set_routes(now, legs);
    }

    fn handle_event(&mut self, now: Instant, event: PeerEvent) {
        self.notes.push(Note::Event(event.clone()));
        match event {
            PeerEvent::TrackPublished { participant, track } => self.add_remote(now, participant, &track),
            PeerEvent::TrackUnpublished { track, .. } => self.remove_remote(track),
            PeerEvent::ParticipantLeft { participant, .. } => {
                let tracks: Vec<_> =
                    self.remotes.iter().filter(|(_, remote)| remote.owner == participant).map(|(id, _)| *id).collect();
                tracks.into_iter().for_each(|track| self.remove_remote(track));
            }
            PeerEvent::TrackMuted { track, muted, .. } => {
                if let Some(remote) = self.remotes.get_mut(&track) {
                    remote.played.set_muted(muted);
                }
            }
            PeerEvent::Published { request, track } => {
                let Some(spec) = self.pending.remove(&request) else { return };
                if spec.muted != track.muted {
                    self.machine.set_muted(now, track.id, spec.muted);
                }
                let drawn = self.rng.next();
                let seed =
                    self.rollover.map_or(drawn, |at| seed_that_rolls_over(track.id, &spec, at.saturating_duration_since(now)));
                self.routes_changed = true;
                self.publications.insert(track.id, Publication::new(now, spec, track.id, seed));
            }
            PeerEvent::PublishFailed { request, .. } => {
                self.pending.remove(&request);
            }
            PeerEvent::TrackRenumbered { old, new } => {
                let Some(mut publication) = self.publications.remove(&old) else { return };
                self.legs.values_mut().for_each(|leg| leg.remove_track(old));
                publication.renumber(new);
                let routes = std::mem::take(&mut publication.routes);
                self.publications.insert(new, publication);
                self.route(now, new, routes);
            }
            PeerEvent::TopologyChanged { to, reason, .. } => self.topologies.push((now, to, reason)),
            PeerEvent::PathChanged { edge, path, reason } => {
                self.paths.push((now, edge.publisher, edge.subscriber, path, reason));
            }
            PeerEvent::DataReceived { from, topic, payload, reliable: true } => self.receive(from, &topic, &payload),
            PeerEvent::KeyframeRequested { track, encoding } => {
                if let Some(publication) = self.publications.get_mut(&track) {
                    publication.request_keyframe(encoding);
                }
            }
            PeerEvent::ConnectionStateChanged(ConnectionState::Disconnected { .. }) => {
                self.thrown_out |= !self.gone;
                self.gone = true;
            }
            _ => {}
        }
    }

    /// Messages carry the name of their sender as topic and their number as payload.
    fn receive(&mut self, from: ParticipantId, topic: &str, payload: &[u8]) {
        let number = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
        match number {
            Some(number) => self.messages.push((topic.to_owned(), number)),
            None => self.notes.push(Note::Failed(format!("a message of {from} was damaged"))),
        }
    }

    fn add_remote(&mut self, now: Instant, owner: ParticipantId, track: &TrackInfo) {
        if !self.receiver.add_track(track.id, track.kind) {
            self.notes.push(Note::Failed("the receiver takes no more tracks".into()));
            return;
        }
        if let Some(leg) = self.legs.get(&LegKey::Peer(owner)) {
            self.receiver.allow(leg.id, track.id);
        }
        let mut played = Played::new(self.record);
        played.set_muted(track.muted);
        self.remotes.insert(track.id, Remote { kind: track.kind, source: track.source, owner, played });
        self.pair(track.id, owner, track.source);
        if track.kind == TrackKind::Audio && self.next_pull.is_none() {
            self.next_pull = Some(now);
        }
    }

    /// Plays pictures in step with the sound that belongs to them.
    fn pair(&mut self, track: TrackId, owner: ParticipantId, source: TrackSource) {
        let partner = match source {
            TrackSource::Microphone => TrackSource::Camera,
            TrackSource::Camera => TrackSource::Microphone,
            TrackSource::Screen => TrackSource::ScreenAudio,
            TrackSource::ScreenAudio => TrackSource::Screen,
        };
        let found = self.remotes.iter().find(|(_, remote)| remote.owner == owner && remote.source == partner);
        match (found, self.remotes.get(&track)) {
            (Some((other, _)), Some(own)) if own.kind == TrackKind::Audio => self.receiver.synchronise(track, *other),
            (Some((other, _)), Some(_)) => self.receiver.synchronise(*other, track),
            _ => {}
        }
    }

    fn remove_remote(&mut self, track: TrackId) {
        self.receiver.remove_track(track);
        for leg in self.legs.values_mut() {
            self.receiver.disallow(leg.id, track);
            leg.forget_remote(track);
        }
        if let Some(remote) = self.remotes.remove(&track).filter(|_| self.record) {
            self.retired.push((track, remote));
        }
        if !self.remotes.values().any(|remote| remote.kind == TrackKind::Audio) {
            self.next_pull = None;
        }
    }
}

/// A description with what the machines and the world read in one.
pub fn sdp(session: Session, restarts: u32) -> String {
    format!(
        "v=0\r\no=- {session} 1 IN IP4 0.0.0.0\r\nm=audio 9 UDP/TLS/RTP/SAVPF {}\r\na=mid:0\r\na=ice-ufrag:u{session}r{restarts}\r\na=ice-pwd:x\r\n",
        super::leg::OPUS
    )
}

/// Session and ICE restarts out of [`sdp`].
pub fn read_sdp(sdp: &str) -> (Session, u32) {
    let ufrag = sdp.split("a=ice-ufrag:u").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap_or("0r0");
    let (session, restarts) = ufrag.split_once('r').unwrap_or(("0", "0"));
    (session.parse().unwrap_or(0), restarts.parse().unwrap_or(0))
}
