//! What was played in two runs, frame by frame.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use segue_model::{Path, TrackKind};

use super::overlap::Carried;
use super::trial::{AFTERMATH, Class, Trial};
use crate::world::World;

/// A change that is not over by then never will be.
const LONGEST: Duration = Duration::from_secs(20);

/// What one comparison gave.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Of each edge, in milliseconds.
    pub audio_gaps: Vec<f64>,
    pub video_gaps: Vec<f64>,
    pub frames_lost: Vec<f64>,
    /// Longest time without anything to play, beyond that of the twin: what a hold in playout costs although no frame is left out.
    pub holes: Vec<f64>,
    /// Bytes of video played from one to three seconds after the last commit, as a share of the twin's.
    pub quality: Vec<f64>,
    pub duplicates: u64,
    pub participants_lost: u64,
    /// Who gets nothing of whom at the end, in words.
    pub lost: Vec<String>,
    pub messages_lost: u64,
    pub messages_doubled: u64,
    pub keyframes_extra: u64,
    /// From the room's decision to the last commit; none where nothing moved.
    pub migrate_ms: Option<f64>,
    pub overlap_ms: Option<f64>,
    pub uplink_ratio: Option<f64>,
    pub downlink_ratio: Option<f64>,
    /// Delay added beyond the difference of the paths, in milliseconds, for each edge.
    pub delay_added: Vec<f64>,
    /// Within 30 s.
    pub switches: usize,
    /// The longest time somebody who had left was still listed, in a churn.
    pub ghost_ms: Option<f64>,
    /// Keyframes each newcomer asked for, of each source.
    pub newcomer_keyframes: Vec<f64>,
    /// After a disaster: until each edge was heard and seen again.
    pub audio_outage: Vec<f64>,
    pub video_outage: Vec<f64>,
    /// It was to move and did not, or only in part.
    pub moved: bool,
}

/// One of the two runs.
#[derive(Debug)]
pub struct Side {
    established: usize,
    base: Instant,
    begun: Instant,
    /// Since the beginning of the world, as the worlds of a comparison have different bases.
    pub until: Duration,
    /// When some edge was between two paths.
    moving: Vec<Duration>,
    /// The latest look.
    moves: bool,
    carried: Carried,
    prepared: Option<Duration>,
    last_commit: Option<Duration>,
    keyframes_before: u64,
    keyframes: u64,
    newcomer_keyframes: Vec<f64>,
    edges: Vec<EdgePlayed>,
    messages_lost: u64,
    messages_doubled: u64,
    silent: BTreeSet<String>,
    switches: usize,
    moved: bool,
    next_message: Duration,
}

/// What one participant played of another's track.
#[derive(Debug)]
struct EdgePlayed {
    listener: usize,
    speaker: usize,
    kind: TrackKind,
    /// Time of the first frame and distance of frames, of the source.
    begun: Duration,
    interval: Duration,
    /// (index, when it was played, bytes)
    frames: Vec<(u64, Duration, u32)>,
    /// (when it ended, pulls)
    holes: Vec<(Duration, u32)>,
    doubled: u64,
    muted: bool,
}

impl Side {
    pub fn new(trial: &Trial, world: &World) -> Self {
        Self {
            established: trial.participants,
            base: world.base,
            begun: world.now,
            until: world.now - world.base,
            moving: Vec::new(),
            moves: false,
            carried: Carried::default(),
            prepared: None,
            last_commit: None,
            keyframes_before: 0,
            keyframes: 0,
            newcomer_keyframes: Vec::new(),
            edges: Vec::new(),
            messages_lost: 0,
            messages_doubled: 0,
            silent: BTreeSet::new(),
            switches: 0,
            moved: false,
            next_message: Duration::ZERO,
        }
    }

    pub fn begin(&mut self, world: &World) {
        self.begun = world.now;
        self.keyframes_before = keyframes(world, self.established);
    }

    /// A reliable message every 100 ms.
    pub fn sends_message(&mut self, world: &World) -> bool {
        let time = world.now - self.begun;
        let due = time >= self.next_message;
        if due {
            self.next_message = time + Duration::from_millis(100);
        }
        due
    }

