//! A sound whose pitch tells its time: a tone that climbs, one step a frame, and begins again.
//!
//! What is heard is read from nothing but the samples, so that a gap found by counters can be found again by ear.

use std::f64::consts::TAU;

use segue_codec::audio::{FRAME_SAMPLES, SAMPLE_RATE};

/// Where the tone begins. Multiples of 50 Hz make whole periods in 20 ms: neighbouring steps are orthogonal.
const LOW_HZ: f64 = 400.0;

/// How far it climbs in a frame.
const STEP_HZ: f64 = 50.0;

/// Frames until it begins again: 1.28 s, up to 3,600 Hz, which every mode of Opus codes.
pub const PERIOD: u64 = 64;

/// As a share of full scale.
const AMPLITUDE: f64 = 0.25;

/// Samples by which a decoder is behind its encoder: libopus looks ahead 6.5 ms at 48 kHz.
const LOOKAHEAD: f64 = 312.0;

/// A step is heard where it makes up this share of a frame's power. What a decoder makes up goes on with the last pitch, half a step from
/// both neighbours, and has 0.41 of each.
const HEARD: f64 = 0.6;

/// Or where the pitch of a decoder that is still confused after something made up is so near to it, in steps, with this share of the power.
const NEAR_ENOUGH: f64 = 0.75;
const HEARD_FAINTLY: f64 = 0.25;

/// Steps around the expected one that are tried first.
const NEAR: u64 = 3;

/// The climbing tone.
#[derive(Debug, Default)]
pub struct Climb {
    frame: u64,
    phase: f64,
}

fn frequency(frame: f64) -> f64 {
    LOW_HZ + STEP_HZ * frame.rem_euclid(PERIOD as f64)
}

impl Climb {
    /// The next 20 ms.
    pub fn next_frame(&mut self) -> Vec<i16> {
        let samples = (0..FRAME_SAMPLES).map(|at| {
            let turns = frequency(self.frame as f64 + at as f64 / FRAME_SAMPLES as f64) / f64::from(SAMPLE_RATE);
            self.phase = (self.phase + turns).fract();
            (AMPLITUDE * f64::from(i16::MAX) * (TAU * self.phase).sin()) as i16
        });
        let samples = samples.collect();
        self.frame += 1;
        samples
    }
}

/// The share of the power that lies on what a step sounds like after decoding. `parts`: into how many parts the frame is cut whose phases may
/// differ, as they do where a decoder comes back from something it made up.
fn likeness(samples: &[i16], step: f64, parts: usize) -> f64 {
    let (mut phase, mut power, mut found) = (0.0_f64, 0.0, 0.0);
    let part = samples.len() / parts;
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (at, &sample) in samples.iter().enumerate() {
        let behind = (at as f64 - LOOKAHEAD) / FRAME_SAMPLES as f64;
        phase += TAU * frequency(step + behind) / f64::from(SAMPLE_RATE);
        let (s, c) = phase.sin_cos();
        let value = f64::from(sample);
        sine += value * s;
        cosine += value * c;
        power += value * value;
        if (at + 1) % part == 0 {
            found += sine * sine + cosine * cosine;
            (sine, cosine) = (0.0, 0.0);
        }
    }
    if power <= 0.0 { 0.0 } else { 2.0 * found / (power * part as f64) }
}

/// Which of some steps a frame sounds like clearly.
fn clearly(samples: &[i16], steps: impl Iterator<Item = u64>) -> Option<u64> {
    let likened = steps.map(|step| (step, likeness(samples, step as f64, 1)));
    likened.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, likeness)| *likeness >= HEARD).map(|(step, _)| step)
}

/// Whether a frame's pitch is that of a step, however confused the decoder is: nearer to it than the pitch before it.
fn faintly(samples: &[i16], step: u64) -> bool {
    let around = (-8..=8).map(|quarters| f64::from(quarters) / 4.0);
    let likened = around.map(|off| (off, likeness(samples, step as f64 + off, 2)));
    let pitch = likened.max_by(|a, b| a.1.total_cmp(&b.1));
    pitch.is_some_and(|(off, likeness)| off.abs() <= NEAR_ENOUGH && likeness >= HEARD_FAINTLY)
}

/// Follows the tone through decoded sound.
#[derive(Debug)]
pub struct Ear {
    last: u64,
    /// A step far ahead, that the next frame has to confirm: what a decoder makes up may sound like anything once.
    far: Option<u64>,
    heard: Vec<u64>,
}

