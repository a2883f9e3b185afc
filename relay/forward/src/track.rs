//! A track in the relay: its encodings as they arrive and what each subscriber gets of it.

use std::time::{Duration, Instant};

use segue_model::{EncodingId, MAX_ENCODINGS, NtpTime, ParticipantId, Quality, TrackId, TrackKind};

use crate::cache::{Packet, PacketCache};
use crate::keyframe::{KeyframeRequests, begins_h264_keyframe};
use crate::select::{Active, Facts, Selector, Shed, encoding_for};
use crate::table::Table;

/// Without a packet for so long an encoding counts as not sent: longer than the frame interval of a still screen share.
const ACTIVE_FOR: Duration = Duration::from_secs(2);

/// So much behind another encoding of the same pictures it counts as not sent, too: its publisher has no room for it now.
const BEHIND: Duration = Duration::from_millis(400);

/// Silence after which a packet that comes again is the tail of what was sent: senders wait longer (50 ms), the network varies, and what is
/// repeated to probe comes between two frames.
const TAIL_SILENCE: Duration = Duration::from_millis(40);

/// One encoding as it arrives.
#[derive(Debug)]
pub(crate) struct EncodingState {
    /// Highest extended sequence number, continuous over changes of SSRC.
    pub(crate) highest: Option<u64>,
    pub(crate) last_at: Option<Instant>,
    /// Its publisher has stopped it; up to this number packets are late and not new.
    ended: Option<u64>,
    /// The packet that was sent again as the last one.
    pub(crate) tail: Option<u64>,
    pub(crate) cache: PacketCache,
    pub(crate) keyframes: KeyframeRequests,
    /// The last sender report: wallclock and the timestamp it belongs to.
    pub(crate) report: Option<(NtpTime, u32)>,
}

/// One track.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) owner: ParticipantId,
    /// The owner's place in the room's table.
    pub(crate) owner_place: usize,
    pub(crate) kind: TrackKind,
    pub(crate) muted: bool,
    /// Encodings its publisher announced.
    count: usize,
    pub(crate) encodings: [EncodingState; MAX_ENCODINGS],
    /// By the place of the participant, whether it gets the track or not; that of the owner is never used.
    pub(crate) outs: Vec<Out>,
    /// Places of those to whom packets go at present, so that a packet looks at nobody else.
    pub(crate) live: Vec<u32>,
    /// Somebody in `live` is in overlap.
    pub(crate) overlaps: bool,
    /// What `live` says has to be found out again.
    pub(crate) stale: bool,
}

/// What one subscriber gets of one track.
#[derive(Debug)]
pub(crate) struct Out {
    /// A participant stands at this place.
    pub(crate) is_there: bool,
    /// The edge is relayed.
    pub(crate) on: bool,
    /// The edge is in hand: both paths carry it.
    pub(crate) overlap: bool,
    pub(crate) quality: Quality,
    pub(crate) selector: Selector,
    /// Index of the subscriber's slot.
    pub(crate) slot: Option<usize>,
}

impl EncodingState {
    const fn new(kind: TrackKind) -> Self {
        Self {
            highest: None,
            last_at: None,
            ended: None,
            tail: None,
            cache: PacketCache::new(kind),
            keyframes: KeyframeRequests::new(),
            report: None,
        }
    }

    /// Whether a packet that comes again is the last one, of which that was not noted yet, and nothing came for a while.
    pub(crate) fn is_tail(&self, now: Instant, seq: u64) -> bool {
        let silent = self.last_at.is_some_and(|at| now.saturating_duration_since(at) >= TAIL_SILENCE);
        silent && self.highest == Some(seq) && self.tail != Some(seq)
    }

    /// A packet that may be played came.
    pub(crate) fn note_played(&mut self, now: Instant, seq: u64) {
        if self.ended.is_none_or(|ended| seq > ended) {
            self.last_at = Some(now);
        }
    }
}

impl Out {
    pub(crate) const fn new() -> Self {
        Self {
            is_there: false,
            on: false,
            overlap: false,
            quality: Quality::High,
            selector: Selector::new(Quality::High),
            slot: None,
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.on && self.quality != Quality::Off
    }
}

impl Track {
    pub(crate) fn new(owner: ParticipantId, owner_place: usize, kind: TrackKind, count: usize, muted: bool) -> Self {
        let encodings = std::array::from_fn(|_| EncodingState::new(kind));
        let (outs, live) = (Vec::new(), Vec::new());
        Self { owner, owner_place, kind, muted, count, encodings, outs, live, overlaps: false, stale: true }
    }

    /// The publisher says that nothing larger than `encoding` comes any more.
    pub(crate) fn end_larger(&mut self, encoding: EncodingId) {
        for state in self.encodings.iter_mut().take(usize::from(encoding.0)) {
            (state.last_at, state.ended) = (None, state.highest);
        }
    }

    /// What the participant at a place gets, to be changed.
    pub(crate) fn out_mut(&mut self, place: usize) -> Option<&mut Out> {
        if place == self.owner_place {
            return None;
        }
        self.stale = true;
        if self.outs.len() <= place {
            self.outs.resize_with(place + 1, Out::new);
        }
        self.outs.get_mut(place)
    }

