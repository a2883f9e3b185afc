use std::time::Instant;

use segue_media::packet::{Origin, OriginFlags};
use segue_model::{LayerId, TrackKind};

use super::*;

const AUDIO: TrackId = TrackId(1);
const VIDEO: TrackId = TrackId(2);
const UP: PathStates = PathStates { direct: PathState::Up, relayed: PathState::Up };

fn epoch(counter: u64) -> Epoch {
    Epoch { incarnation: 1, counter }
}

fn wish(path: Path, counter: u64) -> EdgeWish<'static> {
    let (epoch, raise) = (epoch(counter), Duration::ZERO);
    EdgeWish { path, reason: "grown", epoch, tracks: &[AUDIO, VIDEO], raise, first_video: 0, merges: true }
}

fn outputs(edge: &mut Outgoing) -> Vec<OutgoingOutput> {
    std::iter::from_fn(|| edge.poll_output()).collect()
}

fn origin(track: TrackId, packet: u32, frame: u32, first: bool, last: bool) -> Origin {
    let flags = OriginFlags { first, last, ..OriginFlags::default() };
    Origin { source: track, layer: LayerId::new(0, 0), flags, packet, frame, refers_back: 0 }
}

fn tracks() -> [WatchedTrack; 2] {
    [
        WatchedTrack { track: AUDIO, kind: TrackKind::Audio, silent: false },
        WatchedTrack { track: VIDEO, kind: TrackKind::Video, silent: false },
    ]
}

#[test]
fn an_edge_moves_make_before_break() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
    edge.reconcile(now, wish(Path::Direct, 1), UP);
    assert!(outputs(&mut edge).is_empty());
    edge.reconcile(now, wish(Path::Relayed, 2), UP);
    assert!(edge.carries(Path::Direct) && edge.carries(Path::Relayed));
    let out = outputs(&mut edge);
    assert!(matches!(out[0], OutgoingOutput::TellRelay { direct: true, relayed: true, voice_only: true, .. }));
    assert!(matches!(out[1], OutgoingOutput::Send(EdgeMessage::Prepare { path: Path::Relayed, .. })));
    // Stale answers change nothing.
    edge.handle_ready(now, epoch(1), Path::Relayed);
    edge.handle_ready(now, epoch(2), Path::Direct);
    assert!(edge.in_overlap());
    edge.handle_ready(now, epoch(2), Path::Relayed);
    assert!(!edge.carries(Path::Direct) && edge.path() == Path::Relayed);
    assert!(outputs(&mut edge).contains(&OutgoingOutput::Changed { path: Path::Relayed, reason: "grown".into() }));
}

#[test]
fn audio_goes_first_then_one_video_after_the_other() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
    edge.reconcile(now, wish(Path::Relayed, 2), UP);
    assert!(edge.carries_video(now, Path::Direct, 3));
    assert!(!edge.carries_video(now, Path::Relayed, 0));
    assert_eq!(edge.next_step(now, 0..2), Some(now + VIDEO_START));
    let begun = now + VIDEO_START;
    assert!(edge.carries_video(begun, Path::Relayed, 0) && !edge.carries_video(begun, Path::Relayed, 1));
    assert!(edge.carries_video(begun + VIDEO_STEP, Path::Relayed, 1));
    assert_eq!(edge.next_step(begun, 0..2), Some(begun + VIDEO_STEP));
}

#[test]
fn pictures_go_to_the_relay_only_as_much_as_proves_it() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
    edge.reconcile(now, wish(Path::Relayed, 2), UP);
    let begun = now + VIDEO_START;
    let (pause, again) = (begun + PROOF_LENGTH, begun + PROOF_INTERVAL);
    for (at, goes, next) in [(begun, true, pause), (pause, false, again), (again, true, again + PROOF_LENGTH)] {
        assert_eq!(edge.carries_video(at, Path::Relayed, 0), goes);
        assert_eq!(edge.next_step(at, 0..1), Some(next));
        assert!(edge.carries_video(at, Path::Direct, 0) && !edge.is_thinned(at, 0));
    }
    // What comes so seldom that no turn has caught it is caught now.
    let last = begun + PROOF_INTERVAL * PROOF_TURNS;
    assert!(edge.carries_video(last + PROOF_LENGTH, Path::Relayed, 0));
    assert_eq!(edge.next_step(last, 0..1), None);
    edge.handle_ready(again, epoch(2), Path::Relayed);
    assert!(edge.carries_video(again + PROOF_LENGTH, Path::Relayed, 0));
}

