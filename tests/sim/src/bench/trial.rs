//! One comparison: a room, a trigger, a change of path or none.

use std::collections::BTreeMap;
use std::time::Duration;

use segue_model::{ParticipantId, TopologyPolicy, TrackSource};

use super::class::Class;
use super::compare::{Measured, compare, outage};
use super::side::{SENDERS, Side, lost_and_doubled, switches_at_once};
use crate::net::{Access, Burst, Common, Conditions, End, Plane, Rate};
use crate::rng::Rng;
use crate::scenario::{Failure, Runner, Scenario, Step, What, source};
use crate::world::{JoinOptions, World};

/// One way on a direct path, where the difference of paths leaves room for it.
const DIRECT_MS: f64 = 25.0;

/// Time for a room to come to rest before anything is measured. Longer than a window of the jitter buffers.
const WARM_UP: Duration = Duration::from_secs(14);

/// How much longer it may take to be where the trigger is to find it: the interval between handovers, and what a scenario left behind.
const READY_WITHIN: Duration = Duration::from_secs(45);
const READY_LOOK: Duration = Duration::from_millis(500);

/// After the last commit, what is late still counts.
pub const AFTERMATH: Duration = Duration::from_secs(3);

/// How long a room is looked at after a disaster: as long is the outage of an edge that does not come back.
pub const WATCHED: Duration = Duration::from_secs(12);

/// As the goal for churn has it.
const CHURN_SECONDS: u64 = 600;

/// Messages of a churn that are this old must have come to whoever was there so long before they were sent.
const CHURN_GRACE: Duration = Duration::from_secs(5);

/// Steps in which bytes are counted.
pub const SLICE: Duration = Duration::from_millis(20);

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

/// What both runs of a comparison agree on beforehand.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// The limit of a mesh in the run that moves: nothing before the trigger goes beyond it.
    limit: usize,
    /// The limit that keeps the twin where it is.
    twin: usize,
}

