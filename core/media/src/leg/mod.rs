//! One hop's transport for media: what a leg adds to a media packet when it sends it, and takes off again when it receives it.
//!
//! [`SendLeg`] gives packets their hop header, paces them, answers NACKs and says in sender reports when they were made.
//! [`RecvLeg`] takes the hop header off, undoes retransmission, asks for what is lost and reports on what came. Both stand
//! between plain RTP values and the merge; encryption and sockets belong to the shell.

mod clock;
mod recv;
mod send;

pub use clock::{SenderClock, WallClock};
pub use recv::{
    Binding, KEYFRAME_INTERVAL, MAX_BINDINGS, MAX_STREAMS, Numbers, OriginStamper, PayloadKind, PayloadMap, Received, RecvLeg,
    RecvLegConfig, RecvLegStats, RecvStreamStats, StreamKey, Violation,
};
pub use send::{
    AddStreamError, MAX_SEND_STREAMS, SendLeg, SendLegConfig, SendLegEvent, SendLegStats, SendStream, SendStreamStats,
};

use std::time::Duration;

/// Distance of sender and receiver reports: RFC 3550 section 6.2 allows it at these rates, and round trips stay fresh.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(1_000);

#[cfg(test)]
mod tests;
