use super::*;
use crate::bench::side::Truth;

fn trial(class: Class, up: bool) -> Trial {
    Trial { seed: 7, participants: 3, up, class, loss: 0.0, burst: false, jitter: 0.0, diff: 0.0 }
}

/// A run with nothing wrong.
fn fine() -> Measured {
    Measured {
        truth: Truth { participants: 3, round_trip_50: true, ..Truth::default() },
        audio_gaps: vec![0.0; 6],
        video_gaps: vec![0.0; 6],
        video_limits: vec![80.0; 6],
        frames_lost: vec![0.0; 6],
        quality: vec![1.0; 6],
        messages_sent: 100,
        migrate_ms: Some(300.0),
        overlap_ms: Some(300.0),
        uplink_ratio: Some(1.1),
        downlink_ratio: Some(1.1),
        delay_added: vec![0.0; 6],
        switches: 1,
        newcomer_keyframes: vec![1.0],
        committed: true,
        moved: true,
        ..Measured::default()
    }
}

fn report(runs: impl IntoIterator<Item = (Class, bool, Measured)>) -> Report {
    let mut report = Report::default();
    runs.into_iter().for_each(|(class, up, measured)| report.add(&trial(class, up), Ok(measured)));
    report
}

fn values(report: &Report) -> Vec<Value> {
    report.lines.borrow_mut().clear();
    report.print();
    report.lines.borrow().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn met(report: &Report, goal: &str) -> Value {
    values(report).iter().find(|line| line["goal"] == goal).unwrap()["met"].clone()
}

fn of(spoil: impl FnOnce(&mut Measured)) -> Report {
    let mut spoilt = fine();
    spoil(&mut spoilt);
    report([(Class::Clean, true, fine()), (Class::Clean, true, spoilt)])
}

#[test]
fn what_was_not_measured_is_neither_met_nor_nought() {
    for line in values(&report([])) {
        match line["kind"].as_str() {
            Some("handover_goal") => assert_eq!(line["met"], Value::Null, "{line}"),
            _ => assert_eq!(
                (&line["audio_gap_ms"]["p99"], &line["overlap_ms"], &line["worst_seed"]),
                (&Value::Null, &Value::Null, &Value::Null)
            ),
        }
    }
    let voices = Measured { video_gaps: vec![], video_limits: vec![], frames_lost: vec![], quality: vec![], ..fine() };
    let voices = Measured {
        newcomer_keyframes: vec![],
        uplink_ratio: None,
        downlink_ratio: None,
        overlap_ms: None,
        messages_sent: 0,
        ..voices
    };
    let voices = report([(Class::Clean, true, voices)]);
    assert_eq!(met(&voices, "G1"), true);
    for goal in ["G3", "G4", "G5", "G6", "G8", "G10", "G11", "G12", "G13", "G14", "G15", "G16"] {
        assert_eq!(met(&voices, goal), Value::Null, "{goal}");
    }
}

#[test]
fn a_run_with_nothing_wrong_meets_what_it_speaks_of_and_each_fault_fails_its_goal() {
    for goal in ["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G16"] {
        assert_eq!(met(&of(|_| {}), goal), true, "{goal}");
    }
    let fails = |goal: &str, spoil: &dyn Fn(&mut Measured)| assert_eq!(met(&of(spoil), goal), false, "{goal}");
    fails("G1", &|m| m.audio_gaps[0] = 60.0);
    fails("G1", &|m| m.duplicates = 1);
    fails("G2", &|m| m.audio_gaps[0] = 60.0);
    fails("G2", &|m| m.participants_lost = 1);
    fails("G2", &|m| m.committed = false);
    fails("G3", &|m| m.video_gaps[0] = 90.0);
    fails("G3", &|m| m.freezes = 1);
    fails("G4", &|m| m.frames_lost[0] = 1.0);
    fails("G5", &|m| m.keyframes_extra = 1);
    fails("G5", &|m| m.newcomer_keyframes = vec![2.0]);
    fails("G6", &|m| m.quality[0] = 0.5);
    fails("G7", &|m| m.migrate_ms = Some(600.0));
    fails("G8", &|m| m.downlink_ratio = Some(1.3));
    fails("G9", &|m| m.delay_added[0] = 30.0);
    fails("G16", &|m| m.messages_lost = 1);
    fails("G16", &|m| m.messages_doubled = 1);
}

#[test]
fn frames_may_be_lost_by_what_is_lost_in_the_mean() {
    let lost = |loss: f64, frames: f64| of(|m| (m.truth.loss, m.frames_lost[0]) = (loss, frames));
    assert_eq!(met(&lost(0.01, 1.0), "G4"), false);
    assert_eq!(met(&lost(0.0167, 1.0), "G4"), true);
    assert_eq!(met(&lost(0.05, 2.0), "G4"), false);
}

#[test]
fn quality_of_one_class_and_direction_is_not_made_up_for_by_others() {
    let poor = Measured { quality: vec![0.5], ..fine() };
    let good = (0..100).map(|_| (Class::Clean, true, fine()));
    let runs = report(good.chain([(Class::Clean, false, poor)]));
    assert_eq!(met(&runs, "G6"), false);
    let lines = values(&runs);
    let class = lines.iter().find(|line| line["kind"] == "handover_class").unwrap();
    assert_eq!((&class["quality"]["up"]["p05"], &class["quality"]["down"]["p05"]), (&Value::from(1), &Value::from(0.5)));
}

#[test]
fn runs_that_did_not_move_are_counted_and_do_not_thin_out_what_moved() {
    let still = Measured { committed: false, moved: false, ..fine() };
    let bad = Measured { audio_gaps: vec![40.0], ..fine() };
    let runs = report((0..200).map(|_| (Class::Clean, true, still.clone())).chain([(Class::Clean, true, bad)]));
    assert_eq!((met(&runs, "G1"), met(&runs, "G2")), (false.into(), false.into()));
    for line in values(&runs).iter().filter(|line| line["kind"] != "handover_goal") {
        assert_eq!(line["not_moved"], 200, "{line}");
    }
}

#[test]
fn a_run_that_failed_fails_the_goals_of_its_class() {
    let mut runs = report([
        (Class::Clean, true, fine()),
        (Class::RelayKilled, true, Measured { audio_outage: vec![1.0], video_outage: vec![1.0], ..fine() }),
    ]);
    assert_eq!((met(&runs, "G1"), met(&runs, "G10")), (true.into(), true.into()));
    let failure = Failure { seed: 7, at: 1.0, what: "played twice".to_owned(), lines: Vec::new() };
    runs.add(&trial(Class::Clean, true), Err(failure));
    assert_eq!(
        (met(&runs, "G1"), met(&runs, "G2"), met(&runs, "G10"), met(&runs, "G16")),
        (false.into(), false.into(), true.into(), false.into())
    );
    assert_eq!(values(&runs).last().unwrap()["failed"], 1);
    assert!(!runs.is_sound());
}
