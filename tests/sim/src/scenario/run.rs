//! Plays a scenario.

use std::collections::BTreeSet;
use std::time::Duration;

use segue_model::{Path, Topology, TrackKind, TrackSource};

use super::{Cut, PathName, Scenario, Step, TopologyName, What};
use crate::net::{End, Plane};
use crate::oracle::{self, Oracle};
use crate::world::relay::policy;
use crate::world::source::SourceSpec;
use crate::world::{JoinOptions, World, WorldConfig};

/// Things that are too dear to look at with every packet are looked at this often.
const INSPECT_EVERY: Duration = Duration::from_millis(500);

/// More than there are people in any run.
const ALL_VOICES: usize = 64;

/// A run that broke something.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    /// Seconds after the beginning.
    pub at: f64,
    pub what: String,
    /// The last that happened.
    pub lines: Vec<String>,
}

/// A run that did not.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub hash: u64,
    /// Of virtual time.
    pub seconds: f64,
    pub packets: u64,
    pub happenings: u64,
    pub handovers: usize,
}

/// Plays steps in a world.
pub struct Runner {
    pub world: World,
    seed: u64,
    next_message: u64,
}

/// What a participant publishes where nothing else is said.
#[must_use]
pub fn source(what: What) -> SourceSpec {
    let (kind, source, fps, kbps) = match what {
        What::Microphone => (TrackKind::Audio, TrackSource::Microphone, 50, vec![32]),
        What::Camera => (TrackKind::Video, TrackSource::Camera, 30, vec![800, 200]),
        What::Screen => (TrackKind::Video, TrackSource::Screen, 5, vec![1_000]),
    };
    SourceSpec { kind, source, fps, kbps, dtx: false, muted: false }
}

