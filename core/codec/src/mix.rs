//! Mixing of remote sound.

use segue_model::MediaTime;

use crate::audio::{AudioFrame, Channels, FRAME_SAMPLES};

/// Up to this share of full scale the sum passes unchanged; above, it is bent towards full scale.
const KNEE: f32 = 0.7;

/// Adds frames of the same 20 ms up into one. Sums that stay below 70 % of full scale are exact; louder ones are bent smoothly
/// (hyperbolic tangent above the knee), so that several loud voices never crackle. Frames of another number of channels are
/// converted; shorter ones count as silent at their end. No frames give silence.
#[must_use]
pub fn mix(frames: &[&AudioFrame], channels: Channels, time: MediaTime) -> AudioFrame {
    let mut sums = vec![0i32; FRAME_SAMPLES * channels.count()];
    for frame in frames {
        if frame.channels == channels {
            add(&mut sums, &frame.samples);
        } else {
            add(&mut sums, &frame.with_channels(channels).samples);
        }
    }
    AudioFrame { time, channels, samples: sums.into_iter().map(soft_clip).collect() }
}

fn add(sums: &mut [i32], samples: &[i16]) {
    for (sum, &sample) in sums.iter_mut().zip(samples) {
        *sum = sum.saturating_add(i32::from(sample));
    }
}

/// Bends a sum of samples into the range of one.
fn soft_clip(sum: i32) -> i16 {
    let full_scale = f32::from(i16::MAX);
    let knee = KNEE * full_scale;
    let magnitude = sum.unsigned_abs() as f32;
    if magnitude <= knee {
        return sum as i16;
    }
    let room = full_scale - knee;
    let bent = knee + room * ((magnitude - knee) / room).tanh();
    (bent * sum.signum() as f32) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(value: i16, channels: Channels) -> AudioFrame {
        AudioFrame { time: MediaTime(0), channels, samples: vec![value; FRAME_SAMPLES * channels.count()] }
    }

    #[test]
    fn quiet_sums_are_exact() {
        let (one, two) = (constant(1000, Channels::Mono), constant(-300, Channels::Stereo));
        let mixed = mix(&[&one, &two], Channels::Stereo, MediaTime(960));
        assert_eq!(mixed.time, MediaTime(960));
        assert_eq!(mixed.samples, vec![700; 1920]);
        assert_eq!(mix(&[], Channels::Mono, MediaTime(0)).samples, vec![0; 960]);
    }

    #[test]
    fn loud_sums_bend_and_keep_their_order() {
        let bent: Vec<i16> = (0..12).map(|step| soft_clip(step * 8000)).collect();
        assert!(bent.windows(2).all(|pair| pair[0] <= pair[1]), "{bent:?}");
        assert!((i32::from(bent[11]) - 32_767).abs() <= 1);
        assert_eq!(soft_clip(i32::MIN), -32_767);
        assert_eq!(soft_clip(-40_000), -soft_clip(40_000));
    }

    #[test]
    fn a_short_frame_is_silent_at_its_end() {
        let mut short = constant(500, Channels::Mono);
        short.samples.truncate(480);
        let mixed = mix(&[&short], Channels::Mono, MediaTime(0));
        assert_eq!((mixed.samples[479], mixed.samples[480], mixed.samples.len()), (500, 0, 960));
    }
}
