//! The signalling endpoint: WebSocket connections, sessions that outlive them, one task per room.
//!
//! A connection task decodes frames and lets its client in ([`admission`]); from then on frames go to the task of the room, which owns the
//! [`RoomAuthority`](segue_session::room::RoomAuthority), every session's carrier and the room's media. Frames for a client go through
//! the bounded queue of its [`link`]: nothing that a client does or fails to do makes another one wait.
//! Participants without a connection ([`visitor`]: WHIP and WHEP) come by [`visit`]: one offer, one answer.
//!
//! What ends how:
//! * a Join that cannot be granted: `Goodbye` with `REFUSED` and the code, then the connection closes;
//! * a Resume for a session that has ended for good: the `Goodbye` it was ended with, and the connection closes;
//! * a Resume for an unknown session: `Error` with `SESSION_UNKNOWN`; the connection stays, so that the client can send Join;
//! * a frame that cannot be decoded, or asks for what is not allowed: `Error`; the connection stays;
//! * frames out of order or acknowledgements of nothing: `Goodbye` with `REFUSED` and `MALFORMED`;
//! * more bytes before a Join than one takes: `Goodbye` with `REFUSED` and `TOO_LARGE`;
//! * a message so large that it is not even read: `Goodbye` with `REFUSED` and `TOO_LARGE`, and the session ends;
//! * a client that does not read: `Goodbye` with `TOO_SLOW`, as far as that can still be written.

mod admission;
mod allowance;
mod connection;
mod hub;
mod link;
mod room_task;
mod session;
mod visit;
mod visitor;

pub(crate) use allowance::Allowance;
pub(crate) use connection::serve;
pub(crate) use hub::Hub;
pub(crate) use visit::{Visit, end_visit, patch_visit, visit};
pub(crate) use visitor::{Purpose, STALE, VisitError, no_session, tag_of};
