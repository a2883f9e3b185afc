//! How many times packets had to cross before a transport was up, counted by what depends on what and not by a clock.
//!
//! A packet that is sent after another was received has made one trip more than that one. Repeated checks and retransmissions depend on nothing new
//! and count nothing, however slow the machine is.

use std::collections::HashMap;
use std::net::SocketAddr;

/// Trips that led to a packet, by protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trips {
    ice: u32,
    dtls: u32,
    data: u32,
}

impl Trips {
    fn max(self, other: Self) -> Self {
        Self { ice: self.ice.max(other.ice), dtls: self.dtls.max(other.dtls), data: self.data.max(other.data) }
    }
}

/// What one transport took, in single trips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportTrips {
    /// Connectivity checks, before the first DTLS packet was sent.
    pub ice: Option<u32>,
    /// The DTLS handshake.
    pub dtls: u32,
    /// Data within DTLS: SCTP's handshake, where no messages follow.
    pub data: u32,
}

impl TransportTrips {
    /// From the first check until both ends can send media: round trips, each protocol rounded up.
    #[must_use]
    pub fn round_trips(&self) -> Option<u32> {
        Some(self.ice?.div_ceil(2) + self.dtls.div_ceil(2))
    }
}

/// RFC 8489 section 14.5.
const MESSAGE_INTEGRITY: u16 = 0x0008;

/// Whether a STUN packet belongs to a connectivity check (RFC 8445 section 7.1.2): those are authenticated, questions for one's own address are not.
fn is_check(datagram: &[u8]) -> bool {
    let half = |at: usize| datagram.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
    let mut at = 20;
    while let (Some(kind), Some(len)) = (half(at), half(at + 2)) {
        if kind == MESSAGE_INTEGRITY {
            return true;
        }
        at += 4 + usize::from(len).next_multiple_of(4);
    }
    false
}

#[derive(Debug, Default)]
struct Transport {
    /// What each of the two has received, by socket in the order of the key.
    heard: [Trips; 2],
    taken: TransportTrips,
}

/// All transports, by pair of sockets.
#[derive(Debug, Default)]
pub struct Flights(HashMap<(SocketAddr, SocketAddr), Transport>);

fn key(one: SocketAddr, other: SocketAddr) -> ((SocketAddr, SocketAddr), usize) {
    if one < other { ((one, other), 0) } else { ((other, one), 1) }
}

impl Flights {
    /// A datagram leaves.
    pub(super) fn sent(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) -> Trips {
        let (key, side) = key(from, to);
        let transport = self.0.entry(key).or_default();
        let heard = transport.heard[side];
        // RFC 7983 section 7: STUN begins with 0 to 3, DTLS with 20 to 63; RFC 6347 section 4.1: 23 is application data.
        match datagram.first() {
            Some(0..=3) if is_check(datagram) => Trips { ice: heard.ice + 1, ..Trips::default() },
            Some(23) => Trips { data: heard.data + 1, ..Trips::default() },
            Some(20..=63) => {
                transport.taken.ice.get_or_insert(heard.ice);
                Trips { dtls: heard.dtls + 1, ..Trips::default() }
            }
            _ => Trips::default(),
        }
    }

    /// It arrives.
    pub(super) fn delivered(&mut self, (from, to): (SocketAddr, SocketAddr), trips: Trips) {
        let (key, side) = key(to, from);
        let Some(transport) = self.0.get_mut(&key) else { return };
        transport.heard[side] = transport.heard[side].max(trips);
        transport.taken.dtls = transport.taken.dtls.max(trips.dtls);
        transport.taken.data = transport.taken.data.max(trips.data);
    }

    pub(super) fn transports(&self) -> impl Iterator<Item = ((SocketAddr, SocketAddr), TransportTrips)> {
        self.0.iter().map(|(key, transport)| (*key, transport.taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_depends_on_something_new_is_another_trip() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (a, b) = (address(1), address(2));
        let mut flights = Flights::default();
        let mut cross = |from, to, byte: u8| {
            let mut datagram = vec![byte; 20];
            datagram.extend([0, 8, 0, 0]);
            let trips = flights.sent(from, to, &datagram);
            flights.delivered((from, to), trips);
        };
        // Three checks, one answer: a round trip. Then two flights each way of a handshake, one of them sent again.
        for (from, to, byte) in [(a, b, 0), (a, b, 0), (a, b, 0), (b, a, 1)] {
            cross(from, to, byte);
        }
        for (from, to, byte) in [(a, b, 22), (b, a, 22), (b, a, 22), (a, b, 22), (b, a, 20)] {
            cross(from, to, byte);
        }
        cross(a, b, 23);
        cross(b, a, 23);
        cross(a, b, 128);
        let (_, taken) = flights.transports().next().expect("one transport");
        assert_eq!(taken, TransportTrips { ice: Some(2), dtls: 4, data: 2 });
        assert_eq!(taken.round_trips(), Some(3));
    }
}
