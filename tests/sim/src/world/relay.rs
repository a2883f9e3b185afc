//! The relay: what its room's task and its shard do, without sockets, threads and tokens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_forward::{
    Direction, ForwardEvent, ForwarderConfig, LegIndex, LegParameters, MAX_PACKET, PayloadTypes, RoomForwarder, RtcpOut,
    Transmit,
};
use segue_media::heartbeat::{HeartbeatEvent, Heartbeats};
use segue_media::packet::{ExtensionMap, RtcpPacket, RtpPacket, parse_compound, write_compound};
use segue_model::{ParticipantId, Ssrc, TopologyPolicy, TrackKind};
use segue_session::carrier::{CarrierError, ServerCarrier};
use segue_session::room::{ForwardCommand, JoinRequest, RoomAuthority, RoomConfig, RoomOutput};
use segue_wire::proto::{self, ClientFrame, ErrorCode, LeaveReason, client_frame, server_frame};

use super::leg::{H264, H264_RTX, OPUS, Session};
use super::node::{read_sdp, sdp};
use crate::rng::Rng;

/// A connection's number in the world: never used again.
pub type ConnId = u64;

/// A connection on which nothing came for so long is closed (the server pings every 10 s).
const SILENCE: Duration = Duration::from_secs(30);

/// No consent for so long ends what is sent to a transport (RFC 7675 section 5.1).
const CONSENT: Duration = Duration::from_secs(30);

/// What the relay wants the world to do.
#[derive(Debug)]
pub enum Effect {
    Frame {
        conn: ConnId,
        frame: proto::ServerFrame,
    },
    /// After what was sent on it.
    Close {
        conn: ConnId,
    },
    Rtp {
        session: Session,
        to: ParticipantId,
        packet: RtpPacket,
        transmit: Transmit,
    },
    Rtcp {
        session: Session,
        to: ParticipantId,
        bytes: Bytes,
    },
    Opened {
        session: Session,
    },
    Closed {
        session: Session,
    },
    /// Both descriptions of a transport are set.
    Negotiated {
        session: Session,
    },
}

/// A decision of the room, for the oracles.
#[derive(Clone, Debug)]
pub enum Word {
    Prepare { epoch: proto::Epoch, target: i32, reason: String, live: bool },
    Commit { epoch: proto::Epoch, topology: i32, reason: String },
    Abort { reason: String },
}

struct Seat {
    carrier: ServerCarrier,
    conn: Option<ConnId>,
    token: String,
    heard_at: Instant,
}

struct Transport {
    session: Session,
    remote: Option<Session>,
    restarts: u32,
    remote_restarts: u32,
    up: bool,
    heard_at: Instant,
    heartbeats: Option<Heartbeats>,
}

struct Member {
    publisher: Option<Transport>,
    subscriber: Option<Transport>,
    generation: u32,
    outstanding: bool,
}

/// The relay process, or what is left of it.
pub struct Relay {
    pub alive: bool,
    n_loudest: usize,
    pub incarnation: u64,
    pub config: RoomConfig,
    pub room: RoomAuthority,
    pub forwarder: RoomForwarder,
    seats: BTreeMap<ParticipantId, Seat>,
    /// Connections on which nobody joined yet, or of participants.
    connections: BTreeMap<ConnId, Option<ParticipantId>>,
    members: BTreeMap<ParticipantId, Member>,
    sessions: BTreeMap<Session, (ParticipantId, Direction)>,
    next_session: u64,
    rng: Rng,
    scratch: Vec<u8>,
    pub effects: Vec<Effect>,
    pub words: Vec<(Instant, Word)>,
    pub failures: Vec<String>,
    next_check: Instant,
}

fn parameters() -> LegParameters {
    LegParameters {
        extensions: ExtensionMap::ours(),
        payload_types: PayloadTypes { audio: Some(OPUS), video: Some(H264), video_rtx: Some(H264_RTX) },
    }
}

impl Relay {
    pub fn new(now: Instant, config: RoomConfig, n_loudest: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let forwarder = RoomForwarder::new(ForwarderConfig { seed: rng.next(), n_loudest });
        Self {
            alive: true,
            n_loudest,
            incarnation: config.incarnation,
            room: RoomAuthority::new(config.clone()),
            config,
            forwarder,
            seats: BTreeMap::new(),
            connections: BTreeMap::new(),
            members: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_session: 0,
            rng,
            scratch: vec![0; MAX_PACKET],
            effects: Vec::new(),
            words: Vec::new(),
            failures: Vec::new(),
            next_check: now + Duration::from_secs(1),
        }
    }

