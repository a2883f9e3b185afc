mod world;

use super::*;
/// Audio frames in a time.
fn frames(time: Duration) -> u32 {
    time.as_millis() as u32 / 20
}

use world::{AUDIO, Dice, Link, Played, VIDEO, World, misfit};

#[test]
fn a_clean_link_plays_everything_soon() {
    let mut world = World::new(1, vec![Link::new(1, 30)]);
    world.run(0, 10_000);
    let played = &world.played;
    played.no_duplicates();
    assert_eq!((Played::missing(&played.audio), Played::missing(&played.video)), (0, 0));
    assert_eq!(played.conceals + played.fec, 0);
    assert_eq!(Played::longest_excess(&played.video, 40), 0);
    assert!(played.events.is_empty(), "{:?}", played.events);
    assert!(Played::delay(&played.audio, 20) <= 30 + 60, "{}", Played::delay(&played.audio, 20));
    assert!(Played::delay(&played.video, 40) <= 30 + 40);
    let stats = world.receiver.stats(AUDIO).unwrap();
    assert_eq!((stats.buffer.missed, stats.buffer.gaps, stats.packets.duplicate), (0, 0, 0));
}

#[test]
fn two_lossy_legs_with_different_delays_leave_no_gap_when_either_delivers() {
    for (seed, loss, jitter) in [(1, 0, 0), (2, 1, 30), (3, 5, 30), (4, 10, 60), (5, 1, 100)] {
        let quick = Link { loss_percent: loss, jitter, ..Link::new(1, 20) };
        let slow = Link { jitter, ..Link::new(2, 120) };
        let mut world = World::new(seed, vec![quick, slow]);
        world.run(0, 20_000);
        let played = &world.played;
        played.no_duplicates();
        let stats = world.receiver.stats(AUDIO).unwrap();
        assert_eq!(Played::missing(&played.video), 0, "video, loss {loss}");
        assert!(played.events.is_empty(), "a keyframe was asked for: {:?}", played.events);
        // The delay grows to the slower leg within the first seconds.
        let later: Vec<(u64, u32)> = played.audio.iter().copied().filter(|(at, _)| *at > 4_000).collect();
        assert_eq!(Played::missing(&later), 0, "audio, loss {loss}, jitter {jitter}: {stats:?}");
        assert!(stats.packets.duplicate > 800);
    }
}

#[test]
fn losses_on_one_leg_are_concealed_and_counted() {
    for (seed, loss) in [(1, 1), (2, 5), (3, 10)] {
        let mut world = World::new(seed, vec![Link { loss_percent: loss, ..Link::new(1, 30) }]);
        world.run(0, 30_000);
        let played = &world.played;
        played.no_duplicates();
        let stats = world.receiver.stats(AUDIO).unwrap().buffer;
        assert_eq!(u64::from(Played::missing(&played.audio) - frames(stats.shrunk)), stats.missed);
        // What is being concealed at the end of the run is not counted before it is known to be a gap.
        assert!((played.conceals + played.fec - frames(stats.concealed + stats.stretched)) <= 5);
        assert_eq!(stats.late, 0);
        assert!(played.fec > 0);
        assert!(stats.longest_gap <= Duration::from_millis(120), "{stats:?}");
        let video = world.receiver.stats(VIDEO).unwrap().buffer;
        let missing = u64::from(Played::missing(&played.video));
        assert!(missing > 0 && video.missed.abs_diff(missing) <= missing / 8 + 2, "{} of {missing}", video.missed);
        assert!(!played.events.is_empty());
        let gaps: Vec<u64> = played.events.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps.iter().all(|gap| *gap >= 500), "requests are spaced: {gaps:?}");
    }
}

#[test]
fn repaired_losses_cost_video_nothing_but_time() {
    for seed in 1..6 {
        let mut world = World::new(seed, vec![Link { loss_percent: 5, repair: 60, jitter: 10, ..Link::new(1, 25) }]);
        world.run(0, 20_000);
        let played = &world.played;
        played.no_duplicates();
        assert!(played.events.is_empty());
        assert!(Played::missing(&played.video) <= 3, "{}", Played::missing(&played.video));
        assert!(Played::delay(&played.video, 40) <= 25 + 60 + 10 + 60);
    }
}

#[test]
fn a_change_of_path_loses_nothing_and_doubles_nothing() {
    for seed in 1..20 {
        for (old, new) in [(20, 100), (100, 20), (30, 180)] {
            let jitter = Dice::new(seed).below(30);
            let first = Link { until: 6_000, jitter, ..Link::new(1, old) };
            let second = Link { from: 4_500, jitter, ..Link::new(2, new) };
            let mut world = World::new(seed, vec![first, second]);
            world.run(0, 3_000);
            // What the heartbeats of the standby leg tell before it is used.
            let now = world.at(3_000);
            for track in [AUDIO, VIDEO] {
                world.receiver.raise_target(now, track, Duration::from_millis(new.saturating_sub(old)));
            }
            world.run(3_000, 22_000);
            let played = &world.played;
            played.no_duplicates();
            let stats = world.receiver.stats(AUDIO).unwrap().buffer;
            assert_eq!(stats.missed, 0, "{old} to {new}, seed {seed}: {stats:?}");
            assert_eq!(stats.gaps, 0, "{old} to {new}, seed {seed}: {stats:?}");
            assert_eq!(Played::missing(&played.video), 0, "{old} to {new}, seed {seed}");
            let video = world.receiver.stats(VIDEO).unwrap().buffer;
            assert_eq!((video.missed, video.gaps), (0, 0));
            assert!(played.events.is_empty());
            // Added delay is the difference of the paths, and goes away again.
            let delay = Played::delay(&played.audio, 20);
            assert!(delay <= new + jitter + 80, "{old} to {new}: {delay}");
        }
    }
}

