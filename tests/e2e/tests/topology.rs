//! Mesh, relay, and the way from one to the other and back.

use segue::{Path, Topology};
use segue_e2e::call::{
    all_edges_on, assert_pictures_in_order, assert_tracks_lasted, everybody_sees_and_hears_everybody, topology_is,
};
use segue_e2e::{Guest, TestRelay};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_are_a_mesh_in_which_everybody_sees_and_hears_everybody() {
    let relay = TestRelay::start().await;
    let ada = Guest::join_and_publish(&relay, "mesh", "ada").await;
    let bob = Guest::join_and_publish(&relay, "mesh", "bob").await;
    let cyd = Guest::join_and_publish(&relay, "mesh", "cyd").await;
    let all = [&ada, &bob, &cyd];
    everybody_sees_and_hears_everybody(&all).await;
    all_edges_on(Path::Direct, &all).await;
    topology_is(Topology::Mesh, &all).await;
    assert_eq!(relay.metric("segue_rtp_packets_sent_total", ""), 0, "the relay forwards nothing in a mesh");
    assert_pictures_in_order(&all);
    assert_tracks_lasted(&all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_are_relayed_and_everybody_sees_and_hears_everybody() {
    let relay = TestRelay::start().await;
    let mut guests = Vec::new();
    for name in ["ada", "bob", "cyd", "dan", "eve"] {
        guests.push(Guest::join_and_publish(&relay, "five", name).await);
    }
    let all: Vec<&Guest> = guests.iter().collect();
    topology_is(Topology::Relayed, &all).await;
    all_edges_on(Path::Relayed, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    assert_pictures_in_order(&all);
    assert_tracks_lasted(&all);
}
