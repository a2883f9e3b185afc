//! The seam between the control plane (tokio tasks, WebSockets, one room authority per room) and the media plane (shards: threads
//! that own UDP ports, transports and forwarders).
//!
//! The control plane opens a room on the media plane and gets a [`RoomMedia`]: an ordered, bounded queue of [`MediaCommand`]s
//! towards the shard the room lives on. The shard answers with [`MediaEvent`]s on a bounded tokio channel. Neither side ever
//! blocks on the other: [`RoomMedia::command`] refuses when a queue is full (the control plane then ends, with a code, the session whose
//! description it is, or the room where it is a change of the roster), and a shard that finds the event channel full keeps what must arrive and drops what is only current (speakers).
//!
//! Negotiation, seen from here:
//! * publisher transport: [`MediaCommand::PublisherOffer`] -> [`MediaEvent::Description`] with kind `Answer` and the same
//!   generation, or [`MediaEvent::Refused`]. A new offer with new ICE credentials is an ICE restart.
//! * subscriber transport: the shard decides when the sections it needs have changed (first when the participant is added with
//!   `subscribe`) and emits [`MediaEvent::Description`] with kind `Offer`; the client's answer comes as
//!   [`MediaCommand::SubscriberAnswer`] with the generation of the offer it answers. One offer is outstanding at a time; answers
//!   of another generation are ignored.
//! * a participant that [`offers`](ForwardCommand::ParticipantAdded) its receiving transport itself (WHEP) does so once:
//!   [`MediaCommand::SubscriberOffer`] -> [`MediaEvent::Description`] with kind `Answer`, or [`MediaEvent::Refused`]. Its sections are fixed.
//! * lossy data never crosses this seam: the shard reads `LossyData` from a sender's publisher transport, fills `from`, and sends
//!   it on the publisher transports of those it is for.

use std::net::SocketAddr;

use segue_model::{ParticipantId, TrackId};
use segue_session::room::{ForwardCommand, MAX_PARTICIPANTS};
use tokio::sync::mpsc;

use crate::sdp::IceFragment;

/// Descriptions and candidates that may wait for a shard, per room: eight of each participant of the largest room. A shard that lags by
/// more than this is stuck.
pub const DESCRIPTION_QUEUE: usize = 8 * MAX_PARTICIPANTS;

/// Changes of the roster that may wait for a shard, per room: one for every edge of the largest room, since everybody may join at once
/// after a restart. They are small and as many as the room has edges, whatever clients send.
pub const ROSTER_QUEUE: usize = MAX_PARTICIPANTS * MAX_PARTICIPANTS;

/// Events that may wait for the control plane, per room.
pub const EVENT_QUEUE: usize = 1024;

/// A room as the media plane knows it: given by the control plane, never reused in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomKey(pub u64);

/// Which of a participant's two transports to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransportKind {
    /// The client offers and sends; data channels live here.
    Publisher,
    /// The relay offers and sends.
    Subscriber,
}

/// Whether a session description is an offer or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptionKind {
    /// An offer.
    Offer,
    /// An answer.
    Answer,
}

/// State of one transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportState {
    /// Negotiated, not yet through ICE and DTLS.
    Connecting,
    /// Media may flow.
    Up,
    /// Lost: no valid consent for 30 s (RFC 7675), or DTLS failed. A new offer restarts it.
    Failed,
}

/// Which track a media section carries; `track` is `None` for a free slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MidTrack {
    /// The section's `a=mid`.
    pub mid: String,
    /// The track.
    pub track: Option<TrackId>,
}

/// Control plane to shard. Ordered within a room.
#[derive(Clone, Debug)]
pub enum MediaCommand {
    /// From the room's authority.
    Forward(ForwardCommand),
    /// An offer for the publisher transport.
    PublisherOffer {
        /// Whose.
        participant: ParticipantId,
        /// Repeated in the answer.
        generation: u32,
        /// At most 64 KiB, otherwise unchecked.
        sdp: String,
        /// What each section carries; only tracks this participant owns. Empty for peers that stamp origins.
        tracks: Vec<MidTrack>,
    },
    /// The answer to the shard's offer.
    SubscriberAnswer {
        /// Whose.
        participant: ParticipantId,
        /// Of the offer it answers.
        generation: u32,
        /// At most 64 KiB, otherwise unchecked.
        sdp: String,
    },
    /// An offer for the receiving transport of a participant that offers it itself.
    SubscriberOffer {
        /// Whose.
        participant: ParticipantId,
        /// Repeated in the answer.
        generation: u32,
        /// At most 64 KiB, otherwise unchecked.
        sdp: String,
    },
    /// The client restarts ICE of a transport it offered, without a new offer (WHIP, WHEP): the answer is a
    /// [`MediaEvent::Description`] whose `sdp` is a fragment.
    RestartIce {
        /// Whose.
        participant: ParticipantId,
        /// Which transport.
        transport: TransportKind,
        /// Repeated in the answer.
        generation: u32,
        /// What it asks with.
        fragment: IceFragment,
    },
    /// A candidate of the client. ICE-lite learns addresses from checks, so this is a hint only.
    Candidate {
        /// Whose.
        participant: ParticipantId,
        /// Of which transport.
        transport: TransportKind,
        /// RFC 8839 candidate attribute without `a=`; empty at the end of candidates.
        candidate: String,
        /// The ICE username fragment it belongs to, or empty.
        ufrag: String,
    },
}

