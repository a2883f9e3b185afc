//! Which media packets are lost: decided by what a packet is, not by the path it takes.
//!
//! A call is played twice, with and without a change of path. Both must lose the same packets, so the draw is over the receiver, the track, the
//! capture, the place of the packet in its frame and the attempt. All of that stands in the header, which SRTP leaves readable.

use std::collections::HashMap;

/// RTP header extension id of the origin, as offered by everybody here (`core/ARCHITECTURE.md`).
const ORIGIN_ID: u8 = 5;

/// Its length on the wire.
const ORIGIN_LEN: usize = 13;

/// RFC 8285 section 4.2.
const ONE_BYTE_PROFILE: u16 = 0xbede;

/// Payload type of retransmitted video (RFC 4588), as offered by everybody here.
const RTX_PAYLOAD_TYPE: u8 = 103;

/// First packet of its frame; and one that carries no media.
const FLAG_FIRST: u8 = 0x01;
const FLAG_PROBE: u8 = 0x10;

/// Retransmissions counted; more than a call of a minute has.
const MAX_ATTEMPTS: usize = 1 << 16;

/// How a track's timestamps count its captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// RTP timestamp of the first capture.
    pub base: u32,
    /// Ticks between two.
    pub ticks: u32,
}

impl Source {
    /// Which capture a timestamp belongs to.
    #[must_use]
    pub const fn index(self, timestamp: u32) -> u32 {
        timestamp.wrapping_sub(self.base).wrapping_add(self.ticks / 2) / self.ticks
    }
}

/// The fates of all media packets.
#[derive(Debug, Default)]
pub struct Fates {
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Of the draw.
    pub seed: u64,
    sources: HashMap<u16, Source>,
    /// First packet of the last frame seen of (track, layer).
    frames: HashMap<(u16, u8), (u32, u32)>,
    attempts: HashMap<(usize, u64), u64>,
    /// Packets lost.
    pub lost: u64,
    /// Packets that could have been.
    pub drawn: u64,
}

/// What is readable of a media packet.
struct Readable {
    payload_type: u8,
    timestamp: u32,
    track: u16,
    layer: u8,
    flags: u8,
    packet: u32,
    frame: u32,
}

impl Fates {
    /// From now on packets of a track have a fate.
    pub fn know(&mut self, track: u16, source: Source) {
        self.sources.insert(track, source);
    }

    /// Whether a packet does not arrive at one receiver.
    pub(super) fn is_lost(&mut self, receiver: usize, datagram: &[u8]) -> bool {
        if self.loss <= 0.0 {
            return false;
        }
        let Some(read) = read(datagram).filter(|read| read.flags & FLAG_PROBE == 0) else { return false };
        let Some(source) = self.sources.get(&read.track).copied() else { return false };
        if read.flags & FLAG_FIRST != 0 {
            self.frames.insert((read.track, read.layer), (read.frame, read.packet));
        }
        let place = match self.frames.get(&(read.track, read.layer)) {
            Some((frame, first)) if *frame == read.frame => read.packet.wrapping_sub(*first),
            _ => 0,
        };
        let words = [u64::from(read.track), u64::from(source.index(read.timestamp)), u64::from(place)];
        let key = words.into_iter().fold(self.seed, |sum, word| mix(sum ^ word));
        let mut attempt = 0;
        if read.payload_type == RTX_PAYLOAD_TYPE && self.attempts.len() < MAX_ATTEMPTS {
            let count = self.attempts.entry((receiver, key)).or_default();
            *count += 1;
            attempt = *count;
        }
        let draw = mix(key ^ mix(receiver as u64 + 1) ^ (attempt << 48));
        self.drawn += 1;
        let lost = ((draw >> 11) as f64 / (1_u64 << 53) as f64) < self.loss;
        self.lost += u64::from(lost);
        lost
    }
}

