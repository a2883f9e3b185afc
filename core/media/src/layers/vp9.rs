//! The VP9 payload descriptor (RFC 9628 section 4.2).

use crate::packet::PacketError;

use super::vp8::write_picture;
use super::{MappedPicture, Picture, PictureId};

/// First byte.
const HAS_PICTURE_ID: u8 = 0x80;
const INTER: u8 = 0x40;
const HAS_LAYER: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGIN: u8 = 0x08;
const END: u8 = 0x04;
const HAS_STRUCTURE: u8 = 0x02;
const NOT_FOR_UPPER: u8 = 0x01;

/// M of the picture id.
const LONG: u8 = 0x80;

/// U and D of the layer byte.
const SWITCHING_UP: u8 = 0x10;
const INTER_LAYER: u8 = 0x01;

/// References one picture may name in flexible mode (RFC 9628 section 4.2: up to three).
const MAX_REFERENCES: usize = 3;

/// Where a packet stands among the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp9Layer {
    /// `TID`.
    pub temporal: u8,
    /// `SID`.
    pub spatial: u8,
    /// Higher temporal layers may begin behind this one.
    pub switching_up: bool,
    /// It refers to the spatial layer below.
    pub inter_layer: bool,
}

/// The descriptor in front of a VP9 payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp9Descriptor {
    /// Its bytes.
    pub len: usize,
    /// Picture id.
    pub picture_id: Option<PictureId>,
    /// It refers to earlier pictures.
    pub inter: bool,
    /// Flexible mode: pictures name what they refer to.
    pub flexible: bool,
    /// First packet of its layer frame.
    pub begins: bool,
    /// Last packet of its layer frame.
    pub ends: bool,
    /// The spatial layer above does not refer to it.
    pub not_for_upper: bool,
    /// Its layer.
    pub layer: Option<Vp9Layer>,
    /// `TL0PICIDX`; not in flexible mode.
    pub base: Option<u8>,
    /// Spatial layers of the stream, where a scalability structure says so.
    pub spatial_layers: Option<u8>,
}

impl Vp9Descriptor {
    /// Reads a payload's descriptor.
    ///
    /// # Errors
    /// [`PacketError::Truncated`], or [`PacketError::TooMany`] references.
    pub fn parse(payload: &[u8]) -> Result<Self, PacketError> {
        let mut at = 0;
        let mut byte = || {
            let byte = payload.get(at).copied().ok_or(PacketError::Truncated);
            at += 1;
            byte
        };
        let first = byte()?;
        let has = |bit: u8| first & bit != 0;
        let mut descriptor = Self {
            inter: has(INTER),
            flexible: has(FLEXIBLE),
            begins: has(BEGIN),
            ends: has(END),
            not_for_upper: has(NOT_FOR_UPPER),
            ..Self::default()
        };
        if has(HAS_PICTURE_ID) {
            let high = byte()?;
            let long = high & LONG != 0;
            let value = if long { u16::from(high & 0x7f) << 8 | u16::from(byte()?) } else { u16::from(high) };
            descriptor.picture_id = Some(PictureId { value, long });
        }
        if has(HAS_LAYER) {
            let layer = byte()?;
            descriptor.layer = Some(Vp9Layer {
                temporal: layer >> 5,
                spatial: (layer >> 1) & 0x07,
                switching_up: layer & SWITCHING_UP != 0,
                inter_layer: layer & INTER_LAYER != 0,
            });
            if !descriptor.flexible {
                descriptor.base = Some(byte()?);
            }
        }
        if descriptor.inter && descriptor.flexible {
            let mut references = 1;
            while byte()? & 0x01 != 0 {
                references += 1;
                if references > MAX_REFERENCES {
                    return Err(PacketError::TooMany);
                }
            }
        }
        if has(HAS_STRUCTURE) {
            descriptor.spatial_layers = Some(structure(&mut byte)?);
        }
        descriptor.len = at;
        Ok(descriptor)
    }

    pub(super) fn picture(&self) -> Picture {
        let layer = self.layer.unwrap_or_default();
        Picture {
            // A key picture refers to nothing: not to earlier ones, and its base layer to no layer.
            keyframe_start: !self.inter && self.begins && layer.spatial == 0,
            temporal: layer.temporal,
            spatial: layer.spatial,
            switch_up: layer.switching_up || layer.temporal == 0,
            ends_layer: self.ends,
            discardable: false,
            picture: self.picture_id,
            base: self.base,
        }
    }
}

/// Skips a scalability structure; says how many spatial layers it has.
fn structure(byte: &mut impl FnMut() -> Result<u8, PacketError>) -> Result<u8, PacketError> {
    let head = byte()?;
    let layers = (head >> 5) + 1;
    if head & 0x10 != 0 {
        for _ in 0..usize::from(layers) * 4 {
            byte()?;
        }
    }
    if head & 0x08 != 0 {
        for _ in 0..byte()? {
            for _ in 0..(byte()? >> 2) & 0x03 {
                byte()?;
            }
        }
    }
    Ok(layers)
}

/// Gives a payload another picture id and base layer index, in place.
pub fn rewrite_vp9(payload: &mut [u8], mapped: MappedPicture) {
    let [first, rest @ ..] = payload else { return };
    let rest = if *first & HAS_PICTURE_ID == 0 { rest } else { write_picture(rest, mapped.picture) };
    if *first & HAS_LAYER != 0
        && *first & FLEXIBLE == 0
        && let Some(base) = rest.get_mut(1)
    {
        *base = mapped.base;
    }
}
