//! Sound files (WAV) as sources.

use std::path::{Path, PathBuf};

use segue_model::MediaTime;

use super::{AudioSource, SourceError};
use crate::audio::{AudioFrame, Channels, FRAME_SAMPLES, SAMPLE_RATE};
use crate::resample::Resampler;

/// Most samples kept of all files together: ten minutes of 48 kHz mono, 58 MB. Clips are seconds long.
const MAX_SAMPLES: usize = 10 * 60 * SAMPLE_RATE as usize;

/// Plays files one after the other, mixed down to mono and converted to 48 kHz, and starts over at the end.
#[derive(Clone, Debug)]
pub struct WavSource {
    samples: Vec<i16>,
    at: usize,
    position: u64,
}

impl WavSource {
    /// Reads the files. What goes beyond ten minutes is left out.
    ///
    /// # Errors
    /// When a file cannot be read, has a sample format or rate that is not taken, or all are empty.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self, SourceError> {
        let mut samples = Vec::new();
        for path in paths {
            samples.extend(read(path.as_ref())?);
            if samples.len() > MAX_SAMPLES {
                samples.truncate(MAX_SAMPLES);
                break;
            }
        }
        if samples.is_empty() {
            let path = paths.first().map(|path| path.as_ref().to_path_buf()).unwrap_or_default();
            return Err(SourceError::Unsupported { path, what: "no sound in it" });
        }
        Ok(Self { samples, at: 0, position: 0 })
    }

    /// Seconds until it starts over.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(SAMPLE_RATE)
    }
}

impl AudioSource for WavSource {
    fn next_frame(&mut self) -> AudioFrame {
        let samples = self.samples[self.at..].iter().chain(self.samples.iter().cycle()).take(FRAME_SAMPLES).copied().collect();
        self.at = (self.at + FRAME_SAMPLES) % self.samples.len();
        let time = MediaTime(self.position);
        self.position += FRAME_SAMPLES as u64;
        AudioFrame { time, channels: Channels::Mono, samples }
    }
}

fn read(path: &Path) -> Result<Vec<i16>, SourceError> {
    let unreadable = |error: hound::Error| SourceError::Read { path: PathBuf::from(path), reason: error.to_string() };
    let unsupported = |what| SourceError::Unsupported { path: PathBuf::from(path), what };
    let mut reader = hound::WavReader::open(path).map_err(unreadable)?;
    let format = reader.spec();
    if format.channels == 0 {
        return Err(unsupported("no channels"));
    }
    let most = MAX_SAMPLES * usize::from(format.channels);
    let interleaved: Vec<i16> = match (format.sample_format, format.bits_per_sample) {
        (hound::SampleFormat::Int, bits @ 8..=32) => reader
            .samples::<i32>()
            .take(most)
            .map(|sample| sample.map(|sample| to_sixteen_bits(sample, bits)))
            .collect::<Result<_, _>>()
            .map_err(unreadable)?,
        (hound::SampleFormat::Float, 32) => reader
            .samples::<f32>()
            .take(most)
            .map(|sample| sample.map(|sample| (sample * f32::from(i16::MAX)) as i16))
            .collect::<Result<_, _>>()
            .map_err(unreadable)?,
        _ => return Err(unsupported("sample format not taken")),
    };
    let mono: Vec<i16> = interleaved
        .chunks_exact(usize::from(format.channels))
        .map(|frame| (frame.iter().map(|&sample| i64::from(sample)).sum::<i64>() / frame.len() as i64) as i16)
        .collect();
    let mut resampler = Resampler::new(format.sample_rate, SAMPLE_RATE).map_err(|_| unsupported("sample rate not taken"))?;
    Ok(resampler.push(&mono))
}

fn to_sixteen_bits(sample: i32, bits: u16) -> i16 {
    if bits >= 16 { (sample >> (bits - 16)) as i16 } else { (sample << (16 - bits)) as i16 }
}
