//! One participant's side of a room.
//!
//! [`PeerMachine`] holds roster, publications, subscriptions, legs, dialogs, edges and reliable data. Its shell owns the sockets: it
//! reports what came, carries out the [`Command`]s in order and hands the [`PeerEvent`]s to the application. After any `handle_*` or
//! any call of the application, drain [`PeerMachine::poll_command`] and [`PeerMachine::poll_event`], and ask
//! [`PeerMachine::poll_timeout`] again.

mod command;
mod connection;
mod convert;
mod dropped;
mod edges;
mod event;
mod keyframes;
mod legs;
mod messages;
mod roster;
mod routes;
mod server;
mod signals;
#[cfg(test)]
mod tests;
mod topology;
mod tracks;
mod uplink;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use segue_media::packet::Origin;
use segue_model::{EncodingId, ParticipantId, Path, Quality, Topology, TopologyPolicy, TrackId};
use segue_wire::proto::{self, client_frame};

use connection::Connection;
use keyframes::Keyframes;
use legs::Leg;
use roster::Remote;
use topology::TopologyState;
use tracks::Pending;
use uplink::UplinkTold;

use crate::data;

pub use crate::dialog::SdpKind;
pub use command::{CarrierState, Command, LegEvent, LegKey, LegPlan, LinkState, RouteLeg, SectionPlan};
pub use dropped::Dropped;
pub use event::{
    ConnectionState, Edge, EncodingInfo, ParticipantInfo, PathInfo, PeerEvent, PublishRequest, Speaker, TrackInfo,
};
pub use roster::MAX_DIRECT_ROOM;

/// What a participant is before it joins.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Of every random choice (back-off jitter).
    pub seed: u64,
    /// The JWT of the room.
    pub token: String,
    /// Shown to others; empty: the token's.
    pub name: String,
    /// The application's.
    pub metadata: String,
    /// `segue-rust/0.1.0`.
    pub client: String,
    /// Ed25519 public key of the device.
    pub device_key: Vec<u8>,
    /// What this participant allows.
    pub policy: TopologyPolicy,
    /// Stamps and merges by origin.
    pub origin: bool,
    /// Can build direct legs.
    pub direct: bool,
}

/// Why data was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Longer than the limit.
    #[error("the message has {len} bytes, more than {max}: split it")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Too much waits for slow receivers.
    #[error("{messages} messages of {bytes} bytes wait for receivers that do not acknowledge: send again when fewer do")]
    Backlog {
        /// Messages waiting.
        messages: usize,
        /// Bytes waiting.
        bytes: usize,
    },
    /// Not in a room.
    #[error("not in a room: join first")]
    NotJoined,
}

impl From<data::SendError> for DataError {
    fn from(error: data::SendError) -> Self {
        match error {
            data::SendError::TooLong { len, max } => Self::TooLong { len, max },
            data::SendError::Backlog { messages, bytes } => Self::Backlog { messages, bytes },
        }
    }
}

/// One participant.
pub struct PeerMachine {
    config: PeerConfig,
    /// Time of the last input.
    now: Option<Instant>,
    commands: VecDeque<Command>,
    events: VecDeque<PeerEvent>,
    connection: Connection,
    /// Ourselves, once joined.
    local: Option<ParticipantInfo>,
    grants: proto::Grants,
    device_signature: Vec<u8>,
    /// Of the relay process.
    incarnation: u64,
    mesh_max: usize,
    ice_servers: Vec<proto::IceServer>,
    remotes: BTreeMap<ParticipantId, Remote>,
    /// Publishers of remote tracks.
    owners: BTreeMap<TrackId, ParticipantId>,
    legs: BTreeMap<LegKey, Leg>,
    publications: BTreeMap<TrackId, TrackInfo>,
    pending: BTreeMap<u32, Pending>,
    last_request: u32,
    /// What we said we want of remote tracks.
    subscriptions: BTreeMap<TrackId, Quality>,
    /// As last told to the shell.
    routes: BTreeMap<TrackId, Vec<RouteLeg>>,
    /// What legs bear of tracks of ours, where that is less than all.
    largest: BTreeMap<(TrackId, LegKey), EncodingId>,
    topology: TopologyState,
    signal_number: u64,
    data: data::Outgoing,
    keyframes: Keyframes,
    uplink_told: UplinkTold,
    /// Nothing is heard on any leg, and the others have not been told where we are now.
    cut_off: bool,
    /// The host says that its network changed: what still looks well is sought anew too.
    moved: bool,
    dropped: Dropped,
}

