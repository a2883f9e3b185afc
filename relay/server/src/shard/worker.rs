//! The loop of one shard and what it holds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use segue_forward::{Counters, DropCounts, FULL, ForwarderConfig, Load, Overload, RoomForwarder};
use segue_model::ParticipantId;
use segue_session::room::ForwardCommand;
use tokio::sync::mpsc;

use super::clock;
use super::egress::{Outlet, Slab};
use super::metrics::{Figure, ShardMetrics};
use super::room::{DataBudget, Member, Room, Waiting};
use super::rooms::Rooms;
use super::session::{SessionKey, Sessions};
use super::socket::ShardSocket;
use super::timers::Timers;
use crate::media_plane::{MediaCommand, MediaEvent, RoomKey};
use crate::transport::{Demux, RelayIdentity};

/// Commands handled before datagrams have their turn again.
const COMMANDS_PER_TURN: usize = 256;

/// Batches received before commands and timers have their turn again.
const BATCHES_PER_TURN: usize = 16;

/// How often figures are written down for readers.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);

/// How soon an event that had to wait is tried again.
const BACKLOG_INTERVAL: Duration = Duration::from_millis(20);

/// What other threads ask of a shard.
pub(super) enum ShardCommand {
    /// A room moves in.
    Open { room: RoomKey, events: mpsc::Sender<MediaEvent>, waiting: Arc<Waiting> },
    /// For a room.
    Room(RoomKey, MediaCommand),
    /// A room is over.
    Close(RoomKey),
    /// Everything is over.
    Shutdown,
    /// Ends the thread as a mistake would.
    #[cfg(test)]
    Fail,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Timer {
    /// A transport.
    Session(SessionKey),
    /// A forwarder.
    Room(RoomKey),
    /// Events that had to wait.
    Backlog(RoomKey),
    /// A subscriber transport that failed is offered anew.
    Offer(RoomKey, ParticipantId),
    /// Figures.
    Metrics,
}

/// Everything of a shard but its socket's receiving half.
pub(super) struct Shard {
    pub(super) identity: Arc<RelayIdentity>,
    /// Candidates of this shard, best first.
    pub(super) announced: Vec<SocketAddr>,
    pub(super) demux: Demux<SessionKey>,
    pub(super) sessions: Sessions,
    pub(super) rooms: Rooms,
    pub(super) timers: Timers<Timer>,
    pub(super) metrics: Arc<ShardMetrics>,
    /// Places of rooms whose forwarder may have something to say at the end of the batch.
    pub(super) touched: Vec<usize>,
    /// Places of rooms whose forwarder may have media to send.
    pub(super) loaded: Vec<usize>,
    /// Bytes of media that came since all of it was sent on.
    pub(super) unsent: usize,
    /// Video waits for more until then.
    pub(super) hold_until: Option<Instant>,
    pub(super) load: Load,
    overload: Overload,
    /// What leaves is written and sealed here.
    pub(super) slab: Slab,
    pub(super) scratch: Vec<u8>,
    pub(super) random: fn() -> u64,
    n_loudest: usize,
    /// Figures of rooms and transports that are gone.
    retired: Counters,
    retired_drops: DropCounts,
    pub(super) retired_transport_drops: crate::transport::DropCounts,
}

/// What a shard begins with.
pub(super) struct ShardStart {
    pub(super) identity: Arc<RelayIdentity>,
    pub(super) announced: Vec<SocketAddr>,
    pub(super) metrics: Arc<ShardMetrics>,
    pub(super) random: fn() -> u64,
    pub(super) n_loudest: usize,
}

/// Runs a shard until it is told to stop, or cannot go on: false.
pub(super) fn run(start: ShardStart, mut socket: ShardSocket, commands: &Receiver<ShardCommand>) -> bool {
    let mut shard = Shard::new(start);
    shard.timers.set(Timer::Metrics, Some(clock::now() + METRICS_INTERVAL));
    let mut readable = true;
    let mut now = clock::now();
    let told = loop {
        let begun = now;
        let busy = match shard.take_commands(now, socket.sender(), commands) {
            Turn::Over => break true,
            Turn::Done => false,
            Turn::More => true,
        };
        let mut batches = 0;
        while readable && batches < BATCHES_PER_TURN {
            readable = socket.receive(|sender, from, datagram| shard.handle_datagram(now, sender, from, datagram));
            shard.end_batch(now, socket.sender());
            batches += 1;
            now = clock::now();
        }
        shard.handle_timeouts(now, socket.sender());
        shard.end_batch(now, socket.sender());
        let wait = if busy || readable {
            Some(Duration::ZERO)
        } else {
            let next = [shard.timers.next(), shard.hold_until].into_iter().flatten().min();
            next.map(|at| at.saturating_duration_since(now))
        };
        let paused = clock::now();
        let waited = socket.wait(wait);
        now = clock::now();
        shard.load.note(paused.saturating_duration_since(begun), now.saturating_duration_since(paused));
        match waited {
            // Whatever woke it: a look at the socket costs less than a datagram that waits for the next.
            Ok(()) => readable = true,
            Err(error) => {
                tracing::error!(%error, "a shard cannot wait for its socket and stops");
                break false;
            }
        }
    };
    shard.close_all(clock::now(), socket.sender());
    told
}

enum Turn {
    Done,
    More,
    Over,
}

impl Shard {
    pub(super) fn new(start: ShardStart) -> Self {
        Self {
            identity: start.identity,
            announced: start.announced,
            demux: Demux::new(),
            sessions: Sessions::default(),
            rooms: Rooms::default(),
            timers: Timers::new(),
            metrics: start.metrics,
            touched: Vec::new(),
            loaded: Vec::new(),
            unsent: 0,
            hold_until: None,
            load: Load::default(),
            overload: Overload::default(),
            slab: Slab::new(),
            scratch: Vec::new(),
            random: start.random,
            n_loudest: start.n_loudest,
            retired: Counters::default(),
            retired_drops: DropCounts::default(),
            retired_transport_drops: crate::transport::DropCounts::default(),
        }
    }

