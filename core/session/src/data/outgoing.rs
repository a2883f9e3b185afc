//! The sender's side.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_model::ParticipantId;
use segue_wire::proto;

use super::{MAX_HELD, MAX_HELD_BYTES, MAX_MESSAGE_LEN, MAX_TOPIC_LEN, RESEND_BURST, RESEND_FIRST, RESEND_MAX};

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Longer than the limit.
    #[error("the message has {len} bytes, more than {max}: split it")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Too much waits for slow receivers.
    #[error("{messages} messages of {bytes} bytes wait for receivers that do not acknowledge: send again when fewer do")]
    Backlog {
        /// Messages waiting.
        messages: usize,
        /// Bytes waiting.
        bytes: usize,
    },
}

struct Held {
    number: u64,
    topic: String,
    payload: Bytes,
}

struct Receiver {
    /// The first number it is to get.
    first: u64,
    /// Everything up to here it has.
    acked: u64,
    /// It has acknowledged something: it knows where its stream begins.
    synced: bool,
    resend_at: Option<Instant>,
    wait: Duration,
}

/// Messages for one receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Resend {
    /// Who.
    pub to: ParticipantId,
    /// In order.
    pub messages: Vec<proto::Data>,
}

/// Everything we sent that somebody may still lack.
#[derive(Default)]
pub struct Outgoing {
    last: u64,
    held: VecDeque<Held>,
    held_bytes: usize,
    receivers: BTreeMap<ParticipantId, Receiver>,
}

impl Outgoing {
    /// Somebody is in the room from now on and gets what is sent from now on.
    pub fn add_receiver(&mut self, receiver: ParticipantId) {
        let first = self.last + 1;
        self.receivers.entry(receiver).or_insert(Receiver {
            first,
            acked: self.last,
            synced: false,
            resend_at: None,
            wait: RESEND_FIRST,
        });
    }

    /// Somebody left: nothing is held for it any more.
    pub fn remove_receiver(&mut self, receiver: ParticipantId) {
        self.receivers.remove(&receiver);
        self.release();
    }

    /// Takes a message. Gives its number; [`Outgoing::message`] has the wire form for each receiver.
    ///
    /// # Errors
    /// Too long, or too much held already.
    pub fn send(&mut self, now: Instant, topic: &str, payload: Bytes) -> Result<u64, SendError> {
        if payload.len() > MAX_MESSAGE_LEN {
            return Err(SendError::TooLong { len: payload.len(), max: MAX_MESSAGE_LEN });
        }
        if topic.len() > MAX_TOPIC_LEN {
            return Err(SendError::TooLong { len: topic.len(), max: MAX_TOPIC_LEN });
        }
        let bytes = payload.len() + topic.len();
        if self.held.len() >= MAX_HELD || self.held_bytes + bytes > MAX_HELD_BYTES {
            return Err(SendError::Backlog { messages: self.held.len(), bytes: self.held_bytes });
        }
        self.last += 1;
        self.held.push_back(Held { number: self.last, topic: topic.to_owned(), payload });
        self.held_bytes += bytes;
        for receiver in self.receivers.values_mut() {
            receiver.resend_at.get_or_insert(now + receiver.wait);
        }
        self.release();
        Ok(self.last)
    }

    /// Every receiver knows where its stream begins, so that one form of a message serves all.
    #[must_use]
    pub fn all_synced(&self) -> bool {
        self.receivers.values().all(|receiver| receiver.synced)
    }

    /// A held message as `to` is to get it; `None` names everybody.
    #[must_use]
    pub fn message(&self, number: u64, to: Option<ParticipantId>) -> Option<proto::Data> {
        let first =
            to.and_then(|to| self.receivers.get(&to)).filter(|receiver| !receiver.synced).map_or(0, |receiver| receiver.first);
        let oldest = self.held.front()?.number;
        let held = self.held.get(usize::try_from(number.checked_sub(oldest)?).ok()?)?;
        Some(proto::Data { number, topic: held.topic.clone(), payload: held.payload.to_vec(), first })
    }

    /// `from` has everything up to `up_to`.
    pub fn handle_ack(&mut self, now: Instant, from: ParticipantId, up_to: u64) {
        let last = self.last;
        let Some(receiver) = self.receivers.get_mut(&from) else { return };
        // A number never sent, or one of before its time, says nothing.
        if up_to > last || up_to + 1 < receiver.first {
            return;
        }
        receiver.synced = true;
        if up_to <= receiver.acked {
            return;
        }
        receiver.acked = up_to;
        receiver.wait = RESEND_FIRST;
        receiver.resend_at = (receiver.acked < last).then_some(now + RESEND_FIRST);
        self.release();
    }

    /// A path came back: whoever lacks something gets it at once.
    pub fn handle_path(&mut self, now: Instant, receiver: ParticipantId) {
        if let Some(receiver) = self.receivers.get_mut(&receiver)
            && let Some(at) = &mut receiver.resend_at
        {
            receiver.wait = RESEND_FIRST;
            *at = now;
        }
    }

    /// What is to be sent again now.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Resend> {
        let mut due = Vec::new();
        for (&to, receiver) in &mut self.receivers {
            if receiver.resend_at.is_some_and(|at| at <= now) {
                receiver.wait = (receiver.wait * 2).min(RESEND_MAX);
                receiver.resend_at = Some(now + receiver.wait);
                due.push((to, receiver.acked + 1));
            }
        }
        let resend = |(to, from): (ParticipantId, u64)| {
            let numbers = (from..=self.last).take(RESEND_BURST);
            Resend { to, messages: numbers.filter_map(|number| self.message(number, Some(to))).collect() }
        };
        due.into_iter().map(resend).filter(|resend| !resend.messages.is_empty()).collect()
    }

    /// When [`Outgoing::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.receivers.values().filter_map(|receiver| receiver.resend_at).min()
    }

    /// Messages and bytes held.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        (self.held.len(), self.held_bytes)
    }

    fn release(&mut self) {
        let everybody_has = self.receivers.values().map(|receiver| receiver.acked).min().unwrap_or(self.last);
        while self.held.front().is_some_and(|held| held.number <= everybody_has) {
            if let Some(held) = self.held.pop_front() {
                self.held_bytes -= held.payload.len() + held.topic.len();
            }
        }
    }
}
