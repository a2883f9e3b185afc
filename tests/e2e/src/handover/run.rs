//! One run: a room is built, something happens to it, and everything that was played is kept.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use segue::{LegEnd, ParticipantId, Path, Room, TrackKind};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::caller::{Caller, NAMES, Told};
use super::relay::RelayProcess;
use super::scenario::{Scenario, What};
use crate::fabric::{End, Fabric, Source, Wire};

/// From the last publication to the first captures.
const BEFORE_START: Duration = Duration::from_millis(300);

/// After the last commit, what is late still counts.
pub const AFTERMATH: Duration = Duration::from_secs(3);

/// A change that is not over by then never will be.
const LONGEST: Duration = Duration::from_secs(15);

/// How long a room is watched after a disaster.
const DISASTER: Duration = Duration::from_secs(8);

/// How long a room may take to be ready on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the last messages may take to arrive.
const LAST_MESSAGES: Duration = Duration::from_secs(4);

/// Between two looks at edges and bytes, between two messages, and between two looks at what is waited for.
const SLICE: Duration = Duration::from_millis(20);
const MESSAGES: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(50);

/// What was seen at one look.
#[derive(Clone, Debug)]
pub struct Slice {
    pub at: Instant,
    /// Bytes each established participant has sent so far.
    pub sent: Vec<u64>,
    /// Some edge of theirs carried media twice.
    pub moving: bool,
}

/// A track that is looked at: speaker, id, kind and how its timestamps count.
pub type Sent = (usize, u16, TrackKind, Source);

/// Everything of one run.
pub struct Side {
    pub callers: Vec<Caller>,
    pub sources: Vec<Sent>,
    /// The first captures.
    pub start: Instant,
    /// What happened, happened then.
    pub trigger: Instant,
    pub until: Instant,
    pub slices: Vec<Slice>,
    pub last_commit: Option<Instant>,
    /// Edges of established participants that are not where they were to go.
    pub unmoved: usize,
    /// Asked for by established participants, of each other, since the trigger.
    pub keyframes: u64,
    pub messages_sent: u32,
    /// Captures that came too late.
    pub late: u64,
    /// Packets lost by their fate, of how many; and datagrams dropped because their way was cut.
    pub lost: (u64, u64),
    pub cut: u64,
}

/// What was seen so far.
type Slices = Arc<Mutex<Vec<Slice>>>;

struct Stage<'a> {
    scenario: &'a Scenario,
    relay: RelayProcess,
    fabric: Fabric,
    wires: Vec<Wire>,
    callers: Vec<Caller>,
    sources: Vec<Sent>,
    late: Arc<AtomicU64>,
    said: Arc<AtomicU32>,
    quiet: Arc<AtomicBool>,
}

/// Plays a scenario, with the change or without it; without it for as long as the other run took from its first captures.
///
/// # Errors
/// What did not come about, in words.
pub async fn play(scenario: &Scenario, switch: bool, seed: u64, length: Option<Duration>) -> Result<Side, String> {
    let mut stage = Stage::build(scenario, switch, seed).await?;
    let many = scenario.participants + if scenario.what == What::Down { scenario.extra() } else { 0 };
    for at in 0..many {
        stage.join(at).await?;
    }
    stage.legs_are_up().await?;
    for at in 0..many {
        stage.publish(at).await?;
    }
    let start = Instant::now() + BEFORE_START;
    let late = stage.late.clone();
    stage.callers.iter_mut().for_each(|caller| caller.begin(start, &late));
    let slices = Slices::default();
    let tasks = [stage.sample(slices.clone()), stage.talk()];
    let before = if matches!(scenario.what, What::Down | What::RelayKilled) { Path::Relayed } else { Path::Direct };
    stage.settles_on(before).await?;
    if scenario.relay_blocked {
        stage.fabric.network(|network| network.block(End::Host(0), End::Relay, true));
    }
    sleep_until((start + scenario.warm_up()).into()).await;

    let keyframes = stage.keyframes().await;
    let trigger = Instant::now();
    stage.happen().await?;
    let last_commit = match length {
        Some(length) => {
            sleep_until((start + length).into()).await;
            None
        }
        None => stage.comes_to_rest(trigger, &slices).await,
    };
    let until = Instant::now();
    let keyframes = stage.keyframes().await.saturating_sub(keyframes);
    let unmoved = stage.not_on(if before == Path::Direct { Path::Relayed } else { Path::Direct });
    stage.messages_arrive().await;
    tasks.iter().for_each(JoinHandle::abort);
    for caller in &stage.callers {
        caller.leave().await;
    }
    let (lost, cut) = stage.fabric.network(|network| ((network.fates.lost, network.fates.drawn), network.cut));
    Ok(Side {
        start,
        trigger,
        until,
        slices: std::mem::take(&mut slices.lock().unwrap_or_else(PoisonError::into_inner)),
        last_commit,
        unmoved,
        keyframes,
        messages_sent: stage.said.load(Ordering::Relaxed),
        late: stage.late.load(Ordering::Relaxed),
        lost,
        cut,
        callers: stage.callers,
        sources: stage.sources,
    })
}

