//! Sound from the application.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use segue_codec::audio::FRAME_SAMPLES;
use segue_codec::{AudioFrame, Channels};
use segue_model::{DataRate, MediaTime, TrackKind};

use super::input::Input;
use crate::clock;

/// Frames that may wait for the encoder: 200 ms, as long as a voice may lag before it is better cut.
const MAX_WAITING: usize = 10;

/// A pause between two pushes longer than this is silence in the timeline; shorter ones are the jitter of the caller.
const PAUSE_SAMPLES: u64 = 4_800;

/// Rates of voice, by number of channels.
const MONO_RATE: DataRate = DataRate::kbps(32);
pub(crate) const STEREO_RATE: DataRate = DataRate::kbps(64);

/// Sound to publish: 48 kHz samples, pushed as they are captured. Clones push into the same source.
#[derive(Clone)]
pub struct AudioSource {
    pub(crate) input: Arc<AudioInput>,
}

/// How sound is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioOptions {
    /// One or two.
    pub channels: Channels,
    /// Rate of the encoder; `None`: 32 kbit/s for one channel, 64 for two.
    pub bitrate: Option<DataRate>,
    /// Discontinuous transmission (RFC 6716 section 2.1.9): in pauses of speech nothing is sent but a sign of life every 400 ms. Saves
    /// bandwidth and batteries; receivers play silence meanwhile. Not for music.
    pub dtx: bool,
}

impl AudioOptions {
    /// A rate by the number of channels, and everything is sent.
    #[must_use]
    pub const fn new(channels: Channels) -> Self {
        Self { channels, bitrate: None, dtx: false }
    }

    /// What the encoder makes.
    pub(crate) const fn rate(&self) -> DataRate {
        match (self.bitrate, self.channels.count()) {
            (Some(rate), _) => rate,
            (None, 1) => MONO_RATE,
            (None, _) => STEREO_RATE,
        }
    }
}

pub(crate) struct AudioInput {
    pub(crate) channels: Channels,
    pub(crate) options: AudioOptions,
    pub(crate) frames: Input<AudioFrame>,
    cutter: Mutex<Cutter>,
}

/// Cuts what is pushed into frames of 20 ms and keeps their time.
struct Cutter {
    start: Option<Instant>,
    /// Time of the first sample in `rest`.
    next: u64,
    rest: Vec<i16>,
}

impl AudioSource {
    /// A source of one or two channels.
    #[must_use]
    pub fn new(channels: Channels) -> Self {
        Self::with_options(AudioOptions::new(channels))
    }

    /// A source whose sound is encoded in this way.
    #[must_use]
    pub fn with_options(options: AudioOptions) -> Self {
        let channels = options.channels;
        let cutter = Mutex::new(Cutter { start: None, next: 0, rest: Vec::new() });
        Self { input: Arc::new(AudioInput { channels, options, frames: Input::new(MAX_WAITING), cutter }) }
    }

    /// Adds samples captured just now, 16 bits at 48 kHz, interleaved where there are two channels, any number of them. False
    /// while the source is not published.
    pub fn push(&self, samples: &[i16]) -> bool {
        let now = clock::now();
        let channels = self.input.channels.count();
        let mut cutter = self.input.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.input.frames.is_open() {
            cutter.rest.clear();
            return false;
        }
        cutter.align(now, samples.len() / channels);
        cutter.rest.extend_from_slice(samples);
        let whole = FRAME_SAMPLES * channels;
        while cutter.rest.len() >= whole {
            let rest = cutter.rest.split_off(whole);
            let samples = std::mem::replace(&mut cutter.rest, rest);
            let time = MediaTime(cutter.next);
            cutter.next += FRAME_SAMPLES as u64;
            self.input.frames.push(AudioFrame { time, channels: self.input.channels, samples });
        }
        true
    }

    /// A publication takes what is pushed.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.input.frames.is_open()
    }

    /// Frames of 20 ms dropped because the encoder had no time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.input.frames.dropped()
    }
}

impl Cutter {
    /// Skips time that passed without sound, so that a pause of the caller is not played later.
    fn align(&mut self, now: Instant, samples: usize) {
        let rate = u128::from(TrackKind::Audio.clock_rate());
        let start = *self.start.get_or_insert(now);
        let elapsed = (now.saturating_duration_since(start).as_micros() * rate / 1_000_000) as u64;
        let begins = elapsed.saturating_sub(samples as u64);
        if begins > self.next + PAUSE_SAMPLES {
            self.rest.clear();
            self.next = begins;
        }
    }
}
