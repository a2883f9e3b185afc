//! What of a peer's SCTP reaches the library: it believes numbers a peer chose, and some of them cost memory or time without end.
//!
//! The guard walks the chunks of a packet before the library does (RFC 9260 section 3.2) and lets it through whole or not at all. It
//! knows where the peer began from its INIT, and how far the library is and what it holds from the SACKs the library sends: nothing
//! is kept per chunk, and nothing is allocated.
//!
//! A refused packet is a lost packet: whoever sent it for a good reason sends it again, and whoever did not gains nothing by it. So the
//! session goes on, and with it the media of somebody whose page does strange things on channels of its own; what the attack costs is
//! the opening of its datagrams, as with any others.
//!
//! A chunk whose inner lengths do not fill it is refused as well: the library goes on where the inner ones end, so that a chunk could
//! hide in another one.

use super::drops::DropReason;
use super::sctp::{MAX_CHANNELS, MAX_MESSAGE_LEN, RECEIVE_BUFFER};

/// How far ahead of the cumulative TSN a chunk may be. The library counts to the one of a FORWARD TSN in steps (some 30 µs for all of
/// them), and keeps every chunk that is ahead. The window is full with 230 chunks of full size; small ones beyond this come again.
pub const MAX_AHEAD: u32 = 4096;

/// Bytes of packets kept because a TSN before them is missing: the window twice, for headers, and twice, since packets that came
/// before the last gap closed may be counted still.
const MAX_AHEAD_BYTES: u32 = 4 * RECEIVE_BUFFER;

/// Bytes of messages that are not whole, when something ahead comes: the window, and a message a peer may probe it with.
const MAX_HELD: u32 = RECEIVE_BUFFER + MAX_MESSAGE_LEN as u32;

/// The same when the next chunk in order comes, which may be the one everything waits for. The library takes it whatever it holds.
const MAX_HELD_NEXT: u32 = 2 * RECEIVE_BUFFER;

/// Chunks of messages that are not whole, or wait for one that is not. The largest message has 60 of full size, the window 230; the
/// library looks through those of a stream for each one that comes (at this number some 2 µs a chunk).
const MAX_CHUNKS: u32 = 512;

/// The same when the next chunk in order comes: two messages more, so that a gap can always be closed.
const MAX_CHUNKS_NEXT: u32 = MAX_CHUNKS + 128;

/// Requests to reset streams over the life of an association: one for each channel it may have. The library remembers its own request
/// for each until the peer answers. Who asks for more finds its channels closing for ever.
const MAX_RESETS: u32 = MAX_CHANNELS as u32;

/// Of these, before everything the peer sent until then has come (RFC 6525 section 5.2.2): the library remembers them until then, and
/// looks at all of them for each chunk. Who is refused asks again (RFC 6525 section 5.1.1), and by then it has come.
const MAX_EARLY_RESETS: u32 = 8;

/// Chunks of a packet that are not DATA. Each may be answered with a packet, and no stack sends more than one of each kind.
const MAX_CONTROL: u32 = 6;

/// Streams one FORWARD TSN or reset request names: all there may be.
const MAX_NAMED: usize = MAX_CHANNELS;

/// Length of the common header, of a chunk's header, and of one of a parameter or error cause (RFC 9260 sections 3.1, 3.2, 3.2.1, 3.3.10).
const COMMON_HEADER: usize = 12;
const CHUNK_HEADER: usize = 4;
const PARAMETER_HEADER: usize = 4;

/// Kinds of chunks (RFC 9260 section 3.2, RFC 6525 section 3.1, RFC 3758 section 3.2).
const DATA: u8 = 0;
const INIT: u8 = 1;
const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;
const RE_CONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;

/// Parameters (RFC 9260 section 3.3.5, RFC 6525 sections 4.1 and 4.4).
const HEARTBEAT_INFO: u16 = 1;
const OUTGOING_RESET: u16 = 13;
const RECONFIG_RESPONSE: u16 = 16;

