//! Transports: which belong together, and whether packets pass between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segue_forward::Direction;
use segue_session::peer::{LegEvent, LegKey, LinkState};

use super::leg::Session;
use super::{CHANNEL_ROUND_TRIPS, Happening, TRANSPORT_ROUND_TRIPS, World};
use crate::net::{End, Plane, nat};

/// Between two rounds of checks that nobody answered.
const CHECK_AGAIN: Duration = Duration::from_millis(100);

/// Checks that nobody answers for so long are given up (RFC 8445 leaves it open; the library's figure).
const GIVE_UP: Duration = Duration::from_secs(15);

/// One end of a transport.
#[derive(Debug)]
struct Side {
    owner: End,
    /// The other end, once connected.
    remote: Option<Session>,
    /// Both ends' restarts when it was connected.
    credentials: (u32, u32),
    /// Addresses of both ends when it was connected.
    addresses: (u32, u32),
    /// Which attempt to connect is under way.
    attempt: u32,
    attempt_since: Option<Instant>,
    last_out: Option<Instant>,
    packets_in: u64,
}

/// All transports.
#[derive(Debug, Default)]
pub(super) struct Links {
    sides: BTreeMap<Session, Side>,
    /// How often an end has changed its address.
    addresses: BTreeMap<End, u32>,
    /// Until when an end is still reached at the address it had before.
    lingers: BTreeMap<End, Instant>,
    expiry: BTreeMap<End, Duration>,
}

impl Links {
    pub(super) fn open(&mut self, session: Session, owner: End) {
        let side = Side {
            owner,
            remote: None,
            credentials: (0, 0),
            addresses: (0, 0),
            attempt: 0,
            attempt_since: None,
            last_out: None,
            packets_in: 0,
        };
        self.sides.insert(session, side);
    }

    pub(super) fn close(&mut self, session: Session) {
        self.sides.remove(&session);
    }

    pub(super) fn forget(&mut self, end: End) {
        self.sides.retain(|_, side| side.owner != end);
    }

    pub(super) fn owner(&self, session: Session) -> Option<End> {
        self.sides.get(&session).map(|side| side.owner)
    }

    pub(super) fn roam(&mut self, end: End) {
        *self.addresses.entry(end).or_default() += 1;
    }

    pub(super) fn linger(&mut self, end: End, until: Instant) {
        self.lingers.insert(end, until);
    }

    /// Whether what was connected to an end's address then still reaches it.
    fn reaches(&self, end: End, address: u32, now: Instant) -> bool {
        let current = self.address(end);
        let lingers = || self.lingers.get(&end).is_some_and(|until| *until > now);
        address == current || (address + 1 == current && lingers())
    }

    pub(super) fn set_expiry(&mut self, end: End, expiry: Option<Duration>) {
        match expiry {
            Some(expiry) => self.expiry.insert(end, expiry),
            None => self.expiry.remove(&end),
        };
    }

    fn address(&self, end: End) -> u32 {
        self.addresses.get(&end).copied().unwrap_or(0)
    }

    pub(super) fn note_in(&mut self, session: Session) {
        if let Some(side) = self.sides.get_mut(&session) {
            side.packets_in += 1;
        }
    }

    /// Where a packet of a transport goes: from, to, and which transport there. `None`: nowhere.
    pub(super) fn route(&mut self, session: Session, now: Instant) -> Option<(End, End, Session)> {
        let side = self.sides.get(&session)?;
        let remote = side.remote?;
        let (from, to) = (side.owner, self.owner(remote)?);
        if !self.reaches(from, side.addresses.0, now) || !self.reaches(to, side.addresses.1, now) {
            return None;
        }
        // A mapping of the receiver that has not been used for too long is gone, and with it the way in.
        let closed = self.expiry.get(&to).is_some_and(|expiry| {
            let last = self.sides.get(&remote).and_then(|other| other.last_out);
            last.is_some_and(|last| now > last + *expiry)
        });
        let side = self.sides.get_mut(&session)?;
        side.last_out = Some(now);
        (!closed).then_some((from, to, remote))
    }

    fn pair(&self, a: Session, b: Session) -> Option<(End, End)> {
        Some((self.sides.get(&a)?.owner, self.sides.get(&b)?.owner))
    }
}

impl World {
    /// How many transports there are.
    #[must_use]
    pub fn transports(&self) -> usize {
        self.links.sides.len()
    }

    /// Puts a participant behind a translator, from now on.
    pub fn set_nat(&mut self, at: usize, nat: nat::Nat) {
        self.net.set_nat(End::Host(at), nat);
        self.links.set_expiry(End::Host(at), nat.expiry());
    }

    pub(super) fn close_session(&mut self, session: Session) {
        self.links.close(session);
        self.close_pipe(session);
    }

    /// A participant set a description: where both ends hold each other's, they begin to check.
    pub(super) fn negotiated(&mut self, at: usize, key: LegKey) {
        let Some(leg) = self.nodes[at].legs.get(&key) else { return };
        let (own, Some(remote), stable) = (leg.session, leg.remote, leg.signalling == 0) else { return };
        if !stable {
            return;
        }
        self.begin_checks(own, remote);
    }

    pub(super) fn relay_negotiated(&mut self, session: Session) {
        if let Some((remote, ..)) = self.relay.remote_of(session) {
            self.begin_checks(session, remote);
        }
    }