impl PeerMachine {
    /// A participant that has not joined.
    #[must_use]
    pub fn new(config: PeerConfig) -> Self {
        let connection = Connection::new(config.seed);
        Self {
            config,
            now: None,
            commands: VecDeque::new(),
            events: VecDeque::new(),
            connection,
            local: None,
            grants: proto::Grants::default(),
            device_signature: Vec::new(),
            incarnation: 0,
            mesh_max: 0,
            ice_servers: Vec::new(),
            remotes: BTreeMap::new(),
            owners: BTreeMap::new(),
            legs: BTreeMap::new(),
            publications: BTreeMap::new(),
            pending: BTreeMap::new(),
            last_request: 0,
            subscriptions: BTreeMap::new(),
            routes: BTreeMap::new(),
            largest: BTreeMap::new(),
            topology: TopologyState::default(),
            signal_number: 0,
            data: data::Outgoing::default(),
            keyframes: Keyframes::default(),
            uplink_told: UplinkTold::default(),
            cut_off: false,
            moved: false,
            dropped: Dropped::default(),
        }
    }

    /// Joins: begins to connect. Once in a machine's life; later calls do nothing.
    pub fn connect(&mut self, now: Instant) {
        self.begin(now);
        self.settle(now);
    }

    /// Leaves for good.
    pub fn leave(&mut self, now: Instant) {
        self.depart(now);
        self.settle(now);
    }

    /// A token for later joins (the first expires), with what the device's key signs of it; empty where the device has none.
    pub fn set_token(&mut self, token: String, device_signature: Vec<u8>) {
        self.config.token = token;
        self.device_signature = device_signature;
    }

    /// What the relay lets us do; nothing before we are in the room.
    #[must_use]
    pub fn grants(&self) -> proto::Grants {
        self.grants
    }

    /// Puts somebody out of the room, as the relay permits.
    pub fn kick(&mut self, now: Instant, participant: ParticipantId) {
        self.send_server(now, client_frame::Message::Kick(proto::Kick { participant: participant.0 }));
        self.settle(now);
    }

    /// Silences a track of somebody else, as the relay permits.
    pub fn mute_remote(&mut self, now: Instant, track: TrackId) {
        self.send_server(now, client_frame::Message::MuteTrack(proto::MuteTrack { track: track.0.into() }));
        self.settle(now);
    }

    /// Announces a track, now or once joined. The returned number comes back in [`PeerEvent::Published`] or
    /// [`PeerEvent::PublishFailed`].
    pub fn publish(&mut self, now: Instant, request: PublishRequest) -> u32 {
        let number = self.request_publication(now, request, None);
        self.settle(now);
        number
    }

    /// Takes a track back.
    pub fn unpublish(&mut self, now: Instant, track: TrackId) {
        self.withdraw(now, track);
        self.settle(now);
    }

    /// Silences one of our tracks, or not any more.
    pub fn set_muted(&mut self, now: Instant, track: TrackId, muted: bool) {
        self.mute(now, track, muted);
        self.settle(now);
    }

    /// Says how much of a remote track is wanted at most. Every track is wanted whole before anything is said.
    pub fn subscribe(&mut self, now: Instant, track: TrackId, quality: Quality) {
        self.want(now, track, quality);
        self.settle(now);
    }

    /// Sends a message to everybody in the room: once, in order, across any change of path.
    ///
    /// # Errors
    /// Too long, not joined, or too much unacknowledged.
    pub fn send_data(&mut self, now: Instant, topic: &str, payload: Bytes) -> Result<(), DataError> {
        self.send_reliable(now, topic, payload)?;
        self.settle(now);
        Ok(())
    }

    /// Sends a message that may be lost or overtaken, to one participant or to everybody.
    ///
    /// # Errors
    /// Too long or not joined.
    pub fn send_lossy(
        &mut self,
        now: Instant,
        to: Option<ParticipantId>,
        topic: &str,
        payload: Bytes,
    ) -> Result<(), DataError> {
        self.send_unreliable(to, topic, payload)?;
        self.settle(now);
        Ok(())
    }

    /// A decoder cannot go on: asks the publisher of a remote track on the path it arrives by.
    pub fn request_keyframe(&mut self, now: Instant, track: TrackId, encoding: Option<EncodingId>) {
        self.ask_keyframe(track, encoding);
        self.settle(now);
    }

    /// The connection to the relay changed.
    pub fn handle_carrier(&mut self, now: Instant, state: CarrierState) {
        self.handle_connection(now, state);
        self.settle(now);
    }

    /// The host says that its network changed: every path is sought anew as soon as there is somebody to tell.
    pub fn handle_network_changed(&mut self, now: Instant) {
        self.cut_off = true;
        self.moved = true;
        self.settle(now);
    }

    /// A frame of the relay.
    pub fn handle_server(&mut self, now: Instant, frame: proto::ServerFrame) {
        if let Some((message, ack)) = self.take_frame(now, frame) {
            self.handle_server_message(now, message, ack);
        }
        self.settle(now);
    }

    /// A signal on the reliable channel of the direct leg to `from`.
    pub fn handle_peer_signal(&mut self, now: Instant, from: ParticipantId, signal: proto::Signal) {
        // A direct leg speaks for its own end only.
        if signal.from == from.0 {
            self.handle_signal(now, from, &signal);
        } else {
            self.dropped.foreign += 1;
        }
        self.settle(now);
    }

