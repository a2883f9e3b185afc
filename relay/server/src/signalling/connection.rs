//! One WebSocket: reads frames for the room, writes what its link holds.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use segue_model::ParticipantId;
use segue_wire::limits::MAX_CLIENT_FRAME;
use segue_wire::proto::{self, ClientFrame, ErrorCode, LeaveReason, ServerFrame, client_frame, server_frame};
use segue_wire::{Encoding, WireError, decode_client_frame, encode_server_frame};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite;

use super::admission::{self, JoinError};
use super::allowance::{Allowance, Spent};
use super::hub::Hub;
use super::link::{Link, LinkId, LinkOutput};
use super::room_task::{Joining, RoomInput, wire_error};
use super::session::ResumeToken;
use crate::clock;

/// A connection without a session is closed after this.
const JOIN_DEADLINE: Duration = Duration::from_secs(15);

/// Frames before a Join that are answered with an error before the connection closes.
const MAX_REFUSED: u64 = 16;

/// The relay pings this often, so that a live client is never silent for long.
const PING_EVERY: Duration = Duration::from_secs(10);

/// A client that has sent nothing for this long, not even an answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// One frame must be written within this; the session then waits for a better connection.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);

/// The last word to a client that does not read may take this long.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(1);

/// A client that was told goodbye closes its side within this, or is closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// A room may end while a client is on its way into it; so often the client finds the next one.
const ROOM_ATTEMPTS: usize = 3;

/// Where a connection has arrived.
struct Seat {
    participant: ParticipantId,
    link: LinkId,
    room: mpsc::Sender<RoomInput>,
}

/// Serves one connection until it ends. `asked` is the room the request named, if it did.
pub(crate) async fn serve(
    hub: Arc<Hub>,
    socket: WebSocket,
    encoding: Encoding,
    asked: Option<String>,
    allowance: Arc<Allowance>,
) {
    let _counted = hub.count_connection();
    let (sink, stream) = socket.split();
    let (link, output) = Link::new();
    let mut reader = Reader { hub, stream, asked, allowance, link: Some(link), seat: None, refused: 0 };
    let mut writing = std::pin::pin!(write(sink, encoding, output));
    tokio::select! {
        () = reader.run() => {
            let seated = reader.seat.is_some();
            reader.leave().await;
            if seated {
                return;
            }
            // What was said to a client that was not let in is still to be written.
            let _ = timeout(CLOSE_DEADLINE, writing).await;
        }
        () = &mut writing => reader.leave().await,
    }
    // A frame that meets a closed socket makes the client's system forget what the client has not read yet, the goodbye too. So its
    // side closes first, if it does so in time.
    let _ = timeout(CLOSE_DEADLINE, reader.drain()).await;
}

struct Reader {
    hub: Arc<Hub>,
    stream: SplitStream<WebSocket>,
    asked: Option<String>,
    allowance: Arc<Allowance>,
    /// Ours until the room has it.
    link: Option<Link>,
    seat: Option<Seat>,
    refused: u64,
}

impl Reader {
    /// Reads until the connection ends or is to end.
    async fn run(&mut self) {
        let deadline = Instant::from_std(clock::now()) + JOIN_DEADLINE;
        loop {
            let next = if self.seat.is_some() {
                timeout(SILENCE, self.stream.next()).await
            } else {
                timeout_at(deadline, self.stream.next()).await
            };
            let (encoding, bytes) = match next {
                Ok(Some(Ok(Message::Text(text)))) => (Encoding::Json, axum::body::Bytes::from(text)),
                Ok(Some(Ok(Message::Binary(bytes)))) => (Encoding::Proto, bytes),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
                Ok(Some(Err(error))) if is_too_large(&error) => return self.too_large().await,
                Ok(Some(Err(error))) if is_spent(&error) => return self.spent(),
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return,
                Err(_) => return self.silent(),
            };
            self.hub.metrics.frames_in.increment();
            let decoded = decode_client_frame(encoding, &bytes);
            let seated = self.seat.is_some();
            let goes_on = match &self.seat {
                Some(seat) => pass_on(seat, decoded).await,
                None => self.handle_stranger(decoded).await,
            };
            if !goes_on {
                return;
            }
            if !seated && self.seat.is_some() {
                self.allowance.lift();
            }
        }
    }