    pub fn sample(&mut self, world: &World) {
        self.carried.sample(world, self.established);
        self.moves = (0..self.established).any(|at| {
            let machine = &world.nodes[at].machine;
            machine.path_info().iter().any(|edge| edge.moving && machine.local() == Some(edge.edge.publisher))
        });
        if self.moves {
            self.moving.push(world.now - self.base);
        }
    }

    /// Everything that was to move has, some time ago; or never will.
    pub fn is_settled(&mut self, world: &World, time: Duration) -> bool {
        let begun = self.begun - self.base;
        let changes = (0..self.established).flat_map(|at| world.nodes[at].paths.iter().map(move |change| (at, change))).filter(
            |(at, change)| {
                let other = world.node_of(change.2).unwrap_or(usize::MAX);
                world.nodes[*at].machine.local() == Some(change.1) && other < self.established
            },
        );
        let times = changes.map(|(at, change)| world.nodes[at].clock.world(change.0) - self.base).filter(|at| *at >= begun);
        self.last_commit = times.max();
        let handover = world.oracle.handovers.iter().map(|(at, _)| *at - self.base).find(|at| *at >= begun);
        self.prepared = handover;
        let quiet = self.last_commit.is_some_and(|at| world.now - self.base >= at + AFTERMATH) && !self.moves;
        let over = quiet || time >= LONGEST;
        if over {
            self.until = world.now - world.base;
        }
        over
    }

    pub fn finish(&mut self, trial: &Trial, world: &World) {
        self.until = world.now - world.base;
        self.keyframes = keyframes(world, self.established) - self.keyframes_before;
        let newcomers = world.nodes.iter().skip(self.established).filter(|_| trial.up).flat_map(|node| node.remotes.values());
        let pictures = newcomers.filter(|remote| remote.kind == TrackKind::Video);
        self.newcomer_keyframes = pictures.map(|remote| remote.played.keyframes_asked.len() as f64).collect();
        let begun = self.begun - self.base;
        let mut times: Vec<_> =
            world.oracle.handovers.iter().map(|(at, _)| *at - self.base).filter(|at| *at >= begun).collect();
        times.dedup();
        self.switches = switches_at_once(&times);
        let wanted = if trial.up { Path::Relayed } else { Path::Direct };
        // Whoever cannot reach the relay stays where it is.
        let stays = (trial.class == Class::RelayBlocked).then(|| world.nodes[0].machine.local()).flatten();
        let edges = (0..self.established).flat_map(|at| world.nodes[at].machine.path_info());
        let mut edges = edges.filter(|edge| ![Some(edge.edge.publisher), Some(edge.edge.subscriber)].contains(&stays));
        self.moved = edges.all(|edge| edge.path == wanted);
        self.collect(world);
        self.carried.collect(world, self.established);
        let sent = world.oracle.sent.get("n0").cloned().unwrap_or_default();
        let grace = sent.len().saturating_sub(12);
        for at in 1..self.established {
            if !world.is_present(at) {
                continue;
            }
            let got: Vec<u64> =
                world.nodes[at].messages.iter().filter(|(from, _)| from == "n0").map(|(_, number)| *number).collect();
            let distinct: BTreeSet<u64> = got.iter().copied().collect();
            self.messages_doubled += (got.len() - distinct.len()) as u64;
            self.messages_lost += sent.iter().take(grace).filter(|number| !distinct.contains(number)).count() as u64;
        }
        let limit = Duration::from_millis(400);
        self.silent = crate::oracle::silences(world, limit, Duration::from_millis(900));
    }

    fn collect(&mut self, world: &World) {
        for listener in (0..self.established).filter(|at| world.is_present(*at)) {
            let node = &world.nodes[listener];
            for speaker in (0..self.established).filter(|at| *at != listener && world.is_present(*at)) {
                for (track, publication) in &world.nodes[speaker].publications {
                    let Some(remote) = node.remotes.get(track) else { continue };
                    let played = &remote.played;
                    let fps = publication.spec.fps.max(1);
                    self.edges.push(EdgePlayed {
                        listener,
                        speaker,
                        kind: publication.spec.kind,
                        begun: world.nodes[speaker].clock.world(publication.begun()) - world.base,
                        interval: Duration::from_secs(1) / fps,
                        frames: played
                            .frames
                            .iter()
                            .map(|frame| (frame.index, node.clock.world(frame.at) - world.base, frame.bytes))
                            .collect(),
                        holes: played
                            .holes
                            .iter()
                            .map(|hole| (node.clock.world(hole.until) - world.base, hole.pulls))
                            .collect(),
                        doubled: played.doubled,
                        muted: publication.spec.muted || publication.spec.source == segue_model::TrackSource::Screen,
                    });
                }
            }
        }
    }

