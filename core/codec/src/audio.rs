//! Sound: 48 kHz frames of signed 16-bit samples, and how loud they are.

use segue_model::MediaTime;

/// Samples per second and channel, everywhere in this crate.
pub const SAMPLE_RATE: u32 = 48_000;

/// Samples per channel of a 20 ms frame.
pub const FRAME_SAMPLES: usize = 960;

/// The least loud level RFC 6464 section 3 can say: -127 dBov, digital silence included.
const SILENCE_LEVEL: u8 = 127;

/// One channel or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channels {
    /// One.
    Mono,
    /// Left and right, interleaved.
    Stereo,
}

impl Channels {
    /// How many.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::Mono => 1,
            Self::Stereo => 2,
        }
    }
}

/// A stretch of sound at 48 kHz, normally 20 ms (960 samples per channel).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioFrame {
    /// Time of the first sample, 48 kHz units.
    pub time: MediaTime,
    /// How the samples are laid out.
    pub channels: Channels,
    /// The samples, interleaved when stereo.
    pub samples: Vec<i16>,
}

impl AudioFrame {
    /// 20 ms of nothing.
    #[must_use]
    pub fn silence(channels: Channels, time: MediaTime) -> Self {
        Self { time, channels, samples: vec![0; FRAME_SAMPLES * channels.count()] }
    }

    /// Samples per channel.
    #[must_use]
    pub fn length(&self) -> usize {
        self.samples.len() / self.channels.count()
    }

    /// The same sound with another number of channels: mono is doubled, stereo averaged.
    #[must_use]
    pub fn with_channels(&self, channels: Channels) -> Self {
        let samples = match (self.channels, channels) {
            (Channels::Mono, Channels::Stereo) => self.samples.iter().flat_map(|&sample| [sample, sample]).collect(),
            (Channels::Stereo, Channels::Mono) => {
                self.samples.chunks_exact(2).map(|pair| ((i32::from(pair[0]) + i32::from(pair[1])) / 2) as i16).collect()
            }
            _ => self.samples.clone(),
        };
        Self { time: self.time, channels, samples }
    }
}

/// Loudness of a frame as RFC 6464 section 3 carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// 0 (loudest) to 127 (silence): root mean square in -dBov, where 0 dBov is a full-scale square wave.
    pub level: u8,
    /// Somebody is thought to speak.
    pub voice: bool,
}

/// Root mean square of samples in -dBov, 0 to 127.
#[must_use]
pub fn level(samples: &[i16]) -> u8 {
    if samples.is_empty() {
        return SILENCE_LEVEL;
    }
    let squares: f64 = samples.iter().map(|&sample| f64::from(sample) * f64::from(sample)).sum();
    let mean = squares / samples.len() as f64;
    if mean <= 0.0 {
        return SILENCE_LEVEL;
    }
    let below_full_scale = -10.0 * (mean / (32768.0 * 32768.0)).log10();
    below_full_scale.round().clamp(0.0, f64::from(SILENCE_LEVEL)) as u8
}

/// Measures frames one after the other; decides by how far they stand above the noise around them whether somebody speaks.
///
/// The noise floor falls at once to the level of any quieter frame and rises slowly, so that a steady hum becomes background within
/// seconds while words do not.
#[derive(Clone, Debug)]
pub struct LevelMeter {
    floor_dbov: f32,
    hangover: u8,
}

impl LevelMeter {
    /// How far above the floor voice stands.
    const MARGIN_DB: f32 = 9.0;
    /// Nothing below this is voice, however quiet the room.
    const QUIETEST_VOICE_DBOV: f32 = -60.0;
    /// How fast the floor rises per frame of 20 ms: 3 dB a second, slower than the pauses between words come.
    const RISE_DB: f32 = 0.06;
    /// The floor is never thought higher than this: louder steady sound is music or a shout, not background.
    const HIGHEST_FLOOR_DBOV: f32 = -35.0;
    /// Frames for which the flag stays after the last loud one, so that it does not flicker between syllables.
    const HANGOVER_FRAMES: u8 = 10;

    /// A meter that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { floor_dbov: Self::HIGHEST_FLOOR_DBOV - Self::MARGIN_DB, hangover: 0 }
    }

    /// The level of the next frame.
    pub fn push(&mut self, samples: &[i16]) -> AudioLevel {
        let level = level(samples);
        let dbov = -f32::from(level);
        self.floor_dbov = dbov.min(self.floor_dbov + Self::RISE_DB).min(Self::HIGHEST_FLOOR_DBOV);
        if dbov >= Self::QUIETEST_VOICE_DBOV && dbov > self.floor_dbov + Self::MARGIN_DB {
            self.hangover = Self::HANGOVER_FRAMES;
        } else {
            self.hangover = self.hangover.saturating_sub(1);
        }
        AudioLevel { level, voice: self.hangover > 0 }
    }
}

impl Default for LevelMeter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_rfc_6464() {
        assert_eq!(level(&[0; 960]), 127);
        assert_eq!(level(&[]), 127);
        assert_eq!(level(&[-32768; 960]), 0);
        // A tenth of full scale is -20 dB.
        assert_eq!(level(&[3277; 960]), 20);
    }

    #[test]
    fn words_are_voice_and_hum_is_not_for_long() {
        let mut meter = LevelMeter::new();
        let hum = [100i16; 960];
        let word = [3000i16; 960];
        assert!((0..50).all(|_| !meter.push(&hum).voice));
        assert!(meter.push(&word).voice);
        assert!(meter.push(&hum).voice, "the flag outlives a short pause");
        assert!((0..50).map(|_| meter.push(&hum).voice).last().is_some_and(|voice| !voice));
    }

    #[test]
    fn channels_are_doubled_and_averaged() {
        let stereo = AudioFrame { time: MediaTime(0), channels: Channels::Stereo, samples: vec![100, 300, -100, -300] };
        let mono = stereo.with_channels(Channels::Mono);
        assert_eq!(mono.samples, [200, -200]);
        assert_eq!(mono.with_channels(Channels::Stereo).samples, [200, 200, -200, -200]);
    }
}
