//! A participant's connection to the relay, with a delay, that can be torn; and how many trips it took.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

/// Trips that have reached the client and the relay.
type Heard = Arc<Mutex<[u32; 2]>>;

/// Passes TCP connections on, later.
pub struct Wire {
    address: SocketAddr,
    /// Counts how often connections were torn.
    torn: Arc<watch::Sender<u64>>,
    heard: Heard,
    task: JoinHandle<()>,
}

impl Wire {
    /// To an address, `delay` one way.
    ///
    /// # Panics
    /// Where there is no free port.
    pub async fn start(to: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (torn, heard) = (Arc::new(watch::Sender::new(0)), Heard::default());
        let task = tokio::spawn(accept(listener, to, delay, torn.clone(), heard.clone()));
        Self { address, torn, heard, task }
    }

    /// What the client connects to instead of the relay.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection; new ones pass.
    pub fn tear(&self) {
        self.torn.send_modify(|times| *times += 1);
    }

    /// Single trips that led to what the client has heard last. TCP's own handshake is not among them.
    #[must_use]
    pub fn trips(&self) -> u32 {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)[0]
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, delay: Duration, torn: Arc<watch::Sender<u64>>, heard: Heard) {
    while let Ok((client, _)) = listener.accept().await {
        let (mut tearing, heard) = (torn.subscribe(), heard.clone());
        tearing.mark_unchanged();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(to).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = async {
                    tokio::join!(
                        pump(from_client, to_server, delay, heard.clone(), 0),
                        pump(from_server, to_client, delay, heard, 1),
                    );
                } => {}
                _ = tearing.changed() => {}
            }
        });
    }
}

/// One direction; `side` says who speaks.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration, heard: Heard, side: usize) {
    let (chunks, mut waiting) = mpsc::unbounded_channel::<(Instant, u32, Bytes)>();
    let locked = || heard.lock().unwrap_or_else(PoisonError::into_inner);
    let read = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(len) = from.read(&mut buffer).await {
            if len == 0 {
                break;
            }
            let trips = locked()[side] + 1;
            let chunk = buffer.get(..len).map(Bytes::copy_from_slice).unwrap_or_default();
            if chunks.send((Instant::now() + delay, trips, chunk)).is_err() {
                break;
            }
        }
        drop(chunks);
    };
    let write = async {
        while let Some((at, trips, chunk)) = waiting.recv().await {
            sleep_until(at).await;
            {
                let mut heard = locked();
                heard[1 - side] = heard[1 - side].max(trips);
            }
            if to.write_all(&chunk).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}
