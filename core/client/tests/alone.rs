//! What can be said without a relay.

use std::time::Duration;

use segue::{Error, Room, RoomOptions};

#[test]
fn a_host_without_a_runtime_gets_an_answer() {
    let options = RoomOptions { connect_timeout: Duration::from_millis(300), ..RoomOptions::default() };
    let joined = segue::block_on(Room::connect("ws://127.0.0.1:9", "token", options)).expect("a runtime");
    assert_eq!(joined.err(), Some(Error::Timeout { reason: "connection refused".to_owned() }));
}

#[test]
fn an_address_that_leads_nowhere_is_refused_at_once() {
    let joined = segue::block_on(Room::connect("gopher://relay", "token", RoomOptions::default())).expect("a runtime");
    assert_eq!(joined.err().map(|error| error.code()), Some("url"));
}