    /// The process dies: nothing of it is left but the words it has spoken.
    pub fn kill(&mut self) {
        self.alive = false;
        self.effects.clear();
        self.seats.clear();
        self.connections.clear();
        self.members.clear();
        self.sessions.clear();
    }

    /// Another process takes its place.
    pub fn restart(&mut self, now: Instant) {
        let mut config = self.config.clone();
        self.incarnation += 1;
        config.incarnation = self.incarnation;
        let seed = self.rng.next();
        let words = std::mem::take(&mut self.words);
        let next_session = self.next_session;
        *self = Self { words, next_session, incarnation: self.incarnation, ..Self::new(now, config, self.n_loudest, seed) };
    }

    pub fn participants(&self) -> usize {
        self.members.len()
    }

    /// Messages and their bytes that are held for each participant until it acknowledges them.
    pub fn unacknowledged(&self) -> impl Iterator<Item = (ParticipantId, (usize, usize))> {
        self.seats.iter().map(|(id, seat)| (*id, seat.carrier.unacknowledged()))
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let seats = self.seats.values().filter_map(|seat| seat.carrier.poll_timeout()).min();
        let transports = self.members.values().flat_map(|member| [&member.publisher, &member.subscriber]).flatten();
        let beats = transports.filter_map(|transport| transport.heartbeats.as_ref().map(Heartbeats::poll_timeout)).min();
        [self.room.poll_timeout(), self.forwarder.poll_timeout(), seats, beats, Some(self.next_check)]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn handle_timeouts(&mut self, now: Instant) {
        if self.room.poll_timeout().is_some_and(|at| at <= now) {
            self.room.handle_timeout(now);
            if self.room.poll_timeout().is_some_and(|at| at <= now) {
                self.failures.push("a timeout of the room is in the past after handle_timeout".into());
            }
        }
        if self.forwarder.poll_timeout().is_some_and(|at| at <= now) {
            self.forwarder.handle_timeout(now);
            if self.forwarder.poll_timeout().is_some_and(|at| at <= now) {
                self.failures.push("a timeout of the forwarder is in the past after handle_timeout".into());
            }
        }
        self.beat(now);
        if self.next_check <= now {
            self.next_check = now + Duration::from_secs(1);
            self.check_silence(now);
        }
    }

    fn beat(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (id, member) in &mut self.members {
            for transport in [&mut member.publisher, &mut member.subscriber].into_iter().flatten() {
                let Some(heartbeats) = &mut transport.heartbeats else { continue };
                if heartbeats.poll_timeout() > now {
                    continue;
                }
                heartbeats.handle_timeout(now);
                while heartbeats.poll_event().is_some() {}
                if let Some(heartbeat) = heartbeats.poll_heartbeat(now).filter(|_| transport.up) {
                    due.push((transport.session, *id, heartbeat));
                }
            }
        }
        for (session, to, heartbeat) in due {
            self.send_compound(session, to, &[RtcpPacket::Heartbeat(heartbeat)]);
        }
    }

    fn check_silence(&mut self, now: Instant) {
        let silent = self.seats.iter().filter(|(_, seat)| seat.conn.is_some() && now > seat.heard_at + SILENCE);
        for conn in silent.filter_map(|(_, seat)| seat.conn).collect::<Vec<_>>() {
            self.handle_closed(now, conn);
            self.effects.push(Effect::Close { conn });
        }
        let mut ended = Vec::new();
        for (id, member) in &mut self.members {
            for (direction, transport) in
                [(Direction::Publish, &mut member.publisher), (Direction::Subscribe, &mut member.subscriber)]
            {
                let Some(transport) = transport.as_mut().filter(|transport| transport.up) else { continue };
                if now > transport.heard_at + CONSENT {
                    transport.up = false;
                    ended.push((*id, direction));
                }
            }
        }
        for (id, direction) in ended {
            if direction == Direction::Subscribe {
                self.forwarder.set_subscriber_leg(id, None);
            }
        }
    }

    // ------------------------------------------------------------------------------------------------------------- signalling

    pub fn handle_open(&mut self, conn: ConnId) {
        self.connections.insert(conn, None);
    }

    pub fn handle_closed(&mut self, now: Instant, conn: ConnId) {
        let Some(Some(id)) = self.connections.remove(&conn) else { return };
        if let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.conn == Some(conn)) {
            seat.conn = None;
            seat.carrier.close();
            self.room.handle_disconnected(now, id);
        }
    }

