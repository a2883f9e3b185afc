//! Participants and a relay in virtual time, over links that can be cut.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use segue_media::packet::{Origin, OriginFlags};
use segue_model::{LayerId, ParticipantId, TopologyPolicy, TrackId, TrackKind, TrackSource};
use segue_wire::proto::{self, client_frame, server_frame};

use super::super::*;
use crate::carrier::ServerCarrier;
use crate::room::{ForwardCommand, JoinRequest, RoomAuthority, RoomConfig, RoomOutput};

const LATENCY: Duration = Duration::from_millis(10);
const MEDIA_STEP: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
enum Happening {
    Carrier(usize, u64, CarrierState),
    ToServer(usize, u64, proto::ClientFrame),
    ToClient(usize, u64, proto::ServerFrame),
    Leg(usize, LegKey, u64, LegEvent),
    Signal(usize, ParticipantId, proto::Signal),
    Hangup(usize, u64),
    AtRelay(usize, Origin),
    Media(usize, LegKey, Origin),
    MediaTick,
}

struct Due {
    at: Instant,
    order: u64,
    what: Happening,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// A transport as a shell would have it.
#[derive(Default)]
struct FakeLeg {
    session: u64,
    remote_session: Option<u64>,
    signalling: i32,
    restarts: u32,
    up: bool,
}

pub struct Node {
    pub machine: PeerMachine,
    legs: BTreeMap<LegKey, FakeLeg>,
    routes: BTreeMap<TrackId, Vec<RouteLeg>>,
    packets: BTreeMap<TrackId, u32>,
    connection: u64,
    connected: bool,
    pub events: Vec<PeerEvent>,
    /// Packet numbers heard of each track, and when the last came.
    pub heard: BTreeMap<TrackId, BTreeSet<u32>>,
    pub last_heard: BTreeMap<TrackId, Instant>,
    /// Longest silence of each track.
    pub silence: BTreeMap<TrackId, Duration>,
    pub commands: u64,
}

struct Seat {
    carrier: ServerCarrier,
    id: Option<ParticipantId>,
    token: String,
}

pub struct Relay {
    room: RoomAuthority,
    seats: BTreeMap<usize, Seat>,
    forwards: BTreeSet<(ParticipantId, ParticipantId)>,
    alive: bool,
    incarnation: u64,
}

pub struct World {
    pub now: Instant,
    order: u64,
    queue: BinaryHeap<Due>,
    pub nodes: Vec<Node>,
    relay: Relay,
    sessions: u64,
    seed: u64,
    /// Pairs of nodes without a direct link.
    pub cut: BTreeSet<(usize, usize)>,
    /// Nodes whose media cannot reach the relay, nor hear it.
    pub cut_from_relay: BTreeSet<usize>,
    /// Nodes whose WebSocket cannot be opened.
    pub cut_signalling: BTreeSet<usize>,
    /// Signals over data channels are doubled.
    pub double_signals: bool,
    /// Of a thousand media packets and heartbeats on each hop, so many are lost.
    pub loss_permille: u64,
    heartbeats: u32,
}

fn sdp(session: u64, restarts: u32) -> String {
    format!(
        "v=0\r\no=- {session} 1 IN IP4 0.0.0.0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:u{session}r{restarts}\r\na=ice-pwd:x\r\n"
    )
}

fn session_of(sdp: &str) -> u64 {
    crate::sdp::Description::parse(sdp).unwrap().session_id.parse().unwrap()
}

fn relay_room(incarnation: u64) -> RoomAuthority {
    RoomAuthority::new(RoomConfig { name: "lobby".into(), incarnation, ..RoomConfig::default() })
}

impl World {
    pub fn new(seed: u64) -> Self {
        let relay =
            Relay { room: relay_room(1), seats: BTreeMap::new(), forwards: BTreeSet::new(), alive: true, incarnation: 1 };
        let mut world = Self {
            now: Instant::now(),
            order: 0,
            queue: BinaryHeap::new(),
            nodes: Vec::new(),
            relay,
            sessions: 0,
            seed,
            cut: BTreeSet::new(),
            cut_from_relay: BTreeSet::new(),
            cut_signalling: BTreeSet::new(),
            double_signals: false,
            loss_permille: 0,
            heartbeats: 0,
        };
        world.push(MEDIA_STEP, Happening::MediaTick);
        world
    }