#[test]
fn numbers_and_timestamps_wrap_unnoticed() {
    // Seeds set the first numbers and the timestamp base; the media clock starts just before it wraps (24.8 h of audio).
    for seed in 1..40 {
        let mut world = World::new(seed, vec![Link { jitter: 20, ..Link::new(1, 20) }, Link::new(2, 45)]);
        let mut probe = crate::source::SourceSender::new(AUDIO, TrackKind::Audio, seed);
        let base = probe.probe().timestamp;
        world.media_start = u64::from(u32::MAX - base) / 48 - 2_000;
        world.run(0, 5_000);
        world.played.no_duplicates();
        let stats = world.receiver.stats(AUDIO).unwrap().buffer;
        assert_eq!((stats.missed, stats.gaps, Played::missing(&world.played.video)), (0, 0, 0));
        assert_eq!(frames(stats.stretched), world.played.conceals);
        assert_eq!(frames(stats.shrunk), Played::missing(&world.played.audio));
    }
}

#[test]
fn a_temporal_layer_left_out_is_no_loss() {
    let mut world = World::new(1, vec![Link { jitter: 10, ..Link::new(1, 30) }]);
    world.run(0, 3_000);
    world.max_temporal = 0;
    world.run(3_000, 6_000);
    world.max_temporal = 1;
    world.run(6_000, 9_000);
    let stats = world.receiver.stats(VIDEO).unwrap().buffer;
    assert_eq!(stats.frames, 75 + 38 + 75 - 2, "{stats:?}");
    assert!(world.played.events.is_empty());
    assert_eq!(stats.gaps, 0);
    assert!(stats.missed <= 1, "{stats:?}");
}

#[test]
fn another_encoding_takes_over_at_its_keyframe() {
    let mut world = World::new(1, vec![Link { jitter: 10, ..Link::new(1, 30) }]);
    world.downswitch_at = 3_000;
    world.run(0, 6_000);
    world.downswitch_at = u64::MAX;
    world.keyframe(0);
    world.run(6_000, 9_000);
    let stats = world.receiver.stats(VIDEO).unwrap().buffer;
    world.played.no_duplicates();
    assert_eq!(Played::missing(&world.played.video), 0);
    assert_eq!((stats.switches, stats.missed, stats.gaps), (2, 0, 0), "{stats:?}");
    assert!(world.played.events.is_empty());
}

#[test]
fn a_late_joiner_asks_for_a_keyframe_once() {
    let mut world = World::new(1, vec![Link { from: 1_000, ..Link::new(1, 30) }]);
    world.run(0, 4_000);
    assert_eq!(world.played.events.len(), 1);
    assert!(world.played.video.first().unwrap().0 < 1_200);
    assert_eq!(Played::missing(&world.played.video), 0);
}

#[test]
fn an_outage_ends_with_the_newest_and_not_with_the_oldest() {
    // Two seconds of everything come at once, as after a stalled relay.
    let mut world = World::new(1, vec![Link::new(1, 30)]);
    world.run(0, 4_000);
    for ms in 4_000..6_000u64 {
        world.links[0].delay = 6_030 - ms;
        world.run(ms, ms + 1);
    }
    world.links[0].delay = 30;
    world.run(6_000, 10_000);
    let played = &world.played;
    played.no_duplicates();
    assert!(Played::delay(&played.audio, 20) <= 130, "{}", Played::delay(&played.audio, 20));
    assert!(Played::delay(&played.video, 40) <= 130, "{}", Played::delay(&played.video, 40));
    let soon = played.audio.iter().filter(|(at, frame)| (6_500..7_000).contains(at) && at - u64::from(*frame) * 20 < 500);
    assert!(soon.count() >= 20, "half a second later the call is live again");
    assert_eq!(Played::missing(&played.video), 0, "pictures that depend on each other are all decoded");
}

#[test]
fn silence_is_no_gap() {
    let mut world = World::new(1, vec![Link { jitter: 15, ..Link::new(1, 30) }]);
    world.mute = 2_000..5_000;
    world.run(0, 8_000);
    world.played.no_duplicates();
    let stats = world.receiver.stats(AUDIO).unwrap().buffer;
    assert_eq!((stats.missed, stats.gaps), (0, 0), "{stats:?}");
    assert_eq!(Played::missing(&world.played.audio), frames(stats.shrunk));
}

#[test]
fn packets_of_the_wrong_kind_are_refused() {
    let mut receiver = Receiver::new();
    let now = Instant::now();
    receiver.add_leg(LegId(1), LegSources::Any);
    receiver.add_track(VIDEO, TrackKind::Video);
    assert_eq!(receiver.handle_packet(now, LegId(1), misfit()), MergeOutcome::Rejected(RejectReason::WrongKind));
    assert_eq!(receiver.leg_counts(LegId(1)).unwrap().rejected[&RejectReason::WrongKind], 1);
    assert_eq!(receiver.pull_audio(now, VIDEO), AudioPull::Wait);
}
