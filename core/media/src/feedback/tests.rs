use std::time::{Duration, Instant};

use proptest::prelude::*;
use segue_model::{DataSize, Ssrc};

use crate::packet::rtcp::{DELTA_TICK, MAX_STATUSES, RtcpPacket, parse_compound, write_compound};

use super::*;

const SIZE: DataSize = DataSize::bytes(1_000);

/// Over the wire and back.
fn carried(feedback: crate::packet::rtcp::TransportFeedback) -> crate::packet::rtcp::TransportFeedback {
    let mut bytes = Vec::new();
    write_compound(&[RtcpPacket::TransportCc(feedback)], &mut bytes);
    assert!(bytes.len() < 1_200, "a report fits a datagram");
    match parse_compound(&bytes).unwrap().remove(0) {
        RtcpPacket::TransportCc(feedback) => feedback,
        other => panic!("{other:?}"),
    }
}

/// All reports due at `now`, matched.
fn report(recorder: &mut TwccRecorder, history: &mut TwccHistory, now: Instant) -> Vec<PacketResult> {
    let mut results = Vec::new();
    while let Some(feedback) = recorder.poll_feedback(now, Ssrc(1), Ssrc(2)) {
        results.extend(history.handle_feedback(&carried(feedback)));
    }
    results
}

proptest! {
    /// Packets leave a millisecond apart and come with any delay up to 60 ms, or never.
    #[test]
    fn every_packet_is_reported_as_it_went(fates in proptest::collection::vec(proptest::option::weighted(0.9, 0u64..60_000), 1..800), numbered in 0usize..70_000) {
        let start = Instant::now();
        let (mut recorder, mut history) = (TwccRecorder::default(), TwccHistory::default());
        (0..numbered).for_each(|_| history.record(start, SIZE, None));
        let mut events: Vec<(Duration, Option<segue_model::SeqNo>)> = Vec::new();
        let mut truth = Vec::new();
        for (index, fate) in fates.iter().enumerate() {
            let sent = Duration::from_millis(index as u64);
            let number = history.next();
            history.record(start + sent, SIZE, None);
            let came = fate.map(|delay| sent + Duration::from_micros(delay));
            events.extend(came.map(|at| (at, Some(number))));
            truth.push((start + sent, came));
        }
        let end = Duration::from_millis(fates.len() as u64 + 200);
        events.extend((0..=end.as_millis() as u64 / 10).map(|step| (Duration::from_millis(step * 10), None)));
        events.sort_by_key(|(at, _)| *at);
        let mut received = vec![None; fates.len()];
        let (mut reported_twice, mut lost) = (0, 0);
        for (at, number) in events {
            match number {
                Some(number) => recorder.record(start + at, number),
                None => for result in report(&mut recorder, &mut history, start + at) {
                    let index = result.number.0 as usize - numbered;
                    prop_assert_eq!(result.sent_at, truth[index].0);
                    match result.received_at {
                        Some(at) => {
                            reported_twice += usize::from(received[index].is_some());
                            received[index] = Some(at);
                        }
                        None => lost += 1,
                    }
                }
            }
        }
        prop_assert_eq!(reported_twice, 0);
        prop_assert!(lost <= fates.len());
        // On a clock of another zero, in steps of a tick, every arrival is where it was.
        let pairs: Vec<_> = received.iter().zip(&truth).filter_map(|(got, (_, came))| got.zip(*came)).collect();
        prop_assert_eq!(pairs.len(), truth.iter().filter(|(_, came)| came.is_some()).count());
        let shift = |(got, came): &(Duration, Duration)| got.as_micros() as i64 - came.as_micros() as i64;
        let shifts: Vec<i64> = pairs.iter().map(shift).collect();
        let spread = shifts.iter().max().zip(shifts.iter().min()).map_or(0, |(max, min)| max - min);
        prop_assert!(spread < 2 * DELTA_TICK.as_micros() as i64, "{spread}");
    }

    #[test]
    fn feedback_of_anything_is_taken(base in any::<u16>(), reference in any::<i32>(), deltas in proptest::collection::vec(any::<Option<i16>>(), 0..50), sent in 0usize..100) {
        let now = Instant::now();
        let mut history = TwccHistory::default();
        (0..sent).for_each(|_| history.record(now, SIZE, None));
        let feedback = crate::packet::rtcp::TransportFeedback {
            sender: Ssrc(1), media: Ssrc(2), base: segue_model::SeqNo(base), reference: reference >> 8, count: 0, deltas,
        };
        prop_assert!(history.handle_feedback(&feedback).len() <= sent);
        prop_assert!(history.handle_feedback(&feedback).is_empty());
    }
}

#[test]
fn a_jump_in_numbers_makes_no_endless_report() {
    let now = Instant::now();
    let mut recorder = TwccRecorder::default();
    recorder.record(now, segue_model::SeqNo(0));
    recorder.record(now, segue_model::SeqNo(30_000));
    let feedback = recorder.poll_feedback(now + FEEDBACK_DELAY, Ssrc(1), Ssrc(2)).unwrap();
    assert!(feedback.deltas.len() <= MAX_STATUSES);
    assert_eq!(feedback.deltas.last(), Some(&Some(0)));
    assert_eq!(recorder.poll_timeout(), None);
}

#[test]
fn a_long_pause_is_split_over_two_reports() {
    let now = Instant::now();
    let mut recorder = TwccRecorder::default();
    let late = now + Duration::from_secs(60);
    recorder.record(now, segue_model::SeqNo(1));
    recorder.record(late, segue_model::SeqNo(2));
    let first = recorder.poll_feedback(late, Ssrc(1), Ssrc(2)).unwrap();
    let second = recorder.poll_feedback(late, Ssrc(1), Ssrc(2)).unwrap();
    assert_eq!((first.deltas.len(), second.deltas.len(), second.base.0), (1, 1, 2));
    assert_eq!(recorder.poll_feedback(late, Ssrc(1), Ssrc(2)), None);
}
