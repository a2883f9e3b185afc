//! The media plane: N threads, each with a UDP port, transports and forwarders of its own. A room lives on one of them.
//!
//! A shard's loop takes commands, drains its socket in batches, and acts on what is due; it reads the clock once per batch. Packets
//! towards one receiver are gathered into runs of equal size and leave at the end of the batch.

mod clock;
mod data;
mod egress;
mod flow;
pub mod in_memory;
mod metrics;
mod negotiate;
mod room;
mod rooms;
mod session;
mod socket;
mod timers;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};
use std::thread::JoinHandle;

use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use tokio::sync::mpsc;

use self::metrics::{Figure, ShardMetrics};
use self::room::Waiting;
use self::socket::ShardSocket;
use self::worker::{ShardCommand, ShardStart};
use crate::media_plane::{MediaBusy, MediaCommand, MediaEvent, MediaPlane, RoomKey, RoomMedia, Sample};
use crate::transport::{IdentityError, RelayIdentity};

/// Shards of one process: more threads than cores only take turns.
pub const MAX_SHARDS: usize = 256;

/// Where shards listen.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// How many; 0: one per core.
    pub shards: usize,
    /// Address they bind.
    pub bind: IpAddr,
    /// Port of the first shard, the next ones follow; 0: any free port for each.
    pub first_port: u16,
    /// Addresses told to clients, best first; empty: `bind`, or the loopback address where that is unspecified.
    pub announce: Vec<IpAddr>,
    /// Audio tracks forwarded at once in a room.
    pub n_loudest: usize,
}

impl Default for ShardConfig {
    fn default() -> Self {
        let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { shards: 0, bind, first_port: 0, announce: Vec::new(), n_loudest: segue_forward::N_LOUDEST }
    }
}

/// Why the media plane did not begin.
#[derive(Debug, Error)]
pub enum ShardError {
    /// A port is taken, or an address is not this machine's.
    #[error("cannot bind the media port {address}: {error}")]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// No certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// No randomness.
    #[error("the system has no randomness")]
    Random,
}

/// The shards of a relay.
pub struct Shards {
    shards: Vec<Shard>,
    /// Rooms per shard: a new one goes where the fewest are, if there is one that is not full.
    loads: Arc<Mutex<BTreeMap<RoomKey, usize>>>,
}

struct Shard {
    commands: std_mpsc::Sender<ShardCommand>,
    waker: Arc<mio::Waker>,
    announced: Vec<SocketAddr>,
    metrics: Arc<ShardMetrics>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Notices the end of a shard's thread, a panic too.
struct Watch {
    index: usize,
    metrics: Arc<ShardMetrics>,
    told: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.told {
            self.metrics.add(Figure::Ended, 1);
            tracing::error!(shard = self.index, "a media shard ended by itself; its rooms close, restart the relay");
        }
    }
}

/// A room's way to its shard.
struct ShardRoom {
    room: RoomKey,
    commands: std_mpsc::Sender<ShardCommand>,
    waker: Arc<mio::Waker>,
    waiting: Arc<Waiting>,
    loads: Arc<Mutex<BTreeMap<RoomKey, usize>>>,
}

impl Shards {
    /// Binds the ports and starts the threads.
    ///
    /// # Errors
    /// [`ShardError`]; nothing is left running then.
    pub fn start(config: &ShardConfig) -> Result<Self, ShardError> {
        SystemRandom::new().fill(&mut [0; 8]).map_err(|_| ShardError::Random)?;
        let identity = Arc::new(RelayIdentity::generate()?);
        let count = match config.shards {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            count => count,
        };
        let mut shards = Self { shards: Vec::new(), loads: Arc::default() };
        for index in 0..count.min(MAX_SHARDS) {
            // On an error the shards before this one stop with `shards`.
            shards.shards.push(Shard::start(config, index, identity.clone())?);
        }
        Ok(shards)
    }

    fn loads(&self) -> MutexGuard<'_, BTreeMap<RoomKey, usize>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        for shard in &self.shards {
            // A shard that is gone already has nothing to stop.
            let _ = shard.commands.send(ShardCommand::Shutdown);
            let _ = shard.waker.wake();
        }
        for shard in &self.shards {
            let thread = shard.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("a shard ended with a panic");
            }
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shard {
    fn start(config: &ShardConfig, index: usize, identity: Arc<RelayIdentity>) -> Result<Self, ShardError> {
        let port = if config.first_port == 0 { 0 } else { config.first_port.saturating_add(index as u16) };
        let address = SocketAddr::new(config.bind, port);
        let (socket, waker) = ShardSocket::bind(address).map_err(|error| ShardError::Bind { address, error })?;
        let port = socket.local().port();
        let announced: Vec<_> = announced(config).into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let (commands, received) = std_mpsc::channel();
        let metrics = Arc::new(ShardMetrics::new());
        let start = ShardStart {
            identity,
            announced: announced.clone(),
            metrics: metrics.clone(),
            random,
            n_loudest: config.n_loudest,
        };
        let thread = std::thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || {
                let mut watch = Watch { index, metrics: start.metrics.clone(), told: false };
                watch.told = worker::run(start, socket, &received);
            })
            .map_err(ShardError::Thread)?;
        Ok(Self { commands, waker: Arc::new(waker), announced, metrics, thread: Mutex::new(Some(thread)) })
    }

    fn is_full(&self) -> bool {
        self.metrics.get(Figure::Full) > 0
    }

    fn has_ended(&self) -> bool {
        self.metrics.get(Figure::Ended) > 0
    }
}

