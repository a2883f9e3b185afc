//! The connection to the relay that carries signalling: one WebSocket, protobuf in binary messages.
//!
//! A [`Connection`] is one attempt. It reports itself open, hands frames both ways through bounded queues and reports itself
//! closed; when to try again is not decided here.

mod tls;
mod url;

use futures_util::{SinkExt, StreamExt};
use segue_wire::{Encoding, decode_server_frame, encode_client_frame, limits, proto};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

pub(crate) use url::Endpoint;
pub use url::UrlError;

/// The subprotocol: these messages as protobuf.
const SUBPROTOCOL: &str = "segue.v1.proto";

/// Frames that may wait to be written; the carrier keeps and resends what is not acknowledged, so more is no gain.
const MAX_OUTGOING: usize = 512;

/// Bytes that may wait in the WebSocket for a slow network: 4 frames of the largest size.
const MAX_WRITE_BUFFER: usize = 4 * limits::MAX_CLIENT_FRAME;

/// How long TCP, TLS and the WebSocket handshake may take together.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(8);

/// How long writing the rest and the close handshake may take.
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// What a connection reports.
#[derive(Debug)]
pub(crate) enum SignallingEvent {
    /// Frames can be written.
    Open,
    /// A frame of the relay.
    Frame(Box<proto::ServerFrame>),
    /// It ended or could not be opened. Nothing follows.
    Closed { reason: String },
}

/// A report and the attempt it belongs to.
#[derive(Debug)]
pub(crate) struct SignallingInput {
    pub(crate) attempt: u64,
    pub(crate) event: SignallingEvent,
}

/// One connection, open or opening. Dropping it writes out what is queued and closes.
pub(crate) struct Connection {
    frames: mpsc::Sender<proto::ClientFrame>,
}

impl Connection {
    /// Begins to connect. Must be called within a tokio runtime.
    pub(crate) fn open(endpoint: Endpoint, attempt: u64, events: mpsc::Sender<SignallingInput>) -> Self {
        let (frames, queue) = mpsc::channel(MAX_OUTGOING);
        tokio::spawn(async move {
            let reports = Reports { attempt, events };
            let reason = run(endpoint, queue, &reports).await;
            reports.send(SignallingEvent::Closed { reason }).await;
        });
        Self { frames }
    }

    /// Queues a frame; false where the relay does not read or the connection is gone.
    pub(crate) fn send(&self, frame: proto::ClientFrame) -> bool {
        self.frames.try_send(frame).is_ok()
    }
}

struct Reports {
    attempt: u64,
    events: mpsc::Sender<SignallingInput>,
}

impl Reports {
    /// Waits where the room is behind, which slows the relay's reads down; false when the room is gone.
    async fn send(&self, event: SignallingEvent) -> bool {
        self.events.send(SignallingInput { attempt: self.attempt, event }).await.is_ok()
    }
}

/// The life of a connection; ends with the reason for its end.
async fn run(endpoint: Endpoint, mut queue: mpsc::Receiver<proto::ClientFrame>, reports: &Reports) -> String {
    let mut socket = tokio::select! {
        // Nothing is queued before it is open.
        None = queue.recv() => return "closed by this side".to_owned(),
        connected = timeout(CONNECT_TIMEOUT, connect(endpoint)) => match connected {
            Ok(Ok(socket)) => socket,
            Ok(Err(reason)) => return reason,
            Err(_) => return "the relay did not answer in time".to_owned(),
        },
    };
    if !reports.send(SignallingEvent::Open).await {
        return String::new();
    }
    let reason = loop {
        tokio::select! {
            // What is queued goes first: a room that is left at this moment hears nothing any more, but the relay has to hear of it.
            biased;
            frame = queue.recv() => match frame {
                None => break "closed by this side".to_owned(),
                Some(frame) => {
                    if let Err(error) = write(&mut socket, frame, &mut queue).await {
                        return sentence(&error);
                    }
                }
            },
            message = socket.next() => match message {
                None => break "the relay closed the connection".to_owned(),
                Some(Err(error)) => return sentence(&error),
                Some(Ok(message)) => match read(&message) {
                    Read::Frame(frame) => {
                        if !reports.send(SignallingEvent::Frame(frame)).await {
                            break String::new();
                        }
                    }
                    Read::Nothing => {}
                    Read::Bad(reason) => break reason,
                },
            },
        }
    };
    let _ = timeout(CLOSE_TIMEOUT, close(&mut socket, &mut queue)).await;
    reason
}

/// Writes what is still queued, closes, and reads until the relay has closed too: a TCP connection that is dropped while something is
/// unread is reset, and what was written last may be lost with it.
async fn close(socket: &mut Socket, queue: &mut mpsc::Receiver<proto::ClientFrame>) {
    if let Ok(frame) = queue.try_recv()
        && write(socket, frame, queue).await.is_err()
    {
        return;
    }
    let _ = socket.close(None).await;
    while let Some(Ok(_)) = socket.next().await {}
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(endpoint: Endpoint) -> Result<Socket, String> {
    let connector = tls::connector(endpoint.trust_any_certificate).map_err(|_| "TLS could not be set up".to_owned())?;
    let mut request = endpoint.url.as_str().into_client_request().map_err(|error| sentence(&error))?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits::MAX_SERVER_FRAME))
        .max_frame_size(Some(limits::MAX_SERVER_FRAME))
        .max_write_buffer_size(MAX_WRITE_BUFFER);
    let (socket, _) =
        connect_async_tls_with_config(request, Some(config), true, Some(connector)).await.map_err(|error| sentence(&error))?;
    Ok(socket)
}

/// Said of a certificate nobody vouches for.
const CERTIFICATE: &str = "the relay's certificate was not accepted: for one it made itself set `trust_any_certificate`";

/// Whether TLS failed, which the socket reports as an error of reading.
fn is_certificate(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// What ended a connection, without the addresses and names a library quotes.
fn sentence(error: &Error) -> String {
    match error {
        Error::Io(error) if is_certificate(error) => CERTIFICATE.to_owned(),
        Error::Io(error) => error.kind().to_string(),
        Error::Http(response) => format!("the relay answered with HTTP status {}", response.status().as_u16()),
        Error::Tls(_) => CERTIFICATE.to_owned(),
        Error::Capacity(_) => "a message was larger than any may be".to_owned(),
        Error::ConnectionClosed | Error::AlreadyClosed => "the connection was closed".to_owned(),
        _ => "the relay does not speak this protocol".to_owned(),
    }
}

/// Writes a frame and every frame queued behind it, then flushes once.
async fn write(
    socket: &mut Socket,
    first: proto::ClientFrame,
    queue: &mut mpsc::Receiver<proto::ClientFrame>,
) -> Result<(), Error> {
    let mut next = Some(first);
    while let Some(frame) = next {
        let bytes = encode_client_frame(Encoding::Proto, &frame);
        socket.feed(Message::Binary(bytes.into())).await?;
        next = queue.try_recv().ok();
    }
    socket.flush().await
}

/// What a WebSocket message holds.
enum Read {
    Frame(Box<proto::ServerFrame>),
    Nothing,
    Bad(String),
}

fn read(message: &Message) -> Read {
    let decoded = match message {
        Message::Binary(bytes) => decode_server_frame(Encoding::Proto, bytes),
        Message::Text(text) => decode_server_frame(Encoding::Json, text.as_bytes()),
        _ => return Read::Nothing,
    };
    match decoded {
        Ok(frame) => Read::Frame(Box::new(frame)),
        Err(error) => Read::Bad(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
