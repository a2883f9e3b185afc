//! One of the two runs of a comparison, and what was played in it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use segue_model::{Path, TopologyPolicy, TrackKind, TrackSource};

use super::class::Class;
use super::overlap::Carried;
use super::trial::{AFTERMATH, Trial};
use crate::net::End;
use crate::world::World;

/// A change that is not over by then never will be.
const LONGEST: Duration = Duration::from_secs(20);

/// What was captured just before the end is still on its way: a run is longer than what is looked at by so much.
pub const ON_ITS_WAY: Duration = Duration::from_millis(800);

/// Between two reliable messages of one participant.
const MESSAGE_EVERY: Duration = Duration::from_millis(100);

/// The last messages of each, which may still be on their way when a run ends.
const LAST_MESSAGES: usize = 12;

/// After the last edge has moved, what was sent on its old leg is still taken.
const DRAIN: Duration = Duration::from_millis(100);

/// So many of the established send reliable messages: two, so that the first one is sent some as well.
pub const SENDERS: usize = 2;

/// Whoever gets nothing of a voice or a picture for so long at the end has lost it.
const UNHEARD: Duration = Duration::from_millis(400);
const UNSEEN: Duration = Duration::from_millis(900);

/// The most handovers that may begin in so much time is one.
const WINDOW: Duration = Duration::from_secs(30);

/// What the network does to the established, as the goals need to know it: not what a command line says, but what is so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// Who is measured.
    pub participants: usize,
    /// Share of the packets lost in the mean, of the worst pair; on both hops of the relay together.
    pub loss: f64,
    /// By how many milliseconds the new path is slower than the old one, of the pair for which it is most.
    pub slower_ms: f64,
    /// Some path loses, delays or disorders packets by itself, so that the twin meets others than the run.
    pub own_fates: bool,
    /// Jitter end to end.
    pub jitter_ms: f64,
    /// All round trips are 50 ms by either path: what the goal for the time to move speaks of.
    pub round_trip_50: bool,
}

impl Truth {
    fn of(world: &World, established: &[usize], up: bool) -> Self {
        let common = &world.net.common;
        let mut truth = Self {
            participants: established.len(),
            loss: common.mean_loss(),
            jitter_ms: common.jitter_ms,
            round_trip_50: true,
            ..Self::default()
        };
        for (from, to) in pairs(established) {
            let (from, to) = (End::Host(from), End::Host(to));
            let ways = [vec![(from, to)], vec![(from, End::Relay), (End::Relay, to)]];
            let conditions =
                |way: &[(End, End)]| way.iter().map(|(from, to)| world.net.conditions(*from, *to).clone()).collect::<Vec<_>>();
            for way in ways {
                let passed =
                    conditions(&way).iter().fold(1.0 - common.mean_loss(), |passed, hop| passed * (1.0 - hop.mean_loss()));
                truth.loss = truth.loss.max(1.0 - passed);
                truth.own_fates |= conditions(&way).iter().any(|hop| hop.is_fickle());
                let delay: f64 = conditions(&way).iter().map(|hop| hop.delay_ms).sum();
                truth.round_trip_50 &= (delay - 25.0).abs() < 0.01;
            }
            truth.slower_ms = truth.slower_ms.max(slower(world, from, to, up));
        }
        truth
    }
}

/// By how many milliseconds the new path of an edge is slower than its old one; 0 where it is not.
fn slower(world: &World, from: End, to: End, up: bool) -> f64 {
    let delay = |from, to| world.net.conditions(from, to).delay_ms;
    let (direct, relayed) = (delay(from, to), delay(from, End::Relay) + delay(End::Relay, to));
    if up { (relayed - direct).max(0.0) } else { (direct - relayed).max(0.0) }
}

fn pairs(established: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    established.iter().flat_map(move |from| established.iter().filter(move |to| *to != from).map(move |to| (*from, *to)))
}

/// Which of a participant's tracks: of which source, and which of those of this source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackKey {
    pub listener: usize,
    pub speaker: usize,
    pub source: TrackSource,
    pub place: usize,
}

