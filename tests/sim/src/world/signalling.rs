//! Reliable, ordered ways: connections to the relay, and data channels of direct legs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_model::ParticipantId;
use segue_session::peer::{CarrierState, LegKey};
use segue_wire::proto;

use super::leg::Session;
use super::relay::ConnId;
use super::{CONNECT_ROUND_TRIPS, Down, Happening, Up, World};
use crate::net::{End, Plane};

/// What a lost segment costs on TCP, and on SCTP (RFC 6298, RFC 4960 section 15).
const TCP_TIMEOUT: Duration = Duration::from_millis(200);
const SCTP_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that cannot be opened is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One direction of a reliable way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PipeId {
    /// To the relay.
    Up(ConnId),
    /// From it.
    Down(ConnId),
    /// From the transport with this number.
    Channel(Session),
}

/// What travels there.
#[derive(Debug)]
pub(crate) enum Message {
    Up(Box<Up>),
    Down(Box<Down>),
    Signal(Box<proto::Signal>),
    /// The end.
    Close,
}

/// A way and what is on it.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) from: End,
    pub(super) to: End,
    /// The transport at the other end, of a data channel.
    remote: Session,
    queue: VecDeque<(Instant, Message)>,
    last: Instant,
    count: u64,
}

/// A connection to the relay.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) node: usize,
    open: bool,
}

impl World {
    pub(super) fn connect(&mut self, at: usize) {
        self.disconnect(at);
        self.next_conn += 1;
        let conn = self.next_conn;
        self.current.insert(at, conn);
        self.connections.insert(conn, Connection { node: at, open: false });
        let host = End::Host(at);
        let passes =
            self.net.passes(Plane::Signalling, host, End::Relay) && self.net.passes(Plane::Signalling, End::Relay, host);
        let trip = self.net.round_trip(host, End::Relay);
        // A host that is there but has no such process says so; one that cannot be reached says nothing.
        let wait = match (passes, self.relay.alive) {
            (true, true) => trip * CONNECT_ROUND_TRIPS,
            (true, false) => trip,
            (false, _) => CONNECT_TIMEOUT,
        };
        self.queue.push(self.now + wait, Happening::Connected(at, conn));
    }

