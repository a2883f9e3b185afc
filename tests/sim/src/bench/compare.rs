//! What was played in two runs, frame by frame.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use segue_model::TrackKind;

use super::side::{EdgePlayed, Side, Truth};
use super::trial::{AFTERMATH, Trial, WATCHED};
use crate::world::World;

/// Frames by which the delay of an edge is judged, and how old the last of them may be.
const LAG_FRAMES: usize = 25;
const LAG_AGE: Duration = Duration::from_secs(1);

/// From the last commit until quality must be back.
const QUALITY_AFTER: Duration = Duration::from_secs(1);

/// The longest gap of a picture that the goal allows: two frames, or this where those are shorter.
const PICTURE_GAP: Duration = Duration::from_millis(80);

/// A picture that stands for so much longer than it should, or for two frames more where those are longer, is frozen (freezeCount of the
/// W3C's webrtc-stats: three frames, or a frame and 150 ms).
const FREEZE: Duration = Duration::from_millis(150);

/// An outage begins at most so long after a disaster: what was sent before it is played still.
const OUTAGE_BEGINS: Duration = Duration::from_secs(4);

/// An edge on which nothing came for so long at the end is lost.
const STOPPED: Duration = Duration::from_secs(2);

/// What one comparison gave.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub truth: Truth,
    /// Of each edge, in milliseconds.
    pub audio_gaps: Vec<f64>,
    pub video_gaps: Vec<f64>,
    /// How long each of the latter may be.
    pub video_limits: Vec<f64>,
    /// Pictures that froze in this run and not in the twin.
    pub freezes: u64,
    pub frames_lost: Vec<f64>,
    /// Frames that the twin played in what was looked at, of voices and of pictures.
    pub compared: (u64, u64),
    /// Longest time without anything to play, beyond that of the twin: what a hold in playout costs although no frame is left out.
    pub holes: Vec<f64>,
    /// Bytes of each picture played from one to three seconds after the last commit, as a share of the twin's.
    pub quality: Vec<f64>,
    pub duplicates: u64,
    /// Edges on which nothing comes any more though in the twin it does, and participants that were thrown out.
    pub participants_lost: u64,
    /// Who gets nothing of whom at the end and who was thrown out, in words.
    pub lost: Vec<String>,
    pub messages_sent: u64,
    pub messages_lost: u64,
    pub messages_doubled: u64,
    /// Asked for by synced receivers, beyond those that the same receiver asked for of the same track in the twin.
    pub keyframes_extra: u64,
    /// From the room's decision to the last commit; none where nothing moved.
    pub migrate_ms: Option<f64>,
    pub overlap_ms: Option<f64>,
    pub uplink_ratio: Option<f64>,
    pub downlink_ratio: Option<f64>,
    /// Delay added beyond the difference of the paths, in milliseconds, for each voice.
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
    /// At least one edge took another path, or nothing was to move.
    pub committed: bool,
    /// Everything that was to move has.
    pub moved: bool,
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Measured {
    /// What can be said of a run without a twin.
    pub fn alone(side: &Side) -> Self {
        Self {
            truth: side.truth.clone(),
            migrate_ms: side.migrate_ms(),
            duplicates: side.edges.iter().map(|edge| edge.doubled).sum(),
            participants_lost: (side.silent.len() + side.thrown_out.len()) as u64,
            lost: side
                .silent
                .iter()
                .cloned()
                .chain(side.thrown_out.iter().map(|name| format!("{name} was thrown out")))
                .collect(),
            messages_sent: side.messages_sent,
            messages_lost: side.messages_lost,
            messages_doubled: side.messages_doubled,
            switches: side.switches,
            newcomer_keyframes: side.newcomer_keyframes.clone(),
            committed: side.committed,
            moved: side.moved,
            ..Self::default()
        }
    }
}

/// Compares a run with its twin.
pub fn compare(trial: &Trial, with: &Side, without: &Side) -> Measured {
    let mut measured = Measured::alone(with);
    // Whoever gets nothing in the twin either has not lost it by the switch; whoever is thrown out has lost everything.
    measured.participants_lost = (with.silent.difference(&without.silent).count() + with.thrown_out.len()) as u64;
    let window = with.window();
    for twin in &without.edges {
        let nothing = EdgePlayed { frames: Vec::new(), holes: Vec::new(), doubled: 0, keyframes: 0, ..twin.clone() };
        let own = with.edges.iter().find(|edge| edge.key == twin.key).unwrap_or(&nothing);
        measured.keyframes_extra += own.keyframes.saturating_sub(twin.keyframes);
        let quality = with.last_commit.map(|last| last + QUALITY_AFTER..last + AFTERMATH);
        edge(&mut measured, own, twin, window, quality);
    }
    overlap(&mut measured, trial, with, without);
    measured
}