#[test]
fn whoever_does_not_merge_gets_the_new_path_whole() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
    edge.reconcile(now, EdgeWish { merges: false, ..wish(Path::Relayed, 2) }, UP);
    let begun = now + VIDEO_START;
    for at in [begun, begun + PROOF_LENGTH, begun + PROOF_INTERVAL * 4] {
        assert!(edge.carries_video(at, Path::Relayed, 0) && edge.carries_video(at, Path::Direct, 0));
    }
    assert!(!edge.is_proving());
}

#[test]
fn direct_copies_are_thinned_until_the_edge_has_left_the_relay() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Relayed, "joined", epoch(1));
    edge.reconcile(now, wish(Path::Direct, 2), UP);
    let begun = now + VIDEO_START;
    let thinned = begun + THIN_AFTER;
    assert!(!edge.is_thinned(begun, 0) && edge.is_thinned(thinned, 0) && !edge.is_thinned(thinned, 1));
    assert_eq!(edge.next_step(begun + VIDEO_STEP, 0..2), Some(begun + VIDEO_STEP + THIN_AFTER));
    edge.handle_ready(thinned, epoch(2), Path::Direct);
    assert!(!edge.is_thinned(thinned, 0));
}

#[test]
fn the_relay_forwards_what_was_on_its_way_when_an_edge_left_it() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Relayed, "joined", epoch(1));
    edge.reconcile(now, wish(Path::Direct, 2), UP);
    outputs(&mut edge);
    edge.handle_ready(now, epoch(2), Path::Direct);
    let tells = |edge: &mut Outgoing| outputs(edge).into_iter().find(|out| matches!(out, OutgoingOutput::TellRelay { .. }));
    assert!(tells(&mut edge).is_none() && !edge.carries(Path::Relayed));
    assert_eq!(edge.poll_timeout(), Some(now + IN_FLIGHT));
    edge.reconcile(now + IN_FLIGHT, wish(Path::Direct, 2), UP);
    assert!(matches!(tells(&mut edge), Some(OutgoingOutput::TellRelay { direct: true, relayed: false, .. })));
    assert_eq!(edge.poll_timeout(), None);
}

#[test]
fn the_relay_is_asked_for_pictures_when_the_first_of_them_is_due() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
    let wish = EdgeWish { first_video: 2, ..wish(Path::Relayed, 2) };
    edge.reconcile(now, wish, UP);
    outputs(&mut edge);
    edge.reconcile(now + VIDEO_START + VIDEO_STEP, wish, UP);
    assert!(outputs(&mut edge).is_empty());
    edge.reconcile(now + VIDEO_START + VIDEO_STEP * 2, wish, UP);
    let out = outputs(&mut edge);
    assert!(matches!(out[..], [OutgoingOutput::TellRelay { direct: true, relayed: true, voice_only: false, .. }]), "{out:?}");
    edge.reconcile(now + VIDEO_START + VIDEO_STEP * 3, wish, UP);
    assert!(outputs(&mut edge).is_empty());
}

#[test]
fn playout_is_raised_before_a_slower_path_is_used() {
    let now = Instant::now();
    let raise = Duration::from_millis(100);
    let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
    edge.reconcile(now, EdgeWish { raise, ..wish(Path::Relayed, 2) }, UP);
    assert!(!edge.in_overlap() && !edge.carries(Path::Relayed));
    let first = outputs(&mut edge);
    assert!(matches!(&first[..], [OutgoingOutput::Send(EdgeMessage::Prepare { raise: by, .. })] if *by == raise));
    let raised = now + raise * STRETCH_FACTOR;
    assert_eq!(edge.poll_timeout(), Some(raised));
    edge.reconcile(raised, wish(Path::Relayed, 2), UP);
    assert!(edge.in_overlap() && edge.carries(Path::Relayed));
}

#[test]
fn nobody_waits_for_playout_when_a_path_fails_or_the_room_thinks_again() {
    let now = Instant::now();
    let raise = Duration::from_millis(100);
    let begin = || {
        let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
        edge.reconcile(now, EdgeWish { raise, ..wish(Path::Relayed, 2) }, UP);
        outputs(&mut edge);
        edge
    };
    let mut edge = begin();
    edge.reconcile(now, wish(Path::Relayed, 2), PathStates { direct: PathState::Suspect, ..UP });
    assert_eq!(edge.path(), Path::Relayed);
    let mut edge = begin();
    edge.reconcile(now, wish(Path::Direct, 3), UP);
    assert!(matches!(&outputs(&mut edge)[..], [OutgoingOutput::Send(EdgeMessage::Abort { .. })]));
    assert!(!edge.in_overlap());
}