/// Lengths of what is fixed in values: DATA before its bytes, INIT before its parameters, SACK before its blocks (RFC 9260 sections
/// 3.3.1, 3.3.2, 3.3.4), and both parameters of RE-CONFIG with their headers (RFC 6525).
const DATA_FIXED: usize = 12;
const INIT_FIXED: usize = 16;
const SACK_FIXED: usize = 12;
const RESET_FIXED: usize = 16;
const RESPONSE_LEN: usize = 12;

/// Why a packet is not for the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Lengths that do not fit, an empty DATA, blocks out of order, or a chunk where it must not be.
    Malformed,
    /// A chunk of an extension nobody agreed on, I-DATA (RFC 8260) for one.
    Unsupported,
    /// DATA or FORWARD TSN more than [`MAX_AHEAD`] ahead.
    TooFarAhead,
    /// More than may wait for what is missing.
    TooMuchHeld,
    /// More resets than channels.
    TooManyResets,
    /// More chunks that ask for an answer than one packet has.
    TooManyChunks,
}

impl Refusal {
    /// As what it is counted.
    #[must_use]
    pub const fn drop_reason(self) -> DropReason {
        match self {
            Self::Malformed | Self::Unsupported => DropReason::SctpDiscarded,
            _ => DropReason::SctpRefused,
        }
    }
}

/// The state of one association.
#[derive(Clone, Copy, Debug, Default)]
pub struct SctpGuard {
    /// Cumulative TSN as last acknowledged.
    cumulative: u32,
    /// The highest TSN let through.
    highest: u32,
    /// Bytes of messages that are not whole, by the last SACK, and what was let through since.
    held: u32,
    since: u32,
    /// Chunks let through and not read: never fewer than there are.
    chunks: u32,
    /// Bytes of packets let through: `older` until `turn` was the highest TSN, `newer` since. All up to `turn` are gone once it is
    /// acknowledged, so that both together are never less than what is kept.
    older: u32,
    newer: u32,
    turn: u32,
    resets: u32,
    early_resets: u32,
}

impl SctpGuard {
    /// Looks at a packet of the peer.
    ///
    /// # Errors
    /// It must not reach the library. The guard is as it was before.
    pub fn admit(&mut self, packet: &[u8]) -> Result<(), Refusal> {
        let mut next = *self;
        let mut rest = packet.get(COMMON_HEADER..).filter(|chunks| !chunks.is_empty()).ok_or(Refusal::Malformed)?;
        let (first, mut control, mut brings) = (rest.len(), 0, false);
        while !rest.is_empty() {
            let at = rest.len();
            let chunk = Chunk::split(&mut rest).ok_or(Refusal::Malformed)?;
            if chunk.kind == DATA {
                brings |= next.data(self.cumulative, chunk.value)?;
                continue;
            }
            control += 1;
            if control > MAX_CONTROL {
                return Err(Refusal::TooManyChunks);
            }
            // The only chunk of its packet (RFC 9260 section 3.1); anything else is refused by the library after it made an association.
            if chunk.kind == INIT && (at != first || !rest.is_empty()) {
                return Err(Refusal::Malformed);
            }
            next.control(self.cumulative, &chunk)?;
        }
        if brings {
            // A chunk keeps the packet it came in.
            next.newer = next.newer.saturating_add(packet.len() as u32);
        }
        *self = next;
        Ok(())
    }

    /// Looks at a packet for the peer: a SACK says how far the library is and what it holds (RFC 9260 section 3.3.4).
    pub fn sent(&mut self, packet: &[u8]) {
        let mut rest = packet.get(COMMON_HEADER..).unwrap_or_default();
        while let Some(chunk) = Chunk::split(&mut rest) {
            let fields = (read_u32(chunk.value, 0), read_u32(chunk.value, 4));
            if let (SACK, (Some(cumulative), Some(window))) = (chunk.kind, fields) {
                self.acknowledged(cumulative, window);
            }
        }
    }

