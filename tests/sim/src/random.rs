//! Runs drawn from a seed, compared with a model so small that it cannot be wrong: who is there, what they send, and whether any way is open.

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

/// Who must hear whom.
#[derive(Debug, Default)]
struct Model {
    /// By number: whether the microphone is open.
    people: BTreeMap<usize, bool>,
    relay_cut: BTreeSet<usize>,
    direct_cut: BTreeSet<(usize, usize)>,
    relay_dead: bool,
}

impl Model {
    fn must_hear(&self, listener: usize, speaker: usize) -> bool {
        let pair = (listener.min(speaker), listener.max(speaker));
        let relayed = !self.relay_dead && !self.relay_cut.contains(&listener) && !self.relay_cut.contains(&speaker);
        let direct = !self.direct_cut.contains(&pair) && self.people.len() <= PEOPLE;
        self.people.get(&speaker) == Some(&true) && self.people.contains_key(&listener) && (relayed || direct)
    }
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
        compare(runner, &model)?;
        left = left.saturating_sub(REST);
    }
    Ok(runner.outcome())
}

fn transition(runner: &mut Runner, model: &mut Model, rng: &mut Rng) {
    let world = &mut runner.world;
    let people: Vec<usize> = model.people.keys().copied().collect();
    match rng.below(12) {
        0..=2 if people.len() < PEOPLE && !model.relay_dead => join(world, model, rng),
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
            let pair = (a.min(b), a.max(b));
            if a != b {
                let cut = !model.direct_cut.remove(&pair);
                if cut {
                    model.direct_cut.insert(pair);
                }
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
        }
        9 => {
            let end = if rng.chance(0.3) && !model.relay_dead { End::Relay } else { End::Host(*rng.pick(&people)) };
            world.stall(end, Duration::from_millis(rng.between(100, 3_000)));
        }
        10 if !model.relay_dead => {
            world.kill(End::Relay);
            model.relay_dead = true;
        }
        11 if model.relay_dead => {
            world.restart_relay();
            model.relay_dead = false;
        }
        _ => {}
    }
}

fn compare(runner: &Runner, model: &Model) -> Result<(), Failure> {
    let world = &runner.world;
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
                return Err(runner.failure(format!("{} {word} {}, model {model:?}", node.name, publisher.name)));
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
        if !model.relay_dead {
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
        if second % 97 == 96 && !model.relay_dead {
            runner.world.kill(End::Relay);
            model.relay_dead = true;
            restart_in = Some(rng.between(2, 12));
        }
        if let Some(left) = restart_in {
            restart_in = Some(left - 1).filter(|left| *left > 0);
            if restart_in.is_none() {
                runner.world.restart_relay();
                model.relay_dead = false;
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
    if model.relay_dead {
        runner.world.restart_relay();
        model.relay_dead = false;
    }
    runner.pass(REST * 2);
    runner.verdict()?;
    compare(runner, &model)?;
    Ok(runner.outcome())
}
