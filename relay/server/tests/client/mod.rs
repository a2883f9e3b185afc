//! A client made of nothing but a WebSocket, and a relay to try it on.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use segue_relay::{Config, Grants, Relay};
use segue_wire::proto::{self, ClientFrame, ServerFrame, client_frame, server_frame};
use segue_wire::{Encoding, decode_server_frame, encode_client_frame};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Nothing here takes longer on a machine that lives.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn relay(configure: impl FnOnce(&mut Config)) -> Relay {
    let mut config = Config::ephemeral();
    configure(&mut config);
    Relay::start(config).await.expect("a relay")
}

pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    encoding: Encoding,
    pub sent: u64,
    pub handled: u64,
    /// Acknowledges what it reads.
    pub polite: bool,
}

pub fn join(token: String) -> proto::Join {
    let capabilities = Some(proto::Capabilities { origin: true, direct: true });
    proto::Join { protocol: 1, token, capabilities, client: "test".to_owned(), ..Default::default() }
}

impl Client {
    pub async fn connect(url: &str, encoding: Encoding) -> Self {
        let mut request = url.into_client_request().expect("a url");
        let protocol = match encoding {
            Encoding::Proto => "segue.v1.proto",
            Encoding::Json => "segue.v1.json",
        };
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().expect("a header"));
        let (socket, response) = tokio_tungstenite::connect_async(request).await.expect("connects");
        assert_eq!(response.headers().get("sec-websocket-protocol").expect("chosen"), protocol);
        Self { socket, encoding, sent: 0, handled: 0, polite: true }
    }

    /// Connects and joins `lobby`.
    pub async fn join(relay: &Relay, identity: &str) -> (Self, proto::Joined) {
        Self::join_as(relay, identity, Grants::default(), Encoding::Proto).await
    }

    pub async fn join_as(relay: &Relay, identity: &str, grants: Grants, encoding: Encoding) -> (Self, proto::Joined) {
        let mut client = Self::connect(&relay.url(), encoding).await;
        client.send(client_frame::Message::Join(join(relay.token("lobby", identity, grants).expect("a token")))).await;
        match client.next().await {
            Some(server_frame::Message::Joined(joined)) => (client, joined),
            other => panic!("not let in: {other:?}"),
        }
    }

    /// Sends a numbered frame.
    pub async fn send(&mut self, message: client_frame::Message) {
        self.sent += 1;
        self.send_frame(ClientFrame { seq: self.sent, ack: self.handled, message: Some(message) }).await;
    }

    pub async fn send_frame(&mut self, frame: ClientFrame) {
        self.send_raw(self.to_message(&frame)).await;
    }

    fn to_message(&self, frame: &ClientFrame) -> Message {
        let bytes = encode_client_frame(self.encoding, frame);
        match self.encoding {
            Encoding::Proto => Message::binary(bytes),
            Encoding::Json => Message::text(String::from_utf8(bytes).expect("utf-8")),
        }
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.expect("sent");
    }

    /// The next frame with a message; `None` when the relay closed.
    pub async fn next(&mut self) -> Option<server_frame::Message> {
        loop {
            let frame = self.next_frame().await?;
            if frame.seq > 0 {
                assert_eq!(frame.seq, self.handled + 1, "frames in order");
                self.handled = frame.seq;
                if self.polite {
                    let ack = ClientFrame { seq: 0, ack: self.handled, message: None };
                    // The relay may have closed after what is being read.
                    let _ = self.socket.send(self.to_message(&ack)).await;
                }
            }
            if frame.message.is_some() {
                return frame.message;
            }
        }
    }

    pub async fn next_frame(&mut self) -> Option<ServerFrame> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("something in time") {
                Some(Ok(Message::Binary(bytes))) => {
                    return Some(decode_server_frame(Encoding::Proto, &bytes).expect("a frame"));
                }
                Some(Ok(Message::Text(text))) => {
                    return Some(decode_server_frame(Encoding::Json, text.as_bytes()).expect("a frame"));
                }
                // Reading on after Close sends the answer to it.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_))) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The next message that `pick` takes; others are skipped.
    pub async fn wait_for<T>(&mut self, pick: impl Fn(server_frame::Message) -> Option<T>) -> T {
        loop {
            let message = self.next().await.expect("the relay closed");
            if let Some(found) = pick(message) {
                return found;
            }
        }
    }

    pub async fn error(&mut self) -> proto::Error {
        let error = self.wait_for(|message| match message {
            server_frame::Message::Error(error) => Some(error),
            _ => None,
        });
        let error = error.await;
        assert!(error.message.len() > 20, "a sentence: {}", error.message);
        error
    }

    pub async fn goodbye(&mut self) -> proto::Goodbye {
        let goodbye = self.wait_for(|message| match message {
            server_frame::Message::Goodbye(goodbye) => Some(goodbye),
            _ => None,
        });
        let goodbye = goodbye.await;
        assert!(self.next_frame().await.is_none(), "nothing after goodbye");
        goodbye
    }

    /// The connection is answered and alive.
    pub async fn ping(&mut self) {
        self.send_frame(ClientFrame {
            seq: 0,
            ack: self.handled,
            message: Some(client_frame::Message::Ping(proto::Ping { time_us: 77 })),
        })
        .await;
        let pong = self.wait_for(|message| match message {
            server_frame::Message::Pong(pong) => Some(pong.time_us),
            _ => None,
        });
        assert_eq!(pong.await, 77);
    }

    pub async fn publish_camera(&mut self) -> proto::Track {
        let publish = proto::Publish { request: 1, kind: 2, source: 2, name: "cam".to_owned(), ..Default::default() };
        self.send(client_frame::Message::Publish(publish)).await;
        let published = self.wait_for(|message| match message {
            server_frame::Message::Published(published) => published.track,
            _ => None,
        });
        published.await
    }

    pub async fn signal(&mut self, to: u32, number: u64, body: Vec<u8>) {
        self.send(client_frame::Message::Signal(proto::Signal { from: 0, to, number, body })).await;
    }

    pub async fn next_signal(&mut self) -> proto::Signal {
        let signal = self.wait_for(|message| match message {
            server_frame::Message::Signal(signal) => Some(signal),
            _ => None,
        });
        signal.await
    }
}
