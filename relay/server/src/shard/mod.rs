//! The media plane: N threads, each with a UDP port, transports and forwarders of its own. A room lives on one of them.
//!
//! A shard's loop takes commands, drains its socket in batches, and acts on what is due; it reads the clock once per batch. Packets
//! towards one receiver are gathered into runs of equal size and leave at the end of the batch.

mod clock;
mod data;
mod egress;
mod flow;
mod metrics;
mod negotiate;
mod room;
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

use self::metrics::ShardMetrics;
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
    /// Rooms per shard: a new one goes where the fewest are.
    loads: Arc<Mutex<BTreeMap<RoomKey, usize>>>,
}

struct Shard {
    commands: std_mpsc::Sender<ShardCommand>,
    waker: Arc<mio::Waker>,
    announced: Vec<SocketAddr>,
    metrics: Arc<ShardMetrics>,
    thread: Mutex<Option<JoinHandle<()>>>,
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
            .spawn(move || worker::run(start, socket, &received))
            .map_err(ShardError::Thread)?;
        Ok(Self { commands, waker: Arc::new(waker), announced, metrics, thread: Mutex::new(Some(thread)) })
    }
}

impl MediaPlane for Shards {
    fn open_room(&self, room: RoomKey, events: mpsc::Sender<MediaEvent>) -> Box<dyn RoomMedia> {
        let index = {
            let mut loads = self.loads();
            let load = |index: usize| loads.values().filter(|&&shard| shard == index).count();
            let index = (0..self.shards.len()).min_by_key(|&index| load(index)).unwrap_or(0);
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
        opened.send(ShardCommand::Open { room, events, waiting });
        Box::new(opened)
    }

    fn announced(&self) -> Vec<SocketAddr> {
        self.shards.iter().flat_map(|shard| shard.announced.iter().copied()).collect()
    }

    fn samples(&self) -> Vec<Sample> {
        self.shards.iter().enumerate().flat_map(|(index, shard)| shard.metrics.samples(index)).collect()
    }

    fn shutdown(&self) {
        self.stop();
    }
}

impl RoomMedia for ShardRoom {
    fn command(&self, command: MediaCommand) -> Result<(), MediaBusy> {
        self.waiting.enter(&command)?;
        self.send(ShardCommand::Room(self.room, command));
        Ok(())
    }
}

impl ShardRoom {
    fn send(&self, command: ShardCommand) {
        // A shard that has stopped takes no commands: the relay is shutting down.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }
}

impl Drop for ShardRoom {
    fn drop(&mut self) {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.room);
        self.send(ShardCommand::Close(self.room));
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
