//! The subscriber's side of an edge.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use segue_media::packet::Origin;
use segue_model::{Epoch, Path, TrackId, TrackKind};

use super::{DRAIN_MIN, Detector};

/// A track to listen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedTrack {
    /// Which.
    pub track: TrackId,
    /// Audio or video.
    pub kind: TrackKind,
    /// Muted or not wanted: nothing will come, it counts as heard.
    pub silent: bool,
}

/// The publisher is to be told that we hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// As in its prepare.
    pub epoch: Epoch,
    /// As in its prepare.
    pub path: Path,
}

#[derive(Debug)]
struct Watch {
    epoch: Epoch,
    path: Path,
    /// By origin; for switch edges empty.
    detectors: BTreeMap<TrackId, Detector>,
    /// Nothing to listen for by origin: the shell has yet to say that these are played from the new path. Empty for merge edges.
    awaited: BTreeSet<TrackId>,
    told: bool,
}

impl Watch {
    fn has_heard(&self) -> bool {
        self.awaited.is_empty() && self.detectors.values().all(Detector::is_ready)
    }
}

/// One edge, seen by its subscriber.
#[derive(Debug)]
pub struct Incoming {
    path: Path,
    reason: String,
    epoch: Epoch,
    watch: Option<Watch>,
    /// Which path each track is played from (switch edges): its first frame may be decoded before the prepare comes.
    played: BTreeMap<TrackId, Path>,
    drain: Option<(Path, Instant)>,
}

impl Incoming {
    /// An edge that begins on `path`.
    #[must_use]
    pub fn new(path: Path, reason: &str, epoch: Epoch) -> Self {
        Self { path, reason: reason.to_owned(), epoch, watch: None, played: BTreeMap::new(), drain: None }
    }

    /// The path its publisher counts on.
    #[must_use]
    pub fn path(&self) -> Path {
        self.path
    }

    /// Why it does.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The path its publisher is moving it to.
    #[must_use]
    pub fn moving_to(&self) -> Option<Path> {
        self.watch.as_ref().map(|watch| watch.path).filter(|path| *path != self.path)
    }

    /// Packets are expected on `path`: in use, being proven, or draining.
    #[must_use]
    pub fn expects(&self, path: Path) -> bool {
        self.path == path || self.moving_to() == Some(path) || self.drain.is_some_and(|(drained, _)| drained == path)
    }

    /// A word of an epoch that is over.
    #[must_use]
    pub fn is_stale(&self, epoch: Epoch) -> bool {
        epoch < self.epoch
    }

    /// The publisher sends on `path` too, or will soon. A repeated prepare is answered again, since the first answer may be lost. Gives
    /// whether this is the first of a move.
    pub fn handle_prepare(&mut self, epoch: Epoch, path: Path, tracks: &[WatchedTrack], switch: bool) -> bool {
        if epoch < self.epoch {
            return false;
        }
        self.epoch = epoch;
        if let Some(watch) = self.watch.as_mut().filter(|watch| watch.epoch == epoch && watch.path == path) {
            watch.told = false;
            return false;
        }
        let first = self.moving_to() != Some(path);
        let audible = tracks.iter().filter(|track| !track.silent);
        let detectors: BTreeMap<_, _> = audible.map(|track| (track.track, Detector::new(track.kind))).collect();
        let (detectors, awaited) = if switch {
            let elsewhere = |track: &TrackId| self.played.get(track) != Some(&path);
            (BTreeMap::new(), detectors.into_keys().filter(elsewhere).collect())
        } else {
            (detectors, BTreeSet::new())
        };
        self.watch = Some(Watch { epoch, path, detectors, awaited, told: false });
        first && path != self.path
    }

    /// A media packet came on `path`. Cheap where nothing is watched.
    pub fn handle_media(&mut self, path: Path, origin: &Origin) {
        if let Some(watch) = self.watch.as_mut().filter(|watch| watch.path == path && !watch.told)
            && let Some(detector) = watch.detectors.get_mut(&origin.source)
        {
            detector.handle_packet(origin);
        }
    }

    /// Everything was heard and the publisher has not been told: [`Incoming::poll_ready`] may have something.
    #[must_use]
    pub fn has_heard(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| !watch.told && watch.has_heard())
    }

    /// A track fell silent or went away: nothing is awaited from it.
    pub fn handle_silent(&mut self, track: TrackId) {
        if let Some(watch) = &mut self.watch {
            watch.detectors.remove(&track);
            watch.awaited.remove(&track);
        }
    }

    /// A track is no longer published.
    pub fn handle_unpublished(&mut self, track: TrackId) {
        self.handle_silent(track);
        self.played.remove(&track);
    }

    /// The first frame of a published track was decoded from another path than before (switch edges).
    pub fn handle_switch_ready(&mut self, track: TrackId, path: Path) {
        self.played.insert(track, path);
        if let Some(watch) = self.watch.as_mut().filter(|watch| watch.path == path) {
            watch.awaited.remove(&track);
        }
    }

    /// Whether the publisher is to be told now, once for each prepare. `up`: the leg of the watched path is.
    pub fn poll_ready(&mut self, up: impl FnOnce(Path) -> bool) -> Option<Ready> {
        let watch = self.watch.as_mut().filter(|watch| !watch.told)?;
        let heard = watch.has_heard();
        let proven = !watch.detectors.is_empty() || up(watch.path);
        (heard && proven).then(|| {
            watch.told = true;
            Ready { epoch: watch.epoch, path: watch.path }
        })
    }

    /// The publisher uses only `path` from now on. `delay`: twice the round-trip time plus the playout target. Gives whether the path
    /// changed.
    pub fn handle_commit(&mut self, now: Instant, epoch: Epoch, path: Path, reason: &str, delay: Duration) -> bool {
        if epoch < self.epoch {
            return false;
        }
        self.epoch = epoch;
        self.watch = None;
        reason.clone_into(&mut self.reason);
        if self.path == path {
            return false;
        }
        self.drain = Some((self.path, now + delay.max(DRAIN_MIN)));
        self.path = path;
        true
    }

    /// The publisher gave the move up.
    pub fn handle_abort(&mut self, epoch: Epoch, path: Path) {
        if self.watch.as_ref().is_some_and(|watch| watch.epoch == epoch && watch.path == path) {
            self.watch = None;
        }
    }

    /// Ends a drain that is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.drain.is_some_and(|(_, until)| until <= now) {
            self.drain = None;
        }
    }

    /// When [`Incoming::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.drain.map(|(_, until)| until)
    }
}