    /// A little different each time, the same for the same seed.
    fn jitter(&mut self) -> Duration {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((self.seed >> 33) % 4_000)
    }

    fn is_lost(&mut self) -> bool {
        self.jitter();
        (self.seed >> 33) % 1000 < self.loss_permille
    }

    fn push(&mut self, after: Duration, what: Happening) {
        self.order += 1;
        self.queue.push(Due { at: self.now + after, order: self.order, what });
    }

    pub fn join(&mut self, name: &str) -> usize {
        self.join_with(name, TopologyPolicy::Auto)
    }

    /// Joins with a microphone and a camera.
    pub fn join_with(&mut self, name: &str, policy: TopologyPolicy) -> usize {
        let config = PeerConfig {
            seed: self.seed,
            token: name.to_owned(),
            name: name.to_owned(),
            metadata: String::new(),
            client: "test".into(),
            device_key: Vec::new(),
            policy,
            origin: true,
            direct: true,
        };
        let mut machine = PeerMachine::new(config);
        machine.connect(self.now);
        let track = |kind, source, encodings: &[&str]| PublishRequest {
            kind,
            source,
            name: String::new(),
            muted: false,
            encodings: encodings
                .iter()
                .map(|rid| EncodingInfo { rid: (*rid).into(), width: 640, height: 360, max_kbps: 800 })
                .collect(),
        };
        machine.publish(self.now, track(TrackKind::Audio, TrackSource::Microphone, &[]));
        machine.publish(self.now, track(TrackKind::Video, TrackSource::Camera, &["f", "h"]));
        self.nodes.push(Node {
            machine,
            legs: BTreeMap::new(),
            routes: BTreeMap::new(),
            packets: BTreeMap::new(),
            connection: 0,
            connected: false,
            events: Vec::new(),
            heard: BTreeMap::new(),
            last_heard: BTreeMap::new(),
            silence: BTreeMap::new(),
            commands: 0,
        });
        let at = self.nodes.len() - 1;
        self.drain(at);
        at
    }

    pub fn id(&self, node: usize) -> ParticipantId {
        self.nodes[node].machine.local().unwrap()
    }

    fn node_of(&self, id: ParticipantId) -> Option<usize> {
        self.nodes.iter().position(|node| node.machine.local() == Some(id))
    }

    fn blocked(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// With the machine of a node, then does what it asks for.
    pub fn with<T>(&mut self, node: usize, f: impl FnOnce(&mut PeerMachine, Instant) -> T) -> T {
        let result = f(&mut self.nodes[node].machine, self.now);
        self.drain(node);
        result
    }

    pub fn direct_legs(&self, node: usize) -> usize {
        self.nodes[node].legs.keys().filter(|key| matches!(key, LegKey::Peer(_))).count()
    }

    pub fn kill_relay(&mut self) {
        self.relay.alive = false;
        self.relay.seats.clear();
        self.relay.forwards.clear();
        for node in 0..self.nodes.len() {
            self.drop_socket(node);
        }
    }

    pub fn restart_relay(&mut self) {
        self.relay.alive = true;
        self.relay.incarnation += 1;
        self.relay.room = relay_room(self.relay.incarnation);
    }

    pub fn drop_socket(&mut self, node: usize) {
        if std::mem::take(&mut self.nodes[node].connected) {
            let connection = self.nodes[node].connection;
            self.push(Duration::ZERO, Happening::Carrier(node, connection, CarrierState::Closed));
            if let Some(seat) = self.relay.seats.get_mut(&node) {
                seat.carrier.close();
                if let Some(id) = seat.id {
                    self.relay.room.handle_disconnected(self.now, id);
                }
            }
        }
    }

    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let queued = self.queue.peek().map(|due| due.at);
            let machines = self.nodes.iter().filter_map(|node| node.machine.poll_timeout()).min();
            let relay = self.relay.room.poll_timeout().filter(|_| self.relay.alive);
            let seats = self.relay.seats.values().filter_map(|seat| seat.carrier.poll_timeout()).min();
            let Some(next) = [queued, machines, relay, seats].into_iter().flatten().min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            self.handle_due();
        }
        self.now = until;
    }