    /// A frame of a connection without a session; `false` ends the connection.
    async fn handle_stranger(&mut self, decoded: Result<ClientFrame, WireError>) -> bool {
        let refusal = match decoded {
            Err(error) => wire_error(&error),
            Ok(ClientFrame { seq, message: Some(client_frame::Message::Join(join)), .. }) => return self.join(seq, join).await,
            Ok(ClientFrame { ack, message: Some(client_frame::Message::Resume(resume)), .. }) => {
                match self.resume(ack, &resume.resume_token).await {
                    Some(refusal) => refusal,
                    None => return self.seat.is_some(),
                }
            }
            Ok(ClientFrame { seq, .. }) => {
                error(ErrorCode::NotJoined, seq, "this connection has no session yet; send Join or Resume first")
            }
        };
        self.hub.metrics.count_error(refusal.code());
        self.refused += 1;
        let Some(link) = &self.link else { return false };
        link.send_bare(server_frame::Message::Error(refusal)).is_ok() && self.refused < MAX_REFUSED
    }

    async fn join(&mut self, seq: u64, join: proto::Join) -> bool {
        let checked = admission::check(&self.hub.keys, &self.hub.random, self.asked.as_deref(), join);
        let outcome = match checked {
            Ok((room, request)) => self.enter(seq, &room, request).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(seat) => {
                self.seat = Some(seat);
                true
            }
            Err(error) => {
                self.hub.metrics.count_error(error.code());
                if let Some(link) = self.link.take() {
                    link.end(error.goodbye());
                }
                false
            }
        }
    }

    async fn enter(&mut self, seq: u64, room: &str, request: segue_session::room::JoinRequest) -> Result<Seat, JoinError> {
        for _ in 0..ROOM_ATTEMPTS {
            let inputs = self.hub.open(room)?;
            let link = self.link.take().ok_or(JoinError::Ours)?;
            let id = link.id;
            let (reply, answer) = oneshot::channel();
            let joining = Joining { request: request.clone(), link, seq, undecoded: self.refused, reply };
            if let Err(mpsc::error::SendError(RoomInput::Join(joining))) = inputs.send(RoomInput::Join(Box::new(joining))).await
            {
                self.link = Some(joining.link);
                continue;
            }
            return match answer.await {
                Ok(Ok(participant)) => Ok(Seat { participant, link: id, room: inputs }),
                Ok(Err((error, link))) => {
                    self.link = Some(link);
                    Err(error.into())
                }
                // The room ended with the link in its queue.
                Err(_) => Err(JoinError::Ours),
            };
        }
        Err(JoinError::Ours)
    }

    /// Takes up a session. `Some`: there is none, says this.
    async fn resume(&mut self, ack: u64, token: &str) -> Option<proto::Error> {
        let unknown = || error(ErrorCode::SessionUnknown, 0, "there is no such session any more; send Join on this connection");
        let Some((room, secret)) = ResumeToken::parse(token) else { return Some(unknown()) };
        let Some(inputs) = self.hub.find(&room) else { return Some(unknown()) };
        let link = self.link.take()?;
        let id = link.id;
        let (reply, answer) = oneshot::channel();
        if let Err(mpsc::error::SendError(RoomInput::Resume { link, .. })) =
            inputs.send(RoomInput::Resume { secret, ack, link, reply }).await
        {
            self.link = Some(link);
            return Some(unknown());
        }
        match answer.await {
            Ok(Ok(participant)) => {
                self.seat = Some(Seat { participant, link: id, room: inputs });
                None
            }
            Ok(Err(link)) => {
                self.link = Some(link);
                Some(unknown())
            }
            Err(_) => None,
        }
    }

    /// A message that not even an answer can be found for: nothing after it can be read. The session ends, because a client that resumed it
    /// would send the same again.
    async fn too_large(&mut self) {
        self.hub.metrics.count_error(ErrorCode::TooLarge);
        let goodbye = proto::Goodbye {
            reason: LeaveReason::Refused.into(),
            code: ErrorCode::TooLarge.into(),
            message: format!("a message is larger than {MAX_CLIENT_FRAME} bytes, the most of any; send less at a time"),
            retry_after_ms: 0,
        };
        if let Some(link) = self.link.take() {
            link.end(goodbye);
        } else if let Some(Seat { participant, link, room }) = self.seat.take() {
            // A room that is gone has ended the session itself.
            let _ = room.send(RoomInput::Misbehaved { participant, link, goodbye }).await;
        }
    }