/// What one participant played of one track of another.
#[derive(Clone, Debug)]
pub struct EdgePlayed {
    pub key: TrackKey,
    pub kind: TrackKind,
    /// Time of the first frame and distance of frames, of the source.
    pub begun: Duration,
    pub interval: Duration,
    /// (index, when it was played, bytes)
    pub frames: Vec<(u64, Duration, u32)>,
    /// (when it ended, pulls)
    pub holes: Vec<(Duration, u32)>,
    pub doubled: u64,
    /// Keyframes the listener asked for since the trigger.
    pub keyframes: u64,
    /// By how many milliseconds its new path is slower than its old one.
    pub slower_ms: f64,
}

/// One of the two runs.
#[derive(Debug)]
pub struct Side {
    pub established: Vec<usize>,
    /// Those who come, or come and go, to make the room move.
    pub movers: usize,
    /// The first of those who come with the trigger.
    newcomers: usize,
    up: bool,
    base: Instant,
    begun: Instant,
    pub truth: Truth,
    /// Since the beginning of the world, as the worlds of a comparison have different bases.
    pub until: Duration,
    /// When some edge was between two paths.
    pub moving: Vec<Duration>,
    /// The latest look.
    moves: bool,
    pub carried: Carried,
    prepared: Option<Duration>,
    pub last_commit: Option<Duration>,
    pub newcomer_keyframes: Vec<f64>,
    pub edges: Vec<EdgePlayed>,
    pub messages_sent: u64,
    pub messages_lost: u64,
    pub messages_doubled: u64,
    pub silent: BTreeSet<String>,
    /// Names of those for whom the call ended though they did not want to leave.
    pub thrown_out: Vec<String>,
    pub switches: usize,
    /// Every edge that was to move has.
    pub moved: bool,
    /// At least one edge took the path it was to take.
    pub committed: bool,
    next_message: Duration,
    /// When something went wrong besides, and when it was taken back, since the beginning of the world.
    pub disturbed: Option<Duration>,
    pub mended: bool,
}

impl Side {
    pub fn new(trial: &Trial, world: &World, established: Vec<usize>, movers: usize) -> Self {
        Self {
            established,
            movers,
            newcomers: usize::MAX,
            up: trial.up,
            base: world.base,
            begun: world.now,
            truth: Truth::default(),
            until: world.now - world.base,
            moving: Vec::new(),
            moves: false,
            carried: Carried::default(),
            prepared: None,
            last_commit: None,
            newcomer_keyframes: Vec::new(),
            edges: Vec::new(),
            messages_sent: 0,
            messages_lost: 0,
            messages_doubled: 0,
            silent: BTreeSet::new(),
            thrown_out: Vec::new(),
            switches: 0,
            moved: false,
            committed: false,
            next_message: Duration::ZERO,
            disturbed: None,
            mended: false,
        }
    }

    pub fn begin(&mut self, world: &World) {
        self.begun = world.now;
        self.newcomers = world.nodes.len();
        self.truth = Truth::of(world, &self.established, self.up);
    }

    /// When the trigger came, since the beginning of the world.
    pub fn triggered(&self) -> Duration {
        self.begun - self.base
    }

    /// Who sends a reliable message now.
    pub fn message_senders(&mut self, world: &World) -> Vec<usize> {
        let time = world.now.saturating_duration_since(self.begun);
        if time < self.next_message {
            return Vec::new();
        }
        self.next_message = time + MESSAGE_EVERY;
        self.established.iter().copied().filter(|at| world.is_present(*at)).take(SENDERS).collect()
    }

    /// The path that edges are to take.
    fn wanted(&self) -> Path {
        if self.up { Path::Relayed } else { Path::Direct }
    }

    /// Edges of those who are measured and there, by their publishers, that could take the path they are to take.
    fn movable<'a>(&'a self, trial: &Trial, world: &'a World) -> impl Iterator<Item = segue_session::peer::PathInfo> + 'a {
        let bound = |at: usize| match world.nodes[at].policy {
            TopologyPolicy::Auto => false,
            TopologyPolicy::MeshOnly => self.up,
            TopologyPolicy::RelayOnly | TopologyPolicy::HideAddress => !self.up,
        };
        // Whoever cannot reach the relay stays where it is.
        let blocked = self.established.first().copied().filter(|_| trial.class == Class::RelayBlocked);
        let present = move |at: usize| world.is_present(at) && !bound(at) && Some(at) != blocked;
        let ours = move |id| world.node_of(id).is_some_and(|at| self.established.contains(&at) && present(at));
        let edges = self.established.iter().filter(move |at| present(**at)).flat_map(|at| {
            let machine = &world.nodes[*at].machine;
            machine.path_info().into_iter().filter(|edge| machine.local() == Some(edge.edge.publisher))
        });
        edges.filter(move |edge| ours(edge.edge.subscriber))
    }