impl<'a> Stage<'a> {
    async fn build(scenario: &'a Scenario, switch: bool, seed: u64) -> Result<Self, String> {
        let relay = RelayProcess::start(scenario.mesh_max(switch)).await?;
        let fabric = Fabric::before_relay(relay.media_port);
        let everybody = scenario.participants + scenario.extra();
        fabric.network(|network| {
            (network.direct, network.relay) = (scenario.direct(), scenario.relay());
            (network.fates.loss, network.fates.seed) = (scenario.loss, seed);
            for at in 0..everybody {
                if let Some(access) = scenario.access() {
                    network.set_access(at, access);
                }
                network.block(End::Host(at), End::Relay, scenario.cold);
            }
        });
        let mut wires = Vec::new();
        for _ in 0..everybody {
            wires.push(Wire::start(relay.http, scenario.relay().delay).await);
        }
        Ok(Self {
            scenario,
            relay,
            fabric,
            wires,
            callers: Vec::new(),
            sources: Vec::new(),
            late: Arc::default(),
            said: Arc::default(),
            quiet: Arc::default(),
        })
    }

    async fn join(&mut self, at: usize) -> Result<(), String> {
        let caller = Caller::join(at, self.wires[at].address(), self.relay.token(at), &self.fabric).await?;
        self.callers.push(caller);
        Ok(())
    }

    async fn publish(&mut self, at: usize) -> Result<(), String> {
        let tracks = self.callers[at].publish().await?;
        // Those who come and go are not looked at, and lose nothing.
        if at < self.scenario.participants {
            self.fabric.network(|network| tracks.iter().for_each(|(track, _, source)| network.fates.know(*track, *source)));
            self.sources.extend(tracks.into_iter().map(|(track, kind, source)| (at, track, kind, source)));
        }
        Ok(())
    }

    fn established(&self) -> &[Caller] {
        &self.callers[..self.scenario.participants]
    }

    fn ids(&self) -> Vec<ParticipantId> {
        self.established().iter().map(|caller| caller.room.local_participant().id()).collect()
    }

