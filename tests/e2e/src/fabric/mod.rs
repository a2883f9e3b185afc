//! A whole room's network between real sockets: delay, jitter, loss, rate, cuts and changes of address.
//!
//! Every socket of a participant gets a public one that stands for it, as a translator gives it: others are told that address, what they send
//! there is passed on, and what the socket sends leaves from there. The relay announces a public address too. So each datagram passes here once,
//! between a known sender and a known receiver, meets what was set for the two, and goes on when its time has come. What is cut is dropped
//! here; nobody is told.

mod fate;
mod flights;
mod network;
mod tcp;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use segue::testing::CandidateMap;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

pub use fate::{Fates, Source};
pub use flights::{Flights, TransportTrips, Trips};
pub use network::{Access, End, Network};
pub use tcp::Wire;

/// Where the relay is told to be, on its own port: another address of the loopback network.
pub const RELAY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Where participants are told to be.
const PUBLIC_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// Largest datagram.
const MAX_DATAGRAM: usize = 2_048;

/// A socket and what stands for it.
struct Known {
    public: Arc<UdpSocket>,
    receiving: AbortHandle,
    /// Whose; not known until its candidate is told.
    owner: Option<End>,
}

/// A datagram on its way.
struct Parcel {
    at: Instant,
    number: u64,
    from: Arc<UdpSocket>,
    /// The real sockets.
    ends: (SocketAddr, SocketAddr),
    trips: Trips,
    datagram: Bytes,
}

impl PartialEq for Parcel {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Parcel {}

impl PartialOrd for Parcel {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Parcel {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// By real socket.
struct Inner {
    known: HashMap<SocketAddr, Known>,
    network: Network,
    flights: Flights,
    number: u64,
    tasks: JoinSet<()>,
    parcels: mpsc::UnboundedSender<Parcel>,
}

/// The network. Clones are the same; it ends with the last of them.
#[derive(Clone)]
pub struct Fabric {
    inner: Arc<Mutex<Inner>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind(address: SocketAddr) -> Arc<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address).expect("an address of the loopback network");
    socket.set_nonblocking(true).expect("a socket that does not block");
    Arc::new(UdpSocket::from_std(socket).expect("a runtime"))
}

impl Fabric {
    /// A network without delay or loss before a relay whose media port on 127.0.0.1 is `port`, and which announces [`RELAY_ADDRESS`].
    ///
    /// # Panics
    /// When the loopback network has no such address with that port free.
    #[must_use]
    pub fn before_relay(port: u16) -> Self {
        let (parcels, queue) = mpsc::unbounded_channel();
        let inner = Inner {
            known: HashMap::new(),
            network: Network::default(),
            flights: Flights::default(),
            number: 0,
            tasks: JoinSet::new(),
            parcels,
        };
        let fabric = Self { inner: Arc::new(Mutex::new(inner)) };
        let relay = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        fabric.stand_for(relay, SocketAddr::new(RELAY_ADDRESS, port), Some(End::Relay));
        let delivering = deliver(queue, Arc::downgrade(&fabric.inner));
        lock(&fabric.inner).tasks.spawn(delivering);
        fabric
    }

    /// What a participant's candidates are told as.
    #[must_use]
    pub fn candidates_of(&self, host: usize) -> CandidateMap {
        let inner = Arc::downgrade(&self.inner);
        Arc::new(move |_, address: SocketAddr| {
            // What the relay's STUN answer says is the public address again.
            if address.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
                return None;
            }
            let fabric = Self { inner: inner.upgrade()? };
            Some(fabric.stand_for(address, SocketAddr::new(PUBLIC_ADDRESS, 0), Some(End::Host(host))))
        })
    }

    /// Looks at or changes the conditions.
    pub fn network<T>(&self, with: impl FnOnce(&mut Network) -> T) -> T {
        with(&mut lock(&self.inner).network)
    }

    /// Round trips that transports took to come up.
    #[must_use]
    pub fn flights(&self) -> Vec<((End, End), TransportTrips)> {
        let inner = lock(&self.inner);
        let owner = |socket: &SocketAddr| inner.known.get(socket)?.owner;
        let trips = inner.flights.transports();
        trips.filter_map(|((one, other), trips)| Some(((owner(&one)?, owner(&other)?), trips))).collect()
    }