impl Ear {
    /// Begins at a frame that is known to sound like step `first` of [`PERIOD`].
    #[must_use]
    pub const fn new(first: u64) -> Self {
        Self { last: first, far: None, heard: Vec::new() }
    }

    /// The next 20 ms of what is played.
    pub fn push(&mut self, samples: &[i16]) {
        let near = (0..=2 * NEAR).map(|ahead| (self.last + 1 + ahead).saturating_sub(NEAR));
        let next = self.last + 1;
        let faintly = || faintly(samples, next).then_some(next);
        let found = clearly(samples, near).or_else(faintly).or_else(|| clearly(samples, next..=self.last + PERIOD));
        let before = self.far.take();
        match found {
            Some(step) if self.heard.is_empty() || step == self.last + 1 => self.hear(step),
            Some(step) if step > self.last && before == Some(step - 1) => {
                self.hear(step - 1);
                self.hear(step);
            }
            Some(step) if step > self.last => self.far = Some(step),
            _ => {}
        }
    }

    fn hear(&mut self, step: u64) {
        self.last = step;
        self.heard.push(step);
    }

    /// Frames heard, in order.
    #[must_use]
    pub fn heard(self) -> Vec<u64> {
        self.heard
    }
}

#[cfg(test)]
mod tests {
    use segue_codec::opus::{OpusDecoder, OpusEncoder, OpusEncoderConfig};
    use segue_codec::{AudioDecoder, AudioEncoder, AudioFrame, Channels};
    use segue_model::MediaTime;

    use super::*;

    /// What an ear hears of 200 frames, some of which are lost.
    fn hear(lost: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut encoder = OpusEncoder::new(OpusEncoderConfig::default()).expect("an encoder");
        let mut decoder = OpusDecoder::new(Channels::Mono).expect("a decoder");
        let (mut climb, mut ear) = (Climb::default(), Ear::new(0));
        for frame in 0..200 {
            let time = MediaTime(frame * FRAME_SAMPLES as u64);
            let sound = AudioFrame { time, channels: Channels::Mono, samples: climb.next_frame() };
            let sound = encoder.encode(&sound).expect("encoded");
            let played =
                if lost(frame) { decoder.conceal(time) } else { decoder.decode(&sound.payload, time) }.expect("decoded");
            ear.push(&played.samples);
        }
        ear.heard()
    }

    #[test]
    fn every_frame_of_a_whole_call_is_heard() {
        let heard = hear(|_| false);
        let missing: Vec<u64> = (5..200).filter(|frame| !heard.contains(frame)).collect();
        assert!(missing.len() <= 4, "{missing:?}");
        assert!(heard.windows(2).all(|pair| pair[1] - pair[0] <= 2), "{heard:?}");
    }

    #[test]
    fn frames_made_up_in_between_are_no_gap() {
        let mut encoder = OpusEncoder::new(OpusEncoderConfig::default()).expect("an encoder");
        let mut decoder = OpusDecoder::new(Channels::Mono).expect("a decoder");
        let (mut climb, mut ear) = (Climb::default(), Ear::new(0));
        for frame in 0..400 {
            let time = MediaTime(frame * FRAME_SAMPLES as u64);
            if frame > 20 && frame % 10 == 0 {
                ear.push(&decoder.conceal(time).expect("made up").samples);
            }
            let sound = AudioFrame { time, channels: Channels::Mono, samples: climb.next_frame() };
            let sound = encoder.encode(&sound).expect("encoded");
            ear.push(&decoder.decode(&sound.payload, time).expect("decoded").samples);
        }
        let heard = ear.heard();
        let longest = heard.windows(2).map(|pair| pair[1] - pair[0] - 1).max();
        assert!(longest <= Some(1), "{longest:?}: {heard:?}");
        assert!(heard.len() > 390, "{}", heard.len());
    }

    #[test]
    fn a_gap_is_heard_to_within_a_frame() {
        let heard = hear(|frame| (100..105).contains(&frame));
        let around: Vec<u64> = heard.iter().copied().filter(|frame| (98..108).contains(frame)).collect();
        let gap = around.windows(2).map(|pair| pair[1] - pair[0] - 1).max();
        assert!(matches!(gap, Some(4..=6)), "{around:?}");
    }
}