    /// Every pair has a direct leg, and everybody two to the relay, unless those are to be built later.
    async fn legs_are_up(&self) -> Result<(), String> {
        let others = self.callers.len() - 1;
        let until = Instant::now() + PATIENCE;
        for caller in &self.callers {
            loop {
                let stats = caller.room.stats().await.map_err(|error| error.to_string())?;
                let up = |direct: bool| {
                    stats.legs.iter().filter(|leg| leg.up && matches!(leg.end, LegEnd::Peer(_)) == direct).count()
                };
                if up(true) == others && (self.scenario.cold || up(false) == 2) {
                    break;
                }
                if Instant::now() > until {
                    return Err(format!("{} never had all legs: {:?}", NAMES[caller.at], stats.legs));
                }
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Edges among the established that are not on a path.
    fn not_on(&self, path: Path) -> usize {
        let ids = self.ids();
        let ours = |id: &ParticipantId| ids.contains(id);
        let edges = self.established().iter().flat_map(|caller| caller.room.path_info());
        let edges = edges.filter(|edge| ours(&edge.edge.publisher) && ours(&edge.edge.subscriber));
        edges.filter(|edge| edge.path != path || edge.moving).count()
    }

    async fn settles_on(&self, path: Path) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while self.not_on(path) > 0 {
            if Instant::now() > until {
                return Err(format!("{} edges never were {path:?}", self.not_on(path)));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn happen(&mut self) -> Result<(), String> {
        match self.scenario.what {
            What::Up => {
                if self.scenario.cold {
                    let everybody = self.scenario.participants + self.scenario.extra();
                    let unblock = |at| self.fabric.network(|network| network.block(End::Host(at), End::Relay, false));
                    (0..everybody).for_each(unblock);
                }
                let at = self.scenario.participants;
                self.join(at).await?;
                self.publish(at).await?;
                let late = self.late.clone();
                self.callers[at].begin(Instant::now(), &late);
            }
            What::Down => {
                for caller in &self.callers[self.scenario.participants..] {
                    caller.leave().await;
                }
            }
            What::RelayKilled => self.relay.kill()?,
            What::EdgeCut => self.fabric.network(|network| network.block(End::Host(0), End::Host(1), true)),
            What::RoamBoth => self.fabric.roam(0, true),
            What::RoamHard => {
                self.fabric.roam(0, false);
                self.wires[0].tear();
            }
        }
        Ok(())
    }

    /// Until everything that was to move has, some time ago; or as long as a disaster is watched. Gives the last commit.
    async fn comes_to_rest(&self, trigger: Instant, slices: &Slices) -> Option<Instant> {
        if self.scenario.is_disaster() {
            sleep_until((trigger + DISASTER).into()).await;
            return None;
        }
        loop {
            sleep(LOOK).await;
            let last = self.last_commit(trigger);
            let now = Instant::now();
            let moving = slices.lock().unwrap_or_else(PoisonError::into_inner).last().is_some_and(|slice| slice.moving);
            if last.is_some_and(|last| now >= last + AFTERMATH && !moving) || now >= trigger + LONGEST {
                return last;
            }
        }
    }

    fn last_commit(&self, trigger: Instant) -> Option<Instant> {
        let ids = self.ids();
        let told = self.established().iter().zip(&ids).flat_map(|(caller, id)| {
            let own = caller.told().into_iter().filter_map(|(at, told)| match told {
                Told::Path(edge, _) if edge.publisher == *id && ids.contains(&edge.subscriber) => Some(at),
                _ => None,
            });
            own.collect::<Vec<_>>()
        });
        told.filter(|at| *at >= trigger).max()
    }

    async fn keyframes(&self) -> u64 {
        let ids = self.ids();
        let mut sum = 0;
        for caller in self.established() {
            let Ok(stats) = caller.room.stats().await else { continue };
            let tracks = stats.tracks.iter().filter(|track| ids.contains(&track.participant));
            sum += tracks.map(|track| track.keyframe_requests).sum::<u64>();
        }
        sum
    }

    /// Looks at edges and bytes again and again.
    fn sample(&self, slices: Slices) -> JoinHandle<()> {
        let (rooms, ids) = (self.established().iter().map(|caller| caller.room.clone()).collect::<Vec<_>>(), self.ids());
        let (fabric, count) = (self.fabric.clone(), self.scenario.participants);
        tokio::spawn(async move {
            loop {
                let moving = rooms.iter().zip(&ids).any(|(room, id)| {
                    let edges = room.path_info();
                    edges.iter().any(|edge| edge.moving && edge.edge.publisher == *id && ids.contains(&edge.edge.subscriber))
                });
                let sent = fabric.network(|network| (0..count).map(|at| network.sent_by(End::Host(at))).collect());
                let slice = Slice { at: Instant::now(), sent, moving };
                slices.lock().unwrap_or_else(PoisonError::into_inner).push(slice);
                sleep(SLICE).await;
            }
        })
    }

    /// Counts aloud.
    fn talk(&self) -> JoinHandle<()> {
        let (room, said, quiet): (Room, _, _) = (self.callers[0].room.clone(), self.said.clone(), self.quiet.clone());
        tokio::spawn(async move {
            while !quiet.load(Ordering::Relaxed) {
                let number = said.load(Ordering::Relaxed);
                if Caller::say(&room, number).await {
                    said.store(number + 1, Ordering::Relaxed);
                }
                sleep(MESSAGES).await;
            }
        })
    }

    /// Stops talking, and gives what was said time to arrive.
    async fn messages_arrive(&self) {
        self.quiet.store(true, Ordering::Relaxed);
        sleep(MESSAGES).await;
        let until = Instant::now() + LAST_MESSAGES;
        let said = self.said.load(Ordering::Relaxed) as usize;
        let lacks = |caller: &Caller| caller.messages_of(0).len() < said;
        while self.established()[1..].iter().any(lacks) && Instant::now() < until {
            sleep(LOOK).await;
        }
    }
}
