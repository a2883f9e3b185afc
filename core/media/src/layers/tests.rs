use std::collections::BTreeMap;

use proptest::prelude::*;
use segue_model::VideoCodec;

use super::*;
use crate::packet::PacketError;

/// Writes bits, most significant first.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    bits: u32,
}

impl Writer {
    fn put(&mut self, width: u32, value: u32) -> &mut Self {
        for bit in (0..width).rev() {
            if self.bits.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= (((value >> bit) & 1) as u8) << (7 - self.bits % 8);
            self.bits += 1;
        }
        self
    }

    fn below(&mut self, count: u32, value: u32) -> &mut Self {
        let width = count.ilog2() + 1;
        let short = (1 << width) - count;
        if value < short { self.put(width - 1, value) } else { self.put(width, value + short) }
    }
}

/// A structure of `temporal` layers with one chain, as browsers send it: one template for keyframes, one per layer.
fn structure(spatial: u32, temporal: u32, id_offset: u32) -> Writer {
    let mut out = Writer::default();
    let targets = spatial * temporal;
    out.put(6, id_offset).put(5, targets - 1);
    for s in 0..spatial {
        for t in 0..temporal {
            // Same layer twice: a keyframe's and any other's.
            out.put(2, 0);
            let next = if t + 1 < temporal {
                1
            } else if s + 1 < spatial {
                2
            } else {
                3
            };
            out.put(2, next);
        }
    }
    for s in 0..spatial {
        for t in 0..temporal {
            for key in [true, false] {
                for target in 0..targets {
                    let (ts, tt) = (target / temporal, target % temporal);
                    let dti = match (s <= ts && t <= tt, key || t == 0) {
                        (false, _) => 0,
                        (true, true) => 2,
                        (true, false) => 1,
                    };
                    out.put(2, dti);
                }
            }
        }
    }
    for _ in 0..spatial * temporal {
        // A keyframe refers to none, another to the one before.
        out.put(1, 0).put(1, 1).put(4, 0).put(1, 0);
    }
    out.below(targets + 1, 1);
    for _ in 0..targets {
        out.below(1, 0);
    }
    for _ in 0..spatial * temporal {
        out.put(4, 0).put(4, 1);
    }
    out.put(1, 1);
    for s in 0..spatial {
        out.put(16, 320 * (s + 1) - 1).put(16, 180 * (s + 1) - 1);
    }
    out
}

/// A keyframe's descriptor.
fn keyframe(spatial: u32, temporal: u32, id_offset: u32, frame: u16) -> Vec<u8> {
    let inner = structure(spatial, temporal, id_offset);
    let mut out = Writer::default();
    out.put(1, 1).put(1, 0).put(6, id_offset).put(16, frame.into()).put(5, 0b10000);
    for bit in 0..inner.bits {
        out.put(1, u32::from(inner.bytes[(bit / 8) as usize] >> (7 - bit % 8)) & 1);
    }
    out.bytes
}

fn short(template: u8, frame: u16) -> [u8; 3] {
    let [high, low] = frame.to_be_bytes();
    [0xc0 | template, high, low]
}

