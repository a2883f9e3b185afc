//! What was played in two runs, frame by frame.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use segue::{Playout, Topology, TrackKind};
use segue_codec::audio::FRAME_SAMPLES;

use super::caller::{Told, interval};
use super::record::Played;
use super::run::{AFTERMATH, Side};
use super::scenario::{Scenario, What};
use super::signal::{Ear, PERIOD};
use crate::fabric::Source;

/// What was captured just before the end is still on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(800);

/// An edge that played nothing of a track for so long before the end is lost.
const SILENT: Duration = Duration::from_millis(900);

/// An outage begins at most so long after a disaster: what was sent before it is played still.
const OUTAGE_BEGINS: Duration = Duration::from_secs(4);

/// The most changes of a room in so much time is one.
const WINDOW: Duration = Duration::from_secs(30);

/// What one comparison gave; times in milliseconds, one value for each edge.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub audio_gaps: Vec<f64>,
    /// The same, from the sound alone.
    pub heard_gaps: Vec<f64>,
    pub video_gaps: Vec<f64>,
    pub frames_lost: Vec<f64>,
    /// Frames of voice and pictures that the twin played in the window: what gaps are looked for in.
    pub compared: (u64, u64),
    pub duplicates: u64,
    pub edges_lost: u64,
    pub messages_lost: u64,
    pub messages_doubled: u64,
    pub messages_disordered: u64,
    pub keyframes_extra: u64,
    /// From the room's decision to the last commit; none where nothing moved.
    pub migrate_ms: Option<f64>,
    pub overlap_ms: Option<f64>,
    pub uplink_ratio: Option<f64>,
    /// After a disaster: until each edge was heard and seen again, with the speaker and listener.
    pub audio_outages: Vec<(usize, usize, f64)>,
    pub video_outages: Vec<(usize, usize, f64)>,
    pub unmoved: usize,
    /// The most changes between mesh and relay within 30 s that anybody was told of.
    pub switches: usize,
    pub late: u64,
    pub lost: (u64, u64),
    pub cut: u64,
}

/// What one participant played of another's track.
struct Edge {
    listener: usize,
    speaker: usize,
    kind: TrackKind,
    /// (capture, when)
    frames: Vec<(u64, Instant)>,
    /// Captures heard in the sound alone.
    heard: Vec<u64>,
    doubled: u64,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn edges(side: &Side, established: usize) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (listener, caller) in side.callers.iter().take(established).enumerate() {
        caller.record.read(|record| {
            for ((speaker, kind), played) in record.iter().filter(|((speaker, _), _)| *speaker < established) {
                let source = side.sources.iter().find(|(_, track, ..)| *track == played.track).map(|(.., source)| *source);
                if let Some(source) = source {
                    edges.push(edge(listener, *speaker, *kind, played, source));
                }
            }
        });
    }
    edges
}

fn edge(listener: usize, speaker: usize, kind: TrackKind, played: &Played, source: Source) -> Edge {
    let frames: Vec<(u64, Instant)> = match kind {
        TrackKind::Audio => {
            let sent = played.sounds.iter().filter(|sound| matches!(sound.playout, Playout::Decoded | Playout::Recovered));
            sent.map(|sound| (u64::from(source.index(sound.timestamp)), sound.at)).collect()
        }
        TrackKind::Video => played.pictures.iter().map(|(at, number)| (u64::from(*number), *at)).collect(),
    };
    let doubled = frames.windows(2).filter(|pair| pair[1].0 <= pair[0].0).count() as u64;
    Edge { listener, speaker, kind, heard: heard(played, source), frames, doubled }
}

/// What an ear hears that is told where the sound begins, and nothing more.
fn heard(played: &Played, source: Source) -> Vec<u64> {
    let first = played.sounds.iter().position(|sound| sound.playout == Playout::Decoded);
    let Some((place, sound)) = first.and_then(|place| Some((place, played.sounds.get(place)?))) else { return Vec::new() };
    let mut ear = Ear::new(u64::from(source.index(sound.timestamp)) + PERIOD);
    played.samples.chunks_exact(FRAME_SAMPLES).skip(place).for_each(|samples| ear.push(samples));
    ear.heard().into_iter().map(|step| step - PERIOD).collect()
}

