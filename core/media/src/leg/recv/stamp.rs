//! Origins for streams that carry none: what a browser sends.
//!
//! Sound needs only its sequence number. A frame of H.264 has no number of its own: frames are told apart by timestamp and
//! marker, and can be counted only in order. So packets wait here for what is missing before them, as they would in a jitter
//! buffer, and go on in order. A hole that stays leaves a gap in the packet numbers and, where frames may be lost with it, in
//! the frame numbers: what comes next then refers to a frame that never came, and the receiver asks for a keyframe.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_model::{EncodingId, ExtSeq, LayerId, TemporalId, TrackKind};

use crate::packet::{MediaPacket, Origin, OriginFlags};

use super::bind::Binding;

/// Longest wait for a hole to be filled: two requests at a round trip of 300 ms.
const MAX_HOLD: Duration = Duration::from_millis(750);

/// Longest wait at the beginning for packets that belong before the first that came, unless that one holds parameter sets.
const START_HOLD: Duration = Duration::from_millis(20);

/// Packets that wait behind a hole: that time at 5 Mbit/s.
const MAX_HELD: usize = 512;

/// NAL unit types (RFC 6184 section 5.2, table 1).
const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// The last numbers given in one encoding of one track. They go on where a track continues on another source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Of the last packet.
    pub packet: u32,
    /// Of the last frame.
    pub frame: u32,
}

#[derive(Clone, Debug)]
struct Held {
    timestamp: u32,
    marker: bool,
    repaired: bool,
    /// Empty for padding, which only fills its place.
    payload: Bytes,
}

/// Numbers the packets and frames of one H.264 stream.
#[derive(Debug)]
pub struct OriginStamper {
    binding: Binding,
    numbers: Numbers,
    next: Option<ExtSeq>,
    held: BTreeMap<ExtSeq, Held>,
    waiting: Option<Instant>,
    frame: Option<Frame>,
    /// Something may be lost between the last packet and the next.
    broken: bool,
}

/// The frame of the last packet.
#[derive(Clone, Copy, Debug)]
struct Frame {
    timestamp: u32,
    keyframe: bool,
    ended: bool,
}

impl OriginStamper {
    /// For one encoding of one track, going on after `numbers`.
    #[must_use]
    pub const fn new(binding: Binding, numbers: Numbers) -> Self {
        Self { binding, numbers, next: None, held: BTreeMap::new(), waiting: None, frame: None, broken: true }
    }

    /// The last numbers given.
    #[must_use]
    pub const fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// The hop's numbering began anew: what waits is let go.
    pub fn reset(&mut self) {
        self.held.clear();
        self.next = None;
        self.waiting = None;
        self.broken = true;
    }

    /// Takes a packet; each number once. An empty payload is padding. One that comes after its place was given up is dropped.
    pub fn push(&mut self, now: Instant, seq: ExtSeq, timestamp: u32, marker: bool, repaired: bool, payload: Bytes) {
        if self.next.is_none() && holds(&payload, &[SPS]) {
            // What was before it could not be decoded.
            self.held.retain(|held, _| *held > seq);
            self.next = Some(seq);
        }
        if self.next.is_some_and(|next| seq < next) {
            return;
        }
        self.held.insert(seq, Held { timestamp, marker, repaired, payload });
        if self.next.is_none_or(|next| !self.held.contains_key(&next)) {
            self.waiting.get_or_insert(now);
        }
    }

    /// When a hole is given up.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let hold = if self.next.is_some() { MAX_HOLD } else { START_HOLD };
        self.waiting.map(|since| since + hold)
    }

    /// The next packet in order, and whether it was retransmitted. Call until `None`.
    pub fn poll_packet(&mut self, now: Instant) -> Option<(MediaPacket, bool)> {
        loop {
            let overdue = self.poll_timeout().is_some_and(|at| at <= now) || self.held.len() > MAX_HELD;
            let first = *self.held.first_key_value()?.0;
            let next = self.next.or(overdue.then_some(first))?;
            if let Some(held) = self.held.remove(&next) {
                self.next = Some(ExtSeq(next.0 + 1));
                let open = !self.held.is_empty() && !self.held.contains_key(&ExtSeq(next.0 + 1));
                self.waiting = open.then_some(now);
                if held.payload.is_empty() {
                    continue;
                }
                let repaired = held.repaired;
                return Some((self.stamp(held), repaired));
            }
            if !overdue {
                return None;
            }
            // The hole counts as packets, so that a frame it lies in is never taken for whole.
            self.numbers.packet = self.numbers.packet.wrapping_add((first.0 - next.0) as u32);
            self.next = Some(first);
            self.broken = true;
        }
    }

    fn stamp(&mut self, held: Held) -> MediaPacket {
        let starts_keyframe = starts_keyframe(&held.payload);
        let same = self.frame.is_some_and(|frame| frame.timestamp == held.timestamp && !frame.ended);
        // After a hole the first packet seen of a frame need not be its first, unless it can be nothing else.
        let first = !same && (!self.broken || starts_keyframe);
        let mut frame = self.frame.filter(|_| same).unwrap_or_else(|| {
            let skipped = u32::from(self.broken);
            self.numbers.frame = self.numbers.frame.wrapping_add(1 + skipped);
            Frame { timestamp: held.timestamp, keyframe: false, ended: false }
        });
        frame.keyframe |= starts_keyframe;
        frame.ended = held.marker;
        self.frame = Some(frame);
        self.broken = false;
        self.numbers.packet = self.numbers.packet.wrapping_add(1);
        let flags = OriginFlags { first, last: held.marker, keyframe: frame.keyframe, ..OriginFlags::default() };
        let origin = self.origin(flags, u8::from(!frame.keyframe));
        MediaPacket {
            origin,
            kind: TrackKind::Video,
            timestamp: held.timestamp,
            marker: held.marker,
            audio_level: None,
            payload: held.payload,
        }
    }

    const fn origin(&self, flags: OriginFlags, refers_back: u8) -> Origin {
        let layer = LayerId { encoding: self.binding.encoding, temporal: TemporalId(0) };
        let Numbers { packet, frame } = self.numbers;
        Origin { source: self.binding.track, layer, flags, packet, frame, refers_back }
    }
}

