//! Which session a datagram belongs to.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;

use thiserror::Error;

use super::ice::MAX_VALID_ADDRESSES;
use super::stun::{StunKind, StunMessage};

/// Sessions one shard may have. At 256 KiB a participant this is more than a machine holds.
pub const MAX_SESSIONS: usize = 65_536;

/// Username fragments: every session may have two while ICE restarts.
const MAX_UFRAGS: usize = 2 * MAX_SESSIONS;

/// Addresses of all sessions.
const MAX_ADDRESSES: usize = MAX_SESSIONS * MAX_VALID_ADDRESSES;

/// The table is full; refuse the join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many transports on one shard")]
pub struct DemuxFull;

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<K> {
    /// To this session.
    Session(K),
    /// A binding request without credentials: [`super::answer_stun`].
    PlainStun,
    /// To nobody; count it.
    Unknown,
}

/// Sessions by address and by username fragment. An address belongs to the session whose check from it succeeded last.
#[derive(Debug)]
pub struct Demux<K> {
    by_address: HashMap<SocketAddr, K>,
    by_ufrag: HashMap<String, K>,
}

impl<K: Copy + Eq + Hash> Demux<K> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self { by_address: HashMap::new(), by_ufrag: HashMap::new() }
    }

    /// Gives checks with this username fragment to `session`: once for a new session, and again when it restarts ICE.
    ///
    /// # Errors
    /// Where there are too many.
    pub fn insert_ufrag(&mut self, ufrag: &str, session: K) -> Result<(), DemuxFull> {
        if self.by_ufrag.len() >= MAX_UFRAGS {
            return Err(DemuxFull);
        }
        self.by_ufrag.insert(ufrag.to_owned(), session);
        Ok(())
    }

    /// Forgets a username fragment.
    pub fn remove_ufrag(&mut self, ufrag: &str) {
        self.by_ufrag.remove(ufrag);
    }

    /// Gives datagrams from `address` to `session`. Where the table is full they stay with nobody.
    pub fn bind(&mut self, address: SocketAddr, session: K) {
        if self.by_address.len() < MAX_ADDRESSES || self.by_address.contains_key(&address) {
            self.by_address.insert(address, session);
        }
    }

    /// Takes `address` from `session`, unless another session has it by now.
    pub fn release(&mut self, address: SocketAddr, session: K) {
        if self.by_address.get(&address) == Some(&session) {
            self.by_address.remove(&address);
        }
    }

    /// Which session a datagram belongs to. Checks go by username fragment even from known addresses, since two transports of one
    /// host may share a socket.
    #[must_use]
    pub fn route(&self, from: SocketAddr, datagram: &[u8]) -> Route<K> {
        if !matches!(datagram.first(), Some(0..=3)) {
            return self.by_address.get(&from).map_or(Route::Unknown, |session| Route::Session(*session));
        }
        let Some(message) = StunMessage::parse(datagram) else { return Route::Unknown };
        match (message.kind, message.local_ufrag()) {
            (_, Some(ufrag)) => self.by_ufrag.get(ufrag).map_or(Route::Unknown, |session| Route::Session(*session)),
            (StunKind::Request, None) if message.username.is_none() => Route::PlainStun,
            _ => self.by_address.get(&from).map_or(Route::Unknown, |session| Route::Session(*session)),
        }
    }

    /// How many addresses are bound.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.by_address.len()
    }
}

impl<K: Copy + Eq + Hash> Default for Demux<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_last_that_bound_it() {
        let mut demux = Demux::new();
        let address: SocketAddr = "192.0.2.1:9".parse().unwrap();
        assert_eq!(demux.route(address, &[0x80, 0]), Route::Unknown);
        demux.bind(address, 1);
        demux.bind(address, 2);
        demux.release(address, 1);
        assert_eq!(demux.route(address, &[0x80, 0]), Route::Session(2));
        demux.release(address, 2);
        assert_eq!(demux.route(address, &[0x80, 0]), Route::Unknown);
    }

    #[test]
    fn a_request_without_credentials_is_for_the_stun_server() {
        let demux: Demux<u8> = Demux::new();
        let address: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let mut plain = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        plain.extend([5; 12]);
        assert_eq!(demux.route(address, &plain), Route::PlainStun);
        plain[4] = 0;
        assert_eq!(demux.route(address, &plain), Route::Unknown);
        assert_eq!(demux.route(address, &[]), Route::Unknown);
    }
}
