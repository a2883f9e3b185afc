//! The receiver's side, one for each sender.

use std::collections::BTreeMap;

use bytes::Bytes;
use segue_wire::proto;

use super::{MAX_HELD, MAX_HELD_BYTES, MAX_MESSAGE_LEN, MAX_TOPIC_LEN};

/// A message for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The sender's topic.
    pub topic: String,
    /// The sender's bytes.
    pub payload: Bytes,
}

/// Messages of one sender.
#[derive(Default)]
pub struct Incoming {
    /// The next number to deliver, once known.
    next: Option<u64>,
    early: BTreeMap<u64, Delivered>,
    early_bytes: usize,
}

impl Incoming {
    /// A message came. Gives what can be delivered now, in order; acknowledge [`Incoming::up_to`] afterwards in any case, since a
    /// repeated message means that an acknowledgement was lost. What does not fit is dropped: it will come again.
    pub fn handle_data(&mut self, data: proto::Data) -> Vec<Delivered> {
        if data.number == 0 || data.payload.len() > MAX_MESSAGE_LEN || data.topic.len() > MAX_TOPIC_LEN {
            return Vec::new();
        }
        // A sender that does not say where our stream begins means: here.
        let begins = if data.first == 0 { data.number } else { data.first.min(data.number) };
        let next = match self.next {
            None => begins,
            Some(next) if data.first != 0 => next.max(begins),
            Some(next) => next,
        };
        self.next = Some(next);
        let bytes = data.payload.len() + data.topic.len();
        let fits = data.number == next || (self.early.len() < MAX_HELD && self.early_bytes + bytes <= MAX_HELD_BYTES);
        if data.number >= next && fits && !self.early.contains_key(&data.number) {
            self.early_bytes += bytes;
            self.early.insert(data.number, Delivered { topic: data.topic, payload: data.payload.into() });
        }
        self.deliver(next)
    }

    fn deliver(&mut self, mut next: u64) -> Vec<Delivered> {
        let mut delivered = Vec::new();
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() > next {
                break;
            }
            let (number, message) = entry.remove_entry();
            self.early_bytes -= message.payload.len() + message.topic.len();
            if number == next {
                next += 1;
                delivered.push(message);
            }
        }
        self.next = Some(next);
        delivered
    }

    /// Everything up to here was delivered.
    #[must_use]
    pub fn up_to(&self) -> u64 {
        self.next.map_or(0, |next| next.saturating_sub(1))
    }
}
