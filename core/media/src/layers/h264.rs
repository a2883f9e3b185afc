//! Where an H.264 keyframe begins (RFC 6184 section 5.4).

/// Whether an H.264 payload begins a keyframe. Senders put the parameter sets in front of the picture, so the first packet of a keyframe
/// is the one that holds an SPS; an IDR picture without one begins it too.
#[must_use]
pub fn begins_h264_keyframe(payload: &[u8]) -> bool {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let kind = |byte: u8| byte & 0x1f;
    let begins = |unit: u8| unit == SPS || unit == IDR;
    match payload {
        [first, rest @ ..] if kind(*first) == STAP_A => {
            let mut rest = rest;
            while let [high, low, unit, ..] = rest {
                if begins(kind(*unit)) {
                    return true;
                }
                let size = usize::from(u16::from_be_bytes([*high, *low]));
                rest = rest.get(2 + size..).unwrap_or(&[]);
            }
            false
        }
        [first, fragment, ..] if kind(*first) == FU_A => fragment & 0x80 != 0 && begins(kind(*fragment)),
        [first, ..] => begins(kind(*first)),
        [] => false,
    }
}
