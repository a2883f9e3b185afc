//! Looking at an RTP packet without copying it: for forwarding, and the base of the owned parser.

use std::ops::Range;

use segue_model::{SeqNo, Ssrc};

use super::cursor::Reader;
use super::error::PacketError;
use super::extension::MAX_ONE_BYTE_ID;

/// Profile of the one-byte form (RFC 8285 section 4.2).
pub(super) const ONE_BYTE_PROFILE: u16 = 0xbede;

/// Profile of the two-byte form with `appbits` zero (RFC 8285 section 4.3).
pub(super) const TWO_BYTE_PROFILE: u16 = 0x1000;

/// An RTP packet (RFC 3550 section 5.1) on borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct RtpView<'a> {
    marker: bool,
    payload_type: u8,
    sequence: SeqNo,
    timestamp: u32,
    ssrc: Ssrc,
    header_len: usize,
    profile: u16,
    extensions: &'a [u8],
    payload: &'a [u8],
    padding: u8,
}

impl<'a> RtpView<'a> {
    /// Looks at a plain packet.
    ///
    /// # Errors
    /// [`PacketError::Truncated`], [`PacketError::Version`] or [`PacketError::Padding`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let (mut view, padded) = Self::parse_header(bytes)?;
        if padded {
            let &count = view.payload.last().ok_or(PacketError::Padding)?;
            let keep = view.payload.len().checked_sub(usize::from(count)).filter(|_| count != 0);
            view.payload = keep.and_then(|keep| view.payload.get(..keep)).ok_or(PacketError::Padding)?;
            view.padding = count;
        }
        Ok(view)
    }

    /// Looks at a packet whose payload is still encrypted (SRTP): the payload is whatever follows the header, padding and tag
    /// included.
    ///
    /// # Errors
    /// [`PacketError::Truncated`] or [`PacketError::Version`].
    pub fn parse_protected(bytes: &'a [u8]) -> Result<Self, PacketError> {
        Self::parse_header(bytes).map(|(view, _)| view)
    }

    fn parse_header(bytes: &'a [u8]) -> Result<(Self, bool), PacketError> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        let second = reader.u8()?;
        if first >> 6 != 2 {
            return Err(PacketError::Version);
        }
        let sequence = SeqNo(reader.u16()?);
        let timestamp = reader.u32()?;
        let ssrc = Ssrc(reader.u32()?);
        // Contributing sources: nothing here mixes, so they are skipped.
        reader.take(usize::from(first & 0x0f) * 4)?;
        let (profile, extensions) = if first & 0x10 != 0 {
            let profile = reader.u16()?;
            let words = reader.u16()?;
            (profile, reader.take(usize::from(words) * 4)?)
        } else {
            (0, [].as_slice())
        };
        let view = Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence,
            timestamp,
            ssrc,
            header_len: bytes.len().saturating_sub(reader.len()),
            profile,
            extensions,
            payload: reader.rest(),
            padding: 0,
        };
        Ok((view, first & 0x20 != 0))
    }

    /// Synchronisation source.
    #[must_use]
    pub const fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// Payload type, 0 to 127.
    #[must_use]
    pub const fn payload_type(&self) -> u8 {
        self.payload_type
    }

    /// Hop sequence number.
    #[must_use]
    pub const fn sequence(&self) -> SeqNo {
        self.sequence
    }

    /// Timestamp in units of the payload's clock.
    #[must_use]
    pub const fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Marker bit.
    #[must_use]
    pub const fn marker(&self) -> bool {
        self.marker
    }

    /// Bytes before the payload: fixed header, contributing sources and extensions.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// The payload without padding.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Where the payload lies in the packet.
    #[must_use]
    pub const fn payload_range(&self) -> Range<usize> {
        self.header_len..self.header_len + self.payload.len()
    }

    /// Padding bytes at the end, their count included.
    #[must_use]
    pub const fn padding(&self) -> u8 {
        self.padding
    }

    /// The data of the first extension element with this id, in either form of RFC 8285.
    #[must_use]
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extensions().find(|(found, _)| *found == id).map(|(_, data)| data)
    }

    /// All extension elements.
    #[must_use]
    pub const fn extensions(&self) -> ExtensionElements<'a> {
        let form = match self.profile {
            ONE_BYTE_PROFILE => Form::OneByte,
            // The low four bits are `appbits`: any value.
            profile if profile & 0xfff0 == TWO_BYTE_PROFILE => Form::TwoByte,
            _ => Form::Other,
        };
        ExtensionElements { form, reader: Reader::new(self.extensions) }
    }
}

#[derive(Clone, Copy, Debug)]
enum Form {
    OneByte,
    TwoByte,
    Other,
}

/// Walks the extension elements of a packet: (id, data). Stops at the first that does not fit.
#[derive(Clone, Copy, Debug)]
pub struct ExtensionElements<'a> {
    form: Form,
    reader: Reader<'a>,
}

impl<'a> Iterator for ExtensionElements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let byte = self.reader.u8().ok()?;
            // A zero byte is padding in both forms.
            if byte == 0 {
                continue;
            }
            return match self.form {
                Form::OneByte => {
                    let id = byte >> 4;
                    // Id 15 ends the walk, and so does id 0 with a length (RFC 8285 section 4.2).
                    if id == 0 || id > MAX_ONE_BYTE_ID {
                        self.reader = Reader::new(&[]);
                        return None;
                    }
                    self.reader.take(usize::from(byte & 0x0f) + 1).ok().map(|data| (id, data))
                }
                Form::TwoByte => {
                    let len = self.reader.u8().ok()?;
                    self.reader.take(usize::from(len)).ok().map(|data| (byte, data))
                }
                Form::Other => None,
            };
        }
    }
}