    /// What the participant at a place gets.
    pub(crate) fn out(&self, place: usize) -> Option<&Out> {
        self.outs.get(place).filter(|_| place != self.owner_place)
    }

    /// Who gets it, with places.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (usize, &Out)> {
        self.outs.iter().enumerate().filter(|(_, out)| out.is_wanted())
    }

    pub(crate) fn encoding(&self, encoding: EncodingId) -> Option<&EncodingState> {
        self.encodings.get(usize::from(encoding.0))
    }

    pub(crate) fn encoding_mut(&mut self, encoding: EncodingId) -> Option<&mut EncodingState> {
        self.encodings.get_mut(usize::from(encoding.0))
    }

    pub(crate) fn active(&self, now: Instant, shed: Shed) -> Active {
        let latest = self.encodings.iter().filter_map(|state| state.last_at).max();
        let behind = |at: Instant| latest.is_some_and(|latest| latest.saturating_duration_since(at) > BEHIND);
        let recent = |at: Instant| now.saturating_duration_since(at) <= ACTIVE_FOR && !behind(at);
        let arrives = |state: &EncodingState| state.last_at.is_some_and(recent);
        Active { arriving: self.encodings.each_ref().map(arrives), direct: self.direct_encoding(), shed, now }
    }

    /// The encoding the publisher sends on its direct edges: the largest any of their subscribers wishes.
    fn direct_encoding(&self) -> EncodingId {
        if !self.overlaps || !self.outs.iter().any(|out| out.overlap && out.selector.current().is_none()) {
            // Nobody is about to begin by it.
            return EncodingId(0);
        }
        let direct = self.outs.iter().filter(|out| out.is_there && (out.overlap || !out.on));
        encoding_for(direct.map(|out| out.quality).max().unwrap_or_default(), self.count)
    }

    /// What a packet is, from its origin where it has one, from its payload otherwise.
    pub(crate) fn facts(&self, encoding: EncodingId, packet: &Packet, payload: &[u8]) -> Facts {
        match packet.origin {
            Some(origin) => Facts {
                encoding,
                temporal: origin.layer.temporal.0,
                keyframe_start: origin.flags.keyframe && origin.flags.first,
                frame: Some(origin.frame),
                largest: origin.flags.largest,
            },
            None => {
                let keyframe_start = self.kind == TrackKind::Video && begins_h264_keyframe(payload);
                Facts { encoding, temporal: 0, keyframe_start, frame: None, largest: false }
            }
        }
    }

    /// How far the timestamps of encoding `to` are ahead of those of `from` for the same moment. A publisher with origin has one base
    /// for all; others have one per encoding, and their sender reports tell (RFC 3550 section 6.4.1). `None`: not known yet.
    pub(crate) fn base_difference(&self, from: EncodingId, to: EncodingId) -> Option<u32> {
        let (from_ntp, from_time) = self.encoding(from)?.report?;
        let (to_ntp, to_time) = self.encoding(to)?.report?;
        let elapsed = to_ntp.0.wrapping_sub(from_ntp.0) as i64;
        let ticks = (i128::from(elapsed) * i128::from(self.kind.clock_rate())) >> 32;
        Some(to_time.wrapping_sub(from_time).wrapping_sub(ticks as u32))
    }
}

/// The room's tracks as one publisher may use them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tracks<'a> {
    pub(crate) tracks: &'a Table<TrackId, Track>,
    pub(crate) publisher: ParticipantId,
}

impl Tracks<'_> {
    pub(crate) fn owns(&self, track: TrackId) -> bool {
        self.owned(track).is_some()
    }

    /// The kind of a track the publisher owns.
    pub(crate) fn kind(&self, track: TrackId) -> Option<TrackKind> {
        self.owned(track).map(|track| track.kind)
    }

    /// Where the sequence numbers of an encoding stand.
    pub(crate) fn highest(&self, track: TrackId, encoding: EncodingId) -> Option<u64> {
        self.owned(track)?.encoding(encoding)?.highest
    }

    /// Where the room has it.
    pub(crate) fn place(&self, track: TrackId) -> Option<usize> {
        self.tracks.place(track)
    }

    fn owned(&self, track: TrackId) -> Option<&Track> {
        self.tracks.get(track).filter(|found| found.owner == self.publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sender_reports_align_encodings_with_bases_of_their_own() {
        let mut track = Track::new(ParticipantId(1), 0, TrackKind::Video, 3, false);
        assert_eq!(track.base_difference(EncodingId(0), EncodingId(1)), None);
        track.encodings[0].report = Some((NtpTime(10 << 32), 1_000));
        track.encodings[1].report = Some((NtpTime((10 << 32) + (1 << 31)), 4_294_967_000));
        let difference = track.base_difference(EncodingId(0), EncodingId(1)).unwrap();
        assert_eq!(difference, 4_294_967_000u32.wrapping_sub(1_000 + 45_000));
        let back = track.base_difference(EncodingId(1), EncodingId(0)).unwrap();
        assert_eq!(difference.wrapping_add(back), 0);
    }
}
