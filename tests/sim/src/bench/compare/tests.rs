use super::*;
use crate::bench::class::Class;
use crate::bench::side::{TrackKey, lost_and_doubled};
use crate::scenario::{Runner, Scenario};
use segue_model::TrackSource;

const AUDIO: Duration = Duration::from_millis(20);
const VIDEO: Duration = Duration::from_millis(40);

fn trial() -> Trial {
    Trial { seed: 1, participants: 2, up: true, class: Class::Clean, loss: 0.0, burst: false, jitter: 0.0, diff: 0.0 }
}

/// A track of which every frame was played, so late, in ten seconds.
fn track(source: TrackSource, interval: Duration) -> EdgePlayed {
    let late = Duration::from_millis(60);
    let frames = (0..10_000 / interval.as_millis() as u64).map(|index| (index, interval * index as u32 + late, 100));
    EdgePlayed {
        key: TrackKey { listener: 0, speaker: 1, source, place: 0 },
        kind: if source == TrackSource::Microphone { TrackKind::Audio } else { TrackKind::Video },
        begun: Duration::ZERO,
        interval,
        frames: frames.collect(),
        holes: Vec::new(),
        doubled: 0,
        keyframes: 0,
        slower_ms: 0.0,
    }
}

/// A voice and two pictures in a run whose last edge moved after four seconds.
fn side() -> Side {
    let scenario = Scenario::parse("name = 'x'\nstep = []", &|_| None).unwrap();
    let world = Runner::new(&scenario, 1, true).world;
    let mut side = Side::new(&trial(), &world, vec![0, 1], 1);
    (side.until, side.last_commit) = (Duration::from_secs(10), Some(Duration::from_secs(4)));
    (side.committed, side.moved) = (true, true);
    side.edges =
        vec![track(TrackSource::Microphone, AUDIO), track(TrackSource::Camera, VIDEO), track(TrackSource::Screen, VIDEO * 5)];
    side
}

fn measure(spoil: impl FnOnce(&mut Side)) -> Measured {
    let mut with = side();
    spoil(&mut with);
    compare(&trial(), &with, &side())
}

fn drop_frames(edge: &mut EdgePlayed, which: Range<u64>) {
    edge.frames.retain(|(index, ..)| !which.contains(index));
}

#[test]
fn where_nothing_differs_nothing_is_found() {
    let m = measure(|_| {});
    assert_eq!((m.audio_gaps, m.video_gaps, m.frames_lost), (vec![0.0], vec![0.0; 2], vec![0.0; 2]));
    assert_eq!((m.freezes, m.duplicates, m.keyframes_extra, m.participants_lost), (0, 0, 0, 0));
    assert_eq!((m.quality, m.delay_added), (vec![1.0; 2], vec![0.0]));
    // Until three seconds after the last commit.
    assert_eq!(m.compared, (350, 175 + 35));
}

#[test]
fn frames_of_a_voice_that_were_not_played_are_a_gap() {
    let m = measure(|side| drop_frames(&mut side.edges[0], 200..203));
    assert_eq!(m.audio_gaps, [60.0]);
}

#[test]
fn what_the_twin_did_not_play_either_is_no_gap() {
    let (mut with, mut without) = (side(), side());
    for side in [&mut with, &mut without] {
        drop_frames(&mut side.edges[0], 200..203);
    }
    assert_eq!(compare(&trial(), &with, &without).audio_gaps, [0.0]);
}

#[test]
fn a_gap_just_before_the_window_ends_is_seen_and_one_after_it_is_not() {
    // 3 s after the last commit is frame 350.
    assert_eq!(measure(|side| drop_frames(&mut side.edges[0], 347..350)).audio_gaps, [60.0]);
    assert_eq!(measure(|side| drop_frames(&mut side.edges[0], 350..353)).audio_gaps, [0.0]);
}

#[test]
fn a_picture_that_was_not_shown_is_lost_and_leaves_a_gap_on_its_own_track() {
    let m = measure(|side| drop_frames(&mut side.edges[1], 90..91));
    assert_eq!(m.frames_lost, [1.0, 0.0]);
    let m = measure(|side| drop_frames(&mut side.edges[2], 15..16));
    assert_eq!(m.frames_lost, [0.0, 1.0]);
}

