//! The media plane over real sockets: two stock WebRTC peers publish and subscribe through a shard.

#[allow(dead_code, reason = "shared with other tests")]
mod wire;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::RingProvider;
use rtc_stun::attributes::{ATTR_PRIORITY, ATTR_USERNAME};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter};
use segue_media::packet::{ExtensionMap, Extensions, Origin, OriginFlags, RtcpPacket, RtpHeader, RtpPacket};
use segue_model::{LayerId, ParticipantId, SeqNo, Ssrc, TrackId, TrackKind, TrackSource};
use segue_relay::media_plane::{
    DescriptionKind, EVENT_QUEUE, MediaCommand, MediaEvent, MediaPlane, MidTrack, RoomKey, RoomMedia, TransportKind,
    TransportState,
};
use segue_relay::shard::{ShardConfig, Shards};
use segue_session::room::ForwardCommand;
use segue_wire::proto::LossyData;
use segue_wire::{Encoding, decode_lossy, encode_lossy};
use tokio::sync::mpsc;
use wire::Peer;

const ALICE: ParticipantId = ParticipantId(1);
const BOB: ParticipantId = ParticipantId(2);
const CAMERA: TrackId = TrackId(7);
const PACKETS: u32 = 300;

/// How long anything here may take; loopback takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "real sockets, real time")]
fn now() -> Instant {
    Instant::now()
}

/// A room on a running media plane, with two participants on both their transports.
struct Call {
    plane: Shards,
    room: Box<dyn RoomMedia>,
    events: mpsc::Receiver<MediaEvent>,
    publishers: [Peer; 2],
    subscribers: [Peer; 2],
    states: Vec<(ParticipantId, TransportKind, TransportState)>,
    /// What each participant was last told of its sections.
    slots: [Vec<MidTrack>; 2],
    /// The relay's answers for the publisher transports.
    answers: [String; 2],
}

fn index(participant: ParticipantId) -> usize {
    participant.0 as usize - 1
}

impl Call {
    fn new() -> Self {
        Self::with(true)
    }

    /// Alice is an SDK peer; `origin` says whether Bob is one.
    fn with(origin: bool) -> Self {
        let plane = Shards::start(&ShardConfig { shards: 2, ..ShardConfig::default() }).unwrap();
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let room = plane.open_room(RoomKey(1), sender);
        let peers = || [Peer::new(), Peer::new()];
        let mut call = Self {
            plane,
            room,
            events,
            publishers: peers(),
            subscribers: peers(),
            states: Vec::new(),
            slots: Default::default(),
            answers: Default::default(),
        };
        for (participant, origin) in [(ALICE, true), (BOB, origin)] {
            let (publish, subscribe, offers) = (true, true, false);
            call.forward(ForwardCommand::ParticipantAdded { participant, origin, publish, subscribe, offers });
        }
        for (publisher, subscriber) in [(ALICE, BOB), (BOB, ALICE)] {
            call.forward(ForwardCommand::Edge { publisher, subscriber, on: true, overlap: false, voice_only: false });
        }
        call.publish(CAMERA);
        for participant in [ALICE, BOB] {
            let sdp = call.publishers[index(participant)].offer();
            call.command(MediaCommand::PublisherOffer { participant, generation: 1, sdp, tracks: Vec::new() });
        }
        call.until("connected transports", |call| {
            let up = call.states.iter().filter(|(.., state)| *state == TransportState::Up).count();
            up == 4 && call.publishers.iter().chain(&call.subscribers).all(|peer| peer.connected)
        });
        call
    }

    fn command(&self, command: MediaCommand) {
        self.room.command(command).unwrap();
    }

    fn forward(&self, command: ForwardCommand) {
        self.command(MediaCommand::Forward(command));
    }

    /// Alice has another camera.
    fn publish(&self, track: TrackId) {
        self.forward(ForwardCommand::TrackAdded {
            track,
            owner: ALICE,
            kind: TrackKind::Video,
            source: TrackSource::Camera,
            encodings: Vec::new(),
            muted: false,
        });
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let begin = now();
        while !done(self) {
            assert!(now() - begin < PATIENCE, "no {what}; {:?}; {:?}", self.states, self.nonzero());
            for peer in self.publishers.iter_mut().chain(&mut self.subscribers) {
                peer.turn();
            }
            while let Ok(event) = self.events.try_recv() {
                self.handle(event);
            }
        }
    }

