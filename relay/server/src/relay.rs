//! A whole relay in one value.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use segue_session::room::RoomConfig;
use segue_wire::proto::{self, ErrorCode, LeaveReason};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::auth::{Claims, Grants, KeyError, Keys, LOCAL_DEVELOPMENT_SECRET, MintError};
use crate::clock;
use crate::config::{self, Config, DEFAULT_CONNECTIONS_PER_ADDRESS, Tls};
use crate::http::{self, ConnectionLimits, HttpRules};
use crate::media_plane::MediaPlane;
use crate::metrics::Metrics;
use crate::shard::{ShardConfig, ShardError, Shards};
use crate::signalling::Hub;
use crate::tls::{self, TlsError};

/// Validity of tokens the relay makes itself: a day of trying things out.
const TOKEN_SECONDS: u64 = 24 * 60 * 60;

/// Clients of a relay that stops come back after this: long enough for a restart.
const RETRY_AFTER_MS: u32 = 1000;

/// Random bytes of a development key that others can reach.
const DEVELOPMENT_SECRET_BYTES: usize = 32;

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// TLS cannot be offered.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP port is taken, or the address is not this machine's.
    #[error("cannot listen on {address}: {source}; choose another with --http-listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// UDP.
    #[error("{0}; choose other ports with --udp-bind and --udp-port")]
    Media(#[from] ShardError),
    /// No randomness for keys.
    #[error("the system has no randomness")]
    Random,
}

/// A running relay. Dropping it stops accepting connections at once; [`Relay::shutdown`] says goodbye first.
pub struct Relay {
    hub: Arc<Hub>,
    address: SocketAddr,
    scheme: &'static str,
    public_url: Option<String>,
    development: bool,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay: sockets are bound and it answers when this returns.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let media = &config.media;
        let shards = Shards::start(&ShardConfig {
            shards: media.shards,
            bind: media.bind,
            first_port: media.port,
            announce: media.announce.clone(),
            ..ShardConfig::default()
        })?;
        Self::start_with(config, Arc::new(shards)).await
    }

    /// Starts a relay over another media plane.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_with(config: Config, media: Arc<dyn MediaPlane>) -> Result<Self, StartError> {
        let development = config.keys.is_empty();
        let keys = if development { development_keys(&config)? } else { Keys::from_settings(&config.keys)? };
        let names = [config.media.announce.clone(), vec![reachable(config.http.ip())]].concat();
        let acceptor = tls::acceptor(&config.tls, &names)?;
        let listener = http::bind(config.http, config.try_next_port).await;
        let listener = listener.map_err(|source| StartError::Listen { address: config.http, source })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address: config.http, source })?;
        let mut ice_servers = config.room.ice_servers.clone();
        ice_servers.insert(0, own_stun(media.as_ref()));
        ice_servers.retain(|server| !server.urls.is_empty());
        let template = RoomConfig { incarnation: clock::unix_millis(), ice_servers, ..config.room };
        let hub = Hub::new(keys, template, config.max_rooms, media, Arc::new(Metrics::default()));
        let share = config.max_connections_per_address;
        let rules = HttpRules {
            connections: ConnectionLimits {
                all: config.max_connections,
                per_address: share.unwrap_or(DEFAULT_CONNECTIONS_PER_ADDRESS),
                loopback: share.unwrap_or(usize::MAX),
            },
            public_metrics: config.public_metrics,
        };
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(http::serve(hub.clone(), listener, acceptor, rules, stopped));
        let scheme = if config.tls == Tls::Off { "http" } else { "https" };
        Ok(Self { hub, address, scheme, public_url: config.public_url, development, stop, server })
    }

    /// Where HTTP listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Announced addresses of the media ports.
    #[must_use]
    pub fn media_addresses(&self) -> Vec<SocketAddr> {
        self.hub.media.announced()
    }

    /// What a client connects to: `ws://` or `wss://`, with the path of the signalling endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/v1/connect", self.page_url().replacen("http", "ws", 1))
    }

    /// What a browser opens.
    #[must_use]
    pub fn page_url(&self) -> String {
        let here = || format!("{}://{}", self.scheme, SocketAddr::new(reachable(self.address.ip()), self.address.port()));
        self.public_url.clone().unwrap_or_else(here)
    }

    /// A link that opens the page with a token for a room; everybody who has it may come, each as a guest of its own.
    ///
    /// # Errors
    /// The relay has only keys that check.
    pub fn link(&self, room: &str) -> Result<String, MintError> {
        Ok(format!("{}/#token={}", self.page_url(), self.token(room, "", Grants::default())?))
    }

    /// A token for one day. An empty identity is for anyone.
    ///
    /// # Errors
    /// The relay has only keys that check.
    pub fn token(&self, room: &str, identity: &str, grants: Grants) -> Result<String, MintError> {
        self.token_with(Claims::new(room, identity, grants, TOKEN_SECONDS))
    }

    /// A token with any claims.
    ///
    /// # Errors
    /// The relay has only keys that check.
    pub fn token_with(&self, claims: Claims) -> Result<String, MintError> {
        self.hub.keys.mint(claims)
    }

    /// It runs with a development key.
    #[must_use]
    pub fn development(&self) -> bool {
        self.development
    }

    /// Figures, as `/metrics` shows them.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.hub.metrics.render(&self.hub.media.samples())
    }

    /// Opens no more rooms, tells `/healthz` so, and waits until the open ones have ended, at most so long. [`Self::shutdown`] comes next.
    pub async fn drain(&self, at_most: Duration) {
        self.hub.drain(at_most).await;
    }

    /// Says goodbye to every client (`SHUTDOWN`, with a time to come back after), closes transports and sockets.
    pub async fn shutdown(mut self) {
        // The server may have ended already.
        let _ = self.stop.send(true);
        let message = "the relay is shutting down; connect again in a moment".to_owned();
        let (reason, code) = (LeaveReason::Shutdown.into(), ErrorCode::Shutdown.into());
        self.hub.close(&proto::Goodbye { reason, code, message, retry_after_ms: RETRY_AFTER_MS }).await;
        let _ = (&mut self.server).await;
        let media = self.hub.media.clone();
        // Joining threads blocks.
        let _ = tokio::task::spawn_blocking(move || media.shutdown()).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The relay's own STUN, as an entry of the list clients get.
fn own_stun(media: &dyn MediaPlane) -> proto::IceServer {
    let urls = media.announced().into_iter().map(|address| format!("stun:{address}")).collect();
    proto::IceServer { urls, ..proto::IceServer::default() }
}

/// The secret that everybody knows serves where only this machine can come: not behind a proxy or a tunnel either.
fn development_keys(config: &Config) -> Result<Keys, StartError> {
    if config.http.ip().is_loopback() && config.media.bind.is_loopback() && config.public_url.is_none() {
        return Ok(Keys::development(LOCAL_DEVELOPMENT_SECRET));
    }
    let mut secret = [0; DEVELOPMENT_SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).map_err(|_| StartError::Random)?;
    Ok(Keys::development(&URL_SAFE_NO_PAD.encode(secret)))
}

/// An address that others can use where the relay listens on all.
fn reachable(ip: IpAddr) -> IpAddr {
    if ip.is_unspecified() { config::lan_address().unwrap_or(Ipv4Addr::LOCALHOST.into()) } else { ip }
}
