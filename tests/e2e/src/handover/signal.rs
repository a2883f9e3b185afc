//! A sound that tells its time: a burst of another pitch for each frame.
//!
//! What is heard is read from nothing but the samples, so that a gap found by counters can be found again by ear.

use std::collections::VecDeque;
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

/// A frame is heard where its pitch and those beside it make up this share of the power: a decoder that lost something is out of tune.
const HEARD: f64 = 0.15;

/// A frame further on than the next is heard where its pitch alone makes up this share, after the one before it.
const CLEARLY: f64 = 0.3;

/// The sound.
#[derive(Debug, Default)]
pub struct Bursts {
    frame: u64,
}

/// Which pitch a frame has.
fn pitch(frame: u64) -> u64 {
    frame * HOP % PERIOD
}

fn turns(pitch: u64) -> f64 {
    (LOW_HZ + STEP_HZ * pitch as f64) / f64::from(SAMPLE_RATE)
}

/// How loud a burst is at one of its samples, 0 to 1.
fn envelope(at: usize) -> f64 {
    let edge = at.min(FRAME_SAMPLES - 1 - at).min(EDGE) as f64 / EDGE as f64;
    (edge * TAU / 4.0).sin()
}

impl Bursts {
    /// The next 20 ms.
    pub fn next_frame(&mut self) -> Vec<i16> {
        let turns = turns(pitch(self.frame));
        self.frame += 1;
        let wave = |at: usize| envelope(at) * (TAU * turns * at as f64).sin();
        (0..FRAME_SAMPLES).map(|at| (AMPLITUDE * f64::from(i16::MAX) * wave(at)) as i16).collect()
    }
}

/// The shares of the power of decoded samples that lie on each pitch.
#[derive(Clone, Copy, Debug, Default)]
struct Spectrum([f64; PERIOD as usize]);

impl Spectrum {
    fn of(samples: &[i16]) -> Self {
        let samples = || samples.iter().skip(LOOKAHEAD).map(|sample| f64::from(*sample)).enumerate();
        let power: f64 = samples().map(|(_, value)| value * value).sum();
        let weight: f64 = samples().map(|(at, _)| envelope(at).powi(2)).sum();
        let share = |pitch: usize| {
            let turns = turns(pitch as u64);
            let (sine, cosine) = samples().fold((0.0, 0.0), |(sine, cosine), (at, value)| {
                let (s, c) = (TAU * turns * at as f64).sin_cos();
                (sine + value * s * envelope(at), cosine + value * c * envelope(at))
            });
            2.0 * (sine * sine + cosine * cosine) / (power * weight)
        };
        if power > 0.0 { Self(std::array::from_fn(share)) } else { Self::default() }
    }

    fn exactly(&self, frame: u64) -> f64 {
        self.0[pitch(frame) as usize]
    }

    /// With the pitches beside it.
    fn about(&self, frame: u64) -> f64 {
        let pitch = pitch(frame) as usize;
        self.0.iter().take(pitch + 2).skip(pitch.saturating_sub(1)).sum()
    }
}

/// Follows the sound through what was decoded.
#[derive(Debug)]
pub struct Ear {
    last: u64,
    /// Of the latest samples, newest first.
    before: VecDeque<Spectrum>,
    heard: Vec<u64>,
}

impl Ear {
    /// Begins at a frame that is known to be frame `first` of the sound.
    #[must_use]
    pub const fn new(first: u64) -> Self {
        Self { last: first, before: VecDeque::new(), heard: Vec::new() }
    }

    /// The next 20 ms of what is played.
    pub fn push(&mut self, samples: &[i16]) {
        let (now, next) = (Spectrum::of(samples), self.last + 1);
        if now.about(next) >= HEARD {
            self.hear(next);
        } else if let Some(frame) = self.further(&now) {
            (self.first_of(frame)..=frame).for_each(|frame| self.hear(frame));
        }
        self.before.push_front(now);
        self.before.truncate(PERIOD as usize);
    }

    /// A frame further on than the next. What a decoder makes up may sound like anything once: it needs the one before it.
    fn further(&self, now: &Spectrum) -> Option<u64> {
        let frames = self.last + 2..self.last + PERIOD;
        let frame = frames.max_by(|a, b| now.exactly(*a).total_cmp(&now.exactly(*b)))?;
        let sure = now.exactly(frame) >= CLEARLY && self.before.front()?.about(frame - 1) >= CLEARLY;
        sure.then_some(frame)
    }

    /// The first of those that lead up to a frame heard now: they are known by their places.
    fn first_of(&self, frame: u64) -> u64 {
        let earlier = (self.last + 1..frame).rev().zip(&self.before);
        earlier.take_while(|(frame, before)| before.about(*frame) >= HEARD).last().map_or(frame, |(frame, _)| frame)
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

    /// What an ear hears of `frames` frames. `happens` says of each how many are made up before it, and whether it is lost: then it is
    /// recovered from the next, where that came.
    fn hear(frames: u64, happens: impl Fn(u64) -> (u64, bool)) -> Vec<u64> {
        let mut encoder = OpusEncoder::new(OpusEncoderConfig::default()).expect("an encoder");
        let mut decoder = OpusDecoder::new(Channels::Mono).expect("a decoder");
        let (mut bursts, mut ear) = (Bursts::default(), Ear::new(0));
        let time = |frame: u64| MediaTime(frame * FRAME_SAMPLES as u64);
        let sounds = (0..=frames).map(|frame| {
            let sound = AudioFrame { time: time(frame), channels: Channels::Mono, samples: bursts.next_frame() };
            encoder.encode(&sound).expect("encoded").payload
        });
        let sounds: Vec<_> = sounds.collect();
        for (frame, pair) in (0..frames).zip(sounds.windows(2)) {
            let (time, (made_up, lost)) = (time(frame), happens(frame));
            for _ in 0..made_up {
                ear.push(&decoder.conceal(time).expect("made up").samples);
            }
            let played = match (lost, happens(frame + 1).1) {
                (false, _) => decoder.decode(&pair[0], time),
                (true, false) => decoder.decode_fec(&pair[1], time),
                (true, true) => decoder.conceal(time),
            };
            ear.push(&played.expect("decoded").samples);
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
        let mut worse = Vec::new();
        for at in 20..20 + PERIOD {
            for (made_up, lost) in [(2, 0), (0, 1), (0, 2), (0, 5), (2, 1)] {
                let happens = |frame| (if frame == at { made_up } else { 0 }, (at..at + lost).contains(&frame));
                let heard = hear(at + 12, happens);
                // The last one lost is recovered.
                let off = longest_gap(&heard).abs_diff(u64::saturating_sub(lost, 1));
                assert!(off <= 2, "{made_up} made up, {lost} lost at {at}: {heard:?}");
                worse.extend((off == 2).then_some((at, made_up, lost)));
            }
        }
        assert!(worse.len() <= 2, "of {} gaps, off by two: {worse:?}", PERIOD * 5);
    }
}
