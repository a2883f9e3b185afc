//! Annex B access unit to RTP payloads.

use bytes::{BufMut, Bytes, BytesMut};

use super::{FU_A, FU_END, FU_START, IMPORTANCE_MASK, STAP_A, TYPE_MASK};

/// Most bytes of an RTP payload: with RTP header, header extensions, RTX number, SRTP tag, UDP and IPv6 it stays below the
/// 1,280 bytes that every IPv6 path carries, and leaves a TURN channel its room.
pub const MAX_PAYLOAD: usize = 1_100;

/// Bytes an FU-A payload spends on its indicator and header.
const FU_OVERHEAD: usize = 2;

/// Bytes a STAP-A payload spends on itself, and on each unit in it.
const STAP_OVERHEAD: usize = 1;
const STAP_UNIT_OVERHEAD: usize = 2;

/// The NAL units of an Annex B byte stream (ITU-T H.264 annex B), without start codes and trailing zeros. Bytes before the
/// first start code are no NAL unit and are skipped.
pub fn nal_units(access_unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start_code(access_unit).and_then(|(_, end)| access_unit.get(end..)).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (unit, next) = match start_code(rest) {
            Some((begin, end)) => (rest.get(..begin), rest.get(end..)),
            None => (Some(rest), None),
        };
        rest = next.unwrap_or_default();
        let unit = unit.unwrap_or_default();
        // trailing_zero_8bits belong to the byte stream; the last byte of a NAL unit is never zero.
        Some(unit.get(..unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)).unwrap_or_default())
    })
    .filter(|unit| !unit.is_empty())
}

/// Where the first three-byte start code begins and ends. The zero of the four-byte form counts as trailing zero before it.
fn start_code(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    loop {
        // Looking for the one first is quick: in coded data it is no more common than any other byte.
        let one = from + bytes.get(from..)?.iter().position(|byte| *byte == 1)?;
        if one >= 2 && bytes.get(one - 2..one) == Some(&[0, 0]) {
            return Some((one - 2, one + 1));
        }
        from = one + 1;
    }
}

/// Cuts an access unit (Annex B) into RTP payloads of at most [`MAX_PAYLOAD`] bytes. Small NAL units that follow each other
/// (parameter sets, supplemental information) share a STAP-A; a large one is cut into FU-A payloads that differ by at most one
/// byte, so that a sender can hand runs of them to the kernel in one call. Empty where there is no NAL unit.
#[must_use]
pub fn packetise(access_unit: &[u8]) -> Vec<Bytes> {
    let mut cutter =
        Cutter { out: BytesMut::with_capacity(access_unit.len() + access_unit.len() / 256 + 64), payloads: Vec::new() };
    let mut small: Vec<&[u8]> = Vec::new();
    let mut small_size = STAP_OVERHEAD;
    for unit in nal_units(access_unit) {
        let size = unit.len() + STAP_UNIT_OVERHEAD;
        if small_size + size > MAX_PAYLOAD {
            cutter.aggregate(&small);
            small.clear();
            small_size = STAP_OVERHEAD;
        }
        if unit.len() > MAX_PAYLOAD {
            cutter.fragment(unit);
        } else {
            small.push(unit);
            small_size += size;
        }
    }
    cutter.aggregate(&small);
    cutter.payloads
}

/// Writes payloads one behind the other into one allocation.
struct Cutter {
    out: BytesMut,
    payloads: Vec<Bytes>,
}

impl Cutter {
    fn finish_payload(&mut self) {
        self.payloads.push(self.out.split().freeze());
    }

    fn aggregate(&mut self, units: &[&[u8]]) {
        match units {
            [] => return,
            [alone] => self.out.put_slice(alone),
            several => {
                // RFC 6184 section 5.7.1: the header carries the highest importance of the units in it.
                let importance = several.iter().filter_map(|unit| unit.first()).map(|header| header & IMPORTANCE_MASK);
                self.out.put_u8(importance.max().unwrap_or_default() | STAP_A);
                for unit in several {
                    // At most MAX_PAYLOAD, so it fits.
                    self.out.put_u16(unit.len() as u16);
                    self.out.put_slice(unit);
                }
            }
        }
        self.finish_payload();
    }

    fn fragment(&mut self, unit: &[u8]) {
        let Some((header, body)) = unit.split_first() else { return };
        let pieces = body.len().div_ceil(MAX_PAYLOAD - FU_OVERHEAD).max(1);
        let (size, longer) = (body.len() / pieces, body.len() % pieces);
        let mut rest = body;
        for piece in 0..pieces {
            let (fragment, after) = rest.split_at_checked(size + usize::from(piece < longer)).unwrap_or((rest, &[]));
            let start = if piece == 0 { FU_START } else { 0 };
            let end = if piece + 1 == pieces { FU_END } else { 0 };
            self.out.put_u8((header & IMPORTANCE_MASK) | FU_A);
            self.out.put_u8((header & TYPE_MASK) | start | end);
            self.out.put_slice(fragment);
            self.finish_payload();
            rest = after;
        }
    }
}