/// Shard to control plane.
#[derive(Clone, Debug)]
pub enum MediaEvent {
    /// A description for the client. Must arrive.
    Description {
        /// For whom.
        participant: ParticipantId,
        /// Of which transport.
        transport: TransportKind,
        /// Answer where the client offered, offer for the other subscriber transports.
        kind: DescriptionKind,
        /// Counts the offers of this transport.
        generation: u32,
        /// With all candidates in it (ICE-lite hosts have nothing to trickle).
        sdp: String,
        /// What the sections of a subscriber offer carry; empty for answers and for peers that merge by origin.
        tracks: Vec<MidTrack>,
    },
    /// The slots of a subscriber transport were given to other tracks, without renegotiation. Must arrive.
    Slots {
        /// For whom.
        participant: ParticipantId,
        /// All slots of its subscriber transport.
        slots: Vec<MidTrack>,
    },
    /// A description of the client cannot be used. Must arrive.
    Refused {
        /// Whose.
        participant: ParticipantId,
        /// Of which transport.
        transport: TransportKind,
        /// Of the description.
        generation: u32,
        /// What kind of mistake.
        reason: Refusal,
        /// A sentence that says what to do, without SDP or addresses in it.
        message: String,
    },
    /// A transport changed its state. Must arrive.
    TransportState {
        /// Whose.
        participant: ParticipantId,
        /// Which.
        transport: TransportKind,
        /// The new state.
        state: TransportState,
    },
    /// Who speaks, loudest first, with -dBov (RFC 6464: 0 loudest, 127 silent). Sent on change, at most every 200 ms; may be dropped.
    Speakers {
        /// At most a handful.
        speakers: Vec<(ParticipantId, u8)>,
    },
}

/// Why a description was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not SDP, or not SDP this relay can use.
    BadSdp,
    /// No common codec, or a DTLS role the relay cannot answer (`a=setup:passive`).
    Incompatible,
    /// A limit of the transport (sections, streams).
    Limit,
    /// The relay's own fault.
    Ours,
}

/// The shard's queue is full: it is stuck or hopelessly behind, or it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the media plane does not keep up")]
pub struct MediaBusy;

/// One figure for the metrics endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Prometheus name, without the `segue_` prefix; counters end in `_total`.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Label names and values, for example `[("reason", "replayed")]`.
    pub labels: Vec<(&'static str, String)>,
    /// The figure now.
    pub value: f64,
}

/// All shards of a relay.
pub trait MediaPlane: Send + Sync + 'static {
    /// Gives the room to a shard. Events go to `events` (capacity [`EVENT_QUEUE`]) until the returned handle is dropped, which
    /// closes the room and every transport in it.
    fn open_room(&self, room: RoomKey, events: mpsc::Sender<MediaEvent>) -> Box<dyn RoomMedia>;

    /// Whether an open room's shard, or with `None` every shard, has too much to do to take more people. Never waits for a shard.
    fn is_full(&self, _room: Option<RoomKey>) -> bool {
        false
    }

    /// The announced UDP addresses, one or more per shard; each answers plain STUN binding requests.
    fn announced(&self) -> Vec<SocketAddr>;

    /// Figures for `/metrics`. Reads atomics only; never waits for a shard.
    fn samples(&self) -> Vec<Sample>;

    /// What keeps it from serving, as a sentence that says what to do; `None` where all is well. Never waits for a shard.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Stops the shards: transports are closed (DTLS close_notify), threads joined. Called once, off the async workers.
    fn shutdown(&self);
}

/// One room's queue into its shard.
pub trait RoomMedia: Send {
    /// Queues a command and wakes the shard. Never waits.
    ///
    /// # Errors
    /// [`MediaBusy`] when [`DESCRIPTION_QUEUE`] or [`ROSTER_QUEUE`] commands of this room already wait, or the shard has ended.
    fn command(&self, command: MediaCommand) -> Result<(), MediaBusy>;
}

/// A media plane without media: rooms that stay a mesh, and tests of signalling. Offers are refused, nothing is forwarded.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignallingOnly;

struct SilentRoom(mpsc::Sender<MediaEvent>);

impl MediaPlane for SignallingOnly {
    fn open_room(&self, _: RoomKey, events: mpsc::Sender<MediaEvent>) -> Box<dyn RoomMedia> {
        Box::new(SilentRoom(events))
    }

    fn announced(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    fn samples(&self) -> Vec<Sample> {
        Vec::new()
    }

    fn shutdown(&self) {}
}

impl RoomMedia for SilentRoom {
    fn command(&self, command: MediaCommand) -> Result<(), MediaBusy> {
        let (transport, participant, generation) = match command {
            MediaCommand::PublisherOffer { participant, generation, .. } => (TransportKind::Publisher, participant, generation),
            MediaCommand::SubscriberOffer { participant, generation, .. } => {
                (TransportKind::Subscriber, participant, generation)
            }
            _ => return Ok(()),
        };
        let message = "this relay carries signalling only; use direct paths".to_owned();
        let refused = MediaEvent::Refused { participant, transport, generation, reason: Refusal::Ours, message };
        self.0.try_send(refused).map_err(|_| MediaBusy)
    }
}
