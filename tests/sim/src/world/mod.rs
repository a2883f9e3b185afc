//! Participants and a relay, and everything between them, in virtual time.
//!
//! What decides is what ships: [`segue_session::peer::PeerMachine`], the media machines and [`segue_session::room::RoomAuthority`] with
//! [`segue_forward::RoomForwarder`]. What is made up is the network ([`crate::net`]), ICE and DTLS (a transport is up after a stated number
//! of round trips over a path that lets packets through), and the codecs ([`source`]).

pub mod leg;
mod link;
pub mod node;
pub mod relay;
mod signalling;
pub mod source;
pub mod traffic;
mod uplink;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_media::packet::RtpPacket;
use segue_model::{ParticipantId, TopologyPolicy, TrackId};
use segue_session::peer::{CarrierState, LegEvent, LegKey, PeerConfig, PeerMachine};
use segue_session::room::RoomConfig;
use segue_wire::proto;

use crate::clock::LocalClock;
use crate::net::{End, Network, Parcel};
use crate::oracle::Oracle;
use crate::queue::Queue;
use crate::rng::hash;
use crate::trace::Trace;
use leg::Session;
use link::Links;
use node::{Effect, Node, NodeSetup, Note};
use relay::{ConnId, Relay};
use signalling::{Message, Pipe, PipeId};
use traffic::FrameKey;

/// Round trips from a candidate pair to media: one check answered (RFC 8445), one for the pair's nomination, three of DTLS 1.2 (RFC 6347), the first
/// of them for the cookie. `tests/e2e/tests/round_trips.rs` counts them on real sockets.
pub const TRANSPORT_ROUND_TRIPS: u32 = 5;

/// After that until a data channel opens: two of SCTP (RFC 4960 section 5.1); channels are negotiated beforehand.
pub const CHANNEL_ROUND_TRIPS: u32 = 2;

/// TCP, TLS 1.3 and the upgrade to a WebSocket.
pub const CONNECT_ROUND_TRIPS: u32 = 3;

/// Datagrams that wait for a process that does not read: what a socket's buffer holds of them.
const STALL_BUFFER: usize = 1_500;

/// Retransmitted packets whose attempts are counted; more than a comparison makes.
const MAX_ATTEMPTS: usize = 1 << 18;

/// What arrives within so much time is read at once, at its end: no shell reads its sockets more often than its timers tell the time.
const READ_NANOS: u128 = 1_000_000;

/// Everything that happens.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A datagram arrives at a transport.
    Rtp(Session, Box<RtpPacket>),
    Rtcp(Session, Bytes),
    /// A participant or the relay wanted to be woken.
    Wake(End),
    /// A leg's own event comes back.
    Leg(usize, Session, LegEvent),
    /// Something may be read from a pipe.
    Pipe(PipeId),
    /// A connection was tried, or ended.
    Connected(usize, ConnId),
    HungUp(ConnId, End),
    /// A transport tries to connect.
    Check(Session, Session, u32),
    ChannelOpen(Session, Session),
    /// A process goes on after a stall.
    Resume(End),
}

/// What a world begins with.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// Of everything random.
    pub seed: u64,
    /// The room, as the relay is configured.
    pub room: RoomConfig,
    /// Voices the relay forwards at once.
    pub n_loudest: usize,
    /// Keep everything that is played, not only the last of it.
    pub record: bool,
}

/// What a participant begins with.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    pub name: String,
    pub policy: TopologyPolicy,
    pub skew_ppm: i64,
}

/// Whether a process runs.
#[derive(Debug, Default)]
struct Process {
    dead: bool,
    stalled: bool,
    backlog: Vec<Happening>,
    wake: Option<Instant>,
}

