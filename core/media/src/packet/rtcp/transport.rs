//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

use std::time::Duration;

use segue_model::{SeqNo, Ssrc};

use super::super::cursor::{Reader, u24_bytes};
use super::super::error::PacketError;
use super::{TRANSPORT_FEEDBACK, framed};

/// Statuses taken from one feedback. Run lengths let sixteen bytes claim 65,535; ours cover 100 ms, so 8,192 are 80,000 packets
/// a second.
pub const MAX_STATUSES: usize = 8_192;

/// Unit of arrival deltas.
pub const DELTA_TICK: Duration = Duration::from_micros(250);

/// Unit of the reference time.
pub const REFERENCE_TICK: Duration = Duration::from_millis(64);

/// Feedback message type.
pub(super) const TRANSPORT_CC: u8 = 15;

/// Longest run of one chunk: 13 bits.
const MAX_RUN: usize = 0x1fff;

/// Symbols of a status vector chunk, by their width.
const ONE_BIT_SYMBOLS: usize = 14;
const TWO_BIT_SYMBOLS: usize = 7;

const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// Which packets came and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportFeedback {
    /// Who reports.
    pub sender: Ssrc,
    /// Any stream of the transport.
    pub media: Ssrc,
    /// Transport-wide number the first status is about.
    pub base: SeqNo,
    /// Reference time in units of [`REFERENCE_TICK`] on the reporter's clock: 24 bits, signed.
    pub reference: i32,
    /// Counts feedback packets.
    pub count: u8,
    /// One entry per number from `base` on: `None` for not received, otherwise its arrival in units of [`DELTA_TICK`] after the
    /// one received before it in this list (the first: after the reference time). At most [`MAX_STATUSES`] are written.
    pub deltas: Vec<Option<i16>>,
}

impl TransportFeedback {
    /// Every number reported on, with its arrival on the reporter's clock in units of [`DELTA_TICK`], where it came.
    pub fn arrivals(&self) -> impl Iterator<Item = (SeqNo, Option<i64>)> + '_ {
        let mut at = i64::from(self.reference) * (REFERENCE_TICK.as_micros() / DELTA_TICK.as_micros()) as i64;
        self.deltas.iter().enumerate().map(move |(offset, delta)| {
            let number = SeqNo(self.base.0.wrapping_add(offset as u16));
            let arrival = delta.map(|delta| {
                at += i64::from(delta);
                at
            });
            (number, arrival)
        })
    }
}

pub(super) fn parse(body: &mut Reader<'_>) -> Result<TransportFeedback, PacketError> {
    let sender = Ssrc(body.u32()?);
    let media = Ssrc(body.u32()?);
    let base = SeqNo(body.u16()?);
    let total = usize::from(body.u16()?);
    let reference = body.i24()?;
    let count = body.u8()?;
    if total > MAX_STATUSES {
        return Err(PacketError::TooMany);
    }
    let mut symbols = Vec::with_capacity(total);
    while symbols.len() < total {
        parse_chunk(body.u16()?, total, &mut symbols);
    }
    let deltas = symbols
        .into_iter()
        .map(|symbol| match symbol {
            NOT_RECEIVED => Ok(None),
            SMALL_DELTA => body.u8().map(|delta| Some(i16::from(delta))),
            LARGE_DELTA => body.u16().map(|delta| Some(delta as i16)),
            _ => Err(PacketError::Malformed),
        })
        .collect::<Result<_, _>>()?;
    Ok(TransportFeedback { sender, media, base, reference, count, deltas })
}

/// Appends the symbols of one chunk, at most up to `total` of them.
fn parse_chunk(chunk: u16, total: usize, symbols: &mut Vec<u8>) {
    let room = total.saturating_sub(symbols.len());
    if chunk & 0x8000 == 0 {
        let run = usize::from(chunk & 0x1fff).min(room);
        symbols.extend(std::iter::repeat_n((chunk >> 13) as u8 & 0x03, run));
    } else if chunk & 0x4000 == 0 {
        symbols.extend((0..ONE_BIT_SYMBOLS).rev().map(|bit| (chunk >> bit) as u8 & 0x01).take(room));
    } else {
        symbols.extend((0..TWO_BIT_SYMBOLS).rev().map(|pair| (chunk >> (2 * pair)) as u8 & 0x03).take(room));
    }
}

pub(super) fn write(feedback: &TransportFeedback, out: &mut Vec<u8>) {
    let deltas = feedback.deltas.get(..MAX_STATUSES).unwrap_or(&feedback.deltas);
    let symbols: Vec<u8> = deltas.iter().map(|delta| symbol(*delta)).collect();
    framed(TRANSPORT_FEEDBACK, TRANSPORT_CC, out, |out| {
        out.extend_from_slice(&feedback.sender.0.to_be_bytes());
        out.extend_from_slice(&feedback.media.0.to_be_bytes());
        out.extend_from_slice(&feedback.base.0.to_be_bytes());
        out.extend_from_slice(&(symbols.len() as u16).to_be_bytes());
        out.extend_from_slice(&u24_bytes(feedback.reference as u32));
        out.push(feedback.count);
        let mut rest = symbols.as_slice();
        while let Some((chunk, used)) = next_chunk(rest) {
            out.extend_from_slice(&chunk.to_be_bytes());
            rest = rest.get(used..).unwrap_or_default();
        }
        for delta in deltas.iter().flatten() {
            match u8::try_from(*delta) {
                Ok(small) => out.push(small),
                Err(_) => out.extend_from_slice(&delta.to_be_bytes()),
            }
        }
    });
}

fn symbol(delta: Option<i16>) -> u8 {
    match delta {
        None => NOT_RECEIVED,
        Some(0..=255) => SMALL_DELTA,
        Some(_) => LARGE_DELTA,
    }
}

/// The chunk that says most about the symbols ahead, and how many it says.
fn next_chunk(symbols: &[u8]) -> Option<(u16, usize)> {
    let &first = symbols.first()?;
    let run = symbols.iter().take(MAX_RUN).take_while(|symbol| **symbol == first).count();
    let narrow = symbols.iter().take(ONE_BIT_SYMBOLS).take_while(|symbol| **symbol != LARGE_DELTA).count();
    let narrow_holds = narrow == ONE_BIT_SYMBOLS.min(symbols.len());
    let vector = if narrow_holds { narrow } else { TWO_BIT_SYMBOLS.min(symbols.len()) };
    if run >= vector {
        return Some((u16::from(first) << 13 | run as u16, run));
    }
    let (flag, slots, width) = if narrow_holds { (0x8000, ONE_BIT_SYMBOLS, 1) } else { (0xc000, TWO_BIT_SYMBOLS, 2) };
    let packed = (0..slots).fold(0u16, |packed, slot| (packed << width) | u16::from(symbols.get(slot).copied().unwrap_or(0)));
    Some((flag | packed, vector))
}
