//! Messages that count, sent all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use segue::{Reliability, Room};
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::guest::Guest;
use crate::wait::{eventually, soon};

/// Between two messages.
const INTERVAL: Duration = Duration::from_millis(25);

/// A guest that sends 0, 1, 2 and so on to everybody, on a topic named after itself.
pub struct Counting {
    topic: String,
    enough: Arc<AtomicBool>,
    task: JoinHandle<u32>,
}

impl Counting {
    /// Begins.
    #[must_use]
    pub fn start(from: &Guest) -> Self {
        let (topic, enough) = (from.name.to_owned(), Arc::new(AtomicBool::new(false)));
        Self { task: tokio::spawn(count(from.room.clone(), topic.clone(), enough.clone())), topic, enough }
    }

    /// Ends; gives how many were sent once all of them have arrived once and in order at each of these, who were there throughout.
    pub async fn arrive_once_and_in_order_at(self, receivers: &[&Guest]) -> u32 {
        self.enough.store(true, Ordering::Relaxed);
        let sent = soon("the last message", self.task).await.expect("every message was taken");
        let topic = self.topic;
        let expected: Vec<u32> = (0..sent).collect();
        eventually("the arrival of every message", || {
            let lacking: Vec<_> = receivers
                .iter()
                .filter(|guest| received(guest, &topic).len() < expected.len())
                .map(|guest| format!("{} of {topic}: {} of {sent}", guest.name, received(guest, &topic).len()))
                .collect();
            (!lacking.is_empty()).then_some(lacking)
        })
        .await;
        for guest in receivers {
            assert_eq!(received(guest, &topic), expected, "{} of {topic}", guest.name);
        }
        sent
    }
}

/// Numbers that came from a counting guest.
#[must_use]
pub fn received(at: &Guest, of: &str) -> Vec<u32> {
    let messages = at.log.messages(of, Reliability::Reliable);
    messages.iter().map(|payload| u32::from_be_bytes(payload[..].try_into().expect("four bytes"))).collect()
}

/// Whoever comes later gets what is sent from then on, without a hole.
pub fn assert_no_hole(at: &Guest, of: &str) {
    let numbers = received(at, of);
    let holes: Vec<_> = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(holes.is_empty(), "{} of {of}: {holes:?}", at.name);
}

async fn count(room: Room, topic: String, enough: Arc<AtomicBool>) -> u32 {
    let mut ticks = interval(INTERVAL);
    let mut number: u32 = 0;
    while !enough.load(Ordering::Relaxed) {
        ticks.tick().await;
        let payload = number.to_be_bytes().to_vec();
        room.send_data(&topic, payload, Reliability::Reliable).await.expect("a message is taken");
        number += 1;
    }
    number
}