    fn handle_due(&mut self) {
        let now = self.now;
        for node in 0..self.nodes.len() {
            if self.nodes[node].machine.poll_timeout().is_some_and(|at| at <= now) {
                self.nodes[node].machine.handle_timeout(now);
                let left = self.nodes[node].machine.poll_timeout();
                assert!(left.is_none_or(|at| at > now), "a timeout is never in the past after handle_timeout");
                self.drain(node);
            }
        }
        if self.relay.alive && self.relay.room.poll_timeout().is_some_and(|at| at <= now) {
            self.relay.room.handle_timeout(now);
        }
        self.drain_relay();
        while self.queue.peek().is_some_and(|due| due.at <= now) {
            let due = self.queue.pop().unwrap();
            self.handle(due.what);
        }
    }

    fn handle(&mut self, what: Happening) {
        let now = self.now;
        match what {
            Happening::Carrier(node, connection, state) => {
                if self.nodes[node].connection == connection {
                    self.nodes[node].connected = state == CarrierState::Open;
                    self.nodes[node].machine.handle_carrier(now, state);
                    self.drain(node);
                }
            }
            Happening::Hangup(node, connection) => {
                if self.nodes[node].connection == connection {
                    self.drop_socket(node);
                }
            }
            Happening::ToServer(node, connection, frame) => {
                if self.nodes[node].connected && self.nodes[node].connection == connection {
                    self.handle_at_relay(node, frame);
                }
            }
            Happening::ToClient(node, connection, frame) => {
                if self.nodes[node].connected && self.nodes[node].connection == connection {
                    self.nodes[node].machine.handle_server(now, frame);
                    self.drain(node);
                }
            }
            Happening::Leg(node, leg, session, event) => {
                let Some(known) = self.nodes[node].legs.get_mut(&leg).filter(|known| known.session == session) else { return };
                if let LegEvent::State(state) = &event {
                    known.up = *state == LinkState::Up;
                }
                self.nodes[node].machine.handle_leg(now, leg, event);
                self.drain(node);
            }
            Happening::Signal(node, from, signal) => {
                self.nodes[node].machine.handle_peer_signal(now, from, signal);
                self.drain(node);
            }
            Happening::AtRelay(node, origin) => self.forward(node, origin),
            Happening::Media(node, leg, origin) => self.hear(node, leg, &origin),
            Happening::MediaTick => {
                self.send_media();
                self.push(MEDIA_STEP, Happening::MediaTick);
            }
        }
    }

    fn hear(&mut self, at: usize, leg: LegKey, origin: &Origin) {
        let now = self.now;
        if !self.nodes[at].legs.get(&leg).is_some_and(|leg| leg.up) {
            return;
        }
        let node = &mut self.nodes[at];
        assert!(node.machine.handle_media(now, leg, origin));
        if node.machine.publisher(origin.source).is_some() {
            node.heard.entry(origin.source).or_default().insert(origin.packet);
            if let Some(last) = node.last_heard.insert(origin.source, now) {
                let silence = node.silence.entry(origin.source).or_default();
                *silence = (*silence).max(now - last);
            }
        }
        self.drain(at);
    }

    /// Everybody sends one packet (a whole frame) of everything it publishes, where its routes say; heartbeats every tenth time.
    fn send_media(&mut self) {
        self.heartbeats += 1;
        for at in 0..self.nodes.len() {
            if self.heartbeats.is_multiple_of(10) {
                self.send_heartbeats(at);
            }
            let routes = self.nodes[at].routes.clone();
            for (track, legs) in routes {
                let packet = self.nodes[at].packets.entry(track).or_default();
                *packet += 1;
                let flags = OriginFlags { first: true, last: true, ..OriginFlags::default() };
                let layer = LayerId::new(0, 0);
                let origin = Origin { source: track, layer, flags, packet: *packet, frame: *packet, refers_back: 0 };
                for route in legs {
                    self.send_packet(at, route.leg, origin);
                }
            }
        }
    }