/// Compares one edge.
fn edge(
    measured: &mut Measured,
    own: &EdgePlayed,
    twin: &EdgePlayed,
    window: (Duration, Duration),
    quality: Option<Range<Duration>>,
) {
    let (from, to) = window;
    let captured = |time: Duration| (time.saturating_sub(twin.begun).as_nanos() / twin.interval.as_nanos()) as u64;
    let Missing { longest, lost, compared, trailing } = missing(own, twin, captured(from)..captured(to));
    match own.kind {
        TrackKind::Audio => {
            measured.compared.0 += compared;
            measured.audio_gaps.push(longest as f64 * ms(own.interval));
            let hole = longest_hole(own, from, to).saturating_sub(longest_hole(twin, from, to).max(1));
            measured.holes.push(f64::from(hole) * ms(own.interval));
            if let Some((own_lag, twin_lag)) = lag(own, to).zip(lag(twin, to)) {
                measured.delay_added.push((own_lag - twin_lag) * 1e3 - own.slower_ms);
            }
        }
        TrackKind::Video => {
            measured.compared.1 += compared;
            let gap = ms(longest_excess(own, from, to)) - ms(longest_excess(twin, from, to));
            // A picture that stops is followed by none from which to see how long it stood.
            let gap = gap.max(trailing as f64 * ms(own.interval));
            measured.video_gaps.push(gap);
            measured.video_limits.push(ms(PICTURE_GAP.max(own.interval * 2)));
            measured.freezes += u64::from(gap >= ms(FREEZE.max(own.interval * 2)));
            measured.frames_lost.push(lost as f64);
            if let Some(span) = quality {
                let usual = played_bytes(twin, &span);
                // A picture that is not sent has no quality.
                measured.quality.extend((usual > 0.0).then(|| played_bytes(own, &span) / usual));
            }
        }
    }
}

fn overlap(measured: &mut Measured, trial: &Trial, with: &Side, without: &Side) {
    if let (Some(first), Some(last)) = (with.moving.first(), with.moving.last()) {
        measured.overlap_ms = Some(ms(*last - *first) + 20.0);
        if with.established.len() >= 3 && trial.up && *last - *first >= Duration::from_millis(60) {
            let ratios = with.carried.ratios(&without.carried, &(*first..*last));
            measured.uplink_ratio = ratios.map(|ratios| ratios.uplink);
            measured.downlink_ratio = ratios.map(|ratios| ratios.downlink);
        }
    }
}

/// Frames of a window that the twin played and this run did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Missing {
    /// The longest run of them. Frames neither played interrupt nothing.
    longest: u64,
    /// All of them.
    lost: u64,
    /// Frames of the window that the twin played.
    compared: u64,
    /// Those after the last frame that was played at all.
    trailing: u64,
}

fn missing(own: &EdgePlayed, twin: &EdgePlayed, indices: Range<u64>) -> Missing {
    let played = |edge: &EdgePlayed| -> BTreeSet<u64> { edge.frames.iter().map(|(index, ..)| *index).collect() };
    let (own, twin) = (played(own), played(twin));
    let (mut missing, mut run) = (Missing::default(), 0);
    for index in indices {
        missing.compared += u64::from(twin.contains(&index));
        if own.contains(&index) {
            run = 0;
        } else if twin.contains(&index) {
            run += 1;
            missing.lost += 1;
            missing.longest = missing.longest.max(run);
            missing.trailing += u64::from(own.last().is_none_or(|last| *last < index));
        }
    }
    missing
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

fn played_bytes(edge: &EdgePlayed, span: &Range<Duration>) -> f64 {
    edge.frames.iter().filter(|(_, played, _)| span.contains(played)).map(|(.., bytes)| f64::from(*bytes)).sum()
}

/// From capture to playing, around a time, in seconds; nothing where nothing was played then.
fn lag(edge: &EdgePlayed, at: Duration) -> Option<f64> {
    let end = edge.frames.partition_point(|(_, played, _)| *played < at);
    let recent = &edge.frames[end.saturating_sub(LAG_FRAMES)..end];
    let (_, last, _) = recent.last()?;
    if *last + LAG_AGE < at {
        return None;
    }
    let of = |(index, played, _): &(u64, Duration, u32)| {
        played.as_secs_f64() - (edge.begun.as_secs_f64() + edge.interval.as_secs_f64() * *index as f64)
    };
    Some(recent.iter().map(of).sum::<f64>() / recent.len() as f64)
}

/// Until voice and picture came back after a disaster, on each edge that had lost them.
pub fn outage(side: &Side, world: &World, at: Instant) -> Measured {
    let (at, end) = (at - world.base, world.now - world.base);
    let mut measured = Measured { committed: true, moved: true, ..Measured::alone(side) };
    for edge in &side.edges {
        let silence = silence(edge, at, end);
        match edge.kind {
            TrackKind::Audio => measured.audio_outage.push(ms(silence)),
            TrackKind::Video => measured.video_outage.push(ms(silence)),
        }
    }
    // Whoever was thrown out hears and is heard no more.
    let others = side.established.len().saturating_sub(1);
    for _ in 0..side.thrown_out.len() * others * 2 {
        measured.audio_outage.push(ms(WATCHED));
        measured.video_outage.push(ms(WATCHED));
    }
    measured
}

/// The longest silence that begins about the time of a disaster.
fn silence(edge: &EdgePlayed, at: Duration, end: Duration) -> Duration {
    if edge.frames.last().is_none_or(|(_, last, _)| *last + STOPPED < end) {
        return WATCHED;
    }
    let begins = |time: Duration| time + edge.interval * 4 >= at && time <= at + OUTAGE_BEGINS;
    let near = edge.frames.windows(2).filter(|pair| begins(pair[0].1));
    near.map(|pair| pair[1].1 - pair[0].1).max().unwrap_or_default().saturating_sub(edge.interval)
}

#[cfg(test)]
mod tests;
