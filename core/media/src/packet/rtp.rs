//! RTP packets as values (RFC 3550 section 5.1), header extensions included (RFC 8285).

use bytes::Bytes;
use segue_model::{SeqNo, Ssrc};

use super::error::PacketError;
pub use super::extension::{ExtensionMap, Extensions, Label};
use super::extension::{MAX_LABEL, MAX_ONE_BYTE_ID};
pub use super::view::RtpView;
use super::view::{ONE_BYTE_PROFILE, TWO_BYTE_PROFILE};

/// Length of the fixed header.
const FIXED_LEN: usize = 12;

/// The header of an RTP packet on one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Hop sequence number.
    pub sequence: SeqNo,
    /// Timestamp in units of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source on this leg.
    pub ssrc: Ssrc,
    /// Known header extensions.
    pub extensions: Extensions,
}

/// An RTP packet on one leg. Contributing sources and unknown extensions are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpPacket {
    /// Its header.
    pub header: RtpHeader,
    /// Its payload without padding.
    pub payload: Bytes,
    /// Padding bytes after the payload, their count included; 0 for none.
    pub padding: u8,
}

impl RtpPacket {
    /// Reads a plain packet; the payload shares the memory of `bytes`.
    ///
    /// # Errors
    /// [`PacketError`] where it is cut short, of another version, or padded beyond its length.
    pub fn parse(bytes: Bytes, map: &ExtensionMap) -> Result<Self, PacketError> {
        let view = RtpView::parse(&bytes)?;
        let mut extensions = Extensions::default();
        for (id, data) in view.extensions() {
            extensions.read(map, id, data);
        }
        let header = RtpHeader {
            marker: view.marker(),
            payload_type: view.payload_type(),
            sequence: view.sequence(),
            timestamp: view.timestamp(),
            ssrc: view.ssrc(),
            extensions,
        };
        let padding = view.padding();
        let payload = bytes.slice(view.payload_range());
        Ok(Self { header, payload, padding })
    }

    /// Appends the packet to `out`. Extensions without a negotiated id are left out.
    pub fn write(&self, map: &ExtensionMap, out: &mut Vec<u8>) {
        self.header.write(map, self.padding != 0, out);
        out.extend_from_slice(&self.payload);
        if self.padding != 0 {
            out.resize(out.len() + usize::from(self.padding) - 1, 0);
            out.push(self.padding);
        }
    }

    /// Bytes [`RtpPacket::write`] appends.
    #[must_use]
    pub fn wire_len(&self, map: &ExtensionMap) -> usize {
        self.header.wire_len(map) + self.payload.len() + usize::from(self.padding)
    }
}

impl RtpHeader {
    /// Appends the header to `out`; `padded` sets the padding bit.
    pub fn write(&self, map: &ExtensionMap, padded: bool, out: &mut Vec<u8>) {
        let (profile, len) = self.extension_len(map);
        let bit = |set: bool, mask: u8| if set { mask } else { 0 };
        out.push(0x80 | bit(padded, 0x20) | bit(len != 0, 0x10));
        out.push(bit(self.marker, 0x80) | (self.payload_type & 0x7f));
        out.extend_from_slice(&self.sequence.0.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.0.to_be_bytes());
        if len == 0 {
            return;
        }
        let words = len.div_ceil(4);
        out.extend_from_slice(&profile.to_be_bytes());
        out.extend_from_slice(&(words as u16).to_be_bytes());
        let start = out.len();
        self.extensions.each(map, |id, data| {
            debug_assert!((1..=MAX_LABEL).contains(&data.len()), "known elements fit the one-byte form");
            if profile == ONE_BYTE_PROFILE {
                out.push((id << 4) | (data.len() as u8).wrapping_sub(1) & 0x0f);
            } else {
                out.push(id);
                out.push(data.len() as u8);
            }
            out.extend_from_slice(data);
        });
        out.resize(start + words * 4, 0);
    }

    /// Bytes [`RtpHeader::write`] appends.
    #[must_use]
    pub fn wire_len(&self, map: &ExtensionMap) -> usize {
        match self.extension_len(map).1 {
            0 => FIXED_LEN,
            len => FIXED_LEN + 4 + len.div_ceil(4) * 4,
        }
    }

    /// The form to be used and the bytes its elements take, without padding. One-byte where every id fits it.
    fn extension_len(&self, map: &ExtensionMap) -> (u16, usize) {
        let (mut elements, mut data_len, mut wide) = (0, 0, false);
        self.extensions.each(map, |id, data| {
            elements += 1;
            data_len += data.len();
            wide |= id > MAX_ONE_BYTE_ID;
        });
        if wide { (TWO_BYTE_PROFILE, data_len + 2 * elements) } else { (ONE_BYTE_PROFILE, data_len + elements) }
    }
}

#[cfg(test)]
mod tests;
