//! Two links over loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use segue_model::TrackKind;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::clock;

/// A receiver report without report blocks (RFC 3550 section 6.4.2), the smallest RTCP there is.
const RECEIVER_REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];

/// An application-defined packet named SGHB (RFC 3550 section 6.7).
const APP: [u8; 16] = [0x80, 204, 0, 3, 0, 0, 0, 7, b'S', b'G', b'H', b'B', 1, 2, 3, 4];

/// Packets sent at once: fewer than a socket buffer of the kernel's default size takes.
const BURST: u16 = 40;
/// Bursts each way.
const ROUNDS: u16 = 25;

struct Side {
    link: Arc<RtcLink>,
    events: mpsc::Receiver<LinkInput>,
    packets: mpsc::Receiver<LinkPacket>,
    state: Option<TransportState>,
    open: BTreeSet<u16>,
    messages: Vec<(Channel, bool, Bytes)>,
    descriptions: Vec<(SdpKind, String)>,
    ups: usize,
}

impl Side {
    fn open(id: u64, direction: Direction) -> Self {
        let section = |kind, ssrc, rtx_ssrc| Section { kind, direction, name: format!("{kind:?}"), ssrc, rtx_ssrc };
        let config = LinkConfig {
            id: LinkId(id),
            sections: vec![section(TrackKind::Audio, 100, None), section(TrackKind::Video, 200, Some(201))],
            ice_servers: vec![],
            interfaces: Interfaces::LoopbackOnly,
            turn_only: false,
            channels: true,
        };
        let (events_in, events) = mpsc::channel(256);
        let (packets_in, packets) = mpsc::channel(4096);
        Self {
            link: Arc::new(RtcLink::open(config, events_in, packets_in)),
            events,
            packets,
            state: None,
            open: BTreeSet::new(),
            messages: vec![],
            descriptions: vec![],
            ups: 0,
        }
    }

    /// Takes one event in and shows the other side what it should see of it.
    async fn step(&mut self, other: &RtcLink) {
        match self.events.recv().await.expect("the link lives").event {
            LinkEvent::LocalDescription { kind, sdp, .. } => {
                self.descriptions.push((kind, sdp.clone()));
                assert!(other.execute(LinkCommand::SetRemote { kind, sdp }));
                if kind == SdpKind::Offer {
                    assert!(other.execute(LinkCommand::CreateAnswer { generation: 1 }));
                }
            }
            LinkEvent::LocalCandidate(candidate) => assert!(other.execute(LinkCommand::AddCandidate(candidate))),
            LinkEvent::State(state) => {
                self.ups += usize::from(state == TransportState::Up);
                self.state = Some(state);
            }
            LinkEvent::ChannelOpen(channel) => {
                self.open.insert(channel.number());
            }
            LinkEvent::ChannelClosed(channel) => {
                self.open.remove(&channel.number());
            }
            LinkEvent::Message { channel, text, payload } => self.messages.push((channel, text, payload)),
            LinkEvent::Refused { step, reason } => panic!("{step}: {reason}"),
        }
    }
}

async fn until(a: &mut Side, b: &mut Side, what: &str, done: impl Fn(&Side, &Side) -> bool) {
    let (link_a, link_b) = (a.link.clone(), b.link.clone());
    let all = async {
        while !done(a, b) {
            tokio::select! {
                () = a.step(&link_b) => {}
                () = b.step(&link_a) => {}
            }
        }
    };
    assert!(timeout(Duration::from_secs(10), all).await.is_ok(), "{what} took too long");
}

async fn connect() -> (Side, Side) {
    let (mut a, mut b) = (Side::open(1, Direction::SendRecv), Side::open(2, Direction::SendRecv));
    assert!(a.link.execute(LinkCommand::CreateOffer { restart: false, generation: 1 }));
    until(&mut a, &mut b, "connecting", |a, b| {
        [a, b].iter().all(|side| side.state == Some(TransportState::Up) && side.open.len() == 2)
    })
    .await;
    (a, b)
}

/// An RTP packet with the one-byte extension form (RFC 8285 section 4.2): id 5, thirteen bytes.
fn rtp(ssrc: u32, sequence: u16) -> Bytes {
    let mut bytes = vec![0x90, 0x80 | 102];
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&90_000_u32.to_be_bytes());
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.extend_from_slice(&[0xbe, 0xde, 0, 4, (5 << 4) | 12]);
    bytes.extend_from_slice(&[7; 13]);
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&[sequence as u8; 900]);
    Bytes::from(bytes)
}

fn send_all(from: &Side, first: u16) {
    let now = clock::now();
    for sequence in first..first + BURST {
        let ssrc = 0x1000_0000 + u32::from(sequence % 7);
        assert!(from.link.send(now, PacketBody::Rtp(rtp(ssrc, sequence))));
    }
    assert!(from.link.send(now, PacketBody::Rtcp(Bytes::from([&RECEIVER_REPORT[..], &APP[..]].concat()))));
    from.link.flush();
}

