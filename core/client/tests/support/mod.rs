//! Half a relay: the real authority over one room behind a WebSocket, without media. Enough for rooms that stay a mesh.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use segue_model::ParticipantId;
use segue_session::carrier::ServerCarrier;
use segue_session::room::{JoinRequest, RoomAuthority, RoomConfig, RoomOutput};
use segue_wire::proto::{self, client_frame, server_frame};
use segue_wire::{Encoding, decode_client_frame, encode_server_frame};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

#[expect(clippy::large_enum_variant, reason = "most are frames, the largest")]
enum Input {
    Opened(u64, mpsc::Sender<proto::ServerFrame>),
    Frame(u64, proto::ClientFrame),
    Closed(u64),
}

struct Member {
    connection: Option<u64>,
    carrier: ServerCarrier,
    resume_token: String,
}

/// Serves one room; everybody's token is their identity.
pub struct HalfRelay {
    pub url: String,
}

impl HalfRelay {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let (inputs_in, inputs) = mpsc::channel(256);
        tokio::spawn(accept(listener, inputs_in));
        tokio::spawn(Hub::new().run(inputs));
        Self { url: format!("ws://{address}") }
    }
}

async fn accept(listener: TcpListener, inputs: mpsc::Sender<Input>) {
    let mut number = 0;
    while let Ok((stream, _)) = listener.accept().await {
        number += 1;
        tokio::spawn(serve(number, stream, inputs.clone()));
    }
}

#[expect(clippy::result_large_err, reason = "the shape of the library's callback")]
fn choose(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
        response.headers_mut().insert("sec-websocket-protocol", protocol.clone());
    }
    Ok(response)
}

async fn serve(number: u64, stream: TcpStream, inputs: mpsc::Sender<Input>) {
    let mut socket = accept_hdr_async(stream, choose).await.expect("a handshake");
    let (frames_in, mut frames) = mpsc::channel(256);
    let _ = inputs.send(Input::Opened(number, frames_in)).await;
    loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => {
                    let bytes = encode_server_frame(Encoding::Proto, &frame);
                    if socket.send(Message::Binary(bytes.into())).await.is_err() {
                        break;
                    }
                }
                None => break,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let frame = decode_client_frame(Encoding::Proto, &bytes).expect("a frame");
                    let _ = inputs.send(Input::Frame(number, frame)).await;
                }
                Some(Ok(_)) => {}
                _ => break,
            },
        }
    }
    let _ = inputs.send(Input::Closed(number)).await;
}

struct Hub {
    authority: RoomAuthority,
    sockets: BTreeMap<u64, mpsc::Sender<proto::ServerFrame>>,
    members: BTreeMap<ParticipantId, Member>,
}

#[expect(clippy::disallowed_methods, reason = "a shell")]
fn now() -> Instant {
    Instant::now()
}

impl Hub {
    fn new() -> Self {
        let config = RoomConfig { name: "half".to_owned(), ..RoomConfig::default() };
        Self { authority: RoomAuthority::new(config), sockets: BTreeMap::new(), members: BTreeMap::new() }
    }

    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        loop {
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.handle(input),
                    None => return,
                },
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            self.authority.handle_timeout(now());
            self.drain();
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Opened(number, socket) => {
                self.sockets.insert(number, socket);
            }
            Input::Frame(number, frame) => self.handle_frame(number, frame),
            Input::Closed(number) => {
                self.sockets.remove(&number);
                if let Some((id, member)) = self.members.iter_mut().find(|(_, member)| member.connection == Some(number)) {
                    member.connection = None;
                    member.carrier.close();
                    self.authority.handle_disconnected(now(), *id);
                }
            }
        }
    }

    fn handle_frame(&mut self, number: u64, frame: proto::ClientFrame) {
        let known = self.members.iter().find(|(_, member)| member.connection == Some(number)).map(|(id, _)| *id);
        let (seq, ack) = (frame.seq, frame.ack);
        match (known, frame.message.clone()) {
            (None, Some(client_frame::Message::Join(join))) => self.join(number, frame, join),
            (None, Some(client_frame::Message::Resume(resume))) => {
                let found = self.members.iter_mut().find(|(_, member)| member.resume_token == resume.resume_token);
                let (id, member) = found.expect("a session to resume");
                member.connection = Some(number);
                member.carrier.reopen();
                member.carrier.resume(ack).expect("an acknowledgement in range");
                member.carrier.send_unnumbered(server_frame::Message::Resumed(proto::Resumed {}));
                self.authority.handle_resumed(*id);
            }
            (Some(id), _) => {
                let member = self.members.get_mut(&id).expect("known");
                let message = member.carrier.handle_frame(now(), frame).expect("in order");
                match message {
                    Some(client_frame::Message::Ping(ping)) => {
                        member.carrier.send_unnumbered(server_frame::Message::Pong(proto::Pong { time_us: ping.time_us }));
                    }
                    Some(message) => self.authority.handle_message(now(), id, seq, Some(message)),
                    None => {}
                }
            }
            (None, _) => {}
        }
    }

    fn join(&mut self, number: u64, frame: proto::ClientFrame, join: proto::Join) {
        let mut carrier = ServerCarrier::new();
        carrier.open();
        carrier.handle_frame(now(), frame).expect("the first frame");
        let resume_token = format!("resume-{number}");
        let request = JoinRequest {
            identity: join.token,
            name: join.name,
            metadata: join.metadata,
            grants: proto::Grants { publish: true, subscribe: true, admin: false },
            capabilities: join.capabilities.unwrap_or_default(),
            policy: proto::TopologyPolicy::MeshOnly,
            rejoin: join.rejoin,
            resume_token: resume_token.clone(),
            ..JoinRequest::default()
        };
        match self.authority.join(now(), request) {
            Ok(id) => {
                self.members.insert(id, Member { connection: Some(number), carrier, resume_token });
            }
            Err(error) => {
                carrier.send(server_frame::Message::Error(error.to_message(0, 1))).expect("room for one");
                while let (Some(frame), Some(socket)) = (carrier.poll_transmit(now()), self.sockets.get(&number)) {
                    let _ = socket.try_send(frame);
                }
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.authority.poll_output() {
            match output {
                RoomOutput::Send { to, message } => {
                    if let Some(member) = self.members.get_mut(&to) {
                        member.carrier.send(message).expect("a client that reads");
                    }
                }
                RoomOutput::Ended { participant, goodbye } => {
                    if let Some(mut member) = self.members.remove(&participant) {
                        member.carrier.send_unnumbered(server_frame::Message::Goodbye(goodbye));
                        self.flush(&mut member);
                        if let Some(number) = member.connection {
                            self.sockets.remove(&number);
                        }
                    }
                }
                _ => {}
            }
        }
        let mut members = std::mem::take(&mut self.members);
        members.values_mut().for_each(|member| self.flush(member));
        self.members = members;
    }

    fn flush(&self, member: &mut Member) {
        let Some(socket) = member.connection.and_then(|number| self.sockets.get(&number)) else { return };
        while let Some(frame) = member.carrier.poll_transmit(now()) {
            let _ = socket.try_send(frame);
        }
    }
}