#[test]
fn pictures_that_come_late_are_a_gap_and_from_150_ms_on_a_freeze() {
    let late =
        |ms: u64| measure(|side| side.edges[1].frames[90..].iter_mut().for_each(|frame| frame.1 += Duration::from_millis(ms)));
    let (short, long) = (late(100), late(150));
    assert_eq!((short.video_gaps[0].round(), short.freezes), (100.0, 0));
    assert_eq!((long.video_gaps[0].round(), long.freezes), (150.0, 1));
    // Of five pictures a second two frames are longer than that.
    assert_eq!(long.video_limits, [80.0, 400.0]);
}

#[test]
fn a_track_that_stops_or_never_comes_is_all_gap() {
    let stops = measure(|side| side.edges.iter_mut().for_each(|edge| edge.frames.retain(|(_, at, _)| at.as_secs() < 4)));
    assert!(stops.audio_gaps[0] >= 3_000.0 && stops.video_gaps[0] >= 3_000.0 && stops.freezes == 2, "{stops:?}");
    let never = measure(|side| side.edges.clear());
    assert_eq!((never.audio_gaps, never.frames_lost), (vec![7_000.0], vec![175.0, 35.0]));
}

#[test]
fn a_source_that_is_muted_in_both_runs_is_compared_up_to_then() {
    let (mut with, mut without) = (side(), side());
    for side in [&mut with, &mut without] {
        side.edges.iter_mut().for_each(|edge| edge.frames.retain(|(_, at, _)| at.as_secs() < 4));
    }
    let m = compare(&trial(), &with, &without);
    assert_eq!((m.audio_gaps[0], m.video_gaps[0], m.freezes), (0.0, 0.0, 0));
    assert!(m.quality.is_empty(), "a picture that is not sent has no quality");
    drop_frames(&mut with.edges[0], 100..102);
    assert_eq!(compare(&trial(), &with, &without).audio_gaps, [40.0]);
}

#[test]
fn half_the_bytes_are_half_the_quality_of_one_track() {
    let m = measure(|side| side.edges[1].frames.iter_mut().for_each(|frame| frame.2 = 50));
    assert_eq!(m.quality, [0.5, 1.0]);
}

#[test]
fn delay_beyond_the_difference_of_paths_is_added_delay() {
    let m = measure(|side| {
        side.edges[0].slower_ms = 30.0;
        side.edges[0].frames.iter_mut().for_each(|frame| frame.1 += Duration::from_millis(45));
    });
    assert!((m.delay_added[0] - 15.0).abs() < 1e-6, "{:?}", m.delay_added);
}

#[test]
fn what_was_played_twice_and_keyframes_asked_for_are_counted() {
    let m = measure(|side| {
        side.edges[0].doubled = 2;
        side.edges[1].keyframes = 3;
    });
    assert_eq!((m.duplicates, m.keyframes_extra), (2, 3));
    // Fewer of one track do not make up for more of another.
    let (mut with, mut without) = (side(), side());
    (with.edges[1].keyframes, without.edges[2].keyframes) = (1, 1);
    assert_eq!(compare(&trial(), &with, &without).keyframes_extra, 1);
}

#[test]
fn messages_that_did_not_come_or_came_again_are_counted() {
    assert_eq!(lost_and_doubled(&[1, 2, 3, 4], &[1, 2, 2, 4, 5]), (1, 1));
    assert_eq!(measure(|side| side.messages_lost = 1).messages_lost, 1);
}

#[test]
fn whoever_is_thrown_out_is_lost_though_it_happens_in_the_twin_too() {
    let (mut with, mut without) = (side(), side());
    for side in [&mut with, &mut without] {
        side.thrown_out = vec!["a".to_owned()];
        side.silent.insert("b gets nothing of c".to_owned());
    }
    with.silent.insert("c gets nothing of b".to_owned());
    assert_eq!(compare(&trial(), &with, &without).participants_lost, 2);
}

#[test]
fn an_outage_lasts_from_the_last_frame_before_to_the_first_after_and_an_edge_that_ends_is_out_for_good() {
    let edge = track(TrackSource::Microphone, AUDIO);
    let (at, end) = (Duration::from_secs(5), Duration::from_secs(10));
    assert_eq!(silence(&edge, at, end), Duration::ZERO);
    let mut cut = edge.clone();
    drop_frames(&mut cut, 250..280);
    assert_eq!(silence(&cut, at, end), Duration::from_millis(600));
    cut.frames.truncate(250);
    assert_eq!(silence(&cut, at, end), WATCHED);
}