    /// A whole message of so many chunks was read.
    pub fn read(&mut self, chunks: usize) {
        self.chunks = self.chunks.saturating_sub(u32::try_from(chunks).unwrap_or(u32::MAX));
    }

    fn acknowledged(&mut self, cumulative: u32, window: u32) {
        self.cumulative = cumulative;
        // A closed window does not say by how much it is exceeded.
        let least = if window == 0 { self.held + self.since } else { 0 };
        self.held = RECEIVE_BUFFER.saturating_sub(window).max(least);
        self.since = 0;
        // A chunk has at least one byte.
        self.chunks = self.chunks.min(self.held);
        if is_after(cumulative, self.highest) {
            self.highest = cumulative;
        }
        if !is_after(self.turn, cumulative) {
            self.older = if self.highest == cumulative { 0 } else { self.newer };
            self.newer = 0;
            self.turn = self.highest;
        }
    }

    /// DATA: whether it brings something. Distances are from what was acknowledged before the packet, as the library may be no further.
    fn data(&mut self, cumulative: u32, value: &[u8]) -> Result<bool, Refusal> {
        let tsn = read_u32(value, 0).ok_or(Refusal::Malformed)?;
        // An empty one is a protocol violation (RFC 9260 section 6.2), and would be held without weight.
        let len = value.len().checked_sub(DATA_FIXED).filter(|len| *len > 0).ok_or(Refusal::Malformed)? as u32;
        if !is_after(tsn, cumulative) {
            return Ok(false);
        }
        let ahead = tsn.wrapping_sub(cumulative);
        if ahead > MAX_AHEAD {
            return Err(Refusal::TooFarAhead);
        }
        let held = self.held + self.since + len;
        let refused = if ahead == 1 {
            held > MAX_HELD_NEXT || self.chunks >= MAX_CHUNKS_NEXT
        } else {
            held > MAX_HELD || self.chunks >= MAX_CHUNKS || self.older.saturating_add(self.newer) > MAX_AHEAD_BYTES
        };
        if refused {
            return Err(Refusal::TooMuchHeld);
        }
        self.since += len;
        self.chunks += 1;
        if is_after(tsn, self.highest) {
            self.highest = tsn;
        }
        Ok(true)
    }

    fn control(&mut self, cumulative: u32, chunk: &Chunk<'_>) -> Result<(), Refusal> {
        let value = chunk.value;
        let fits = match chunk.kind {
            INIT => {
                let initial = read_u32(value, INIT_FIXED - 4).ok_or(Refusal::Malformed)?;
                let before = initial.wrapping_sub(1);
                *self = Self { cumulative: before, highest: before, turn: before, ..Self::default() };
                true
            }
            SACK => sack_fits(value),
            HEARTBEAT => is_parameter(value, HEARTBEAT_INFO),
            ABORT | ERROR => causes_fit(value),
            SHUTDOWN => value.len() == 4,
            SHUTDOWN_ACK | COOKIE_ACK | SHUTDOWN_COMPLETE => value.is_empty(),
            COOKIE_ECHO => true,
            RE_CONFIG => return self.reconfigure(cumulative, value),
            FORWARD_TSN => {
                let to = read_u32(value, 0).ok_or(Refusal::Malformed)?;
                if is_after(to, cumulative) && to.wrapping_sub(cumulative) > MAX_AHEAD {
                    return Err(Refusal::TooFarAhead);
                }
                value.len().is_multiple_of(4) && value.len() / 4 - 1 <= MAX_NAMED
            }
            _ => return Err(Refusal::Unsupported),
        };
        if fits { Ok(()) } else { Err(Refusal::Malformed) }
    }