    fn take_commands(&mut self, now: Instant, sender: &dyn Outlet, commands: &Receiver<ShardCommand>) -> Turn {
        for _ in 0..COMMANDS_PER_TURN {
            match commands.try_recv() {
                Ok(ShardCommand::Open { room, events, waiting }) => self.open(room, events, waiting),
                Ok(ShardCommand::Room(room, command)) => self.handle_command(now, sender, room, command),
                Ok(ShardCommand::Close(room)) => self.close(now, sender, room),
                #[cfg(test)]
                #[expect(clippy::panic, reason = "what the test is about")]
                Ok(ShardCommand::Fail) => panic!("a test asked for it"),
                Ok(ShardCommand::Shutdown) | Err(TryRecvError::Disconnected) => return Turn::Over,
                Err(TryRecvError::Empty) => {
                    self.end_batch(now, sender);
                    return Turn::Done;
                }
            }
        }
        self.end_batch(now, sender);
        Turn::More
    }

    fn open(&mut self, room: RoomKey, events: mpsc::Sender<MediaEvent>, waiting: Arc<Waiting>) {
        let config = ForwarderConfig { seed: (self.random)(), n_loudest: self.n_loudest };
        let mut forwarder = RoomForwarder::new(config);
        forwarder.set_shed(self.overload.shed());
        self.rooms.insert(room, Room::new(room, forwarder, events, waiting));
    }

    fn close(&mut self, now: Instant, sender: &dyn Outlet, key: RoomKey) {
        let Some(room) = self.rooms.remove(key) else { return };
        for timer in [Timer::Room(key), Timer::Backlog(key)] {
            self.timers.set(timer, None);
        }
        add_counters(&mut self.retired, room.forwarder.counters());
        self.retired_drops.merge(room.forwarder.drops());
        for (participant, member) in room.members {
            self.retire(now, sender, key, participant, member);
        }
    }

