//! SCTP of a participant that means no good: an association the relay takes for one, and packets that try to make it hold or count
//! without end.

/// The port of SCTP over DTLS (RFC 8841 section 5).
const PORT: [u8; 2] = 5000u16.to_be_bytes();

/// Our first TSN, initiate tag and window.
const TSN: u32 = 1_000;
const TAG: u32 = 7;
const WINDOW: u32 = 1 << 20;

/// Chunks (RFC 9260 section 3.2, RFC 6525 section 3.1, RFC 3758 section 3.2).
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const COOKIE_ECHO: u8 = 10;
const RE_CONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;

/// Parameters: a cookie (RFC 9260 section 3.3.3), a request to reset streams (RFC 6525 section 4.1).
const STATE_COOKIE: u16 = 7;
const OUTGOING_RESET: u16 = 13;

/// Where an INIT ACK has the tag of its sender, and its parameters.
const TAG_AT: usize = 16;
const PARAMETERS_AT: usize = 32;

/// As far ahead as comparisons of TSNs go.
const FAR: u32 = 1 << 30;

/// Streams a request names: as many as fit a datagram.
const STREAMS: u16 = 560;

/// Bytes of a fragment.
const FRAGMENT: usize = 1_000;

/// A packet of one chunk.
fn packet(tag: u32, kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut packet = [PORT, PORT].concat();
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend([kind, flags]);
    packet.extend((4 + value.len() as u16).to_be_bytes());
    packet.extend_from_slice(value);
    packet.resize(packet.len().next_multiple_of(4), 0);
    let sum = crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

/// RFC 9260 appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| (sum >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(sum & 1));
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

/// Begins an association.
pub(super) fn init() -> Vec<u8> {
    let mut value = [TAG.to_be_bytes(), WINDOW.to_be_bytes(), [0xff; 4], TSN.to_be_bytes()].concat();
    // FORWARD TSN and RE-CONFIG are supported.
    value.extend([0xc0, 0, 0, 4, 0x80, 8, 0, 6, FORWARD_TSN, RE_CONFIG, 0, 0]);
    packet(0, INIT, 0, &value)
}

/// The relay's tag and our answer, where `packet` is the relay's INIT ACK.
pub(super) fn cookie_echo(answer: &[u8]) -> Option<(u32, Vec<u8>)> {
    let tag = answer.get(TAG_AT..)?.first_chunk().map(|tag| u32::from_be_bytes(*tag))?;
    let mut parameters = answer.get(PARAMETERS_AT..).filter(|_| answer.get(12) == Some(&INIT_ACK))?;
    loop {
        let [kind, len] = [[*parameters.first()?, *parameters.get(1)?], [*parameters.get(2)?, *parameters.get(3)?]];
        let len = usize::from(u16::from_be_bytes(len));
        if u16::from_be_bytes(kind) == STATE_COOKIE {
            return Some((tag, packet(tag, COOKIE_ECHO, 0, parameters.get(4..len)?)));
        }
        parameters = parameters.get(len.max(4).next_multiple_of(4)..)?;
    }
}

/// Blow `number`: a fragment of a message that never ends, one far ahead, a FORWARD TSN over half of all numbers, and a reset of
/// streams for when as many have come, in turns.
pub(super) fn blow(tag: u32, number: u64) -> Vec<u8> {
    let number = number as u32;
    match number % 4 {
        0 => fragment(tag, TSN + number / 4),
        1 => fragment(tag, TSN + FAR + number),
        2 => packet(tag, FORWARD_TSN, 0, &(TSN + FAR + number).to_be_bytes()),
        _ => {
            let mut value = OUTGOING_RESET.to_be_bytes().to_vec();
            value.extend((16 + 2 * STREAMS).to_be_bytes());
            value.extend([number.to_be_bytes(), [0; 4], (TSN + FAR).to_be_bytes()].concat());
            value.extend((0..STREAMS).flat_map(u16::to_be_bytes));
            packet(tag, RE_CONFIG, 0, &value)
        }
    }
}

fn fragment(tag: u32, tsn: u32) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend([0, 1, 0, 0, 0, 0, 0, 53]);
    value.resize(value.len() + FRAGMENT, 0x5a);
    packet(tag, DATA, 0, &value)
}
