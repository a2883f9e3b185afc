//! A leg's transport: ICE, DTLS-SRTP and two data channels behind one trait.
//!
//! A link carries finished RTP and RTCP datagrams (before SRTP) both ways and knows nothing of tracks, loss or rate: repair,
//! feedback, pacing and choice of layers are the business of the machines that fill it. Negotiation is a queue of
//! [`LinkCommand`]s executed in order by a task of the link; what comes of them arrives as [`LinkEvent`]s.

mod doorbell;
mod engine;
mod rtc_link;
mod tap;

use std::time::Instant;

use bytes::Bytes;
use segue_model::TrackKind;

pub(crate) use rtc_link::RtcLink;

/// Names one link in the queues that many links share. Never reused within a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// Which way media flows over one section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    SendRecv,
    SendOnly,
}

/// One media section this side brings into the negotiation.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) kind: TrackKind,
    pub(crate) direction: Direction,
    /// Stands as the track's name in `a=msid`.
    pub(crate) name: String,
    /// SSRC declared in `a=ssrc`. Other SSRCs may be sent on the section all the same.
    pub(crate) ssrc: u32,
    /// SSRC of its repair stream, declared by an `FID` group (RFC 5576 section 4.2).
    pub(crate) rtx_ssrc: Option<u32>,
}

/// A STUN or TURN server.
#[derive(Clone, Debug, Default)]
pub(crate) struct IceServer {
    pub(crate) urls: Vec<String>,
    pub(crate) username: String,
    pub(crate) credential: String,
}

/// Which local addresses become host candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Interfaces {
    /// Every interface but loopback.
    #[default]
    All,
    /// Every interface, loopback included.
    AllAndLoopback,
    /// Loopback only.
    LoopbackOnly,
}

/// What a link is opened with.
#[derive(Clone, Debug)]
pub(crate) struct LinkConfig {
    pub(crate) id: LinkId,
    pub(crate) sections: Vec<Section>,
    pub(crate) ice_servers: Vec<IceServer>,
    pub(crate) interfaces: Interfaces,
    /// Only candidates of a TURN server are used and told.
    pub(crate) turn_only: bool,
    /// Both data channels exist on this link.
    pub(crate) channels: bool,
}

/// Offer or answer (JSEP, RFC 9429).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SdpKind {
    Offer,
    Answer,
}

/// A trickled candidate (RFC 8838). An empty `candidate` ends them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkCandidate {
    pub(crate) candidate: String,
    pub(crate) mid: String,
    pub(crate) mline: u32,
    pub(crate) ufrag: String,
}

/// The two data channels of a link, negotiated beforehand by their stream numbers (RFC 8831 section 6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Reliable and ordered: signalling.
    Signal,
    /// Unordered and never resent: lossy data.
    Lossy,
}

impl Channel {
    /// Both of them.
    pub(crate) const ALL: [Self; 2] = [Self::Signal, Self::Lossy];

    /// SCTP stream number.
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Signal => 0,
            Self::Lossy => 1,
        }
    }

    /// Label, for people who look at the other end's debugger.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Lossy => "lossy",
        }
    }
}

/// One step of a link's negotiation.
#[derive(Clone, Debug)]
pub(crate) enum LinkCommand {
    /// Makes and applies an offer, with fresh ICE credentials where `restart` is set.
    CreateOffer { restart: bool, generation: u32 },
    /// Makes and applies an answer to the remote offer.
    CreateAnswer { generation: u32 },
    /// Applies the other side's description.
    SetRemote { kind: SdpKind, sdp: String },
    /// Takes the pending local offer back (JSEP section 4.1.10.2).
    Rollback,
    /// A candidate of the other side; kept until there is a remote description.
    AddCandidate(LinkCandidate),
    /// One more section; it takes effect with the next offer.
    AddSection(Section),
}

/// Where a link's transport stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransportState {
    Connecting,
    /// ICE has a pair and DTLS is done.
    Up,
    /// ICE heard nothing for a while; it may come back by itself.
    Disconnected,
    Failed,
    Closed,
}

/// What a link has to say.
#[derive(Clone, Debug)]
pub(crate) enum LinkEvent {
    /// A local description was made and applied.
    LocalDescription { kind: SdpKind, sdp: String, generation: u32 },
    /// A local candidate to trickle.
    LocalCandidate(LinkCandidate),
    /// The transport changed state.
    State(TransportState),
    /// A data channel can be written.
    ChannelOpen(Channel),
    /// A data channel closed.
    ChannelClosed(Channel),
    /// A message arrived on a data channel.
    Message { channel: Channel, text: bool, payload: Bytes },
    /// A negotiation step failed; the link stands as it was before it.
    Refused { step: &'static str, reason: String },
}

/// An event and the link it comes from.
#[derive(Clone, Debug)]
pub(crate) struct LinkInput {
    pub(crate) link: LinkId,
    pub(crate) event: LinkEvent,
}

/// A received datagram, SRTP taken off.
#[derive(Clone, Debug)]
pub(crate) struct LinkPacket {
    pub(crate) link: LinkId,
    pub(crate) body: PacketBody,
}

/// RTP or compound RTCP, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PacketBody {
    Rtp(Bytes),
    Rtcp(Bytes),
}

/// What a link counts about its own queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkCounters {
    /// Packets handed to the transport.
    pub(crate) sent: u64,
    /// Packets that arrived.
    pub(crate) received: u64,
    /// Outbound packets dropped because the queue to the transport was full.
    pub(crate) dropped_out: u64,
    /// Of those, dropped because the machines were behind.
    pub(crate) dropped_in: u64,
    /// Packets that could not be converted to or from the transport's form.
    pub(crate) malformed: u64,
}

/// A leg's transport. Dropping it closes it and frees everything it holds.
pub(crate) trait PeerLink: Send + Sync {
    /// Queues a negotiation step; false where the queue is full or the link is closed.
    fn execute(&self, command: LinkCommand) -> bool;

    /// Queues a datagram for SRTP and the wire; false where the queue is full. Nothing leaves before [`PeerLink::flush`].
    fn send(&self, at: Instant, packet: PacketBody) -> bool;

    /// Lets the queued datagrams go, as one batch.
    fn flush(&self);

    /// Queues a message on a data channel; false where it cannot be taken now.
    fn send_message(&self, channel: Channel, text: bool, payload: Bytes) -> bool;

    /// Counters so far.
    fn counters(&self) -> LinkCounters;
}

#[cfg(test)]
mod tests;
