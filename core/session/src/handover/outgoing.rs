//! The publisher's side of an edge.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_model::{Epoch, Path, TrackId};

use super::{
    EdgeMessage, FIRST_PATH_PATIENCE, IN_FLIGHT, LAGGARD, LAGGARD_RETRY, NEWCOMER_HOLD, PREPARE_RESEND, PROOF_INTERVAL,
    PROOF_LENGTH, PROOF_TURNS, PathState, PathStates, RETURN_DELAY, STRETCH_FACTOR, THIN_AFTER, VIDEO_START, VIDEO_STEP,
};

/// Where an edge should be.
#[derive(Clone, Copy, Debug)]
pub struct EdgeWish<'a> {
    /// The path the room (or the edge alone) wants.
    pub path: Path,
    /// Why.
    pub reason: &'a str,
    /// Under which decision.
    pub epoch: Epoch,
    /// What the subscriber should hear there: tracks neither muted nor unwanted.
    pub tracks: &'a [TrackId],
    /// By how much later that path delivers than the present one.
    pub raise: Duration,
    /// Place of the publisher's first video source among those of the room.
    pub first_video: u32,
    /// The subscriber plays what comes first by either path. One that does not has to decode the new path by itself before it is ready.
    pub merges: bool,
}

/// What an edge wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutgoingOutput {
    /// Tell the relay which paths carry this edge now.
    TellRelay {
        /// Direct copies are sent.
        direct: bool,
        /// The relay is to forward.
        relayed: bool,
        /// .. but voice only for now: pictures follow.
        voice_only: bool,
        /// The subscriber merges, and decodes what it got directly until now.
        decodes: bool,
        /// Under which decision.
        epoch: Epoch,
        /// Why.
        reason: String,
    },
    /// Tell the subscriber.
    Send(EdgeMessage),
    /// The edge counts on another path now.
    Changed {
        /// Which.
        path: Path,
        /// Why.
        reason: String,
    },
}

#[derive(Clone, Debug)]
struct Overlap {
    to: Path,
    epoch: Epoch,
    reason: String,
    tracks: Vec<TrackId>,
    raise: Duration,
    since: Instant,
    resend_at: Instant,
    /// The relay was told to forward pictures too.
    pictures: bool,
    merges: bool,
}

impl Overlap {
    /// When the `index`-th video source begins to go both ways.
    fn video_at(&self, index: u32) -> Instant {
        self.since + VIDEO_START + VIDEO_STEP * index
    }

    /// Whether the `index`-th video source goes by the new path now, and when that changes.
    fn proof(&self, now: Instant, index: u32) -> (bool, Option<Instant>) {
        let begun = self.video_at(index);
        let Some(elapsed) = now.checked_duration_since(begun) else { return (false, Some(begun)) };
        if self.to == Path::Direct || !self.merges || elapsed >= PROOF_INTERVAL * PROOF_TURNS {
            return (true, None);
        }
        let in_turn = Duration::from_nanos((elapsed.as_nanos() % PROOF_INTERVAL.as_nanos()) as u64);
        let turn = now - in_turn;
        if in_turn < PROOF_LENGTH { (true, Some(turn + PROOF_LENGTH)) } else { (false, Some(turn + PROOF_INTERVAL)) }
    }
}

/// The subscriber raises its playout; then the overlap begins.
#[derive(Clone, Copy, Debug)]
struct Raising {
    to: Path,
    epoch: Epoch,
    raise: Duration,
    until: Instant,
}

/// One edge, seen by its publisher.
#[derive(Debug)]
pub struct Outgoing {
    path: Path,
    reason: String,
    epoch: Epoch,
    overlap: Option<Overlap>,
    raising: Option<Raising>,
    /// The path that failed under the edge, until a decision of the room makes that history.
    failed: Option<Path>,
    begun: Instant,
    /// On its path since.
    since: Instant,
    /// The path has been up at some time.
    proven: bool,
    /// The first path has had its time.
    impatient: bool,
    /// Not to be moved by wish before this.
    retry_at: Option<Instant>,
    return_delay: Duration,
    /// The edge left the relay, which has yet to be told.
    release_at: Option<Instant>,
    outputs: VecDeque<OutgoingOutput>,
}