    /// The room is where the trigger is to find it.
    pub fn is_ready(&self, trial: &Trial, world: &World) -> bool {
        let from = if self.up { Path::Direct } else { Path::Relayed };
        let recent = world
            .oracle
            .handovers
            .last()
            .is_some_and(|(at, _)| self.up && world.now < *at + world.config.room.topology.handover_interval);
        !recent && self.movable(trial, world).all(|edge| edge.path == from && !edge.moving)
    }

    pub fn sample(&mut self, world: &World) {
        self.carried.sample(world, &self.established);
        self.moves = self.established.iter().any(|at| {
            let machine = &world.nodes[*at].machine;
            machine.path_info().iter().any(|edge| edge.moving && machine.local() == Some(edge.edge.publisher))
        });
        if self.moves {
            self.moving.push(world.now - self.base);
        }
    }

    /// Everything that was to move has, some time ago; or never will.
    pub fn is_settled(&mut self, world: &World, time: Duration) -> bool {
        let begun = self.triggered();
        let established = &self.established;
        let changes = established.iter().flat_map(|at| world.nodes[*at].paths.iter().map(move |change| (*at, change))).filter(
            |(at, change)| {
                let other = world.node_of(change.2);
                world.nodes[*at].machine.local() == Some(change.1) && other.is_some_and(|other| established.contains(&other))
            },
        );
        let times = changes.map(|(at, change)| (world.nodes[at].clock.world(change.0) - self.base, change.3));
        let times: Vec<_> = times.filter(|(at, _)| *at >= begun).collect();
        self.last_commit = times.iter().map(|(at, _)| *at).max();
        self.committed = times.iter().any(|(_, path)| *path == self.wanted());
        let handover = world.oracle.handovers.iter().map(|(at, _)| *at - self.base).find(|at| *at >= begun);
        self.prepared = handover;
        let enough = AFTERMATH + ON_ITS_WAY;
        let quiet = self.last_commit.is_some_and(|at| world.now - self.base >= at + enough) && !self.moves;
        let over = quiet || time >= LONGEST + enough;
        if over {
            self.until = world.now - world.base;
        }
        over
    }

    pub fn finish(&mut self, trial: &Trial, world: &World) {
        self.until = world.now - world.base;
        let newcomers = world.nodes.iter().skip(self.newcomers).filter(|_| trial.up).flat_map(|node| node.remotes.values());
        let pictures = newcomers.filter(|remote| remote.kind == TrackKind::Video);
        self.newcomer_keyframes = pictures.map(|remote| remote.played.keyframes_asked.len() as f64).collect();
        let begun = self.triggered();
        let mut times: Vec<_> =
            world.oracle.handovers.iter().map(|(at, _)| *at - self.base).filter(|at| *at >= begun).collect();
        times.dedup();
        self.switches = switches_at_once(&times);
        self.moved = self.committed && self.movable(trial, world).all(|edge| edge.path == self.wanted());
        self.collect(world);
        self.carried.collect(world, &self.established);
        self.count_messages(world);
        self.look_for_lost(world);
    }

    /// What became of the reliable messages.
    pub fn count_messages(&mut self, world: &World) {
        for &sender in self.established.iter().take(SENDERS) {
            let name = &world.nodes[sender].name;
            let sent = world.oracle.sent.get(name).cloned().unwrap_or_default();
            self.messages_sent += sent.len() as u64;
            let certain = sent.len().saturating_sub(LAST_MESSAGES);
            for &at in self.established.iter().filter(|at| **at != sender && world.is_present(**at)) {
                let messages = &world.nodes[at].messages;
                let got: Vec<u64> = messages.iter().filter(|(from, _)| from == name).map(|(_, number)| *number).collect();
                let (lost, doubled) = lost_and_doubled(sent.get(..certain).unwrap_or_default(), &got);
                self.messages_lost += lost;
                self.messages_doubled += doubled;
            }
        }
    }

