//! Which packets of one received stream to ask for again (RFC 4585 section 6.2.1), and when.
//!
//! A hole in the hop sequence is asked for after a short wait for reordered packets, then about once per round trip. Whatever
//! fills the hole (a late packet, a retransmission) takes it off the list, and so does the merge: a packet whose frames are
//! complete by another leg is not asked for. A hole that stays is given up without further consequence: the jitter buffer
//! finds out by itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segue_model::{EncodingId, ExtSeq, SeqNo, TemporalId, TrackId};

/// Longest wait for reordered packets before the first request: beyond it a request is cheaper than the delay.
const MAX_REORDER_WAIT: Duration = Duration::from_millis(20);

/// Shortest: what batching in kernels and access points reorders on any path.
pub const MIN_REORDER_WAIT: Duration = Duration::from_millis(5);

/// Time on top of the round trip before a request is repeated: the sender's pacer and the scheduling of both ends.
const REPEAT_MARGIN: Duration = Duration::from_millis(10);

/// Shortest distance of two requests for one packet, however short the round trip.
const MIN_REPEAT: Duration = Duration::from_millis(20);

/// Requests for one packet: at 10 % loss each way one in 10^7 packets needs more.
pub const MAX_TRIES: u8 = 10;

/// A hole this old is given up: senders keep packets for a second, and no jitter buffer waits longer.
pub const MAX_AGE: Duration = Duration::from_millis(1_000);

/// Holes on the list. At 500 packets a second that is two seconds of nothing; the oldest go first.
pub const MAX_MISSING: usize = 1_000;

/// Holes that every received packet makes room for, up to [`MAX_MISSING`]: where more is lost in the long run than two of three packets
/// nothing is repaired any more, and a sender that only jumps shall cost no more than one that sends.
const HOLES_PER_PACKET: usize = 2;

/// A forwarder numbers what its publisher's leg repaired in the order of sending, after the packets that overtook it: a hole may be a packet
/// of a frame that lies so far back. Half a second and more, longer than a repair takes.
pub const MAX_FRAMES_LATE: u32 = 32;

/// Round trip assumed until one is known.
pub const ASSUMED_RTT: Duration = Duration::from_millis(100);

/// The frame a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePoint {
    /// Its track.
    pub track: TrackId,
    /// Its encoding.
    pub encoding: EncodingId,
    /// The frame number of its origin.
    pub frame: u32,
    /// The temporal layer and packet number of its origin.
    pub temporal: TemporalId,
    /// See `temporal`.
    pub packet: u32,
}

/// The frames a hole lies in: those of the packets on either side, all between them, and those before whose packets may come this late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSpan {
    /// Their track.
    pub track: TrackId,
    /// Their encoding.
    pub encoding: EncodingId,
    /// First frame.
    pub first: u32,
    /// Last frame.
    pub last: u32,
}

/// What a packet did to the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// It filled no hole.
    Nothing,
    /// It came late by itself, before it was asked for.
    Reordered,
    /// It had been asked for. The time since, where it was asked for once only: a sample of the round trip.
    Asked(Option<Duration>),
}

/// Counts of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NackStats {
    /// Packets that were missing at some time.
    pub missing: u64,
    /// Requests, repeated ones included.
    pub requests: u64,
    /// Holes filled after a request.
    pub recovered: u64,
    /// Holes another leg filled.
    pub elsewhere: u64,
    /// Holes given up.
    pub given_up: u64,
}

/// The holes of one received stream.
#[derive(Debug)]
pub struct NackGenerator {
    highest: Option<(ExtSeq, Option<FramePoint>)>,
    missing: BTreeMap<ExtSeq, Missing>,
    /// Holes that may be noted now.
    room: usize,
    rtt: Duration,
    stats: NackStats,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Instant,
    due: Instant,
    asked: Option<Instant>,
    tries: u8,
    span: Option<FrameSpan>,
    place: Place,
}

/// Where a hole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In its span.
    Certain,
    /// In its span or in later frames, which are not known yet.
    Doubtful,
    /// In its span or in the frames up to now.
    Late,
}