    /// What is looked at: from the trigger to a while after the last commit, in time of capture.
    fn window(&self) -> (Duration, Duration) {
        let begun = self.prepared.unwrap_or(self.begun - self.base);
        let end = self.last_commit.map_or(self.until, |at| at + AFTERMATH);
        // What was captured just before the end is still on its way.
        (begun, end.min(self.until.saturating_sub(Duration::from_millis(800))))
    }

    /// From the room's decision to the last commit.
    fn migrate_ms(&self, trial: &Trial) -> Option<f64> {
        let (prepared, last) = self.prepared.zip(self.last_commit)?;
        // Playout is stretched by at most a tenth before a slower path is used: that time is not the machine's.
        Some((ms(last.saturating_sub(prepared)) - 10.0 * trial.slower()).max(0.0))
    }

    /// What can be said of a run without a twin.
    pub fn alone(&self, trial: &Trial) -> Measured {
        Measured {
            migrate_ms: self.migrate_ms(trial),
            participants_lost: self.silent.len() as u64,
            lost: self.silent.iter().cloned().collect(),
            messages_lost: self.messages_lost,
            messages_doubled: self.messages_doubled,
            switches: self.switches,
            moved: self.moved,
            ..Measured::default()
        }
    }
}

/// Keyframes asked for by those who were there, of those who were there: a newcomer's first picture is nobody's second.
fn keyframes(world: &World, established: usize) -> u64 {
    let tracks: BTreeSet<_> = (0..established).flat_map(|at| world.nodes[at].publications.keys()).collect();
    let remotes = (0..established).flat_map(|at| world.nodes[at].remotes.iter());
    remotes.filter(|(track, _)| tracks.contains(track)).map(|(_, remote)| remote.played.keyframes_asked.len() as u64).sum()
}