    pub(super) fn handle_connected(&mut self, at: usize, conn: ConnId) {
        if self.current.get(&at) != Some(&conn) {
            return;
        }
        let host = End::Host(at);
        let open = self.relay.alive
            && self.net.passes(Plane::Signalling, host, End::Relay)
            && self.net.passes(Plane::Signalling, End::Relay, host);
        let state = if open { CarrierState::Open } else { CarrierState::Closed };
        if open {
            self.relay.handle_open(conn);
            for (id, from, to) in [(PipeId::Up(conn), host, End::Relay), (PipeId::Down(conn), End::Relay, host)] {
                self.pipes.insert(id, Pipe::new(self.now, from, to, 0));
            }
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.open = true;
            }
        } else {
            self.current.remove(&at);
        }
        let node = &mut self.nodes[at];
        node.handle_carrier(node.clock.local(self.now), state);
    }

    /// The participant closes.
    pub(super) fn disconnect(&mut self, at: usize) {
        if let Some(conn) = self.current.remove(&at) {
            self.write_pipe(PipeId::Up(conn), Message::Close);
            self.pipes.remove(&PipeId::Down(conn));
        }
    }

    /// The relay closes, after what it has written.
    pub(super) fn close_after(&mut self, conn: ConnId) {
        self.write_pipe(PipeId::Down(conn), Message::Close);
        self.pipes.remove(&PipeId::Up(conn));
    }

    /// One end is gone: the other hears of it, if packets pass.
    pub(super) fn hang_up(&mut self, conn: ConnId, who: End) {
        let Some(connection) = self.connections.get(&conn) else { return };
        let other = if who == End::Relay { End::Host(connection.node) } else { End::Relay };
        let after = self.net.delay(who, other);
        self.queue.push(self.now + after, Happening::HungUp(conn, other));
    }

    pub(super) fn handle_hung_up(&mut self, conn: ConnId, end: End) {
        match end {
            End::Relay => {
                self.pipes.remove(&PipeId::Up(conn));
                self.relay.handle_closed(self.now, conn);
            }
            End::Host(at) => {
                self.pipes.remove(&PipeId::Down(conn));
                if self.current.get(&at) == Some(&conn) {
                    self.current.remove(&at);
                    let node = &mut self.nodes[at];
                    node.handle_carrier(node.clock.local(self.now), CarrierState::Closed);
                }
            }
        }
    }

    pub(super) fn send_up(&mut self, at: usize, frame: Up) {
        if let Some(conn) = self.current.get(&at).copied() {
            self.write_pipe(PipeId::Up(conn), frame.into());
        }
    }

    pub(super) fn send_down(&mut self, conn: ConnId, frame: Down) {
        self.write_pipe(PipeId::Down(conn), frame.into());
    }

    pub(super) fn send_signal(&mut self, at: usize, to: ParticipantId, signal: &proto::Signal) {
        let Some(leg) = self.nodes[at].legs.get(&LegKey::Peer(to)) else { return };
        let id = PipeId::Channel(leg.session);
        self.write_pipe(id, Message::Signal(Box::new(signal.clone())));
        if self.double_signals {
            self.write_pipe(id, Message::Signal(Box::new(signal.clone())));
        }
    }

    pub(super) fn open_channel(&mut self, a: Session, b: Session) {
        for (own, remote) in [(a, b), (b, a)] {
            if let (Some(from), Some(to)) = (self.end_of(own), self.end_of(remote)) {
                self.pipes.insert(PipeId::Channel(own), Pipe::new(self.now, from, to, remote));
            }
        }
    }

    pub(super) fn close_pipe(&mut self, session: Session) {
        self.pipes.remove(&PipeId::Channel(session));
    }

    fn write_pipe(&mut self, id: PipeId, message: Message) {
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        pipe.count += 1;
        let (from, to) = (pipe.from, pipe.to);
        let channel = matches!(id, PipeId::Channel(_));
        let mut after = self.net.delay(from, to);
        if self.net.stumbles(from, to, pipe.count) {
            after += self.net.round_trip(from, to) + if channel { SCTP_TIMEOUT } else { TCP_TIMEOUT };
        }
        let at = (self.now + after).max(pipe.last);
        pipe.last = at;
        pipe.queue.push_back((at, message));
        self.queue.push(at, Happening::Pipe(id));
    }

    pub(super) fn read_pipe(&mut self, id: PipeId) {
        while let Some(pipe) = self.pipes.get_mut(&id) {
            let Some((due, _)) = pipe.queue.front() else { return };
            if *due > self.now {
                return;
            }
            let channel = matches!(id, PipeId::Channel(_));
            let plane = if channel { Plane::Media } else { Plane::Signalling };
            let passes = self.net.passes(plane, pipe.from, pipe.to)
                && (!channel || matches!(id, PipeId::Channel(session) if self.links.route(session, self.now).is_some()));
            if !passes {
                let again = self.now + if channel { SCTP_TIMEOUT } else { TCP_TIMEOUT };
                for (due, _) in &mut pipe.queue {
                    *due = (*due).max(again);
                }
                pipe.last = pipe.last.max(again);
                self.queue.push(again, Happening::Pipe(id));
                return;
            }
            let Some((_, message)) = pipe.queue.pop_front() else { return };
            let (from, to, remote) = (pipe.from, pipe.to, pipe.remote);
            self.deliver(id, from, to, remote, message);
        }
    }

    fn deliver(&mut self, id: PipeId, from: End, to: End, remote: Session, message: Message) {
        match (message, id) {
            (Message::Up(frame), PipeId::Up(conn)) => {
                self.trace.frame(self.now, from, &*frame);
                self.relay.handle_frame(self.now, conn, *frame);
            }
            (Message::Down(frame), PipeId::Down(conn)) => {
                let End::Host(at) = to else { return };
                if self.current.get(&at) == Some(&conn) {
                    self.oracle.check_frame(self.now, &frame);
                    self.trace.frame(self.now, to, &*frame);
                    let node = &mut self.nodes[at];
                    node.machine.handle_server(node.clock.local(self.now), *frame);
                }
            }
            (Message::Signal(signal), PipeId::Channel(_)) => {
                let End::Host(at) = to else { return };
                let node = &mut self.nodes[at];
                if let Some(LegKey::Peer(id)) = node.leg_of(remote) {
                    self.trace.frame(self.now, to, &*signal);
                    node.machine.handle_peer_signal(node.clock.local(self.now), id, *signal);
                }
            }
            (Message::Close, PipeId::Up(conn) | PipeId::Down(conn)) => self.handle_hung_up(conn, to),
            _ => {}
        }
    }
}

impl Pipe {
    fn new(now: Instant, from: End, to: End, remote: Session) -> Self {
        Self { from, to, remote, queue: VecDeque::new(), last: now, count: 0 }
    }
}
