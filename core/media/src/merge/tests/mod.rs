use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use segue_model::{LayerId, TrackKind};

use super::*;
use crate::packet::{Origin, OriginFlags};

const TRACK: TrackId = TrackId(3);
const A: LegId = LegId(1);
const B: LegId = LegId(2);

fn packet(layer: LayerId, number: u32, frame: u32, first: bool, last: bool) -> MediaPacket {
    let flags = OriginFlags { first, last, ..OriginFlags::default() };
    MediaPacket {
        origin: Origin { source: TRACK, layer, flags, packet: number, frame, refers_back: 1 },
        kind: TrackKind::Video,
        timestamp: 0,
        marker: last,
        audio_level: None,
        payload: Bytes::new(),
    }
}

/// A packet that is a frame of its own.
fn single(number: u32) -> MediaPacket {
    packet(LayerId::default(), number, number, true, true)
}

fn merge() -> OriginMerge {
    let mut merge = OriginMerge::new();
    merge.add_leg(A, LegSources::Any);
    merge.allow(B, TRACK);
    merge.add_track(TRACK, TrackMode::Merged);
    merge
}

#[test]
fn the_first_copy_wins() {
    let (mut merge, now) = (merge(), Instant::now());
    assert_eq!(merge.insert(now, A, &single(5)), MergeOutcome::Fresh);
    assert_eq!(merge.insert(now, B, &single(5)), MergeOutcome::Duplicate);
    assert_eq!(merge.insert(now, B, &single(6)), MergeOutcome::Fresh);
    assert_eq!(merge.insert(now, A, &single(6)), MergeOutcome::Duplicate);
    assert_eq!(merge.leg_counts(A).unwrap().fresh, 1);
    assert_eq!(merge.leg_counts(B).unwrap().duplicate, 1);
    assert_eq!(merge.source_counts(TRACK).fresh, 2);
}

#[test]
fn a_leg_carries_what_it_may_and_nothing_else() {
    let (mut merge, now) = (merge(), Instant::now());
    let other = TrackId(9);
    merge.add_track(other, TrackMode::Merged);
    let mut foreign = single(1);
    foreign.origin.source = other;
    assert_eq!(merge.insert(now, B, &foreign), MergeOutcome::Rejected(RejectReason::ForeignSource));
    assert_eq!(merge.insert(now, A, &foreign), MergeOutcome::Fresh);
    assert_eq!(merge.insert(now, LegId(77), &foreign), MergeOutcome::Rejected(RejectReason::UnknownLeg));
    merge.remove_track(other);
    assert_eq!(merge.insert(now, A, &foreign), MergeOutcome::Rejected(RejectReason::UnknownTrack));
    merge.disallow(B, TRACK);
    assert_eq!(merge.insert(now, B, &single(1)), MergeOutcome::Rejected(RejectReason::ForeignSource));
    assert_eq!(merge.leg_counts(B).unwrap().rejected[&RejectReason::ForeignSource], 2);
}

#[test]
fn one_packet_cannot_push_the_window_away() {
    let (mut merge, now) = (merge(), Instant::now());
    merge.insert(now, A, &single(100));
    for stray in [1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000] {
        assert_eq!(merge.insert(now, A, &single(stray)), MergeOutcome::Rejected(RejectReason::Jump));
    }
    assert_eq!(merge.insert(now, A, &single(101)), MergeOutcome::Fresh);
    assert_eq!(merge.source_counts(TRACK).jumps, 5);
}

#[test]
fn consistent_packets_begin_a_numbering_anew() {
    for start in [100u32.wrapping_sub(50_000), 10_000_000] {
        let (mut merge, now) = (merge(), Instant::now());
        merge.insert(now, A, &single(100));
        for step in 0..3 {
            assert!(matches!(merge.insert(now, A, &single(start.wrapping_add(step))), MergeOutcome::Rejected(_)));
            assert!(matches!(merge.insert(now, B, &single(start.wrapping_add(step))), MergeOutcome::Rejected(_)));
        }
        assert_eq!(merge.insert(now, A, &single(start.wrapping_add(3))), MergeOutcome::Fresh);
        assert_eq!(merge.insert(now, B, &single(start.wrapping_add(3))), MergeOutcome::Duplicate);
        assert_eq!(merge.source_counts(TRACK).restarts, 1);
    }
}

#[test]
fn a_paused_layer_may_go_on_far_ahead() {
    let (mut merge, now) = (merge(), Instant::now());
    merge.insert(now, A, &single(100));
    assert!(matches!(merge.insert(now, A, &single(20_100)), MergeOutcome::Rejected(RejectReason::Jump)));
    assert_eq!(merge.insert(now + Duration::from_secs(10), A, &single(20_100)), MergeOutcome::Fresh);
}

#[test]
fn legs_with_numberings_of_their_own_are_kept_apart() {
    let (mut merge, now) = (merge(), Instant::now());
    merge.add_track(TRACK, TrackMode::PerLeg);
    assert_eq!(merge.insert(now, A, &single(5)), MergeOutcome::Fresh);
    assert_eq!(merge.insert(now, B, &single(5)), MergeOutcome::Fresh);
    assert_eq!(merge.insert(now, B, &single(5)), MergeOutcome::Duplicate);
    assert!(merge.lacks(TRACK, EncodingId(0), 5, 5));
}