/// The world.
pub struct World {
    pub now: Instant,
    pub base: Instant,
    pub config: WorldConfig,
    pub net: Network,
    pub nodes: Vec<Node>,
    pub relay: Relay,
    pub oracle: Oracle,
    pub trace: Trace,
    queue: Queue<Happening>,
    processes: BTreeMap<End, Process>,
    links: Links,
    pipes: BTreeMap<PipeId, Pipe>,
    connections: HashMap<ConnId, signalling::Connection>,
    /// The connection of each participant.
    current: BTreeMap<usize, ConnId>,
    next_conn: ConnId,
    keys: u64,
    owners: HashMap<TrackId, usize>,
    /// Retransmissions of packets, by what they are and whom they go to.
    attempts: HashMap<u64, u64>,
    dirty: BTreeSet<End>,
    /// Packets moved and events handled.
    pub packets: u64,
    pub happenings: u64,
    /// Signals over data channels come twice.
    pub double_signals: bool,
}

impl World {
    /// An empty room.
    #[must_use]
    pub fn new(config: WorldConfig) -> Self {
        let base = crate::clock::base();
        let relay = Relay::new(base, config.room.clone(), config.n_loudest, hash(&[config.seed, 41]));
        let mut world = Self {
            now: base,
            base,
            net: Network::new(config.seed, base),
            nodes: Vec::new(),
            relay,
            oracle: Oracle::default(),
            trace: Trace::new(base),
            queue: Queue::default(),
            processes: BTreeMap::from([(End::Relay, Process::default())]),
            links: Links::default(),
            pipes: BTreeMap::new(),
            connections: HashMap::new(),
            current: BTreeMap::new(),
            next_conn: 0,
            keys: 0,
            owners: HashMap::new(),
            attempts: HashMap::new(),
            dirty: BTreeSet::new(),
            packets: 0,
            happenings: 0,
            double_signals: false,
            config,
        };
        world.dirty.insert(End::Relay);
        world
    }

    /// A participant joins.
    pub fn join(&mut self, options: JoinOptions) -> usize {
        let at = self.nodes.len();
        let clock = LocalClock::new(self.base, options.skew_ppm);
        let config = PeerConfig {
            seed: hash(&[self.config.seed, 42, at as u64]),
            token: options.name.clone(),
            name: options.name.clone(),
            metadata: String::new(),
            client: "segue-sim".to_owned(),
            device_key: vec![at as u8; 32],
            policy: options.policy,
            origin: true,
            direct: true,
        };
        let local = clock.local(self.now);
        let setup = NodeSetup { clock, base: self.base, number: at as u64, seed: self.config.seed, record: self.config.record };
        self.nodes.push(Node::new(local, &options.name, setup, config));
        self.processes.insert(End::Host(at), Process::default());
        self.trace.line(self.now, || format!("{} joins", options.name));
        self.touch(End::Host(at));
        self.settle();
        at
    }