/// Compares a run with its twin.
pub fn compare(scenario: &Scenario, with: &Side, without: &Side) -> Measured {
    let mut measured = common(scenario, with);
    measured.keyframes_extra = with.keyframes.saturating_sub(without.keyframes);
    let decided = decided(scenario, with);
    let window = decided..with.last_commit.map_or(with.until, |at| at + AFTERMATH).min(with.until - ON_ITS_WAY);
    let (own, others) = (edges(with, scenario.participants), edges(without, scenario.participants));
    for edge in &own {
        measured.duplicates += edge.doubled;
        let same = |twin: &&Edge| (twin.listener, twin.speaker, twin.kind) == (edge.listener, edge.speaker, edge.kind);
        let Some(twin) = others.iter().find(same) else { continue };
        let capture = |at: Instant| at.saturating_duration_since(with.start).as_nanos() / interval(edge.kind).as_nanos();
        let captures = capture(window.start) as u64..capture(window.end) as u64;
        let played = |edge: &Edge| -> BTreeSet<u64> { edge.frames.iter().map(|(capture, _)| *capture).collect() };
        let (longest, lost) = missing(&played(edge), &played(twin), captures.clone());
        let compared = played(twin).range(captures.clone()).count() as u64;
        match edge.kind {
            TrackKind::Audio => {
                measured.compared.0 += compared;
                let heard = |edge: &Edge| edge.heard.iter().copied().collect();
                measured.audio_gaps.push(longest as f64 * ms(interval(edge.kind)));
                measured.heard_gaps.push(missing(&heard(edge), &heard(twin), captures).0 as f64 * ms(interval(edge.kind)));
            }
            TrackKind::Video => {
                measured.compared.1 += compared;
                let own = longest_excess(edge, window.clone());
                let shift = |at: Instant| without.start + at.saturating_duration_since(with.start);
                let usual = longest_excess(twin, shift(window.start)..shift(window.end));
                measured.video_gaps.push((ms(own) - ms(usual)).max(0.0));
                measured.frames_lost.push(lost as f64);
            }
        }
    }
    if let Some(last) = with.last_commit {
        measured.migrate_ms = Some(ms(last.saturating_duration_since(decided)));
    }
    overlap(&mut measured, with, without);
    measured
}

/// When the room decided to move: as soon as the newcomer was there, or when those who left were gone.
fn decided(scenario: &Scenario, side: &Side) -> Instant {
    let told = side.callers.first().map(|caller| caller.told()).unwrap_or_default();
    let after = told.iter().filter(|(at, _)| *at >= side.trigger);
    let moment = match scenario.what {
        What::Up => after.filter(|(_, told)| matches!(told, Told::Joined(_))).map(|(at, _)| *at).next(),
        _ => side.slices.iter().find(|slice| slice.at >= side.trigger && slice.moving).map(|slice| slice.at),
    };
    moment.unwrap_or(side.trigger)
}

/// The most changes between mesh and relay within 30 s, since the first captures. A room on its way between the two is neither.
fn switches(start: Instant, told: &[(Instant, Told)]) -> usize {
    let settled = told.iter().filter_map(|(at, told)| match told {
        Told::Topology(topology) if *topology != Topology::Mixed && *at >= start => Some((*at, *topology)),
        _ => None,
    });
    let mut changes: Vec<(Instant, Topology)> = settled.collect();
    changes.dedup_by_key(|(_, topology)| *topology);
    let within = |first: Instant| changes.iter().filter(|(at, _)| (first..first + WINDOW).contains(at)).count();
    changes.iter().map(|(at, _)| within(*at)).max().unwrap_or_default()
}

/// What needs no twin.
fn common(scenario: &Scenario, side: &Side) -> Measured {
    let mut measured =
        Measured { unmoved: side.unmoved, late: side.late, lost: side.lost, cut: side.cut, ..Measured::default() };
    for caller in side.callers.iter().take(scenario.participants).skip(1) {
        let numbers = caller.messages_of(0);
        let distinct: BTreeSet<u32> = numbers.iter().copied().collect();
        measured.messages_lost += u64::from(side.messages_sent).saturating_sub(distinct.len() as u64);
        measured.messages_doubled += (numbers.len() - distinct.len()) as u64;
        measured.messages_disordered += numbers.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
    }
    let told = side.callers.iter().take(scenario.participants).map(|caller| switches(side.start, &caller.told()));
    measured.switches = told.max().unwrap_or_default();
    let edges = edges(side, scenario.participants);
    let alive = |edge: &&Edge| edge.frames.last().is_some_and(|(_, at)| *at + SILENT >= side.until);
    let all = scenario.participants * (scenario.participants - 1) * 2;
    measured.edges_lost = (all - edges.iter().filter(alive).count()) as u64;
    measured
}

/// Bytes of the overlap against those of the twin in the same time.
fn overlap(measured: &mut Measured, with: &Side, without: &Side) {
    let moving: Vec<Instant> =
        with.slices.iter().filter(|slice| slice.moving && slice.at >= with.trigger).map(|slice| slice.at).collect();
    let (Some(first), Some(last)) = (moving.first().copied(), moving.last().copied()) else { return };
    measured.overlap_ms = Some(ms(last - first));
    let bytes = |side: &Side, from: Instant, to: Instant| -> Vec<u64> {
        let at = |time: Instant| side.slices.iter().take_while(|slice| slice.at <= time).last().map(|slice| slice.sent.clone());
        let (before, after) = (at(from).unwrap_or_default(), at(to).unwrap_or_default());
        after.iter().zip(before).map(|(after, before)| after - before).collect()
    };
    let shift = |at: Instant| without.start + at.saturating_duration_since(with.start);
    let (own, usual) = (bytes(with, first, last), bytes(without, shift(first), shift(last)));
    let ratios = own.iter().zip(&usual).filter(|(_, usual)| **usual > 0).map(|(own, usual)| *own as f64 / *usual as f64);
    measured.uplink_ratio = ratios.reduce(f64::max);
}

