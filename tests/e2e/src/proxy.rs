//! A network between a client and the relay that can be torn.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let whole = Arc::new(watch::Sender::new(true));
        let swallows = Arc::new(watch::Sender::new(()));
        let task = tokio::spawn(accept(listener, to, whole.clone(), swallows.clone()));
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

async fn accept(listener: TcpListener, to: SocketAddr, whole: Arc<watch::Sender<bool>>, swallows: Arc<watch::Sender<()>>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut watching = whole.subscribe();
        if !*watching.borrow_and_update() {
            continue;
        }
        let mut swallowing = swallows.subscribe();
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(to).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => return,
                _ = watching.wait_for(|whole| !whole) => return,
                _ = swallowing.changed() => {}
            }
            // Both ends believe in it until this network ends.
            let _ended = watching.wait_for(|whole| !whole).await;
        });
    }
}
