//! One participant's transport to the relay, without sockets and clocks: ICE-lite, DTLS server, SRTP, data channels.
//!
//! [`TransportSession`] takes datagrams with the time they came at and gives datagrams, events and the next timeout. [`Demux`] says
//! which session a datagram belongs to. RTP and RTCP are opened and sealed in the caller's buffer; everything else is rare and
//! allocates.
//!
//! Everything from the network is hostile here. What is dropped is counted by [`DropReason`]; what a stranger or a peer can make
//! this hold is bounded by a constant; code of others that parses it is walled in, so that its panic ends one session and no more.

mod cipher;
mod contain;
mod demux;
mod drops;
mod dtls;
mod hello;
mod ice;
mod identity;
mod sctp;
mod sctp_guard;
mod session;
mod stun;

pub use cipher::{RTCP_ROOM, RTP_ROOM, SealFailure, SrtpProfile};
pub use demux::{Demux, DemuxFull, MAX_SESSIONS, Route};
pub use drops::{DropCounts, DropReason};
pub use ice::{CONSENT_TIMEOUT, IceCredentials, MAX_VALID_ADDRESSES};
pub use identity::{Fingerprint, IdentityError, RelayIdentity};
pub use sctp::{DataMessage, LOSSY_CHANNEL, MAX_MESSAGE_LEN, SCTP_PORT, SIGNAL_CHANNEL, SendDataError};
pub use sctp_guard::{MAX_AHEAD, Refusal, SctpGuard};
pub use session::{
    CONNECT_TIMEOUT, FailReason, Inbound, MAX_QUEUED_TRANSMITS, RemoteChanged, SessionConfig, Transmit, TransportEvent,
    TransportSession, TransportStats,
};
pub use stun::answer_plain as answer_stun;