    /// A message on the lossy channel of a leg.
    pub fn handle_lossy(&mut self, now: Instant, leg: LegKey, data: proto::LossyData) {
        self.receive_lossy(leg, data);
        self.settle(now);
    }

    /// A leg reports.
    pub fn handle_leg(&mut self, now: Instant, leg: LegKey, event: LegEvent) {
        self.handle_leg_event(now, leg, event);
        self.settle(now);
    }

    /// A media packet arrived on a leg. Cheap; drives readiness and the liveness of the leg. `false`: its source does not belong on
    /// this leg, drop it and count.
    pub fn handle_media(&mut self, now: Instant, leg: LegKey, origin: &Origin) -> bool {
        let owner = self.owners.get(&origin.source).copied();
        let (path, from) = match (leg, owner) {
            (LegKey::Peer(peer), Some(owner)) if peer == owner => (Path::Direct, owner),
            (LegKey::RelaySubscriber, Some(owner)) => (Path::Relayed, owner),
            // A track whose announcement is still on its way; nobody else can have its id.
            (LegKey::Peer(_) | LegKey::RelaySubscriber, None) => return !self.publications.contains_key(&origin.source),
            _ => return false,
        };
        let recovered = self.note_leg_media(now, leg);
        let Some(remote) = self.remotes.get_mut(&from) else { return false };
        remote.inc.handle_media(path, origin);
        if recovered || remote.inc.has_heard() {
            self.settle(now);
        }
        true
    }

    /// The first frame of a track of a switch edge was decoded from its new path.
    pub fn handle_switch_ready(&mut self, now: Instant, track: TrackId, path: Path) {
        if let Some(remote) = self.owners.get(&track).and_then(|owner| self.remotes.get_mut(owner)) {
            remote.inc.handle_switch_ready(track, path);
        }
        self.settle(now);
    }

    /// The system has another network, say Wi-Fi beside the mobile one, and the old one still works: all transports look for paths over it
    /// before the old one goes. Media goes on meanwhile.
    pub fn handle_network_change(&mut self, now: Instant) {
        self.seek_better_paths(now);
        self.settle(now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.handle_connection_timeouts(now);
        self.handle_absent(now);
        self.handle_leg_timeouts(now);
        self.handle_edge_timeouts(now);
        self.handle_data_timeout(now);
        self.settle(now);
    }

    /// When [`PeerMachine::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let now = self.now?;
        let own = [
            self.connection_timeout(now),
            self.absent_timeout(),
            self.leg_timeout(),
            self.edge_timeout(now),
            self.data.poll_timeout(),
            self.keyframes.poll_timeout(),
            self.topology.prepared,
        ];
        own.into_iter().flatten().min()
    }

    /// After every input: draws all conclusions.
    fn settle(&mut self, now: Instant) {
        self.now = Some(now);
        if self.local.is_some() {
            self.plan_legs(now);
            self.seek_paths(now);
            self.drain_dialogs(now);
            self.report_legs(now);
            self.reconcile_edges(now);
            self.answer_prepares(now);
            self.announce_ready(now);
            self.route(now);
            self.release_keyframes(now);
            self.announce_topology();
        }
        self.transmit(now);
    }

    /// Nothing of the room holds any more.
    fn forget_room(&mut self) {
        self.local = None;
        self.remotes.clear();
        self.owners.clear();
        self.publications.clear();
        self.pending.clear();
        self.subscriptions.clear();
        self.routes.clear();
        self.keyframes.clear();
        self.topology = TopologyState::default();
        self.data = data::Outgoing::default();
    }

    /// What to do next.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// Our id, once joined.
    #[must_use]
    pub fn local(&self) -> Option<ParticipantId> {
        self.local.as_ref().map(|local| local.id)
    }

    /// Ourselves, once joined.
    #[must_use]
    pub fn local_info(&self) -> Option<&ParticipantInfo> {
        self.local.as_ref()
    }

    /// Our own state.
    #[must_use]
    pub fn state(&self) -> &ConnectionState {
        &self.connection.state
    }

    /// The room as it stands: the relay's word while it is there, our own edges taken together otherwise.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.current_topology()
    }

    /// The truth about every edge of ours, outgoing and incoming.
    #[must_use]
    pub fn path_info(&self) -> Vec<PathInfo> {
        self.edge_info()
    }

    /// The others.
    #[must_use]
    pub fn participants(&self) -> Vec<ParticipantInfo> {
        self.remotes.values().map(|remote| remote.info.clone()).collect()
    }

    /// The tracks of somebody, ourselves included.
    #[must_use]
    pub fn tracks(&self, participant: ParticipantId) -> Vec<TrackInfo> {
        let tracks = match self.remotes.get(&participant) {
            Some(remote) => &remote.tracks,
            None if self.local() == Some(participant) => &self.publications,
            None => return Vec::new(),
        };
        tracks.values().cloned().collect()
    }

    /// Who publishes a remote track.
    #[must_use]
    pub fn publisher(&self, track: TrackId) -> Option<ParticipantId> {
        self.owners.get(&track).copied()
    }
}
