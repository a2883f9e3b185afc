//! The forwarder of one room, as one value: publishers' packets go in, each subscriber's packets come out.
//!
//! It never opens a payload of a publisher that stamps origins, and knows nothing of sockets, encryption or sessions: plain RTP and
//! RTCP come in by participant, and leave by subscriber through [`RoomForwarder::poll_leg`] and [`RoomForwarder::poll_transmit`], and
//! through [`RoomForwarder::poll_rtcp`]. What each participant publishes, wishes and may get is told by the room's authority.
//!
//! Invariants, each held by a test:
//! * a packet goes on only if its origin belongs to its sender;
//! * sequence numbers of an outgoing stream are given once, in a row; what is left out by choice leaves no hole;
//! * an encoding changes at a keyframe only, unless the subscriber decodes it already by another path;
//! * a retransmission is a packet of its own on a stream of its own;
//! * timestamps are end to end for subscribers that merge, and never jump back in a browser's section;
//! * the NTP time of a sender report is never altered.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]
// Tests begin their clocks somewhere; nothing else reads one.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod cache;
mod drops;
mod forwarder;
mod header;
mod keyframe;
mod leg;
mod load;
mod patience;
mod publisher;
mod rate;
mod reception;
mod rewrite;
mod seed;
mod select;
mod speaker;
mod subscriber;
mod table;
mod track;

pub use cache::{CACHE_BYTES, CACHE_TIME, MAX_PAYLOAD};
pub use drops::{DropCounts, DropReason};
pub use forwarder::{
    Counters, Direction, ForwardEvent, ForwarderConfig, LegIndex, MAX_PACKET, MAX_PARTICIPANTS, MAX_TRACKS, RoomForwarder,
    RosterError, RtcpOut, Transmit,
};
pub use keyframe::KEYFRAME_INTERVAL;
pub use leg::{Binding, LegParameters, PayloadTypes};
pub use load::{FULL, Load, Overload};
pub use patience::offer_again;
pub use publisher::MAX_STREAMS;
pub use rate::{DEFAULT_DOWNLINK, FixedRate};
pub use select::Shed;
pub use speaker::{N_LOUDEST, SPEAKER_INTERVAL};
pub use subscriber::{MAX_SLOTS, MAX_SSRCS, SlotInfo};
