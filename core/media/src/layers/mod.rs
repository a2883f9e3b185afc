//! What a video packet is to its picture and its layers, read off its payload descriptor or its dependency descriptor, and the numbers in
//! them that have to go on when a subscriber gets another encoding or fewer layers.
//!
//! Nothing here opens coded pictures: what is read stands in front of them. Publishers that stamp origins need none of it.

mod bits;
mod descriptor;
mod h264;
mod numbering;
mod vp8;
mod vp9;

use segue_model::VideoCodec;

use crate::packet::PacketError;

pub use descriptor::{
    Dependencies, Dti, MAX_DECODE_TARGETS, MAX_DESCRIPTOR, MAX_SPATIAL, MAX_TEMPLATES, MAX_TEMPORAL, Template,
    TemplateStructure, read_frame_number, rewrite_frame_number,
};
pub use h264::begins_h264_keyframe;
pub use numbering::{FrameNumbers, MappedPicture, Pictures};
pub use vp8::{Vp8Descriptor, rewrite_vp8};
pub use vp9::{Vp9Descriptor, rewrite_vp9};

/// A number that every packet of a picture carries: 7 or 15 bits on the wire (RFC 7741 section 4.2, RFC 9628 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// The number.
    pub value: u16,
    /// Has 15 bits, not 7.
    pub long: bool,
}

impl PictureId {
    /// How many bits it has.
    #[must_use]
    pub const fn bits(self) -> u32 {
        if self.long { 15 } else { 7 }
    }
}

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// First packet of a picture that refers to none: decoding may begin here.
    pub keyframe_start: bool,
    /// Temporal layer; 0 where nothing is said.
    pub temporal: u8,
    /// Spatial layer in its encoding; 0 where nothing is said.
    pub spatial: u8,
    /// Whoever has the layers below may have this one from here on.
    pub switch_up: bool,
    /// Last packet of its picture in this spatial layer, where that is known.
    pub ends_layer: bool,
    /// No later picture refers to it.
    pub discardable: bool,
    /// Its picture's number.
    pub picture: Option<PictureId>,
    /// Number of the base layer picture it belongs to.
    pub base: Option<u8>,
}

/// Reads what a payload says of itself.
///
/// # Errors
/// [`PacketError::Truncated`] where its descriptor is cut short.
pub fn describe(codec: VideoCodec, payload: &[u8]) -> Result<Picture, PacketError> {
    match codec {
        VideoCodec::H264 => Ok(Picture { keyframe_start: begins_h264_keyframe(payload), ..Picture::default() }),
        VideoCodec::Vp8 => Vp8Descriptor::parse(payload).map(|descriptor| descriptor.picture()),
        VideoCodec::Vp9 => Vp9Descriptor::parse(payload).map(|descriptor| descriptor.picture()),
        VideoCodec::Av1 => Ok(Picture { keyframe_start: begins_av1_sequence(payload), ..Picture::default() }),
    }
}

/// Gives a payload other numbers, in place and of the same length. What has none is left alone.
pub fn rewrite(codec: VideoCodec, payload: &mut [u8], mapped: MappedPicture) {
    match codec {
        VideoCodec::Vp8 => rewrite_vp8(payload, mapped),
        VideoCodec::Vp9 => rewrite_vp9(payload, mapped),
        VideoCodec::H264 | VideoCodec::Av1 => {}
    }
}

/// Whether a packet is the first of a coded video sequence: the N bit of the aggregation header (AV1 RTP payload section 4.4), and no
/// fragment that goes on.
fn begins_av1_sequence(payload: &[u8]) -> bool {
    payload.first().is_some_and(|header| header & 0x88 == 0x08)
}

#[cfg(test)]
mod tests;
