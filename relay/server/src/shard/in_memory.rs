//! A shard without its thread and its socket, for measurements of what happens to a packet: transports have their keys given instead of
//! agreed on, and what leaves goes to whatever takes it. Everything between a datagram and a run of packets is the shard's own code.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use segue_forward::{ForwarderConfig, LegParameters, RoomForwarder, RosterError};
use segue_model::{ParticipantId, TrackId, TrackKind};
use thiserror::Error;
use tokio::sync::mpsc;

pub use super::egress::{Burst, Outlet};
use super::metrics::{Figure, ShardMetrics};
use super::room::{DataBudget, Member, Room};
use super::session::{Session, SessionKey};
use super::socket::ShardSocket;
use super::worker::{Shard, ShardStart};
use crate::media_plane::{EVENT_QUEUE, MediaEvent, RoomKey, TransportKind};
use crate::transport::{IceCredentials, IdentityError, RelayIdentity, SessionConfig, SrtpProfile, TransportSession};

/// Why there is no such shard, or not in this shape.
#[derive(Debug, Error)]
pub enum InMemoryError {
    /// No certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No randomness.
    #[error("the system has no randomness")]
    Random,
    /// No such room, or a full one.
    #[error("the room cannot take it: {0}")]
    Roster(#[from] RosterError),
    /// Keys of another length than the profile's.
    #[error("the keying material does not fit its profile")]
    Keys,
}

/// A transport whose handshake is taken as done.
#[derive(Clone, Debug)]
pub struct KeyedTransport {
    /// Where its peer is.
    pub peer: SocketAddr,
    /// How its packets are sealed.
    pub profile: SrtpProfile,
    /// What the DTLS exporter would have given (RFC 5764 section 4.2): the relay writes with the server's half.
    pub material: Vec<u8>,
    /// What would have been negotiated.
    pub parameters: LegParameters,
}

/// The shard.
pub struct InMemoryShard {
    shard: Shard,
    identity: Arc<RelayIdentity>,
    metrics: Arc<ShardMetrics>,
    /// Kept, so that the rooms' events have somewhere to go; nobody reads them.
    events: Vec<mpsc::Receiver<MediaEvent>>,
}

/// A shard's socket, where what comes or what leaves is not to stay in memory.
pub struct InMemorySocket(ShardSocket);

impl InMemorySocket {
    /// Binds; port 0 is any.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        ShardSocket::bind(address).map(|(socket, _)| Self(socket))
    }

    /// Where it is bound.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.0.local()
    }

    /// What sends by it.
    #[must_use]
    pub const fn outlet(&self) -> &dyn Outlet {
        self.0.sender()
    }

    /// Hands everything that waits to a shard.
    pub fn receive(&mut self, shard: &mut InMemoryShard, now: Instant, outlet: &dyn Outlet) {
        while self.0.receive(|_, from, datagram| shard.handle_datagram(now, outlet, from, datagram)) {}
    }
}

impl InMemoryShard {
    /// An empty shard.
    ///
    /// # Errors
    /// [`InMemoryError::Identity`].
    pub fn new() -> Result<Self, InMemoryError> {
        let identity = Arc::new(RelayIdentity::generate()?);
        let metrics = Arc::new(ShardMetrics::new());
        let start = ShardStart {
            identity: identity.clone(),
            announced: Vec::new(),
            metrics: metrics.clone(),
            random: super::random,
            n_loudest: segue_forward::N_LOUDEST,
        };
        Ok(Self { shard: Shard::new(start), identity, metrics, events: Vec::new() })
    }

    /// A room without anybody.
    pub fn add_room(&mut self, key: RoomKey) {
        let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
        let forwarder = RoomForwarder::new(ForwarderConfig { seed: key.0, ..ForwarderConfig::default() });
        self.shard.rooms.insert(key, Room::new(key, forwarder, sender, Arc::default()));
        self.events.push(receiver);
    }

