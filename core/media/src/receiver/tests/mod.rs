mod world;

use proptest::prelude::*;
use segue_model::{LayerId, MAX_ENCODINGS};

use super::*;
use crate::packet::{Origin, OriginFlags};
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
                world.receiver.raise_target(now, track, Duration::from_millis(new.saturating_sub(old)), Duration::ZERO);
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
fn a_short_overlap_is_enough_where_the_difference_was_known_before() {
    for seed in 1..20 {
        for (old, new) in [(20, 60), (60, 20), (25, 150)] {
            let jitter = Dice::new(seed).below(20);
            let first = Link { until: 6_000, jitter, ..Link::new(1, old) };
            let second = Link { from: 5_760, jitter, ..Link::new(2, new) };
            let mut world = World::new(seed, vec![first, second]);
            world.run(0, 4_000);
            let now = world.at(4_000);
            for track in [AUDIO, VIDEO] {
                world.receiver.raise_target(now, track, Duration::from_millis(new.saturating_sub(old)), Duration::ZERO);
            }
            world.run(4_000, 10_000);
            world.played.no_duplicates();
            for track in [AUDIO, VIDEO] {
                let stats = world.receiver.stats(track).unwrap().buffer;
                assert_eq!((stats.missed, stats.gaps), (0, 0), "{old} to {new}, seed {seed}: {stats:?}");
            }
            assert!(world.played.events.is_empty());
        }
    }
}

#[test]
fn a_slower_path_that_was_not_announced_costs_its_difference_once() {
    for seed in 1..20 {
        let first = Link { until: 6_000, ..Link::new(1, 20) };
        let second = Link { from: 5_760, ..Link::new(2, 80) };
        let mut world = World::new(seed, vec![first, second]);
        world.run(0, 10_000);
        world.played.no_duplicates();
        let stats = world.receiver.stats(AUDIO).unwrap().buffer;
        assert_eq!(stats.missed, 0);
        assert!(stats.gaps <= 1 && stats.longest_gap <= Duration::from_millis(60), "{stats:?}");
        assert_eq!(Played::missing(&world.played.video), 0);
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

/// The same publisher seen through two legs that number it apart, as a browser's two connections do.
fn renumbered(mut packet: MediaPacket, leg: LegId) -> MediaPacket {
    let shift = leg.0.wrapping_mul(0x3456_789b);
    packet.origin.packet = packet.origin.packet.wrapping_add(shift);
    packet.origin.frame = packet.origin.frame.wrapping_add(shift ^ 0x77);
    packet.timestamp = packet.timestamp.wrapping_add(shift);
    packet
}

#[test]
fn a_leg_numbered_apart_takes_over_once_it_can_be_played() {
    for (old, new) in [(20, 60), (90, 30)] {
        let first = Link { until: 5_000, ..Link::new(1, old) };
        let second = Link { from: 3_990, ..Link::new(2, new) };
        let mut world = World::new(1, vec![first, second]);
        for (track, kind) in [(AUDIO, TrackKind::Audio), (VIDEO, TrackKind::Video)] {
            assert!(world.receiver.add_track_per_leg(track, kind));
        }
        world.renumber = Some(renumbered);
        world.run(0, 10_000);
        let played = &world.played;
        assert_eq!(world.receiver.active_leg(AUDIO), Some(LegId(2)));
        assert_eq!(world.receiver.active_leg(VIDEO), Some(LegId(2)));
        let active = played.events.iter().filter(|(_, event)| matches!(event, ReceiverEvent::LegActive { .. })).count();
        assert_eq!(active, 4, "each track takes each leg once: {:?}", played.events);
        let keyframes: Vec<_> =
            played.events.iter().filter(|(_, event)| matches!(event, ReceiverEvent::KeyframeNeeded { .. })).collect();
        assert!(
            keyframes.len() <= 1
                && keyframes
                    .iter()
                    .all(|(_, event)| matches!(event, ReceiverEvent::KeyframeNeeded { leg: Some(LegId(2)), .. })),
            "{keyframes:?}"
        );
        assert!(Played::longest_excess(&played.audio, 20) <= 100, "{}", Played::longest_excess(&played.audio, 20));
        assert!(Played::longest_excess(&played.video, 40) <= 120, "{}", Played::longest_excess(&played.video, 40));
    }
}

#[test]
fn the_picture_follows_the_voice() {
    let mut world = World::new(1, vec![Link::new(1, 30)]);
    world.receiver.synchronise(AUDIO, VIDEO);
    let now = world.at(0);
    world.run(0, 1_000);
    world.receiver.raise_target(now, AUDIO, Duration::from_millis(150), Duration::ZERO);
    world.run(1_000, 6_000);
    let (audio, video) = (world.receiver.target(AUDIO).unwrap(), world.receiver.target(VIDEO).unwrap());
    assert!(audio > Duration::from_millis(150) && audio.abs_diff(video) < Duration::from_millis(5), "{audio:?} {video:?}");
    world.receiver.remove_track(AUDIO);
    world.run(6_000, 12_000);
    assert!(world.receiver.target(VIDEO).unwrap() < Duration::from_millis(50));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_packets_never_panic_nor_pile_up(packets in proptest::collection::vec(stray(), 0..800), per_leg in any::<bool>()) {
        let mut receiver = Receiver::new();
        let mut now = Instant::now();
        for leg in 0..6 {
            receiver.add_leg(LegId(leg), LegSources::Any);
        }
        for (track, kind) in [(AUDIO, TrackKind::Audio), (VIDEO, TrackKind::Video)] {
            if per_leg { receiver.add_track_per_leg(track, kind) } else { receiver.add_track(track, kind) };
        }
        for (leg, after, packet) in packets {
            now += Duration::from_millis(after);
            receiver.handle_packet(now, LegId(leg), packet);
            let _ = receiver.pull_audio(now, AUDIO);
            // Frames that turn out unreadable may need a keyframe at once, of one encoding after another.
            for _ in 0..=MAX_ENCODINGS {
                while receiver.poll_frame(now).is_some() {}
                receiver.handle_timeout(now);
            }
            while receiver.poll_event().is_some() {}
            prop_assert!(receiver.poll_timeout().is_none_or(|at| at > now));
        }
    }
}

/// Packets with numbers, times and flags that make no sense, but are near enough to each other to be believed at times.
fn stray() -> impl Strategy<Value = (u32, u64, MediaPacket)> {
    let near = |around: u32| prop_oneof![8 => (0u32..40).prop_map(move |step| around.wrapping_add(step)), 1 => any::<u32>()];
    let origin = (any::<bool>(), 0u8..3, 0u8..4, any::<[bool; 6]>(), near(u32::MAX - 20), near(u32::MAX - 9), any::<u8>());
    let payload = proptest::collection::vec(any::<u8>(), 0..8);
    (0u32..6, 0u64..60, origin, near(u32::MAX - 5), payload).prop_map(|(leg, after, origin, time, payload)| {
        let (audio, encoding, temporal, [first, last, keyframe, discardable, probe, largest], packet, frame, refers_back) =
            origin;
        let (source, kind) = if audio { (AUDIO, TrackKind::Audio) } else { (VIDEO, TrackKind::Video) };
        let flags = OriginFlags { first, last, keyframe, discardable, probe, largest };
        let origin = Origin { source, layer: LayerId::new(encoding, temporal), flags, packet, frame, refers_back };
        let timestamp = time.wrapping_mul(960);
        (leg, after, MediaPacket { origin, kind, timestamp, marker: last, audio_level: None, payload: payload.into() })
    })
}