    /// A participant is somewhere else from now on: what it sends comes from another address, and what is sent to the old one is lost, unless
    /// both interfaces are up.
    pub fn roam(&self, host: usize, both: bool) {
        let mut inner = lock(&self.inner);
        let sockets: Vec<SocketAddr> =
            inner.known.iter().filter(|(_, known)| known.owner == Some(End::Host(host))).map(|(real, _)| *real).collect();
        for real in sockets {
            let public = bind(SocketAddr::new(PUBLIC_ADDRESS, 0));
            let receiving = inner.tasks.spawn(receive(real, public.clone(), Arc::downgrade(&self.inner)));
            let known = Known { public, receiving, owner: Some(End::Host(host)) };
            if let Some(old) = inner.known.insert(real, known)
                && !both
            {
                old.receiving.abort();
            }
        }
    }

    /// The public address of a socket; it gets one where it has none.
    fn stand_for(&self, real: SocketAddr, public: SocketAddr, owner: Option<End>) -> SocketAddr {
        let mut inner = lock(&self.inner);
        let known = inner.stand_for(real, public, owner, &self.inner);
        known.local_addr().expect("a bound socket")
    }
}

impl Inner {
    fn stand_for(
        &mut self,
        real: SocketAddr,
        public: SocketAddr,
        owner: Option<End>,
        shared: &Arc<Mutex<Self>>,
    ) -> Arc<UdpSocket> {
        if let Some(known) = self.known.get_mut(&real) {
            known.owner = owner.or(known.owner);
            return known.public.clone();
        }
        let public = bind(public);
        let receiving = self.tasks.spawn(receive(real, public.clone(), Arc::downgrade(shared)));
        self.known.insert(real, Known { public: public.clone(), receiving, owner });
        public
    }

    /// Sends a datagram on its way, if it has one.
    fn pass(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, datagram: &[u8], shared: &Arc<Mutex<Self>>) {
        let public = self.stand_for(from, SocketAddr::new(PUBLIC_ADDRESS, 0), None, shared);
        let owner = |inner: &Self, real: &SocketAddr| inner.known.get(real).and_then(|known| known.owner);
        let trips = self.flights.sent(from, to, datagram);
        let at = match (owner(self, &from), owner(self, &to)) {
            (Some(from), Some(to)) => self.network.pass(now, from, to, datagram),
            // Its candidate has not been told yet: the first check of all.
            _ => Some(now),
        };
        let Some(at) = at else { return };
        self.number += 1;
        let datagram = Bytes::copy_from_slice(datagram);
        // Nobody delivers any more where the network ends.
        let _ = self.parcels.send(Parcel { at, number: self.number, from: public, ends: (from, to), trips, datagram });
    }
}

/// Takes what others send to a socket by the one that stands for it.
async fn receive(real: SocketAddr, public: Arc<UdpSocket>, shared: Weak<Mutex<Inner>>) {
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        // An error is an answer of the system to an earlier packet: somebody may be gone.
        let Ok((len, from)) = public.recv_from(&mut buffer).await else { continue };
        let Some(shared) = shared.upgrade() else { return };
        if let Some(datagram) = buffer.get(..len) {
            lock(&shared).pass(Instant::now(), from, real, datagram, &shared);
        }
    }
}

/// Hands datagrams on when their time has come.
async fn deliver(mut queue: mpsc::UnboundedReceiver<Parcel>, shared: Weak<Mutex<Inner>>) {
    let mut waiting: BinaryHeap<Reverse<Parcel>> = BinaryHeap::new();
    loop {
        let next = waiting.peek().map(|Reverse(parcel)| parcel.at);
        tokio::select! {
            parcel = queue.recv() => match parcel {
                Some(parcel) => waiting.push(Reverse(parcel)),
                None => return,
            },
            () = async { match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            } } => {}
        }
        while let Ok(parcel) = queue.try_recv() {
            waiting.push(Reverse(parcel));
        }
        let now = Instant::now();
        while waiting.peek().is_some_and(|Reverse(parcel)| parcel.at <= now) {
            let Some(Reverse(parcel)) = waiting.pop() else { break };
            if let Some(shared) = shared.upgrade() {
                lock(&shared).flights.delivered(parcel.ends, parcel.trips);
            }
            // What does not fit the receiver's buffer is lost, as on any network.
            let _ = parcel.from.try_send_to(&parcel.datagram, parcel.ends.1);
        }
    }
}
