//! Condition classes of the chaos set.

use super::trial::Trial;
use crate::rng::Rng;

/// A condition class of the chaos set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Clean,
    Loss1,
    Loss5,
    Loss10,
    Bursts,
    Jitter30,
    Jitter100,
    Faster50,
    Slower50,
    Slower150,
    Slower200,
    Reordering,
    Skew,
    Hops,
    RelayStalls,
    /// Somebody leaves in each state of the change, by seeds.
    SomebodyLeaves,
    /// A process dies in each state of the change, by seeds.
    SomebodyDies,
    TwoJoin,
    SignallingLost,
    Toggles,
    /// Cameras and microphones are muted in the middle, and not any more before it is over.
    Mutes,
    /// Feedback, heartbeats and signalling are lost like media.
    ControlLost,
    /// Crossed conditions.
    Loss5Slower150,
    Loss5Jitter30,
    /// Numbers and timestamps of the sources begin anew in the overlap.
    Rollover,
    RelayBlocked,
    RelayKilled,
    EdgeKilled,
    RoamHard,
    RoamSoft,
    /// Eight more join a mesh of eight at once.
    Sixteen,
    /// One joins or leaves every second.
    Churn,
    /// Uplinks that bear a quarter more than a mesh takes.
    Uplink,
    /// What the command line says.
    Asked,
}

impl Class {
    pub const ALL: [Self; 33] = [
        Self::Clean,
        Self::Loss1,
        Self::Loss5,
        Self::Loss10,
        Self::Bursts,
        Self::Jitter30,
        Self::Jitter100,
        Self::Faster50,
        Self::Slower50,
        Self::Slower150,
        Self::Slower200,
        Self::Reordering,
        Self::Skew,
        Self::Hops,
        Self::RelayStalls,
        Self::SomebodyLeaves,
        Self::SomebodyDies,
        Self::TwoJoin,
        Self::SignallingLost,
        Self::Toggles,
        Self::Mutes,
        Self::ControlLost,
        Self::Loss5Slower150,
        Self::Loss5Jitter30,
        Self::Rollover,
        Self::RelayBlocked,
        Self::RelayKilled,
        Self::EdgeKilled,
        Self::RoamHard,
        Self::RoamSoft,
        Self::Sixteen,
        Self::Churn,
        Self::Uplink,
    ];

    /// As it is called in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Loss1 => "loss1",
            Self::Loss5 => "loss5",
            Self::Loss10 => "loss10",
            Self::Bursts => "bursts",
            Self::Jitter30 => "jitter30",
            Self::Jitter100 => "jitter100",
            Self::Faster50 => "diff-50",
            Self::Slower50 => "diff+50",
            Self::Slower150 => "diff+150",
            Self::Slower200 => "diff+200",
            Self::Reordering => "reordering",
            Self::Skew => "skew",
            Self::Hops => "hops",
            Self::RelayStalls => "relay_stalls",
            Self::SomebodyLeaves => "somebody_leaves",
            Self::SomebodyDies => "somebody_dies",
            Self::TwoJoin => "two_join",
            Self::SignallingLost => "signalling_lost",
            Self::Toggles => "toggles",
            Self::Mutes => "mutes",
            Self::ControlLost => "control5",
            Self::Loss5Slower150 => "loss5_diff+150",
            Self::Loss5Jitter30 => "loss5_jitter30",
            Self::Rollover => "rollover",
            Self::RelayBlocked => "relay_blocked",
            Self::RelayKilled => "relay_killed",
            Self::EdgeKilled => "edge_killed",
            Self::RoamHard => "roam_hard",
            Self::RoamSoft => "roam_soft",
            Self::Sixteen => "sixteen",
            Self::Churn => "churn",
            Self::Uplink => "uplink",
            Self::Asked => "asked",
        }
    }

    /// The class of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Counts only in its own fields: a kill, a partition or a lost network.
    #[must_use]
    pub fn stands_apart(self) -> bool {
        self.has_no_twin() || self == Self::RelayBlocked
    }

    /// Measured by itself: what dies has no twin, and neither has a room that is too large for a mesh or changes all the time.
    #[must_use]
    pub const fn has_no_twin(self) -> bool {
        matches!(self, Self::RelayKilled | Self::EdgeKilled | Self::RoamHard | Self::RoamSoft | Self::Sixteen | Self::Churn)
    }

    /// Within what the goals for gaps speak of: loss up to 5 %, differences up to 150 ms, nothing broken besides.
    #[must_use]
    pub fn is_gated(self) -> bool {
        !self.stands_apart() && !matches!(self, Self::Loss10 | Self::Slower200 | Self::Hops | Self::RelayStalls | Self::Uplink)
    }

    /// Why it cannot be played on top of a scenario file.
    #[must_use]
    pub fn refuses_scenario(self) -> Option<&'static str> {
        match self {
            class if class.has_no_twin() => Some("plays a room of its own, in which nothing of a scenario file would be"),
            Self::Skew | Self::Uplink | Self::Rollover => {
                Some("is about those who join, and a scenario file says itself who joins and how")
            }
            Self::Reordering | Self::Hops => Some("says what paths do, and so may a scenario file: say it there"),
            _ => None,
        }
    }

    /// What it does to packets and paths, and what becomes of the trial of a seed.
    pub fn shape(self, trial: &mut Trial, rng: &mut Rng) {
        match self {
            Self::Loss1 => trial.loss = 0.01,
            Self::Loss5 | Self::Hops | Self::ControlLost => trial.loss = 0.05,
            Self::Loss5Slower150 => (trial.loss, trial.diff) = (0.05, 150.0),
            Self::Loss5Jitter30 => (trial.loss, trial.jitter) = (0.05, 30.0),
            Self::Loss10 => trial.loss = 0.1,
            Self::Bursts => trial.burst = true,
            Self::Jitter30 => trial.jitter = 30.0,
            Self::Jitter100 => trial.jitter = 100.0,
            Self::Faster50 => trial.diff = -50.0,
            Self::Slower50 => trial.diff = 50.0,
            Self::Slower150 => trial.diff = 150.0,
            Self::Slower200 => trial.diff = 200.0,
            Self::Toggles | Self::Mutes | Self::TwoJoin => trial.diff = rng.between(0, 40) as f64,
            // Others must be left.
            Self::SomebodyLeaves | Self::SomebodyDies => {
                (trial.diff, trial.participants) = (rng.between(0, 40) as f64, trial.participants.max(3));
            }
            // Only of this direction it is known beforehand when the overlap is.
            Self::Rollover => trial.up = true,
            // What dies must have been in use: these are about one direction only.
            Self::RelayKilled => (trial.up, trial.participants) = (true, rng.between(3, 6) as usize),
            Self::EdgeKilled => (trial.up, trial.participants) = (true, rng.between(3, 4) as usize),
            Self::RoamHard | Self::RoamSoft => (trial.up, trial.participants) = (true, rng.between(2, 4) as usize),
            Self::Sixteen => (trial.up, trial.participants) = (true, 8),
            // A mesh that an uplink bears is a small one.
            Self::Uplink => trial.participants = rng.between(2, 4) as usize,
            Self::RelayBlocked => trial.up = true,
            _ => {}
        }
    }
}