impl MediaPlane for Shards {
    fn open_room(&self, room: RoomKey, events: mpsc::Sender<MediaEvent>) -> Box<dyn RoomMedia> {
        let index = {
            let mut loads = self.loads();
            let load = |index: usize| loads.values().filter(|&&shard| shard == index).count();
            let ended = |index: usize| self.shards.get(index).is_some_and(Shard::has_ended);
            let full = |index: usize| self.shards.get(index).is_some_and(Shard::is_full);
            let order = |&index: &usize| (ended(index), full(index), load(index));
            let index = (0..self.shards.len()).min_by_key(order).unwrap_or(0);
            loads.insert(room, index);
            index
        };
        // `start` makes at least one shard.
        let shard = &self.shards[index];
        let waiting = Arc::new(Waiting::default());
        let opened = ShardRoom {
            room,
            commands: shard.commands.clone(),
            waker: shard.waker.clone(),
            waiting: waiting.clone(),
            loads: self.loads.clone(),
        };
        // Where all shards have ended the room finds its events at an end.
        let _ = opened.send(ShardCommand::Open { room, events, waiting });
        Box::new(opened)
    }

    fn is_full(&self, room: Option<RoomKey>) -> bool {
        match room.and_then(|room| self.loads().get(&room).copied()) {
            Some(index) => self.shards.get(index).is_some_and(Shard::is_full),
            None => self.shards.iter().all(|shard| shard.is_full() || shard.has_ended()),
        }
    }

    fn announced(&self) -> Vec<SocketAddr> {
        self.shards.iter().flat_map(|shard| shard.announced.iter().copied()).collect()
    }

    fn samples(&self) -> Vec<Sample> {
        self.shards.iter().enumerate().flat_map(|(index, shard)| shard.metrics.samples(index)).collect()
    }

    fn trouble(&self) -> Option<String> {
        let ended = self.shards.iter().filter(|shard| shard.has_ended()).count();
        let all = self.shards.len();
        (ended > 0).then(|| format!("{ended} of {all} media shards have ended; look at the log and restart the relay"))
    }

    fn shutdown(&self) {
        self.stop();
    }
}

impl RoomMedia for ShardRoom {
    fn command(&self, command: MediaCommand) -> Result<(), MediaBusy> {
        self.waiting.enter(&command)?;
        self.send(ShardCommand::Room(self.room, command))
    }
}

impl ShardRoom {
    /// A shard that has ended takes no commands.
    fn send(&self, command: ShardCommand) -> Result<(), MediaBusy> {
        self.commands.send(command).map_err(|_| MediaBusy)?;
        let _ = self.waker.wake();
        Ok(())
    }
}

impl Drop for ShardRoom {
    fn drop(&mut self) {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.room);
        // With a shard that has ended the room is closed already.
        let _ = self.send(ShardCommand::Close(self.room));
    }
}

fn announced(config: &ShardConfig) -> Vec<IpAddr> {
    if !config.announce.is_empty() {
        return config.announce.clone();
    }
    match config.bind {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![IpAddr::V6(Ipv6Addr::LOCALHOST)],
        ip => vec![ip],
    }
}

/// For SSRCs, first sequence numbers and session ids; no keys. `Shards::start` has seen the source work.
fn random() -> u64 {
    let mut bytes = [0; 8];
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_ended_is_noticed_and_gets_no_more_rooms() {
        let shards = Shards::start(&ShardConfig { shards: 2, ..ShardConfig::default() }).unwrap();
        let (events, mut received) = mpsc::channel(1);
        let room = shards.open_room(RoomKey(1), events);
        assert_eq!(shards.trouble(), None);
        shards.shards[0].commands.send(ShardCommand::Fail).unwrap();
        shards.shards[0].waker.wake().unwrap();
        // The room's events end with its shard.
        assert!(received.blocking_recv().is_none());
        while shards.trouble().is_none() {
            std::thread::yield_now();
        }
        assert!(shards.trouble().unwrap().starts_with("1 of 2 media shards have ended"));
        let ended: f64 = shards.samples().iter().filter(|sample| sample.name == "shards_ended_total").map(|s| s.value).sum();
        assert_eq!(ended, 1.0);
        let candidate = || MediaCommand::Candidate {
            participant: segue_model::ParticipantId(1),
            transport: crate::media_plane::TransportKind::Publisher,
            candidate: String::new(),
            ufrag: String::new(),
        };
        assert_eq!(room.command(candidate()), Err(MediaBusy));
        for key in 2..6 {
            let (events, _received) = mpsc::channel(1);
            assert_eq!(shards.open_room(RoomKey(key), events).command(candidate()), Ok(()));
        }
    }
}
