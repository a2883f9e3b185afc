//! The simulator lets transports come up after a number of round trips. Real ones take as many.
//!
//! Counted is what depends on what, not time; a machine that is slow can only add to a count, so that the least of several transports counts.

use std::net::Ipv4Addr;
use std::time::Duration;

use segue::LegEnd;
use segue_e2e::fabric::{End, Fabric, RELAY_ADDRESS, TransportTrips, Wire};
use segue_e2e::guest::{Joining, NAMES};
use segue_e2e::wait::soon;
use segue_e2e::{Guest, TestRelay, eventually};
use segue_relay::config::Tls;
use segue_sim::world::{CHANNEL_ROUND_TRIPS, CONNECT_ROUND_TRIPS, TRANSPORT_ROUND_TRIPS};

/// One way: much longer than a busy machine takes to answer, as far as one can tell.
const DELAY: Duration = Duration::from_millis(40);

/// All legs of all guests among themselves and with the relay.
async fn legs_are_up(guests: &[Guest]) {
    for guest in guests {
        soon("all legs of a guest", async {
            loop {
                let stats = guest.room.stats().await.expect("in a room");
                let up =
                    |direct| stats.legs.iter().filter(|leg| leg.up && matches!(leg.end, LegEnd::Peer(_)) == direct).count();
                if (up(true), up(false)) == (guests.len() - 1, 2) {
                    return;
                }
                tokio::time::sleep(DELAY).await;
            }
        })
        .await;
    }
}

fn least(trips: impl Iterator<Item = TransportTrips>) -> Option<u32> {
    trips.filter_map(|trips| trips.round_trips()).min()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transports_take_as_many_round_trips_as_the_simulator_gives_them() {
    let relay = TestRelay::start_with(|config| {
        config.media.bind = Ipv4Addr::LOCALHOST.into();
        config.media.announce = vec![RELAY_ADDRESS];
    })
    .await;
    let port = relay.relay().media_addresses().first().expect("a media address").port();
    let fabric = Fabric::before_relay(port);
    fabric.network(|network| (network.direct.delay, network.relay.delay) = (DELAY, DELAY));
    let mut guests = Vec::new();
    for (at, name) in NAMES.iter().take(3).enumerate() {
        let mut joining = Joining::new(&relay, "trips", name);
        joining.options.candidates = Some(fabric.candidates_of(at));
        guests.push(joining.attempt().await.expect("let in"));
    }
    legs_are_up(&guests).await;
    let of = |relayed: bool| {
        let transports = fabric.flights().into_iter();
        transports
            .filter(move |((one, other), _)| (*one == End::Relay || *other == End::Relay) == relayed)
            .map(|(_, trips)| trips)
    };
    assert_eq!(least(of(false)), Some(TRANSPORT_ROUND_TRIPS), "between participants: {:?}", of(false).collect::<Vec<_>>());
    assert_eq!(least(of(true)), Some(TRANSPORT_ROUND_TRIPS), "to the relay: {:?}", of(true).collect::<Vec<_>>());
    // Nothing is said in the channels to the relay after they are open, one for each guest: what was exchanged is SCTP's handshake.
    let open = 2 * CHANNEL_ROUND_TRIPS;
    eventually("the channels to the relay", || {
        let trips: Vec<_> = of(true).map(|trips| trips.data).collect();
        (trips.iter().filter(|trips| **trips >= open).count() < guests.len()).then_some(trips)
    })
    .await;
    assert_eq!(of(true).map(|trips| trips.data).max(), Some(open), "{:?}", of(true).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_the_relay_takes_as_many_round_trips_as_the_simulator_gives_it() {
    let relay = TestRelay::start_with(|config| config.tls = Tls::SelfSigned).await;
    let mut least = u32::MAX;
    for name in NAMES.iter().take(3) {
        let wire = Wire::start(relay.address(), DELAY).await;
        let mut joining = Joining::new(&relay, "connect", name);
        joining.url = format!("wss://{}/v1/connect", wire.address());
        joining.options.trust_any_certificate = true;
        let guest = joining.attempt().await.expect("let in");
        least = least.min(wire.trips());
        guest.leave().await;
    }
    // TCP's own handshake is not seen here; the join itself is one more.
    assert_eq!(1 + (least / 2 - 1), CONNECT_ROUND_TRIPS, "{least} single trips until the join was answered");
}