    fn send_heartbeats(&mut self, at: usize) {
        let Some(from) = self.nodes[at].machine.local() else { return };
        let legs: Vec<_> = self.nodes[at].legs.iter().filter(|(_, leg)| leg.up).map(|(key, leg)| (*key, leg.session)).collect();
        let heartbeat = || LegEvent::Heartbeat { rtt: Some(LATENCY * 2) };
        for (key, session) in legs {
            if self.is_lost() {
                continue;
            }
            match key {
                LegKey::Peer(to) => {
                    let Some(other) = self.node_of(to).filter(|other| !self.blocked(at, *other)) else { continue };
                    let Some(leg) = self.nodes[other].legs.get(&LegKey::Peer(from)) else { continue };
                    let session = leg.session;
                    self.push(LATENCY, Happening::Leg(other, LegKey::Peer(from), session, heartbeat()));
                }
                key if self.relay.alive && !self.cut_from_relay.contains(&at) => {
                    self.push(LATENCY * 2, Happening::Leg(at, key, session, heartbeat()));
                }
                _ => {}
            }
        }
    }

    fn send_packet(&mut self, at: usize, leg: LegKey, origin: Origin) {
        if !self.nodes[at].legs.get(&leg).is_some_and(|leg| leg.up) {
            return;
        }
        if self.is_lost() {
            return;
        }
        let after = LATENCY + self.jitter();
        match leg {
            LegKey::Peer(to) => {
                let from = self.id(at);
                if let Some(other) = self.node_of(to).filter(|other| !self.blocked(at, *other)) {
                    self.push(after, Happening::Media(other, LegKey::Peer(from), origin));
                }
            }
            _ if self.relay.alive && !self.cut_from_relay.contains(&at) => self.push(after, Happening::AtRelay(at, origin)),
            _ => {}
        }
    }

    fn forward(&mut self, from: usize, origin: Origin) {
        let Some(publisher) = self.nodes[from].machine.local().filter(|_| self.relay.alive) else { return };
        for at in 0..self.nodes.len() {
            let subscriber = self.nodes[at].machine.local();
            let on = subscriber.is_some_and(|subscriber| self.relay.forwards.contains(&(publisher, subscriber)));
            if on && !self.cut_from_relay.contains(&at) && !self.is_lost() {
                let after = LATENCY + self.jitter();
                self.push(after, Happening::Media(at, LegKey::RelaySubscriber, origin));
            }
        }
    }

    pub fn drain(&mut self, at: usize) {
        while let Some(command) = self.nodes[at].machine.poll_command() {
            self.nodes[at].commands += 1;
            self.execute(at, command);
        }
        while let Some(event) = self.nodes[at].machine.poll_event() {
            self.nodes[at].events.push(event);
        }
    }

    fn execute(&mut self, at: usize, command: Command) {
        let connection = self.nodes[at].connection;
        match command {
            Command::ConnectServer => {
                self.nodes[at].connection += 1;
                let open = self.relay.alive && !self.cut_signalling.contains(&at);
                let state = if open { CarrierState::Open } else { CarrierState::Closed };
                self.push(LATENCY * 2, Happening::Carrier(at, connection + 1, state));
            }
            Command::DisconnectServer => self.push(LATENCY * 2, Happening::Hangup(at, connection)),
            Command::SendServer(frame) => {
                self.push(LATENCY, Happening::ToServer(at, connection, frame));
            }
            Command::SendPeer { to, signal } => {
                let from = ParticipantId(signal.from);
                let Some(other) = self.node_of(to).filter(|other| !self.blocked(at, *other)) else { return };
                let after = LATENCY + self.jitter();
                if self.nodes[at].legs.get(&LegKey::Peer(to)).is_some_and(|leg| leg.up) {
                    self.push(after, Happening::Signal(other, from, signal.clone()));
                    if self.double_signals {
                        self.push(after * 3, Happening::Signal(other, from, signal));
                    }
                }
            }
            Command::OpenLeg { leg, .. } => {
                self.sessions += 1;
                let before = self.nodes[at].legs.insert(leg, FakeLeg { session: self.sessions, ..FakeLeg::default() });
                assert!(before.is_none(), "a leg is closed before it is opened again");
            }
            Command::CloseLeg { leg } => assert!(self.nodes[at].legs.remove(&leg).is_some()),
            Command::CreateOffer { leg, restart, generation } => self.describe(at, leg, SdpKind::Offer, restart, generation),
            Command::CreateAnswer { leg, generation } => self.describe(at, leg, SdpKind::Answer, false, generation),
            Command::SetRemote { leg, kind, sdp, .. } => {
                let known = self.nodes[at].legs.get_mut(&leg).unwrap();
                known.signalling += if kind == SdpKind::Offer { 2 } else { -1 };
                assert!([0, 2].contains(&known.signalling), "set in a wrong state");
                known.remote_session = Some(session_of(&sdp));
                self.connect_legs(at, leg);
            }
            Command::Rollback { leg } => {
                let known = self.nodes[at].legs.get_mut(&leg).unwrap();
                assert_eq!(known.signalling, 1);
                known.signalling = 0;
            }
            Command::Route { track, legs } => {
                self.nodes[at].routes.insert(track, legs);
            }
            Command::SendLossy { .. } | Command::AddCandidate { .. } | Command::SetSections { .. } => {}
            Command::RequestKeyframe { .. } | Command::RaisePlayout { .. } | Command::SetSlots(_) => {}
        }
    }

