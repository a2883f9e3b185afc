//! Connections that break, and relays that die.

use std::time::Duration;

use segue::{ConnectionState, Path, RoomEvent, Topology};
use segue_e2e::call::{
    all_edges_on, assert_pictures_in_order, assert_tracks_lasted, everybody_is, everybody_is_in,
    everybody_sees_and_hears_everybody, topology_is,
};
use segue_e2e::{Counting, Guest, Joining, Proxy, TestRelay, eventually};

/// What must be the same after all.
fn numbers(guests: &[&Guest]) -> Vec<(u32, Vec<u16>)> {
    let of = |guest: &&Guest| {
        let kinds = [segue::TrackKind::Audio, segue::TrackKind::Video];
        (guest.id().0, kinds.map(|kind| guest.publication(kind).id().0).to_vec())
    };
    guests.iter().map(of).collect()
}

/// Nobody was said to have left.
fn assert_nobody_left(guests: &[&Guest]) {
    for guest in guests {
        let left = guest.log.find(|event| match event {
            RoomEvent::ParticipantLeft { participant, reason } => Some((participant.identity().to_owned(), *reason)),
            _ => None,
        });
        assert!(left.is_empty(), "{}: {left:?}", guest.name);
    }
}

async fn torn_signalling_is_resumed(room: &str, names: &[&'static str], path: Path) {
    let relay = TestRelay::start().await;
    let proxy = Proxy::start(relay.address()).await;
    let joining = Joining { url: proxy.url(), ..Joining::new(&relay, room, "ada") };
    let mut guests = vec![joining.attempt().await.expect("let in")];
    guests[0].publish().await;
    for name in names {
        guests.push(Guest::join_and_publish(&relay, room, name).await);
    }
    let all: Vec<&Guest> = guests.iter().collect();
    all_edges_on(path, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    let counting: Vec<_> = [0, 1].map(|at: usize| (Counting::start(all[at]), [all[1 - at]])).into();

    proxy.tear();
    everybody_is(ConnectionState::Reconnecting, &all[..1]).await;
    everybody_sees_and_hears_everybody(&all).await;
    assert_eq!(all[0].room.state(), ConnectionState::Reconnecting, "nothing brought it back meanwhile");
    proxy.mend();
    everybody_is(ConnectionState::Connected, &all).await;
    for (counting, receivers) in counting {
        counting.arrive_once_and_in_order_at(&receivers).await;
    }
    everybody_sees_and_hears_everybody(&all).await;
    assert_eq!(relay.metric("segue_resumes_total", ""), 1);
    assert_nobody_left(&all);
    assert_pictures_in_order(&all);
    assert_tracks_lasted(&all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_in_a_mesh_is_resumed_and_media_never_stops() {
    torn_signalling_is_resumed("torn-mesh", &["bob", "cyd"], Path::Direct).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_in_a_relayed_room_is_resumed_and_media_never_stops() {
    torn_signalling_is_resumed("torn-relayed", &["bob", "cyd", "dan", "eve"], Path::Relayed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_goes_on_without_its_relay_and_is_the_same_room_when_it_is_back() {
    let mut relay = TestRelay::start().await;
    let mut guests = Vec::new();
    for name in ["ada", "bob", "cyd"] {
        guests.push(Guest::join_and_publish(&relay, "restart", name).await);
    }
    let all: Vec<&Guest> = guests.iter().collect();
    all_edges_on(Path::Direct, &all).await;
    let before = numbers(&all);
    let counting = Counting::start(all[0]);

    relay.kill();
    everybody_is(ConnectionState::Reconnecting, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    relay.start_again().await;
    everybody_is(ConnectionState::Connected, &all).await;
    everybody_is_in(&all).await;
    everybody_sees_and_hears_everybody(&all).await;
    counting.arrive_once_and_in_order_at(&all[1..]).await;
    all_edges_on(Path::Direct, &all).await;
    assert_eq!(numbers(&all), before);
    assert_nobody_left(&all);
    assert_pictures_in_order(&all);
    assert_tracks_lasted(&all);

    let dan = Guest::join_and_publish(&relay, "restart", "dan").await;
    everybody_sees_and_hears_everybody(&[all[0], all[1], all[2], &dan]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relayed_room_whose_relay_dies_talks_over_its_warm_mesh_until_it_is_back() {
    let mut relay = TestRelay::start().await;
    let mut guests = Vec::new();
    for name in ["ada", "bob", "cyd", "dan", "eve"] {
        guests.push(Guest::join_and_publish(&relay, "dying", name).await);
    }
    let all: Vec<&Guest> = guests.iter().collect();
    topology_is(Topology::Relayed, &all).await;
    all_edges_on(Path::Relayed, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    let before = numbers(&all);
    let counting = Counting::start(all[0]);

    relay.kill();
    everybody_sees_and_hears_everybody(&all).await;
    all_edges_on(Path::Direct, &all).await;
    everybody_is(ConnectionState::Reconnecting, &all).await;
    relay.start_again().await;
    everybody_is(ConnectionState::Connected, &all).await;
    everybody_is_in(&all).await;
    all_edges_on(Path::Relayed, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    counting.arrive_once_and_in_order_at(&all[1..]).await;
    assert_eq!(numbers(&all), before);
    assert_nobody_left(&all);
    assert_pictures_in_order(&all);
    assert_tracks_lasted(&all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_says_goodbye_is_found_again() {
    let mut relay = TestRelay::start().await;
    let ada = Guest::join_and_publish(&relay, "goodbye", "ada").await;
    let bob = Guest::join_and_publish(&relay, "goodbye", "bob").await;
    let all = [&ada, &bob];
    everybody_sees_and_hears_everybody(&all).await;
    let before = numbers(&all);
    relay.shut_down().await;
    everybody_is(ConnectionState::Reconnecting, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    relay.start_again().await;
    everybody_is(ConnectionState::Connected, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    assert_eq!(numbers(&all), before);
    assert_nobody_left(&all);
    assert_tracks_lasted(&all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_said_to_have_changed_is_sought_anew_at_once() {
    let relay = TestRelay::start().await;
    let ada = Guest::join_and_publish(&relay, "moving", "ada").await;
    let bob = Guest::join_and_publish(&relay, "moving", "bob").await;
    let all = [&ada, &bob];
    all_edges_on(Path::Direct, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    let before = numbers(&all);
    ada.room.network_changed().await.expect("in the room");
    eventually("the connection being sought again", || {
        let states: Vec<_> = ada.log.find(|event| match event {
            RoomEvent::ConnectionStateChanged(state) => Some(state.clone()),
            _ => None,
        });
        (!states.contains(&ConnectionState::Reconnecting)).then_some(states)
    })
    .await;
    everybody_is(ConnectionState::Connected, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    all_edges_on(Path::Direct, &all).await;
    assert_eq!(numbers(&all), before);
    assert_nobody_left(&all);
    assert_pictures_in_order(&all);
    assert_tracks_lasted(&all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_nobody_waits_for_leaves_nobody_behind() {
    let relay = TestRelay::start().await;
    let ada = Guest::join(&relay, "given-up", "ada").await;
    for at in 0..10 {
        let joining = Joining::new(&relay, "given-up", "bob").attempt();
        // Given up somewhere between the first word to the relay and its answer.
        let _ = tokio::time::timeout(Duration::from_millis(at), joining).await;
    }
    let bob = Guest::join(&relay, "given-up", "bob").await;
    everybody_is_in(&[&ada, &bob]).await;
    bob.leave().await;
    eventually("ada being alone", || {
        let others = ada.room.participants();
        (!others.is_empty()).then_some(others)
    })
    .await;
}