/// The origin of an Opus packet numbered `number`: a frame of its own.
pub(super) fn audio_origin(binding: Binding, number: u32) -> Origin {
    let flags = OriginFlags { first: true, last: true, keyframe: true, ..OriginFlags::default() };
    let layer = LayerId { encoding: EncodingId(0), temporal: TemporalId(0) };
    Origin { source: binding.track, layer, flags, packet: number, frame: number, refers_back: 0 }
}

/// Whether a payload belongs to the beginning of a keyframe.
fn starts_keyframe(payload: &[u8]) -> bool {
    holds(payload, &[IDR, SPS])
}

/// Whether a payload (RFC 6184 section 5.4) holds, or begins with a fragment of, a NAL unit of one of these types.
fn holds(payload: &[u8], types: &[u8]) -> bool {
    let wanted = |header: u8| types.contains(&(header & 0x1f));
    match payload {
        [header, rest @ ..] if header & 0x1f == STAP_A => {
            let mut rest = rest;
            while let Some((&[high, low], units)) = rest.split_first_chunk::<2>() {
                if units.first().is_some_and(|header| wanted(*header)) {
                    return true;
                }
                rest = units.get(usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default();
            }
            false
        }
        [indicator, header, ..] if indicator & 0x1f == FU_A => header & 0x80 != 0 && wanted(*header),
        [header, ..] => wanted(*header),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use segue_model::TrackId;

    use super::*;

    const KEY: [u8; 8] = [STAP_A, 0, 1, SPS, 0, 2, IDR, 0];

    fn stamper() -> OriginStamper {
        OriginStamper::new(Binding { track: TrackId(3), encoding: EncodingId(1) }, Numbers::default())
    }

    /// Packets as (sequence, timestamp, marker, first byte or keyframe).
    fn push(stamper: &mut OriginStamper, now: Instant, (seq, timestamp, marker): (u64, u32, bool), payload: &[u8]) {
        stamper.push(now, ExtSeq(70_000 + seq), timestamp, marker, false, Bytes::copy_from_slice(payload));
    }

    fn drain(stamper: &mut OriginStamper, now: Instant) -> Vec<(u32, u32, OriginFlags, u8)> {
        std::iter::from_fn(|| stamper.poll_packet(now))
            .map(|(packet, _)| (packet.origin.packet, packet.origin.frame, packet.origin.flags, packet.origin.refers_back))
            .collect()
    }

    fn flags(first: bool, last: bool, keyframe: bool) -> OriginFlags {
        OriginFlags { first, last, keyframe, ..OriginFlags::default() }
    }

    #[test]
    fn frames_are_counted_in_order_however_packets_come() {
        let now = Instant::now();
        let mut stamper = stamper();
        push(&mut stamper, now, (0, 100, false), &KEY);
        push(&mut stamper, now, (2, 200, true), &[1]);
        push(&mut stamper, now, (4, 300, true), &[1]);
        push(&mut stamper, now, (1, 100, true), &[IDR]);
        push(&mut stamper, now, (3, 200, false), &[]);
        let expected = [
            (1, 2, flags(true, false, true), 0),
            (2, 2, flags(false, true, true), 0),
            (3, 3, flags(true, true, false), 1),
            (4, 4, flags(true, true, false), 1),
        ];
        assert_eq!(drain(&mut stamper, now), expected);
        assert_eq!(stamper.poll_timeout(), None);
    }

    #[test]
    fn a_hole_that_stays_breaks_the_chain_until_a_keyframe() {
        let now = Instant::now();
        let mut stamper = stamper();
        push(&mut stamper, now, (0, 100, true), &KEY);
        push(&mut stamper, now, (2, 300, true), &[1]);
        push(&mut stamper, now, (3, 400, true), &KEY);
        assert_eq!(drain(&mut stamper, now).len(), 1);
        let due = stamper.poll_timeout().unwrap();
        let expected = [(3, 4, flags(false, true, false), 1), (4, 5, flags(true, true, true), 0)];
        assert_eq!(drain(&mut stamper, due), expected);
        push(&mut stamper, due, (1, 200, true), &[1]);
        assert_eq!(drain(&mut stamper, due), []);
    }

    #[test]
    fn keyframes_are_known_in_every_packetisation() {
        assert!(starts_keyframe(&[0x65, 1]));
        assert!(starts_keyframe(&[0x67, 1]));
        assert!(starts_keyframe(&KEY));
        assert!(starts_keyframe(&[STAP_A, 0, 1, 6, 0, 1, 0x65]));
        assert!(starts_keyframe(&[FU_A, 0x80 | IDR]));
        assert!(!starts_keyframe(&[FU_A, IDR]));
        assert!(!starts_keyframe(&[0x41, 1]));
        assert!(!starts_keyframe(&[STAP_A, 0xff]));
        assert!(!starts_keyframe(&[]));
    }
}
