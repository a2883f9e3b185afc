//! Applications of every kind: with a runtime of their own, with another one, or with none.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use segue::{IceOptions, Interfaces, Reliability, Room, RoomEvent, RoomOptions};
use segue_e2e::call::everybody_sees_and_hears_everybody;
use segue_e2e::{Guest, TestRelay};

fn options() -> RoomOptions {
    RoomOptions { ice: IceOptions { interfaces: Interfaces::LoopbackOnly, ..IceOptions::default() }, ..RoomOptions::default() }
}

/// Says a word and hears one.
async fn talk(relay: &TestRelay, room: &str) {
    let ada = Room::connect(&relay.url(), &relay.token(room, "ada"), options()).await.expect("let in");
    let bob = Room::connect(&relay.url(), &relay.token(room, "bob"), options()).await.expect("let in");
    let (mut at_ada, mut at_bob) = (ada.events(), bob.events());
    while !matches!(at_ada.next().await.expect("goes on"), RoomEvent::ParticipantJoined(_)) {}
    ada.send_data("word", "hello", Reliability::Reliable).await.expect("taken");
    loop {
        if let RoomEvent::DataReceived { payload, .. } = at_bob.next().await.expect("goes on") {
            assert_eq!(payload, "hello");
            break;
        }
    }
    ada.leave().await;
    bob.leave().await;
}

#[test]
fn a_call_runs_on_a_runtime_of_the_host_with_one_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let relay = TestRelay::start().await;
        let ada = Guest::join_and_publish(&relay, "one-thread", "ada").await;
        let bob = Guest::join_and_publish(&relay, "one-thread", "bob").await;
        everybody_sees_and_hears_everybody(&[&ada, &bob]).await;
    });
}

#[test]
fn a_call_runs_under_the_block_on_of_the_sdk() {
    segue::block_on(async {
        let relay = TestRelay::start().await;
        let ada = Guest::join_and_publish(&relay, "block-on", "ada").await;
        let bob = Guest::join_and_publish(&relay, "block-on", "bob").await;
        everybody_sees_and_hears_everybody(&[&ada, &bob]).await;
    })
    .expect("a runtime");
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor that knows nothing of tokio.
fn drive<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_host_without_a_runtime_gets_one() {
    let relay = segue::block_on(TestRelay::start()).expect("a runtime");
    drive(talk(&relay, "no-runtime"));
}

#[test]
fn a_room_outlives_the_future_that_joined_it() {
    let relay = segue::block_on(TestRelay::start()).expect("a runtime");
    let join = |name| segue::block_on(Room::connect(&relay.url(), &relay.token("steps", name), options()));
    let ada = join("ada").expect("a runtime").expect("let in");
    let bob = join("bob").expect("a runtime").expect("let in");
    let mut events = bob.events();
    let mut told = ada.events();
    segue::block_on(async {
        while !matches!(told.next().await.expect("goes on"), RoomEvent::ParticipantJoined(_)) {}
        ada.send_data("word", "hello", Reliability::Reliable).await.expect("taken");
        while !matches!(events.next().await.expect("goes on"), RoomEvent::DataReceived { .. }) {}
    })
    .expect("a runtime");
}
