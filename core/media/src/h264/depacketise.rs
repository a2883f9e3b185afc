//! RTP payloads of one access unit back to Annex B.

use bytes::{BufMut, Bytes, BytesMut};

use super::{FU_A, FU_END, FU_START, IMPORTANCE_MASK, STAP_A, TYPE_MASK};

/// Every NAL unit is written behind the four-byte start code, which all decoders take.
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// What makes the payloads of a frame unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DepacketiseError {
    /// A payload ends before what it announces.
    #[error("a payload of the access unit is truncated")]
    Truncated,
    /// NAL unit types 0 and 25 to 31 except FU-A: not part of packetization mode 1.
    #[error("NAL unit type {0} does not belong to packetization mode 1")]
    Type(u8),
    /// Fragments that do not begin, continue or end where they should.
    #[error("the fragments of a NAL unit do not fit together")]
    Fragments,
    /// No payload at all.
    #[error("the access unit is empty")]
    Empty,
}

/// The access unit (Annex B) that `payloads`, in the order of their packets, carry.
///
/// # Errors
/// Where the payloads are not a whole access unit in packetization mode 1.
pub fn depacketise<'a>(payloads: impl Iterator<Item = &'a Bytes> + Clone) -> Result<Bytes, DepacketiseError> {
    let size = payloads.clone().map(|payload| payload.len() + START_CODE.len()).sum();
    let mut out = BytesMut::with_capacity(size);
    let mut in_fragments = false;
    for payload in payloads {
        let (&header, body) = payload.split_first().ok_or(DepacketiseError::Truncated)?;
        let kind = header & TYPE_MASK;
        if in_fragments && kind != FU_A {
            return Err(DepacketiseError::Fragments);
        }
        match kind {
            1..=23 => put_unit(&mut out, payload),
            STAP_A => unpack(&mut out, body)?,
            FU_A => in_fragments = join(&mut out, header, body, in_fragments)?,
            other => return Err(DepacketiseError::Type(other)),
        }
    }
    if in_fragments {
        return Err(DepacketiseError::Fragments);
    }
    if out.is_empty() { Err(DepacketiseError::Empty) } else { Ok(out.freeze()) }
}

fn put_unit(out: &mut BytesMut, unit: &[u8]) {
    out.put_slice(&START_CODE);
    out.put_slice(unit);
}

/// STAP-A (RFC 6184 section 5.7.1): sizes and units.
fn unpack(out: &mut BytesMut, mut rest: &[u8]) -> Result<(), DepacketiseError> {
    while !rest.is_empty() {
        let (size, after) = rest.split_first_chunk::<2>().ok_or(DepacketiseError::Truncated)?;
        let (unit, after) =
            after.split_at_checked(usize::from(u16::from_be_bytes(*size))).ok_or(DepacketiseError::Truncated)?;
        if unit.is_empty() {
            return Err(DepacketiseError::Truncated);
        }
        put_unit(out, unit);
        rest = after;
    }
    Ok(())
}

/// FU-A (RFC 6184 section 5.8); answers whether more fragments must follow.
fn join(out: &mut BytesMut, indicator: u8, body: &[u8], in_fragments: bool) -> Result<bool, DepacketiseError> {
    let (&fu, fragment) = body.split_first().ok_or(DepacketiseError::Truncated)?;
    let (start, end) = (fu & FU_START != 0, fu & FU_END != 0);
    // A unit in one fragment is not allowed (section 5.8), but does no harm and is accepted.
    if start == in_fragments {
        return Err(DepacketiseError::Fragments);
    }
    if start {
        out.put_slice(&START_CODE);
        out.put_u8((indicator & IMPORTANCE_MASK) | (fu & TYPE_MASK));
    }
    out.put_slice(fragment);
    Ok(!end)
}