    /// The number of a participant by its name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().rposition(|node| node.name == name)
    }

    /// A participant by its id in the room.
    #[must_use]
    pub fn node_of(&self, id: ParticipantId) -> Option<usize> {
        self.nodes.iter().position(|node| !node.gone && node.machine.local() == Some(id))
    }

    /// Whether a participant takes part: it has not left, and its process lives.
    #[must_use]
    pub fn is_present(&self, at: usize) -> bool {
        !self.nodes[at].gone && !self.processes[&End::Host(at)].dead
    }

    /// With a participant, then everything that follows.
    pub fn with<T>(&mut self, at: usize, f: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let node = &mut self.nodes[at];
        let local = node.clock.local(self.now);
        node.machine_stale = true;
        let result = f(node, local);
        self.touch(End::Host(at));
        self.settle();
        result
    }

    /// A process dies: nothing is said, its connections are reset.
    pub fn kill(&mut self, end: End) {
        self.trace.line(self.now, || format!("{end:?} is killed"));
        if end == End::Relay {
            self.relay.kill();
            let open: Vec<_> = self.current.values().copied().collect();
            open.into_iter().for_each(|conn| self.hang_up(conn, End::Relay));
        } else if let End::Host(at) = end {
            if let Some(conn) = self.current.remove(&at) {
                self.hang_up(conn, end);
            }
            self.nodes[at].gone = true;
        }
        let process = self.processes.entry(end).or_default();
        process.dead = true;
        process.backlog.clear();
        self.links.forget(end);
    }

    /// Another process takes the dead relay's place.
    pub fn restart_relay(&mut self) {
        self.trace.line(self.now, || "the relay is started again".to_owned());
        self.relay.restart(self.now);
        self.oracle.forget_relay();
        self.processes.insert(End::Relay, Process::default());
        self.touch(End::Relay);
        self.settle();
    }

    /// A process does nothing for a while; what comes meanwhile waits, as far as there is room.
    pub fn stall(&mut self, end: End, time: Duration) {
        self.trace.line(self.now, || format!("{end:?} stalls for {time:?}"));
        self.processes.entry(end).or_default().stalled = true;
        self.queue.push(self.now + time, Happening::Resume(end));
    }

    /// A participant's address changes: every transport of it has to be found anew, its connection breaks after `gap`.
    pub fn roam(&mut self, at: usize, keep_connection: bool) {
        self.trace.line(self.now, || format!("{} roams", self.nodes[at].name));
        self.links.roam(End::Host(at));
        if !keep_connection && let Some(conn) = self.current.remove(&at) {
            self.hang_up(conn, End::Host(at));
            self.queue.push(self.now, Happening::HungUp(conn, End::Relay));
            self.with(at, |node, now| node.handle_carrier(now, CarrierState::Closed));
        }
    }

    /// A participant has another network beside the one in use, which goes on for a while; its connection to the relay survives.
    pub fn roam_softly(&mut self, at: usize, linger: Duration) {
        self.trace.line(self.now, || format!("{} has another network", self.nodes[at].name));
        self.links.roam(End::Host(at));
        self.links.linger(End::Host(at), self.now + linger);
        self.with(at, |node, now| node.machine.handle_network_change(now));
    }

    /// The connection of a participant to the relay breaks.
    pub fn drop_connection(&mut self, at: usize) {
        if let Some(conn) = self.current.get(&at).copied() {
            self.hang_up(conn, End::Relay);
            self.hang_up(conn, End::Host(at));
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        while let Some((at, happening)) = self.queue.pop(until) {
            self.now = self.now.max(at);
            self.happenings += 1;
            self.handle(happening);
            // What happens at the same time is looked at together, as a shell reads all that waits.
            if self.queue.next_at() != Some(self.now) {
                self.settle();
            }
            if self.oracle.is_broken() {
                return;
            }
        }
        self.now = until;
    }

    fn touch(&mut self, end: End) {
        self.dirty.insert(end);
    }

    /// Whether a process can take something now; what it cannot take waits or is lost.
    fn admit(&mut self, end: End, happening: Happening) -> Option<Happening> {
        let process = self.processes.get_mut(&end)?;
        if process.dead {
            return None;
        }
        if process.stalled {
            let datagram = matches!(happening, Happening::Rtp(..) | Happening::Rtcp(..));
            if !datagram || process.backlog.len() < STALL_BUFFER {
                process.backlog.push(happening);
            }
            return None;
        }
        Some(happening)
    }

    fn end_of(&self, session: Session) -> Option<End> {
        self.links.owner(session)
    }

    fn handle(&mut self, happening: Happening) {
        let end = match &happening {
            Happening::Rtp(session, _) | Happening::Rtcp(session, _) => self.end_of(*session),
            Happening::Wake(end) => Some(*end),
            Happening::Leg(at, ..) => Some(End::Host(*at)),
            Happening::Connected(at, _) => Some(End::Host(*at)),
            Happening::HungUp(_, end) => Some(*end),
            Happening::Pipe(pipe) => self.pipes.get(pipe).map(|pipe| pipe.to),
            Happening::Check(..) | Happening::ChannelOpen(..) => {
                return self.handle_link(happening);
            }
            Happening::Resume(end) => return self.resume(*end),
        };
        let Some(end) = end else { return };
        let Some(happening) = self.admit(end, happening) else { return };
        self.touch(end);
        if let End::Host(at) = end
            && !matches!(happening, Happening::Rtp(..) | Happening::Rtcp(..) | Happening::Wake(_))
        {
            self.nodes[at].machine_stale = true;
        }
        match happening {
            Happening::Rtp(session, packet) => self.handle_rtp(end, session, *packet),
            Happening::Rtcp(session, bytes) => match end {
                End::Relay => self.relay.handle_rtcp(self.now, session, &bytes),
                End::Host(at) => {
                    let node = &mut self.nodes[at];
                    node.handle_rtcp(node.clock.local(self.now), session, &bytes);
                }
            },
            Happening::Leg(at, session, event) => {
                let node = &mut self.nodes[at];
                node.handle_leg(node.clock.local(self.now), session, event);
            }
            Happening::Pipe(pipe) => self.read_pipe(pipe),
            Happening::Connected(at, conn) => self.handle_connected(at, conn),
            Happening::HungUp(conn, end) => self.handle_hung_up(conn, end),
            Happening::Wake(_) | Happening::Check(..) | Happening::ChannelOpen(..) | Happening::Resume(_) => {}
        }
    }

    fn handle_rtp(&mut self, end: End, session: Session, packet: RtpPacket) {
        self.packets += 1;
        self.trace.packet(self.now, session, &packet);
        self.links.note_in(session);
        match end {
            End::Relay => self.relay.handle_rtp(self.now, session, &packet),
            End::Host(at) => {
                let node = &mut self.nodes[at];
                node.handle_rtp(node.clock.local(self.now), session, packet);
            }
        }
    }

    fn resume(&mut self, end: End) {
        let Some(process) = self.processes.get_mut(&end) else { return };
        process.stalled = false;
        for happening in std::mem::take(&mut process.backlog) {
            self.handle(happening);
        }
        self.touch(end);
    }

    /// Lets everybody who was handed something, or whose time has come, do what follows.
    fn settle(&mut self) {
        while let Some(end) = self.dirty.pop_first() {
            let process = self.processes.entry(end).or_default();
            if process.dead || process.stalled {
                continue;
            }
            let wake = match end {
                End::Relay => self.turn_relay(),
                End::Host(at) => self.turn_node(at),
            };
            self.schedule(end, wake);
        }
    }

    fn schedule(&mut self, end: End, wake: Option<Instant>) {
        let Some(wake) = wake else { return };
        let now = self.now;
        let process = self.processes.entry(end).or_default();
        let pending = process.wake.filter(|at| *at > now);
        if pending.is_none_or(|at| wake < at) {
            process.wake = Some(wake.max(now));
            self.queue.push(wake.max(now), Happening::Wake(end));
        }
    }

    fn turn_node(&mut self, at: usize) -> Option<Instant> {
        let node = &mut self.nodes[at];
        let local = node.clock.local(self.now);
        node.handle_timeouts(local);
        node.drain(local);
        let wake = node.deadline().map(|local| node.clock.world(local));
        let mut effects = std::mem::take(&mut node.effects);
        for note in std::mem::take(&mut node.notes) {
            self.note(at, note);
        }
        for effect in effects.drain(..) {
            self.apply(at, effect);
        }
        self.nodes[at].effects = effects;
        // Something that is always due would stop time.
        self.oracle.check_progress(self.now, End::Host(at), wake);
        wake
    }

    fn turn_relay(&mut self) -> Option<Instant> {
        if !self.relay.alive {
            return None;
        }
        self.relay.handle_timeouts(self.now);
        self.relay.drain(self.now);
        let wake = self.relay.poll_timeout();
        let mut effects = std::mem::take(&mut self.relay.effects);
        for effect in effects.drain(..) {
            self.apply_relay(effect);
        }
        self.relay.effects = effects;
        self.oracle.check_relay(self.now, &mut self.relay, &mut self.trace);
        self.oracle.check_progress(self.now, End::Relay, wake);
        wake
    }

    fn note(&mut self, at: usize, note: Note) {
        let name = &self.nodes[at].name;
        match note {
            Note::Event(event) => self.trace.event(self.now, at, name, &event),
            Note::Failed(what) => self.oracle.fail(self.now, format!("{name}: {what}")),
        }
    }

    fn apply(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Rtp { leg, packet } => self.send_rtp(at, leg, packet),
            Effect::Rtcp { leg, bytes } => self.send_rtcp(at, leg, bytes),
            Effect::Connect => self.connect(at),
            Effect::Disconnect => self.disconnect(at),
            Effect::Server(frame) => self.send_up(at, frame),
            Effect::Signal { to, signal } => self.send_signal(at, to, &signal),
            Effect::Opened { session } => self.links.open(session, End::Host(at)),
            Effect::Closed { session } => self.close_session(session),
            Effect::Negotiated { leg } => self.negotiated(at, leg),
            Effect::Later { session, event, after, .. } => {
                self.queue.push(self.now + after, Happening::Leg(at, session, event));
            }
        }
    }

    fn apply_relay(&mut self, effect: relay::Effect) {
        match effect {
            relay::Effect::Frame { conn, frame } => self.send_down(conn, frame),
            relay::Effect::Close { conn } => self.close_after(conn),
            relay::Effect::Rtp { session, packet, transmit, .. } => {
                self.oracle.check_transmit(self.now, session, &transmit);
                let owner = packet.header.extensions.origin.and_then(|origin| self.owner_of(origin.source));
                self.send_media(session, packet, owner);
            }
            relay::Effect::Rtcp { session, bytes, .. } => self.send_control(session, bytes),
            relay::Effect::Opened { session } => self.links.open(session, End::Relay),
            relay::Effect::Closed { session } => self.close_session(session),
            relay::Effect::Negotiated { session } => self.relay_negotiated(session),
        }
    }

    // ------------------------------------------------------------------------------------------------------------------ media

    /// Who publishes a track. The last answer is remembered: it is asked for with every packet the relay sends.
    fn owner_of(&mut self, track: TrackId) -> Option<usize> {
        let publishes = |at: &usize| self.nodes.get(*at).is_some_and(|node| node.publications.contains_key(&track));
        let known = self.owners.get(&track).copied().filter(publishes);
        let found = known.or_else(|| self.nodes.iter().position(|node| node.publications.contains_key(&track)))?;
        if known.is_none() {
            self.owners.insert(track, found);
        }
        Some(found)
    }

    fn send_rtp(&mut self, at: usize, leg: LegKey, packet: RtpPacket) {
        let Some(session) = self.nodes[at].legs.get(&leg).map(|leg| leg.session) else { return };
        self.oracle.check_sequence(self.now, session, &packet);
        self.send_media(session, packet, Some(at));
    }

    /// The same number for the same media packet on every path.
    fn send_media(&mut self, session: Session, packet: RtpPacket, owner: Option<usize>) {
        let Some((from, to, remote)) = self.links.route(session, self.now) else { return };
        let size = packet.payload.len() + 12 + 24;
        let repair = packet.header.payload_type == leg::H264_RTX;
        let origin = packet.header.extensions.origin;
        let (key, media) = match (origin, owner) {
            (Some(origin), Some(owner)) => {
                // By what it is and not by its number: runs in which rates differ cut their frames into other packets.
                let place = self.nodes[owner].publications.get(&origin.source).map_or(0, |found| found.place_in_frame(&origin));
                let layer = u64::from(origin.layer.encoding.0) << 32 | u64::from(place);
                let words = [u64::from(origin.source.0), layer, u64::from(packet.header.timestamp)];
                let attempt = match (repair, origin.flags.probe) {
                    (true, _) => self.attempt(hash(&[words[0], words[1], words[2], to.word()])),
                    (_, true) => 1 + u64::from(packet.header.sequence.0),
                    _ => 0,
                };
                let key = hash(&[words[0], words[1], words[2], attempt]);
                let made = if repair { None } else { self.made_at(owner, origin.source, packet.header.timestamp) };
                (key, Some((End::Host(owner), made.unwrap_or_else(|| self.now.saturating_duration_since(self.base)))))
            }
            _ => (self.next_key(), None),
        };
        let arrivals = self.net.send(self.now, Parcel { from, to, size, key, media });
        let mut packet = Some(Box::new(packet));
        for (index, at) in arrivals.into_iter().enumerate() {
            let Some(at) = at.map(|at| self.read_at(at)) else { continue };
            let last = index == 1 || arrivals[1].is_none();
            let body = if last { packet.take() } else { packet.clone() };
            if let Some(body) = body {
                self.queue.push(at, Happening::Rtp(remote, body));
            }
        }
    }

    /// When a frame of somebody who is here was captured, since the beginning of the world.
    pub fn captured_at(&self, (track, timestamp): FrameKey) -> Option<Duration> {
        let node = self.nodes.iter().find(|node| node.publications.contains_key(&track))?;
        let publication = node.publications.get(&track)?;
        Some(node.clock.world(publication.begun() + publication.made_at(timestamp)).saturating_duration_since(self.base))
    }

    fn made_at(&self, owner: usize, track: TrackId, timestamp: u32) -> Option<Duration> {
        let publication = self.nodes[owner].publications.get(&track)?;
        Some(publication.begun().saturating_duration_since(self.base) + publication.made_at(timestamp))
    }

    fn send_rtcp(&mut self, at: usize, leg: LegKey, bytes: Bytes) {
        if let Some(session) = self.nodes[at].legs.get(&leg).map(|leg| leg.session) {
            self.send_control(session, bytes);
        }
    }

    fn send_control(&mut self, session: Session, bytes: Bytes) {
        let Some((from, to, remote)) = self.links.route(session, self.now) else { return };
        // By time and not by count, so that one packet more does not change the fate of all that follow.
        let nanos = self.now.saturating_duration_since(self.base).as_nanos() as u64;
        let key = hash(&[session, nanos, bytes.len() as u64]);
        let arrivals = self.net.send(self.now, Parcel { from, to, size: bytes.len(), key, media: None });
        for at in arrivals.into_iter().flatten() {
            self.queue.push(self.read_at(at), Happening::Rtcp(remote, bytes.clone()));
        }
    }

    /// Which retransmission of a packet to somebody this is: each has its own fate, and the same one by every path.
    fn attempt(&mut self, packet: u64) -> u64 {
        if self.attempts.len() > MAX_ATTEMPTS {
            self.attempts.clear();
        }
        let attempt = self.attempts.entry(packet).or_insert(0);
        *attempt += 1;
        *attempt
    }

    /// When a datagram that arrives at `at` is read.
    fn read_at(&self, at: Instant) -> Instant {
        let over = (at - self.base).as_nanos() % READ_NANOS;
        if over == 0 { at } else { at + Duration::from_nanos((READ_NANOS - over) as u64) }
    }

    fn next_key(&mut self) -> u64 {
        self.keys += 1;
        self.keys
    }

    /// Sends a reliable message of a participant to everybody: its number in the order of its messages.
    pub fn send_data(&mut self, at: usize, number: u64) -> bool {
        let name = self.nodes[at].name.clone();
        let sent = self.with(at, |node, now| {
            let machine: &mut PeerMachine = &mut node.machine;
            machine.send_data(now, &name, Bytes::from(number.to_string())).is_ok()
        });
        if sent {
            self.oracle.note_sent(&name, number);
        }
        sent
    }
}

/// What travels by a connection to the relay.
pub(crate) type Up = proto::ClientFrame;
/// And back.
pub(crate) type Down = proto::ServerFrame;

/// So that messages of both directions fit one queue.
impl From<Up> for Message {
    fn from(frame: Up) -> Self {
        Self::Up(Box::new(frame))
    }
}

impl From<Down> for Message {
    fn from(frame: Down) -> Self {
        Self::Down(Box::new(frame))
    }
}
