//! The VP8 payload descriptor (RFC 7741 section 4.2).

use crate::packet::PacketError;

use super::{MappedPicture, Picture, PictureId};

/// First byte.
const EXTENDED: u8 = 0x80;
const NON_REFERENCE: u8 = 0x20;
const START: u8 = 0x10;
const PARTITION: u8 = 0x0f;

/// Second byte.
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_BASE: u8 = 0x40;
const HAS_TEMPORAL: u8 = 0x20;
const HAS_KEY_INDEX: u8 = 0x10;

/// M of the picture id.
const LONG: u8 = 0x80;

/// Y: the picture refers to the base layer only.
const LAYER_SYNC: u8 = 0x20;

/// P of the payload header: the picture refers to others (RFC 7741 section 4.3).
const INTER: u8 = 0x01;

/// The descriptor in front of a VP8 payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// Its bytes.
    pub len: usize,
    /// First packet of its picture.
    pub begins: bool,
    /// No other picture refers to it.
    pub non_reference: bool,
    /// `PictureID`.
    pub picture_id: Option<PictureId>,
    /// `TL0PICIDX`.
    pub base: Option<u8>,
    /// `TID`, and whether the picture refers to the base layer only.
    pub temporal: Option<(u8, bool)>,
    /// `KEYIDX`.
    pub key_index: Option<u8>,
    /// First packet of a key frame.
    pub keyframe_start: bool,
}

impl Vp8Descriptor {
    /// Reads a payload's descriptor.
    ///
    /// # Errors
    /// [`PacketError::Truncated`].
    pub fn parse(payload: &[u8]) -> Result<Self, PacketError> {
        let byte = |at: usize| payload.get(at).copied().ok_or(PacketError::Truncated);
        let first = byte(0)?;
        let mut descriptor = Self {
            len: 1,
            begins: first & (START | PARTITION) == START,
            non_reference: first & NON_REFERENCE != 0,
            ..Self::default()
        };
        if first & EXTENDED != 0 {
            let present = byte(1)?;
            let mut at = 2;
            if present & HAS_PICTURE_ID != 0 {
                let high = byte(at)?;
                let long = high & LONG != 0;
                let value = if long { u16::from(high & 0x7f) << 8 | u16::from(byte(at + 1)?) } else { u16::from(high) };
                descriptor.picture_id = Some(PictureId { value, long });
                at += 1 + usize::from(long);
            }
            if present & HAS_BASE != 0 {
                descriptor.base = Some(byte(at)?);
                at += 1;
            }
            if present & (HAS_TEMPORAL | HAS_KEY_INDEX) != 0 {
                let layer = byte(at)?;
                descriptor.temporal = (present & HAS_TEMPORAL != 0).then_some((layer >> 6, layer & LAYER_SYNC != 0));
                descriptor.key_index = (present & HAS_KEY_INDEX != 0).then_some(layer & 0x1f);
                at += 1;
            }
            descriptor.len = at;
        }
        // An empty payload is no picture (RFC 7741 section 4.3: the header has three bytes, of which the first matters here).
        let header = payload.get(descriptor.len).copied();
        descriptor.keyframe_start = descriptor.begins && header.is_some_and(|header| header & INTER == 0);
        Ok(descriptor)
    }

    pub(super) fn picture(&self) -> Picture {
        let (temporal, sync) = self.temporal.unwrap_or_default();
        Picture {
            keyframe_start: self.keyframe_start,
            temporal,
            spatial: 0,
            switch_up: sync || temporal == 0,
            ends_layer: false,
            discardable: self.non_reference,
            picture: self.picture_id,
            base: self.base,
        }
    }
}

/// Gives a payload another picture id and base layer index, in place.
pub fn rewrite_vp8(payload: &mut [u8], mapped: MappedPicture) {
    let [first, present, rest @ ..] = payload else { return };
    if *first & EXTENDED == 0 {
        return;
    }
    let rest = if *present & HAS_PICTURE_ID == 0 { rest } else { write_picture(rest, mapped.picture) };
    if *present & HAS_BASE != 0
        && let Some(base) = rest.first_mut()
    {
        *base = mapped.base;
    }
}

/// Writes a picture id in as many bits as it has; what follows it is given back.
pub(super) fn write_picture(at: &mut [u8], picture: u16) -> &mut [u8] {
    let long = at.first().is_some_and(|high| high & LONG != 0);
    let bytes = if long { [LONG | (picture >> 8) as u8, picture as u8] } else { [(picture & 0x7f) as u8, 0] };
    let len = (1 + usize::from(long)).min(at.len());
    let (id, rest) = at.split_at_mut(len);
    id.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    rest
}