/// SplitMix64.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Reads the header of an RTP packet with an origin; `None` of everything else.
fn read(datagram: &[u8]) -> Option<Readable> {
    let (first, second) = (*datagram.first()?, *datagram.get(1)?);
    // RFC 7983: RTP and RTCP begin with 128 to 191; RFC 5761: RTCP has types 192 to 223 there.
    if first >> 6 != 2 || (192..=223).contains(&second) || first & 0x10 == 0 {
        return None;
    }
    let word = |at: usize| datagram.get(at..at + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap_or_default()));
    let half = |at: usize| datagram.get(at..at + 2).map(|bytes| u16::from_be_bytes(bytes.try_into().unwrap_or_default()));
    let extension = 12 + usize::from(first & 0x0f) * 4;
    if half(extension)? != ONE_BYTE_PROFILE {
        return None;
    }
    let end = extension + 4 + usize::from(half(extension + 2)?) * 4;
    let mut at = extension + 4;
    while at < end {
        let head = *datagram.get(at)?;
        let (id, len) = (head >> 4, usize::from(head & 0x0f) + 1);
        if head == 0 {
            at += 1;
        } else if id == ORIGIN_ID && len == ORIGIN_LEN {
            return Some(Readable {
                payload_type: second & 0x7f,
                timestamp: word(4)?,
                track: half(at + 1)?,
                layer: *datagram.get(at + 3)?,
                flags: *datagram.get(at + 4)?,
                packet: word(at + 5)?,
                frame: word(at + 9)?,
            });
        } else {
            at += 1 + len;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload_type: u8, timestamp: u32, packet: u32, frame: u32) -> Vec<u8> {
        let mut bytes = vec![0x90, payload_type, 0, 1];
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend([0, 0, 0, 9]);
        bytes.extend([0xbe, 0xde, 0, 4, 0x10, 0x55, (ORIGIN_ID << 4) | 12, 0, 7, 0, FLAG_FIRST]);
        bytes.extend(packet.to_be_bytes());
        bytes.extend(frame.to_be_bytes());
        bytes.extend([0; 3]);
        bytes
    }

    fn fates(base: u32) -> Fates {
        let mut fates = Fates { loss: 0.2, seed: 5, ..Fates::default() };
        fates.know(7, Source { base, ticks: 960 });
        fates
    }

    #[test]
    fn two_calls_lose_the_same_captures_whatever_their_numbers_begin_at() {
        let lost = |base: u32, first: u32| -> Vec<bool> {
            let mut fates = fates(base);
            let one = |at: u32| packet(111, base.wrapping_add(at * 960), first.wrapping_add(at), first.wrapping_add(at));
            (0..2_000).map(|at| fates.is_lost(1, &one(at))).collect()
        };
        let once = lost(0, 0);
        assert_eq!(once, lost(u32::MAX - 70_000, 4_000_000_000));
        let count = once.iter().filter(|lost| **lost).count();
        assert!((340..460).contains(&count), "{count} of 2000");
    }

    #[test]
    fn each_receiver_and_each_attempt_has_a_fate_of_its_own() {
        let mut fates = fates(0);
        let of = |fates: &mut Fates, receiver: usize, payload_type: u8| -> Vec<bool> {
            (0..200).map(|at| fates.is_lost(receiver, &packet(payload_type, at * 960, at, at))).collect()
        };
        let first = of(&mut fates, 1, 102);
        assert_eq!(first, of(&mut fates, 1, 102), "the other path's copy");
        assert_ne!(first, of(&mut fates, 2, 102));
        let again = of(&mut fates, 1, RTX_PAYLOAD_TYPE);
        assert_ne!(first, again);
        assert_ne!(again, of(&mut fates, 1, RTX_PAYLOAD_TYPE));
    }

    #[test]
    fn what_is_no_media_always_arrives() {
        let mut fates = Fates { loss: 1.0, ..fates(0) };
        assert!(fates.is_lost(0, &packet(111, 0, 0, 0)));
        for other in [&[0_u8, 1, 0, 0][..], &[22, 254, 253], &[0x80, 200, 0, 1, 0, 0, 0, 0], &[]] {
            assert!(!fates.is_lost(0, other));
        }
    }
}
