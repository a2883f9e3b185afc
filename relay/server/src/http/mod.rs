//! HTTP: the page, the signalling WebSocket, health and metrics.

mod page;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Query, State, WebSocketUpgrade};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, http::HeaderValue};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use segue_wire::Encoding;
use segue_wire::limits::MAX_CLIENT_FRAME;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::signalling::{self, Hub};

/// Subprotocol of binary frames.
const PROTO: &str = "segue.v1.proto";

/// Subprotocol of text frames.
const JSON: &str = "segue.v1.json";

/// Handshakes and request heads that take longer are an attack or hopeless.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// What a WebSocket message may weigh before the connection is closed for it. Above the limit of a frame, so that one that is somewhat
/// too large is answered with an error.
const MAX_WEBSOCKET_MESSAGE: usize = 4 * MAX_CLIENT_FRAME;

/// Ports tried where the default one is taken.
const PORTS_TRIED: u16 = 20;

/// After an error of `accept` (no file descriptors left), wait before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A place among the connections the relay serves; held as long as its socket.
#[derive(Clone)]
struct Place(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

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
    max_connections: usize,
    mut stop: watch::Receiver<bool>,
) {
    let router = router(hub.clone());
    let places = Arc::new(Semaphore::new(max_connections));
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            _ = stop.changed() => return,
        };
        let Ok(permit) = places.clone().try_acquire_owned() else {
            hub.metrics.http_failures.increment();
            continue;
        };
        let router = router.clone().layer(Extension(Place(Arc::new(permit))));
        tokio::spawn(serve_stream(hub.clone(), stream, tls.clone(), router));
    }
}

async fn serve_stream(hub: Arc<Hub>, stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    // Frames are small and wait for no others.
    let _ = stream.set_nodelay(true);
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

fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/v1/connect", get(connect))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
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
    Query(query): Query<ConnectQuery>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade =
        upgrade.protocols([PROTO, JSON]).max_message_size(MAX_WEBSOCKET_MESSAGE).max_frame_size(MAX_WEBSOCKET_MESSAGE);
    // Without a subprotocol it is a person with a tool for text.
    let proto = upgrade.selected_protocol().is_some_and(|protocol| *protocol == HeaderValue::from_static(PROTO));
    let encoding = if proto { Encoding::Proto } else { Encoding::Json };
    upgrade.on_upgrade(move |socket| async move {
        signalling::serve(hub, socket, encoding, query.room).await;
        drop(place);
    })
}

async fn metrics(State(hub): State<Arc<Hub>>) -> Response {
    let text = hub.metrics.render(&hub.media.samples());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