/// The longest run of frames that the twin played and this one did not, and how many there are. Frames neither played interrupt nothing.
fn missing(own: &BTreeSet<u64>, twin: &BTreeSet<u64>, captures: Range<u64>) -> (u64, u64) {
    let (mut longest, mut run, mut lost) = (0, 0, 0);
    for capture in captures {
        if own.contains(&capture) {
            run = 0;
        } else if twin.contains(&capture) {
            run += 1;
            lost += 1;
            longest = u64::max(longest, run);
        }
    }
    (longest, lost)
}

/// The longest time by which a picture came later after the one before it than it was captured after that one.
fn longest_excess(edge: &Edge, window: Range<Instant>) -> Duration {
    let pairs = edge.frames.windows(2).filter(|pair| pair[1].1 >= window.start && pair[0].1 <= window.end);
    let excess = pairs.map(|pair| {
        let captured = interval(edge.kind) * u32::try_from(pair[1].0.saturating_sub(pair[0].0)).unwrap_or(u32::MAX);
        (pair[1].1 - pair[0].1).saturating_sub(captured)
    });
    excess.max().unwrap_or_default()
}

/// Until voice and picture came back after a disaster.
pub fn outages(scenario: &Scenario, side: &Side) -> Measured {
    let mut measured = common(scenario, side);
    for edge in edges(side, scenario.participants) {
        measured.duplicates += edge.doubled;
        let usual = interval(edge.kind);
        let begins = |at: Instant| at + usual * 4 >= side.trigger && at <= side.trigger + OUTAGE_BEGINS;
        let near = edge.frames.windows(2).filter(|pair| begins(pair[0].1)).map(|pair| pair[1].1 - pair[0].1);
        // Whoever is not back at the end was away at least until then.
        let open = edge.frames.last().map(|(_, last)| side.until.saturating_duration_since(*last)).filter(|gap| *gap > SILENT);
        let longest = near.chain(open).max().unwrap_or_default().saturating_sub(usual);
        match edge.kind {
            TrackKind::Audio => measured.audio_outages.push((edge.speaker, edge.listener, ms(longest))),
            TrackKind::Video => measured.video_outages.push((edge.speaker, edge.listener, ms(longest))),
        }
    }
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(40);

    fn pictures(start: Instant, which: impl Iterator<Item = u64>) -> Edge {
        let frames = which.map(|number| (number, start + FRAME * number as u32)).collect();
        Edge { listener: 0, speaker: 1, kind: TrackKind::Video, frames, heard: Vec::new(), doubled: 0 }
    }

    #[test]
    fn frames_that_only_the_twin_played_are_missing() {
        let all: BTreeSet<u64> = (0..100).collect();
        let without = |gone: &[u64]| all.iter().copied().filter(|number| !gone.contains(number)).collect::<BTreeSet<_>>();
        assert_eq!(missing(&all, &all, 0..100), (0, 0));
        assert_eq!(missing(&without(&[10, 11, 12, 50]), &all, 0..100), (3, 4));
        // What neither played interrupts nothing, and what is outside is not looked at.
        assert_eq!(missing(&without(&[10, 11, 12]), &without(&[11]), 0..100), (2, 2));
        assert_eq!(missing(&without(&[10]), &all, 11..100), (0, 0));
    }

    #[test]
    fn pictures_that_came_late_are_an_excess_and_pictures_not_captured_are_none() {
        let start = Instant::now();
        let window = start..start + Duration::from_secs(4);
        let mut late = pictures(start, 0..100);
        late.frames[50].1 += Duration::from_millis(25);
        assert_eq!(longest_excess(&late, window.clone()), Duration::from_millis(25));
        assert_eq!(longest_excess(&pictures(start, (0..100).filter(|number| *number != 50)), window), Duration::ZERO);
    }

    #[test]
    fn every_change_of_the_room_within_half_a_minute_is_counted() {
        let start = Instant::now();
        let told = |changes: &[(u64, Topology)]| -> Vec<_> {
            changes.iter().map(|(at, to)| (start + Duration::from_secs(*at), Told::Topology(*to))).collect()
        };
        let (mesh, mixed, relayed) = (Topology::Mesh, Topology::Mixed, Topology::Relayed);
        assert_eq!(switches(start, &told(&[])), 0);
        assert_eq!(switches(start, &told(&[(5, mixed), (6, relayed)])), 1);
        assert_eq!(switches(start, &told(&[(5, relayed), (9, mesh), (12, relayed), (50, mesh)])), 3);
    }
}