impl Default for NackGenerator {
    fn default() -> Self {
        Self { highest: None, missing: BTreeMap::new(), room: MAX_MISSING, rtt: ASSUMED_RTT, stats: NackStats::default() }
    }
}

impl NackGenerator {
    /// Sets the round trip requests are spaced by.
    pub const fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// Counts so far.
    #[must_use]
    pub const fn stats(&self) -> NackStats {
        self.stats
    }

    /// Forgets all holes; the next packet starts anew.
    pub fn reset(&mut self) {
        self.highest = None;
        self.missing.clear();
    }

    /// Takes the number of a received packet, retransmitted or not, and the frame it belongs to where that is known.
    pub fn handle_packet(&mut self, now: Instant, seq: ExtSeq, point: Option<FramePoint>) -> Filled {
        self.room = (self.room + HOLES_PER_PACKET).min(MAX_MISSING);
        match self.highest {
            Some((highest, before)) if seq > highest => {
                self.note_hole(now, highest, seq, before, point);
                self.highest = Some((seq, point));
                Filled::Nothing
            }
            None => {
                self.highest = Some((seq, point));
                Filled::Nothing
            }
            Some(_) => self.fill(now, seq),
        }
    }

    fn note_hole(&mut self, now: Instant, below: ExtSeq, above: ExtSeq, before: Option<FramePoint>, after: Option<FramePoint>) {
        let count = usize::try_from(above.0 - below.0 - 1).unwrap_or(usize::MAX);
        if count == 0 {
            return;
        }
        if count > self.room {
            // No gap in what somebody sends, but another beginning.
            self.stats.given_up += self.missing.len() as u64;
            self.missing.clear();
            return;
        }
        self.room -= count;
        let around = before.zip(after);
        let span = around.and_then(|(before, after)| span_between(before, after));
        let certain = around.is_some_and(|(before, after)| in_order(before, after, above.0 - below.0));
        let place = if certain { Place::Certain } else { Place::Doubtful };
        let due = now + (self.rtt / 4).clamp(MIN_REORDER_WAIT, MAX_REORDER_WAIT);
        for seq in below.0 + 1..above.0 {
            self.missing.insert(ExtSeq(seq), Missing { since: now, due, asked: None, tries: 0, span, place });
        }
        self.stats.missing += count as u64;
        while self.missing.len() > MAX_MISSING {
            self.missing.pop_first();
            self.stats.given_up += 1;
        }
    }

    fn fill(&mut self, now: Instant, seq: ExtSeq) -> Filled {
        let Some(missing) = self.missing.remove(&seq) else {
            return Filled::Nothing;
        };
        match missing.asked {
            None => Filled::Reordered,
            Some(asked) => {
                self.stats.recovered += 1;
                Filled::Asked((missing.tries == 1).then(|| now.saturating_duration_since(asked)))
            }
        }
    }

    /// The numbers to ask for now, ascending, at most [`MAX_MISSING`]. `lacks` says whether anything of the frames is still
    /// missing after all legs.
    pub fn handle_timeout(&mut self, now: Instant, mut lacks: impl FnMut(&FrameSpan) -> bool) -> Vec<SeqNo> {
        let repeat = (self.rtt + self.rtt / 4 + REPEAT_MARGIN).max(MIN_REPEAT);
        let stats = &mut self.stats;
        let newest = self.highest.and_then(|(_, point)| point);
        let mut ask = Vec::new();
        self.missing.retain(|seq, missing| {
            if missing.due > now {
                return true;
            }
            if missing.tries >= MAX_TRIES || now.saturating_duration_since(missing.since) >= MAX_AGE {
                stats.given_up += 1;
                return false;
            }
            let span = missing.span.map(|span| if missing.place == Place::Late { widened(span, newest) } else { span });
            if span.as_ref().is_some_and(|span| !lacks(span)) {
                if missing.place != Place::Doubtful {
                    stats.elsewhere += 1;
                    return false;
                }
                // Behind what a forwarder got late a packet of a later frame may be missing: next time it is known which.
                missing.place = Place::Late;
                missing.due = now + repeat;
                return true;
            }
            missing.tries += 1;
            missing.asked = Some(now);
            missing.due = now + repeat;
            stats.requests += 1;
            ask.push(seq.wire());
            true
        });
        ask
    }

