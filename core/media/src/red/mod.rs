//! Redundant audio (RFC 2198): several Opus packets in one. A relay passes it on as it is, or takes the newest packet out of it.

use crate::packet::PacketError;

/// Blocks of one packet: browsers send two or three.
pub const MAX_BLOCKS: usize = 32;

/// F: another block header follows.
const FOLLOWED: u8 = 0x80;

/// Bytes of a header that another follows; the last has one.
const HEADER: usize = 4;

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// Payload type of its data.
    pub payload_type: u8,
    /// How far before the packet's timestamp it belongs, in clock units, 14 bits; 0 for the newest.
    pub before: u16,
    /// What it carries.
    pub data: &'a [u8],
}

/// The blocks of a payload, the newest last.
///
/// # Errors
/// [`PacketError::Truncated`], or [`PacketError::TooMany`] blocks.
pub fn blocks(payload: &[u8]) -> Result<impl Iterator<Item = Block<'_>>, PacketError> {
    let (headers, mut data, _) = split(payload)?;
    let redundant = headers.chunks_exact(HEADER).map(move |header| {
        let fields = header.try_into().map_or(0, u32::from_be_bytes);
        let (block, rest) = data.split_at_checked((fields & 0x3ff) as usize).unwrap_or((data, &[]));
        data = rest;
        Block { payload_type: (fields >> 24) as u8 & !FOLLOWED, before: (fields >> 10) as u16 & 0x3fff, data: block }
    });
    Ok(redundant.chain(std::iter::once(newest(payload)?)))
}

/// The newest block: what the packet would be without redundancy.
///
/// # Errors
/// As [`blocks`].
pub fn newest(payload: &[u8]) -> Result<Block<'_>, PacketError> {
    let (headers, data, redundant) = split(payload)?;
    let payload_type = payload.get(headers.len()).copied().ok_or(PacketError::Truncated)?;
    let data = data.get(redundant..).ok_or(PacketError::Truncated)?;
    Ok(Block { payload_type, before: 0, data })
}

/// The headers of redundant blocks, all data, and how much of it is redundant.
fn split(payload: &[u8]) -> Result<(&[u8], &[u8], usize), PacketError> {
    let (mut at, mut redundant) = (0, 0);
    loop {
        let rest = payload.get(at..).ok_or(PacketError::Truncated)?;
        match rest {
            [first, _, high, low, ..] if first & FOLLOWED != 0 => {
                redundant += usize::from(u16::from_be_bytes([*high, *low]) & 0x3ff);
                at += HEADER;
            }
            [first, data @ ..] if first & FOLLOWED == 0 => {
                let fits = redundant <= data.len();
                let headers = payload.get(..at).filter(|_| fits).ok_or(PacketError::Truncated)?;
                return Ok((headers, data, redundant));
            }
            _ => return Err(PacketError::Truncated),
        }
        if at > MAX_BLOCKS * HEADER {
            return Err(PacketError::TooMany);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(blocks: &[(u16, Vec<u8>)], newest: &[u8]) -> Vec<u8> {
        let header = |(before, data): &(u16, Vec<u8>)| {
            let fields = (0x80u32 | 111) << 24 | u32::from(*before) << 10 | data.len() as u32;
            fields.to_be_bytes()
        };
        let mut packet: Vec<u8> = blocks.iter().flat_map(header).collect();
        packet.push(111);
        packet.extend(blocks.iter().flat_map(|(_, data)| data.iter().copied()));
        packet.extend_from_slice(newest);
        packet
    }

    #[test]
    fn a_packet_without_redundancy_has_one_block() {
        let packet = write(&[], &[7, 8]);
        assert_eq!(newest(&packet), Ok(Block { payload_type: 111, before: 0, data: &[7, 8] }));
        assert_eq!(newest(&[]), Err(PacketError::Truncated));
        assert_eq!(newest(&[0xff; 3]), Err(PacketError::Truncated));
        assert_eq!(newest(&[0xff; 400]), Err(PacketError::TooMany));
    }

    proptest! {
        #[test]
        fn blocks_read_as_they_were_written_and_no_cut_is_taken_for_more(
            redundant in proptest::collection::vec((0u16..1 << 14, proptest::collection::vec(any::<u8>(), 0..40)), 0..4),
            data in proptest::collection::vec(any::<u8>(), 0..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let packet = write(&redundant, &data);
            let read: Vec<_> = blocks(&packet).unwrap().map(|block| (block.before, block.data.to_vec())).collect();
            let mut expected = redundant.clone();
            expected.push((0, data.clone()));
            prop_assert_eq!(read, expected);
            // Cut anywhere in front of the newest block it is refused; within it the block is shorter.
            let cut = cut.index(packet.len());
            match newest(&packet[..cut]) {
                Ok(block) => prop_assert_eq!(block.data, &data[..cut - (packet.len() - data.len())]),
                Err(error) => prop_assert!(error == PacketError::Truncated && cut < packet.len() - data.len()),
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(blocks) = blocks(&bytes) {
                prop_assert!(blocks.map(|block| block.data.len()).sum::<usize>() <= bytes.len());
            }
        }
    }
}
