//! One comparison: a room, a trigger, a change of path or none.

use std::time::Duration;

use segue_model::{ParticipantId, TrackSource};

use super::compare::{Measured, Side, compare, switches_at_once};
use crate::net::{Access, Burst, Common, Conditions, End, Plane, Rate};
use crate::rng::Rng;
use crate::scenario::{Failure, Runner, Scenario, Step, What, source};
use crate::world::{JoinOptions, World};
use segue_model::TopologyPolicy;

/// One way on a direct path, where the difference of paths leaves room for it.
const DIRECT_MS: f64 = 25.0;

/// Time for a room to come to rest before anything is measured. Longer than a window of the jitter buffers.
const WARM_UP: Duration = Duration::from_secs(14);

/// After the last commit, what is late still counts.
pub const AFTERMATH: Duration = Duration::from_secs(3);

/// As the goal for churn has it.
const CHURN_SECONDS: u64 = 600;

/// Steps in which bytes are counted.
pub const SLICE: Duration = Duration::from_millis(20);

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
    SomebodyLeaves,
    TwoJoin,
    SignallingLost,
    Toggles,
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
    pub const ALL: [Self; 27] = [
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
        Self::TwoJoin,
        Self::SignallingLost,
        Self::Toggles,
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
            Self::TwoJoin => "two_join",
            Self::SignallingLost => "signalling_lost",
            Self::Toggles => "toggles",
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

    pub fn shape(self, trial: &mut Trial, rng: &mut Rng) {
        match self {
            Self::Loss1 => trial.loss = 0.01,
            Self::Loss5 | Self::Hops => trial.loss = 0.05,
            Self::Loss10 => trial.loss = 0.1,
            Self::Bursts => trial.burst = true,
            Self::Jitter30 => trial.jitter = 30.0,
            Self::Jitter100 => trial.jitter = 100.0,
            Self::Faster50 => trial.diff = -50.0,
            Self::Slower50 => trial.diff = 50.0,
            Self::Slower150 => trial.diff = 150.0,
            Self::Slower200 => trial.diff = 200.0,
            Self::Toggles | Self::TwoJoin | Self::SomebodyLeaves => trial.diff = rng.between(0, 40) as f64,
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

/// One comparison.
#[derive(Clone, Debug)]
pub struct Trial {
    pub seed: u64,
    /// Established participants, whose media is looked at.
    pub participants: usize,
    /// From mesh to relay; else back.
    pub up: bool,
    pub class: Class,
    pub loss: f64,
    pub burst: bool,
    pub jitter: f64,
    pub diff: f64,
}

impl Trial {
    /// By how many milliseconds the new path is slower than the old one; 0 where it is not.
    #[must_use]
    pub fn slower(&self) -> f64 {
        if self.up { self.diff.max(0.0) } else { (-self.diff).max(0.0) }
    }

    /// Runs both, and compares.
    ///
    /// # Errors
    /// An oracle was broken.
    pub fn measure(&self, scenario: Option<&Scenario>) -> Result<Measured, Failure> {
        match self.class {
            Class::Sixteen => self.crowd(),
            Class::Churn => self.churn(),
            class if class.has_no_twin() => self.disaster(),
            _ => {
                let own = self.with_people_of(scenario);
                let with = own.side(true, scenario)?;
                let until = with.until;
                let without = own.side_until(false, scenario, Some(until))?;
                Ok(compare(&own, &with, &without))
            }
        }
    }

    fn side(&self, switch: bool, scenario: Option<&Scenario>) -> Result<Side, Failure> {
        self.side_until(switch, scenario, None)
    }

    /// The room's limit that makes it change, or not.
    fn mesh_max(&self, switch: bool) -> usize {
        let count = self.participants;
        match (self.up, switch) {
            (true, true) | (false, false) => count,
            (true, false) => count + 2,
            (false, true) => count + 1,
        }
    }

    fn runner(&self, mesh_max: usize, scenario: Option<&Scenario>) -> Runner {
        let mut plain = Scenario::parse("name = 'bench'\nstep = []", &|_| None).expect("a scenario without steps");
        plain.room = scenario.map(|scenario| scenario.room.clone()).unwrap_or_default();
        (plain.room.mesh_max, plain.room.mesh_max_audio) = (Some(mesh_max), Some(mesh_max));
        // Only what is compared has to be kept.
        let mut runner = Runner::new(&plain, self.seed, self.class != Class::Churn);
        let net = &mut runner.world.net;
        let direct = DIRECT_MS.max(5.0 - self.diff);
        net.direct = Conditions { delay_ms: direct, ..Conditions::default() };
        net.relay = Conditions { delay_ms: (direct + self.diff) / 2.0, ..Conditions::default() };
        let burst = self.burst.then_some(Burst { enter: 0.01, leave: 0.35, loss: 0.6 });
        if self.class == Class::Hops {
            net.direct.loss = self.loss;
            net.relay.loss = 1.0 - (1.0 - self.loss).sqrt();
        } else {
            net.common = Common { loss: self.loss, burst, jitter_ms: self.jitter };
        }
        if self.class == Class::Reordering {
            for path in [&mut net.direct, &mut net.relay] {
                (path.reorder, path.reorder_ms) = (0.05, 25.0);
            }
        }
        if let Some(scenario) = scenario {
            let network = &scenario.network;
            net.direct = network.direct.clone().unwrap_or(net.direct.clone());
            net.relay = network.relay.clone().unwrap_or(net.relay.clone());
            net.common = network.common.unwrap_or(net.common);
        }
        runner
    }

    fn join(&self, world: &mut World, name: &str) {
        let skew_ppm = if self.class == Class::Skew { if world.nodes.len().is_multiple_of(2) { 200 } else { -200 } } else { 0 };
        let at = world.join(JoinOptions { name: name.to_owned(), policy: TopologyPolicy::Auto, skew_ppm });
        if self.class == Class::Uplink {
            world.net.set_access(End::Host(at), &self.access());
        }
        // In a churn it is the room that is looked at, not its pictures.
        let sources: &[What] = if self.class == Class::Churn { &[What::Microphone] } else { &[What::Microphone, What::Camera] };
        for what in sources {
            world.with(at, |node, now| node.publish(now, source(*what)));
        }
    }

    /// Bears voice and one picture for everybody but oneself, and a quarter more.
    fn access(&self) -> Access {
        let copies = (self.participants as u64).saturating_sub(1).max(2);
        Access { up: Rate::kbps(copies * 1_250), ..Access::default() }
    }

    /// Established participants: those of the scenario, where it has any.
    fn with_people_of(&self, scenario: Option<&Scenario>) -> Self {
        let joins = scenario.into_iter().flat_map(|scenario| &scenario.steps);
        let people = joins.map(|step| if let Step::Join { who, .. } = step { who.len() } else { 0 }).sum::<usize>();
        Self { participants: if people > 1 { people } else { self.participants }, ..self.clone() }
    }

    fn side_until(&self, switch: bool, scenario: Option<&Scenario>, until: Option<Duration>) -> Result<Side, Failure> {
        let mut runner = self.runner(self.mesh_max(switch), scenario);
        // What a scenario checks is said of the room it was written for, not of one whose relay is configured to move or not to.
        for step in scenario.iter().flat_map(|scenario| &scenario.steps).filter(|step| !matches!(step, Step::Check { .. })) {
            runner.step(step).map_err(|what| runner.failure(what))?;
        }
        let extra = if self.up { 0 } else { 2 };
        for at in runner.world.nodes.len()..self.participants + extra {
            self.join(&mut runner.world, &format!("n{at}"));
            runner.pass(Duration::from_millis(120));
        }
        runner.pass(WARM_UP);
        let mut side = Side::new(self, &runner.world);
        self.trigger(&mut runner, &mut side, until)?;
        runner.verdict()?;
        side.finish(self, &runner.world);
        Ok(side)
    }

    /// The newcomer comes or those too many leave; then until everything has moved and come to rest, or as long as the other run took.
    fn trigger(&self, runner: &mut Runner, side: &mut Side, until: Option<Duration>) -> Result<(), Failure> {
        if self.class == Class::RelayBlocked {
            for (from, to) in [(End::Host(0), End::Relay), (End::Relay, End::Host(0))] {
                runner.world.net.block(Plane::Media, from, to, true);
            }
            // Until everybody knows: the relay's leg of this one is suspect.
            runner.pass(Duration::from_secs(2));
        }
        side.begin(&runner.world);
        if self.up {
            self.join(&mut runner.world, "late");
            if self.class == Class::TwoJoin {
                self.join(&mut runner.world, "later");
            }
        } else {
            for name in [self.participants, self.participants + 1] {
                runner.world.with(name, |node, now| node.leave(now));
            }
            // The room must have been small for so long.
            self.quiet(runner, side, runner.world.config.room.topology.down_hold);
        }
        let started = runner.world.now;
        let mut disturbed = false;
        loop {
            self.quiet(runner, side, SLICE);
            runner.verdict()?;
            let time = runner.world.now - started;
            if !disturbed && time >= self.disturbance() {
                disturbed = true;
                self.disturb(runner);
            }
            let over = match until {
                Some(until) => runner.world.now - runner.world.base >= until,
                None => side.is_settled(&runner.world, time),
            };
            if over {
                break;
            }
        }
        Ok(())
    }

    fn quiet(&self, runner: &mut Runner, side: &mut Side, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let part = left.min(SLICE);
            runner.world.run(part);
            side.sample(&runner.world);
            left -= part;
        }
        if side.sends_message(&runner.world) {
            let number = runner.world.oracle.sent.get("n0").map_or(1, |sent| sent.len() as u64 + 1);
            runner.world.send_data(0, number);
        }
    }

    /// When something goes wrong besides: in the middle of the overlap.
    fn disturbance(&self) -> Duration {
        Duration::from_millis(150 + (self.seed * 37) % 200)
    }

    fn disturb(&self, runner: &mut Runner) {
        let world = &mut runner.world;
        let last = self.participants - 1;
        match self.class {
            Class::RelayStalls => world.stall(End::Relay, Duration::from_secs(2)),
            Class::SomebodyLeaves if self.participants > 2 => world.with(last, |node, now| node.leave(now)),
            Class::SignallingLost => world.drop_connection(0),
            Class::Toggles => {
                world.with(0, |node, now| node.set_muted(now, TrackSource::Camera, true));
                // A screen asks for the relay.
                if self.up {
                    world.with(1, |node, now| node.publish(now, source(What::Screen)));
                }
            }
            _ => {}
        }
    }

    /// What dies is measured by itself: how long until voice and picture are back.
    fn disaster(&self) -> Result<Measured, Failure> {
        let relayed = self.class == Class::RelayKilled;
        let mut runner = self.runner(if relayed { 2 } else { 8 }, None);
        for at in 0..self.participants {
            self.join(&mut runner.world, &format!("n{at}"));
            runner.pass(Duration::from_millis(120));
        }
        runner.pass(WARM_UP + Duration::from_millis(self.seed % 200));
        let at = runner.world.now;
        let world = &mut runner.world;
        match self.class {
            Class::RelayKilled => world.kill(End::Relay),
            Class::RoamHard => world.roam(0, false),
            Class::RoamSoft => world.roam_softly(0, Duration::from_secs(3)),
            _ => {
                for (from, to) in [(End::Host(0), End::Host(1)), (End::Host(1), End::Host(0))] {
                    world.net.block(Plane::Media, from, to, true);
                }
            }
        }
        runner.pass(Duration::from_secs(12));
        runner.verdict()?;
        Ok(super::compare::outage(self, &runner.world, at))
    }

    /// A mesh of eight that eight more join: how long the eight take to move.
    fn crowd(&self) -> Result<Measured, Failure> {
        let mut runner = self.runner(self.participants, None);
        for at in 0..self.participants {
            self.join(&mut runner.world, &format!("n{at}"));
            runner.pass(Duration::from_millis(120));
        }
        runner.pass(WARM_UP);
        let mut side = Side::new(self, &runner.world);
        side.begin(&runner.world);
        (0..8).for_each(|at| self.join(&mut runner.world, &format!("late{at}")));
        let started = runner.world.now;
        while !side.is_settled(&runner.world, runner.world.now - started) {
            self.quiet(&mut runner, &mut side, SLICE);
            runner.verdict()?;
        }
        side.finish(self, &runner.world);
        Ok(side.alone(self))
    }

    /// One joins or leaves every second for ten minutes.
    fn churn(&self) -> Result<Measured, Failure> {
        let mut runner = self.runner(4, None);
        let mut rng = Rng::new(self.seed);
        let (mut people, mut left): (Vec<usize>, Vec<(ParticipantId, Duration)>) = (Vec::new(), Vec::new());
        let mut ghost = Duration::ZERO;
        for _ in 0..CHURN_SECONDS {
            let now = runner.world.now - runner.world.base;
            if people.len() < 2 || (people.len() < 8 && rng.chance(0.5)) {
                people.push(runner.world.nodes.len());
                self.join(&mut runner.world, &format!("n{now:?}"));
            } else {
                let at = people.swap_remove(rng.below(people.len() as u64) as usize);
                left.extend(runner.world.nodes[at].machine.local().map(|id| (id, now)));
                runner.world.with(at, |node, now| node.leave(now));
            }
            runner.pass(Duration::from_secs(1));
            runner.verdict()?;
            let now = runner.world.now - runner.world.base;
            for other in people.iter().flat_map(|at| runner.world.nodes[*at].machine.participants()) {
                let since = left.iter().find(|(id, _)| *id == other.id).map(|(_, since)| now - *since);
                ghost = ghost.max(since.unwrap_or_default());
            }
        }
        let times: Vec<_> = runner.world.oracle.handovers.iter().map(|(at, _)| *at - runner.world.base).collect();
        let (ghost_ms, switches) = (Some(ghost.as_secs_f64() * 1e3), switches_at_once(&times));
        Ok(Measured { ghost_ms, switches, moved: true, ..Measured::default() })
    }
}
