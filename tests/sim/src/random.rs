//! Runs drawn from a seed, compared with a model so small that it cannot be wrong: who is there, what they send, and whether any way is open.
//!
//! While the relay is dead nobody can tell others where it is now. Two who had a direct path before, and whom nothing disturbed since, must
//! hear each other; of two others each must see that the other has gone, or itself be told that its call is over: no room is silent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use segue_model::{TopologyPolicy, TrackSource};

use crate::net::{Common, Conditions, End, Plane};
use crate::oracle;
use crate::rng::Rng;
use crate::scenario::{Failure, Outcome, Runner, Scenario, What};
use crate::world::{JoinOptions, World};

/// Length of a random run.
pub const SECONDS: u64 = 120;

/// Length of a run of the soak: a hundred of them are a day.
pub const SOAK_SECONDS: u64 = 864;

/// People in a room at most.
const PEOPLE: usize = 8;

/// Between two looks at who hears whom. Long enough for everything to have come to rest.
const REST: Duration = oracle::LIVENESS;

/// Time in which whoever can be reached by nothing is seen to be gone: a session is held for 30 s.
const PARTING: Duration = Duration::from_secs(30).saturating_add(oracle::LIVENESS);

/// Who must hear whom. Times are since the beginning.
#[derive(Debug, Default)]
struct Model {
    /// By number: whether the microphone is open.
    people: BTreeMap<usize, bool>,
    relay_cut: BTreeSet<usize>,
    direct_cut: BTreeSet<(usize, usize)>,
    /// Since when.
    relay_dead: Option<Duration>,
    /// The relay has been dead at some time: a call may have ended for it.
    relay_died: bool,
    /// When something last happened to somebody's own paths.
    disturbed: BTreeMap<usize, Duration>,
    /// Likewise to the path between two.
    pair_disturbed: BTreeMap<(usize, usize), Duration>,
}

impl Model {
    fn disturb(&mut self, at: usize, now: Duration) {
        self.disturbed.insert(at, now);
    }

    /// What happened while the relay was dead can be mended from now on.
    fn revive(&mut self, now: Duration) {
        if let Some(died) = self.relay_dead.take() {
            let times = self.disturbed.values_mut().chain(self.pair_disturbed.values_mut());
            times.filter(|at| **at > died).for_each(|at| *at = now);
        }
    }

    /// When something last happened to the path between two.
    fn calm_since(&self, a: usize, b: usize) -> Option<Duration> {
        let own = [a, b].into_iter().filter_map(|at| self.disturbed.get(&at));
        own.chain(self.pair_disturbed.get(&pair(a, b))).max().copied()
    }

    fn must_hear(&self, listener: usize, speaker: usize) -> bool {
        let cut = |at| self.relay_cut.contains(&at);
        let direct = !self.direct_cut.contains(&pair(listener, speaker)) && self.people.len() <= PEOPLE;
        let open = match self.relay_dead {
            None => direct || !cut(listener) && !cut(speaker),
            Some(died) => direct && self.calm_since(listener, speaker).is_none_or(|at| at + REST < died),
        };
        open && self.people.get(&speaker) == Some(&true) && self.people.contains_key(&listener)
    }

