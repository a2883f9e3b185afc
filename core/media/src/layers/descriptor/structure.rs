//! The template dependency structure (section A.4.1).

use crate::packet::PacketError;

use super::super::bits::Bits;
use super::{Dti, MAX_DECODE_TARGETS, MAX_REFERENCES, MAX_SPATIAL, MAX_TEMPLATES, MAX_TEMPORAL};

/// What frames of one kind have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Temporal layer.
    pub temporal: u8,
    /// Spatial layer.
    pub spatial: u8,
    pub(super) indications: u64,
    pub(super) references: [u16; MAX_REFERENCES],
    pub(super) chains: [u8; MAX_DECODE_TARGETS],
}

/// What the descriptors of a stream refer to, from one keyframe to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateStructure {
    /// Id of the first template.
    id_offset: u8,
    /// Decode targets.
    pub decode_targets: u8,
    /// Chains.
    pub chains: u8,
    /// Templates, in the order of their ids.
    pub templates: Vec<Template>,
    /// Chain that protects each decode target.
    pub protected_by: [u8; MAX_DECODE_TARGETS],
    /// (spatial, temporal) layer of each decode target: the highest it holds.
    pub layers: [(u8, u8); MAX_DECODE_TARGETS],
    /// (width, height) by spatial layer, in pixels; empty where not said.
    pub resolutions: Vec<(u32, u32)>,
}

/// `next_layer_idc`: no further template.
const NO_MORE: u32 = 3;

impl TemplateStructure {
    pub(super) fn read(bits: &mut Bits<'_>) -> Result<Self, PacketError> {
        let id_offset = bits.byte(6)?;
        let decode_targets = bits.byte(5)? + 1;
        let mut templates = read_layers(bits)?;
        for template in &mut templates {
            template.indications = read_indications(bits, decode_targets)?;
        }
        for template in &mut templates {
            let mut places = template.references.iter_mut();
            while bits.flag()? {
                *places.next().ok_or(PacketError::TooMany)? = bits.take(4)? as u16 + 1;
            }
        }
        let chains = bits.below(u32::from(decode_targets) + 1)? as u8;
        let mut protected_by = [0; MAX_DECODE_TARGETS];
        if chains > 0 {
            for chain in protected_by.iter_mut().take(usize::from(decode_targets)) {
                *chain = bits.below(u32::from(chains))? as u8;
            }
            for template in &mut templates {
                for chain in template.chains.iter_mut().take(usize::from(chains)) {
                    *chain = bits.byte(4)?;
                }
            }
        }
        let mut resolutions = Vec::new();
        if bits.flag()? {
            let highest = templates.last().map_or(0, |template| template.spatial);
            for _ in 0..=highest {
                resolutions.push((bits.take(16)? + 1, bits.take(16)? + 1));
            }
        }
        let layers = layers_of(&templates, decode_targets);
        Ok(Self { id_offset, decode_targets, chains, templates, protected_by, layers, resolutions })
    }

    /// The template of an id.
    #[must_use]
    pub fn template(&self, id: u8) -> Option<&Template> {
        let index = usize::from(id).wrapping_sub(usize::from(self.id_offset)) % MAX_TEMPLATES;
        self.templates.get(index)
    }

    /// Every decode target, as `f(DtCnt)`.
    pub(super) const fn all_targets(&self) -> u32 {
        u32::MAX >> (MAX_DECODE_TARGETS as u32 - self.decode_targets as u32)
    }

    /// The highest decode target within these layers; `None` where even the lowest is above them.
    #[must_use]
    pub fn target_within(&self, spatial: u8, temporal: u8) -> Option<u8> {
        let targets = self.layers.iter().take(usize::from(self.decode_targets)).enumerate();
        let within = targets.filter(|(_, layers)| layers.0 <= spatial && layers.1 <= temporal);
        within.max_by_key(|(_, layers)| **layers).map(|(target, _)| target as u8)
    }
}

/// `template_layers()`: the layers of all templates.
fn read_layers(bits: &mut Bits<'_>) -> Result<Vec<Template>, PacketError> {
    let (mut templates, mut temporal, mut spatial) = (Vec::new(), 0u8, 0u8);
    loop {
        if templates.len() == MAX_TEMPLATES {
            return Err(PacketError::TooMany);
        }
        templates.push(Template { temporal, spatial, ..Template::default() });
        match bits.take(2)? {
            0 => {}
            1 => temporal += 1,
            2 => (temporal, spatial) = (0, spatial + 1),
            NO_MORE.. => return Ok(templates),
        }
        if temporal > MAX_TEMPORAL || spatial > MAX_SPATIAL {
            return Err(PacketError::Malformed);
        }
    }
}

/// Two bits a decode target.
pub(super) fn read_indications(bits: &mut Bits<'_>, targets: u8) -> Result<u64, PacketError> {
    let mut indications = 0;
    for target in 0..targets {
        indications |= u64::from(bits.take(2)?) << (2 * target);
    }
    Ok(indications)
}

/// `decode_target_layers()`: the highest layers of the frames each target holds.
fn layers_of(templates: &[Template], targets: u8) -> [(u8, u8); MAX_DECODE_TARGETS] {
    let mut layers = [(0, 0); MAX_DECODE_TARGETS];
    for (target, (spatial, temporal)) in layers.iter_mut().take(usize::from(targets)).enumerate() {
        for template in templates {
            if Dti::from_bits((template.indications >> (2 * target)) as u32) != Dti::NotPresent {
                *spatial = template.spatial.max(*spatial);
                *temporal = template.temporal.max(*temporal);
            }
        }
    }
    layers
}
