//! HTTP: the page, the signalling WebSocket, WHIP and WHEP, health and metrics.

mod linger;
mod page;
mod places;
mod whip;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Query, State, WebSocketUpgrade};
use axum::http::header::{CONTENT_TYPE, FORWARDED, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, http::HeaderValue};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use segue_wire::Encoding;
use segue_wire::limits::MAX_CLIENT_FRAME;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use self::linger::Lingering;
use self::places::{NoPlace, Place, Places};
use crate::signalling::{self, Allowance, Hub};

pub(crate) use self::places::ConnectionLimits;

/// Subprotocol of binary frames.
const PROTO: &str = "segue.v1.proto";

/// Subprotocol of text frames.
const JSON: &str = "segue.v1.json";

/// Handshakes and request heads that take longer are an attack or hopeless.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// What a WebSocket message may weigh before the connection is closed for it. Above the limit of a frame, so that one that is somewhat
/// too large is answered with an error.
const MAX_WEBSOCKET_MESSAGE: usize = 4 * MAX_CLIENT_FRAME;

/// Bytes read of a WebSocket at a time, and what an idle one holds: signalling is small, and whoever may connect may connect often.
const READ_BUFFER: usize = 4 * 1024;

/// Ports tried where the default one is taken.
const PORTS_TRIED: u16 = 20;

/// After an error of `accept` (no file descriptors left), wait before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that are told why they are not served, at a time. Those beyond are closed without a word.
const MAX_REFUSALS: usize = 64;

/// Seconds after which whoever found no place may try again.
const RETRY_AFTER_SECONDS: &str = "5";

/// What HTTP serves, and whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpRules {
    /// How many connections.
    pub(crate) connections: ConnectionLimits,
    /// `/metrics` for others than this machine.
    pub(crate) public_metrics: bool,
}

/// Where a connection comes from.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

/// Listens; where the port is taken and `try_next` says so, on the next free one.
pub(crate) async fn bind(address: SocketAddr, try_next: bool) -> io::Result<TcpListener> {
    let last = if try_next { address.port().saturating_add(PORTS_TRIED) } else { address.port() };
    let mut port = address.port();
    loop {
        match TcpListener::bind(SocketAddr::new(address.ip(), port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port < last => port += 1,
            outcome => return outcome,
        }
    }
}

/// Serves until `stop` changes. Connections that are open then go on until their rooms end them.
pub(crate) async fn serve(
    hub: Arc<Hub>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    rules: HttpRules,
    mut stop: watch::Receiver<bool>,
) {
    let router = router(hub.clone(), rules.public_metrics);
    let places = Places::new(rules.connections);
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    loop {
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => (stream, from.ip().to_canonical()),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            _ = stop.changed() => return,
        };
        match places.take(from) {
            Ok(place) => {
                let allowance = Arc::new(Allowance::unlimited());
                let stream = Lingering::new(stream, Some(place.clone()), allowance.clone());
                let router = router.clone().layer(Extension(place)).layer(Extension(Peer(from))).layer(Extension(allowance));
                tokio::spawn(serve_stream(hub.clone(), stream, tls.clone(), router));
            }
            Err(why) => {
                note_refusal(&hub, why);
                let Ok(permit) = refusals.clone().try_acquire_owned() else { continue };
                let lingering = Lingering::new(stream, None, Arc::new(Allowance::unlimited()));
                let served = serve_stream(hub.clone(), lingering, tls.clone(), refusal(why));
                tokio::spawn(async move {
                    served.await;
                    drop(permit);
                });
            }
        }
    }
}

/// Counts a connection without a place. The log hears of the first, the second, the fourth: whoever floods the relay does not flood its
/// log.
fn note_refusal(hub: &Hub, why: NoPlace) {
    let counter = match why {
        NoPlace::Full(_) => &hub.metrics.refused_full,
        NoPlace::Share(_) => &hub.metrics.refused_share,
    };
    counter.increment();
    if counter.get().is_power_of_two() {
        tracing::warn!(%why, so_far = counter.get(), "connections are refused");
    }
}

/// Answers whatever is asked with why it is not.
fn refusal(why: NoPlace) -> Router {
    let status = match why {
        NoPlace::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
        NoPlace::Share(_) => StatusCode::TOO_MANY_REQUESTS,
    };
    let headers = [(RETRY_AFTER, RETRY_AFTER_SECONDS), (axum::http::header::CONNECTION, "close")];
    Router::new().fallback(move || async move { (status, headers, format!("{why}\n")) })
}

async fn serve_stream(hub: Arc<Hub>, stream: Lingering, tls: Option<TlsAcceptor>, router: Router) {
    stream.hurry();
    let served = match tls {
        None => serve_http(stream, router).await,
        Some(acceptor) => match timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => serve_http(stream, router).await,
            Ok(Err(_)) | Err(_) => Err(()),
        },
    };
    if served.is_err() {
        hub.metrics.http_failures.increment();
    }
}

async fn serve_http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) -> Result<(), ()> {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_DEADLINE);
    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).with_upgrades().await.map_err(|_| ())
}

fn router(hub: Arc<Hub>, public_metrics: bool) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/v1/connect", get(connect))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics).layer(Extension(PublicMetrics(public_metrics))))
        .merge(whip::routes())
        .route("/{*file}", get(page::file))
        .with_state(hub)
}

/// What `/v1/connect` may be asked for.
#[derive(Deserialize)]
struct ConnectQuery {
    /// The room the caller means; a token for another one is refused.
    room: Option<String>,
}

async fn connect(
    State(hub): State<Arc<Hub>>,
    Extension(place): Extension<Place>,
    Extension(allowance): Extension<Arc<Allowance>>,
    Query(query): Query<ConnectQuery>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade = upgrade
        .protocols([PROTO, JSON])
        .read_buffer_size(READ_BUFFER)
        .max_message_size(MAX_WEBSOCKET_MESSAGE)
        .max_frame_size(MAX_WEBSOCKET_MESSAGE);
    // Without a subprotocol it is a person with a tool for text.
    let proto = upgrade.selected_protocol().is_some_and(|protocol| *protocol == HeaderValue::from_static(PROTO));
    let encoding = if proto { Encoding::Proto } else { Encoding::Json };
    upgrade.on_upgrade(move |socket| async move {
        allowance.begin();
        signalling::serve(hub, socket, encoding, query.room, allowance).await;
        drop(place);
    })
}

/// Whether others than this machine may read the metrics.
#[derive(Clone, Copy)]
struct PublicMetrics(bool);

async fn health(State(hub): State<Arc<Hub>>) -> Response {
    // A balancer sends nobody to a relay that opens no rooms.
    let draining = || hub.is_draining().then(|| "the relay is shutting down".to_owned());
    match hub.media.trouble().or_else(draining) {
        None => "ok\n".into_response(),
        Some(sentence) => (StatusCode::SERVICE_UNAVAILABLE, format!("{sentence}\n")).into_response(),
    }
}

async fn metrics(
    State(hub): State<Arc<Hub>>,
    Extension(Peer(peer)): Extension<Peer>,
    Extension(PublicMetrics(public)): Extension<PublicMetrics>,
    headers: HeaderMap,
) -> Response {
    // What a proxy on this machine passes on is not asked by this machine.
    let passed_on = headers.contains_key(FORWARDED) || headers.contains_key("x-forwarded-for");
    if !public && (passed_on || !peer.is_loopback()) {
        let sentence =
            "figures are for this machine only; set http.public_metrics (--http-public-metrics) to show them to others\n";
        return (StatusCode::FORBIDDEN, sentence).into_response();
    }
    let text = hub.metrics.render(&hub.media.samples());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
