//! A slow, long or lossy network between clients and the relay: a UDP proxy that emulates a link.
//!
//! The relay announces the proxy's address in place of its own. Every socket of a client becomes a flow of the [`Line`] that is current when its
//! first packet comes; flows of a line share its queues, as the devices behind one access line do. Conditions may be changed at
//! any time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use segue_relay::Config;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::relay::TestRelay;

/// Where the proxy listens, on the port of the relay: another address of the loopback network.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Largest datagram.
const MAX_DATAGRAM: usize = 2_048;

/// IPv4 and UDP headers, which take their share of a link.
const HEADERS: usize = 28;

/// What one direction of a line does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// On the way, beside the time in the queue.
    pub delay: Duration,
    /// Up to so much more, evenly; packets do not overtake each other.
    pub jitter: Duration,
    /// Share of packets lost by chance, 0 to 1.
    pub loss: f64,
    /// In kbit/s; `None`: without bound.
    pub rate: Option<u32>,
    /// A packet that would wait longer than this for the link is dropped (drop-tail).
    pub queue: Duration,
    /// Nothing passes.
    pub blocked: bool,
}

impl Default for Conditions {
    /// A perfect link.
    fn default() -> Self {
        let none = Duration::ZERO;
        Self { delay: none, jitter: none, loss: 0.0, rate: None, queue: Duration::from_millis(300), blocked: false }
    }
}

/// What happened to the packets of one direction of a line so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Packets that passed.
    pub packets: u64,
    /// Bytes that passed, headers included.
    pub bytes: u64,
    /// Packets lost by chance or by a block.
    pub lost: u64,
    /// Packets dropped at the full queue.
    pub dropped: u64,
    /// The longest wait in the queue since it was last asked for.
    pub longest_wait: Duration,
}

/// One direction of a line.
pub(crate) struct Shaper {
    conditions: Conditions,
    tally: Tally,
    /// The link is busy until then.
    busy: Option<Instant>,
    last: Option<Instant>,
    random: u64,
}

impl Shaper {
    pub(crate) fn new(conditions: Conditions, seed: u64) -> Self {
        Self { conditions, tally: Tally::default(), busy: None, last: None, random: seed }
    }

    /// Evenly from 0 to 1 (splitmix64).
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Packets from now on meet these.
    pub(crate) const fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// When a packet that comes now arrives at the other end; `None`: never.
    pub(crate) fn push(&mut self, now: Instant, payload: usize) -> Option<Instant> {
        let Conditions { delay, jitter, loss, rate, queue, blocked } = self.conditions;
        let bytes = payload + HEADERS;
        let begin = self.busy.map_or(now, |busy| busy.max(now));
        if rate.is_some() && begin - now > queue {
            self.tally.dropped += 1;
            return None;
        }
        // A packet that is lost further on has taken its time on the link.
        let takes = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 * 8.0 / (f64::from(rate) * 1e3)));
        self.busy = Some(begin + takes);
        self.tally.longest_wait = self.tally.longest_wait.max(begin - now);
        if blocked || self.chance() < loss {
            self.tally.lost += 1;
            return None;
        }
        self.tally.packets += 1;
        self.tally.bytes += bytes as u64;
        let arrival = begin + takes + delay + jitter.mul_f64(self.chance());
        let arrival = self.last.map_or(arrival, |last| arrival.max(last));
        self.last = Some(arrival);
        Some(arrival)
    }
}

type Shared = Arc<Mutex<Shaper>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both directions of an access line. Clones are the same line.
#[derive(Clone)]
pub struct Line {
    up: Shared,
    down: Shared,
}

impl Line {
    fn new(up: Conditions, down: Conditions) -> Self {
        let shaper = |conditions, seed| Arc::new(Mutex::new(Shaper::new(conditions, seed)));
        Self { up: shaper(up, 1), down: shaper(down, 2) }
    }

    /// From now on packets towards the relay meet these.
    pub fn set_up(&self, conditions: Conditions) {
        lock(&self.up).conditions = conditions;
    }

    /// From now on packets from the relay meet these.
    pub fn set_down(&self, conditions: Conditions) {
        lock(&self.down).conditions = conditions;
    }

    /// Lets nothing through, or everything again as before.
    pub fn block(&self, blocked: bool) {
        lock(&self.up).conditions.blocked = blocked;
        lock(&self.down).conditions.blocked = blocked;
    }

    /// What became of packets towards the relay. The longest wait begins anew.
    #[must_use]
    pub fn tally_up(&self) -> Tally {
        tally(&self.up)
    }

    /// What became of packets from the relay. The longest wait begins anew.
    #[must_use]
    pub fn tally_down(&self) -> Tally {
        tally(&self.down)
    }
}

fn tally(shaper: &Shared) -> Tally {
    let mut shaper = lock(shaper);
    let tally = shaper.tally;
    shaper.tally.longest_wait = Duration::ZERO;
    tally
}

/// The proxy. Ends when dropped.
pub struct Link {
    current: Arc<Mutex<Line>>,
    _tasks: JoinSet<()>,
}

impl Link {
    /// A relay that is reached through an emulated link. Until told otherwise it is perfect.
    ///
    /// # Panics
    /// When the loopback network has no second address with the relay's port free.
    pub async fn before_relay() -> (Self, TestRelay) {
        Self::before_relay_with(|_| ()).await
    }

