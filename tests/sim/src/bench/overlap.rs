//! What it costs to send on two paths: bytes of frames captured meanwhile, against the same frames in the twin.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use segue_model::TrackId;

use crate::world::World;
use crate::world::traffic::{FrameBytes, FrameKey, Ledger};

/// Bytes at a time that belong to no frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Other {
    sent: u64,
    received: u64,
}

impl Other {
    pub fn of(world: &World, at: usize) -> Self {
        let traffic = &world.nodes[at].traffic;
        Self { sent: traffic.sent.other, received: traffic.received.other }
    }
}

/// Frames of one participant in one direction, with the time of their capture.
type Frames = BTreeMap<FrameKey, (Duration, FrameBytes)>;

/// What established participants sent and received.
#[derive(Debug, Default)]
pub struct Carried {
    sent: Vec<Frames>,
    received: Vec<Frames>,
    others: Vec<(Duration, Vec<Other>)>,
}

/// Bytes as a share of the twin's, of the participant that pays most.
#[derive(Clone, Copy, Debug)]
pub struct Ratios {
    pub uplink: f64,
    pub downlink: f64,
}

impl Carried {
    pub fn sample(&mut self, world: &World, established: &[usize]) {
        self.others.push((world.now - world.base, established.iter().map(|at| Other::of(world, *at)).collect()));
    }

    /// Of tracks whose edges move: what newcomers send comes sooner in one run than in the other.
    pub fn collect(&mut self, world: &World, established: &[usize]) {
        let nodes = || established.iter().map(|at| &world.nodes[*at]);
        let tracks: BTreeSet<TrackId> = nodes().flat_map(|node| node.publications.keys().copied()).collect();
        let timed = |ledger: &Ledger| -> Frames {
            let own = ledger.frames.iter().filter(|((track, _), _)| tracks.contains(track));
            own.filter_map(|(key, bytes)| Some((*key, (world.captured_at(*key)?, *bytes)))).collect()
        };
        for node in nodes() {
            self.sent.push(timed(&node.traffic.sent));
            self.received.push(timed(&node.traffic.received));
        }
    }

    fn other_between(&self, span: &Range<Duration>, at: usize, of: &dyn Fn(&Other) -> u64) -> u64 {
        let until = |time: Duration| {
            let index = self.others.partition_point(|(at, _)| *at < time).min(self.others.len().saturating_sub(1));
            self.others.get(index).and_then(|(_, all)| all.get(at)).map_or(0, of)
        };
        until(span.end).saturating_sub(until(span.start))
    }

    /// The most that frames captured in `span` cost anybody, against the twin.
    pub fn ratios(&self, twin: &Self, span: &Range<Duration>) -> Option<Ratios> {
        let of = |own: &[Frames], usual: &[Frames], other: &dyn Fn(&Other) -> u64| {
            let pairs = own.iter().zip(usual).enumerate().map(|(at, (own, usual))| {
                let (own_bytes, usual_bytes) = (bytes(own, usual, span), bytes(usual, own, span));
                let own_other = self.other_between(span, at, other);
                let usual_other = twin.other_between(span, at, other);
                (own_bytes + own_other, usual_bytes + usual_other)
            });
            pairs.filter(|(_, usual)| *usual > 0).map(|(own, usual)| own as f64 / usual as f64).reduce(f64::max)
        };
        let uplink = of(&self.sent, &twin.sent, &|other| other.sent)?;
        let downlink = of(&self.received, &twin.received, &|other| other.received)?;
        Some(Ratios { uplink, downlink })
    }
}

/// Bytes of the frames captured in `span` that are keyframes in neither run: what a newcomer costs is no cost of a change of path, and it
/// comes at another time in the twin.
fn bytes(of: &Frames, other: &Frames, span: &Range<Duration>) -> u64 {
    let counts = |key: &FrameKey, frame: &FrameBytes| !frame.keyframe && !other.get(key).is_some_and(|(_, twin)| twin.keyframe);
    of.iter().filter(|(key, (at, frame))| span.contains(at) && counts(key, frame)).map(|(_, (_, frame))| frame.bytes).sum()
}
