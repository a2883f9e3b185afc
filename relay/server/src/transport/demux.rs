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

/// Sessions that may claim one address. Those of one host that share a socket are two; an address behind a NAT may be another
/// client's while the one before it has not expired.
const MAX_CLAIMS: usize = 4;

/// The table is full; refuse the join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many transports on one shard")]
pub struct DemuxFull;

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<K> {
    /// To this session.
    Session(K),
    /// To one of several sessions that had authentic checks from this address: whichever opens it ([`Demux::claimants`]).
    Contested,
    /// A binding request without credentials: [`super::answer_stun`].
    PlainStun,
    /// To nobody; count it.
    Unknown,
}

/// Sessions by address and by username fragment.
///
/// An authentic check says that its sender may use the session, not that the address is its own: a participant may send checks in
/// the name of another's address. So a later check takes the address from nobody. It makes a second claim, and what comes from
/// an address with several claims goes to the session that can open it.
#[derive(Debug)]
pub struct Demux<K> {
    by_address: HashMap<SocketAddr, Claims<K>>,
    by_ufrag: HashMap<String, K>,
}

/// Who claims an address: mostly one, so that nothing is allocated for the others.
#[derive(Debug)]
struct Claims<K> {
    first: K,
    others: Vec<K>,
}

impl<K: Copy + Eq> Claims<K> {
    fn add(&mut self, session: K) {
        if session == self.first || self.others.contains(&session) {
            return;
        }
        // Whoever came first is not crowded out.
        self.others.truncate(MAX_CLAIMS - 2);
        self.others.push(session);
    }

    /// Takes a claim away; false where it was the last.
    fn remove(&mut self, session: K) -> bool {
        self.others.retain(|other| *other != session);
        if self.first != session {
            return true;
        }
        if self.others.is_empty() {
            return false;
        }
        self.first = self.others.remove(0);
        true
    }

    fn route(&self) -> Route<K> {
        if self.others.is_empty() { Route::Session(self.first) } else { Route::Contested }
    }
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

    /// `session` had an authentic check from `address`: datagrams from there are for it, or for whoever claimed the address before.
    /// Where the table is full they stay with nobody.
    pub fn bind(&mut self, address: SocketAddr, session: K) {
        if let Some(claims) = self.by_address.get_mut(&address) {
            claims.add(session);
        } else if self.by_address.len() < MAX_ADDRESSES {
            self.by_address.insert(address, Claims { first: session, others: Vec::new() });
        }
    }

    /// `session` claims `address` no longer.
    pub fn release(&mut self, address: SocketAddr, session: K) {
        if self.by_address.get_mut(&address).is_some_and(|claims| !claims.remove(session)) {
            self.by_address.remove(&address);
        }
    }

    /// The sessions that claim an address, the earliest first.
    #[must_use]
    pub fn claimants(&self, address: SocketAddr) -> Vec<K> {
        let claims = self.by_address.get(&address);
        claims.map(|claims| std::iter::once(claims.first).chain(claims.others.iter().copied()).collect()).unwrap_or_default()
    }

    /// Which session a datagram belongs to. Checks go by username fragment even from known addresses, since two transports of one
    /// host may share a socket.
    #[must_use]
    pub fn route(&self, from: SocketAddr, datagram: &[u8]) -> Route<K> {
        if !matches!(datagram.first(), Some(0..=3)) {
            return self.by_address.get(&from).map_or(Route::Unknown, Claims::route);
        }
        let Some(message) = StunMessage::parse(datagram) else { return Route::Unknown };
        match (message.kind, message.local_ufrag()) {
            (_, Some(ufrag)) => self.by_ufrag.get(ufrag).map_or(Route::Unknown, |session| Route::Session(*session)),
            (StunKind::Request, None) if message.username.is_none() => Route::PlainStun,
            // An indication changes nothing, whoever gets it.
            _ => self.by_address.get(&from).map_or(Route::Unknown, |claims| Route::Session(claims.first)),
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
    fn a_claim_takes_an_address_from_nobody() {
        let mut demux = Demux::new();
        let address: SocketAddr = "192.0.2.1:9".parse().unwrap();
        assert_eq!(demux.route(address, &[0x80, 0]), Route::Unknown);
        demux.bind(address, 1);
        assert_eq!(demux.route(address, &[0x80, 0]), Route::Session(1));
        for claim in 2..50 {
            demux.bind(address, claim);
        }
        assert_eq!(demux.route(address, &[0x80, 0]), Route::Contested);
        assert_eq!((demux.claimants(address).len(), demux.claimants(address)[0]), (MAX_CLAIMS, 1));
        for claim in 2..50 {
            demux.release(address, claim);
        }
        assert_eq!(demux.route(address, &[0x80, 0]), Route::Session(1));
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