/// The most handovers that began within 30 s.
pub fn switches_at_once(times: &[Duration]) -> usize {
    let within = |first: &Duration| times.iter().filter(|at| (*first..*first + Duration::from_secs(30)).contains(at)).count();
    times.iter().map(within).max().unwrap_or(0)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Compares a run with its twin.
pub fn compare(trial: &Trial, with: &Side, without: &Side) -> Measured {
    let mut measured = Measured {
        messages_lost: with.messages_lost,
        messages_doubled: with.messages_doubled,
        keyframes_extra: with.keyframes.saturating_sub(without.keyframes),
        participants_lost: with.silent.difference(&without.silent).count() as u64,
        lost: with.silent.iter().cloned().collect(),
        switches: with.switches,
        newcomer_keyframes: with.newcomer_keyframes.clone(),
        moved: with.moved,
        ..Measured::default()
    };
    let (from, to) = with.window();
    for edge in &with.edges {
        measured.duplicates += edge.doubled;
        let twin = without.edges.iter().find(|twin| {
            (twin.listener, twin.speaker, twin.kind, twin.begun) == (edge.listener, edge.speaker, edge.kind, edge.begun)
        });
        let Some(twin) = twin.filter(|_| !edge.muted) else { continue };
        let captured = |time: Duration| time.saturating_sub(edge.begun).as_nanos() / edge.interval.as_nanos();
        let indices = captured(from) as u64..captured(to) as u64;
        let (longest, lost) = missing(edge, twin, indices);
        match edge.kind {
            TrackKind::Audio => {
                measured.audio_gaps.push(longest as f64 * 20.0);
                let hole = longest_hole(edge, from, to).saturating_sub(longest_hole(twin, from, to).max(1));
                measured.holes.push(f64::from(hole) * 20.0);
                measured.delay_added.push((lag(edge, to) - lag(twin, to)) * 1e3 - trial.slower());
            }
            TrackKind::Video => {
                let excess = |edge: &EdgePlayed| longest_excess(edge, from, to);
                measured.video_gaps.push((ms(excess(edge)) - ms(excess(twin))).max(0.0));
                measured.frames_lost.push(lost as f64);
                if let Some(last) = with.last_commit {
                    let span = last + Duration::from_secs(1)..to;
                    measured.quality.push(played_bytes(edge, &span) / played_bytes(twin, &span).max(1.0));
                }
            }
        }
    }
    measured.migrate_ms = with.migrate_ms(trial);
    if let (Some(first), Some(last)) = (with.moving.first(), with.moving.last()) {
        measured.overlap_ms = Some(ms(*last - *first) + 20.0);
        if trial.participants >= 3 && trial.up && *last - *first >= Duration::from_millis(60) {
            let ratios = with.carried.ratios(&without.carried, &(*first..*last));
            measured.uplink_ratio = ratios.map(|ratios| ratios.uplink);
            measured.downlink_ratio = ratios.map(|ratios| ratios.downlink);
        }
    }
    measured
}

/// The longest run of frames that the twin played and this one did not, and how many there are. Frames neither played interrupt
/// nothing.
fn missing(edge: &EdgePlayed, twin: &EdgePlayed, indices: std::ops::Range<u64>) -> (u64, u64) {
    let own: BTreeSet<u64> = edge.frames.iter().map(|(index, ..)| *index).collect();
    let other: BTreeSet<u64> = twin.frames.iter().map(|(index, ..)| *index).collect();
    let (mut longest, mut run, mut lost) = (0, 0, 0);
    for index in indices {
        if own.contains(&index) {
            run = 0;
        } else if other.contains(&index) {
            run += 1;
            lost += 1;
            longest = u64::max(longest, run);
        }
    }
    (longest, lost)
}

/// The longest time by which a picture came later after the one before it than it was captured after that one.
fn longest_excess(edge: &EdgePlayed, from: Duration, to: Duration) -> Duration {
    let pairs = edge.frames.windows(2).filter(|pair| pair[1].1 >= from && pair[0].1 <= to);
    let excess = pairs.map(|pair| {
        let captured = edge.interval * u32::try_from(pair[1].0.saturating_sub(pair[0].0)).unwrap_or(u32::MAX);
        (pair[1].1 - pair[0].1).saturating_sub(captured)
    });
    excess.max().unwrap_or_default()
}

/// The longest time without anything to play, in pulls.
fn longest_hole(edge: &EdgePlayed, from: Duration, to: Duration) -> u32 {
    edge.holes.iter().filter(|(until, _)| (from..=to).contains(until)).map(|(_, pulls)| *pulls).max().unwrap_or(0)
}

fn played_bytes(edge: &EdgePlayed, span: &std::ops::Range<Duration>) -> f64 {
    edge.frames.iter().filter(|(_, played, _)| span.contains(played)).map(|(.., bytes)| f64::from(*bytes)).sum()
}

/// From capture to playing, around a time, in seconds.
fn lag(edge: &EdgePlayed, at: Duration) -> f64 {
    let end = edge.frames.partition_point(|(_, played, _)| *played < at);
    let recent = &edge.frames[end.saturating_sub(25)..end];
    let of = |(index, played, _): &(u64, Duration, u32)| {
        played.as_secs_f64() - (edge.begun.as_secs_f64() + edge.interval.as_secs_f64() * *index as f64)
    };
    recent.iter().map(of).sum::<f64>() / recent.len().max(1) as f64
}

/// Until voice and picture came back after a disaster, on each edge that had lost them.
pub fn outage(trial: &Trial, world: &World, at: Instant) -> Measured {
    let mut side = Side::new(trial, world);
    side.collect(world);
    let at = at - world.base;
    let mut measured = Measured { moved: true, ..Measured::default() };
    for edge in &side.edges {
        measured.duplicates += edge.doubled;
        // The longest silence that begins within two seconds of the disaster.
        let near = edge
            .frames
            .windows(2)
            .filter(|pair| pair[0].1 + edge.interval * 4 >= at && pair[0].1 <= at + Duration::from_secs(4));
        let longest = near.map(|pair| pair[1].1 - pair[0].1).max();
        let stopped = edge.frames.last().is_none_or(|(_, last, _)| *last + Duration::from_secs(2) < world.now - world.base);
        let silence = if stopped { Duration::from_secs(12) } else { longest.unwrap_or_default().saturating_sub(edge.interval) };
        match edge.kind {
            TrackKind::Audio => measured.audio_outage.push(ms(silence)),
            TrackKind::Video => measured.video_outage.push(ms(silence)),
        }
    }
    measured
}
