//! Decides when the room moves between mesh and relay, and counts its edges there.
//!
//! ```text
//!            want differs, holds have passed                 all live edges there
//!  Settled ---------------------------------> Moving ------------------------------> Settled (Commit)
//!     ^                Prepare                   |  `laggard_after`, some are there -> Settled (Commit Mixed)
//!     +------------------------------------------+  `laggard_after`, none is         (Abort, back-off)
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_model::{Epoch, Path, Topology};

use super::config::TopologyConfig;
use super::view::RoomView;

/// Edges may fail and come back quickly: how the room stands is not told more often than this.
const STANDING_INTERVAL: Duration = Duration::from_secs(1);

/// Two failed edges of one participant must have stayed so for this long: a path that was slow to come up, or an edge that changes twice,
/// does not move the room.
const FAILURE_HOLD: Duration = Duration::from_secs(3);

/// The back-off doubles no further than this factor of its first value.
const MAX_BACKOFF_FACTOR: u32 = 16;

/// What everybody is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TopologyOutput {
    /// Build legs for `target` and move your edges.
    Prepare { epoch: Epoch, target: Path, reason: String },
    /// The room as it now stands.
    Commit { epoch: Epoch, topology: Topology, reason: String },
    /// Back to where the room was.
    Abort { epoch: Epoch, topology: Topology, reason: String },
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Settled,
    Moving {
        deadline: Instant,
        /// Some edge has reached the target since.
        progress: bool,
    },
}

#[derive(Debug)]
pub(super) struct Controller {
    config: TopologyConfig,
    epoch: Epoch,
    target: Path,
    announced: Topology,
    /// Under which epoch: a move under way has a later one already, and no epoch has two topologies.
    announced_epoch: Epoch,
    /// Why the room is where it is.
    reason: String,
    phase: Phase,
    /// When media was last moved.
    last_handover: Option<Instant>,
    /// When the present target was set, where no edge had to move then: some may come that have to.
    unmoved_since: Option<Instant>,
    /// Since when the room has been small enough to go back.
    small_since: Option<Instant>,
    /// Since when failures have asked for the relay.
    failing_since: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
    last_announced: Option<Instant>,
    wake: Option<Instant>,
    outputs: VecDeque<TopologyOutput>,
}

impl Controller {
    pub(super) fn new(config: TopologyConfig, incarnation: u64) -> Self {
        Self {
            config,
            epoch: Epoch { incarnation, counter: 1 },
            target: Path::Direct,
            announced: Topology::Mesh,
            announced_epoch: Epoch { incarnation, counter: 1 },
            reason: "every room begins as a mesh".to_owned(),
            phase: Phase::Settled,
            last_handover: None,
            unmoved_since: None,
            small_since: None,
            failing_since: None,
            failures: 0,
            not_before: None,
            last_announced: None,
            wake: None,
            outputs: VecDeque::new(),
        }
    }

    /// Where edges between peers that can do both are to be.
    pub(super) fn target(&self) -> Path {
        self.target
    }

    /// Goes on under another term: a higher one.
    pub(super) fn set_term(&mut self, term: u64) {
        self.epoch = Epoch { incarnation: term, counter: self.epoch.counter + 1 };
        self.announced_epoch = self.epoch;
    }

    /// What a newcomer is told of the room.
    pub(super) fn standing(&self) -> TopologyOutput {
        TopologyOutput::Commit { epoch: self.announced_epoch, topology: self.announced, reason: self.reason.clone() }
    }

    /// What a newcomer must know besides, where the room is not where it is to be.
    pub(super) fn under_way(&self) -> Option<TopologyOutput> {
        let arrived = self.announced == pure(self.target);
        (!arrived).then(|| TopologyOutput::Prepare { epoch: self.epoch, target: self.target, reason: self.reason.clone() })
    }

    /// An edge came to be on `path`, for `reason`.
    pub(super) fn note_settled(&mut self, path: Path, reason: &str) {
        match &mut self.phase {
            Phase::Moving { progress, .. } => *progress |= path == self.target,
            Phase::Settled if !reason.is_empty() => reason.clone_into(&mut self.reason),
            Phase::Settled => {}
        }
    }

