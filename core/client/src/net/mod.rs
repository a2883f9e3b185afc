//! The client's two ways out: legs that carry media and the connection that carries signalling.

pub(crate) mod peer_link;
pub(crate) mod signalling;