#[test]
fn nothing_is_lacking_where_the_other_leg_delivered() {
    let (mut merge, now) = (merge(), Instant::now());
    // Leg A loses packet 12, leg B has it: frame 4 is packets 10..=13.
    for number in [9, 10, 11, 13, 14] {
        let frame = if number < 10 {
            3
        } else if number < 14 {
            4
        } else {
            5
        };
        let (first, last) = (number != 11 && number != 13, number != 10 && number != 11);
        merge.insert(now, A, &packet(LayerId::default(), number, frame, first, last));
    }
    assert!(merge.lacks(TRACK, EncodingId(0), 4, 4));
    assert!(merge.lacks(TRACK, EncodingId(0), 3, 5));
    assert!(!merge.lacks(TRACK, EncodingId(0), 5, 5));
    assert!(!merge.lacks(TRACK, EncodingId(0), 3, 3));
    assert!(merge.lacks(TRACK, EncodingId(0), 5, 6), "frame 6 has not come");
    assert!(merge.lacks(TRACK, EncodingId(1), 5, 6), "nothing of that encoding came");
    merge.insert(now, B, &packet(LayerId::default(), 12, 4, false, false));
    assert!(!merge.lacks(TRACK, EncodingId(0), 3, 5));
}

#[test]
fn a_whole_frame_that_is_missing_is_seen() {
    let (mut merge, now) = (merge(), Instant::now());
    for number in [1, 2, 4] {
        merge.insert(now, A, &single(number));
    }
    assert!(merge.lacks(TRACK, EncodingId(0), 2, 4));
    assert!(!merge.lacks(TRACK, EncodingId(0), 1, 2));
}

#[test]
fn a_layer_dropped_by_choice_is_not_lacking() {
    let (mut merge, now) = (merge(), Instant::now());
    // Frames alternate between two layers; the upper one is never sent to us.
    for frame in (0..100).step_by(2) {
        merge.insert(now, A, &packet(LayerId::new(0, 0), frame / 2, frame, true, true));
    }
    assert!(!merge.lacks(TRACK, EncodingId(0), 90, 98));
    // Sent, but one is missing.
    for frame in (1..100).step_by(2).filter(|frame| *frame != 93) {
        merge.insert(now, A, &packet(LayerId::new(0, 1), frame / 2, frame, true, true));
    }
    assert!(merge.lacks(TRACK, EncodingId(0), 90, 98));
    assert!(!merge.lacks(TRACK, EncodingId(0), 94, 98));
}

/// One copy of a packet on its way: number, leg and when it comes.
fn arrivals(count: u32) -> impl Strategy<Value = Vec<(u32, LegId, u32)>> {
    let copy = (any::<bool>(), 0u32..60, proptest::bool::weighted(0.05));
    proptest::collection::vec((copy.clone(), copy), count as usize).prop_map(|copies| {
        let mut all = Vec::new();
        for (number, (a, b)) in copies.into_iter().enumerate() {
            let number = number as u32;
            for (leg, delay, (come, jitter, twice)) in [(A, 0, a), (B, 40, b)] {
                let at = number + delay + jitter;
                all.extend(come.then_some((number, leg, at)));
                all.extend((come && twice).then_some((number, leg, at + 7)));
            }
        }
        all.sort_by_key(|(_, _, at)| *at);
        all
    })
}

proptest! {
    #[test]
    fn every_packet_that_comes_is_delivered_exactly_once(base in any::<u32>(), arrivals in arrivals(1_500)) {
        let (mut merge, now) = (merge(), Instant::now());
        let mut delivered = BTreeMap::new();
        for (number, leg, at) in &arrivals {
            let now = now + Duration::from_millis(u64::from(*at));
            let fresh = merge.insert(now, *leg, &single(base.wrapping_add(*number))) == MergeOutcome::Fresh;
            *delivered.entry(*number).or_insert(0) += u32::from(fresh);
        }
        prop_assert!(delivered.values().all(|times| *times == 1));
        prop_assert_eq!(merge.source_counts(TRACK).fresh, delivered.len() as u64);
        // Of the last frames, exactly those that never came are lacking.
        let newest = arrivals.iter().map(|(number, _, _)| *number).max().unwrap_or(0);
        for number in newest.saturating_sub(200)..=newest {
            let frame = base.wrapping_add(number);
            prop_assert_eq!(merge.lacks(TRACK, EncodingId(0), frame, frame), !delivered.contains_key(&number));
        }
    }

    #[test]
    fn arbitrary_numbers_never_panic(numbers in proptest::collection::vec((any::<u32>(), any::<u32>(), 0u8..3, 0u8..4), 0..300)) {
        let (mut merge, now) = (merge(), Instant::now());
        for (number, frame, encoding, temporal) in numbers {
            merge.insert(now, A, &packet(LayerId::new(encoding, temporal), number, frame, false, true));
            let _ = merge.lacks(TRACK, EncodingId(encoding), frame, frame.wrapping_add(7));
        }
    }
}