    /// One or two parameters (RFC 6525 section 3.1).
    fn reconfigure(&mut self, cumulative: u32, mut value: &[u8]) -> Result<(), Refusal> {
        for _ in 0..2 {
            let (kind, parameter) = split_parameter(&mut value).ok_or(Refusal::Malformed)?;
            match kind {
                OUTGOING_RESET => self.reset(cumulative, parameter)?,
                // A longer one is a response to what we never ask for (RFC 6525 section 4.4).
                RECONFIG_RESPONSE if parameter.len() == RESPONSE_LEN => {}
                RECONFIG_RESPONSE => return Err(Refusal::Malformed),
                _ => return Err(Refusal::Unsupported),
            }
            if value.is_empty() {
                return Ok(());
            }
        }
        Err(Refusal::Malformed)
    }

    /// A request of the peer to reset streams it sends on, which is how a channel is closed (RFC 8831 section 6.7).
    fn reset(&mut self, cumulative: u32, parameter: &[u8]) -> Result<(), Refusal> {
        let last = read_u32(parameter, RESET_FIXED - 4).ok_or(Refusal::Malformed)?;
        let named = parameter.len().saturating_sub(RESET_FIXED);
        if !named.is_multiple_of(2) || named / 2 > MAX_NAMED {
            return Err(Refusal::Malformed);
        }
        self.resets += 1;
        self.early_resets += u32::from(is_after(last, cumulative));
        if self.resets > MAX_RESETS || self.early_resets > MAX_EARLY_RESETS {
            return Err(Refusal::TooManyResets);
        }
        Ok(())
    }
}

struct Chunk<'a> {
    kind: u8,
    value: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Takes a chunk with its padding off the front (RFC 9260 section 3.2).
    fn split(rest: &mut &'a [u8]) -> Option<Self> {
        let (kind, len) = (*rest.first()?, usize::from(read_u16(rest, 2)?));
        let value = rest.get(CHUNK_HEADER..len)?;
        *rest = rest.get(len.next_multiple_of(4)..)?;
        Some(Self { kind, value })
    }
}

/// Takes a parameter with its padding off the front (RFC 9260 section 3.2.1): its type, and itself with its header. The last one may
/// do without padding.
fn split_parameter<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let (kind, len) = (read_u16(rest, 0)?, usize::from(read_u16(rest, 2)?));
    let parameter = rest.get(..len).filter(|parameter| parameter.len() >= PARAMETER_HEADER)?;
    *rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, parameter))
}

/// Whether a value is one parameter of this type and no more.
fn is_parameter(mut value: &[u8], kind: u16) -> bool {
    split_parameter(&mut value).is_some_and(|(found, _)| found == kind) && value.is_empty()
}

/// Whether error causes fill a value but for its padding, one at the other as the library reads them.
fn causes_fit(value: &[u8]) -> bool {
    let mut end = 0;
    while value.len() - end >= PARAMETER_HEADER {
        let len = read_u16(value, end + 2).map_or(0, usize::from);
        if len < PARAMETER_HEADER || len > value.len() - end {
            return false;
        }
        end += len;
    }
    end.next_multiple_of(4) == value.len().next_multiple_of(4)
}

/// Whether a SACK has the length it says, and blocks each behind the one before (RFC 9260 section 3.3.4): the library looks at every
/// TSN of every block, so that the same block many times would cost as many times as much.
fn sack_fits(value: &[u8]) -> bool {
    let (Some(blocks), Some(duplicates)) = (read_u16(value, 8), read_u16(value, 10)) else { return false };
    let (blocks, duplicates) = (usize::from(blocks), usize::from(duplicates));
    if value.len() != SACK_FIXED + 4 * (blocks + duplicates) {
        return false;
    }
    let mut before = 0;
    (0..blocks).all(|index| {
        let at = SACK_FIXED + 4 * index;
        let (Some(start), Some(end)) = (read_u16(value, at), read_u16(value, at + 2)) else { return false };
        let fits = start > before && end >= start;
        before = end;
        fits
    })
}

/// Whether TSN `a` comes after `b` (RFC 9260 section 1.6).
fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