    pub fn handle_frame(&mut self, now: Instant, conn: ConnId, frame: ClientFrame) {
        match (self.connections.get(&conn), &frame.message) {
            (Some(None), Some(client_frame::Message::Join(join))) => {
                let join = join.clone();
                self.join(now, conn, &join, frame);
            }
            (Some(None), Some(client_frame::Message::Resume(resume))) => {
                let token = resume.resume_token.clone();
                self.resume(now, conn, &token, frame.ack);
            }
            (Some(Some(id)), _) => {
                let id = *id;
                self.take(now, id, conn, frame);
            }
            _ => {}
        }
    }

    fn join(&mut self, now: Instant, conn: ConnId, join: &proto::Join, frame: ClientFrame) {
        let token = format!("{:016x}", self.rng.next());
        let request = JoinRequest {
            identity: join.token.clone(),
            name: join.name.clone(),
            grants: proto::Grants { publish: true, subscribe: true, admin: false },
            capabilities: join.capabilities.unwrap_or_default(),
            policy: join.policy(),
            rejoin: join.rejoin.clone(),
            resume_token: token.clone(),
            ..JoinRequest::default()
        };
        match self.room.join(now, request) {
            Ok(id) => {
                let mut carrier = ServerCarrier::new();
                carrier.open();
                if carrier.handle_frame(now, ClientFrame { message: None, ..frame }).is_err() {
                    self.failures.push("a join was not the first frame".into());
                }
                self.seats.insert(id, Seat { carrier, conn: Some(conn), token, heard_at: now });
                self.connections.insert(conn, Some(id));
            }
            Err(error) => {
                let error =
                    proto::Error { code: ErrorCode::RoomFull.into(), message: error.to_string(), request: 0, seq: frame.seq };
                self.refuse(conn, error);
            }
        }
    }

    fn refuse(&mut self, conn: ConnId, error: proto::Error) {
        let frame = proto::ServerFrame { seq: 0, ack: 0, message: Some(server_frame::Message::Error(error)) };
        self.effects.push(Effect::Frame { conn, frame });
    }

    fn resume(&mut self, now: Instant, conn: ConnId, token: &str, ack: u64) {
        let Some((&id, seat)) = self.seats.iter_mut().find(|(_, seat)| seat.token == token) else {
            let error = proto::Error { code: ErrorCode::SessionUnknown.into(), ..proto::Error::default() };
            return self.refuse(conn, error);
        };
        if let Some(old) = seat.conn.replace(conn) {
            self.connections.remove(&old);
            self.effects.push(Effect::Close { conn: old });
        }
        seat.heard_at = now;
        seat.carrier.reopen();
        seat.carrier.send_unnumbered(server_frame::Message::Resumed(proto::Resumed {}));
        let resumed = seat.carrier.resume(ack);
        self.connections.insert(conn, Some(id));
        self.room.handle_resumed(id);
        if let Err(error) = resumed {
            self.misbehaved(now, id, error);
        }
    }

