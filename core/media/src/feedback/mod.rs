//! Transport-wide feedback on both sides (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! The receiving side of a leg records when each packet came ([`TwccRecorder`]), the sending side remembers what it sent
//! ([`TwccHistory`]) and matches the two: what an estimator needs to know of every packet.

mod history;
mod recorder;

pub use history::{MAX_SENT, PacketResult, TwccHistory};
pub use recorder::{FEEDBACK_DELAY, TwccRecorder};

#[cfg(test)]
mod tests;