    /// The same with settings of the test's own.
    ///
    /// # Panics
    /// When the loopback network has no second address with the relay's port free.
    pub async fn before_relay_with(adjust: impl FnOnce(&mut Config)) -> (Self, TestRelay) {
        let relay = TestRelay::start_with(|config: &mut Config| {
            config.media.bind = Ipv4Addr::LOCALHOST.into();
            config.media.announce = vec![ADDRESS];
            adjust(config);
        })
        .await;
        let announced = relay.relay().media_addresses();
        let port = announced.first().expect("a media address").port();
        let socket =
            UdpSocket::bind((ADDRESS, port)).await.expect("the relay's port on another address of the loopback network");
        let current = Arc::new(Mutex::new(Line::new(Conditions::default(), Conditions::default())));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(Arc::new(socket), SocketAddr::from((Ipv4Addr::LOCALHOST, port)), current.clone()));
        (Self { current, _tasks: tasks }, relay)
    }

    /// Sockets that show up from now on are behind a line of their own.
    #[must_use]
    pub fn new_line(&self, up: Conditions, down: Conditions) -> Line {
        let line = Line::new(up, down);
        *lock(&self.current) = line.clone();
        line
    }
}

/// One socket of a client.
struct Flow {
    line: Line,
    towards: mpsc::UnboundedSender<(Instant, Bytes)>,
}

/// Takes packets of all clients. Each gets a socket of its own towards the relay, by which the relay knows it.
async fn accept(socket: Arc<UdpSocket>, relay: SocketAddr, current: Arc<Mutex<Line>>) {
    let mut flows: BTreeMap<SocketAddr, Flow> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = [0; MAX_DATAGRAM];
    while let Ok((len, client)) = socket.recv_from(&mut buffer).await {
        let flow = match flows.entry(client) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let outer = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port"));
                outer.connect(relay).await.expect("the relay's address");
                let line = lock(&current).clone();
                let (towards, passing) = mpsc::unbounded_channel();
                tasks.spawn(deliver(passing, outer.clone(), None));
                let (back, returning) = mpsc::unbounded_channel();
                tasks.spawn(deliver(returning, socket.clone(), Some(client)));
                tasks.spawn(receive(outer, line.down.clone(), back));
                new.insert(Flow { line, towards })
            }
        };
        let Some(datagram) = buffer.get(..len) else { continue };
        let arrival = lock(&flow.line.up).push(Instant::now(), len);
        if let Some(arrival) = arrival {
            let _ = flow.towards.send((arrival, Bytes::copy_from_slice(datagram)));
        }
    }
}

/// Takes what the relay sends to one client.
async fn receive(socket: Arc<UdpSocket>, shaper: Shared, out: mpsc::UnboundedSender<(Instant, Bytes)>) {
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        // An error is an answer of the system to an earlier packet: the relay may be gone for a while.
        let Ok(len) = socket.recv(&mut buffer).await else { continue };
        let arrival = lock(&shaper).push(Instant::now(), len);
        if let (Some(arrival), Some(datagram)) = (arrival, buffer.get(..len)) {
            let _ = out.send((arrival, Bytes::copy_from_slice(datagram)));
        }
    }
}

/// Hands packets on when their time has come. They come in the order of their times.
async fn deliver(mut passing: mpsc::UnboundedReceiver<(Instant, Bytes)>, socket: Arc<UdpSocket>, to: Option<SocketAddr>) {
    while let Some((at, datagram)) = passing.recv().await {
        sleep_until(at).await;
        let _ = match to {
            Some(client) => socket.send_to(&datagram, client).await,
            None => socket.send(&datagram).await,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_wait_their_turn_and_the_queue_has_an_end() {
        let now = Instant::now();
        let conditions = Conditions { rate: Some(800), delay: Duration::from_millis(20), ..Conditions::default() };
        let mut shaper = Shaper::new(conditions, 1);
        // 1,000 bytes take 10 ms.
        let arrivals: Vec<_> = (0..40).map(|_| shaper.push(now, 1_000 - HEADERS)).collect();
        let after = |ms| Some(now + Duration::from_millis(ms));
        assert_eq!((arrivals[0], arrivals[1], arrivals[30], arrivals[31]), (after(30), after(40), after(330), None));
        assert_eq!((shaper.tally.packets, shaper.tally.dropped), (31, 9));
        assert_eq!(shaper.tally.longest_wait, Duration::from_millis(300));
    }

    #[test]
    fn packets_are_lost_by_chance_and_by_a_block_and_jitter_keeps_their_order() {
        let now = Instant::now();
        let conditions = Conditions { loss: 0.1, jitter: Duration::from_millis(30), ..Conditions::default() };
        let mut shaper = Shaper::new(conditions, 1);
        let arrivals: Vec<_> =
            (0..1_000).filter_map(|packet| shaper.push(now + Duration::from_millis(packet), 1_000)).collect();
        assert!(arrivals.is_sorted());
        assert!((850..950).contains(&arrivals.len()), "{}", arrivals.len());
        shaper.conditions.blocked = true;
        assert_eq!(shaper.push(now + Duration::from_secs(2), 1_000), None);
    }
}