#[test]
fn an_edge_that_returns_says_that_its_path_works_again() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
    edge.reconcile(now, wish(Path::Direct, 1), UP);
    edge.reconcile(now, wish(Path::Direct, 1), PathStates { direct: PathState::Suspect, ..UP });
    assert_eq!(edge.reason(), "the direct path failed");
    let later = now + RETURN_DELAY;
    edge.reconcile(later, wish(Path::Direct, 1), UP);
    edge.handle_ready(later, epoch(1), Path::Direct);
    assert_eq!(edge.reason(), "the direct path works again");
}

#[test]
fn a_laggard_stays_where_it_was_and_is_left_alone() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
    edge.reconcile(now, wish(Path::Relayed, 2), UP);
    assert!(edge.may_leave_direct());
    edge.reconcile(now + LAGGARD, wish(Path::Relayed, 2), UP);
    assert!(!edge.may_leave_direct());
    assert!(!edge.in_overlap() && edge.path() == Path::Direct);
    edge.reconcile(now + LAGGARD + RETURN_DELAY, wish(Path::Relayed, 2), UP);
    assert!(!edge.in_overlap());
    edge.handle_decision();
    edge.reconcile(now + LAGGARD + RETURN_DELAY, wish(Path::Relayed, 3), UP);
    assert!(edge.in_overlap());
}

#[test]
fn a_dead_path_is_left_at_once_and_not_returned_to_early() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Relayed, "grown", epoch(2));
    edge.reconcile(now, wish(Path::Relayed, 2), UP);
    let dead = PathStates { relayed: PathState::Suspect, ..UP };
    edge.reconcile(now, wish(Path::Relayed, 2), dead);
    assert_eq!(edge.path(), Path::Direct);
    edge.reconcile(now, wish(Path::Relayed, 2), UP);
    assert!(!edge.in_overlap());
    edge.reconcile(now + RETURN_DELAY, wish(Path::Relayed, 2), UP);
    assert!(edge.in_overlap());
}

#[test]
fn a_new_path_that_dies_in_overlap_returns_the_edge_to_where_it_was() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
    edge.reconcile(now, wish(Path::Relayed, 2), UP);
    edge.reconcile(now, wish(Path::Relayed, 2), PathStates { relayed: PathState::Down, ..UP });
    assert!(!edge.in_overlap() && edge.path() == Path::Direct);
    // The old path dying instead commits.
    let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
    edge.reconcile(now, wish(Path::Relayed, 2), UP);
    edge.reconcile(now, wish(Path::Relayed, 2), PathStates { direct: PathState::Down, ..UP });
    assert!(!edge.in_overlap() && edge.path() == Path::Relayed);
}

#[test]
fn a_first_path_gets_its_time() {
    let now = Instant::now();
    let mut edge = Outgoing::new(now, Path::Direct, "joined", epoch(1));
    let building = PathStates { direct: PathState::Down, relayed: PathState::Up };
    edge.reconcile(now, wish(Path::Direct, 1), building);
    assert_eq!(edge.path(), Path::Direct);
    assert_eq!(edge.poll_timeout(), Some(now + FIRST_PATH_PATIENCE));
    edge.reconcile(now + FIRST_PATH_PATIENCE, wish(Path::Direct, 1), building);
    assert_eq!(edge.path(), Path::Relayed);
}

#[test]
fn a_subscriber_is_ready_when_it_hears_every_source() {
    let mut edge = Incoming::new(Path::Direct, "joined", epoch(1));
    edge.handle_prepare(epoch(2), Path::Relayed, &tracks(), false);
    for packet in 0..10 {
        edge.handle_media(Path::Direct, &origin(AUDIO, packet, packet, true, true));
        if packet != 3 && packet != 6 {
            edge.handle_media(Path::Relayed, &origin(AUDIO, packet, packet, true, true));
        }
    }
    assert_eq!(edge.poll_ready(|_| true), None);
    // Two of three packets of a frame, then all of the next.
    edge.handle_media(Path::Relayed, &origin(VIDEO, 10, 1, true, false));
    edge.handle_media(Path::Relayed, &origin(VIDEO, 12, 1, false, true));
    assert_eq!(edge.poll_ready(|_| true), None);
    for packet in 13..16 {
        edge.handle_media(Path::Relayed, &origin(VIDEO, packet, 2, packet == 13, packet == 15));
    }
    assert_eq!(edge.poll_ready(|_| true), Some(Ready { epoch: epoch(2), path: Path::Relayed }));
    assert_eq!(edge.poll_ready(|_| true), None);
    // A repeated prepare is answered again.
    edge.handle_prepare(epoch(2), Path::Relayed, &tracks(), false);
    assert!(edge.poll_ready(|_| true).is_some());
}

