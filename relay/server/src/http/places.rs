//! Places for connections: so many in all, and so many from one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bits of an IPv6 address that one host is sure to share with itself: it has the other 64 to itself (RFC 4291 section 2.5.1).
const HOST_BITS: u32 = 64;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// In all.
    pub(crate) all: usize,
    /// From one address.
    pub(crate) per_address: usize,
    /// From this machine: one address stands for all who come through a proxy.
    pub(crate) loopback: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    #[error("the relay has its full number of connections ({0}); try again in a moment or raise `http.max_connections`")]
    Full(usize),
    #[error(
        "there are {0} connections from this address already; close some or raise `http.max_connections_per_address` of the relay"
    )]
    Share(usize),
}

/// Counts open connections.
#[derive(Debug)]
pub(super) struct Places {
    limits: ConnectionLimits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_host: BTreeMap<IpAddr, usize>,
}

/// A place among the connections the relay serves; held as long as its socket.
#[derive(Clone, Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held, not read")] Arc<Held>);

#[derive(Debug)]
struct Held {
    places: Arc<Places>,
    host: IpAddr,
}

impl Places {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    /// A place for a connection from `address`.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, NoPlace> {
        let host = host_of(address);
        let share = if host.is_loopback() { self.limits.loopback } else { self.limits.per_address };
        let mut taken = self.lock();
        // Its own share is what a host can do something about.
        if taken.by_host.get(&host).is_some_and(|&count| count >= share) {
            return Err(NoPlace::Share(share));
        }
        if taken.all >= self.limits.all {
            return Err(NoPlace::Full(self.limits.all));
        }
        taken.all += 1;
        *taken.by_host.entry(host).or_default() += 1;
        Ok(Place(Arc::new(Held { places: self.clone(), host })))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing that can panic runs under the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by_host.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                taken.by_host.remove(&self.host);
            }
        }
    }
}

/// What stands for the host behind an address.
fn host_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => Ipv6Addr::from_bits(ip.to_bits() >> HOST_BITS << HOST_BITS).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_host_leaves_places_for_others() {
        let places = Places::new(ConnectionLimits { all: 6, per_address: 2, loopback: 3 });
        let held: Vec<_> = (0..2).map(|_| places.take(address("192.0.2.1")).expect("a place")).collect();
        assert_eq!(places.take(address("192.0.2.1")).err(), Some(NoPlace::Share(2)));
        // The same host in the clothes of the other version.
        assert_eq!(places.take(address("::ffff:192.0.2.1")).err(), Some(NoPlace::Share(2)));
        let _six = places.take(address("2001:db8::1")).expect("a place");
        let _seven = places.take(address("2001:db8::ffff:2")).expect("a place");
        assert_eq!(places.take(address("2001:db8::3")).err(), Some(NoPlace::Share(2)));
        let _here: Vec<_> = (0..2).map(|_| places.take(address("127.0.0.1")).expect("a place")).collect();
        assert_eq!(places.take(address("127.0.0.1")).err(), Some(NoPlace::Full(6)));
        drop(held);
        let _there = places.take(address("192.0.2.1")).expect("a place again");
        assert_eq!(places.lock().by_host.len(), 3);
    }
}