    fn handle(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Description { participant, kind: DescriptionKind::Answer, sdp, .. } => {
                self.answers[index(participant)].clone_from(&sdp);
                self.publishers[index(participant)].accept_answer(sdp);
            }
            MediaEvent::Description { participant, kind: DescriptionKind::Offer, sdp, generation, tracks, .. } => {
                self.slots[index(participant)] = tracks;
                let sdp = self.subscribers[index(participant)].answer(sdp);
                self.command(MediaCommand::SubscriberAnswer { participant, generation, sdp });
            }
            MediaEvent::TransportState { participant, transport, state } => self.states.push((participant, transport, state)),
            MediaEvent::Refused { message, .. } => panic!("refused: {message}"),
            MediaEvent::Slots { participant, slots } => self.slots[index(participant)] = slots,
            MediaEvent::Speakers { .. } => {}
        }
    }

    fn nonzero(&self) -> Vec<(String, f64)> {
        let named = self.plane.samples().into_iter().filter(|sample| sample.value != 0.0);
        named.map(|sample| (format!("{}{:?}", sample.name, sample.labels), sample.value)).collect()
    }

    /// Media packets Bob got, parsed, and the heartbeats and feedback everybody got.
    fn received(&self) -> Vec<RtpPacket> {
        let wire = self.subscribers[index(BOB)].wire.lock().unwrap();
        wire.rtp.iter().map(|bytes| RtpPacket::parse(bytes.clone(), &ExtensionMap::ours()).unwrap()).collect()
    }

    fn feedback(&self, to: &Peer, wanted: impl Fn(&RtcpPacket) -> bool) -> usize {
        to.wire.lock().unwrap().rtcp.iter().filter(|packet| wanted(packet)).count()
    }
}

fn video(number: u32, keyframe: bool) -> RtpPacket {
    let origin = Origin {
        source: CAMERA,
        layer: LayerId::default(),
        flags: OriginFlags { first: true, last: true, keyframe, ..OriginFlags::default() },
        packet: number,
        frame: number,
        refers_back: u8::from(!keyframe),
    };
    let extensions = Extensions { origin: Some(origin), transport_cc: Some(number as u16), ..Extensions::default() };
    let header = RtpHeader {
        marker: true,
        payload_type: 102,
        sequence: SeqNo(65_400u16.wrapping_add(number as u16)),
        timestamp: 1_000_000 + number * 3_000,
        ssrc: Ssrc(0xa11ce),
        extensions,
    };
    RtpPacket { header, payload: Bytes::from(number.to_be_bytes().repeat(200)), padding: 0 }
}

fn bytes(packet: &RtpPacket) -> Vec<u8> {
    let mut out = Vec::new();
    packet.write(&ExtensionMap::ours(), &mut out);
    out
}

#[test]
fn media_goes_through_is_repaired_and_keyframes_are_asked_for() {
    let mut call = Call::new();

    // Nothing decodable yet: the relay asks for a keyframe.
    call.publishers[0].send_rtp(&bytes(&video(0, false)));
    call.until("a keyframe request", |call| {
        call.feedback(&call.publishers[0], |packet| matches!(packet, RtcpPacket::Pli { media: Ssrc(0xa11ce), .. })) == 1
    });
    assert!(call.received().is_empty());

    for number in 1..=PACKETS {
        call.publishers[0].send_rtp(&bytes(&video(number, number == 1)));
        if number % 20 == 0 {
            call.until("media", |call| call.received().len() == number as usize);
        }
    }
    let received = call.received();
    let ssrcs: BTreeSet<_> = received.iter().map(|packet| packet.header.ssrc.0).collect();
    assert_eq!(ssrcs.len(), 1);
    assert!(!ssrcs.contains(&0xa11ce));
    for (number, pair) in received.windows(2).enumerate() {
        assert_eq!(pair[0].header.sequence.0.wrapping_add(1), pair[1].header.sequence.0);
        let sent = video(number as u32 + 1, number == 0);
        assert_eq!((&pair[0].payload, pair[0].header.timestamp), (&sent.payload, sent.header.timestamp));
        assert_eq!(pair[0].header.extensions.origin, sent.header.extensions.origin);
        assert_eq!(pair[0].header.extensions.transport_cc, Some(number as u16));
    }

    repairs(&mut call, &received);
    stolen_origins(&mut call);
}

/// A check of ICE with the credentials a description gives.
fn check(description: &str) -> Vec<u8> {
    let line = |name: &str| description.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let provider = RingProvider::new();
    let mut message = Message::new();
    message.new_transaction_id().unwrap();
    message.set_type(BINDING_REQUEST);
    message.write_header();
    message.add(ATTR_USERNAME, format!("{}:theirs", line("a=ice-ufrag:")).as_bytes());
    message.add(ATTR_PRIORITY, &[0, 0, 0, 1]);
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(line("a=ice-pwd:"), provider.crypto());
    integrity.add_to(&mut message).unwrap();
    FINGERPRINT.add_to(&mut message).unwrap();
    message.raw
}