    /// Somebody comes, with the transports that are given.
    ///
    /// # Errors
    /// Where the room or the keys do not fit.
    pub fn add_participant(
        &mut self,
        now: Instant,
        room: RoomKey,
        participant: ParticipantId,
        origin: bool,
        publisher: Option<&KeyedTransport>,
        subscriber: Option<&KeyedTransport>,
    ) -> Result<(), InMemoryError> {
        let found = self.shard.rooms.get_mut(room).ok_or(RosterError::UnknownParticipant)?;
        found.forwarder.add_participant(participant, origin)?;
        let (publish, subscribe, data) = (publisher.is_some(), subscriber.is_some(), DataBudget::default());
        let member = Member { origin, publish, subscribe, offers: false, publisher: None, subscriber: None, data };
        found.members.insert(participant, member);
        if let Some(transport) = publisher {
            self.add_session(now, room, participant, TransportKind::Publisher, transport)?;
            if let Some(room) = self.shard.rooms.get_mut(room) {
                room.forwarder.set_publisher_leg(participant, transport.parameters, Vec::new());
            }
        }
        if let Some(transport) = subscriber {
            let key = self.add_session(now, room, participant, TransportKind::Subscriber, transport)?;
            if let Some(room) = self.shard.rooms.get_mut(room) {
                room.forwarder.set_subscriber_leg(participant, Some(transport.parameters));
                room.set_leg(participant, Some(key));
                let slots = room.forwarder.slots(participant);
                let mids: Vec<_> = slots.iter().filter_map(|slot| slot.mid).collect();
                room.forwarder.confirm_slots(participant, &mids);
            }
        }
        Ok(())
    }

    /// Everybody of a room who is not the owner gets this track from now on.
    ///
    /// # Errors
    /// Where the room or its owner is not there.
    pub fn add_track(
        &mut self,
        room: RoomKey,
        track: TrackId,
        owner: ParticipantId,
        kind: TrackKind,
    ) -> Result<(), InMemoryError> {
        let room = self.shard.rooms.get_mut(room).ok_or(RosterError::UnknownParticipant)?;
        room.forwarder.add_track(track, owner, kind, 1, false)?;
        let subscribers: Vec<_> = room.members.keys().copied().filter(|&member| member != owner).collect();
        for subscriber in subscribers {
            room.forwarder.set_edge(owner, subscriber, true, false);
            let mids: Vec<_> = room.forwarder.slots(subscriber).iter().filter_map(|slot| slot.mid).collect();
            room.forwarder.confirm_slots(subscriber, &mids);
        }
        Ok(())
    }

    /// A datagram comes; RTP and RTCP are opened in place.
    pub fn handle_datagram(&mut self, now: Instant, outlet: &dyn Outlet, from: SocketAddr, datagram: &mut [u8]) {
        self.shard.handle_datagram(now, outlet, from, datagram);
    }

    /// The end of a batch of datagrams: what is due is done, what waits is sent.
    pub fn end_batch(&mut self, now: Instant, outlet: &dyn Outlet) {
        self.shard.handle_timeouts(now, outlet);
        self.shard.end_batch(now, outlet);
    }

    /// Packets that could not be sealed.
    #[must_use]
    pub fn seals_refused(&self) -> u64 {
        self.metrics.get(Figure::SealRefused)
    }

    fn add_session(
        &mut self,
        now: Instant,
        room: RoomKey,
        participant: ParticipantId,
        kind: TransportKind,
        transport: &KeyedTransport,
    ) -> Result<SessionKey, InMemoryError> {
        let credentials = IceCredentials::random().ok_or(InMemoryError::Random)?;
        let config = SessionConfig { identity: self.identity.clone(), credentials };
        let keyed = TransportSession::keyed(config, now, transport.peer, transport.profile, &transport.material);
        let session = Session {
            room,
            place: self.shard.rooms.place(room).ok_or(RosterError::UnknownParticipant)?,
            participant,
            kind,
            transport: keyed.ok_or(InMemoryError::Keys)?,
            ufrags: Vec::new(),
            heartbeats: None,
            publishes: kind == TransportKind::Publisher,
            seal_refused: false,
        };
        let key = self.shard.sessions.insert(session);
        self.shard.demux.bind(transport.peer, key);
        Ok(key)
    }
}