    /// What one end knows: its remote transport, its own restarts and theirs. `None` while a negotiation is open.
    fn view(&mut self, session: Session) -> Option<(Session, u32, u32)> {
        match self.links.owner(session)? {
            End::Relay => self.relay.remote_of(session),
            End::Host(at) => {
                let node = &self.nodes[at];
                let leg = node.legs.get(&node.leg_of(session)?)?;
                (leg.signalling == 0).then_some((leg.remote?, leg.restarts, leg.remote_restarts))
            }
        }
    }

    /// Whether both ends speak of the same pair of transports under the same credentials.
    fn agreed(&mut self, a: Session, b: Session) -> Option<(u32, u32)> {
        let (remote_of_a, own_a, theirs_a) = self.view(a)?;
        let (remote_of_b, own_b, theirs_b) = self.view(b)?;
        (remote_of_a == b && remote_of_b == a && own_a == theirs_b && own_b == theirs_a).then_some((own_a, own_b))
    }

    fn begin_checks(&mut self, a: Session, b: Session) {
        let Some((own, other)) = self.agreed(a, b) else { return };
        let Some((end_a, end_b)) = self.links.pair(a, b) else { return };
        let addresses = (self.links.address(end_a), self.links.address(end_b));
        let now = self.now;
        let Some(side) = self.links.sides.get_mut(&a) else { return };
        // Connected under these credentials already, or being so.
        if side.remote == Some(b) && side.credentials == (own, other) && side.addresses == addresses {
            return;
        }
        let dtls_lives = side.remote == Some(b);
        side.attempt += 1;
        side.attempt_since = Some(now);
        let attempt = side.attempt;
        if let Some(other) = self.links.sides.get_mut(&b) {
            other.attempt = attempt.max(other.attempt);
        }
        let trips = if dtls_lives { 2 } else { TRANSPORT_ROUND_TRIPS };
        let after = self.net.round_trip(end_a, end_b) * trips;
        self.queue.push(now + after, Happening::Check(a, b, attempt));
    }

    pub(super) fn handle_link(&mut self, happening: Happening) {
        match happening {
            Happening::Check(a, b, attempt) => self.check(a, b, attempt),
            Happening::ChannelOpen(a, b) => {
                for session in [a, b] {
                    self.tell_leg(session, LegEvent::SignalChannelOpen);
                }
            }
            _ => {}
        }
    }

    fn check(&mut self, a: Session, b: Session, attempt: u32) {
        let current = self.links.sides.get(&a).is_some_and(|side| side.attempt == attempt);
        let (true, Some((own, other)), Some((end_a, end_b))) = (current, self.agreed(a, b), self.links.pair(a, b)) else {
            return;
        };
        let open = self.net.passes(Plane::Media, end_a, end_b) && self.net.passes(Plane::Media, end_b, end_a);
        let running = |end| self.processes.get(&end).is_some_and(|process| !process.dead && !process.stalled);
        let meets = end_a == End::Relay || end_b == End::Relay || nat::connects(self.net.nat(end_a), self.net.nat(end_b));
        if !open || !meets || !running(end_a) || !running(end_b) {
            let since = self.links.sides.get(&a).and_then(|side| side.attempt_since).unwrap_or(self.now);
            if self.now < since + GIVE_UP {
                self.queue.push(self.now + CHECK_AGAIN, Happening::Check(a, b, attempt));
            } else {
                self.tell_leg(a, LegEvent::State(LinkState::Failed));
                self.tell_leg(b, LegEvent::State(LinkState::Failed));
            }
            return;
        }
        let first = self.links.sides.get(&a).is_some_and(|side| side.remote != Some(b));
        let addresses = (self.links.address(end_a), self.links.address(end_b));
        let sides = [(a, b, (own, other), addresses), (b, a, (other, own), (addresses.1, addresses.0))];
        for (session, remote, credentials, addresses) in sides {
            if let Some(side) = self.links.sides.get_mut(&session) {
                side.remote = Some(remote);
                side.credentials = credentials;
                side.addresses = addresses;
                side.last_out = Some(self.now);
                side.attempt_since = None;
            }
        }
        for session in [a, b] {
            self.tell_leg(session, LegEvent::State(LinkState::Up));
        }
        if first && end_a != End::Relay && end_b != End::Relay {
            self.open_channel(a, b);
            let after = self.net.round_trip(end_a, end_b) * CHANNEL_ROUND_TRIPS;
            self.queue.push(self.now + after, Happening::ChannelOpen(a, b));
        }
    }

    fn tell_leg(&mut self, session: Session, event: LegEvent) {
        match self.links.owner(session) {
            Some(End::Host(at)) => self.queue.push(self.now, Happening::Leg(at, session, event)),
            Some(End::Relay) => {
                if let LegEvent::State(state) = event {
                    self.relay.handle_link(self.now, session, state == LinkState::Up);
                    self.touch(End::Relay);
                }
            }
            None => {}
        }
    }

    /// Both ends of the transport between a participant and somebody else, for those who look.
    #[must_use]
    pub fn relay_session(&self, at: usize, direction: Direction) -> Option<Session> {
        let key = if direction == Direction::Publish { LegKey::RelayPublisher } else { LegKey::RelaySubscriber };
        self.nodes[at].legs.get(&key).map(|leg| leg.session)
    }
}
