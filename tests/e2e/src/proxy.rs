//! A network between a client and the relay that can be torn.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// Passes TCP connections on while it is whole.
pub struct Proxy {
    address: SocketAddr,
    whole: Arc<watch::Sender<bool>>,
    swallows: Arc<watch::Sender<()>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of an address.
    pub async fn start(to: SocketAddr) -> Self {
        Self::start_slow(to, Duration::ZERO).await
    }

    /// The same, whose bytes take so long each way.
    pub async fn start_slow(to: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let whole = Arc::new(watch::Sender::new(true));
        let swallows = Arc::new(watch::Sender::new(()));
        let task = tokio::spawn(accept(listener, (to, delay), whole.clone(), swallows.clone()));
        Self { address, whole, swallows, task }
    }

    /// What clients connect to instead of the relay.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/v1/connect", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leaves every connection open, and carries nothing on it any more; later ones are let through.
    pub fn swallow(&self) {
        self.swallows.send_replace(());
    }

    /// Ends every connection and lets no other through.
    pub fn tear(&self) {
        self.whole.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    (to, delay): (SocketAddr, Duration),
    whole: Arc<watch::Sender<bool>>,
    swallows: Arc<watch::Sender<()>>,
) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut watching = whole.subscribe();
        if !*watching.borrow_and_update() {
            continue;
        }
        let mut swallowing = swallows.subscribe();
        tokio::spawn(async move {
            if !delay.is_zero() {
                // The connection itself takes a round trip, too.
                sleep(delay * 2).await;
            }
            let Ok(mut server) = TcpStream::connect(to).await else { return };
            tokio::select! {
                () = pass(&mut client, &mut server, delay) => return,
                _ = watching.wait_for(|whole| !whole) => return,
                _ = swallowing.changed() => {}
            }
            // Both ends believe in it until this network ends.
            let _ended = watching.wait_for(|whole| !whole).await;
        });
    }
}

/// Both ways until one ends.
async fn pass(client: &mut TcpStream, server: &mut TcpStream, delay: Duration) {
    if delay.is_zero() {
        // However it ends, it has ended.
        let _ = copy_bidirectional(client, server).await;
        return;
    }
    for stream in [&*client, &*server] {
        // Where it cannot be set the delay is a little longer.
        let _ = stream.set_nodelay(true);
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    tokio::select! {
        () = carry(from_client, to_server, delay) => {}
        () = carry(from_server, to_client, delay) => {}
    }
}

/// One way, every byte so much later.
async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, delay: Duration) {
    let (towards, mut passing) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(len) = from.read(&mut buffer).await {
            let bytes = buffer.get(..len).unwrap_or_default().to_vec();
            if len == 0 || towards.send((Instant::now() + delay, bytes)).is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((at, bytes)) = passing.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}