impl Outgoing {
    /// An edge that begins on `path`, which may still be under construction.
    #[must_use]
    pub fn new(now: Instant, path: Path, reason: &str, epoch: Epoch) -> Self {
        Self {
            path,
            reason: reason.to_owned(),
            epoch,
            overlap: None,
            raising: None,
            failed: None,
            begun: now,
            since: now,
            proven: false,
            impatient: false,
            retry_at: None,
            return_delay: RETURN_DELAY,
            release_at: None,
            outputs: VecDeque::new(),
        }
    }

    /// The path the edge counts on.
    #[must_use]
    pub fn path(&self) -> Path {
        self.path
    }

    /// Why it does.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Media is sent on `path`.
    #[must_use]
    pub fn carries(&self, path: Path) -> bool {
        self.path == path || self.overlap.is_some()
    }

    /// Both paths carry media.
    #[must_use]
    pub fn in_overlap(&self) -> bool {
        self.overlap.is_some()
    }

    /// In overlap: the path it moves to.
    #[must_use]
    pub fn moving_to(&self) -> Option<Path> {
        self.overlap.as_ref().map(|overlap| overlap.to)
    }

    /// The edge is direct and moves, or is free to: it was not tried in vain just before.
    #[must_use]
    pub fn may_leave_direct(&self) -> bool {
        self.path == Path::Direct && (self.overlap.is_some() || self.retry_at.is_none())
    }

    /// In overlap to the relay with a subscriber that has everything directly and lacks nothing the relay does not bring.
    #[must_use]
    pub fn is_proving(&self) -> bool {
        self.overlap.as_ref().is_some_and(|overlap| overlap.to == Path::Relayed && overlap.merges)
    }

    /// Whether the `index`-th video source of all is on `path` now: all but the new path in overlap, where they follow one by one, and by
    /// the relay only as much as proves it.
    #[must_use]
    pub fn carries_video(&self, now: Instant, path: Path, index: u32) -> bool {
        match &self.overlap {
            Some(overlap) if overlap.to == path => overlap.proof(now, index).0,
            _ => self.carries(path),
        }
    }

    /// Direct copies of the `index`-th video source are to be thinned to their base layer: it goes both ways, and is not proven here. (On the
    /// way to the relay everything goes on directly until the relay is proven: see [`PROOF_LENGTH`].)
    #[must_use]
    pub fn is_thinned(&self, now: Instant, index: u32) -> bool {
        let overlap = self.overlap.as_ref().filter(|overlap| overlap.to == Path::Direct);
        overlap.is_some_and(|overlap| overlap.video_at(index) + THIN_AFTER <= now)
    }

    /// The edge began on the relay, and less than `hold` ago: at its other end nothing was decoded yet that could break off.
    #[must_use]
    pub fn is_fresh(&self, now: Instant, hold: Duration) -> bool {
        self.fresh_until(hold).is_some_and(|until| now < until)
    }

    fn fresh_until(&self, hold: Duration) -> Option<Instant> {
        (self.path == Path::Relayed && self.since == self.begun).then_some(self.begun + hold)
    }

    /// When [`Outgoing::carries_video`], [`Outgoing::is_thinned`] or [`Outgoing::is_fresh`] changes for the video sources with these indices.
    #[must_use]
    pub fn next_step(&self, now: Instant, videos: std::ops::Range<u32>) -> Option<Instant> {
        let Some(overlap) = &self.overlap else {
            let ends = [self.fresh_until(NEWCOMER_HOLD), self.fresh_until(LAGGARD)];
            return ends.into_iter().flatten().filter(|until| *until > now).min();
        };
        let thins = |index| (overlap.to == Path::Direct).then(|| overlap.video_at(index) + THIN_AFTER);
        let steps = videos.flat_map(|index| [overlap.proof(now, index).1, thins(index)]).flatten();
        steps.filter(|at| *at > now).min()
    }

    /// Compares what is with what should be; called whenever either may have changed and when time is due.
    pub fn reconcile(&mut self, now: Instant, wish: EdgeWish<'_>, states: PathStates) {
        if self.release_at.is_some_and(|at| at <= now) {
            self.tell_relay();
        }
        self.proven |= states.is_up(self.path);
        self.impatient |= self.since + FIRST_PATH_PATIENCE <= now;
        self.retry_at = self.retry_at.filter(|at| *at > now);
        match self.overlap.take() {
            Some(overlap) => self.reconcile_overlap(now, overlap, wish, states),
            None => self.reconcile_settled(now, wish, states),
        }
    }