    /// Closes a member's transports.
    fn retire(&mut self, now: Instant, sender: &dyn Outlet, room: RoomKey, participant: ParticipantId, member: Member) {
        self.timers.set(Timer::Offer(room, participant), None);
        let sessions = [member.publisher.map(|leg| leg.session), member.subscriber.map(|leg| leg.session)];
        for session in sessions.into_iter().flatten() {
            self.remove_session(now, sender, session);
        }
    }

    fn close_all(&mut self, now: Instant, sender: &dyn Outlet) {
        let rooms: Vec<_> = self.rooms.keys().collect();
        for room in rooms {
            self.close(now, sender, room);
        }
        self.write_figures();
    }

    fn handle_command(&mut self, now: Instant, sender: &dyn Outlet, key: RoomKey, command: MediaCommand) {
        let Some(place) = self.rooms.place(key) else { return };
        self.touch(place);
        let Some(room) = self.rooms.at_mut(place) else { return };
        room.waiting.leave(&command);
        match command {
            MediaCommand::Forward(command) => self.handle_forward(now, sender, key, command),
            MediaCommand::PublisherOffer { participant, generation, sdp, tracks } => {
                self.handle_publisher_offer(now, sender, key, participant, generation, &sdp, &tracks);
            }
            MediaCommand::SubscriberAnswer { participant, generation, sdp } => {
                self.handle_subscriber_answer(now, sender, key, participant, generation, &sdp);
            }
            MediaCommand::SubscriberOffer { participant, generation, sdp } => {
                self.handle_subscriber_offer(now, sender, key, participant, generation, &sdp);
            }
            MediaCommand::RestartIce { participant, transport, generation, fragment } => {
                self.handle_restart(now, sender, key, participant, transport, generation, &fragment);
            }
            // An ICE-lite host learns addresses from checks alone.
            MediaCommand::Candidate { .. } => {}
        }
    }

    fn handle_forward(&mut self, now: Instant, sender: &dyn Outlet, key: RoomKey, command: ForwardCommand) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        match command {
            ForwardCommand::ParticipantAdded { participant, origin, publish, subscribe, offers } => {
                if let Err(error) = room.forwarder.add_participant(participant, origin) {
                    tracing::warn!(%participant, %error, "a participant cannot be forwarded");
                    self.metrics.add(Figure::TracksRefused, 1);
                    return;
                }
                let data = DataBudget::default();
                // To whom offers itself nothing is offered.
                let subscribe = subscribe && !offers;
                let member = Member { origin, publish, subscribe, offers, publisher: None, subscriber: None, data };
                room.members.insert(participant, member);
                self.offer_subscriber(now, sender, key, participant);
            }
            ForwardCommand::ParticipantRemoved { participant } => {
                room.forwarder.remove_participant(participant);
                if let Some(member) = room.members.remove(&participant) {
                    self.retire(now, sender, key, participant, member);
                }
            }
            ForwardCommand::TrackAdded { track, owner, kind, encodings, muted, .. } => {
                if let Err(error) = room.forwarder.add_track(track, owner, kind, encodings.len(), muted) {
                    tracing::warn!(%track, %error, "a track cannot be forwarded");
                    self.metrics.add(Figure::TracksRefused, 1);
                }
            }
            ForwardCommand::TrackMuted { track, muted } => room.forwarder.set_muted(track, muted),
            ForwardCommand::TrackRemoved { track } => room.forwarder.remove_track(track),
            ForwardCommand::Edge { publisher, subscriber, voice_only: true, .. } => {
                room.forwarder.set_edge_voice(publisher, subscriber);
            }
            ForwardCommand::Edge { publisher, subscriber, on, overlap, .. } => {
                room.forwarder.set_edge(publisher, subscriber, on, overlap);
            }
            ForwardCommand::DirectEncoding { track, subscriber, encoding } => {
                room.forwarder.set_direct_encoding(track, subscriber, encoding);
            }
            ForwardCommand::Subscription { track, subscriber, quality } => {
                room.forwarder.set_subscription(track, subscriber, quality);
            }
        }
    }