    /// When [`NackGenerator::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.missing.values().map(|missing| missing.due).min()
    }
}

/// Frames are only comparable within one encoding of one track. A span that runs backwards is none either: a switch between streams of a
/// forwarder, or a packet that came to it late, in front of which one of a newer frame may be missing.
fn span_between(before: FramePoint, after: FramePoint) -> Option<FrameSpan> {
    let same = before.track == after.track && before.encoding == after.encoding;
    let is_after = |after: u32, before: u32| (after.wrapping_sub(before) as i32) > 0;
    let forward =
        if before.frame == after.frame { is_after(after.packet, before.packet) } else { is_after(after.frame, before.frame) };
    let FramePoint { track, encoding, frame, .. } = before;
    let first = frame.wrapping_sub(MAX_FRAMES_LATE);
    (same && forward).then_some(FrameSpan { track, encoding, first, last: after.frame })
}

/// Whether the packets that are missing between two can only be those between them in their layer, of which so many numbers tell.
fn in_order(before: FramePoint, after: FramePoint, step: u64) -> bool {
    let same = (before.track, before.encoding, before.temporal) == (after.track, after.encoding, after.temporal);
    same && u64::from(after.packet.wrapping_sub(before.packet)) == step
}

/// A span up to the frame before the newest, of which more is yet to come.
fn widened(span: FrameSpan, newest: Option<FramePoint>) -> FrameSpan {
    let newest = newest.filter(|newest| (newest.track, newest.encoding) == (span.track, span.encoding));
    let last = newest.map_or(span.last, |newest| newest.frame.wrapping_sub(1));
    let is_later = (last.wrapping_sub(span.last) as i32) > 0;
    FrameSpan { last: if is_later { last } else { span.last }, ..span }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(frame: u32) -> Option<FramePoint> {
        packet_of(frame, frame)
    }

    fn packet_of(frame: u32, packet: u32) -> Option<FramePoint> {
        let temporal = TemporalId(0);
        Some(FramePoint { track: TrackId(1), encoding: EncodingId(0), frame, temporal, packet })
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn with_hole(now: Instant) -> NackGenerator {
        let mut nack = NackGenerator::default();
        nack.set_rtt(ms(40));
        nack.handle_packet(now, ExtSeq(70_000), point(7));
        nack.handle_packet(now, ExtSeq(70_003), packet_of(9, 10));
        nack
    }

    #[test]
    fn a_hole_is_asked_for_after_the_reorder_wait_and_again_after_a_round_trip() {
        let start = Instant::now();
        let mut nack = with_hole(start);
        assert_eq!(nack.poll_timeout(), Some(start + ms(10)));
        assert!(nack.handle_timeout(start + ms(9), |_| true).is_empty());
        assert_eq!(nack.handle_timeout(start + ms(10), |_| true), [ExtSeq(70_001).wire(), ExtSeq(70_002).wire()]);
        assert!(nack.handle_timeout(start + ms(40), |_| true).is_empty());
        assert_eq!(nack.handle_timeout(start + ms(70), |_| true).len(), 2);
        assert_eq!(nack.handle_packet(start + ms(90), ExtSeq(70_001), None), Filled::Asked(None));
        assert_eq!(nack.stats().recovered, 1);
    }

    #[test]
    fn a_late_packet_is_never_asked_for() {
        let start = Instant::now();
        let mut nack = with_hole(start);
        assert_eq!(nack.handle_packet(start + ms(3), ExtSeq(70_001), None), Filled::Reordered);
        assert_eq!(nack.handle_packet(start + ms(4), ExtSeq(70_002), None), Filled::Reordered);
        assert_eq!(nack.handle_packet(start + ms(5), ExtSeq(70_002), None), Filled::Nothing);
        assert_eq!(nack.poll_timeout(), None);
    }

    #[test]
    fn what_another_leg_delivered_is_not_asked_for() {
        let start = Instant::now();
        let mut nack = with_hole(start);
        let first = 7_u32.wrapping_sub(MAX_FRAMES_LATE);
        let span = FrameSpan { track: TrackId(1), encoding: EncodingId(0), first, last: 9 };
        let asked = nack.handle_timeout(start + ms(10), |asked| {
            assert_eq!(*asked, span);
            false
        });
        assert!(asked.is_empty());
        assert_eq!(nack.poll_timeout(), None);
        assert_eq!(nack.stats().elsewhere, 2);
    }

    #[test]
    fn a_hole_may_be_what_came_late_to_a_forwarder() {
        let start = Instant::now();
        let mut nack = NackGenerator::default();
        nack.handle_packet(start, ExtSeq(1), packet_of(50, 57));
        nack.handle_packet(start, ExtSeq(3), packet_of(51, 58));
        // Frame 48 lacks a packet that the forwarder got late and sent between the two.
        let asked = nack.handle_timeout(start + MAX_REORDER_WAIT, |span| (span.first..=span.last).contains(&48));
        assert_eq!(asked, [ExtSeq(2).wire()]);
        // A late packet of frame 51 follows a hole in which a packet of frame 52 was.
        nack.handle_packet(start, ExtSeq(4), packet_of(51, 60));
        nack.handle_packet(start, ExtSeq(6), packet_of(51, 59));
        assert_eq!(nack.handle_timeout(start + MAX_REORDER_WAIT, |_| false), [ExtSeq(5).wire()]);
    }

    #[test]
    fn a_hole_that_may_be_of_a_later_frame_is_looked_at_again_when_that_is_known() {
        let start = Instant::now();
        let mut nack = NackGenerator::default();
        nack.set_rtt(ms(40));
        nack.handle_packet(start, ExtSeq(1), packet_of(51, 60));
        // Frame 53 is lost, one packet of frame 52 comes late after it.
        nack.handle_packet(start, ExtSeq(3), packet_of(52, 61));
        let lacks = |span: &FrameSpan| (span.first..=span.last).contains(&53);
        assert!(nack.handle_timeout(start + ms(10), lacks).is_empty());
        nack.handle_packet(start + ms(33), ExtSeq(4), packet_of(54, 63));
        let due = nack.poll_timeout().unwrap();
        assert_eq!(nack.handle_timeout(due, lacks), [ExtSeq(2).wire()]);
        // Where nothing is missing then either, it was another leg that brought it.
        let mut nack = NackGenerator::default();
        nack.handle_packet(start, ExtSeq(1), packet_of(51, 60));
        nack.handle_packet(start, ExtSeq(3), packet_of(52, 61));
        while let Some(due) = nack.poll_timeout() {
            assert!(nack.handle_timeout(due, |_| false).is_empty());
        }
        assert_eq!(nack.stats().elsewhere, 1);
    }

    #[test]
    fn requests_end_and_the_list_is_bounded() {
        let start = Instant::now();
        let mut nack = with_hole(start);
        let mut requests = 0;
        while let Some(due) = nack.poll_timeout() {
            requests += nack.handle_timeout(due, |_| true).len();
        }
        assert!(requests <= 2 * usize::from(MAX_TRIES));
        assert_eq!(nack.stats().given_up, 2);
        nack.handle_packet(start, ExtSeq(70_900), point(10));
        assert_eq!(nack.handle_timeout(start + ms(30), |_| true).len(), 896);
    }

    #[test]
    fn jumps_begin_anew_and_cost_nothing() {
        let start = Instant::now();
        let mut nack = with_hole(start);
        nack.handle_packet(start, ExtSeq(80_000), point(10));
        assert!(nack.poll_timeout().is_none());
        let noted = (0..1_000).map(|jump| {
            nack.handle_packet(start, ExtSeq(90_000 + 500 * jump), None);
            nack.stats().missing
        });
        let noted = noted.last().unwrap_or_default();
        assert!(noted <= (MAX_MISSING + 1_000 * HOLES_PER_PACKET) as u64, "{noted}");
    }

    #[test]
    fn one_request_answered_measures_the_round_trip() {
        let start = Instant::now();
        let mut nack = with_hole(start);
        nack.handle_timeout(start + ms(10), |_| true);
        assert_eq!(nack.handle_packet(start + ms(45), ExtSeq(70_002), None), Filled::Asked(Some(ms(35))));
    }
}
