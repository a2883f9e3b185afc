//! Mesh, relay, and the way from one to the other and back.

use segue::testing::Fault;
use segue::{Path, Topology};
use segue_e2e::call::{
    all_edges_on, assert_pictures_in_order, assert_tracks_lasted, everybody_is_in, everybody_sees_and_hears_everybody,
    topology_is,
};
use segue_e2e::messages::assert_no_hole;
use segue_e2e::{Counting, Guest, TestRelay};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_grows_into_the_relay_and_back_and_its_people_notice_nothing() {
    let relay = TestRelay::start().await;
    let ada = Guest::join_and_publish(&relay, "growing", "ada").await;
    let bob = Guest::join_and_publish(&relay, "growing", "bob").await;
    everybody_sees_and_hears_everybody(&[&ada, &bob]).await;
    all_edges_on(Path::Direct, &[&ada, &bob]).await;
    let counting = [(Counting::start(&ada), [&bob]), (Counting::start(&bob), [&ada])];

    let cyd = Guest::join_and_publish(&relay, "growing", "cyd").await;
    let dan = Guest::join_and_publish(&relay, "growing", "dan").await;
    let eve = Guest::join_and_publish(&relay, "growing", "eve").await;
    let all = [&ada, &bob, &cyd, &dan, &eve];
    topology_is(Topology::Relayed, &all).await;
    all_edges_on(Path::Relayed, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    assert_pictures_in_order(&all);

    dan.leave().await;
    eve.leave().await;
    let rest = [&ada, &bob, &cyd];
    topology_is(Topology::Mesh, &rest).await;
    all_edges_on(Path::Direct, &rest).await;
    everybody_sees_and_hears_everybody(&rest).await;
    assert_pictures_in_order(&rest);
    assert_tracks_lasted(&rest);
    for (counting, receivers) in counting {
        assert!(counting.arrive_once_and_in_order_at(&receivers).await > 20);
    }
    assert_no_hole(&cyd, "ada");
    assert_no_hole(&cyd, "bob");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_cannot_connect_goes_by_the_relay_and_the_others_stay_direct() {
    let relay = TestRelay::start().await;
    let ada = Guest::join(&relay, "mixed", "ada").await;
    let bob = Guest::join(&relay, "mixed", "bob").await;
    bob.room.inject(Fault::RefuseDirect("cyd".to_owned())).await;
    let cyd = Guest::join(&relay, "mixed", "cyd").await;
    let all = [&ada, &bob, &cyd];
    everybody_is_in(&all).await;
    for guest in all {
        guest.publish().await;
    }
    everybody_sees_and_hears_everybody(&all).await;
    all_edges_on(Path::Direct, &[&ada, &bob]).await;
    all_edges_on(Path::Direct, &[&ada, &cyd]).await;
    all_edges_on(Path::Relayed, &[&bob, &cyd]).await;
    topology_is(Topology::Mixed, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    assert_pictures_in_order(&all);
    assert_tracks_lasted(&all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_leg_that_goes_dead_is_left_for_the_relay_and_taken_again_when_it_is_back() {
    let relay = TestRelay::start().await;
    let ada = Guest::join_and_publish(&relay, "dead-leg", "ada").await;
    let bob = Guest::join_and_publish(&relay, "dead-leg", "bob").await;
    let cyd = Guest::join_and_publish(&relay, "dead-leg", "cyd").await;
    let all = [&ada, &bob, &cyd];
    all_edges_on(Path::Direct, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    let counting = Counting::start(&ada);

    let (of_ada, of_bob) = (ada.id(), bob.id());
    ada.room.inject(Fault::CutDirect(of_bob)).await;
    bob.room.inject(Fault::CutDirect(of_ada)).await;
    all_edges_on(Path::Relayed, &[&ada, &bob]).await;
    all_edges_on(Path::Direct, &[&ada, &cyd]).await;
    all_edges_on(Path::Direct, &[&bob, &cyd]).await;
    everybody_sees_and_hears_everybody(&all).await;

    ada.room.inject(Fault::RestoreDirect(of_bob)).await;
    bob.room.inject(Fault::RestoreDirect(of_ada)).await;
    all_edges_on(Path::Direct, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    counting.arrive_once_and_in_order_at(&[&bob, &cyd]).await;
    assert_pictures_in_order(&all);
    assert_tracks_lasted(&all);
}