impl Runner {
    /// An empty room as the scenario wants it.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64, record: bool) -> Self {
        let mut world = World::new(WorldConfig {
            seed,
            room: scenario.room.config(),
            n_loudest: scenario.room.n_loudest.unwrap_or(ALL_VOICES),
            record,
        });
        let network = &scenario.network;
        if let Some(direct) = &network.direct {
            world.net.direct = direct.clone();
        }
        if let Some(relay) = &network.relay {
            world.net.relay = relay.clone();
        }
        world.net.common = network.common.unwrap_or_default();
        Self { world, seed, next_message: 0 }
    }

    /// Plays all of it.
    ///
    /// # Errors
    /// What did not hold, and what happened before.
    pub fn run(&mut self, scenario: &Scenario) -> Result<Outcome, Failure> {
        for (index, step) in scenario.steps.iter().enumerate() {
            if let Err(what) = self.step(step) {
                return Err(self.failure(format!("step {}: {what}", index + 1)));
            }
            self.verdict()?;
        }
        Ok(self.outcome())
    }

    /// How it went so far.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome {
            seed: self.seed,
            hash: self.world.trace.hash(),
            seconds: (self.world.now - self.world.base).as_secs_f64(),
            packets: self.world.packets,
            happenings: self.world.happenings,
            handovers: self.world.oracle.handovers.len(),
        }
    }

    /// # Errors
    /// What an oracle found.
    pub fn verdict(&mut self) -> Result<(), Failure> {
        Oracle::inspect(&mut self.world);
        match self.world.oracle.verdict().cloned() {
            Some((_, what)) => Err(self.failure(what)),
            None => Ok(()),
        }
    }

    /// A failure at this moment.
    #[must_use]
    pub fn failure(&self, what: String) -> Failure {
        Failure {
            seed: self.seed,
            at: (self.world.now - self.world.base).as_secs_f64(),
            what,
            lines: self.world.trace.lines().map(str::to_owned).collect(),
        }
    }

    /// Lets time pass, looking at everything from time to time.
    pub fn pass(&mut self, time: Duration) {
        let mut left = time;
        while !left.is_zero() && !self.world.oracle.is_broken() {
            let part = left.min(INSPECT_EVERY);
            self.world.run(part);
            Oracle::inspect(&mut self.world);
            left -= part;
        }
    }

    fn end(&self, name: &str) -> Result<End, String> {
        if name == "relay" { Ok(End::Relay) } else { self.at(name).map(End::Host) }
    }

    fn at(&self, name: &str) -> Result<usize, String> {
        self.world.find(name).ok_or_else(|| format!("nobody is called {name}"))
    }

    /// One step.
    ///
    /// # Errors
    /// A sentence: it cannot be done, or does not hold.
    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Join { .. } => return self.join(step),
            Step::Publish { who, what, kbps, fps, dtx } => {
                for name in who {
                    let mut spec = source(*what);
                    spec.kbps = kbps.clone().unwrap_or(spec.kbps);
                    spec.fps = fps.unwrap_or(spec.fps);
                    spec.dtx = *dtx;
                    let at = self.at(name)?;
                    self.world.with(at, |node, now| node.publish(now, spec));
                }
            }
            Step::Unpublish { who, what } => {
                for name in who {
                    let at = self.at(name)?;
                    self.world.with(at, |node, now| node.unpublish(now, source(*what).source));
                }
            }
            Step::Mute { who, what, muted } => {
                for name in who {
                    let at = self.at(name)?;
                    self.world.with(at, |node, now| node.set_muted(now, source(*what).source, *muted));
                }
            }
            Step::Leave { who } => {
                for name in who {
                    let at = self.at(name)?;
                    self.world.with(at, |node, now| node.leave(now));
                }
            }
            Step::Conditions { .. } => return self.set_conditions(step),
            Step::Partition { a, b, cut, one_way } => self.partition(a, b, *cut, *one_way)?,
            Step::Heal {} => self.world.net.heal(),
            Step::Kill { who } => {
                let end = self.end(who)?;
                self.world.kill(end);
            }
            Step::RestartRelay {} => self.world.restart_relay(),
            Step::Stall { who, ms } => {
                let end = self.end(who)?;
                self.world.stall(end, Duration::from_millis(*ms));
            }
            Step::Roam { who, keep_connection, linger_ms } => {
                let at = self.at(who)?;
                match linger_ms {
                    0 => self.world.roam(at, *keep_connection),
                    _ => self.world.roam_softly(at, Duration::from_millis(*linger_ms)),
                }
            }
            Step::DropConnection { who } => {
                let at = self.at(who)?;
                self.world.drop_connection(at);
            }
            Step::DoubleSignals { on } => self.world.double_signals = *on,
            Step::Send { who, count, every_ms } => self.send(who, *count, *every_ms)?,
            Step::Run { ms } => self.pass(Duration::from_millis(*ms)),
            Step::Check { within_ms, .. } => return self.check(step, *within_ms),
        }
        Ok(())
    }

    fn join(&mut self, step: &Step) -> Result<(), String> {
        let Step::Join { who, every_ms, publish, policy: name, skew_ppm, nat, access, dtx } = step else { return Ok(()) };
        let policy = policy(name).ok_or_else(|| format!("there is no policy {name}"))?;
        for name in who {
            let at = self.world.join(JoinOptions { name: name.clone(), policy, skew_ppm: *skew_ppm });
            if let Some(access) = access {
                self.world.net.set_access(End::Host(at), access);
            }
            if let Some(nat) = nat {
                self.world.set_nat(at, *nat);
            }
            for what in publish {
                let mut spec = source(*what);
                spec.dtx = *dtx && spec.kind == TrackKind::Audio;
                self.world.with(at, |node, now| node.publish(now, spec));
            }
            self.pass(Duration::from_millis(*every_ms));
        }
        Ok(())
    }

    fn set_conditions(&mut self, step: &Step) -> Result<(), String> {
        let Step::Conditions { direct, relay, common, path, access } = step else { return Ok(()) };
        if let Some(direct) = direct {
            self.world.net.direct = direct.clone();
        }
        if let Some(relay) = relay {
            self.world.net.relay = relay.clone();
        }
        if let Some(common) = common {
            self.world.net.common = *common;
        }
        if let Some(path) = path {
            let (from, to) = (self.end(&path.from)?, self.end(&path.to)?);
            self.world.net.set_path(from, to, path.conditions.clone());
            if path.both {
                self.world.net.set_path(to, from, path.conditions.clone());
            }
        }
        if let Some(access) = access {
            for name in &access.who {
                let end = self.end(name)?;
                self.world.net.set_access(end, &access.link);
            }
        }
        Ok(())
    }

    fn partition(&mut self, a: &[String], b: &[String], cut: Cut, one_way: bool) -> Result<(), String> {
        let planes: &[Plane] = match cut {
            Cut::All => &[Plane::Media, Plane::Signalling],
            Cut::Media => &[Plane::Media],
            Cut::Signalling => &[Plane::Signalling],
        };
        for from in a {
            for to in b {
                let (from, to) = (self.end(from)?, self.end(to)?);
                for plane in planes {
                    self.world.net.block(*plane, from, to, true);
                    if !one_way {
                        self.world.net.block(*plane, to, from, true);
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, who: &[String], count: u64, every_ms: u64) -> Result<(), String> {
        for _ in 0..count {
            for name in who {
                let at = self.at(name)?;
                self.next_message = self.world.oracle.sent.get(name).map_or(1, |sent| sent.len() as u64 + 1);
                let number = self.next_message;
                if !self.world.send_data(at, number) {
                    return Err(format!("{name} cannot send message {number}"));
                }
            }
            self.pass(Duration::from_millis(every_ms));
        }
        Ok(())
    }

    fn check(&mut self, step: &Step, within_ms: u64) -> Result<(), String> {
        let mut waited = 0;
        loop {
            let found = self.look(step);
            if found.is_empty() {
                return Ok(());
            }
            if waited >= within_ms {
                return Err(found.into_iter().collect::<Vec<_>>().join("; "));
            }
            waited += 100;
            self.pass(Duration::from_millis(100));
        }
    }

    fn look(&self, step: &Step) -> BTreeSet<String> {
        let Step::Check { topology, path, hears_ms, sees_ms, messages, deaf, .. } = step else { return BTreeSet::new() };
        let world = &self.world;
        let mut found = BTreeSet::new();
        if !deaf {
            found.extend(oracle::silences(world, Duration::from_millis(*hears_ms), Duration::from_millis(*sees_ms)));
        }
        let present = || (0..world.nodes.len()).filter(|at| world.is_present(*at)).map(|at| &world.nodes[at]);
        if let Some(name) = topology {
            let wanted = match name {
                TopologyName::Mesh => Topology::Mesh,
                TopologyName::Mixed => Topology::Mixed,
                TopologyName::Relayed => Topology::Relayed,
            };
            let others = present().filter(|node| node.machine.topology() != wanted);
            found.extend(others.map(|node| format!("{} sees a room that is {:?}", node.name, node.machine.topology())));
        }
        if let Some(name) = path {
            let wanted = if *name == PathName::Direct { Path::Direct } else { Path::Relayed };
            for node in present() {
                let edges = node.machine.path_info().into_iter().filter(|edge| edge.path != wanted || edge.moving);
                found.extend(edges.map(|edge| format!("{}: {:?} is {:?}, {}", node.name, edge.edge, edge.path, edge.reason)));
            }
        }
        if *messages {
            for node in present() {
                for (from, sent) in &world.oracle.sent {
                    let last = node.messages.iter().rev().find(|(name, _)| name == from).map(|(_, number)| *number);
                    let first = node.messages.iter().any(|(name, _)| name == from);
                    if *from != node.name && first && last != sent.last().copied() {
                        found.insert(format!("{} has message {last:?} of {from}, not {:?}", node.name, sent.last()));
                    }
                }
            }
        }
        found
    }
}