#[test]
fn silent_sources_count_as_heard_but_something_must_prove_the_path() {
    let mut edge = Incoming::new(Path::Direct, "joined", epoch(1));
    edge.handle_prepare(epoch(2), Path::Relayed, &tracks(), false);
    edge.handle_silent(AUDIO);
    edge.handle_silent(VIDEO);
    assert_eq!(edge.poll_ready(|_| false), None);
    assert!(edge.poll_ready(|_| true).is_some());
}

#[test]
fn a_switch_edge_is_ready_when_the_shell_decoded_a_frame_of_each_track() {
    let mut edge = Incoming::new(Path::Direct, "joined", epoch(1));
    edge.handle_prepare(epoch(2), Path::Relayed, &tracks(), true);
    assert_eq!(edge.poll_ready(|_| true), None);
    edge.handle_switch_ready(AUDIO, Path::Relayed);
    assert_eq!(edge.poll_ready(|_| true), None, "the picture has yet to come");
    edge.handle_switch_ready(VIDEO, Path::Relayed);
    assert!(edge.poll_ready(|_| true).is_some());
    // A frame may be there before the prepare is, and what is muted meanwhile is not awaited.
    let mut edge = Incoming::new(Path::Direct, "joined", epoch(1));
    edge.handle_switch_ready(AUDIO, Path::Relayed);
    edge.handle_prepare(epoch(2), Path::Relayed, &tracks(), true);
    assert_eq!(edge.poll_ready(|_| true), None);
    edge.handle_silent(VIDEO);
    assert!(edge.poll_ready(|_| true).is_some());
}

#[test]
fn a_switch_edge_given_up_is_ready_at_once_where_the_new_path_is_played_still() {
    let mut edge = Incoming::new(Path::Direct, "joined", epoch(1));
    edge.handle_prepare(epoch(2), Path::Relayed, &tracks(), true);
    edge.handle_switch_ready(AUDIO, Path::Relayed);
    edge.handle_switch_ready(VIDEO, Path::Relayed);
    edge.handle_abort(epoch(2), Path::Relayed);
    // One went back to the path that carries on, the other is yet to.
    edge.handle_switch_ready(AUDIO, Path::Direct);
    edge.handle_prepare(epoch(3), Path::Relayed, &tracks(), true);
    assert_eq!(edge.poll_ready(|_| true), None);
    edge.handle_switch_ready(AUDIO, Path::Relayed);
    assert!(edge.poll_ready(|_| true).is_some());
}

#[test]
fn the_old_path_drains_and_old_epochs_are_ignored() {
    let now = Instant::now();
    let mut edge = Incoming::new(Path::Direct, "joined", epoch(1));
    assert!(edge.handle_commit(now, epoch(3), Path::Relayed, "grown", Duration::ZERO));
    assert!(edge.expects(Path::Direct));
    assert!(!edge.handle_commit(now, epoch(2), Path::Direct, "late", Duration::ZERO));
    edge.handle_prepare(epoch(2), Path::Direct, &tracks(), false);
    assert_eq!(edge.moving_to(), None);
    edge.handle_timeout(edge.poll_timeout().unwrap());
    assert!(!edge.expects(Path::Direct));
}

#[test]
fn three_missing_heartbeats_are_one_suspicion() {
    let start = Instant::now();
    let mut watch = HeartbeatWatch::default();
    assert_eq!(watch.poll_timeout(), None);
    assert!(!watch.handle_media(start) && watch.poll_timeout().is_none());
    watch.handle_heartbeat(start);
    let due = watch.poll_timeout().unwrap();
    assert_eq!(due, start + Duration::from_millis(700));
    assert!(watch.handle_timeout(due, None) && !watch.handle_timeout(due, None) && watch.is_suspect());
    assert!(watch.handle_media(due) && !watch.is_suspect());
}

#[test]
fn a_leg_whose_sibling_is_heard_gets_twice_the_time() {
    let start = Instant::now();
    let (mut watch, mut sibling) = (HeartbeatWatch::default(), HeartbeatWatch::default());
    watch.handle_heartbeat(start);
    sibling.handle_heartbeat(start + Duration::from_millis(600));
    let due = watch.poll_timeout().unwrap();
    assert!(!watch.handle_timeout(due, Some(&sibling)));
    let due = watch.poll_timeout().unwrap();
    assert_eq!(due, start + Duration::from_millis(1400));
    assert!(watch.handle_timeout(due, Some(&sibling)));
    // One that fell silent at the same time excuses nothing.
    let mut watch = HeartbeatWatch::default();
    watch.handle_heartbeat(start);
    let mut sibling = HeartbeatWatch::default();
    sibling.handle_heartbeat(start + Duration::from_millis(200));
    assert!(watch.handle_timeout(watch.poll_timeout().unwrap(), Some(&sibling)));
}
