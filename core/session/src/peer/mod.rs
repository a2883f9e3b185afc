//! One participant's side of a room.
//!
//! [`PeerMachine`] holds roster, publications, subscriptions, legs, dialogs, edges and reliable data. Its shell owns the sockets: it
//! reports what came, carries out the [`Command`]s in order and hands the [`PeerEvent`]s to the application. After any `handle_*` or
//! any call of the application, drain [`PeerMachine::poll_command`] and [`PeerMachine::poll_event`], and ask
//! [`PeerMachine::poll_timeout`] again.

mod command;
mod event;

use std::time::Instant;

use bytes::Bytes;
use segue_media::packet::Origin;
use segue_model::{EncodingId, ParticipantId, Path, Quality, Topology, TopologyPolicy, TrackId};
use segue_wire::proto;

pub use crate::dialog::SdpKind;
pub use command::{CarrierState, Command, LegEvent, LegKey, LegPlan, LinkState, RouteLeg, SectionPlan};
pub use event::{
    ConnectionState, Edge, EncodingInfo, ParticipantInfo, PathInfo, PeerEvent, PublishRequest, Speaker, TrackInfo,
};

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

/// One participant.
pub struct PeerMachine {
    config: PeerConfig,
}

impl PeerMachine {
    /// A participant that has not joined.
    #[must_use]
    pub fn new(config: PeerConfig) -> Self {
        Self { config }
    }

    /// Joins: begins to connect.
    pub fn connect(&mut self, now: Instant) {
        let _ = now;
    }

    /// Leaves for good.
    pub fn leave(&mut self, now: Instant) {
        let _ = now;
    }

    /// Another token for later joins (the first expires).
    pub fn set_token(&mut self, token: String) {
        self.config.token = token;
    }

    /// Announces a track. The returned number comes back in [`PeerEvent::Published`] or [`PeerEvent::PublishFailed`].
    pub fn publish(&mut self, now: Instant, request: PublishRequest) -> u32 {
        let _ = (now, request);
        0
    }

    /// Takes a track back.
    pub fn unpublish(&mut self, now: Instant, track: TrackId) {
        let _ = (now, track);
    }

    /// Silences one of our tracks, or not any more.
    pub fn set_muted(&mut self, now: Instant, track: TrackId, muted: bool) {
        let _ = (now, track, muted);
    }

    /// Says how much of a remote track is wanted at most. Every track is wanted whole before anything is said.
    pub fn subscribe(&mut self, now: Instant, track: TrackId, quality: Quality) {
        let _ = (now, track, quality);
    }

    /// Sends a message to everybody in the room: once, in order, across any change of path.
    ///
    /// # Errors
    /// Too long, not joined, or too much unacknowledged.
    pub fn send_data(&mut self, now: Instant, topic: &str, payload: Bytes) -> Result<(), DataError> {
        let _ = (now, topic, payload);
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
        let _ = (now, to, topic, payload);
        Ok(())
    }

    /// A decoder cannot go on: asks the publisher of a remote track on the path it arrives by.
    pub fn request_keyframe(&mut self, now: Instant, track: TrackId, encoding: Option<EncodingId>) {
        let _ = (now, track, encoding);
    }

    /// The connection to the relay changed.
    pub fn handle_carrier(&mut self, now: Instant, state: CarrierState) {
        let _ = (now, state);
    }

    /// A frame of the relay.
    pub fn handle_server(&mut self, now: Instant, frame: proto::ServerFrame) {
        let _ = (now, frame);
    }

    /// A signal on the reliable channel of the direct leg to `from`.
    pub fn handle_peer_signal(&mut self, now: Instant, from: ParticipantId, signal: proto::Signal) {
        let _ = (now, from, signal);
    }

    /// A message on the lossy channel of a leg.
    pub fn handle_lossy(&mut self, now: Instant, leg: LegKey, data: proto::LossyData) {
        let _ = (now, leg, data);
    }

    /// A leg reports.
    pub fn handle_leg(&mut self, now: Instant, leg: LegKey, event: LegEvent) {
        let _ = (now, leg, event);
    }

    /// A media packet arrived on a leg. Cheap; drives readiness and the liveness of the leg. `false`: its source does not belong on
    /// this leg, drop it and count.
    pub fn handle_media(&mut self, now: Instant, leg: LegKey, origin: &Origin) -> bool {
        let _ = (now, leg, origin);
        true
    }

    /// The first frame of a switch edge was decoded from its new path.
    pub fn handle_switch_ready(&mut self, now: Instant, from: ParticipantId, path: Path) {
        let _ = (now, from, path);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`PeerMachine::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// What to do next.
    pub fn poll_command(&mut self) -> Option<Command> {
        None
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        None
    }

    /// Our id, once joined.
    #[must_use]
    pub fn local(&self) -> Option<ParticipantId> {
        None
    }

    /// Our own state.
    #[must_use]
    pub fn state(&self) -> &ConnectionState {
        &ConnectionState::Idle
    }

    /// The room as it stands: the relay's word while it is there, our own edges taken together otherwise.
    #[must_use]
    pub fn topology(&self) -> Topology {
        Topology::Mesh
    }

    /// The truth about every edge of ours, outgoing and incoming.
    #[must_use]
    pub fn path_info(&self) -> Vec<PathInfo> {
        Vec::new()
    }

    /// The others.
    #[must_use]
    pub fn participants(&self) -> Vec<ParticipantInfo> {
        Vec::new()
    }

    /// The tracks of somebody, ourselves included.
    #[must_use]
    pub fn tracks(&self, participant: ParticipantId) -> Vec<TrackInfo> {
        let _ = participant;
        Vec::new()
    }

    /// Who publishes a track.
    #[must_use]
    pub fn publisher(&self, track: TrackId) -> Option<ParticipantId> {
        let _ = track;
        None
    }
}
