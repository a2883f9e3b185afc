//! The words of Segue as types: identifiers, units, layers, paths and epochs.
//!
//! Pure and at the bottom of the dependency order: every other crate speaks in these types, this one knows none of them.
//! Sequence numbers are extended inside and `u16` only at the wire ([`SeqUnwrapper`]); the three times of the house are kept
//! apart: `now` is a [`std::time::Instant`] handed in by a shell, media time is [`MediaTime`] (RTP clock units), wallclock is
//! [`NtpTime`].

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod codec;
mod id;
mod layer;
mod time;
mod topology;
mod track;
mod unit;

pub use codec::VideoCodec;
pub use id::{ParticipantId, PeerId, RoomId, Ssrc, TrackId};
pub use layer::{EncodingId, LayerId, MAX_ENCODINGS, MAX_TEMPORAL_LAYERS, TemporalId};
pub use time::{ExtSeq, MediaTime, MediaTimeUnwrapper, NtpTime, SeqNo, SeqUnwrapper};
pub use topology::{Epoch, Path, Topology, TopologyPolicy};
pub use track::{Quality, TrackKind, TrackSource};
pub use unit::{DataRate, DataSize};