    fn describe(&mut self, at: usize, leg: LegKey, kind: SdpKind, restart: bool, generation: u32) {
        let known = self.nodes[at].legs.get_mut(&leg).unwrap();
        assert_eq!(known.signalling, if kind == SdpKind::Offer { 0 } else { 2 });
        known.signalling = i32::from(kind == SdpKind::Offer);
        known.restarts += u32::from(restart);
        let (session, sdp) = (known.session, sdp(known.session, known.restarts));
        let event = LegEvent::LocalDescription { kind, sdp, generation, tracks: Vec::new() };
        self.push(Duration::from_millis(1), Happening::Leg(at, leg, session, event));
        self.connect_legs(at, leg);
    }

    /// A direct leg is up once both ends hold each other's description; the relay's are once ours is answered.
    fn connect_legs(&mut self, at: usize, leg: LegKey) {
        let mine = &self.nodes[at].legs[&leg];
        let (session, remote, stable) = (mine.session, mine.remote_session, mine.signalling == 0);
        let up = LegEvent::State(LinkState::Up);
        match leg {
            LegKey::Peer(to) => {
                let Some(from) = self.nodes[at].machine.local() else { return };
                let Some(other) = self.node_of(to).filter(|other| !self.blocked(at, *other)) else { return };
                let Some(theirs) = self.nodes[other].legs.get(&LegKey::Peer(from)) else { return };
                let theirs_session = theirs.session;
                if theirs.remote_session == Some(session) && remote == Some(theirs_session) {
                    for (node, key, session) in [(at, leg, session), (other, LegKey::Peer(from), theirs_session)] {
                        self.push(LATENCY * 3, Happening::Leg(node, key, session, up.clone()));
                        self.push(LATENCY * 3, Happening::Leg(node, key, session, LegEvent::SignalChannelOpen));
                    }
                }
            }
            _ if stable && remote.is_some() && !self.cut_from_relay.contains(&at) => {
                self.push(LATENCY * 3, Happening::Leg(at, leg, session, up));
            }
            _ => {}
        }
    }

    // ------------------------------------------------------------------------------------------------------- the relay's shell