    fn take(&mut self, now: Instant, id: ParticipantId, conn: ConnId, frame: ClientFrame) {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.conn == Some(conn)) else { return };
        seat.heard_at = now;
        let seq = frame.seq;
        match seat.carrier.handle_frame(now, frame) {
            Ok(Some(client_frame::Message::Ping(ping))) => {
                seat.carrier.send_unnumbered(server_frame::Message::Pong(proto::Pong { time_us: ping.time_us }));
            }
            Ok(Some(message)) => self.room.handle_message(now, id, seq, Some(message)),
            Ok(None) => {}
            Err(error) => self.misbehaved(now, id, error),
        }
    }

    fn misbehaved(&mut self, now: Instant, id: ParticipantId, error: CarrierError) {
        self.failures.push(format!("the carrier of {id} gave up: {error}"));
        let reason = LeaveReason::Refused.into();
        let goodbye = proto::Goodbye { reason, message: error.to_string(), ..proto::Goodbye::default() };
        self.room.remove(now, id, goodbye);
    }

    // ------------------------------------------------------------------------------------------------------------------ media

    pub fn session_owner(&self, session: Session) -> Option<(ParticipantId, Direction)> {
        self.sessions.get(&session).copied()
    }

    fn transport(&mut self, session: Session) -> Option<(&mut Transport, ParticipantId, Direction)> {
        let (id, direction) = *self.sessions.get(&session)?;
        let member = self.members.get_mut(&id)?;
        let transport = match direction {
            Direction::Publish => member.publisher.as_mut(),
            Direction::Subscribe => member.subscriber.as_mut(),
        };
        transport.filter(|transport| transport.session == session).map(|transport| (transport, id, direction))
    }

    pub fn remote_of(&mut self, session: Session) -> Option<(Session, u32, u32)> {
        let (transport, ..) = self.transport(session)?;
        Some((transport.remote?, transport.restarts, transport.remote_restarts))
    }

    pub fn handle_rtp(&mut self, now: Instant, session: Session, packet: &RtpPacket) {
        let Some((transport, id, Direction::Publish)) = self.transport(session) else { return };
        transport.heard_at = now;
        let mut bytes = Vec::new();
        packet.write(&ExtensionMap::ours(), &mut bytes);
        // Why a packet was refused is counted by the forwarder.
        let _ = self.forwarder.handle_rtp(now, id, &bytes);
    }

    pub fn handle_rtcp(&mut self, now: Instant, session: Session, bytes: &[u8]) {
        let Some((transport, id, direction)) = self.transport(session) else { return };
        transport.heard_at = now;
        let packets = parse_compound(bytes).expect("our own compounds are well formed");
        let mut round_trip = None;
        for packet in &packets {
            if let (RtcpPacket::Heartbeat(heartbeat), Some(heartbeats)) = (packet, &mut transport.heartbeats) {
                heartbeats.handle_heartbeat(now, heartbeat);
                if let Some(HeartbeatEvent::Heard { rtt }) = heartbeats.poll_event() {
                    round_trip = rtt;
                }
            }
        }
        if let Some(rtt) = round_trip.filter(|_| direction == Direction::Publish) {
            self.forwarder.set_round_trip(id, rtt);
        }
        self.forwarder.handle_rtcp(now, id, direction, &packets);
    }

    /// A transport came up, or was lost.
    pub fn handle_link(&mut self, now: Instant, session: Session, up: bool) {
        let ssrc = Ssrc(self.rng.next() as u32);
        let Some((transport, id, direction)) = self.transport(session) else { return };
        transport.up = up;
        transport.heard_at = now;
        if up && transport.heartbeats.is_none() {
            transport.heartbeats = Some(Heartbeats::new(now, ssrc));
        }
        if direction == Direction::Subscribe {
            self.forwarder.set_subscriber_leg(id, up.then(parameters));
        }
    }

    // --------------------------------------------------------------------------------------------------------------- draining

    pub fn drain(&mut self, now: Instant) {
        while let Some(output) = self.room.poll_output() {
            self.carry_out(now, output);
        }
        while let Some(event) = self.forwarder.poll_event() {
            if let ForwardEvent::Speakers(speakers) = event {
                self.room.handle_speakers(&speakers);
            }
        }
        while let Some(output) = self.room.poll_output() {
            self.carry_out(now, output);
        }
        for seat in self.seats.values_mut() {
            let Some(conn) = seat.conn else { continue };
            while let Some(frame) = seat.carrier.poll_transmit(now) {
                self.effects.push(Effect::Frame { conn, frame });
            }
        }
        for kind in [TrackKind::Audio, TrackKind::Video] {
            while let Some(leg) = self.forwarder.poll_leg(kind) {
                self.send_media(now, leg, kind);
            }
        }
        while let Some(RtcpOut { to, direction, packets }) = self.forwarder.poll_rtcp() {
            let Some(member) = self.members.get(&to) else { continue };
            let transport = match direction {
                Direction::Publish => &member.publisher,
                Direction::Subscribe => &member.subscriber,
            };
            if let Some(session) = transport.as_ref().filter(|transport| transport.up).map(|transport| transport.session) {
                self.send_compound(session, to, &packets);
            }
        }
    }

    fn send_media(&mut self, now: Instant, leg: LegIndex, kind: TrackKind) {
        while let Some(transmit) = self.forwarder.poll_transmit(now, leg, kind, &mut self.scratch) {
            let transport = self.members.get(&transmit.to).and_then(|member| member.subscriber.as_ref());
            let Some(session) = transport.filter(|transport| transport.up).map(|transport| transport.session) else { continue };
            let bytes = Bytes::copy_from_slice(self.scratch.get(..transmit.len).unwrap_or_default());
            match RtpPacket::parse(bytes, &ExtensionMap::ours()) {
                Ok(packet) => self.effects.push(Effect::Rtp { session, to: transmit.to, packet, transmit }),
                Err(error) => self.failures.push(format!("the forwarder wrote a packet that cannot be read: {error}")),
            }
        }
    }

    fn send_compound(&mut self, session: Session, to: ParticipantId, packets: &[RtcpPacket]) {
        let mut bytes = Vec::new();
        write_compound(packets, &mut bytes);
        self.effects.push(Effect::Rtcp { session, to, bytes: Bytes::from(bytes) });
    }

    fn carry_out(&mut self, now: Instant, output: RoomOutput) {
        match output {
            RoomOutput::Send { to, message } => {
                self.note(now, &message);
                self.send(now, to, message);
            }
            RoomOutput::Forward(command) => self.forward(now, command),
            RoomOutput::PublisherOffer { participant, generation, sdp, .. } => {
                self.answer_publisher(now, participant, generation, &sdp);
            }
            RoomOutput::SubscriberAnswer { participant, generation, sdp } => {
                self.take_answer(participant, generation, &sdp);
            }
            RoomOutput::Candidate { .. } => {}
            RoomOutput::Ended { participant, goodbye } => self.end(now, participant, goodbye),
        }
    }

    /// What is said to everybody is noted once.
    fn note(&mut self, now: Instant, message: &server_frame::Message) {
        let word = match message {
            server_frame::Message::TopologyPrepare(prepare) => Word::Prepare {
                epoch: prepare.epoch.unwrap_or_default(),
                target: prepare.target,
                reason: prepare.reason.clone(),
                live: self.room.track_count() > 0 && self.room.len() > 1,
            },
            server_frame::Message::TopologyCommit(commit) => Word::Commit {
                epoch: commit.epoch.unwrap_or_default(),
                topology: commit.topology,
                reason: commit.reason.clone(),
            },
            server_frame::Message::TopologyAbort(abort) => Word::Abort { reason: abort.reason.clone() },
            _ => return,
        };
        let same = |(_, last): &(Instant, Word)| format!("{last:?}") == format!("{word:?}");
        if !self.words.iter().rev().take(2).any(same) {
            self.words.push((now, word));
        }
    }

    fn send(&mut self, now: Instant, to: ParticipantId, message: server_frame::Message) {
        let Some(seat) = self.seats.get_mut(&to) else { return };
        let sent = match message {
            server_frame::Message::Pong(_) | server_frame::Message::Speakers(_) => {
                seat.carrier.send_unnumbered(message);
                Ok(())
            }
            message => seat.carrier.send(message),
        };
        if let Err(error) = sent {
            self.misbehaved(now, to, error);
        }
    }

    fn end(&mut self, now: Instant, participant: ParticipantId, goodbye: proto::Goodbye) {
        let Some(mut seat) = self.seats.remove(&participant) else { return };
        let Some(conn) = seat.conn else { return };
        seat.carrier.send_unnumbered(server_frame::Message::Goodbye(goodbye));
        while let Some(frame) = seat.carrier.poll_transmit(now) {
            self.effects.push(Effect::Frame { conn, frame });
        }
        self.connections.remove(&conn);
        self.effects.push(Effect::Close { conn });
    }

    fn forward(&mut self, now: Instant, command: ForwardCommand) {
        match command {
            ForwardCommand::ParticipantAdded { participant, origin, .. } => {
                self.forwarder.add_participant(participant, origin).expect("rooms here are small");
                let member = Member { publisher: None, subscriber: None, generation: 0, outstanding: false };
                self.members.insert(participant, member);
                self.offer_subscriber(now, participant, false);
            }
            ForwardCommand::ParticipantRemoved { participant } => {
                self.forwarder.remove_participant(participant);
                if let Some(member) = self.members.remove(&participant) {
                    for transport in [member.publisher, member.subscriber].into_iter().flatten() {
                        self.close_session(transport.session);
                    }
                }
            }
            ForwardCommand::TrackAdded { track, owner, kind, encodings, muted, .. } => {
                if let Err(error) = self.forwarder.add_track(track, owner, kind, encodings.len(), muted) {
                    self.failures.push(format!("{track} cannot be forwarded: {error}"));
                }
            }
            ForwardCommand::TrackMuted { track, muted } => self.forwarder.set_muted(track, muted),
            ForwardCommand::TrackRemoved { track } => self.forwarder.remove_track(track),
            ForwardCommand::Edge { publisher, subscriber, voice_only: true, .. } => {
                self.forwarder.set_edge_voice(publisher, subscriber);
            }
            ForwardCommand::Edge { publisher, subscriber, on, overlap, .. } => {
                self.forwarder.set_edge(publisher, subscriber, on, overlap);
            }
            ForwardCommand::DirectEncoding { track, subscriber, encoding } => {
                self.forwarder.set_direct_encoding(track, subscriber, encoding);
            }
            ForwardCommand::Subscription { track, subscriber, quality } => {
                self.forwarder.set_subscription(track, subscriber, quality);
            }
        }
    }

    // ------------------------------------------------------------------------------------------------------------ negotiation

    fn open_session(&mut self, now: Instant, participant: ParticipantId, direction: Direction) -> Transport {
        self.next_session += 1;
        let session = self.next_session;
        self.sessions.insert(session, (participant, direction));
        self.effects.push(Effect::Opened { session });
        Transport { session, remote: None, restarts: 0, remote_restarts: 0, up: false, heard_at: now, heartbeats: None }
    }

    fn close_session(&mut self, session: Session) {
        self.sessions.remove(&session);
        self.effects.push(Effect::Closed { session });
    }

    fn describe(
        &mut self,
        now: Instant,
        to: ParticipantId,
        transport: proto::RelayTransport,
        kind: proto::SdpKind,
        sdp: String,
        generation: u32,
    ) {
        let (transport, kind, tracks) = (transport.into(), kind.into(), Vec::new());
        let description = proto::RelayDescription { transport, kind, sdp, tracks, generation };
        self.send(now, to, server_frame::Message::Description(description));
    }

    fn answer_publisher(&mut self, now: Instant, id: ParticipantId, generation: u32, offer: &str) {
        let (remote, restarts) = read_sdp(offer);
        let Some(member) = self.members.get_mut(&id) else { return };
        let old = member.publisher.take();
        let (transport, restarted) = match old {
            // The same certificate: the transport goes on, perhaps on new addresses.
            Some(mut kept) if kept.remote == Some(remote) => {
                let restarted = kept.remote_restarts != restarts;
                kept.restarts += u32::from(restarted);
                kept.remote_restarts = restarts;
                (kept, restarted)
            }
            old => {
                if let Some(old) = old {
                    self.close_session(old.session);
                }
                let mut new = self.open_session(now, id, Direction::Publish);
                (new.remote, new.remote_restarts) = (Some(remote), restarts);
                (new, false)
            }
        };
        let (session, own) = (transport.session, transport.restarts);
        if let Some(member) = self.members.get_mut(&id) {
            member.publisher = Some(transport);
        }
        self.forwarder.set_publisher_leg(id, parameters(), Vec::new());
        if restarted {
            self.offer_subscriber(now, id, true);
        }
        self.describe(now, id, proto::RelayTransport::Publisher, proto::SdpKind::Answer, sdp(session, own), generation);
        self.effects.push(Effect::Negotiated { session });
    }

    fn offer_subscriber(&mut self, now: Instant, id: ParticipantId, restart: bool) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.generation += 1;
        member.outstanding = true;
        let generation = member.generation;
        let mut transport = match member.subscriber.take() {
            Some(transport) => transport,
            None => self.open_session(now, id, Direction::Subscribe),
        };
        transport.restarts += u32::from(restart);
        let (session, restarts) = (transport.session, transport.restarts);
        if let Some(member) = self.members.get_mut(&id) {
            member.subscriber = Some(transport);
        }
        self.describe(now, id, proto::RelayTransport::Subscriber, proto::SdpKind::Offer, sdp(session, restarts), generation);
    }

    fn take_answer(&mut self, id: ParticipantId, generation: u32, answer: &str) {
        let (remote, restarts) = read_sdp(answer);
        let Some(member) = self.members.get_mut(&id).filter(|member| member.outstanding && member.generation == generation)
        else {
            return;
        };
        member.outstanding = false;
        let Some(transport) = &mut member.subscriber else { return };
        (transport.remote, transport.remote_restarts) = (Some(remote), restarts);
        let session = transport.session;
        self.effects.push(Effect::Negotiated { session });
    }
}

/// The policy of a participant, by its name in a scenario.
pub fn policy(name: &str) -> Option<TopologyPolicy> {
    match name {
        "auto" => Some(TopologyPolicy::Auto),
        "mesh_only" => Some(TopologyPolicy::MeshOnly),
        "relay_only" => Some(TopologyPolicy::RelayOnly),
        "hide_address" => Some(TopologyPolicy::HideAddress),
        _ => None,
    }
}