async fn receive_all(at: &mut Side) {
    let count = usize::from(BURST);
    let mut rtcp = 0;
    let mut by_ssrc: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
    while rtcp == 0 || by_ssrc.values().map(BTreeSet::len).sum::<usize>() < count {
        let packet = timeout(Duration::from_secs(5), at.packets.recv()).await.expect("in time").expect("link lives");
        match packet.body {
            PacketBody::Rtcp(bytes) => {
                assert_eq!(bytes, [&RECEIVER_REPORT[..], &APP[..]].concat());
                rtcp += 1;
            }
            PacketBody::Rtp(bytes) => {
                let sequence = u16::from_be_bytes([bytes[2], bytes[3]]);
                let ssrc = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
                assert_eq!(bytes, rtp(ssrc, sequence), "the packet arrives as it left");
                assert!(by_ssrc.entry(ssrc).or_default().insert(sequence), "no packet twice");
            }
        }
    }
    assert_eq!(by_ssrc.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_of_any_ssrc_pass_both_ways() {
    let (mut a, mut b) = connect().await;
    for round in 0..ROUNDS {
        send_all(&a, round * BURST);
        receive_all(&mut b).await;
        send_all(&b, round * BURST);
        receive_all(&mut a).await;
    }
    for side in [&a, &b] {
        let packets = u64::from(ROUNDS) * (u64::from(BURST) + 1);
        let expected = LinkCounters { sent: packets, received: packets, ..LinkCounters::default() };
        assert_eq!(side.link.counters(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_channels_carry_text_and_bytes() {
    let (mut a, mut b) = connect().await;
    assert!(a.link.send_message(Channel::Signal, true, Bytes::from_static(b"{}")));
    assert!(a.link.send_message(Channel::Lossy, false, Bytes::from_static(&[1, 2])));
    until(&mut a, &mut b, "messages", |_, b| b.messages.len() == 2).await;
    assert!(b.messages.contains(&(Channel::Signal, true, Bytes::from_static(b"{}"))));
    assert!(b.messages.contains(&(Channel::Lossy, false, Bytes::from_static(&[1, 2]))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ice_restart_goes_over_to_new_credentials() {
    let (mut a, mut b) = connect().await;
    let ups = (a.ups, b.ups);
    assert!(a.link.execute(LinkCommand::CreateOffer { restart: true, generation: 2 }));
    until(&mut a, &mut b, "the restart", |a, b| {
        a.descriptions.len() == 2 && b.descriptions.len() == 2 && a.ups > ups.0 && b.ups > ups.1
    })
    .await;
    let ufrag = |sdp: &str| sdp.lines().find(|line| line.starts_with("a=ice-ufrag")).map(str::to_owned);
    assert_ne!(ufrag(&a.descriptions[0].1), ufrag(&a.descriptions[1].1));
    send_all(&a, 0);
    receive_all(&mut b).await;
    send_all(&b, 0);
    receive_all(&mut a).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn glare_ends_with_the_polite_side_rolling_back() {
    let (mut a, mut b) = (Side::open(1, Direction::SendRecv), Side::open(2, Direction::SendRecv));
    assert!(b.link.execute(LinkCommand::CreateOffer { restart: false, generation: 1 }));
    while b.descriptions.is_empty() {
        if let LinkEvent::LocalDescription { kind, sdp, .. } = b.events.recv().await.expect("the link lives").event {
            b.descriptions.push((kind, sdp));
        }
    }
    assert!(b.link.execute(LinkCommand::Rollback));
    assert!(a.link.execute(LinkCommand::CreateOffer { restart: false, generation: 1 }));
    until(&mut a, &mut b, "connecting", |a, b| {
        [a, b].iter().all(|side| side.state == Some(TransportState::Up) && side.open.len() == 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_carry_our_payload_types_and_extension_ids() {
    let (a, b) = connect().await;
    let offer = &a.descriptions[0].1;
    for line in [
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:102 H264/90000",
        "a=fmtp:103 apt=102",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "a=extmap:5 urn:segue:origin",
        "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
        "a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
        "a=ssrc-group:FID 200 201",
        "a=extmap-allow-mixed",
        "a=rtcp-rsize",
        "a=setup:actpass",
    ] {
        assert!(offer.lines().any(|found| found.trim_end() == line), "{line} is missing in\n{offer}");
    }
    assert!(!offer.contains("urn:segue:unused"));
    let answer = &b.descriptions[0].1;
    assert!(answer.contains("a=setup:active") && answer.contains("a=extmap:5 urn:segue:origin"), "{answer}");
    assert_eq!(answer.matches("a=sendrecv").count(), 3, "audio, video and the data channels");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_link_ends_its_queues() {
    let (a, mut b) = connect().await;
    let Side { link, mut events, mut packets, .. } = a;
    drop(link);
    let ended = async {
        while events.recv().await.is_some() {}
        while packets.recv().await.is_some() {}
    };
    assert!(timeout(Duration::from_secs(3), ended).await.is_ok(), "the queues stay open");
    b.link.flush();
    assert!(b.packets.try_recv().is_err());
}
