//! What a participant's machine asks its shell to do.

use segue_model::{EncodingId, LayerId, ParticipantId, TrackId, TrackKind};
use segue_wire::proto;

use crate::dialog::SdpKind;

/// One transport of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LegKey {
    /// Media and lossy data to the relay; the client offers.
    RelayPublisher,
    /// Media from the relay; the relay offers.
    RelaySubscriber,
    /// Both ways, to another participant.
    Peer(ParticipantId),
}

/// One of our tracks on a leg whose sections are per track (a browser at the other end).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionPlan {
    /// Which.
    pub track: TrackId,
    /// Audio or video.
    pub kind: TrackKind,
    /// Encodings it may send there, largest first; empty for audio.
    pub encodings: Vec<EncodingId>,
}

/// How a leg is set up.
#[derive(Clone, Debug, PartialEq)]
pub struct LegPlan {
    /// The other end stamps and merges by origin (an SDK or the relay): exactly one audio and one video section for all tracks.
    /// `false`: a browser, one section per track as in `sections`, kept current by [`Command::SetSections`].
    pub merge: bool,
    /// Yields in glare and rolls back (perfect negotiation).
    pub polite: bool,
    /// STUN and TURN servers.
    pub ice_servers: Vec<proto::IceServer>,
    /// Our tracks, where `merge` is false.
    pub sections: Vec<SectionPlan>,
}

/// One leg a track is sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLeg {
    /// Where.
    pub leg: LegKey,
    /// Which encodings; empty for audio (which has one, encoding 0).
    pub encodings: Vec<EncodingId>,
    /// Which ones could be there, largest first, if the leg bore them all: to a peer one of these goes, to the relay all. Empty for audio.
    pub ladder: Vec<EncodingId>,
    /// Nothing above this temporal layer; `None` for all.
    pub max_temporal: Option<u8>,
    /// The relay forwards to the same peer what it gets.
    pub doubled: bool,
}

impl RouteLeg {
    /// Whether packets of a layer are to go here.
    #[must_use]
    pub fn takes(&self, layer: LayerId) -> bool {
        let encoding = self.encodings.is_empty() || self.encodings.contains(&layer.encoding);
        encoding && self.max_temporal.is_none_or(|highest| layer.temporal.0 <= highest)
    }

    /// Whether a packet that goes here is only a second copy for whoever gets it, which nobody misses. `routes`: all of its track. What goes
    /// to the relay in part goes to its receivers directly, or (to newcomers) without a pause.
    #[must_use]
    pub fn is_copy(&self, routes: &[Self], layer: LayerId) -> bool {
        let relayed = |route: &Self| route.leg == LegKey::RelayPublisher && route.takes(layer);
        if self.leg == LegKey::RelayPublisher {
            self.max_temporal.is_some()
        } else {
            self.doubled && routes.iter().any(relayed)
        }
    }

    /// The largest encoding that goes to the relay by these routes of a track, where somebody counts on it.
    #[must_use]
    pub fn largest_relayed(routes: &[Self]) -> Option<EncodingId> {
        let relayed = routes.iter().filter(|route| route.leg == LegKey::RelayPublisher && route.max_temporal.is_none());
        relayed.flat_map(|route| &route.encodings).min().copied()
    }
}

