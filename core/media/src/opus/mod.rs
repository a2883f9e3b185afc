//! Opus in RTP (RFC 7587): the payload is the Opus packet, so all there is to do is to read its first byte (RFC 6716 section 3).

mod loss;

use std::time::Duration;

pub use loss::ExpectedLoss;

/// Samples at 48 kHz in the 20 ms that one frame of ours lasts.
pub const FRAME_SAMPLES: u32 = 960;

/// The time one frame of ours lasts.
pub const FRAME: Duration = Duration::from_millis(20);

/// A packet of at most this many bytes carries no coded audio: the encoder is in discontinuous transmission (RFC 6716 section
/// 3.1: a frame of zero or one byte is lost or DTX).
const DTX_BYTES: usize = 2;

/// RFC 6716 section 3.2.5: no packet lasts longer than 120 ms.
const MAX_SAMPLES: u32 = 5_760;

/// Samples at 48 kHz that an Opus packet lasts (RFC 6716 section 3.1); `None` where it is malformed.
#[must_use]
pub fn samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let per_frame = match toc >> 3 {
        // SILK: 10, 20, 40, 60 ms.
        config @ 0..=11 => [480, 960, 1_920, 2_880].get(usize::from(config & 3)),
        // Hybrid: 10, 20 ms.
        config @ 12..=15 => [480, 960].get(usize::from(config & 1)),
        // CELT: 2.5, 5, 10, 20 ms.
        config => [120, 240, 480, 960].get(usize::from(config & 3)),
    }
    .copied()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    let samples = per_frame * frames;
    (samples > 0 && samples <= MAX_SAMPLES).then_some(samples)
}

/// Whether the packet says "nothing is being said" instead of carrying audio.
#[must_use]
pub fn is_dtx(packet: &[u8]) -> bool {
    packet.len() <= DTX_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_from_the_first_byte() {
        // CELT fullband 20 ms, one frame; SILK narrowband 20 ms, two frames; hybrid 10 ms, code 3 with four frames.
        assert_eq!(samples(&[0xf8, 0, 0]), Some(960));
        assert_eq!(samples(&[0x09, 0, 0]), Some(1_920));
        assert_eq!(samples(&[0x63, 4, 0]), Some(1_920));
        assert_eq!(samples(&[]), None);
        assert_eq!(samples(&[0xff]), None);
        assert_eq!(samples(&[0xff, 63]), None);
        assert!(is_dtx(&[0xf8]) && !is_dtx(&[0xf8, 0, 0]));
    }
}
