use proptest::prelude::*;

use super::*;

const TICK: Duration = Duration::from_millis(100);

fn rung(encoding: u8, temporal: u8, whole: bool, kbps: u64) -> AllocatorRung {
    AllocatorRung { encoding: EncodingId(encoding), temporal: TemporalId(temporal), whole, rate: DataRate::kbps(kbps) }
}

/// Three encodings of two temporal layers.
fn camera(track: u16, class: Class) -> AllocatorStream {
    let rungs = vec![
        rung(2, 0, false, 90),
        rung(2, 1, true, 150),
        rung(1, 0, false, 300),
        rung(1, 1, true, 500),
        rung(0, 0, false, 1_000),
        rung(0, 1, true, 1_700),
    ];
    AllocatorStream { track: TrackId(track), class, rank: u32::from(track), rungs }
}

fn voice(track: u16) -> AllocatorStream {
    AllocatorStream { track: TrackId(track), class: Class::Audio, rank: 0, rungs: vec![rung(0, 0, true, 40)] }
}

fn layers(encoding: u8, temporal: u8) -> Option<Grant> {
    Some(Grant::Layers { encoding: EncodingId(encoding), temporal: TemporalId(temporal) })
}

/// A room of tiles, the first of whom speaks.
fn room(cameras: u16) -> (Allocator, Instant) {
    let mut allocator = Allocator::new(DataRate::ZERO);
    for track in 1..=cameras {
        allocator.set_stream(camera(track, if track == 1 { Class::Speaker } else { Class::Tile }));
        allocator.set_stream(voice(track + 100));
    }
    (allocator, Instant::now())
}

fn hold(allocator: &mut Allocator, now: &mut Instant, kbps: u64, time: Duration) -> Vec<GrantChanged> {
    let (end, mut changes) = (*now + time, Vec::new());
    while *now < end {
        allocator.handle_estimate(*now, DataRate::kbps(kbps));
        changes.extend(std::iter::from_fn(|| allocator.poll_change()));
        *now += TICK;
    }
    changes
}

#[test]
fn voices_come_first_then_the_screen_then_the_speaker_then_tiles() {
    let (mut allocator, mut now) = room(9);
    let mut screen = camera(50, Class::Screen);
    screen.rungs = vec![rung(1, 0, true, 250), rung(0, 0, true, 1_200)];
    allocator.set_stream(screen);
    hold(&mut allocator, &mut now, 1_000, Duration::from_secs(10));
    for track in 101..=109 {
        assert_eq!(allocator.grant(TrackId(track)), layers(0, 0));
    }
    assert_eq!(allocator.grant(TrackId(50)), layers(1, 0));
    assert_eq!(allocator.grant(TrackId(1)), layers(2, 1));
    assert!((2..=9).all(|track| allocator.grant(TrackId(track)) == Some(Grant::Paused)));
    hold(&mut allocator, &mut now, 300, Duration::from_secs(1));
    assert!((101..=109).all(|track| allocator.grant(TrackId(track)) == layers(0, 0)));
    assert_eq!(allocator.grant(TrackId(50)), Some(Grant::Paused));
}

#[test]
fn what_does_not_fit_is_paused_at_once_and_comes_back_within_a_second_of_room() {
    let (mut allocator, mut now) = room(3);
    hold(&mut allocator, &mut now, 1_200, Duration::from_secs(5));
    assert_eq!(allocator.grant(TrackId(3)), layers(2, 1));
    let changes = hold(&mut allocator, &mut now, 330, TICK);
    assert!(changes.iter().any(|change| change.track == TrackId(3) && change.to == Grant::Paused));
    hold(&mut allocator, &mut now, 330, Duration::from_secs(5));
    let changes = hold(&mut allocator, &mut now, 1_200, RESUME_AFTER + TICK);
    assert!(changes.iter().any(|change| change.track == TrackId(3) && change.from == Grant::Paused));
}