    /// An edge changed its path.
    pub(super) fn note_moved(&mut self, now: Instant, path: Path) {
        if path == self.target && self.unmoved_since.is_some_and(|since| now < since + self.config.laggard_after) {
            (self.last_handover, self.unmoved_since) = (Some(now), None);
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<TopologyOutput> {
        self.outputs.pop_front()
    }

    /// When to look again although nothing happened.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// The room changed or the timeout has come.
    pub(super) fn handle_view(&mut self, now: Instant, view: &RoomView) {
        self.wake = None;
        if let Phase::Moving { deadline, progress } = self.phase {
            self.follow(now, view, deadline, progress);
        }
        if matches!(self.phase, Phase::Settled) {
            self.consider(now, view);
        }
        if matches!(self.phase, Phase::Settled) {
            self.announce(now, view);
        }
    }

    fn follow(&mut self, now: Instant, view: &RoomView, deadline: Instant, progress: bool) {
        if view.all_on(self.target) {
            self.failures = 0;
            self.commit(now, view.standing(self.target));
        } else if now < deadline {
            self.wake_at(deadline);
        } else if progress {
            // On the way back a room of many laggards would be moved again at once: it has to wait longer each time.
            if self.target == Path::Direct && view.tangled {
                self.back_off(now);
            }
            self.commit(now, Topology::Mixed);
        } else {
            self.back_off(now);
            self.target = self.target.other();
            self.phase = Phase::Settled;
            self.reason = "no edge reached the new path in time".to_owned();
            self.announced = pure(self.target);
            self.announced_epoch = self.epoch;
            self.last_announced = Some(now);
            self.outputs.push_back(TopologyOutput::Abort {
                epoch: self.epoch,
                topology: self.announced,
                reason: self.reason.clone(),
            });
        }
    }

    /// Moves if the room wants to and may.
    fn consider(&mut self, now: Instant, view: &RoomView) {
        let Some(want) = view.want(&self.config).filter(|want| want.path != self.target) else {
            self.small_since = None;
            self.failing_since = None;
            return;
        };
        let mut at = now;
        if want.failure {
            at = at.max(*self.failing_since.get_or_insert(now) + FAILURE_HOLD);
        } else {
            self.failing_since = None;
        }
        if let Some(since) = want.short_since {
            at = at.max(since + self.config.uplink_hold);
        }
        if want.path == Path::Direct {
            let since = *self.small_since.get_or_insert(now);
            at = at.max(since + self.config.down_hold);
        } else {
            self.small_since = None;
        }
        // A room in which nothing is sent has nothing to move and need not wait.
        let free = want.failure || view.edges.total == 0;
        if let Some(last) = self.last_handover.filter(|_| !free) {
            at = at.max(last + self.config.handover_interval);
        }
        at = at.max(self.not_before.unwrap_or(now));
        if at > now {
            self.wake_at(at);
            return;
        }
        self.epoch.counter += 1;
        self.target = want.path;
        self.reason = want.reason.to_owned();
        self.small_since = None;
        self.failing_since = None;
        let deadline = now + self.config.laggard_after;
        self.phase = Phase::Moving { deadline, progress: false };
        self.outputs.push_back(TopologyOutput::Prepare { epoch: self.epoch, target: self.target, reason: self.reason.clone() });
        let moves = !view.all_on(self.target);
        self.last_handover = if moves { Some(now) } else { self.last_handover };
        self.unmoved_since = (!moves).then_some(now);
        self.follow(now, view, deadline, false);
    }

    /// Tells how the room stands, where edges moved by themselves.
    fn announce(&mut self, now: Instant, view: &RoomView) {
        let standing = view.standing(self.target);
        if standing == self.announced {
            return;
        }
        let at = self.last_announced.map_or(now, |last| last + STANDING_INTERVAL);
        if at > now {
            self.wake_at(at);
            return;
        }
        self.epoch.counter += 1;
        self.commit(now, standing);
    }

    fn commit(&mut self, now: Instant, topology: Topology) {
        self.phase = Phase::Settled;
        self.announced = topology;
        self.announced_epoch = self.epoch;
        self.last_announced = Some(now);
        self.outputs.push_back(TopologyOutput::Commit { epoch: self.epoch, topology, reason: self.reason.clone() });
    }

    fn back_off(&mut self, now: Instant) {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(MAX_BACKOFF_FACTOR).min(MAX_BACKOFF_FACTOR);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + self.config.backoff * factor);
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// The topology of a room all of whose edges are on `path`.
pub(super) fn pure(path: Path) -> Topology {
    match path {
        Path::Direct => Topology::Mesh,
        Path::Relayed => Topology::Relayed,
    }
}
