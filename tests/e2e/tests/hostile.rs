//! Participants that lie and strangers that shout.

use std::net::{Ipv4Addr, UdpSocket};

use segue::testing::Fault;
use segue::{LegEnd, Path, TrackKind};
use segue_e2e::call::{all_edges_on, assert_pictures_in_order, everybody_sees_and_hears_everybody};
use segue_e2e::{Guest, TestRelay, eventually};

/// Datagrams of a stranger.
const SHOUTS: usize = 2_000;

/// New pictures and tones of somebody.
async fn goes_on(at: &Guest, of: &str) {
    let before = at.log.progress(of);
    eventually("the victim being seen and heard", || {
        let now = at.log.progress(of);
        (now.0 < before.0 + 15 || now.1 < before.1 + 10).then_some((before, now))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_drops_and_counts_packets_that_claim_to_be_of_somebody_else() {
    let relay = TestRelay::start_with(|config| config.room.topology.mesh_max = 1).await;
    let ada = Guest::join_and_publish(&relay, "thief", "ada").await;
    let bob = Guest::join_and_publish(&relay, "thief", "bob").await;
    let cyd = Guest::join_and_publish(&relay, "thief", "cyd").await;
    let all = [&ada, &bob, &cyd];
    all_edges_on(Path::Relayed, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    let dropped = || relay.metric("segue_dropped_total", "origin_not_owned");
    assert_eq!(dropped(), 0);
    for kind in [TrackKind::Video, TrackKind::Audio] {
        let before = dropped();
        bob.room.inject(Fault::StealOrigin(ada.publication(kind).id())).await;
        goes_on(&cyd, "ada").await;
        eventually("a count of stolen origins", || (dropped() <= before).then(dropped)).await;
    }
    let undecoded: u64 = cyd.room.stats().await.expect("in the room").tracks.iter().map(|track| track.undecoded).sum();
    assert_eq!(undecoded, 0);
    assert_pictures_in_order(&[&ada, &cyd]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_drops_and_counts_packets_of_a_peer_that_claim_to_be_of_somebody_else() {
    let relay = TestRelay::start().await;
    let ada = Guest::join_and_publish(&relay, "thief-mesh", "ada").await;
    let bob = Guest::join_and_publish(&relay, "thief-mesh", "bob").await;
    let cyd = Guest::join_and_publish(&relay, "thief-mesh", "cyd").await;
    let all = [&ada, &bob, &cyd];
    all_edges_on(Path::Direct, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    for kind in [TrackKind::Video, TrackKind::Audio] {
        bob.room.inject(Fault::StealOrigin(ada.publication(kind).id())).await;
        goes_on(&cyd, "ada").await;
    }
    let stats = cyd.room.stats().await.expect("in the room");
    let leg = stats.legs.iter().find(|leg| leg.end == LegEnd::Peer(bob.id())).expect("a direct leg");
    assert!(leg.packets_foreign > 0, "{leg:?}");
    assert_eq!(stats.tracks.iter().map(|track| track.undecoded).sum::<u64>(), 0);
    assert_pictures_in_order(&[&ada, &cyd]);
}

/// Bytes that look like the beginning of one protocol or another (RFC 7983), of any length.
fn shout(number: usize) -> Vec<u8> {
    let first = [0, 1, 20, 22, 63, 64, 79, 128, 200, 255][number % 10];
    let mut state = number as u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let length = (number * 7) % 1_400;
    let mut bytes: Vec<u8> = (0..length).map(|_| next()).collect();
    if let Some(byte) = bytes.first_mut() {
        *byte = first;
    }
    // Every other one of STUN's range has its magic cookie (RFC 8489 section 5).
    if first < 2 && number % 20 < 10 && length >= 20 {
        bytes[..8].copy_from_slice(&[0, 1, 0, (length - 20) as u8 & 0xfc, 0x21, 0x12, 0xa4, 0x42]);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_at_the_relays_port_is_counted_and_nothing_else_happens() {
    let relay = TestRelay::start_with(|config| config.room.topology.mesh_max = 1).await;
    let ada = Guest::join_and_publish(&relay, "garbage", "ada").await;
    let bob = Guest::join_and_publish(&relay, "garbage", "bob").await;
    let all = [&ada, &bob];
    all_edges_on(Path::Relayed, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    let kinds = ["checks", "handshakes", "media", "garbage"];
    let stray = || kinds.map(|kind| relay.metric(&format!("segue_stray_{kind}_total"), ""));
    let before = stray();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    for number in 0..SHOUTS {
        for address in relay.relay().media_addresses() {
            socket.send_to(&shout(number), address).expect("sent");
        }
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let counted = || stray().iter().zip(before).all(|(now, before)| *now > before);
    eventually("a count of what came, by kind", || (!counted()).then(stray)).await;
    everybody_sees_and_hears_everybody(&all).await;
    assert_eq!(relay.metric("segue_media_transports", ""), 4, "two transports of each, none for the stranger");
    assert_pictures_in_order(&all);
}
