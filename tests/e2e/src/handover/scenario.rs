//! The chosen scenarios: what is done to a room, as data.

use std::time::Duration;

use crate::fabric::Access;
use crate::link::Conditions;

/// What happens to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It grows by one and moves into the relay.
    Up,
    /// It shrinks by two and moves back.
    Down,
    /// Its relay is killed.
    RelayKilled,
    /// The first two do not reach each other any more.
    EdgeCut,
    /// The first one is in another network, and both are up for a while.
    RoamBoth,
    /// The first one is in another network, and the old one is gone.
    RoamHard,
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub what: What,
    /// Established participants, whose media is looked at.
    pub participants: usize,
    /// One way between two participants, in milliseconds; by the relay it is the same, plus `slower`.
    pub direct_ms: u64,
    /// By how much the way by the relay is longer, in milliseconds, one way.
    pub slower_ms: u64,
    /// Share of media packets lost end to end, the same with and without a change.
    pub loss: f64,
    /// Of every participant's access link, both ways, in kbit/s.
    pub rate: Option<u32>,
    /// The first one's datagrams to and from the relay are dropped from its first picture on.
    pub relay_blocked: bool,
    /// Nobody has a leg to the relay before the change: it is built when it is needed.
    pub cold: bool,
}

const PLAIN: Scenario = Scenario {
    name: "",
    what: What::Up,
    participants: 4,
    direct_ms: 25,
    slower_ms: 0,
    loss: 0.0,
    rate: None,
    relay_blocked: false,
    cold: false,
};

/// All of them.
pub const ALL: [Scenario; 14] = [
    Scenario { name: "up_clean", ..PLAIN },
    Scenario { name: "down_clean", what: What::Down, participants: 3, ..PLAIN },
    Scenario { name: "up_loss1", loss: 0.01, participants: 3, ..PLAIN },
    Scenario { name: "up_loss5", loss: 0.05, participants: 3, ..PLAIN },
    Scenario { name: "down_loss5", what: What::Down, loss: 0.05, participants: 3, ..PLAIN },
    Scenario { name: "up_slower100", slower_ms: 100, participants: 3, ..PLAIN },
    Scenario { name: "down_quicker50", what: What::Down, slower_ms: 50, participants: 3, ..PLAIN },
    Scenario { name: "up_3mbps", rate: Some(3_000), participants: 3, ..PLAIN },
    Scenario { name: "up_cold", cold: true, ..PLAIN },
    Scenario { name: "relay_blocked", relay_blocked: true, ..PLAIN },
    Scenario { name: "relay_killed", what: What::RelayKilled, ..PLAIN },
    Scenario { name: "edge_cut", what: What::EdgeCut, participants: 3, ..PLAIN },
    Scenario { name: "roam_both", what: What::RoamBoth, participants: 3, ..PLAIN },
    Scenario { name: "roam_hard", what: What::RoamHard, participants: 3, ..PLAIN },
];

impl Scenario {
    /// A kill, a partition or a lost network: counts in its own fields only, and has no twin.
    #[must_use]
    pub const fn is_disaster(&self) -> bool {
        !matches!(self.what, What::Up | What::Down)
    }

    /// Within what the goals for gaps speak of.
    #[must_use]
    pub const fn is_gated(&self) -> bool {
        !self.is_disaster() && !self.relay_blocked
    }

    /// From the first captures to what happens: longer than jitter buffers and estimators take to settle. Checks of a leg that cannot be built are
    /// given up after 10 s, so that a cold room has less time.
    #[must_use]
    pub const fn warm_up(&self) -> Duration {
        Duration::from_secs(if self.cold { 4 } else { 7 })
    }

    /// Those who come and go besides.
    #[must_use]
    pub const fn extra(&self) -> usize {
        match self.what {
            What::Up => 1,
            What::Down => 2,
            _ => 0,
        }
    }

    /// The room's limit, that makes it change or not.
    #[must_use]
    pub const fn mesh_max(&self, switch: bool) -> usize {
        let count = self.participants;
        match (self.what, switch) {
            (What::Up, true) | (What::Down, false) => count,
            (What::Up, false) => count + 2,
            (What::Down, true) => count + 1,
            (What::RelayKilled, _) => 2,
            _ => 8,
        }
    }

    /// Between two participants.
    #[must_use]
    pub fn direct(&self) -> Conditions {
        Conditions { delay: Duration::from_millis(self.direct_ms), ..Conditions::default() }
    }

    /// Between a participant and the relay: half the way.
    #[must_use]
    pub fn relay(&self) -> Conditions {
        let whole = Duration::from_millis(self.direct_ms + self.slower_ms);
        Conditions { delay: whole / 2, ..Conditions::default() }
    }

    /// Of each participant.
    #[must_use]
    pub fn access(&self) -> Option<Access> {
        let one = Conditions { rate: Some(self.rate?), ..Conditions::default() };
        Some(Access { up: one, down: one })
    }
}