    fn reconcile_overlap(&mut self, now: Instant, mut overlap: Overlap, wish: EdgeWish<'_>, states: PathStates) {
        if !states.is_up(self.path) && states.is_up(overlap.to) {
            self.fail_over(now, overlap.to, overlap.epoch, wish.merges);
        } else if matches!(states.of(overlap.to), PathState::Down | PathState::Barred) {
            self.abort(now, overlap, "the new path failed", RETURN_DELAY);
        } else if wish.path == self.path {
            self.abort(now, overlap, "no longer wanted", Duration::ZERO);
        } else if overlap.since + LAGGARD <= now {
            self.abort(now, overlap, "the other side did not become ready", LAGGARD_RETRY);
        } else {
            if !overlap.pictures && overlap.video_at(wish.first_video) <= now {
                overlap.pictures = true;
                self.tell_overlap(&overlap);
            }
            if overlap.resend_at <= now {
                overlap.resend_at = now + PREPARE_RESEND;
                self.send_prepare(&overlap);
            }
            self.overlap = Some(overlap);
        }
    }

    fn reconcile_settled(&mut self, now: Instant, wish: EdgeWish<'_>, states: PathStates) {
        let other = self.path.other();
        if !states.is_up(self.path) {
            let barred = states.of(self.path) == PathState::Barred;
            // A path that never was up gets its time, unless the room wants the other one anyhow.
            let patient = !self.proven && !barred && wish.path == self.path && !self.impatient;
            if states.is_up(other) && !patient {
                let epoch = wish.epoch;
                if self.proven && wish.path == self.path {
                    self.fail_over(now, other, epoch, wish.merges);
                } else {
                    let reason = if wish.path == other { wish.reason } else { "the first path did not come up" };
                    self.settle(now, other, epoch, reason);
                    self.tell_relay();
                }
            }
            return;
        }
        if wish.path == other && states.is_up(other) && self.retry_at.is_none() {
            if self.has_raised(now, wish) {
                self.begin(now, wish);
            }
        } else if let Some(raising) = self.raising.take() {
            let (epoch, path) = (raising.epoch, raising.to);
            let reason = "no longer wanted".to_owned();
            self.outputs.push_back(OutgoingOutput::Send(EdgeMessage::Abort { epoch, path, reason }));
        }
    }

    /// Whether the subscriber's playout has had its time to be raised; tells the subscriber where it has to be.
    fn has_raised(&mut self, now: Instant, wish: EdgeWish<'_>) -> bool {
        if let Some(raising) = self.raising.filter(|raising| raising.to == wish.path) {
            return raising.until <= now;
        }
        if wish.raise.is_zero() || wish.tracks.is_empty() {
            return true;
        }
        let EdgeWish { path: to, epoch, raise, .. } = wish;
        self.raising = Some(Raising { to, epoch, raise, until: now + raise * STRETCH_FACTOR });
        let tracks = wish.tracks.to_vec();
        self.outputs.push_back(OutgoingOutput::Send(EdgeMessage::Prepare { epoch, path: to, tracks, raise }));
        false
    }

    fn begin(&mut self, now: Instant, wish: EdgeWish<'_>) {
        let back = match wish.path {
            Path::Direct => "the direct path works again",
            Path::Relayed => "the relay works again",
        };
        let reason = if self.failed == Some(wish.path) { back } else { wish.reason };
        let overlap = Overlap {
            to: wish.path,
            epoch: wish.epoch,
            reason: reason.to_owned(),
            tracks: wish.tracks.to_vec(),
            raise: self.raising.take().map_or(Duration::ZERO, |raising| raising.raise),
            since: now,
            resend_at: now + PREPARE_RESEND,
            // On the way back to direct legs the relay forwards everything already.
            pictures: wish.path == Path::Direct,
            merges: wish.merges,
        };
        self.epoch = wish.epoch;
        self.release_at = None;
        self.tell_overlap(&overlap);
        self.send_prepare(&overlap);
        self.overlap = Some(overlap);
    }