    fn handle_at_relay(&mut self, node: usize, frame: proto::ClientFrame) {
        let now = self.now;
        if !self.relay.alive {
            return;
        }
        match &frame.message {
            Some(client_frame::Message::Join(join)) => {
                let mut carrier = ServerCarrier::new();
                carrier.open();
                let token = format!("token {} {}", self.relay.incarnation, self.order);
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
                carrier.handle_frame(now, frame).unwrap();
                self.relay.seats.insert(node, Seat { carrier, id: None, token });
                let id = self.relay.room.join(now, request).unwrap();
                self.relay.seats.get_mut(&node).unwrap().id = Some(id);
                self.drain_relay();
                self.offer_subscriber(node);
            }
            Some(client_frame::Message::Resume(resume)) => {
                let known =
                    self.relay.seats.get_mut(&node).filter(|seat| seat.token == resume.resume_token && seat.id.is_some());
                if let Some(seat) = known {
                    seat.carrier.reopen();
                    seat.carrier.send_unnumbered(server_frame::Message::Resumed(proto::Resumed {}));
                    seat.carrier.resume(frame.ack).unwrap();
                    self.relay.room.handle_resumed(seat.id.unwrap());
                } else {
                    let error = proto::Error { code: proto::ErrorCode::SessionUnknown.into(), ..proto::Error::default() };
                    let mut carrier = ServerCarrier::new();
                    carrier.open();
                    carrier.send_unnumbered(server_frame::Message::Error(error));
                    self.relay.seats.insert(node, Seat { carrier, id: None, token: String::new() });
                }
            }
            _ => {
                let Some(seat) = self.relay.seats.get_mut(&node) else { return };
                let seq = frame.seq;
                let message = seat.carrier.handle_frame(now, frame).unwrap();
                match (message, seat.id) {
                    (Some(client_frame::Message::Ping(ping)), _) => {
                        let pong = proto::Pong { time_us: ping.time_us };
                        seat.carrier.send_unnumbered(server_frame::Message::Pong(pong));
                    }
                    (message @ Some(_), Some(id)) => self.relay.room.handle_message(now, id, seq, message),
                    _ => {}
                }
            }
        }
        self.drain_relay();
    }

    fn offer_subscriber(&mut self, node: usize) {
        self.sessions += 1;
        let description = proto::RelayDescription {
            transport: proto::RelayTransport::Subscriber.into(),
            kind: proto::SdpKind::Offer.into(),
            sdp: sdp(self.sessions, 0),
            tracks: Vec::new(),
            generation: 1,
        };
        self.tell(node, server_frame::Message::Description(description));
    }

    fn tell(&mut self, node: usize, message: server_frame::Message) {
        if let Some(seat) = self.relay.seats.get_mut(&node) {
            seat.carrier.send(message).unwrap();
        }
    }

    fn seat_of(&self, id: ParticipantId) -> Option<usize> {
        self.relay.seats.iter().find(|(_, seat)| seat.id == Some(id)).map(|(node, _)| *node)
    }

    fn drain_relay(&mut self) {
        while let Some(output) = self.relay.room.poll_output() {
            match output {
                RoomOutput::Send { to, message } => {
                    if let Some(node) = self.seat_of(to) {
                        self.tell(node, message);
                    }
                }
                RoomOutput::Forward(ForwardCommand::Edge { publisher, subscriber, on, .. }) => {
                    if on {
                        self.relay.forwards.insert((publisher, subscriber));
                    } else {
                        self.relay.forwards.remove(&(publisher, subscriber));
                    }
                }
                RoomOutput::PublisherOffer { participant, generation, .. } => {
                    self.sessions += 1;
                    let description = proto::RelayDescription {
                        transport: proto::RelayTransport::Publisher.into(),
                        kind: proto::SdpKind::Answer.into(),
                        sdp: sdp(self.sessions, 0),
                        tracks: Vec::new(),
                        generation,
                    };
                    if let Some(node) = self.seat_of(participant) {
                        self.tell(node, server_frame::Message::Description(description));
                    }
                }
                RoomOutput::Ended { participant, goodbye } => {
                    if let Some(node) = self.seat_of(participant) {
                        self.tell(node, server_frame::Message::Goodbye(goodbye));
                        self.transmit_relay();
                        self.relay.seats.remove(&node);
                    }
                }
                RoomOutput::Forward(_) | RoomOutput::SubscriberAnswer { .. } | RoomOutput::Candidate { .. } => {}
            }
        }
        self.transmit_relay();
    }

    fn transmit_relay(&mut self) {
        let now = self.now;
        let mut frames = Vec::new();
        for (node, seat) in &mut self.relay.seats {
            while let Some(frame) = seat.carrier.poll_transmit(now) {
                frames.push((*node, frame));
            }
        }
        for (node, frame) in frames {
            let connection = self.nodes[node].connection;
            self.push(LATENCY, Happening::ToClient(node, connection, frame));
        }
    }
}
