//! The dependency descriptor, an RTP header extension that says of every frame what it belongs to and refers to, whatever its codec
//! ("RTP Payload Format For AV1", Alliance for Open Media, appendix A).
//!
//! A keyframe's descriptor carries the [`TemplateStructure`] that the descriptors behind it are read with; the reader keeps it.

mod structure;

use crate::packet::PacketError;

use super::bits::Bits;

pub use structure::{Template, TemplateStructure};

/// Decode targets of one structure: `dt_cnt_minus_one` has five bits (section A.4.2).
pub const MAX_DECODE_TARGETS: usize = 32;

/// Templates of one structure: their ids have six bits (section A.4.2).
pub const MAX_TEMPLATES: usize = 64;

/// Highest temporal layer: `temporal_id` has three bits (AV1 section 5.3.3).
pub const MAX_TEMPORAL: u8 = 7;

/// Highest spatial layer: `spatial_id` has two bits (AV1 section 5.3.3).
pub const MAX_SPATIAL: u8 = 3;

/// Longest descriptor that is taken: what the two-byte form of RFC 8285 section 4.3 can carry.
pub const MAX_DESCRIPTOR: usize = 255;

/// References one frame may name here: AV1 has seven.
const MAX_REFERENCES: usize = 8;

/// The mandatory fields (section A.4.2).
const MANDATORY: usize = 3;

/// What a frame is to a decode target (section A.2: Decode Target Indication).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dti {
    /// Not part of it.
    NotPresent,
    /// Part of it, and nothing in it refers to the frame.
    Discardable,
    /// Whoever decodes this frame may go on with the target.
    Switch,
    /// Part of it.
    Required,
}

impl Dti {
    const fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::NotPresent,
            1 => Self::Discardable,
            2 => Self::Switch,
            _ => Self::Required,
        }
    }
}

/// One packet's descriptor, read with the structure of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependencies {
    /// First packet of its frame.
    pub begins: bool,
    /// Last packet of its frame.
    pub ends: bool,
    /// Number of its frame.
    pub frame: u16,
    /// Temporal layer.
    pub temporal: u8,
    /// Spatial layer.
    pub spatial: u8,
    /// Two bits a decode target, the first lowest.
    indications: u64,
    /// How many frames back those lie that it refers to; zero ends them.
    pub references: [u16; MAX_REFERENCES],
    /// How many frames back the frame before lies in each chain; 0: it is the first of its chain.
    pub chains: [u8; MAX_DECODE_TARGETS],
    /// Decode targets that are sent, the first in the lowest bit, where the packet says so.
    pub active: Option<u32>,
    /// A structure that begins with this packet.
    pub structure: Option<Box<TemplateStructure>>,
}

impl Dependencies {
    /// Reads the extension's data; `structure` is the last one that came in the stream.
    ///
    /// # Errors
    /// [`PacketError::Truncated`]; [`PacketError::Malformed`] where there is no structure or it has no such template;
    /// [`PacketError::TooMany`] templates or references.
    pub fn parse(data: &[u8], structure: Option<&TemplateStructure>) -> Result<Self, PacketError> {
        let mut bits = Bits::new(data);
        let (begins, ends) = (bits.flag()?, bits.flag()?);
        let template_id = bits.byte(6)?;
        let frame = bits.take(16)? as u16;
        let extended = data.len() > MANDATORY;
        let mut flag = || if extended { bits.flag() } else { Ok(false) };
        let (has_structure, has_active) = (flag()?, flag()?);
        let (own_indications, own_references, own_chains) = (flag()?, flag()?, flag()?);
        let own = if has_structure { Some(Box::new(TemplateStructure::read(&mut bits)?)) } else { None };
        let used = own.as_deref().or(structure).ok_or(PacketError::Malformed)?;
        let targets = u32::from(used.decode_targets);
        let active = match (has_active, &own) {
            (true, _) => Some(bits.take(targets)?),
            (false, Some(own)) => Some(own.all_targets()),
            (false, None) => None,
        };
        let template = used.template(template_id).ok_or(PacketError::Malformed)?;
        let mut read = Self {
            begins,
            ends,
            frame,
            temporal: template.temporal,
            spatial: template.spatial,
            indications: template.indications,
            references: template.references,
            chains: template.chains,
            active,
            structure: None,
        };
        if own_indications {
            read.indications = structure::read_indications(&mut bits, used.decode_targets)?;
        }
        if own_references {
            read.references = read_references(&mut bits)?;
        }
        if own_chains {
            for chain in read.chains.iter_mut().take(usize::from(used.chains)) {
                *chain = bits.byte(8)?;
            }
        }
        read.structure = own;
        Ok(read)
    }

    /// What the frame is to a decode target.
    #[must_use]
    pub const fn indication(&self, target: u8) -> Dti {
        if target as usize >= MAX_DECODE_TARGETS {
            return Dti::NotPresent;
        }
        Dti::from_bits((self.indications >> (2 * target)) as u32)
    }

    /// First packet of a frame that decoding may begin at: senders put the structure there and nowhere else.
    #[must_use]
    pub fn keyframe_start(&self) -> bool {
        self.begins && self.structure.is_some() && self.references.first() == Some(&0)
    }
}

/// Distances of a frame's own: `frame_fdiffs()`.
fn read_references(bits: &mut Bits<'_>) -> Result<[u16; MAX_REFERENCES], PacketError> {
    let mut references = [0; MAX_REFERENCES];
    let mut places = references.iter_mut();
    loop {
        let size = bits.take(2)?;
        if size == 0 {
            return Ok(references);
        }
        *places.next().ok_or(PacketError::TooMany)? = bits.take(4 * size)? as u16 + 1;
    }
}

/// The frame number of an extension's data, which needs no structure.
#[must_use]
pub fn read_frame_number(data: &[u8]) -> Option<u16> {
    match data {
        [_, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// Gives an extension's data another frame number, in place.
pub fn rewrite_frame_number(data: &mut [u8], frame: u16) {
    if let [_, high, low, ..] = data {
        [*high, *low] = frame.to_be_bytes();
    }
}