    /// A stranger sent more than a Join takes.
    fn spent(&mut self) {
        self.hub.metrics.count_error(ErrorCode::TooLarge);
        if let Some(link) = self.link.take() {
            let (reason, code) = (LeaveReason::Refused.into(), ErrorCode::TooLarge.into());
            link.end(proto::Goodbye { reason, code, message: Spent.to_string(), retry_after_ms: 0 });
        }
    }

    /// Nothing came in time.
    fn silent(&mut self) {
        if let Some(link) = self.link.take() {
            let message = "no Join came in time; connect again and send it first".to_owned();
            let reason = LeaveReason::Refused.into();
            link.end(proto::Goodbye { reason, code: ErrorCode::NotJoined.into(), message, retry_after_ms: 0 });
        }
    }

    /// Reads what nobody wants any more until the client has closed.
    async fn drain(&mut self) {
        while let Some(Ok(_)) = self.stream.next().await {}
    }

    /// The connection is over; the session is not.
    async fn leave(&mut self) {
        self.link = None;
        if let Some(Seat { participant, link, room }) = self.seat.take() {
            // A room that is gone has no session to keep.
            let _ = room.send(RoomInput::Disconnected { participant, link }).await;
        }
    }
}

/// A message over the limit of the WebSocket itself.
fn is_too_large(error: &axum::Error) -> bool {
    use tungstenite::Error::Capacity;
    use tungstenite::error::CapacityError::MessageTooLong;
    let inner = std::error::Error::source(error).and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(Capacity(MessageTooLong { .. })))
}

/// More than a connection may send that has not joined.
fn is_spent(error: &axum::Error) -> bool {
    let inner = std::error::Error::source(error).and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::QuotaExceeded)
}

/// Hands what was read to the room, and waits while the room is busy; `false`: the room is gone.
async fn pass_on(seat: &Seat, decoded: Result<ClientFrame, WireError>) -> bool {
    let (participant, link) = (seat.participant, seat.link);
    let input = match decoded {
        Ok(frame) => RoomInput::Frame { participant, link, frame },
        Err(error) => RoomInput::Undecodable { participant, link, error },
    };
    seat.room.send(input).await.is_ok()
}

/// Writes what the room has for this client until it has no more, the client does not take it, or the room cuts it off.
async fn write(mut sink: SplitSink<WebSocket, Message>, encoding: Encoding, mut output: LinkOutput) {
    let mut ping = tokio::time::interval(PING_EVERY);
    let mut cut_off = None;
    let mut may_be_cut = true;
    loop {
        let message = tokio::select! {
            biased;
            cut = &mut output.cut, if may_be_cut => match cut {
                Ok(goodbye) => {
                    cut_off = Some(goodbye);
                    break;
                }
                // The room has let go: what is queued is the rest.
                Err(_) => {
                    may_be_cut = false;
                    continue;
                }
            },
            frame = output.queue.recv() => match frame {
                Some(frame) => to_message(encoding, &frame),
                None => break,
            },
            _ = ping.tick() => Message::Ping(axum::body::Bytes::new()),
        };
        let mut sending = std::pin::pin!(timeout(WRITE_DEADLINE, sink.send(message)));
        let written = tokio::select! {
            biased;
            cut = &mut output.cut, if may_be_cut => match cut {
                Ok(goodbye) => {
                    cut_off = Some(goodbye);
                    break;
                }
                // Let go while this one is under way: it is still to be written, and so is what is queued behind it.
                Err(_) => {
                    may_be_cut = false;
                    sending.await
                }
            },
            written = &mut sending => written,
        };
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
    if let Some(goodbye) = cut_off {
        let _ = timeout(GOODBYE_DEADLINE, sink.send(to_message(encoding, &goodbye))).await;
    }
    let _ = timeout(GOODBYE_DEADLINE, sink.close()).await;
}

fn to_message(encoding: Encoding, frame: &ServerFrame) -> Message {
    let bytes = encode_server_frame(encoding, frame);
    match encoding {
        Encoding::Proto => Message::Binary(bytes.into()),
        // JSON is UTF-8 by construction.
        Encoding::Json => String::from_utf8(bytes)
            .map_or_else(|_| Message::Binary(axum::body::Bytes::new()), |text| Message::Text(text.into())),
    }
}

fn error(code: ErrorCode, seq: u64, message: &str) -> proto::Error {
    proto::Error { code: code.into(), message: message.to_owned(), request: 0, seq }
}