    /// Who gets nothing of whom at the end, and for whom the call is over.
    pub fn look_for_lost(&mut self, world: &World) {
        self.silent = crate::oracle::silences(world, UNHEARD, UNSEEN);
        self.thrown_out = world.nodes.iter().filter(|node| node.thrown_out).map(|node| node.name.clone()).collect();
    }

    pub fn collect(&mut self, world: &World) {
        let present: Vec<usize> = self.established.iter().copied().filter(|at| world.is_present(*at)).collect();
        for (listener, speaker) in pairs(&present) {
            let (node, publisher) = (&world.nodes[listener], &world.nodes[speaker]);
            for (track, publication) in &publisher.publications {
                let source = publication.spec.source;
                let same = publisher.publications.iter().filter(|(_, other)| other.spec.source == source);
                let place = same.take_while(|(other, _)| *other != track).count();
                let played = node.remotes.get(track).map(|remote| &remote.played);
                let asked = |at: &&Instant| node.clock.world(**at) >= self.begun;
                let time = |at: Instant| node.clock.world(at).saturating_duration_since(world.base);
                self.edges.push(EdgePlayed {
                    key: TrackKey { listener, speaker, source, place },
                    kind: publication.spec.kind,
                    begun: publisher.clock.world(publication.begun()) - world.base,
                    interval: publication.spec.interval(),
                    // A track that never came is one of which nothing was played.
                    frames: played.map_or_else(Vec::new, |played| {
                        played.frames.iter().map(|frame| (frame.index, time(frame.at), frame.bytes)).collect()
                    }),
                    holes: played.map_or_else(Vec::new, |played| {
                        played.holes.iter().map(|hole| (time(hole.until), hole.pulls)).collect()
                    }),
                    doubled: played.map_or(0, |played| played.doubled),
                    keyframes: played.map_or(0, |played| played.keyframes_asked.iter().filter(asked).count() as u64),
                    slower_ms: slower(world, End::Host(speaker), End::Host(listener), self.up),
                });
            }
        }
    }

    /// Whether the change has come to a state: 0 decided, 1 the first edge on two paths, 2 the first edge moved, 3 all of them, a little ago.
    pub fn has_reached(&self, world: &World, state: u64) -> bool {
        let now = world.now - self.base;
        match state {
            0 => self.prepared.is_some(),
            1 => self.moving.iter().any(|at| *at >= self.triggered()),
            2 => self.committed,
            _ => self.committed && !self.moves && self.last_commit.is_some_and(|last| now >= last + DRAIN),
        }
    }

    /// What is looked at: from the room's decision to a while after the last commit, in time of capture.
    pub fn window(&self) -> (Duration, Duration) {
        let begun = self.prepared.unwrap_or(self.triggered());
        let end = self.last_commit.map_or(self.until, |at| at + AFTERMATH);
        (begun, end.min(self.until.saturating_sub(ON_ITS_WAY)))
    }

    /// From the room's decision to the last commit.
    pub fn migrate_ms(&self) -> Option<f64> {
        let (prepared, last) = self.prepared.zip(self.last_commit)?;
        // Playout is stretched by at most a tenth before a slower path is used: that time is not the machine's.
        Some((last.saturating_sub(prepared).as_secs_f64() * 1e3 - 10.0 * self.truth.slower_ms).max(0.0))
    }
}

/// Of what was sent and what came: how many did not come, and how many came again.
pub fn lost_and_doubled(sent: &[u64], got: &[u64]) -> (u64, u64) {
    let distinct: BTreeSet<u64> = got.iter().copied().collect();
    let lost = sent.iter().filter(|number| !distinct.contains(number)).count();
    (lost as u64, (got.len() - distinct.len()) as u64)
}

/// The most handovers that began within 30 s.
pub fn switches_at_once(times: &[Duration]) -> usize {
    let within = |first: &Duration| times.iter().filter(|at| (*first..*first + WINDOW).contains(at)).count();
    times.iter().map(within).max().unwrap_or(0)
}
