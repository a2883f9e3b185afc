//! The sending side: what was sent, and what became of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_model::{DataSize, ExtSeq, SeqNo};

use crate::bwe::ClusterId;
use crate::packet::rtcp::{DELTA_TICK, REFERENCE_TICK, TransportFeedback};

/// Packets remembered: a quarter of the number space, and five seconds at 3,000 packets a second.
pub const MAX_SENT: usize = 16_384;

/// Delta ticks per reference tick.
const TICKS: i64 = (REFERENCE_TICK.as_micros() / DELTA_TICK.as_micros()) as i64;

/// Reference times wrap after this many.
const REFERENCE_SPAN: i64 = 1 << 24;

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketResult {
    /// Its transport-wide number.
    pub number: ExtSeq,
    /// When it left.
    pub sent_at: Instant,
    /// When it came, on the receiver's clock, whose zero is unknown: only differences mean something. `None`: not received so
    /// far. A packet that is reported late has a second result, then received.
    pub received_at: Option<Duration>,
    /// Its size as it was recorded.
    pub size: DataSize,
    /// The probe cluster it was part of.
    pub probe: Option<ClusterId>,
}

/// Numbers the packets of one transport and remembers them until they are reported on.
#[derive(Debug, Default)]
pub struct TwccHistory {
    /// Number of the next packet.
    next: u64,
    sent: VecDeque<Sent>,
    reference: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    size: DataSize,
    probe: Option<ClusterId>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InFlight,
    Missing,
    Received,
}

impl TwccHistory {
    /// The number the next packet will get.
    #[must_use]
    pub const fn next(&self) -> SeqNo {
        ExtSeq(self.next).wire()
    }

    /// Notes a packet that leaves now, and the probe cluster it is part of.
    pub fn record(&mut self, now: Instant, size: DataSize, probe: Option<ClusterId>) {
        self.next += 1;
        self.sent.push_back(Sent { at: now, size, probe, state: State::InFlight });
        if self.sent.len() > MAX_SENT {
            self.sent.pop_front();
        }
    }

    /// What a feedback says that was not known before, in the order of the packets. Numbers that were never sent are ignored.
    pub fn handle_feedback(&mut self, feedback: &TransportFeedback) -> Vec<PacketResult> {
        let reference = self.extend_reference(feedback.reference);
        let shift = (reference - i64::from(feedback.reference)) * TICKS;
        let oldest = self.next - self.sent.len() as u64;
        let mut results = Vec::new();
        for (wire, arrival) in feedback.arrivals() {
            let back = u64::from(self.next().0.wrapping_sub(wire.0));
            // Zero back is the next packet, that is the one 65,536 back or none.
            let Some(number) = self.next.checked_sub(back).filter(|number| back != 0 && *number >= oldest) else {
                continue;
            };
            let Some(sent) = self.sent.get_mut((number - oldest) as usize) else {
                continue;
            };
            let state = if arrival.is_some() { State::Received } else { State::Missing };
            if sent.state == State::Received || sent.state == state {
                continue;
            }
            sent.state = state;
            let received_at = arrival.map(|ticks| on_their_clock(ticks + shift));
            results.push(PacketResult {
                number: ExtSeq(number),
                sent_at: sent.at,
                received_at,
                size: sent.size,
                probe: sent.probe,
            });
        }
        results
    }

    /// Undoes the wrap of reference times, keeping them above zero.
    fn extend_reference(&mut self, wire: i32) -> i64 {
        let extended = match self.reference {
            None => i64::from(wire).rem_euclid(REFERENCE_SPAN) + 1,
            Some(last) => {
                let ahead = (i64::from(wire) + 1 - last).rem_euclid(REFERENCE_SPAN);
                last + if ahead >= REFERENCE_SPAN / 2 { ahead - REFERENCE_SPAN } else { ahead }
            }
        };
        self.reference = Some(self.reference.map_or(extended, |last| last.max(extended)));
        extended
    }
}

fn on_their_clock(ticks: i64) -> Duration {
    Duration::from_micros(ticks.max(0) as u64 * DELTA_TICK.as_micros() as u64)
}
