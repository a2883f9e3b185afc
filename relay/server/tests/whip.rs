//! WHIP and WHEP from outside: a stock WebRTC peer publishes and plays with one HTTP request each, and everything that may be wrong with
//! such a request is answered with its status and a sentence.

#[allow(dead_code, reason = "shared with other tests")]
mod client;
#[allow(dead_code, reason = "shared with other tests")]
mod wire;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, relay};
use segue_media::packet::{ExtensionMap, Extensions, RtcpPacket, RtpHeader, RtpPacket};
use segue_model::{SeqNo, Ssrc};
use segue_relay::{Claims, Grants, Relay};
use segue_wire::proto::server_frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wire::Peer;

const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "real sockets, real time")]
fn now() -> Instant {
    Instant::now()
}

/// What HTTP answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// Refused with this status, and a sentence.
    fn refused(&self, status: u16, sentence: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.body.contains(sentence), "{self:?}");
        assert!(self.body.trim_end().len() > 20, "a sentence: {self:?}");
    }
}

async fn send(to: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).await.expect("connects");
    stream.write_all(request).await.expect("sent");
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer in time").expect("an answer");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn request(relay: &Relay, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let len = body.len();
    let text =
        format!("{method} {path} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n{headers}content-length: {len}\r\n\r\n{body}");
    send(relay.address(), text.as_bytes()).await
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

fn sdp(token: &str) -> String {
    format!("{}content-type: application/sdp\r\n", bearer(token))
}

fn token(relay: &Relay, identity: &str) -> String {
    relay.token("lobby", identity, Grants::default()).expect("a token")
}

/// The SSRC a description declares first for a kind of media.
fn ssrc(description: &str, media: &str) -> u32 {
    let section = description.split("\r\nm=").find(|section| section.starts_with(media)).expect("a section");
    let line = section.lines().find_map(|line| line.strip_prefix("a=ssrc:")).expect("a stream");
    line.split(' ').next().and_then(|ssrc| ssrc.parse().ok()).expect("a number")
}

/// A client with one transport.
struct Caller {
    peer: Peer,
    offer: String,
    answer: String,
    resource: String,
    tag: String,
    token: String,
}

impl Caller {
    async fn post(relay: &Relay, path: &str, token: String) -> Self {
        let mut peer = Peer::new();
        let offer = peer.offer();
        let answer = request(relay, "POST", path, &sdp(&token), &offer).await;
        assert_eq!((answer.status, answer.header("content-type")), (201, Some("application/sdp")), "{answer:?}");
        let resource = answer.header("location").expect("a location").to_owned();
        assert!(resource.starts_with(&format!("{path}/")), "{resource}");
        peer.accept_answer(answer.body.clone());
        let tag = answer.header("etag").expect("a tag").to_owned();
        let mut caller = Self { peer, offer, answer: answer.body, resource, tag, token };
        until("a connection", &mut [&mut caller], |callers| callers[0].peer.connected).await;
        caller
    }

    async fn delete(&self, relay: &Relay) -> Answer {
        request(relay, "DELETE", &self.resource, &bearer(&self.token), "").await
    }

    fn media(&self) -> Vec<RtpPacket> {
        let wire = self.peer.wire.lock().expect("whole");
        wire.rtp.iter().map(|bytes| RtpPacket::parse(bytes.clone(), &ExtensionMap::default()).expect("RTP")).collect()
    }

    fn rtcp(&self, wanted: impl Fn(&RtcpPacket) -> bool) -> bool {
        self.peer.wire.lock().expect("whole").rtcp.iter().any(wanted)
    }
}

async fn until(what: &str, callers: &mut [&mut Caller], done: impl Fn(&[&mut Caller]) -> bool) {
    let begin = now();
    while !done(callers) {
        assert!(now() - begin < PATIENCE, "no {what}");
        for caller in callers.iter_mut() {
            caller.peer.turn();
        }
        tokio::task::yield_now().await;
    }
}

