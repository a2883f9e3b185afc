//! Sound in and out: signed 16-bit samples at 48 kHz, little-endian where they are bytes, interleaved where there are two channels.

use std::sync::Arc;

use segue::{Channels, FrameStream, PlayedAudio};

use crate::blob::Blob;
use crate::error::CallError;
use crate::publication::Claim;
use crate::queue::{Queue, ReadyListener};

/// Bytes of a sample.
const SAMPLE: usize = size_of::<i16>();

/// Samples per millisecond.
const SAMPLES_PER_MS: i64 = 48;

/// Most sound one push may bring, in samples of all channels: ten seconds of stereo. More is no capture but a file, to be pushed as
/// time passes.
const MAX_PUSH: usize = 960_000;

/// Sound to publish. Any thread may push.
#[derive(uniffi::Object)]
pub struct AudioSource {
    pub(crate) source: segue::AudioSource,
    pub(crate) claim: Claim,
    channels: usize,
}

#[uniffi::export]
impl AudioSource {
    /// A source of one or two channels.
    #[uniffi::constructor(default(channels = 1))]
    pub fn new(channels: u8) -> Result<Arc<Self>, CallError> {
        let layout = match channels {
            1 => Channels::Mono,
            2 => Channels::Stereo,
            _ => return Err(CallError::argument("channels", format!("{channels} channels: give 1 or 2"))),
        };
        Ok(Arc::new(Self { source: segue::AudioSource::new(layout), claim: Claim::default(), channels: layout.count() }))
    }

    /// Adds samples captured just now, any number of them; the bytes are borrowed. False while the source is not published.
    pub fn push(&self, samples: &[u8]) -> Result<bool, CallError> {
        if !samples.len().is_multiple_of(SAMPLE * self.channels) {
            let detail =
                format!("{} bytes are no whole samples of {} channels with 16 bits each", samples.len(), self.channels);
            return Err(CallError::argument("size", detail));
        }
        let samples: Vec<i16> = samples.as_chunks::<SAMPLE>().0.iter().map(|sample| i16::from_le_bytes(*sample)).collect();
        self.push_samples(&samples)
    }

    /// The same for `count` samples (of all channels together) at an address of the caller's own, which has to stay readable
    /// until the call returns. Their byte order is this machine's.
    pub fn push_at(&self, address: u64, count: u64) -> Result<bool, CallError> {
        let count = usize::try_from(count).ok().filter(|count| *count <= MAX_PUSH).ok_or_else(too_much)?;
        if address == 0 || !(address as usize).is_multiple_of(align_of::<i16>()) {
            return Err(CallError::argument("buffer", "samples need an even address"));
        }
        if !count.is_multiple_of(self.channels) {
            let detail = format!("{count} samples are not the same number for each of {} channels", self.channels);
            return Err(CallError::argument("size", detail));
        }
        // SAFETY: the caller vouches for `count` readable samples, as the documentation demands; the address is aligned.
        let samples = unsafe { std::slice::from_raw_parts(address as usize as *const i16, count) };
        self.push_samples(samples)
    }

    /// Frames of 20 ms that went nowhere because the encoder had no time.
    pub fn dropped(&self) -> u64 {
        self.source.dropped()
    }

    /// Somebody takes what is pushed.
    pub fn is_published(&self) -> bool {
        self.source.is_published()
    }
}

impl AudioSource {
    fn push_samples(&self, samples: &[i16]) -> Result<bool, CallError> {
        if samples.len() > MAX_PUSH {
            return Err(too_much());
        }
        Ok(self.source.push(samples))
    }
}

fn too_much() -> CallError {
    CallError::argument("size", format!("more than {MAX_PUSH} samples at once: push sound as it is captured"))
}

/// Where 20 ms of sound come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Playout {
    /// The sender's frame.
    Decoded,
    /// Lost, and rebuilt from the repair data in the next packet.
    Recovered,
    /// Lost, and made up from what was before it.
    Concealed,
    /// The sender sends nothing.
    Silence,
}

/// Sound to play, normally 20 ms.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct AudioFrame {
    /// Samples, 16 bits each, little-endian, interleaved.
    pub samples: Blob,
    /// 1 or 2.
    pub channels: u8,
    /// Time of the first sample in microseconds, from a zero of the publisher's own.
    pub timestamp_us: i64,
    /// Where it comes from.
    pub playout: Playout,
}

impl From<PlayedAudio> for AudioFrame {
    fn from(played: PlayedAudio) -> Self {
        let mut samples = Vec::with_capacity(played.frame.samples.len() * SAMPLE);
        played.frame.samples.iter().for_each(|sample| samples.extend_from_slice(&sample.to_le_bytes()));
        Self {
            samples: Blob(samples),
            channels: played.frame.channels.count() as u8,
            timestamp_us: (played.frame.time.0 as i64).saturating_mul(1_000) / SAMPLES_PER_MS,
            playout: match played.playout {
                segue::Playout::Decoded => Playout::Decoded,
                segue::Playout::Recovered => Playout::Recovered,
                segue::Playout::Concealed => Playout::Concealed,
                segue::Playout::Silence => Playout::Silence,
            },
        }
    }
}

/// Decoded sound of a track.
#[derive(uniffi::Object)]
pub struct AudioStream {
    queue: Queue<PlayedAudio>,
}

impl AudioStream {
    pub(crate) fn new(
        stream: FrameStream<PlayedAudio>,
        max_queue: u32,
        listener: Arc<dyn ReadyListener>,
    ) -> Result<Arc<Self>, CallError> {
        Ok(Arc::new(Self { queue: Queue::new(stream, max_queue, listener)? }))
    }
}

#[uniffi::export]
impl AudioStream {
    /// The oldest sound that waits.
    pub fn try_next(&self) -> Option<AudioFrame> {
        self.queue.try_next().map(Into::into)
    }

    /// Frames dropped because they were not taken in time.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Nothing waits and nothing follows.
    pub fn has_ended(&self) -> bool {
        self.queue.has_ended()
    }

    /// Ends it: nothing is decoded for it any more.
    pub fn stop(&self) {
        self.queue.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_of_a_wrong_shape_is_refused() {
        let code = |outcome: Result<bool, CallError>| match outcome {
            Err(CallError::InvalidArgument { code, .. }) => code,
            other => format!("{other:?}"),
        };
        let stereo = AudioSource::new(2).expect("two channels");
        assert_eq!(code(stereo.push(&[0; 6])), "size");
        assert_eq!(code(stereo.push_at(3, 2)), "buffer");
        assert_eq!(code(stereo.push_at(2, 3)), "size");
        assert_eq!(code(stereo.push_at(2, u64::MAX)), "size");
        assert_eq!(stereo.push(&[0; 8]), Ok(false), "not published");
        assert!(matches!(AudioSource::new(3), Err(CallError::InvalidArgument { code, .. }) if code == "channels"));
    }
}