/// What the shell is to do. Commands of one leg are to be carried out in the order given; one that takes time holds back only the
/// later ones of the same leg.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Open the connection to the relay and report [`super::CarrierState::Open`] or [`super::CarrierState::Closed`].
    ConnectServer,
    /// Close it after what was handed over is written. No report is needed, one does no harm.
    DisconnectServer,
    /// Write a frame to the relay: numbered already, only to be encoded.
    SendServer(proto::ClientFrame),
    /// Write a signal to the reliable channel of the direct leg to `to`.
    SendPeer {
        /// The other end of the direct leg (not always `signal.to`, which is 0 for everybody).
        to: ParticipantId,
        /// What to write.
        signal: proto::Signal,
    },
    /// Write to the lossy channel of a leg ([`LegKey::RelayPublisher`] or a direct one).
    SendLossy {
        /// Where.
        leg: LegKey,
        /// What.
        data: proto::LossyData,
    },
    /// Build a transport; it begins empty, an offer or [`Command::SetRemote`] follows.
    OpenLeg {
        /// Which.
        leg: LegKey,
        /// How.
        plan: LegPlan,
    },
    /// Tear one down. A later [`Command::OpenLeg`] of the same key is a new transport: reports of the old one must not follow it.
    CloseLeg {
        /// Which.
        leg: LegKey,
    },
    /// The tracks we send on a leg with `merge: false` changed; holds for the next offer or answer.
    SetSections {
        /// Which.
        leg: LegKey,
        /// All of them.
        sections: Vec<SectionPlan>,
    },
    /// Make an offer, set it locally, report [`LegEvent::LocalDescription`] with this generation.
    CreateOffer {
        /// Which.
        leg: LegKey,
        /// With new ICE credentials.
        restart: bool,
        /// To be echoed.
        generation: u32,
    },
    /// Make an answer, set it locally, report [`LegEvent::LocalDescription`] with this generation.
    CreateAnswer {
        /// Which.
        leg: LegKey,
        /// To be echoed.
        generation: u32,
    },
    /// Set the remote description.
    SetRemote {
        /// Which.
        leg: LegKey,
        /// Offer or answer.
        kind: SdpKind,
        /// Its text.
        sdp: String,
        /// Which track each section of the other side carries, where sections are per track.
        tracks: Vec<proto::MidTrack>,
    },
    /// Take back our offer.
    Rollback {
        /// Which.
        leg: LegKey,
    },
    /// Add a remote candidate; empty text ends them.
    AddCandidate {
        /// Which.
        leg: LegKey,
        /// The candidate.
        candidate: proto::Candidate,
    },
    /// From now on one of our tracks goes over exactly these legs (none: over none).
    Route {
        /// Which track.
        track: TrackId,
        /// Where to.
        legs: Vec<RouteLeg>,
    },
    /// Ask for a keyframe of a remote track over the RTCP of a leg.
    RequestKeyframe {
        /// Where.
        leg: LegKey,
        /// Of what.
        track: TrackId,
        /// Of which encoding; `None` for whichever comes.
        encoding: Option<EncodingId>,
    },
    /// Raise the playout delay of a remote track: it is about to come by a path that takes `by` longer.
    RaisePlayout {
        /// Which.
        track: TrackId,
        /// By how much.
        by: std::time::Duration,
        /// By how much longer a retransmission takes there, besides.
        repair: std::time::Duration,
    },
    /// Which track each section of the relay's subscriber transport carries (track 0: none).
    SetSlots(Vec<proto::MidTrack>),
}

/// What the shell reports of a leg.
#[derive(Clone, Debug, PartialEq)]
pub enum LegEvent {
    /// An offer or an answer was made and set locally.
    LocalDescription {
        /// Which of the two.
        kind: SdpKind,
        /// Its text.
        sdp: String,
        /// As in the command.
        generation: u32,
        /// Which track each of our sections carries; empty where sections are not per track.
        tracks: Vec<proto::MidTrack>,
    },
    /// A local candidate was found (empty text: no more).
    LocalCandidate(proto::Candidate),
    /// The transport as a whole (ICE and DTLS) changed.
    State(LinkState),
    /// The reliable channel opened.
    SignalChannelOpen,
    /// The reliable channel closed.
    SignalChannelClosed,
    /// A heartbeat came.
    Heartbeat {
        /// Round-trip time it measured, where it echoed one of ours.
        rtt: Option<std::time::Duration>,
    },
    /// The shell's own watcher misses heartbeats.
    HeartbeatLost,
    /// A command of the leg failed (a description was refused, a socket could not be opened): the leg is built anew.
    Failed {
        /// For logs and people.
        reason: String,
    },
    /// The other end asks for a keyframe of one of our tracks (PLI, FIR).
    KeyframeRequested {
        /// Of what.
        track: TrackId,
        /// Of which encoding.
        encoding: EncodingId,
    },
}

/// State of a transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// ICE or DTLS is under way, for the first time or again.
    #[default]
    Connecting,
    /// Media can flow.
    Up,
    /// ICE failed; a restart may bring it back.
    Failed,
    /// Gone for good (DTLS closed or failed).
    Closed,
}

/// State of the connection to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CarrierState {
    /// Frames can be written.
    Open,
    /// It ended or could not be opened.
    Closed,
}
