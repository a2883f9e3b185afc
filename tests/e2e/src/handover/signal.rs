//! A sound that tells its time: a burst of another pitch for each frame.
//!
//! What is heard is read from nothing but the samples, so that a gap found by counters can be found again by ear.

use std::f64::consts::TAU;

use segue_codec::audio::{FRAME_SAMPLES, SAMPLE_RATE};

/// Frames until it begins again: 640 ms.
pub const PERIOD: u64 = 32;

/// Pitches from the lowest on: up to 3,600 Hz, which every mode of Opus codes.
const LOW_HZ: f64 = 500.0;
const STEP_HZ: f64 = 100.0;

/// By how many pitches a frame is above the one before, modulo [`PERIOD`]. So far that neither an encoder can predict a frame from the one
/// before it (a decoder that made something up would go on wrong for many frames: so it is with a tone that climbs slowly), nor what a
/// decoder makes up sounds like the next; frames of neighbouring pitches are nine apart.
const HOP: u64 = 7;

/// As a share of full scale.
const AMPLITUDE: f64 = 0.25;

/// Samples in which a burst begins, and in which it ends.
const EDGE: usize = 120;

/// Samples by which a decoder is behind its encoder: libopus looks ahead 6.5 ms at 48 kHz.
const LOOKAHEAD: usize = 312;

/// A frame is heard where its pitch makes up this share of the power.
const HEARD: f64 = 0.15;

/// And this share where it confirms that frames before it were not heard.
const CLEARLY: f64 = 0.3;

/// The sound.
#[derive(Debug, Default)]
pub struct Bursts {
    frame: u64,
}

fn frequency(frame: u64) -> f64 {
    LOW_HZ + STEP_HZ * (frame * HOP % PERIOD) as f64
}

/// How loud a burst is at one of its samples, 0 to 1.
fn envelope(at: usize) -> f64 {
    let edge = at.min(FRAME_SAMPLES - 1 - at).min(EDGE) as f64 / EDGE as f64;
    (edge * TAU / 4.0).sin()
}

impl Bursts {
    /// The next 20 ms.
    pub fn next_frame(&mut self) -> Vec<i16> {
        let turns = frequency(self.frame) / f64::from(SAMPLE_RATE);
        self.frame += 1;
        let wave = |at: usize| envelope(at) * (TAU * turns * at as f64).sin();
        (0..FRAME_SAMPLES).map(|at| (AMPLITUDE * f64::from(i16::MAX) * wave(at)) as i16).collect()
    }
}

/// The share of the power of decoded samples that lies on the pitch of a frame.
fn likeness(samples: &[i16], frame: u64) -> f64 {
    let turns = frequency(frame) / f64::from(SAMPLE_RATE);
    let (mut sine, mut cosine, mut power, mut weight) = (0.0, 0.0, 0.0, 0.0);
    for (at, &sample) in samples.iter().skip(LOOKAHEAD).enumerate() {
        let (s, c) = (TAU * turns * at as f64).sin_cos();
        let (value, loud) = (f64::from(sample), envelope(at));
        sine += value * s * loud;
        cosine += value * c * loud;
        power += value * value;
        weight += loud * loud;
    }
    if power <= 0.0 { 0.0 } else { 2.0 * (sine * sine + cosine * cosine) / (power * weight) }
}

/// Follows the sound through what was decoded.
#[derive(Debug)]
pub struct Ear {
    last: u64,
    /// A frame further on than the next, which the one after it has to confirm: what a decoder makes up may sound like anything once.
    further: Option<u64>,
    heard: Vec<u64>,
}

impl Ear {
    /// Begins at a frame that is known to be frame `first` of the sound.
    #[must_use]
    pub const fn new(first: u64) -> Self {
        Self { last: first, further: None, heard: Vec::new() }
    }

    /// The next 20 ms of what is played.
    pub fn push(&mut self, samples: &[i16]) {
        let next = self.last + 1;
        let likened = (self.last..self.last + PERIOD).map(|frame| (frame, likeness(samples, frame)));
        let likened = likened.filter(|(_, likeness)| *likeness >= HEARD);
        // The next is not missed because a neighbouring pitch is louder: a decoder that made something up is a little out of tune.
        let found = likened.max_by(|a, b| (a.0 == next).cmp(&(b.0 == next)).then(a.1.total_cmp(&b.1)));
        let before = self.further.take();
        match found {
            Some((frame, _)) if frame == next => self.hear(frame),
            Some((frame, likeness)) if frame > next && likeness >= CLEARLY && before == Some(frame - 1) => {
                self.hear(frame - 1);
                self.hear(frame);
            }
            Some((frame, _)) if frame > next => self.further = Some(frame),
            _ => {}
        }
    }

    fn hear(&mut self, frame: u64) {
        self.last = frame;
        self.heard.push(frame);
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

    /// What an ear hears of `frames` frames. `happens` says of each how many are made up before it and whether it is lost.
    fn hear(frames: u64, happens: impl Fn(u64) -> (u64, bool)) -> Vec<u64> {
        let mut encoder = OpusEncoder::new(OpusEncoderConfig::default()).expect("an encoder");
        let mut decoder = OpusDecoder::new(Channels::Mono).expect("a decoder");
        let (mut bursts, mut ear) = (Bursts::default(), Ear::new(0));
        for frame in 0..frames {
            let time = MediaTime(frame * FRAME_SAMPLES as u64);
            let (made_up, lost) = happens(frame);
            for _ in 0..made_up {
                ear.push(&decoder.conceal(time).expect("made up").samples);
            }
            let sound = AudioFrame { time, channels: Channels::Mono, samples: bursts.next_frame() };
            let sound = encoder.encode(&sound).expect("encoded");
            let played = if lost { decoder.conceal(time) } else { decoder.decode(&sound.payload, time) }.expect("decoded");
            ear.push(&played.samples);
        }
        ear.heard()
    }

    fn longest_gap(heard: &[u64]) -> u64 {
        heard.windows(2).map(|pair| pair[1] - pair[0] - 1).max().expect("frames heard")
    }

    #[test]
    fn every_frame_of_a_whole_call_is_heard() {
        let heard = hear(200, |_| (0, false));
        assert!(heard.len() >= 195 && longest_gap(&heard) <= 1, "{heard:?}");
    }

    #[test]
    fn frames_made_up_in_between_are_no_gap() {
        let heard = hear(400, |frame| (u64::from(frame > 20 && frame % 10 == 0), false));
        assert!(heard.len() > 390 && longest_gap(&heard) <= 1, "{heard:?}");
    }

    #[test]
    fn a_gap_is_heard_to_within_a_frame_wherever_it_is() {
        for at in 20..20 + PERIOD {
            for (made_up, lost) in [(0, 1), (0, 2), (0, 5), (2, 1), (2, 0)] {
                let happens = |frame| (if frame == at { made_up } else { 0 }, (at..at + lost).contains(&frame));
                let heard = hear(at + 20, happens);
                let gap = longest_gap(&heard);
                assert!(gap.abs_diff(lost) <= 1, "{made_up} made up, {lost} lost at {at}: {gap}: {heard:?}");
            }
        }
    }
}