    fn tell_overlap(&mut self, overlap: &Overlap) {
        let (epoch, reason) = (overlap.epoch, overlap.reason.clone());
        let (voice_only, decodes) = (!overlap.pictures, overlap.merges);
        self.outputs.push_back(OutgoingOutput::TellRelay { direct: true, relayed: true, voice_only, decodes, epoch, reason });
    }

    fn send_prepare(&mut self, overlap: &Overlap) {
        let (epoch, path, tracks, raise) = (overlap.epoch, overlap.to, overlap.tracks.clone(), overlap.raise);
        self.outputs.push_back(OutgoingOutput::Send(EdgeMessage::Prepare { epoch, path, tracks, raise }));
    }

    /// The path died under the edge: the other one at once, and no early return.
    fn fail_over(&mut self, now: Instant, to: Path, epoch: Epoch, merges: bool) {
        let reason = match to {
            Path::Direct => "the relay failed",
            Path::Relayed => "the direct path failed",
        };
        self.settle(now, to, epoch, reason);
        // It may have been heartbeats only that were lost, and nothing of the pictures.
        self.tell(merges);
        self.failed = Some(to.other());
        self.retry_at = Some(now + self.return_delay);
        self.return_delay = (self.return_delay * 2).min(LAGGARD_RETRY);
    }

    /// The relay has yet to be told.
    fn settle(&mut self, now: Instant, path: Path, epoch: Epoch, reason: &str) {
        self.overlap = None;
        self.raising = None;
        self.failed = None;
        self.path = path;
        self.epoch = epoch;
        self.proven = true;
        self.since = now;
        self.retry_at = None;
        reason.clone_into(&mut self.reason);
        let message = EdgeMessage::Commit { epoch, path, reason: self.reason.clone() };
        self.outputs.push_back(OutgoingOutput::Send(message));
        self.outputs.push_back(OutgoingOutput::Changed { path, reason: self.reason.clone() });
    }

    fn abort(&mut self, now: Instant, overlap: Overlap, reason: &str, wait: Duration) {
        self.overlap = None;
        self.retry_at = Some(now + wait);
        let message = EdgeMessage::Abort { epoch: overlap.epoch, path: overlap.to, reason: reason.to_owned() };
        self.outputs.push_back(OutgoingOutput::Send(message));
        self.tell_relay();
    }

    /// Says which path carries this edge: when that changed, or again after the relay forgot.
    pub fn tell_relay(&mut self) {
        self.tell(self.overlap.as_ref().is_some_and(|overlap| overlap.merges));
    }

    fn tell(&mut self, decodes: bool) {
        self.release_at = None;
        let (direct, relayed) = (self.carries(Path::Direct), self.carries(Path::Relayed));
        let voice_only = self.overlap.as_ref().is_some_and(|overlap| !overlap.pictures);
        let (epoch, reason) = (self.epoch, self.reason.clone());
        self.outputs.push_back(OutgoingOutput::TellRelay { direct, relayed, voice_only, decodes, epoch, reason });
    }

    /// The room decided anew: waits of the old decision are over.
    pub fn handle_decision(&mut self) {
        self.retry_at = None;
        self.failed = None;
        self.return_delay = RETURN_DELAY;
    }

    /// The subscriber hears us on `path`. Anything but the answer to the prepare under way is stale, and false is given.
    pub fn handle_ready(&mut self, now: Instant, epoch: Epoch, path: Path) -> bool {
        let Some(overlap) = self.overlap.take_if(|overlap| overlap.to == path && overlap.epoch == epoch) else { return false };
        self.settle(now, path, epoch, &overlap.reason);
        match path {
            Path::Direct => self.release_at = Some(now + IN_FLIGHT),
            // Until now it got everything directly.
            Path::Relayed => self.tell(overlap.merges),
        }
        true
    }

    /// When [`Outgoing::reconcile`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.overlap {
            Some(overlap) => Some(overlap.resend_at.min(overlap.since + LAGGARD)),
            None => {
                let patience = (!self.proven && !self.impatient).then(|| self.since + FIRST_PATH_PATIENCE);
                let raised = self.raising.map(|raising| raising.until);
                patience.into_iter().chain(self.retry_at).chain(raised).chain(self.release_at).min()
            }
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<OutgoingOutput> {
        self.outputs.pop_front()
    }
}
