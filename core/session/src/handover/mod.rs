//! How one edge changes its path without a gap: make before break, decided by its publisher, proven by its subscriber.
//!
//! [`Outgoing`] is the publisher's side: settled on a path, or in overlap on both until the subscriber says that it hears the new one.
//! [`Incoming`] is the subscriber's: it counts what arrives on the new path ([`Detector`]) and drains the old one. There is no
//! room-wide gate; one edge never waits for another. [`HeartbeatWatch`] says when a path has gone silent.

mod detector;
mod heartbeat;
mod incoming;
mod outgoing;
mod quality;
#[cfg(test)]
mod tests;

use std::time::Duration;

use segue_model::{Epoch, Path, TrackId};

pub use detector::Detector;
pub use heartbeat::HeartbeatWatch;
pub use incoming::{Incoming, Ready, WatchedTrack};
pub use outgoing::{EdgeWish, Outgoing, OutgoingOutput};
pub use quality::{Quality, raise_between};

/// Heartbeats on every leg of an SDK are this far apart.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(200);

/// So many missing heartbeats make a path suspect: it leaves 300 ms of the second in which voice must be back.
pub const MISSED_HEARTBEATS: u32 = 3;

/// A subscriber that is not ready after this stays on its old path: the room is mixed, the others do not wait.
pub const LAGGARD: Duration = Duration::from_secs(8);

/// A laggard is not moved again before this, as the room is not (one handover in 30 s).
pub const LAGGARD_RETRY: Duration = Duration::from_secs(30);

/// An edge does not return before this to a path that failed it. Doubled with every failure up to [`LAGGARD_RETRY`].
pub const RETURN_DELAY: Duration = Duration::from_secs(2);

/// An edge whose first path is not up after this takes the other.
pub const FIRST_PATH_PATIENCE: Duration = Duration::from_secs(3);

/// A prepare whose answer may be lost is repeated this often.
pub const PREPARE_RESEND: Duration = Duration::from_secs(1);

/// Least time for which packets of the old path are still expected.
pub const DRAIN_MIN: Duration = Duration::from_millis(500);

/// In overlap audio goes first, since it takes longest to prove (8 of 10 packets); the first video source follows when that is nearly
/// done, because it is proven by one frame and costs most while it goes both ways.
pub const VIDEO_START: Duration = Duration::from_millis(120);

/// Video sources follow one after the other at this distance, those of all publishers counted, so that nobody's downlink is hit by all
/// at once: each goes both ways for 80 to 90 ms, until a whole frame came and its publisher knows.
pub const VIDEO_STEP: Duration = Duration::from_millis(60);

/// While our edges move to the relay, whoever comes gets our voice and our smallest encoding at once; the one in direct use, and the keyframe
/// it needs, when they have moved: before that they would go out beside a copy for everybody. Of a source with one encoding nothing goes
/// until then, but not later than this, which is what the edges of eight participants take.
pub const NEWCOMER_HOLD: Duration = Duration::from_millis(800);

/// So long after a video source began to go directly too its direct copies are thinned to their base layer. Not at once: what is lost before
/// the first packet that comes by a new path is not missed there, so one whole frame has to come by both.
pub const THIN_AFTER: Duration = Duration::from_millis(40);

/// What the relay gets of a video source that comes directly too proves the path and shows nothing that is not seen: it goes for so long, in
/// which one frame of the base layer falls at 30 per second, and again after the interval.
pub const PROOF_LENGTH: Duration = Duration::from_millis(70);
pub const PROOF_INTERVAL: Duration = Duration::from_millis(250);

/// After so many turns it goes on without a pause: frames may come so seldom that they miss every turn, and probes, which prove a source
/// that is silent, only begin when it has been silent on both paths.
pub const PROOF_TURNS: u32 = 3;

/// After an edge left the relay, what its publisher had captured before is still on its way there, and may be on no other: it waited for
/// an encoder, a pacer that is behind (50 ms) and a network that holds packets back (100 ms). Until then the relay forwards.
pub const IN_FLIGHT: Duration = Duration::from_millis(250);

/// Playout is raised by so much at most for a slower path: beyond it, delay costs a talk more than the one gap it would hide.
pub const MAX_RAISE: Duration = Duration::from_millis(250);

/// Stretching by at most 10 % raises playout in ten times the raise.
pub const STRETCH_FACTOR: u32 = 10;

/// What two heartbeats' round trips differ by on one path, and no raise is worth: less than half a frame of audio.
pub const MIN_RAISE: Duration = Duration::from_millis(8);

/// How a path of an edge is, as far as its publisher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// Not allowed on this edge (policy, capabilities, size of the room).
    Barred,
    /// Being built, or failed.
    Down,
    /// Silent for too long.
    Suspect,
    /// Media can flow.
    Up,
}

/// Both paths of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStates {
    /// Peer to peer.
    pub direct: PathState,
    /// Through the relay.
    pub relayed: PathState,
}

impl PathStates {
    /// The state of one.
    #[must_use]
    pub const fn of(self, path: Path) -> PathState {
        match path {
            Path::Direct => self.direct,
            Path::Relayed => self.relayed,
        }
    }

    /// Media can flow on it.
    #[must_use]
    pub fn is_up(self, path: Path) -> bool {
        self.of(path) == PathState::Up
    }
}

/// What the two ends of an edge tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeMessage {
    /// Publisher: I send these tracks on `path` too, or am about to, once playout had time to be raised.
    Prepare {
        /// Under which decision.
        epoch: Epoch,
        /// The new path.
        path: Path,
        /// What to listen for.
        tracks: Vec<TrackId>,
        /// By how much later the new path delivers: playout is to be raised by it.
        raise: Duration,
    },
    /// Publisher: from now on only `path`.
    Commit {
        /// Under which decision.
        epoch: Epoch,
        /// The path.
        path: Path,
        /// Why.
        reason: String,
    },
    /// Publisher: `path` was tried in vain or is no longer wanted.
    Abort {
        /// Under which decision.
        epoch: Epoch,
        /// The path.
        path: Path,
        /// Why.
        reason: String,
    },
}
