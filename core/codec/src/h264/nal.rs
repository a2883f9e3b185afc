//! Access units in Annex B form: where the NAL units are, and the little that must be known of them before OpenH264 sees them.

/// NAL unit types of ITU-T H.264 table 7-1.
const SLICE_IDR: u8 = 5;
const SLICE: u8 = 1;
const SEQUENCE_PARAMETERS: u8 = 7;

/// The bytes of a sequence parameter set up to the end of its cropping: baseline ones have some 10 to 20, and emulation prevention
/// is undone in a copy of this length at most.
const MAX_PARAMETER_BYTES: usize = 256;

/// The NAL units of an access unit, without their start codes.
#[derive(Clone, Debug)]
pub struct NalUnits<'a> {
    rest: &'a [u8],
}

impl<'a> NalUnits<'a> {
    /// Looks through bytes in Annex B form; what comes before the first start code is passed over.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        let rest = find_start_code(bytes).and_then(|at| bytes.get(at + 3..)).unwrap_or_default();
        Self { rest }
    }
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (unit, rest) = match find_start_code(self.rest) {
                Some(at) => (self.rest.get(..at)?, self.rest.get(at + 3..)?),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            // Zeros before a start code belong to it or are padding (trailing_zero_8bits).
            let end = unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            if end > 0 {
                return unit.get(..end);
            }
        }
        None
    }
}

/// Whether an access unit can be decoded without any before it: it holds a slice of an IDR picture.
#[must_use]
pub fn is_keyframe(access_unit: &[u8]) -> bool {
    NalUnits::new(access_unit).any(|unit| unit_type(unit) == Some(SLICE_IDR))
}

/// Whether no other picture refers to this one: all its slices have `nal_ref_idc` 0.
pub(super) fn is_disposable(access_unit: &[u8]) -> bool {
    NalUnits::new(access_unit)
        .filter(|unit| matches!(unit_type(unit), Some(SLICE | SLICE_IDR)))
        .all(|unit| unit.first().is_some_and(|header| header >> 5 & 3 == 0))
}

/// Width and height, rounded up to whole macroblocks, that the first sequence parameter set of an access unit announces; `None` when
/// it holds none, or one of a profile with more syntax than baseline, main and extended have.
#[must_use]
pub fn picture_size(access_unit: &[u8]) -> Option<(u32, u32)> {
    sequences(access_unit).next().flatten().map(|sequence| (sequence.width, sequence.height))
}

/// What a sequence parameter set says of the memory a decoder needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    /// Rounded up to whole macroblocks.
    pub(super) width: u32,
    /// Rounded up to whole macroblocks.
    pub(super) height: u32,
    /// Pictures kept for others to refer to.
    pub(super) references: u32,
}

/// All sequence parameter sets of an access unit; `None` for those that are cut off or of a profile not taken.
pub(super) fn sequences(access_unit: &[u8]) -> impl Iterator<Item = Option<Sequence>> {
    NalUnits::new(access_unit).filter(|unit| unit_type(unit) == Some(SEQUENCE_PARAMETERS)).map(parse_sequence)
}

fn unit_type(unit: &[u8]) -> Option<u8> {
    unit.first().map(|header| header & 0x1f)
}

fn find_start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|window| window == [0, 0, 1])
}

/// ITU-T H.264 section 7.3.2.1.1, as far as the size.
fn parse_sequence(unit: &[u8]) -> Option<Sequence> {
    let bytes = without_emulation_prevention(unit.get(1..)?);
    let profile = *bytes.first()?;
    // Profiles beyond main and extended insert chroma format and scaling lists here.
    if !matches!(profile, 66 | 77 | 88) {
        return None;
    }
    let mut bits = Bits { bytes: bytes.get(3..)?, at: 0 };
    bits.exp_golomb()?; // seq_parameter_set_id
    bits.exp_golomb()?; // log2_max_frame_num_minus4
    match bits.exp_golomb()? {
        0 => {
            bits.exp_golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.bit()?; // delta_pic_order_always_zero_flag
            bits.exp_golomb()?; // offset_for_non_ref_pic
            bits.exp_golomb()?; // offset_for_top_to_bottom_field
            for _ in 0..bits.exp_golomb()?.min(255) {
                bits.exp_golomb()?; // offset_for_ref_frame
            }
        }
        _ => {}
    }
    let references = bits.exp_golomb()?;
    bits.bit()?; // gaps_in_frame_num_value_allowed_flag
    let width = bits.exp_golomb()?.checked_add(1)?.checked_mul(16)?;
    let height_units = bits.exp_golomb()?.checked_add(1)?;
    let frame_mbs_only = bits.bit()?;
    let height = height_units.checked_mul(if frame_mbs_only == 1 { 16 } else { 32 })?;
    Some(Sequence { width, height, references })
}

fn without_emulation_prevention(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len().min(MAX_PARAMETER_BYTES));
    let mut zeros = 0;
    for &byte in bytes.iter().take(MAX_PARAMETER_BYTES) {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        plain.push(byte);
    }
    plain
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u32> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    /// `ue(v)`, section 9.1.
    fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let mut value = 1u64;
        for _ in 0..zeros {
            value = value << 1 | u64::from(self.bit()?);
        }
        u32::try_from(value - 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_found_between_start_codes_of_both_lengths() {
        let bytes = [9, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 0, 1, 0x65, 4, 0];
        let units: Vec<&[u8]> = NalUnits::new(&bytes).collect();
        assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 4]]);
        assert!(is_keyframe(&bytes));
        assert!(!is_keyframe(&[0, 0, 1, 0x41, 1]));
        assert_eq!(NalUnits::new(&[0, 0, 1]).count(), 0);
        assert_eq!(NalUnits::new(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn what_a_parameter_set_asks_for_is_read() {
        // Baseline, level 3.0: set 0, frame numbers of 4 bits, order count type 2, 3 references, no gaps, 40x23 blocks, frames only.
        let bits = "1 1 011 00100 0 00000101000 000010111 1";
        let mut unit = vec![0, 0, 0, 1, 0x67, 66, 0xc0, 30];
        let bits: Vec<u8> = bits.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
        unit.extend(bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << (7 - at))));
        assert_eq!(sequences(&unit).collect::<Vec<_>>(), [Some(Sequence { width: 640, height: 368, references: 3 })]);
        assert_eq!(picture_size(&unit), Some((640, 368)));
        unit[5] = 100;
        assert_eq!(sequences(&unit).collect::<Vec<_>>(), [None]);
        unit.truncate(8);
        assert_eq!(picture_size(&unit), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0x67), any::<u8>()], 0..200)) {
            let total: usize = NalUnits::new(&bytes).map(<[u8]>::len).sum();
            prop_assert!(total <= bytes.len());
            let _ = (picture_size(&bytes), is_keyframe(&bytes), is_disposable(&bytes));
        }
    }
}
