//! Test tones, one frequency per participant, and their detection by Goertzel's algorithm.

use std::f64::consts::TAU;

use segue_model::MediaTime;

use super::AudioSource;
use crate::audio::{AudioFrame, Channels, FRAME_SAMPLES, SAMPLE_RATE};

/// Lowest tone, and the distance between tones. Multiples of 50 Hz make whole periods in 20 ms, so tones do not leak into each
/// other's measurement and frames join without a click.
const LOWEST_HZ: u32 = 300;
const STEP_HZ: u32 = 50;

/// How many different tones there are: up to 3250 Hz, within what Opus codes as speech at any rate.
const TONES: u32 = 60;

/// A tone is there when it makes up this share of all that sounds in a mix.
const PRESENT: f32 = 0.05;

/// A sine of one frequency.
#[derive(Clone, Debug)]
pub struct ToneSource {
    frequency: f32,
    amplitude: f32,
    position: u64,
}

/// The frequency of the `index`th tone in Hz; indices beyond the number of tones start over.
#[must_use]
pub fn tone_frequency(index: u32) -> f32 {
    (LOWEST_HZ + STEP_HZ * (index % TONES)) as f32
}

impl ToneSource {
    /// Amplitude of a tone as a share of full scale: loud enough to be voice, low enough that four add up without clipping.
    const AMPLITUDE: f32 = 0.15;

    /// A tone of `frequency` Hz.
    #[must_use]
    pub fn new(frequency: f32) -> Self {
        Self { frequency, amplitude: Self::AMPLITUDE, position: 0 }
    }

    /// The tone of the `index`th participant.
    #[must_use]
    pub fn of_participant(index: u32) -> Self {
        Self::new(tone_frequency(index))
    }
}

impl AudioSource for ToneSource {
    fn next_frame(&mut self) -> AudioFrame {
        let step = f64::from(self.frequency) / f64::from(SAMPLE_RATE);
        let peak = f64::from(self.amplitude) * f64::from(i16::MAX);
        let samples = (self.position..).take(FRAME_SAMPLES).map(|at| {
            let turns = (at as f64 * step).fract();
            (peak * (TAU * turns).sin()) as i16
        });
        let frame = AudioFrame { time: MediaTime(self.position), channels: Channels::Mono, samples: samples.collect() };
        self.position += FRAME_SAMPLES as u64;
        frame
    }
}

/// The share of the power of mono 48 kHz samples that lies at a frequency: 1 for a pure tone, near 0 for its absence. The window
/// should be 20 ms or a multiple of it; the longer, the finer it tells neighbours apart (100 ms is good).
#[must_use]
pub fn tone_strength(samples: &[i16], frequency: f32) -> f32 {
    let total: f64 = samples.iter().map(|&sample| f64::from(sample) * f64::from(sample)).sum();
    if total <= 0.0 {
        return 0.0;
    }
    // Goertzel: a resonator at the frequency, fed with all samples; its energy at the end is the squared Fourier coefficient.
    let coefficient = 2.0 * (TAU * f64::from(frequency) / f64::from(SAMPLE_RATE)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for &sample in samples {
        let next = f64::from(sample) + coefficient * last - before;
        before = last;
        last = next;
    }
    let power = last * last + before * before - coefficient * last * before;
    (2.0 * power / (total * samples.len() as f64)) as f32
}

/// Whether the tone of a frequency is part of what sounds.
#[must_use]
pub fn detect_tone(samples: &[i16], frequency: f32) -> bool {
    tone_strength(samples, frequency) >= PRESENT
}

/// The index and strength of the loudest of all tones; `None` when none makes up a noticeable share.
#[must_use]
pub fn loudest_tone(samples: &[i16]) -> Option<(u32, f32)> {
    (0..TONES)
        .map(|index| (index, tone_strength(samples, tone_frequency(index))))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|&(_, strength)| strength >= PRESENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix;

    fn tone(index: u32, frames: usize) -> Vec<i16> {
        let mut source = ToneSource::of_participant(index);
        (0..frames).flat_map(|_| source.next_frame().samples).collect()
    }

    #[test]
    fn each_tone_is_told_from_all_others() {
        for index in [0, 1, 17, 59] {
            let samples = tone(index, 5);
            let (loudest, strength) = loudest_tone(&samples).unwrap();
            assert_eq!(loudest, index);
            assert!(strength > 0.95);
            assert!(!detect_tone(&samples, tone_frequency(index + 1)));
        }
        assert_eq!(loudest_tone(&[0; 960]), None);
        assert_eq!(loudest_tone(&[]), None);
    }

    #[test]
    fn all_tones_of_a_mix_are_heard() {
        let mut sources: Vec<ToneSource> = (0..4).map(|index| ToneSource::of_participant(index * 3)).collect();
        let mut mixed = Vec::new();
        for _ in 0..5 {
            let frames: Vec<AudioFrame> = sources.iter_mut().map(AudioSource::next_frame).collect();
            let refs: Vec<&AudioFrame> = frames.iter().collect();
            mixed.extend(mix::mix(&refs, Channels::Mono, MediaTime(0)).samples);
        }
        let heard: Vec<u32> = (0..12).filter(|&index| detect_tone(&mixed, tone_frequency(index))).collect();
        assert_eq!(heard, [0, 3, 6, 9]);
    }
}