    /// Nothing can have led from one to the other for so long that they must have noticed.
    fn must_have_parted(&self, a: usize, b: usize, now: Duration) -> bool {
        let Some(died) = self.relay_dead else { return false };
        let direct = !self.direct_cut.contains(&pair(a, b)) && self.people.len() <= PEOPLE;
        let calm = self.calm_since(a, b);
        let lost = !direct || calm.is_some_and(|at| at > died);
        lost && now > calm.map_or(died, |at| at.max(died)) + PARTING
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// A world for a random run.
#[must_use]
pub fn runner(seed: u64, soak: bool) -> Runner {
    let scenario = Scenario::parse("name = 'random'\nstep = []", &|_| None).expect("a scenario without steps");
    let mut runner = Runner::new(&scenario, seed, false);
    let mut rng = Rng::new(seed ^ 0x11e7);
    let net = &mut runner.world.net;
    let ms = |rng: &mut Rng, low, high| rng.between(low, high) as f64;
    net.direct = Conditions { delay_ms: ms(&mut rng, 5, 80), jitter_ms: ms(&mut rng, 0, 20), ..Conditions::default() };
    net.relay = Conditions { delay_ms: ms(&mut rng, 5, 80), jitter_ms: ms(&mut rng, 0, 20), ..Conditions::default() };
    if rng.chance(0.5) && !soak {
        let loss = rng.unit() * 0.05;
        net.direct.loss = loss;
        net.relay.loss = loss;
    }
    if rng.chance(0.3) {
        net.common = Common { loss: rng.unit() * 0.03, ..Common::default() };
    }
    if rng.chance(0.3) {
        net.direct.duplicate = 0.01;
        net.relay.reorder = 0.01;
    }
    runner
}

fn join(world: &mut World, model: &mut Model, rng: &mut Rng) {
    let at = world.nodes.len();
    let skew_ppm = rng.between(0, 400) as i64 - 200;
    let at = world.join(JoinOptions { name: format!("p{at}"), policy: TopologyPolicy::Auto, skew_ppm });
    for what in [What::Microphone, What::Camera] {
        world.with(at, |node, now| node.publish(now, crate::scenario::source(what)));
    }
    model.people.insert(at, true);
    model.disturb(at, world.now - world.base);
}

/// Plays a random run of so many seconds.
///
/// # Errors
/// What did not hold.
pub fn run(runner: &mut Runner, seed: u64, seconds: u64) -> Result<Outcome, Failure> {
    let mut rng = Rng::new(seed);
    let mut model = Model::default();
    for _ in 0..rng.between(2, 5) {
        join(&mut runner.world, &mut model, &mut rng);
        runner.pass(Duration::from_millis(rng.between(0, 800)));
    }
    let mut left = Duration::from_secs(seconds);
    while !left.is_zero() {
        for _ in 0..rng.between(1, 4) {
            transition(runner, &mut model, &mut rng);
            let wait = Duration::from_millis(rng.between(0, 4_000));
            runner.pass(wait);
        }
        runner.pass(REST);
        runner.verdict()?;
        compare(runner, &mut model)?;
        left = left.saturating_sub(REST);
    }
    Ok(runner.outcome())
}

fn transition(runner: &mut Runner, model: &mut Model, rng: &mut Rng) {
    let world = &mut runner.world;
    let people: Vec<usize> = model.people.keys().copied().collect();
    // Where everybody's call is over, nothing is left to happen but a relay for newcomers.
    let what = if people.is_empty() { if model.relay_dead.is_some() { 11 } else { 0 } } else { rng.below(12) };
    match what {
        0..=2 if people.len() < PEOPLE && model.relay_dead.is_none() => join(world, model, rng),
        3 if people.len() > 2 => {
            let at = *rng.pick(&people);
            world.with(at, |node, now| node.leave(now));
            model.people.remove(&at);
        }
        4 => {
            let at = *rng.pick(&people);
            let open = !model.people[&at];
            model.people.insert(at, open);
            world.with(at, |node, now| node.set_muted(now, TrackSource::Microphone, !open));
        }
        5 if people.len() > 1 => {
            let (a, b) = (*rng.pick(&people), *rng.pick(&people));
            if a != b {
                let cut = !model.direct_cut.remove(&pair(a, b));
                if cut {
                    model.direct_cut.insert(pair(a, b));
                }
                model.pair_disturbed.insert(pair(a, b), world.now - world.base);
                for (from, to) in [(a, b), (b, a)] {
                    world.net.block(Plane::Media, End::Host(from), End::Host(to), cut);
                }
            }
        }
        6 => {
            let at = *rng.pick(&people);
            let cut = !model.relay_cut.remove(&at);
            if cut {
                model.relay_cut.insert(at);
            }
            for (from, to) in [(End::Host(at), End::Relay), (End::Relay, End::Host(at))] {
                world.net.block(Plane::Media, from, to, cut);
            }
        }
        7 => {
            let at = *rng.pick(&people);
            world.drop_connection(at);
        }
        8 => {
            let at = *rng.pick(&people);
            world.roam(at, rng.chance(0.5));
            model.disturb(at, world.now - world.base);
        }
        9 => {
            let end = if rng.chance(0.3) && model.relay_dead.is_none() { End::Relay } else { End::Host(*rng.pick(&people)) };
            world.stall(end, Duration::from_millis(rng.between(100, 3_000)));
        }
        10 if model.relay_dead.is_none() => {
            world.kill(End::Relay);
            (model.relay_dead, model.relay_died) = (Some(world.now - world.base), true);
        }
        11 if model.relay_dead.is_some() => {
            world.restart_relay();
            model.revive(world.now - world.base);
        }
        _ => {}
    }
}

fn compare(runner: &Runner, model: &mut Model) -> Result<(), Failure> {
    let world = &runner.world;
    // Whoever was told that its call is over has nobody to hear; only a dead relay is reason enough.
    let over: Vec<_> = model.people.keys().copied().filter(|at| world.nodes[*at].gone).collect();
    for at in over {
        if !model.relay_died {
            return Err(runner.failure(format!("the call of {} is over although the relay never died", world.nodes[at].name)));
        }
        model.people.remove(&at);
    }
    let model = &*model;
    for &listener in model.people.keys() {
        let node = &world.nodes[listener];
        let local = node.clock.local(world.now);
        for &speaker in model.people.keys().filter(|speaker| **speaker != listener) {
            let publisher = &world.nodes[speaker];
            let track = publisher.publications.values().find(|found| found.spec.source == TrackSource::Microphone);
            let last = track.and_then(|track| node.remotes.get(&track.track)).and_then(|remote| remote.played.last);
            let heard = last.is_some_and(|last| local.saturating_duration_since(last.at) < Duration::from_millis(300));
            let must = model.must_hear(listener, speaker);
            let may = model.people[&speaker];
            if must && !heard || !may && heard {
                let word = if must { "must hear" } else { "must not hear" };
                let seen = oracle::explain(world, listener, speaker);
                return Err(runner.failure(format!("{} {word} {}: {seen}, model {model:?}", node.name, publisher.name)));
            }
            let listed =
                publisher.machine.local().is_some_and(|id| node.machine.participants().iter().any(|other| other.id == id));
            if listed && !heard && may && model.must_have_parted(listener, speaker, world.now - world.base) {
                let what = format!("{} must see that {} is gone, model {model:?}", node.name, publisher.name);
                return Err(runner.failure(what));
            }
        }
    }
    Ok(())
}

/// Churn: one joins or leaves every second, the relay dies now and then, addresses change.
///
/// # Errors
/// What did not hold.
pub fn soak(runner: &mut Runner, seed: u64, seconds: u64) -> Result<Outcome, Failure> {
    let mut rng = Rng::new(seed);
    let mut model = Model::default();
    let mut restart_in = None;
    for second in 0..seconds {
        let people: Vec<usize> = model.people.keys().copied().collect();
        if model.relay_dead.is_none() {
            if people.len() < 2 || (people.len() < PEOPLE && rng.chance(0.5)) {
                join(&mut runner.world, &mut model, &mut rng);
            } else {
                let at = *rng.pick(&people);
                model.people.remove(&at);
                if rng.chance(0.2) {
                    runner.world.kill(End::Host(at));
                } else {
                    runner.world.with(at, |node, now| node.leave(now));
                }
            }
        }
        if second % 97 == 96 && model.relay_dead.is_none() {
            runner.world.kill(End::Relay);
            (model.relay_dead, model.relay_died) = (Some(runner.world.now - runner.world.base), true);
            restart_in = Some(rng.between(2, 12));
        }
        if let Some(left) = restart_in {
            restart_in = Some(left - 1).filter(|left| *left > 0);
            if restart_in.is_none() {
                runner.world.restart_relay();
                model.relay_dead = None;
            }
        }
        let people: Vec<usize> = model.people.keys().copied().collect();
        if second % 13 == 12 && !people.is_empty() {
            let at = *rng.pick(&people);
            runner.world.roam(at, rng.chance(0.5));
        }
        runner.pass(Duration::from_secs(1));
        runner.verdict()?;
    }
    if model.relay_dead.is_some() {
        runner.world.restart_relay();
        model.relay_dead = None;
    }
    runner.pass(REST * 2);
    runner.verdict()?;
    compare(runner, &mut model)?;
    Ok(runner.outcome())
}
