//! A whole call through the relay, begun by signalling: media arrives, and the log holds nothing that it must not.

#[allow(dead_code, reason = "shared with other tests")]
mod client;
#[allow(dead_code, reason = "shared with other tests")]
mod wire;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, join, relay};
use segue_media::packet::{ExtensionMap, Extensions, Origin, OriginFlags, RtpHeader, RtpPacket};
use segue_model::{LayerId, SeqNo, Ssrc, TrackId};
use segue_relay::{Grants, Relay};
use segue_wire::Encoding;
use segue_wire::proto::{self, RelayTransport, SdpKind, client_frame, server_frame};
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;
use wire::Peer;

const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "real sockets, real time")]
fn now() -> Instant {
    Instant::now()
}

/// One participant: its signalling and its two transports.
struct Party {
    client: Client,
    publisher: Peer,
    subscriber: Peer,
    /// Everything a log must not show.
    secrets: Vec<String>,
    published: Option<proto::Track>,
}

impl Party {
    async fn join(relay: &Relay, identity: &str, encoding: Encoding) -> Self {
        let mut client = Client::connect(&relay.url(), encoding).await;
        let token = relay.token("lobby", identity, Grants::default()).expect("a token");
        let policy = proto::TopologyPolicy::RelayOnly.into();
        client.send(client_frame::Message::Join(proto::Join { policy, ..join(token.clone()) })).await;
        let Some(server_frame::Message::Joined(joined)) = client.next().await else { panic!("not let in") };
        let mut publisher = Peer::new();
        let sdp = publisher.offer();
        let secrets = vec![token, joined.resume_token, sdp.clone()];
        client.send(description(RelayTransport::Publisher, SdpKind::Offer, sdp, 1)).await;
        Self { client, publisher, subscriber: Peer::new(), secrets, published: None }
    }

    /// Takes what has come, if anything.
    async fn turn(&mut self) {
        self.publisher.turn();
        self.subscriber.turn();
        let Ok(message) = timeout(Duration::from_millis(1), self.client.next()).await else { return };
        match message.expect("the relay closed") {
            server_frame::Message::Description(found) if found.transport() == RelayTransport::Publisher => {
                assert_eq!((found.kind(), found.generation), (SdpKind::Answer, 1));
                self.secrets.push(found.sdp.clone());
                self.publisher.accept_answer(found.sdp);
            }
            server_frame::Message::Description(found) => {
                let answer = self.subscriber.answer(found.sdp);
                self.client.send(description(RelayTransport::Subscriber, SdpKind::Answer, answer, found.generation)).await;
            }
            server_frame::Message::Published(published) => self.published = published.track,
            server_frame::Message::Error(error) => panic!("{}", error.message),
            _ => {}
        }
    }
}

fn description(transport: RelayTransport, kind: SdpKind, sdp: String, generation: u32) -> client_frame::Message {
    client_frame::Message::Description(proto::RelayDescription {
        transport: transport.into(),
        kind: kind.into(),
        sdp,
        tracks: Vec::new(),
        generation,
    })
}

/// Publishes, answering what else comes meanwhile.
async fn publish_camera(party: &mut Party) -> proto::Track {
    let publish = proto::Publish { request: 1, kind: 2, source: 2, ..Default::default() };
    party.client.send(client_frame::Message::Publish(publish)).await;
    loop {
        party.turn().await;
        if let Some(track) = party.published.take() {
            return track;
        }
    }
}

fn keyframe(source: TrackId, number: u32) -> Vec<u8> {
    let flags = OriginFlags { first: true, last: true, keyframe: true, ..OriginFlags::default() };
    let origin = Origin { source, layer: LayerId::default(), flags, packet: number, frame: number, refers_back: 0 };
    let extensions = Extensions { origin: Some(origin), transport_cc: Some(number as u16), ..Extensions::default() };
    let header = RtpHeader {
        marker: true,
        payload_type: 102,
        sequence: SeqNo(number as u16),
        timestamp: number * 3_000,
        ssrc: Ssrc(77),
        extensions,
    };
    let mut out = Vec::new();
    RtpPacket { header, payload: Bytes::from(vec![7; 500]), padding: 0 }.write(&ExtensionMap::ours(), &mut out);
    out
}

/// Collects the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_arrives_and_the_log_keeps_its_secrets() {
    let log = Log::default();
    let sink = log.clone();
    let filter = EnvFilter::new("off,segue_relay=trace,segue_session=trace,segue_forward=trace,segue_media=trace");
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(move || sink.clone());
    logging.init();

    let relay = relay(|_| {}).await;
    let mut ann = Party::join(&relay, "ann", Encoding::Proto).await;
    let mut bob = Party::join(&relay, "bob", Encoding::Json).await;
    let track = TrackId(publish_camera(&mut ann).await.id as u16);

    let begin = now();
    let mut number = 0;
    let received = |party: &Party| party.subscriber.wire.lock().expect("a wire").rtp.len();
    while received(&bob) < 20 {
        assert!(now() - begin < PATIENCE, "no media; {}", relay.metrics());
        ann.turn().await;
        bob.turn().await;
        if ann.publisher.connected && bob.subscriber.connected {
            number += 1;
            ann.publisher.send_rtp(&keyframe(track, number));
        }
    }
    assert_eq!(received(&ann), 0);
    drop((ann.publisher, bob.publisher));

    let log = String::from_utf8(log.0.lock().expect("a log").clone()).expect("text");
    assert!(log.contains("participant joined") && log.contains("transport changed"), "{log}");
    let secrets = ann.secrets.iter().chain(&bob.secrets);
    let lines = secrets.flat_map(|secret| secret.lines()).filter(|line| line.len() > 12).map(str::to_owned);
    for secret in lines.chain(["127.0.0.1".to_owned(), "a=".to_owned(), "candidate".to_owned()]) {
        assert!(!log.contains(&secret), "the log shows {secret}");
    }
}
