//! Payload descriptors, dependency descriptors and redundant audio: nothing panics, and what is rewritten reads the same but for its numbers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use segue_media::layers::{
    Dependencies, MAX_SPATIAL, MAX_TEMPORAL, MappedPicture, TemplateStructure, Vp8Descriptor, Vp9Descriptor, describe, read_frame_number, rewrite,
    rewrite_frame_number,
};
use segue_media::red;
use segue_model::VideoCodec;

const MAPPED: MappedPicture = MappedPicture { picture: 0x1234, base: 56 };

fuzz_target!(|data: &[u8]| {
    for codec in VideoCodec::ALL {
        let before = describe(codec, data);
        let mut changed = data.to_vec();
        rewrite(codec, &mut changed, MAPPED);
        let after = describe(codec, &changed);
        if let (Ok(before), Ok(after)) = (before, after) {
            assert_eq!(
                (before.temporal, before.spatial, before.keyframe_start),
                (after.temporal, after.spatial, after.keyframe_start)
            );
            assert_eq!(before.picture.map(|id| id.long), after.picture.map(|id| id.long));
        }
    }
    if let (Ok(vp8), Ok(vp9)) = (Vp8Descriptor::parse(data), Vp9Descriptor::parse(data)) {
        assert!(vp8.len <= data.len() && vp9.len <= data.len());
    }
    // A stream: each piece is read with the structure the pieces before left.
    let mut structure: Option<Box<TemplateStructure>> = None;
    for piece in data.chunks(40) {
        let Ok(mut read) = Dependencies::parse(piece, structure.as_deref()) else { continue };
        assert_eq!(read_frame_number(piece), Some(read.frame));
        let mut changed = piece.to_vec();
        rewrite_frame_number(&mut changed, 0xabcd);
        let again = Dependencies::parse(&changed, structure.as_deref()).expect("another number reads as well");
        assert_eq!(again.frame, 0xabcd);
        if let Some(new) = read.structure.take() {
            assert!(new.templates.len() <= 64 && new.target_within(MAX_SPATIAL, MAX_TEMPORAL).is_some());
            structure = Some(new);
        }
    }
    if let Ok(blocks) = red::blocks(data) {
        let blocks: Vec<_> = blocks.collect();
        assert!(blocks.iter().map(|block| block.data.len()).sum::<usize>() <= data.len());
        assert_eq!(blocks.last().copied(), red::newest(data).ok());
    }
});
