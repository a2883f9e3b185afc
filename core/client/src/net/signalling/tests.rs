//! A connection against a WebSocket server in this process.

use std::time::Duration;

use prost::Message as _;
use tokio::net::TcpListener;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::*;

#[expect(clippy::result_large_err, reason = "the shape of the library's callback")]
fn choose_subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let protocol = request.headers().get("sec-websocket-protocol").cloned().expect("a subprotocol is asked for");
    assert_eq!(protocol, SUBPROTOCOL);
    assert_eq!(request.uri().path(), "/v1/connect");
    response.headers_mut().insert("sec-websocket-protocol", protocol);
    Ok(response)
}

async fn next(events: &mut mpsc::Receiver<SignallingInput>) -> SignallingEvent {
    let input = timeout(Duration::from_secs(5), events.recv()).await.expect("in time").expect("the connection reports");
    assert_eq!(input.attempt, 7);
    input.event
}

async fn listen() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, Endpoint::parse(&url, false).expect("a URL"))
}

#[tokio::test]
async fn frames_go_both_ways_and_the_end_is_reported() {
    let (listener, endpoint) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut socket = accept_hdr_async(stream, choose_subprotocol).await.expect("a handshake");
        let Some(Ok(Message::Binary(bytes))) = socket.next().await else { panic!("a binary message") };
        assert_eq!(proto::ClientFrame::decode(bytes).expect("a frame").seq, 1);
        let reply = proto::ServerFrame { seq: 5, ack: 1, ..Default::default() };
        socket.send(Message::Binary(reply.encode_to_vec().into())).await.expect("written");
        socket.close(None).await.expect("closed");
    });
    let (sender, mut events) = mpsc::channel(16);
    let connection = Connection::open(endpoint, 7, sender);
    assert!(matches!(next(&mut events).await, SignallingEvent::Open));
    assert!(connection.send(proto::ClientFrame { seq: 1, ..Default::default() }));
    let SignallingEvent::Frame(frame) = next(&mut events).await else { panic!("a frame") };
    assert_eq!((frame.seq, frame.ack), (5, 1));
    assert!(matches!(next(&mut events).await, SignallingEvent::Closed { .. }));
    server.await.expect("the server is content");
}

#[tokio::test]
async fn nobody_listening_is_reported() {
    let (listener, endpoint) = listen().await;
    drop(listener);
    let (sender, mut events) = mpsc::channel(16);
    let _connection = Connection::open(endpoint, 7, sender);
    assert!(matches!(next(&mut events).await, SignallingEvent::Closed { .. }));
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    let (listener, endpoint) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut socket = accept_hdr_async(stream, choose_subprotocol).await.expect("a handshake");
        socket.send(Message::Binary(vec![0xff; 64].into())).await.expect("written");
        let _ = socket.next().await;
    });
    let (sender, mut events) = mpsc::channel(16);
    let _connection = Connection::open(endpoint, 7, sender);
    assert!(matches!(next(&mut events).await, SignallingEvent::Open));
    assert!(matches!(next(&mut events).await, SignallingEvent::Closed { .. }));
}

/// Seen: of a participant that left, the relay heard nothing where it had just said something itself.
#[tokio::test]
async fn what_is_queued_is_written_although_nobody_hears_the_relay_any_more() {
    for _ in 0..40 {
        let (listener, endpoint) = listen().await;
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let socket = accept_hdr_async(stream, choose_subprotocol).await.expect("a handshake");
            let (mut sink, mut stream) = socket.split();
            let talk = tokio::spawn(async move {
                let frame = proto::ServerFrame { ack: 1, ..Default::default() }.encode_to_vec();
                while sink.send(Message::Binary(frame.clone().into())).await.is_ok() {}
            });
            let mut heard = Vec::new();
            while let Some(Ok(message)) = stream.next().await {
                if let Message::Binary(bytes) = message {
                    heard.push(proto::ClientFrame::decode(bytes).expect("a frame").seq);
                }
            }
            let _ = talk.await;
            heard
        });
        let (sender, mut events) = mpsc::channel(16);
        let connection = Connection::open(endpoint, 7, sender);
        assert!(matches!(next(&mut events).await, SignallingEvent::Open));
        assert!(matches!(next(&mut events).await, SignallingEvent::Frame(_)));
        for seq in 1..=3 {
            assert!(connection.send(proto::ClientFrame { seq, ..Default::default() }));
        }
        drop((events, connection));
        assert_eq!(server.await.expect("the server is content"), [1, 2, 3]);
    }
}