impl Trial {
    fn plan(&self, scenario: Option<&Scenario>) -> Plan {
        let (most, last) = scenario.map_or((0, 0), Scenario::people);
        let count = if last > 1 { last } else { self.participants };
        if self.up {
            let limit = most.max(count);
            Plan { limit, twin: limit + 2 }
        } else {
            Plan { limit: most.max(count + 1), twin: count }
        }
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
                let plan = self.plan(scenario);
                let with = self.side(plan, scenario, None)?;
                let without = self.side(plan, scenario, Some(&with))?;
                Ok(compare(self, &with, &without))
            }
        }
    }

    fn runner(&self, mesh_max: usize, scenario: Option<&Scenario>) -> Runner {
        let mut plain = Scenario::parse("name = 'bench'\nstep = []", &|_| None).expect("a scenario without steps");
        if let Some(scenario) = scenario {
            plain.room = scenario.room.clone();
            // The room is to be moved by the trigger and not by what is on its screens, unless the file says that it is.
            plain.room.relay_for_screens = plain.room.relay_for_screens.or(Some(false));
        }
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
            net.common = Common { burst, jitter_ms: self.jitter, ..Common::default() };
        } else {
            let control_loss = if self.class == Class::ControlLost { self.loss } else { 0.0 };
            net.common = Common { loss: self.loss, burst, jitter_ms: self.jitter, control_loss };
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
        if self.class == Class::Rollover {
            let trigger = JOIN_EVERY * self.participants as u32 + WARM_UP;
            world.nodes[at].rollover = Some(world.base + trigger + INTO_OVERLAP);
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

    /// One of the two: the run that moves, or the twin of one.
    fn side(&self, plan: Plan, scenario: Option<&Scenario>, first: Option<&Side>) -> Result<Side, Failure> {
        let mut runner = self.runner(if first.is_some() { plan.twin } else { plan.limit }, scenario);
        // What a scenario checks is said of the room it was written for, not of one whose relay is configured to move or not to.
        for step in scenario.iter().flat_map(|scenario| &scenario.steps).filter(|step| !matches!(step, Step::Check { .. })) {
            runner.step(step).map_err(|what| runner.failure(what))?;
        }
        let present = |world: &World| (0..world.nodes.len()).filter(|at| world.is_present(*at)).collect::<Vec<_>>();
        let there = present(&runner.world).len();
        if there < 2 {
            self.settle_in(&mut runner, self.participants.saturating_sub(there));
        }
        let established = first.map_or_else(|| present(&runner.world), |first| first.established.clone());
        let movers = first.map_or_else(|| (plan.limit + 1).saturating_sub(established.len()).max(1), |first| first.movers);
        let extras = runner.world.nodes.len();
        if !self.up {
            self.settle_in(&mut runner, movers);
        }
        runner.pass(WARM_UP);
        let mut side = Side::new(self, &runner.world, established, movers);
        self.wait(&mut runner, &side, first)?;
        self.trigger(&mut runner, &mut side, extras, first)?;
        runner.verdict()?;
        side.finish(self, &runner.world);
        Ok(side)
    }

    /// So many join one after another.
    fn settle_in(&self, runner: &mut Runner, count: usize) {
        for _ in 0..count {
            let name = fresh_name(&runner.world, &format!("n{}", runner.world.nodes.len()));
            self.join(&mut runner.world, &name);
            runner.pass(JOIN_EVERY);
        }
    }

    /// Until the room is where the trigger is to find it, or clearly never will be; the twin as long as the other.
    fn wait(&self, runner: &mut Runner, side: &Side, first: Option<&Side>) -> Result<(), Failure> {
        runner.verdict()?;
        // The way to the relay is cut a while before the trigger.
        let head = if self.class == Class::RelayBlocked { BLOCKED_BEFORE } else { Duration::ZERO };
        match first {
            Some(first) => runner.pass((first.triggered() - head).saturating_sub(runner.world.now - runner.world.base)),
            None => {
                let until = runner.world.now + READY_WITHIN;
                while !side.is_ready(self, &runner.world) && runner.world.now < until {
                    runner.pass(READY_LOOK);
                }
            }
        }
        runner.verdict()
    }

    /// The newcomers come or those too many leave; then until everything has moved and come to rest, or as long as the other run took.
    fn trigger(&self, runner: &mut Runner, side: &mut Side, extras: usize, first: Option<&Side>) -> Result<(), Failure> {
        if self.class == Class::RelayBlocked {
            let end = End::Host(side.established.first().copied().unwrap_or(0));
            for (from, to) in [(end, End::Relay), (End::Relay, end)] {
                runner.world.net.block(Plane::Media, from, to, true);
            }
            // Until everybody knows: the relay's leg of this one is suspect.
            runner.pass(BLOCKED_BEFORE);
        }
        side.begin(&runner.world);
        if self.up {
            for _ in 0..side.movers {
                let name = fresh_name(&runner.world, "late");
                self.join(&mut runner.world, &name);
            }
            if self.class == Class::TwoJoin {
                let name = fresh_name(&runner.world, "later");
                self.join(&mut runner.world, &name);
            }
        } else {
            for at in extras..extras + side.movers {
                runner.world.with(at, |node, now| node.leave(now));
            }
            // The room must have been small for so long.
            self.quiet(runner, side, runner.world.config.room.topology.down_hold);
        }
        let started = runner.world.now;
        loop {
            self.quiet(runner, side, SLICE);
            runner.verdict()?;
            let time = runner.world.now - started;
            self.disturb(runner, side, time, first);
            let over = match first.map(|first| first.until) {
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
            say(&mut runner.world, side);
            left -= part;
        }
    }

    /// When something goes wrong besides: in the middle of the overlap, or in each state in turn; in the twin at the same time.
    fn is_disturbed(&self, world: &World, side: &Side, time: Duration, first: Option<&Side>) -> bool {
        match (first, self.class) {
            (Some(first), _) => first.disturbed.is_some_and(|at| world.now - world.base >= at),
            (None, Class::SomebodyLeaves | Class::SomebodyDies) => {
                side.has_reached(world, self.seed / Class::ALL.len() as u64 % STATES) || time >= AFTERMATH
            }
            _ => time >= Duration::from_millis(150 + (self.seed * 37) % 200),
        }
    }

    fn disturb(&self, runner: &mut Runner, side: &mut Side, time: Duration, first: Option<&Side>) {
        let now = runner.world.now - runner.world.base;
        match side.disturbed {
            None if self.is_disturbed(&runner.world, side, time, first) => {
                side.disturbed = Some(now);
                self.go_wrong(&mut runner.world, side);
            }
            Some(at) if self.class == Class::Mutes && !side.mended && now >= at + MUTED => {
                side.mended = true;
                mute(&mut runner.world, side, false);
            }
            _ => {}
        }
    }

    fn go_wrong(&self, world: &mut World, side: &Side) {
        let [first, second, last] = match side.established.as_slice() {
            [first, second] => [*first, *second, *second],
            [first, second, .., last] => [*first, *second, *last],
            _ => return,
        };
        match self.class {
            Class::RelayStalls => world.stall(End::Relay, Duration::from_secs(2)),
            Class::SomebodyLeaves if side.established.len() > 2 => world.with(last, |node, now| node.leave(now)),
            Class::SomebodyDies if side.established.len() > 2 => world.kill(End::Host(last)),
            Class::SignallingLost => world.drop_connection(first),
            Class::Mutes => mute(world, side, true),
            Class::Toggles => {
                world.with(first, |node, now| node.set_muted(now, TrackSource::Camera, true));
                // A screen asks for the relay.
                if self.up {
                    world.with(second, |node, now| node.publish(now, source(What::Screen)));
                }
            }
            _ => {}
        }
    }

    /// What dies is measured by itself: how long until voice and picture are back.
    fn disaster(&self) -> Result<Measured, Failure> {
        let relayed = self.class == Class::RelayKilled;
        let mut runner = self.runner(if relayed { 2 } else { 8 }, None);
        self.settle_in(&mut runner, self.participants);
        runner.pass(WARM_UP + Duration::from_millis(self.seed % 200));
        runner.verdict()?;
        let at = runner.world.now;
        let mut side = Side::new(self, &runner.world, (0..self.participants).collect(), 0);
        side.begin(&runner.world);
        let world = &mut runner.world;
        // Some messages are under way when it happens.
        say(world, &mut side);
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
        self.quiet(&mut runner, &mut side, WATCHED);
        runner.verdict()?;
        side.collect(&runner.world);
        side.count_messages(&runner.world);
        side.look_for_lost(&runner.world);
        Ok(outage(&side, &runner.world, at))
    }

    /// A mesh of eight that eight more join: how long the eight take to move.
    fn crowd(&self) -> Result<Measured, Failure> {
        let mut runner = self.runner(self.participants, None);
        self.settle_in(&mut runner, self.participants);
        runner.pass(WARM_UP);
        let mut side = Side::new(self, &runner.world, (0..self.participants).collect(), 8);
        side.begin(&runner.world);
        (0..8).for_each(|at| self.join(&mut runner.world, &format!("late{at}")));
        let started = runner.world.now;
        while !side.is_settled(&runner.world, runner.world.now - started) {
            self.quiet(&mut runner, &mut side, SLICE);
            runner.verdict()?;
        }
        side.finish(self, &runner.world);
        Ok(Measured::alone(&side))
    }

    /// One joins or leaves every second for ten minutes.
    fn churn(&self) -> Result<Measured, Failure> {
        let mut runner = self.runner(4, None);
        let mut rng = Rng::new(self.seed);
        let (mut people, mut left): (Vec<usize>, Vec<(ParticipantId, Duration)>) = (Vec::new(), Vec::new());
        let (mut ghost, mut messages) = (Duration::ZERO, Messages::default());
        for _ in 0..CHURN_SECONDS {
            let now = runner.world.now - runner.world.base;
            if people.len() < 2 || (people.len() < 8 && rng.chance(0.5)) {
                messages.joined.insert(runner.world.nodes.len(), now);
                people.push(runner.world.nodes.len());
                self.join(&mut runner.world, &format!("n{now:?}"));
            } else {
                let at = people.swap_remove(rng.below(people.len() as u64) as usize);
                left.extend(runner.world.nodes[at].machine.local().map(|id| (id, now)));
                messages.check(&runner.world, &[at], now);
                runner.world.with(at, |node, now| node.leave(now));
            }
            people.iter().take(SENDERS).for_each(|at| messages.say(&mut runner.world, *at, now));
            runner.pass(Duration::from_secs(1));
            runner.verdict()?;
            let now = runner.world.now - runner.world.base;
            for other in people.iter().flat_map(|at| runner.world.nodes[*at].machine.participants()) {
                let since = left.iter().find(|(id, _)| *id == other.id).map(|(_, since)| now - *since);
                ghost = ghost.max(since.unwrap_or_default());
            }
        }
        messages.check(&runner.world, &people, runner.world.now - runner.world.base);
        let times: Vec<_> = runner.world.oracle.handovers.iter().map(|(at, _)| *at - runner.world.base).collect();
        let mut side = Side::new(self, &runner.world, people, 0);
        side.look_for_lost(&runner.world);
        // Whoever came in the last second is not there yet: who hears whom is looked at in other classes.
        side.silent.clear();
        Ok(Measured {
            ghost_ms: Some(ghost.as_secs_f64() * 1e3),
            switches: switches_at_once(&times),
            messages_sent: messages.sent.len() as u64,
            messages_lost: messages.lost,
            messages_doubled: messages.doubled,
            committed: true,
            moved: true,
            ..Measured::alone(&side)
        })
    }
}

/// States of a change in which somebody leaves or dies: see [`Side::has_reached`].
const STATES: u64 = 4;

/// How long cameras and microphones are muted: shorter than a change takes.
const MUTED: Duration = Duration::from_millis(300);

/// From the decision to the middle of the overlap.
const INTO_OVERLAP: Duration = Duration::from_millis(250);

/// Between two of those who are there first.
const JOIN_EVERY: Duration = Duration::from_millis(120);

/// Both sources of the first, the voice of the second.
fn mute(world: &mut World, side: &Side, muted: bool) {
    let of = [(0, TrackSource::Camera), (0, TrackSource::Microphone), (1, TrackSource::Microphone)];
    for (place, source) in of {
        if let Some(at) = side.established.get(place).copied() {
            world.with(at, |node, now| node.set_muted(now, source, muted));
        }
    }
}

/// How long before the trigger somebody's way to the relay is cut.
const BLOCKED_BEFORE: Duration = Duration::from_secs(2);

/// A name nobody has.
fn fresh_name(world: &World, wish: &str) -> String {
    let mut name = wish.to_owned();
    while world.find(&name).is_some() {
        name.push('+');
    }
    name
}

/// Those whose turn it is send a reliable message.
fn say(world: &mut World, side: &mut Side) {
    for at in side.message_senders(world) {
        say_next(world, at);
    }
}

/// The next message of a participant; its number, where it was taken.
fn say_next(world: &mut World, at: usize) -> Option<u64> {
    let number = world.oracle.sent.get(&world.nodes[at].name).map_or(1, |sent| sent.len() as u64 + 1);
    world.send_data(at, number).then_some(number)
}

/// Reliable messages of a room in which people come and go.
#[derive(Default)]
struct Messages {
    joined: BTreeMap<usize, Duration>,
    /// Who sent which, and when.
    sent: Vec<(usize, u64, Duration)>,
    lost: u64,
    doubled: u64,
}

impl Messages {
    fn say(&mut self, world: &mut World, at: usize, now: Duration) {
        self.sent.extend(say_next(world, at).map(|number| (at, number, now)));
    }

    /// What the given ones should have got by now: all that was sent when both had been there for a while, a while ago.
    fn check(&mut self, world: &World, people: &[usize], now: Duration) {
        let since = |at: usize| self.joined.get(&at).map(|joined| *joined + CHURN_GRACE);
        let (mut lost, mut doubled) = (0, 0);
        for &at in people {
            for sender in self.joined.keys().copied().filter(|sender| *sender != at) {
                let Some(from) = since(at).max(since(sender)) else { continue };
                let due = self.sent.iter().filter(|(by, _, when)| *by == sender && *when >= from && *when + CHURN_GRACE <= now);
                let due: Vec<u64> = due.map(|(_, number, _)| *number).collect();
                let name = &world.nodes[sender].name;
                let got = world.nodes[at].messages.iter().filter(|(by, _)| by == name).map(|(_, number)| *number);
                let (missing, again) = lost_and_doubled(&due, &got.collect::<Vec<_>>());
                (lost, doubled) = (lost + missing, doubled + again);
            }
        }
        (self.lost, self.doubled) = (self.lost + lost, self.doubled + doubled);
    }
}