/// Bob sends checks of his own session in the name of Alice's addresses: they are authentic, and take nothing from her.
#[test]
fn a_forged_source_address_takes_over_nothing() {
    let mut call = Call::new();
    call.until("open channels", |call| call.publishers.iter().all(|peer| peer.open_channels == 2));
    let relay = call.answers[1].lines().find_map(|line| line.strip_prefix("a=candidate:")).unwrap().to_owned();
    let parts: Vec<_> = relay.split(' ').collect();
    let relay: SocketAddr = format!("{}:{}", parts[4], parts[5]).parse().unwrap();
    for peer in [&call.publishers[0], &call.subscribers[0]] {
        for _ in 0..3 {
            peer.send_datagram(relay, &check(&call.answers[1]));
        }
    }
    for number in 1..=PACKETS {
        call.publishers[0].send_rtp(&bytes(&video(number, number == 1)));
        if number % 20 == 0 {
            call.until("media", |call| call.received().len() == number as usize);
        }
    }
    let data = encode_lossy(Encoding::Proto, &LossyData { payload: vec![1], ..LossyData::default() });
    call.publishers[0].send_lossy(false, &data);
    call.until("data of Alice", |call| call.publishers[1].data.len() == 1);
    call.publishers[1].send_lossy(false, &data);
    call.until("data of Bob", |call| call.publishers[0].data.len() == 1);
    assert!(call.states.iter().all(|(.., state)| *state != TransportState::Failed));
}

/// Many messages at once: what is over the limit is dropped and counted.
#[test]
fn lossy_data_over_the_limit_is_counted() {
    let mut call = Call::new();
    call.until("open channels", |call| call.publishers.iter().all(|peer| peer.open_channels == 2));
    let data = encode_lossy(Encoding::Proto, &LossyData { payload: vec![1], ..LossyData::default() });
    let limited = |call: &Call| {
        let samples = call.plane.samples();
        samples.iter().filter(|sample| sample.name == "data_messages_limited_total").map(|sample| sample.value).sum::<f64>()
    };
    call.until("a message over the limit", |call| {
        (0..100).for_each(|_| call.publishers[0].send_lossy(false, &data));
        limited(call) > 0.0
    });
}

/// A subscriber's NACK is answered, its PLI reaches the publisher, and the publisher gets its feedback.
fn repairs(call: &mut Call, received: &[RtpPacket]) {
    let lost = &received[250];
    let nack = RtcpPacket::Nack { sender: Ssrc(1), media: lost.header.ssrc, lost: vec![lost.header.sequence] };
    call.subscribers[1].send_rtcp(&[nack]);
    // Little was lost: it goes twice at once.
    call.until("retransmissions", |call| call.received().len() == received.len() + 2);
    let again = call.received().split_off(received.len());
    assert_eq!(again[0].header.sequence.0.wrapping_add(1), again[1].header.sequence.0);
    for rtx in again {
        assert_eq!(rtx.header.payload_type, 103);
        assert_ne!(rtx.header.ssrc, lost.header.ssrc);
        assert_eq!(rtx.header.extensions.origin, lost.header.extensions.origin);
        assert_eq!(rtx.payload[..2], lost.header.sequence.0.to_be_bytes());
        assert_eq!(rtx.payload[2..], lost.payload[..]);
    }

    let requests = |call: &Call| call.feedback(&call.publishers[0], |packet| matches!(packet, RtcpPacket::Pli { .. }));
    let before = requests(call);
    call.subscribers[1].send_rtcp(&[RtcpPacket::Pli { sender: Ssrc(1), media: lost.header.ssrc }]);
    call.until("the keyframe request of a subscriber", |call| requests(call) == before + 1);
    call.until("transport feedback, reports and heartbeats", |call| {
        let publisher = &call.publishers[0];
        call.feedback(publisher, |packet| matches!(packet, RtcpPacket::TransportCc(_))) > 0
            && call.feedback(publisher, |packet| matches!(packet, RtcpPacket::ReceiverReport(_))) > 0
            && call.feedback(publisher, |packet| matches!(packet, RtcpPacket::Heartbeat(_))) > 1
            && call.feedback(&call.subscribers[1], |packet| matches!(packet, RtcpPacket::Heartbeat(_))) > 1
    });
}

/// Bob speaks for Alice's track: nobody gets it, and it is counted.
fn stolen_origins(call: &mut Call) {
    let mut packet = video(1_000, true);
    packet.header.ssrc = Ssrc(0xb0b);
    call.publishers[1].send_rtp(&bytes(&packet));
    let stolen = |call: &Call| {
        let samples = call.plane.samples();
        let counted = samples.iter().filter(|sample| sample.labels.iter().any(|(_, label)| label == "origin_not_owned"));
        counted.map(|sample| sample.value).sum::<f64>()
    };
    call.until("a refused origin", |call| stolen(call) == 1.0);
    assert!(call.subscribers[0].wire.lock().unwrap().rtp.is_empty());
}