#[test]
fn a_keyframe_brings_the_structure_that_others_are_read_with() {
    let read = Dependencies::parse(&keyframe(2, 3, 60, 0xfffe), None).unwrap();
    assert!(read.keyframe_start() && !read.ends);
    assert_eq!((read.frame, read.spatial, read.temporal), (0xfffe, 0, 0));
    assert_eq!(read.active, Some(0b11_1111));
    let structure = read.structure.unwrap();
    assert_eq!((structure.decode_targets, structure.chains, structure.templates.len()), (6, 1, 12));
    assert_eq!(structure.resolutions, [(320, 180), (640, 360)]);
    assert_eq!(structure.layers[..6], [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
    assert_eq!(structure.target_within(1, 1), Some(4));
    assert_eq!(structure.target_within(0, 9), Some(2));
    // Ids wrap at 64: 60 + 5 is 1.
    let read = Dependencies::parse(&short(1, 7), Some(&structure)).unwrap();
    assert_eq!((read.spatial, read.temporal, read.references[0], read.chains[0]), (0, 2, 1, 1));
    assert!(read.begins && read.ends && !read.keyframe_start());
    assert_eq!([0, 1, 2, 5, 6].map(|target| read.indication(target)), {
        use Dti::{Discardable, NotPresent};
        [NotPresent, NotPresent, Discardable, Discardable, NotPresent]
    });
    assert_eq!(Dependencies::parse(&short(40, 7), Some(&structure)), Err(PacketError::Malformed));
    assert_eq!(Dependencies::parse(&short(1, 7), None), Err(PacketError::Malformed));
}

#[test]
fn what_a_frame_says_of_its_own_goes_before_its_template() {
    let structure = *Dependencies::parse(&keyframe(1, 2, 0, 1), None).unwrap().structure.unwrap();
    let mut out = Writer::default();
    out.put(1, 1).put(1, 1).put(6, 1).put(16, 9).put(5, 0b01111);
    out.put(2, 0b01).put(2, 3).put(2, 2);
    out.put(2, 1).put(4, 0).put(2, 3).put(12, 4095).put(2, 0);
    out.put(8, 200);
    let read = Dependencies::parse(&out.bytes, Some(&structure)).unwrap();
    assert_eq!(read.active, Some(0b01));
    assert_eq!((read.indication(0), read.indication(1)), (Dti::Required, Dti::Switch));
    assert_eq!(read.references[..3], [1, 4096, 0]);
    assert_eq!(read.chains[0], 200);
}

#[test]
fn layers_that_no_stream_can_have_are_refused() {
    assert!(Dependencies::parse(&keyframe(4, 8, 0, 1), None).is_ok());
    assert_eq!(Dependencies::parse(&keyframe(5, 1, 0, 1), None), Err(PacketError::Malformed));
    assert_eq!(Dependencies::parse(&keyframe(1, 9, 0, 1), None), Err(PacketError::Malformed));
}

#[test]
fn endless_templates_and_references_are_refused() {
    let mut out = vec![0x80, 0, 0, 0x80, 0, 0];
    out.resize(200, 0);
    assert_eq!(Dependencies::parse(&out, None), Err(PacketError::TooMany));
    let structure = *Dependencies::parse(&keyframe(1, 1, 0, 1), None).unwrap().structure.unwrap();
    let mut out = Writer::default();
    out.put(24, 0).put(5, 0b00010);
    for _ in 0..20 {
        out.put(2, 1).put(4, 0);
    }
    assert_eq!(Dependencies::parse(&out.bytes, Some(&structure)), Err(PacketError::TooMany));
}

/// A VP8 descriptor as RFC 7741 draws it.
fn vp8(first: u8, picture: Option<PictureId>, base: Option<u8>, temporal: Option<(u8, bool)>, key: Option<u8>) -> Vec<u8> {
    let present = |set: bool, bit: u8| if set { bit } else { 0 };
    let second = present(picture.is_some(), 0x80)
        | present(base.is_some(), 0x40)
        | present(temporal.is_some(), 0x20)
        | present(key.is_some(), 0x10);
    let mut out = vec![first | present(second != 0, 0x80)];
    if second != 0 {
        out.push(second);
    }
    out.extend(picture.iter().flat_map(|id| picture_bytes(*id)));
    out.extend(base);
    if temporal.is_some() || key.is_some() {
        let (tid, sync) = temporal.unwrap_or_default();
        out.push(tid << 6 | present(sync, 0x20) | key.unwrap_or_default());
    }
    out
}

fn picture_bytes(id: PictureId) -> Vec<u8> {
    let [high, low] = id.value.to_be_bytes();
    if id.long { vec![0x80 | high, low] } else { vec![low] }
}

fn any_picture_id() -> impl Strategy<Value = PictureId> {
    any::<(u16, bool)>().prop_map(|(value, long)| PictureId { value: value & if long { 0x7fff } else { 0x7f }, long })
}

fn long(value: u16) -> PictureId {
    PictureId { value: value & 0x7fff, long: true }
}

#[test]
fn vp8_keyframes_begin_with_the_first_partition_of_an_intra_picture() {
    let starts = |payload: &[u8]| describe(VideoCodec::Vp8, payload).unwrap().keyframe_start;
    assert!(starts(&[0x10, 0x00]));
    assert!(!starts(&[0x10, 0x01]) && !starts(&[0x00, 0x00]) && !starts(&[0x11, 0x00]) && !starts(&[0x10]));
    assert!(starts(&[0x90, 0x80, 0x81, 0x02, 0x50]));
}

#[test]
fn vp9_keyframes_begin_with_the_lowest_layer_of_an_intra_picture() {
    let read = |payload: &[u8]| describe(VideoCodec::Vp9, payload).unwrap();
    // I, L, B, V: picture 5, layer (0, 0), base 9, a structure of two layers with sizes and one group of one reference.
    let key = [0xaa, 5, 0x00, 9, 0x38, 1, 64, 0, 180, 2, 128, 1, 104, 1, 0x04, 3, 0xff];
    assert!(read(&key).keyframe_start);
    let descriptor = Vp9Descriptor::parse(&key).unwrap();
    assert_eq!((descriptor.spatial_layers, descriptor.len, descriptor.base), (Some(2), 16, Some(9)));
    // The same picture's upper layer, and a picture that refers to others.
    assert!(!read(&[0xa8, 5, 0x03, 9]).keyframe_start);
    assert!(!read(&[0xe8, 5, 0x00, 9]).keyframe_start);
    // Flexible mode: three references at most.
    assert_eq!(Vp9Descriptor::parse(&[0xd0, 5, 3, 3, 2]).unwrap().len, 5);
    assert_eq!(Vp9Descriptor::parse(&[0xd0, 5, 3, 3, 3, 2]), Err(PacketError::TooMany));
}

#[test]
fn av1_sequences_begin_where_the_aggregation_header_says_so() {
    let starts = |payload: &[u8]| describe(VideoCodec::Av1, payload).unwrap().keyframe_start;
    assert!(starts(&[0x18, 1]) && !starts(&[0x10, 1]) && !starts(&[0x98, 1]) && !starts(&[]));
}

#[test]
fn h264_keyframes_are_seen_in_every_packet_form() {
    assert!(begins_h264_keyframe(&[0x67, 1, 2]));
    assert!(begins_h264_keyframe(&[0x65, 1]));
    assert!(begins_h264_keyframe(&[0x78, 0, 2, 0x67, 1, 0, 1, 0x68]));
    assert!(begins_h264_keyframe(&[0x78, 0, 2, 0x09, 1, 0, 1, 0x65]));
    assert!(begins_h264_keyframe(&[0x7c, 0x85, 0]));
    assert!(!begins_h264_keyframe(&[0x7c, 0x05, 0]));
    assert!(!begins_h264_keyframe(&[0x7c, 0x81, 0]));
    assert!(!begins_h264_keyframe(&[0x41, 0x9a]));
    assert!(!begins_h264_keyframe(&[0x78, 0xff, 0xff, 0x01]));
    assert!(!begins_h264_keyframe(&[]));
}

#[test]
fn pictures_left_out_leave_no_hole_and_another_source_goes_on() {
    let mut pictures = Pictures::new(0x7ffd);
    let mut map = |id: u16, base: u8| pictures.map(long(id), Some(base)).map(|mapped| (mapped.picture, mapped.base));
    assert_eq!(map(100, 50), Some((0x7ffe, 0xfe)));
    assert_eq!(map(101, 51), Some((0x7fff, 0xff)));
    pictures.skip(long(102));
    pictures.skip(long(102));
    pictures.skip(long(103));
    let mut map = |id: u16, base: u8| pictures.map(long(id), Some(base)).map(|mapped| (mapped.picture, mapped.base));
    assert_eq!(map(104, 52), Some((0, 0)));
    assert_eq!(map(101, 51), Some((0x7fff, 0xff)));
    assert_eq!(map(102, 51), None);
    assert_eq!(map(99, 50), None);
    pictures.switch();
    let mut map = |id: u16, base: u8| pictures.map(long(id), Some(base)).map(|mapped| (mapped.picture, mapped.base));
    assert_eq!(map(0x7fff, 200), Some((1, 1)));
    assert_eq!(map(0, 201), Some((2, 2)));
}

#[test]
fn frame_numbers_go_on_over_a_switch_and_keep_their_distances() {
    let mut numbers = FrameNumbers::new(0xfffe);
    assert_eq!([10, 12, 11, 13].map(|frame| numbers.map(frame)), [0xffff, 1, 0, 2]);
    numbers.switch();
    assert_eq!([0xffff, 0, 3].map(|frame| numbers.map(frame)), [3, 4, 7]);
    let mut data = keyframe(1, 3, 0, 77);
    rewrite_frame_number(&mut data, 0xabcd);
    assert_eq!(read_frame_number(&data), Some(0xabcd));
    assert_eq!(Dependencies::parse(&data, None).unwrap().frame, 0xabcd);
}

proptest! {
    #[test]
    fn vp8_descriptors_read_as_written_and_are_rewritten_in_place(
        first in prop::sample::select(vec![0x10u8, 0x30, 0x00, 0x01, 0x17]),
        picture in proptest::option::of(any_picture_id()),
        base in any::<Option<u8>>(),
        temporal in proptest::option::of((0u8..4, any::<bool>())),
        key in proptest::option::of(0u8..32),
        mapped in any::<(u16, u8)>(),
    ) {
        let descriptor = vp8(first, picture, base, temporal, key);
        let payload = [&descriptor[..], &[0, 1, 2]].concat();
        let read = Vp8Descriptor::parse(&payload).unwrap();
        prop_assert_eq!(read.len, descriptor.len());
        prop_assert_eq!((read.picture_id, read.base, read.key_index), (picture, base, key));
        prop_assert_eq!(read.temporal, temporal);
        let mut changed = payload.clone();
        let mapped = MappedPicture { picture: mapped.0 & 0x7fff, base: mapped.1 };
        rewrite(VideoCodec::Vp8, &mut changed, mapped);
        let again = Vp8Descriptor::parse(&changed).unwrap();
        let kept = picture.map(|id| PictureId { value: mapped.picture & if id.long { 0x7fff } else { 0x7f }, long: id.long });
        prop_assert_eq!(again, Vp8Descriptor { picture_id: kept, base: base.map(|_| mapped.base), ..read });
        prop_assert_eq!(&changed[descriptor.len()..], &payload[descriptor.len()..]);
        for cut in 0..descriptor.len() {
            prop_assert_eq!(Vp8Descriptor::parse(&payload[..cut]), Err(PacketError::Truncated));
            rewrite(VideoCodec::Vp8, &mut payload[..cut].to_vec(), mapped);
        }
    }

    #[test]
    fn vp9_descriptors_read_as_written_and_are_rewritten_in_place(
        picture in proptest::option::of(any_picture_id()),
        layer in proptest::option::of((0u8..8, 0u8..8, any::<bool>(), any::<bool>())),
        base in any::<u8>(),
        [inter, flexible, begin, end] in any::<[bool; 4]>(),
        references in 1usize..=3,
        mapped in any::<(u16, u8)>(),
    ) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut descriptor = vec![
            bit(picture.is_some(), 0x80) | bit(inter, 0x40) | bit(layer.is_some(), 0x20) | bit(flexible, 0x10)
                | bit(begin, 0x08) | bit(end, 0x04),
        ];
        descriptor.extend(picture.iter().flat_map(|id| picture_bytes(*id)));
        if let Some((temporal, spatial, up, down)) = layer {
            descriptor.push(temporal << 5 | bit(up, 0x10) | spatial << 1 | bit(down, 1));
            if !flexible {
                descriptor.push(base);
            }
        }
        if inter && flexible {
            for place in 0..references {
                descriptor.push(0x10 | bit(place + 1 < references, 1));
            }
        }
        let payload = [&descriptor[..], &[9, 9, 9]].concat();
        let read = Vp9Descriptor::parse(&payload).unwrap();
        prop_assert_eq!(read.len, descriptor.len());
        prop_assert_eq!(read.picture_id, picture);
        prop_assert_eq!(read.base, layer.filter(|_| !flexible).map(|_| base));
        prop_assert_eq!(read.layer.map(|layer| (layer.temporal, layer.spatial, layer.switching_up, layer.inter_layer)), layer);
        let mut changed = payload.clone();
        let mapped = MappedPicture { picture: mapped.0 & 0x7fff, base: mapped.1 };
        rewrite(VideoCodec::Vp9, &mut changed, mapped);
        let kept = picture.map(|id| PictureId { value: mapped.picture & if id.long { 0x7fff } else { 0x7f }, long: id.long });
        let expected = Vp9Descriptor { picture_id: kept, base: read.base.map(|_| mapped.base), ..read };
        prop_assert_eq!(Vp9Descriptor::parse(&changed).unwrap(), expected);
        for cut in 0..descriptor.len() {
            prop_assert_eq!(Vp9Descriptor::parse(&payload[..cut]), Err(PacketError::Truncated));
            rewrite(VideoCodec::Vp9, &mut payload[..cut].to_vec(), mapped);
        }
    }

    #[test]
    fn dependency_descriptors_cut_anywhere_are_refused(
        spatial in 1u32..=3, temporal in 1u32..=3, id_offset in 0u32..64, frame in any::<u16>(),
    ) {
        let data = keyframe(spatial, temporal, id_offset, frame);
        let read = Dependencies::parse(&data, None).unwrap();
        prop_assert!(read.keyframe_start());
        prop_assert_eq!(read.frame, frame);
        for cut in 0..data.len() {
            prop_assert!(Dependencies::parse(&data[..cut], None).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), id in 0u32..64) {
        let structure = Dependencies::parse(&keyframe(2, 3, id, 0), None).unwrap().structure;
        let _ = Dependencies::parse(&bytes, None);
        let _ = Dependencies::parse(&bytes, structure.as_deref());
        for codec in VideoCodec::ALL {
            let _ = describe(codec, &bytes);
            let mut changed = bytes.clone();
            rewrite(codec, &mut changed, MappedPicture { picture: 0x1234, base: 7 });
            prop_assert_eq!(changed.len(), bytes.len());
        }
    }

    /// Whatever is left out, whenever sources change, late or not: every picture keeps one number, in its order, no number is given to
    /// two, and none is missing between pictures that came in order.
    #[test]
    fn pictures_keep_one_number_each_in_order(
        seed in any::<u16>(),
        begins in proptest::collection::vec((any::<u16>(), any::<bool>(), 1usize..60), 1..5),
        out in proptest::collection::vec(any::<bool>(), 240),
        lateness in proptest::collection::vec(0usize..6, 240),
    ) {
        let mut pictures = Pictures::new(seed);
        let mut last: Option<u16> = None;
        for (begin, long, count) in begins {
            pictures.switch();
            let mask = if long { 0x7fff } else { 0x7f };
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by_key(|&index| index + if index == 0 { 0 } else { lateness[index] });
            let mut given = BTreeMap::new();
            for index in order.into_iter().chain(0..count) {
                let id = PictureId { value: begin.wrapping_add(index as u16) & mask, long };
                if index > 0 && out[index] {
                    pictures.skip(id);
                } else if let Some(mapped) = pictures.map(id, None) {
                    let before = given.insert(index, mapped.picture);
                    prop_assert!(before.is_none_or(|before| before == mapped.picture));
                }
            }
            let numbers: Vec<u16> = given.values().copied().collect();
            prop_assert!(numbers.windows(2).all(|pair| (1..0x4000).contains(&(pair[1].wrapping_sub(pair[0]) & 0x7fff))));
            prop_assert!(last.is_none_or(|last| numbers[0] == last.wrapping_add(1) & 0x7fff));
            last = numbers.last().copied();
        }
    }

    #[test]
    fn in_order_no_number_is_missing(begin in any::<u16>(), out in proptest::collection::vec(any::<bool>(), 1..400)) {
        let mut pictures = Pictures::new(5);
        let mut last = 5u16;
        for (index, &out) in out.iter().enumerate() {
            let id = long(begin.wrapping_add(index as u16));
            if out && index > 0 {
                pictures.skip(id);
            } else {
                let mapped = pictures.map(id, None).unwrap();
                prop_assert_eq!(mapped.picture, last.wrapping_add(1) & 0x7fff);
                last = mapped.picture;
            }
        }
    }
}