    pub(super) fn handle_timeouts(&mut self, now: Instant, sender: &dyn Outlet) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Session(session) => self.handle_session_timeout(now, sender, session),
                Timer::Room(key) => {
                    let Some(place) = self.rooms.place(key) else { continue };
                    if let Some(room) = self.rooms.at_mut(place) {
                        room.armed = None;
                        room.forwarder.handle_timeout(now);
                    }
                    self.touch(place);
                }
                Timer::Backlog(key) => self.catch_up(now, key),
                Timer::Offer(room, participant) => self.offer_subscriber(now, sender, room, participant),
                Timer::Metrics => {
                    self.judge_load(now);
                    self.write_figures();
                    self.timers.set(Timer::Metrics, Some(now + METRICS_INTERVAL));
                }
            }
        }
    }

    /// Something of a room changed: what it has to say and to send is asked for at the end of the batch.
    pub(super) fn touch(&mut self, place: usize) {
        let Some(room) = self.rooms.at_mut(place) else { return };
        if !std::mem::replace(&mut room.touched, true) {
            self.touched.push(place);
        }
        if !std::mem::replace(&mut room.loaded, true) {
            self.loaded.push(place);
        }
    }

    /// Leaves out pictures where there is too much to do, and takes them up again where there is not.
    fn judge_load(&mut self, now: Instant) {
        if let Some(shed) = self.overload.judge(now, self.load.long()) {
            tracing::warn!(load = self.load.long(), ?shed, "a shard changes what it leaves out");
            self.rooms.values_mut().for_each(|room| room.forwarder.set_shed(shed));
        }
    }

    /// Tells the control plane what it must know.
    pub(super) fn emit(&mut self, now: Instant, key: RoomKey, event: MediaEvent) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if !room.emit(event) {
            self.timers.set(Timer::Backlog(key), Some(now + BACKLOG_INTERVAL));
        }
    }

    fn catch_up(&mut self, now: Instant, key: RoomKey) {
        let waits = self.rooms.get_mut(key).is_some_and(|room| !room.catch_up());
        self.timers.set(Timer::Backlog(key), waits.then(|| now + BACKLOG_INTERVAL));
    }

    fn write_figures(&mut self) {
        let mut counters = self.retired;
        let mut drops = self.retired_drops.clone();
        for room in self.rooms.values() {
            add_counters(&mut counters, room.forwarder.counters());
            drops.merge(room.forwarder.drops());
        }
        let mut transport_drops = self.retired_transport_drops.clone();
        for session in self.sessions.iter_mut() {
            transport_drops.add(&session.transport.stats().drops);
        }
        let figures = [
            (Figure::Rooms, self.rooms.len() as u64),
            (Figure::Transports, self.sessions.len() as u64),
            (Figure::PacketsIn, counters.packets_in),
            (Figure::PacketsOut, counters.packets_out),
            (Figure::BytesOut, counters.bytes_out),
            (Figure::Retransmissions, counters.retransmissions),
            (Figure::NacksSent, counters.nacks_sent),
            (Figure::KeyframeRequests, counters.keyframe_requests),
            (Figure::SlotsRefused, counters.slots_refused),
            (Figure::PacketsLate, counters.late),
            (Figure::Load, (self.load.long() * 1_000.0) as u64),
            (Figure::Full, u64::from(self.load.long() > FULL || self.overload.is_shedding())),
        ];
        for (figure, value) in figures {
            self.metrics.set(figure, value);
        }
        self.metrics.set_forward_drops(&drops);
        self.metrics.set_transport_drops(&transport_drops);
    }
}

fn add_counters(sum: &mut Counters, other: Counters) {
    sum.packets_in += other.packets_in;
    sum.packets_out += other.packets_out;
    sum.bytes_out += other.bytes_out;
    sum.retransmissions += other.retransmissions;
    sum.nacks_sent += other.nacks_sent;
    sum.keyframe_requests += other.keyframe_requests;
    sum.retransmissions_refused += other.retransmissions_refused;
    sum.slots_refused += other.slots_refused;
    sum.late += other.late;
}