#[test]
fn a_browser_gets_a_section_for_every_track_and_they_are_used_again() {
    let second = TrackId(8);
    let mut call = Call::with(false);
    let send = |call: &mut Call, track: TrackId, number: u32| {
        let mut packet = video(number, true);
        packet.header.ssrc = Ssrc(u32::from(track.0));
        packet.header.sequence = SeqNo(number as u16);
        if let Some(origin) = &mut packet.header.extensions.origin {
            origin.source = track;
        }
        call.publishers[0].send_rtp(&bytes(&packet));
    };
    let section = |call: &Call, track: TrackId| {
        let found = call.slots[1].iter().find(|slot| slot.track == Some(track));
        found.map(|slot| slot.mid.clone())
    };
    send(&mut call, CAMERA, 1);
    call.until("a packet", |call| call.received().len() == 1);
    let first = call.received().remove(0);
    assert_eq!(first.header.extensions.origin, None);
    assert_eq!(first.header.extensions.mid.map(|mid| mid.to_string()), section(&call, CAMERA));

    // Another track needs another section: offered, answered, then used.
    call.publish(second);
    let mut number = 0;
    call.until("a packet of the second track", |call| {
        number += 1;
        send(call, second, number);
        call.received().len() > 1
    });
    let other = call.received().pop().unwrap();
    assert_ne!(other.header.ssrc, first.header.ssrc);
    assert_eq!(other.header.extensions.mid.map(|mid| mid.to_string()), section(&call, second));

    // A track that takes the place of another needs none.
    let third = TrackId(9);
    call.forward(ForwardCommand::TrackRemoved { track: CAMERA });
    call.publish(third);
    call.until("the section of the third track", |call| section(call, third).is_some());
    let before = call.received().len();
    send(&mut call, third, 1);
    call.until("a packet of the third track", |call| {
        call.received().iter().skip(before).any(|packet| packet.header.ssrc == first.header.ssrc)
    });
    assert_eq!(call.slots[1].len(), 3);
}

#[test]
fn lossy_data_reaches_the_others_in_their_form() {
    let mut call = Call::new();
    call.until("open channels", |call| call.publishers.iter().all(|peer| peer.open_channels == 2));
    let data = LossyData { from: 99, to: 0, topic: "pointer".to_owned(), payload: vec![1, 2, 3] };
    call.publishers[0].send_lossy(true, &encode_lossy(Encoding::Json, &data));
    call.until("data", |call| call.publishers[1].data.len() == 1);
    let (text, payload) = &call.publishers[1].data[0];
    assert!(!text);
    assert_eq!(decode_lossy(Encoding::Proto, payload).unwrap(), LossyData { from: ALICE.0, ..data });
    assert!(call.publishers[0].data.is_empty());
}

#[test]
fn a_room_that_is_dropped_says_goodbye_and_a_stop_joins_the_threads() {
    let mut call = Call::new();
    call.until("open channels", |call| call.publishers.iter().all(|peer| peer.open_channels == 2));
    assert_eq!(call.plane.announced().len(), 2);
    let (sender, events) = mpsc::channel(EVENT_QUEUE);
    // The room before it is dropped here.
    call.room = call.plane.open_room(RoomKey(2), sender);
    call.events = events;
    call.until("goodbye", |call| call.publishers.iter().all(|peer| peer.closed));
    call.plane.shutdown();
}

#[test]
fn strangers_get_an_answer_to_plain_stun_and_to_nothing_else() {
    let plane = Shards::start(&ShardConfig { shards: 1, ..ShardConfig::default() }).unwrap();
    let relay = plane.announced()[0];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // Every first byte, at several lengths: RTP, RTCP, DTLS, STUN and noise.
    for first in 0..=255u8 {
        for len in [1usize, 13, 60, 1_400] {
            let mut garbage = vec![first; len];
            if len > 13 {
                garbage[1] = first.wrapping_mul(7);
            }
            socket.send_to(&garbage, relay).unwrap();
        }
        // What was sent before is handled before the answer comes.
        let mut request = [0u8; 20];
        request[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        request[19] = first;
        socket.send_to(&request, relay).unwrap();
        let mut buffer = [0; 100];
        let (_, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((from, &buffer[..2], buffer[19]), (relay, &[1u8, 1][..], first));
    }
    let stray: f64 = plane.samples().iter().filter(|sample| sample.name.starts_with("stray_")).map(|sample| sample.value).sum();
    assert_eq!(stray, 1_024.0);
}