fn rtp(payload_type: u8, ssrc: u32, number: u16, payload: &[u8]) -> Vec<u8> {
    let header = RtpHeader {
        marker: true,
        payload_type,
        sequence: SeqNo(number),
        timestamp: u32::from(number) * 3_000,
        ssrc: Ssrc(ssrc),
        extensions: Extensions::default(),
    };
    let mut out = Vec::new();
    RtpPacket { header, payload: Bytes::copy_from_slice(payload), padding: 0 }.write(&ExtensionMap::default(), &mut out);
    out
}

/// One packet of a keyframe.
const IDR: &[u8] = &[0x65, 1, 2, 3, 4];

/// One packet of a frame that needs those before it.
const DELTA: &[u8] = &[0x61, 1, 2, 3, 4];

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_and_a_player_need_one_request_each() {
    let relay = relay(|_| {}).await;
    let (mut ann, joined) = Client::join(&relay, "ann").await;
    assert!(joined.others.is_empty());
    let mut camera = Caller::post(&relay, "/v1/whip/lobby", token(&relay, "camera")).await;
    let seen = ann.wait_for(|message| match message {
        server_frame::Message::TrackPublished(published) => published.track,
        _ => None,
    });
    assert_eq!(seen.await.kind, 1);
    let mut player = Caller::post(&relay, "/v1/whep/lobby/camera", token(&relay, "camera")).await;
    assert!(player.answer.contains("a=sendonly") && player.answer.contains("a=ice-lite"), "{}", player.answer);

    let (voice, picture) = (ssrc(&camera.offer, "audio"), ssrc(&camera.offer, "video"));
    camera.peer.send_rtp(&rtp(102, picture, 1, DELTA));
    // Nobody can decode that.
    until("a keyframe request", &mut [&mut camera, &mut player], |callers| {
        callers[0].rtcp(|packet| matches!(packet, RtcpPacket::Pli { media: Ssrc(media), .. } if *media == picture))
    })
    .await;
    for number in 2..42 {
        camera.peer.send_rtp(&rtp(102, picture, number, if number == 2 { IDR } else { DELTA }));
        camera.peer.send_rtp(&rtp(111, voice, number, &[9; 60]));
        until("a turn", &mut [&mut camera, &mut player], |_| true).await;
        camera.peer.turn();
    }
    until("all of it", &mut [&mut camera, &mut player], |callers| callers[1].media().len() == 80).await;
    let (voices, pictures) = (ssrc(&player.answer, "audio"), ssrc(&player.answer, "video"));
    let of = |ssrc: u32| player.media().into_iter().filter(move |packet| packet.header.ssrc.0 == ssrc).collect::<Vec<_>>();
    assert_eq!((of(voices).len(), of(pictures).len()), (40, 40));
    assert_eq!(&of(pictures)[0].payload[..], IDR);
    let in_a_row = |pair: &[RtpPacket]| pair[0].header.sequence.0.wrapping_add(1) == pair[1].header.sequence.0;
    assert!(of(pictures).windows(2).all(in_a_row) && of(voices).windows(2).all(in_a_row));

    // The player goes, the publisher stays.
    assert_eq!(player.delete(&relay).await.status, 200);
    player.delete(&relay).await.refused(404, "no such session any more");
    until("a goodbye", &mut [&mut player], |callers| callers[0].peer.closed).await;
    assert_eq!(camera.delete(&relay).await.status, 200);
    let left = ann.wait_for(|message| match message {
        server_frame::Message::ParticipantLeft(left) => Some(left.participant),
        _ => None,
    });
    assert!(left.await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_stays_while_its_publisher_comes_again() {
    let relay = relay(|_| {}).await;
    let path = "/v1/whep/lobby/camera";
    let camera = Caller::post(&relay, "/v1/whip/lobby", token(&relay, "camera")).await;
    let mut player = Caller::post(&relay, path, token(&relay, "")).await;
    // The same identity again: the first session is over, and nobody else's.
    let mut again = Caller::post(&relay, "/v1/whip/lobby", token(&relay, "camera")).await;
    camera.delete(&relay).await.refused(404, "no such session");
    let picture = ssrc(&again.offer, "video");
    let mut number = 0;
    let begin = now();
    while player.media().is_empty() {
        assert!(now() - begin < PATIENCE, "no media");
        number += 1;
        again.peer.send_rtp(&rtp(102, picture, number, IDR));
        again.peer.turn();
        player.peer.turn();
    }
    assert_eq!(player.media()[0].header.ssrc.0, ssrc(&player.answer, "video"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_play_with_one_token_and_none_takes_the_place_of_another() {
    let relay = relay(|_| {}).await;
    let shared = token(&relay, "camera");
    let camera = Caller::post(&relay, "/v1/whip/lobby", shared.clone()).await;
    let mut players = Vec::new();
    for _ in 0..3 {
        players.push(Caller::post(&relay, "/v1/whep/lobby/camera", shared.clone()).await);
    }
    let (_ann, joined) = Client::join(&relay, "ann").await;
    assert_eq!(joined.others.len(), 4);
    for caller in players.iter().chain([&camera]) {
        assert_eq!(caller.delete(&relay).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_are_taken_and_ice_restarts_under_a_new_tag() {
    let relay = relay(|_| {}).await;
    let mut camera = Caller::post(&relay, "/v1/whip/lobby", token(&relay, "camera")).await;
    let resource = camera.resource.clone();
    let trickle = "content-type: application/trickle-ice-sdpfrag\r\n";
    let patch = async |more: &str, body: &str| {
        let headers = format!("{}{trickle}{more}", bearer(&token(&relay, "camera")));
        request(&relay, "PATCH", &resource, &headers, body).await
    };
    let fragment = |ufrag: &str| {
        format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n")
    };
    let tag = camera.tag.clone();
    assert_eq!(patch(&format!("if-match: {tag}\r\n"), &fragment("Abcd")).await.status, 204);
    patch("", &fragment("Abcd")).await.refused(428, "If-Match");
    patch("if-match: \"stale\"\r\n", &fragment("Abcd")).await.refused(412, "ETag");
    patch("if-match: *\r\n", "a=candidate:1").await.refused(400, "ice-ufrag");
    let wrong = format!("{}if-match: *\r\n", sdp(&token(&relay, "camera")));
    request(&relay, "PATCH", &resource, &wrong, &fragment("Abcd")).await.refused(415, "trickle-ice-sdpfrag");
    request(&relay, "PATCH", &resource, trickle, &fragment("Abcd")).await.refused(401, "Bearer");

    let restarted = patch("if-match: *\r\n", &fragment("Wxyz")).await;
    assert_eq!((restarted.status, restarted.header("content-type")), (200, Some("application/trickle-ice-sdpfrag")));
    let new = restarted.header("etag").expect("a tag").to_owned();
    assert!(new != tag && restarted.body.contains(&format!("a=ice-ufrag:{}\r\n", new.trim_matches('"'))), "{restarted:?}");
    assert!(restarted.body.contains("a=mid:0\r\na=ice-ufrag") && restarted.body.contains("a=candidate:"), "{restarted:?}");
    patch(&format!("if-match: {tag}\r\n"), &fragment("Wxyz")).await.refused(412, "ETag");
    assert_eq!(patch(&format!("if-match: {new}\r\n"), &fragment("Wxyz")).await.status, 204);
    // Those who still check under the old names stay connected until somebody is nominated under the new.
    until("a turn", &mut [&mut camera], |callers| callers[0].peer.connected).await;
    assert_eq!(camera.delete(&relay).await.status, 200);
    patch(&format!("if-match: {new}\r\n"), &fragment("Wxyz")).await.refused(404, "no such session");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let relay = relay(|_| {}).await;
    let valid = token(&relay, "ann");
    let offer = Peer::new().offer();
    let post = async |headers: &str, body: &str| request(&relay, "POST", "/v1/whip/lobby", headers, body).await;
    let none = post("content-type: application/sdp\r\n", &offer).await;
    none.refused(401, "Authorization: Bearer");
    assert_eq!(none.header("www-authenticate"), Some("Bearer"));
    post(&sdp("not a token"), &offer).await.refused(401, "not a JWT");
    let expired = Claims { exp: 1_000_000, ..Claims::new("lobby", "ann", Grants::default(), 0) };
    post(&sdp(&relay.token_with(expired).expect("a token")), &offer).await.refused(401, "expired");
    let elsewhere = relay.token("vault", "ann", Grants::default()).expect("a token");
    post(&sdp(&elsewhere), &offer).await.refused(403, "another room");
    let listener = relay.token("lobby", "ann", Grants { publish: false, ..Grants::default() }).expect("a token");
    post(&sdp(&listener), &offer).await.refused(403, "`publish`");
    post(&bearer(&valid), &offer).await.refused(415, "application/sdp");
    post(&format!("{}content-type: application/json\r\n", bearer(&valid)), "{}").await.refused(415, "application/sdp");
    post(&sdp(&valid), &"v=0\r\n".repeat(20_000)).await.refused(413, "at most 65536 bytes");
    post(&sdp(&valid), "hello").await.refused(400, "v=0");
    post(&sdp(&valid), "v=0\r\ns=-\r\n").await.refused(400, "no section");
    let thousand = format!("v=0\r\n{}", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(1_000));
    post(&sdp(&valid), &thousand).await.refused(422, "more than 128 sections");
    post(&sdp(&valid), &offer.replace("opus", "speex").replace("H264", "H265")).await.refused(422, "no common codec");
    post(&sdp(&valid), &offer.replace("actpass", "passive")).await.refused(422, "setup:passive");
    post(&sdp(&valid), &offer.replace("a=rtcp-mux\r\n", "")).await.refused(422, "rtcp-mux");
    post(&sdp(&valid), &offer.replace("a=sendrecv", "a=recvonly")).await.refused(422, "sends nothing");
    let play =
        async |who: &str, body: &str| request(&relay, "POST", &format!("/v1/whep/lobby/{who}"), &sdp(&valid), body).await;
    play("ann", &offer).await.refused(404, "\"ann\"");
    let (_ann, _) = Client::join(&relay, "ann").await;
    play("bob", &offer).await.refused(404, "\"bob\"");
    play("ann", &offer.replace("a=sendrecv", "a=sendonly")).await.refused(422, "receives nothing");
    let gone = async |token: &str| request(&relay, "DELETE", "/v1/whip/lobby/bm9ib2R5", &bearer(token), "").await;
    request(&relay, "DELETE", "/v1/whip/lobby/bm9ib2R5", "", "").await.refused(401, "Bearer");
    gone(&valid).await.refused(404, "no such session");
    assert_eq!(request(&relay, "PUT", "/v1/whip/lobby", &sdp(&valid), &offer).await.status, 405);
    let options = request(&relay, "OPTIONS", "/v1/whip/lobby", "", "").await;
    assert_eq!((options.status, options.header("accept-post")), (204, Some("application/sdp")));
    assert_eq!(options.header("access-control-allow-origin"), Some("*"));
    assert!(relay.metrics().contains("segue_offers_refused_total 18\n"), "{}", relay.metrics());
    // Nothing of all that is in the room.
    assert!(relay.metrics().contains("segue_participants 1\n"), "{}", relay.metrics());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_vanishes_is_gone_from_the_room() {
    let relay = relay(|_| {}).await;
    let (mut ann, _) = Client::join(&relay, "ann").await;
    let camera = Caller::post(&relay, "/v1/whip/lobby", token(&relay, "camera")).await;
    let mut camera = camera;
    camera.peer.close();
    let left = ann.wait_for(|message| match message {
        server_frame::Message::ParticipantLeft(left) => Some(left.participant),
        _ => None,
    });
    assert!(left.await > 0);
    camera.delete(&relay).await.refused(404, "no such session");
}

#[tokio::test]
async fn a_full_room_says_so() {
    let relay = relay(|config| config.room.max_participants = 1).await;
    let (_ann, _) = Client::join(&relay, "ann").await;
    let offer = Peer::new().offer();
    let full = request(&relay, "POST", "/v1/whip/lobby", &sdp(&token(&relay, "bob")), &offer).await;
    full.refused(503, "full");
    assert!(full.header("retry-after").is_some());
}