#[test]
fn frame_rate_goes_before_size() {
    let (mut allocator, mut now) = room(1);
    hold(&mut allocator, &mut now, 2_000, Duration::from_secs(5));
    assert_eq!(allocator.grant(TrackId(1)), layers(0, 1));
    hold(&mut allocator, &mut now, 1_200, Duration::from_secs(5));
    assert_eq!(allocator.grant(TrackId(1)), layers(0, 0));
    hold(&mut allocator, &mut now, 900, Duration::from_secs(5));
    assert_eq!(allocator.grant(TrackId(1)), layers(1, 1));
}

#[test]
fn an_estimate_that_swings_shows_less_and_less() {
    let (mut allocator, mut now) = room(4);
    hold(&mut allocator, &mut now, 3_000, Duration::from_secs(5));
    let mut swing = |allocator: &mut Allocator| {
        let low = hold(allocator, &mut now, 1_400, Duration::from_secs(2));
        low.len() + hold(allocator, &mut now, 3_000, Duration::from_secs(2)).len()
    };
    let first: usize = (0..5).map(|_| swing(&mut allocator)).sum();
    let later: usize = (0..5).map(|_| swing(&mut allocator)).sum();
    assert!(later < first && later <= 3, "{first} then {later}");
}

#[test]
fn a_swing_within_the_margin_shows_nothing() {
    let (mut allocator, mut now) = room(4);
    hold(&mut allocator, &mut now, 3_000, Duration::from_secs(5));
    let changes: usize = (0..20).map(|round| hold(&mut allocator, &mut now, 2_900 + 100 * (round % 3), TICK * 5).len()).sum();
    assert_eq!(changes, 0);
}

#[test]
fn who_begins_to_speak_rises_and_who_ended_makes_room() {
    let (mut allocator, mut now) = room(5);
    hold(&mut allocator, &mut now, 2_000, Duration::from_secs(10));
    assert_eq!((allocator.grant(TrackId(1)), allocator.grant(TrackId(2))), (layers(1, 1), layers(2, 1)));
    allocator.set_stream(camera(1, Class::Tile));
    allocator.set_stream(camera(2, Class::Speaker));
    assert!(allocator.is_stale());
    hold(&mut allocator, &mut now, 2_000, Duration::from_secs(3));
    assert_eq!(allocator.grant(TrackId(2)), layers(1, 1));
}

#[test]
fn streams_and_rungs_are_bounded() {
    let mut allocator = Allocator::new(DataRate::ZERO);
    for track in 0..MAX_STREAMS as u16 {
        assert!(allocator.set_stream(voice(track)));
    }
    assert!(!allocator.set_stream(voice(9_999)));
    allocator.remove_stream(TrackId(0));
    let mut long = camera(9_999, Class::Tile);
    long.rungs = vec![long.rungs[0]; 50];
    assert!(allocator.set_stream(long));
    assert_eq!(allocator.streams[&TrackId(9_999)].rungs.len(), MAX_RUNGS);
}

proptest! {
    /// Whatever the estimate does: what is granted fits it unless only voices are left, nothing less important is sent while a screen
    /// or a speaker has nothing and would fit, and changes say what happened.
    #[test]
    fn what_is_granted_fits(estimates in proptest::collection::vec((0u64..9_000, 1u64..40), 1..40), cameras in 1u16..9) {
        let (mut allocator, mut now) = room(cameras);
        allocator.set_stream(camera(60, Class::Screen));
        let voices = DataRate::kbps(40 * u64::from(cameras));
        for (kbps, ticks) in estimates {
            for _ in 0..ticks {
                let before: Vec<_> = allocator.streams.iter().map(|(track, entry)| (*track, entry.grant)).collect();
                allocator.handle_estimate(now, DataRate::kbps(kbps));
                let changes: Vec<_> = std::iter::from_fn(|| allocator.poll_change()).collect();
                prop_assert!(allocator.granted() <= DataRate::kbps(kbps).max(voices));
                for (track, grant) in before {
                    let change = changes.iter().find(|change| change.track == track);
                    prop_assert_eq!(change.map_or(grant, |change| change.to), allocator.grant(track).unwrap());
                }
                now += TICK;
            }
        }
    }
}
