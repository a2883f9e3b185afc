//! Signalling over loopback, seen from outside.

mod client;

use std::sync::Arc;
use std::time::Duration;

use client::{Client, join, relay};
use prost::Message as _;
use segue_relay::auth::KeySettings;
use segue_relay::media_plane::{MediaEvent, MediaPlane, RoomKey, RoomMedia, Sample, SignallingOnly};
use segue_relay::{Claims, Grants};
use segue_wire::proto::{self, ErrorCode, LeaveReason, client_frame, server_frame, signal_body};
use segue_wire::{Encoding, limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

fn self_id(joined: &proto::Joined) -> u32 {
    joined.self_.as_ref().expect("oneself").id
}

#[tokio::test]
async fn people_come_publish_and_go() {
    let relay = relay(|_| {}).await;
    let (mut ann, joined) = Client::join(&relay, "ann").await;
    assert_eq!((joined.room.as_str(), joined.others.len(), joined.mesh_max), ("lobby", 0, 4));
    assert!(joined.ice_servers[0].urls[0].starts_with("stun:127.0.0.1:"), "{:?}", joined.ice_servers);
    let track = ann.publish_camera().await;

    let (mut bob, joined) = Client::join(&relay, "bob").await;
    assert_eq!(joined.others[0].identity, "ann");
    assert_eq!(joined.others[0].tracks, std::slice::from_ref(&track));
    let bob_id = self_id(&joined);
    let seen = ann.wait_for(|message| match message {
        server_frame::Message::ParticipantJoined(joined) => joined.participant,
        _ => None,
    });
    assert_eq!(seen.await.id, bob_id);

    ann.send(client_frame::Message::Unpublish(proto::Unpublish { track: track.id })).await;
    let gone = bob.wait_for(|message| match message {
        server_frame::Message::TrackUnpublished(gone) => Some(gone.track),
        _ => None,
    });
    assert_eq!(gone.await, track.id);

    bob.send(client_frame::Message::Leave(proto::Leave::default())).await;
    assert_eq!(bob.goodbye().await.reason(), LeaveReason::Left);
    let left = ann.wait_for(|message| match message {
        server_frame::Message::ParticipantLeft(left) => Some(left),
        _ => None,
    });
    assert_eq!(left.await, proto::ParticipantLeft { participant: bob_id, reason: LeaveReason::Left.into() });
}

#[tokio::test]
async fn a_bad_token_opens_nothing() {
    let relay = relay(|_| {}).await;
    let valid = relay.token("lobby", "ann", Grants::default()).expect("a token");
    let expired = Claims { exp: 1_000_000, ..Claims::new("lobby", "ann", Grants::default(), 0) };
    let expired = relay.token_with(expired).expect("a token");
    let mut forged = valid.clone();
    forged.replace_range(valid.len() - 8.., "AAAAAAAA");
    let elsewhere = format!("{}?room=vault", relay.url());
    for (url, token, code) in [
        (relay.url(), expired, ErrorCode::TokenExpired),
        (relay.url(), forged, ErrorCode::TokenInvalid),
        (relay.url(), "not a token".to_owned(), ErrorCode::TokenInvalid),
        (elsewhere, valid.clone(), ErrorCode::WrongRoom),
    ] {
        let mut client = Client::connect(&url, Encoding::Proto).await;
        client.send(client_frame::Message::Join(join(token))).await;
        let goodbye = client.goodbye().await;
        assert_eq!((goodbye.reason(), goodbye.code(), goodbye.retry_after_ms), (LeaveReason::Refused, code, 0));
        assert!(!goodbye.message.is_empty());
    }
    let mut old = Client::connect(&relay.url(), Encoding::Proto).await;
    old.send(client_frame::Message::Join(proto::Join { protocol: 9, ..join(valid) })).await;
    assert_eq!(old.goodbye().await.code(), ErrorCode::ProtocolVersion);
}

#[tokio::test]
async fn what_the_token_says_of_somebody_goes_before_what_the_client_says() {
    let relay = relay(|_| {}).await;
    let claims = Claims::new("lobby", "ann", Grants::default(), 60);
    let named = Claims { name: "Ann A.".to_owned(), metadata: "signed".to_owned(), ..claims.clone() };
    for (claims, name, metadata) in [(named, "Ann A.", "signed"), (claims, "Eve", "claimed")] {
        let token = relay.token_with(claims).expect("a token");
        let mut client = Client::connect(&relay.url(), Encoding::Proto).await;
        let join = proto::Join { name: "Eve".to_owned(), metadata: "claimed".to_owned(), ..join(token) };
        client.send(client_frame::Message::Join(join)).await;
        let Some(server_frame::Message::Joined(joined)) = client.next().await else { panic!("not let in") };
        let oneself = joined.self_.expect("oneself");
        assert_eq!((oneself.name.as_str(), oneself.metadata.as_str()), (name, metadata));
    }
}

#[tokio::test]
async fn a_peer_id_is_one_whose_key_was_proven() {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    let relay = relay(|_| {}).await;
    let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
    let token = relay.token("lobby", "ann", Grants::default()).expect("a token");
    let sign = |token: &str| pair.sign(format!("segue.v1 join {token}").as_bytes()).as_ref().to_vec();
    let device_key = pair.public_key().as_ref().to_vec();
    for (device_signature, proven) in [(Vec::new(), false), (sign("another token"), false), (sign(&token), true)] {
        let shown = !device_signature.is_empty();
        let mut client = Client::connect(&relay.url(), Encoding::Proto).await;
        let join = proto::Join { device_key: device_key.clone(), device_signature, ..join(token.clone()) };
        client.send(client_frame::Message::Join(join)).await;
        match client.next().await {
            Some(server_frame::Message::Joined(joined)) => {
                assert_eq!(shown, proven, "a signature that is not of the key");
                let hash = ring::digest::digest(&ring::digest::SHA256, &device_key);
                assert_eq!(joined.self_.expect("oneself").peer_id, if proven { hash.as_ref() } else { &[] });
            }
            Some(server_frame::Message::Goodbye(goodbye)) => {
                assert!(shown && !proven);
                assert_eq!(goodbye.code(), ErrorCode::Malformed);
                assert!(goodbye.message.contains("device_signature"), "{}", goodbye.message);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stranger_may_send_what_a_join_takes_and_no_more() {
    let relay = relay(|_| {}).await;
    let mut stranger = Client::connect(&relay.url(), Encoding::Json).await;
    stranger.send_raw(Message::text("{".repeat(200_000))).await;
    let goodbye = stranger.goodbye().await;
    assert_eq!((goodbye.reason(), goodbye.code()), (LeaveReason::Refused, ErrorCode::TooLarge));
    assert!(goodbye.message.contains("send Join first"), "{}", goodbye.message);
    // Whoever has joined may send as much at once.
    let (mut ann, _) = Client::join(&relay, "ann").await;
    ann.send_raw(Message::binary(vec![0xff; 200_000])).await;
    assert_eq!(ann.error().await.code(), ErrorCode::Malformed);
    ann.ping().await;
}

#[tokio::test]
async fn who_is_put_out_stays_out_and_moderators_alone_put_out() {
    let relay = relay(|_| {}).await;
    let (mut ann, joined) = Client::join(&relay, "ann").await;
    let ann_id = self_id(&joined);
    let (mut bob, _) = Client::join(&relay, "bob").await;
    bob.send(client_frame::Message::Kick(proto::Kick { participant: ann_id })).await;
    let error = bob.error().await;
    assert_eq!((error.code(), error.seq), (ErrorCode::NotPermitted, bob.sent));
    assert!(relay.metrics().contains("segue_errors_total{code=\"not_permitted\"} 1\n"));
    let admin = Grants { admin: true, ..Grants::default() };
    let (mut moderator, _) = Client::join_as(&relay, "mod", admin, Encoding::Json).await;
    moderator.send(client_frame::Message::Kick(proto::Kick { participant: ann_id })).await;
    let goodbye = ann.goodbye().await;
    assert_eq!((goodbye.reason(), goodbye.code(), goodbye.retry_after_ms), (LeaveReason::Kicked, ErrorCode::Kicked, 0));
    let left = bob.wait_for(|message| match message {
        server_frame::Message::ParticipantLeft(left) => Some(left),
        _ => None,
    });
    assert_eq!(left.await, proto::ParticipantLeft { participant: ann_id, reason: LeaveReason::Kicked.into() });
    let mut back = Client::connect(&relay.url(), Encoding::Proto).await;
    let resume = client_frame::Message::Resume(proto::Resume { resume_token: joined.resume_token });
    back.send_frame(proto::ClientFrame { seq: 0, ack: ann.handled, message: Some(resume) }).await;
    assert_eq!(back.goodbye().await.reason(), LeaveReason::Kicked);
    assert!(relay.metrics().contains("segue_sessions_ended_total{reason=\"kicked\"} 1\n"));
}

#[tokio::test]
async fn what_is_not_granted_is_not_permitted() {
    let relay = relay(|_| {}).await;
    let viewer = Grants { publish: false, ..Grants::default() };
    let (mut viewer, joined) = Client::join_as(&relay, "viewer", viewer, Encoding::Proto).await;
    assert_eq!(joined.grants, Some(proto::Grants { publish: false, subscribe: true, admin: false }));
    viewer.send(client_frame::Message::Publish(proto::Publish { request: 6, kind: 1, source: 1, ..Default::default() })).await;
    let error = viewer.error().await;
    assert_eq!((error.code(), error.request, error.seq), (ErrorCode::NotPermitted, 6, 2));
    viewer.ping().await;
}

#[tokio::test]
async fn nonsense_is_answered_and_the_session_goes_on() {
    let relay = relay(|_| {}).await;
    let (mut ann, _) = Client::join(&relay, "ann").await;
    ann.send_raw(Message::binary(vec![0xff; 100])).await;
    assert_eq!(ann.error().await.code(), ErrorCode::Malformed);
    ann.send_raw(Message::text("{\"seq\":")).await;
    assert_eq!(ann.error().await.code(), ErrorCode::Malformed);
    ann.send_raw(Message::binary(vec![0; limits::MAX_CLIENT_FRAME + 1])).await;
    assert_eq!(ann.error().await.code(), ErrorCode::TooLarge);

    // A kind of message of a later version: it has a number, which counts.
    ann.sent += 1;
    ann.send_raw(Message::binary(vec![0x08, ann.sent as u8, 0x9a, 0x06, 0])).await;
    let error = ann.error().await;
    assert_eq!((error.code(), error.seq), (ErrorCode::UnknownMessage, ann.sent));

    // One field is too long; the number of the frame counts as well.
    let sdp = "x".repeat(limits::MAX_SDP + 1);
    ann.send(client_frame::Message::Description(proto::RelayDescription { transport: 1, kind: 1, sdp, ..Default::default() }))
        .await;
    let error = ann.error().await;
    assert_eq!((error.code(), error.seq), (ErrorCode::TooLarge, ann.sent));

    ann.send(client_frame::Message::Description(proto::RelayDescription {
        transport: 1,
        kind: 1,
        sdp: "v=0\r\nthis is no session description".to_owned(),
        ..Default::default()
    }))
    .await;
    let error = ann.error().await;
    assert_eq!((error.code(), error.seq), (ErrorCode::BadSdp, ann.sent));
    assert!(error.message.starts_with("publisher transport, generation 0: "), "{}", error.message);
    ann.publish_camera().await;
}

#[tokio::test]
async fn a_message_too_large_to_be_read_ends_the_session_with_a_word() {
    let relay = relay(|_| {}).await;
    let (mut ann, joined) = Client::join(&relay, "ann").await;
    let mut stranger = Client::connect(&relay.url(), Encoding::Json).await;
    for client in [&mut ann, &mut stranger] {
        client.send_raw(Message::binary(vec![0; 3 * 1024 * 1024])).await;
        let goodbye = client.goodbye().await;
        assert_eq!((goodbye.reason(), goodbye.code()), (LeaveReason::Refused, ErrorCode::TooLarge));
        // Final: whoever came back would send the same again.
        assert_eq!(goodbye.retry_after_ms, 0);
        assert!(goodbye.message.contains("262144 bytes"), "{}", goodbye.message);
    }
    let mut again = Client::connect(&relay.url(), Encoding::Proto).await;
    let resume = client_frame::Message::Resume(proto::Resume { resume_token: joined.resume_token });
    again.send_frame(proto::ClientFrame { seq: 0, ack: 0, message: Some(resume) }).await;
    assert_eq!(again.goodbye().await.code(), ErrorCode::TooLarge);
}

#[tokio::test]
async fn who_finds_no_place_is_told_why() {
    let crowded = relay(|config| config.max_connections_per_address = Some(1)).await;
    let (_ann, _) = Client::join(&crowded, "ann").await;
    let answer = get(&crowded, "/v1/connect").await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    assert!(answer.contains("retry-after: 5") && answer.contains("http.max_connections_per_address"), "{answer}");
    assert!(crowded.metrics().contains("segue_connections_refused_share_total 1\n"));

    let full = relay(|config| config.max_connections = 1).await;
    let (ann, _) = Client::join(&full, "ann").await;
    let answer = get(&full, "/").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("`http.max_connections`"), "{answer}");
    assert!(full.metrics().contains("segue_connections_refused_full_total 1\n"));
    drop(ann);
    while !get(&full, "/healthz").await.ends_with("ok\n") {}
}

/// A media plane one of whose threads is no more.
struct Broken;

impl MediaPlane for Broken {
    fn open_room(&self, room: RoomKey, _: tokio::sync::mpsc::Sender<MediaEvent>) -> Box<dyn RoomMedia> {
        // Its events end at once.
        let (events, _) = tokio::sync::mpsc::channel(1);
        SignallingOnly.open_room(room, events)
    }

    fn announced(&self) -> Vec<std::net::SocketAddr> {
        Vec::new()
    }

    fn samples(&self) -> Vec<Sample> {
        Vec::new()
    }

    fn trouble(&self) -> Option<String> {
        Some("1 of 1 media shards have ended; restart the relay".to_owned())
    }

    fn shutdown(&self) {}
}

#[tokio::test]
async fn a_relay_whose_media_ended_says_so() {
    let relay = segue_relay::Relay::start_with(segue_relay::Config::ephemeral(), Arc::new(Broken)).await.expect("a relay");
    let answer = get(&relay, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("media shards have ended"), "{answer}");
    let mut ann = Client::connect(&relay.url(), Encoding::Proto).await;
    ann.send(client_frame::Message::Join(join(relay.token("lobby", "ann", Grants::default()).expect("a token")))).await;
    let goodbye = ann.goodbye().await;
    assert_eq!(goodbye.code(), ErrorCode::Ours);
    assert!(goodbye.retry_after_ms > 0);
}

/// A media plane with too much to do.
struct Full;

impl MediaPlane for Full {
    fn open_room(&self, room: RoomKey, events: tokio::sync::mpsc::Sender<MediaEvent>) -> Box<dyn RoomMedia> {
        SignallingOnly.open_room(room, events)
    }

    fn is_full(&self, _: Option<RoomKey>) -> bool {
        true
    }

    fn announced(&self) -> Vec<std::net::SocketAddr> {
        Vec::new()
    }

    fn samples(&self) -> Vec<Sample> {
        Vec::new()
    }

    fn shutdown(&self) {}
}

#[tokio::test]
async fn a_relay_with_too_much_to_do_refuses_joins_with_a_code_and_says_when_to_come_back() {
    let relay = segue_relay::Relay::start_with(segue_relay::Config::ephemeral(), Arc::new(Full)).await.expect("a relay");
    let mut ann = Client::connect(&relay.url(), Encoding::Proto).await;
    ann.send(client_frame::Message::Join(join(relay.token("lobby", "ann", Grants::default()).expect("a token")))).await;
    let goodbye = ann.goodbye().await;
    assert_eq!((goodbye.reason(), goodbye.code()), (LeaveReason::Refused, ErrorCode::Overloaded));
    assert!(goodbye.retry_after_ms > 0);
    assert!(get(&relay, "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_relay_that_drains_opens_no_rooms_and_lets_the_open_ones_end() {
    let relay = relay(|_| {}).await;
    let (mut ann, _) = Client::join(&relay, "ann").await;
    // Nobody leaves: it waits as long as it is told to.
    relay.drain(std::time::Duration::from_millis(1)).await;
    assert!(get(&relay, "/healthz").await.starts_with("HTTP/1.1 503"));
    // Who belongs to an open room still comes in.
    let (mut bob, _) = Client::join(&relay, "bob").await;
    let mut eve = Client::connect(&relay.url(), Encoding::Proto).await;
    eve.send(client_frame::Message::Join(join(relay.token("another", "eve", Grants::default()).expect("a token")))).await;
    assert_eq!(eve.goodbye().await.code(), ErrorCode::Shutdown);
    for client in [&mut ann, &mut bob] {
        client.send(client_frame::Message::Leave(segue_wire::proto::Leave::default())).await;
    }
    // An empty room is not waited for.
    relay.drain(std::time::Duration::from_secs(5)).await;
    assert!(get(&relay, "/metrics").await.contains("segue_rooms 0\n"));
}

#[tokio::test]
async fn metrics_are_for_this_machine() {
    let relay = relay(|_| {}).await;
    let address = relay.address();
    let ask = async |header: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
        let request = format!("GET /metrics HTTP/1.1\r\nhost: relay\r\n{header}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("answered");
        response
    };
    assert!(ask("").await.contains("segue_rooms 0\n"));
    let passed_on = ask("x-forwarded-for: 192.0.2.1\r\n").await;
    assert!(passed_on.starts_with("HTTP/1.1 403") && passed_on.contains("http.public_metrics"), "{passed_on}");
}

#[tokio::test]
async fn frames_out_of_order_end_the_session() {
    let relay = relay(|_| {}).await;
    let (mut ann, _) = Client::join(&relay, "ann").await;
    ann.sent += 5;
    ann.send(client_frame::Message::Leave(proto::Leave::default())).await;
    let goodbye = ann.goodbye().await;
    assert_eq!((goodbye.reason(), goodbye.code()), (LeaveReason::Refused, ErrorCode::Malformed));
}

#[tokio::test]
async fn a_message_before_join_is_answered_and_join_still_works() {
    let relay = relay(|_| {}).await;
    let mut ann = Client::connect(&relay.url(), Encoding::Proto).await;
    ann.send(client_frame::Message::SetMuted(proto::SetMuted::default())).await;
    let error = ann.error().await;
    assert_eq!((error.code(), error.seq), (ErrorCode::NotJoined, 1));
    let token = relay.token("lobby", "ann", Grants::default()).expect("a token");
    ann.send(client_frame::Message::Join(join(token))).await;
    assert!(matches!(ann.next().await, Some(server_frame::Message::Joined(_))));
}

#[tokio::test]
async fn a_full_room_says_so() {
    let relay = relay(|config| config.room.max_participants = 1).await;
    let (_ann, _) = Client::join(&relay, "ann").await;
    let mut bob = Client::connect(&relay.url(), Encoding::Proto).await;
    bob.send(client_frame::Message::Join(join(relay.token("lobby", "bob", Grants::default()).expect("a token")))).await;
    let goodbye = bob.goodbye().await;
    assert_eq!((goodbye.reason(), goodbye.code()), (LeaveReason::Refused, ErrorCode::RoomFull));
    assert!(goodbye.message.contains("limits.participants"), "{}", goodbye.message);
}

#[tokio::test]
async fn the_same_identity_replaces_the_first() {
    let relay = relay(|_| {}).await;
    let (mut first, joined) = Client::join(&relay, "ann").await;
    let (mut second, again) = Client::join(&relay, "ann").await;
    assert_ne!(self_id(&joined), self_id(&again));
    assert!(again.others.is_empty());
    let goodbye = first.goodbye().await;
    assert_eq!((goodbye.reason(), goodbye.code()), (LeaveReason::Replaced, ErrorCode::Replaced));
    second.ping().await;
    // Without an identity a token is for anyone, and nobody replaces anybody.
    let (_guest, one) = Client::join(&relay, "").await;
    let (_other, two) = Client::join(&relay, "").await;
    assert_eq!((one.others.len(), two.others.len()), (1, 2));
}

#[tokio::test]
async fn a_device_that_was_replaced_while_away_hears_so_when_it_comes_back() {
    let relay = relay(|_| {}).await;
    let (away, joined) = Client::join(&relay, "ann").await;
    drop(away);
    let (mut second, _) = Client::join(&relay, "ann").await;
    // As often as it asks: were it told that the session is unknown, it would join and throw the other out.
    for _ in 0..2 {
        let mut back = Client::connect(&relay.url(), Encoding::Json).await;
        let resume = client_frame::Message::Resume(proto::Resume { resume_token: joined.resume_token.clone() });
        back.send_frame(proto::ClientFrame { seq: 0, ack: 1, message: Some(resume) }).await;
        let goodbye = back.goodbye().await;
        assert_eq!((goodbye.reason(), goodbye.code()), (LeaveReason::Replaced, ErrorCode::Replaced));
        assert_eq!(goodbye.retry_after_ms, 0);
    }
    second.ping().await;
}

#[tokio::test]
async fn a_dropped_connection_resumes_and_misses_nothing() {
    let relay = relay(|_| {}).await;
    let (mut ann, joined) = Client::join(&relay, "ann").await;
    let ann_id = self_id(&joined);
    let (mut bob, _) = Client::join(&relay, "bob").await;
    bob.signal(ann_id, 1, vec![1]).await;
    assert_eq!(ann.next_signal().await.number, 1);
    let (handled, sent) = (ann.handled, ann.sent);
    drop(ann);
    for number in 2..=50 {
        bob.signal(ann_id, number, vec![0; 100]).await;
    }
    bob.ping().await;

    let mut ann = Client::connect(&relay.url(), Encoding::Proto).await;
    let resume = client_frame::Message::Resume(proto::Resume { resume_token: joined.resume_token.clone() });
    ann.send_frame(proto::ClientFrame { seq: 0, ack: handled, message: Some(resume) }).await;
    (ann.handled, ann.sent) = (handled, sent);
    let resumed = ann.next_frame().await.expect("resumed");
    assert_eq!((resumed.ack, resumed.message), (sent, Some(server_frame::Message::Resumed(proto::Resumed {}))));
    for number in 2..=50 {
        assert_eq!(ann.next_signal().await.number, number);
    }
    // What the relay handled is handled once, what is new goes on.
    ann.sent -= 1;
    ann.send(client_frame::Message::Leave(proto::Leave::default())).await;
    ann.publish_camera().await;
}

#[tokio::test]
async fn a_resumed_session_closes_its_old_connection() {
    let relay = relay(|_| {}).await;
    let (mut old, joined) = Client::join(&relay, "ann").await;
    let mut new = Client::connect(&relay.url(), Encoding::Json).await;
    let resume = client_frame::Message::Resume(proto::Resume { resume_token: joined.resume_token });
    new.send_frame(proto::ClientFrame { seq: 0, ack: old.handled, message: Some(resume) }).await;
    assert!(matches!(new.next().await, Some(server_frame::Message::Resumed(_))));
    (new.sent, new.handled) = (old.sent, old.handled);
    // What was under way to it may still come, then its end.
    while old.next_frame().await.is_some() {}
    new.ping().await;
}

#[tokio::test]
async fn a_session_that_waited_too_long_is_unknown() {
    let relay = relay(|config| config.room.resume_window = Duration::from_millis(50)).await;
    let (ann, joined) = Client::join(&relay, "ann").await;
    let (mut bob, _) = Client::join(&relay, "bob").await;
    drop(ann);
    let left = bob.wait_for(|message| match message {
        server_frame::Message::ParticipantLeft(left) => Some(left.reason()),
        _ => None,
    });
    assert_eq!(left.await, LeaveReason::Timeout);
    let mut ann = Client::connect(&relay.url(), Encoding::Proto).await;
    for resume_token in [joined.resume_token, "made.up".to_owned(), String::new()] {
        let resume = client_frame::Message::Resume(proto::Resume { resume_token });
        ann.send_frame(proto::ClientFrame { seq: 0, ack: 0, message: Some(resume) }).await;
        assert_eq!(ann.error().await.code(), ErrorCode::SessionUnknown);
    }
    ann.send(client_frame::Message::Join(join(relay.token("lobby", "ann", Grants::default()).expect("a token")))).await;
    // Three refused frames, one of them numbered or not, do not stand in the way.
    assert!(matches!(ann.next().await, Some(server_frame::Message::Joined(_))));
}

#[tokio::test]
async fn a_client_that_stops_reading_is_ended_and_others_notice_nothing() {
    let relay = relay(|config| config.room.bytes_per_second = 64 * 1024 * 1024).await;
    let (mut slow, slow_joined) = Client::join(&relay, "slow").await;
    let (mut ann, ann_joined) = Client::join(&relay, "ann").await;
    let (mut bob, _) = Client::join(&relay, "bob").await;
    let (slow_id, ann_id) = (self_id(&slow_joined), self_id(&ann_joined));
    let mut number = 0;
    let reason = loop {
        number += 1;
        bob.signal(slow_id, number, vec![0; 60 * 1024]).await;
        bob.signal(ann_id, number, vec![1]).await;
        assert_eq!(ann.next_signal().await.number, number);
        assert!(number < 1000, "never ended");
        bob.send_frame(proto::ClientFrame {
            seq: 0,
            ack: bob.handled,
            message: Some(client_frame::Message::Ping(proto::Ping { time_us: 77 })),
        })
        .await;
        if let server_frame::Message::ParticipantLeft(left) = bob
            .wait_for(|message| match message {
                server_frame::Message::ParticipantLeft(_) | server_frame::Message::Pong(_) => Some(message),
                _ => None,
            })
            .await
        {
            break left.reason();
        }
    };
    assert_eq!(reason, LeaveReason::TooSlow);
    // It finds its connection ended when it reads again.
    slow.polite = false;
    while slow.next_frame().await.is_some() {}
    ann.ping().await;
    bob.ping().await;
}

#[tokio::test]
async fn json_and_protobuf_meet_in_one_room() {
    let relay = relay(|_| {}).await;
    let (mut text, text_joined) = Client::join_as(&relay, "text", Grants::default(), Encoding::Json).await;
    let (mut binary, binary_joined) = Client::join(&relay, "binary").await;
    let data = proto::Data { number: 1, topic: "chat".to_owned(), payload: b"hello".to_vec(), ..Default::default() };
    let body = proto::SignalBody { body: Some(signal_body::Body::Data(data)) }.encode_to_vec();
    text.signal(self_id(&binary_joined), 1, body.clone()).await;
    let received = binary.next_signal().await;
    assert_eq!((received.from, &received.body), (self_id(&text_joined), &body));
    binary.signal(0, 1, body.clone()).await;
    assert_eq!(text.next_signal().await.body, body);
    // A kind of a later version: to those who read protobuf its text would say nothing.
    text.sent += 1;
    let future = format!(
        r#"{{"seq":{},"message":{{"signal":{{"to":{},"number":9,"body":{{"future_kind":{{"x":1}}}}}}}}}}"#,
        text.sent,
        self_id(&binary_joined)
    );
    text.send_raw(Message::text(future)).await;
    let error = text.error().await;
    assert_eq!((error.code(), error.seq), (ErrorCode::UnknownMessage, text.sent));
    // As a person would write it.
    text.sent += 1;
    let written = format!(
        r#"{{"seq":{},"ack":{},"message":{{"signal":{{"to":{},"number":2,"body":{{"data":{{"topic":"chat","payload":"aGk="}}}}}}}}}}"#,
        text.sent,
        text.handled,
        self_id(&binary_joined)
    );
    text.send_raw(Message::text(written)).await;
    let received = proto::SignalBody::decode(binary.next_signal().await.body.as_slice()).expect("a body");
    assert!(matches!(received.body, Some(signal_body::Body::Data(data)) if data.payload == b"hi"));
}

#[tokio::test]
async fn a_relay_that_stops_says_when_to_come_back() {
    let relay = relay(|_| {}).await;
    let (mut ann, _) = Client::join(&relay, "ann").await;
    let (mut bob, _) = Client::join_as(&relay, "bob", Grants::default(), Encoding::Json).await;
    let ((), ann, bob) = tokio::join!(relay.shutdown(), ann.goodbye(), bob.goodbye());
    for goodbye in [ann, bob] {
        assert_eq!((goodbye.reason(), goodbye.code()), (LeaveReason::Shutdown, ErrorCode::Shutdown));
        assert!(goodbye.retry_after_ms > 0);
    }
}

#[tokio::test]
async fn who_was_there_before_the_restart_keeps_its_numbers() {
    let keys = vec![KeySettings { id: "k".to_owned(), secret: Some("x".repeat(32)), ..KeySettings::default() }];
    let configure = |keys: Vec<KeySettings>| move |config: &mut segue_relay::Config| config.keys = keys;
    let first = relay(configure(keys.clone())).await;
    let token = first.token("lobby", "bob", Grants::default()).expect("a token");
    let (ann, _) = Client::join(&first, "ann").await;
    let (mut bob, joined) = Client::join(&first, "bob").await;
    let track = bob.publish_camera().await;
    drop(ann);
    let (_, goodbye) = tokio::join!(first.shutdown(), bob.goodbye());
    assert_eq!(goodbye.reason(), LeaveReason::Shutdown);

    let second = relay(configure(keys)).await;
    let mut bob = Client::connect(&second.url(), Encoding::Proto).await;
    let rejoin = proto::Rejoin { incarnation: joined.incarnation, participant: self_id(&joined), tracks: vec![track.clone()] };
    bob.send(client_frame::Message::Join(proto::Join { rejoin: Some(rejoin), ..join(token) })).await;
    let Some(server_frame::Message::Joined(again)) = bob.next().await else { panic!("not let in") };
    assert_eq!(self_id(&again), self_id(&joined));
    assert_eq!(again.self_.expect("oneself").tracks, [track]);
    assert!(again.incarnation > joined.incarnation);
}

async fn get(relay: &segue_relay::Relay, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(relay.address()).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("answered");
    response
}

#[tokio::test]
async fn http_serves_the_page_health_and_metrics() {
    let relay = relay(|_| {}).await;
    let (_ann, _) = Client::join(&relay, "ann").await;
    assert!(get(&relay, "/").await.contains("<!doctype html>"));
    assert!(get(&relay, "/js/main.js").await.contains("content-type: text/javascript"));
    assert!(get(&relay, "/healthz").await.ends_with("ok\n"));
    let metrics = get(&relay, "/metrics").await;
    assert!(metrics.contains("segue_participants 1\n") && metrics.contains("segue_joins_total 1\n"), "{metrics}");
    assert!(get(&relay, "/../Cargo.toml").await.starts_with("HTTP/1.1 404"));
    assert!(get(&relay, "/v1/connect").await.starts_with("HTTP/1.1 4"));
}

#[tokio::test]
async fn a_second_relay_takes_the_next_port() {
    let first = relay(|_| {}).await;
    let taken = first.address();
    let second = relay(|config| {
        config.http = taken;
        config.try_next_port = true;
    })
    .await;
    assert!(second.address().port() > taken.port());
}
