//! From a source to encoded frames.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use segue_codec::h264::{H264Ladder, LadderConfig, Rung, Usage};
use segue_codec::opus::{OpusEncoder, OpusEncoderConfig};
use segue_codec::{AudioEncoder, EncodeError, EncodedAudio, EncodedVideo, VideoEncoder};
use segue_media::frame::EncodedFrame;
use segue_media::opus::ExpectedLoss;
use segue_media::packet::AudioLevel;
use segue_model::{DataRate, EncodingId, LayerId, TrackKind};
use tokio::sync::mpsc;

use crate::source::{AudioInput, EncodedInput, LocalTrack, STEREO_RATE, VideoContent, VideoInput, VideoOptions};

/// A frame of a source, for the room's task.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// Names the publication.
    pub(crate) source: u64,
    pub(crate) frame: EncodedFrame,
}

/// A published source and the thread that drains it. Dropping it ends the thread.
pub(crate) struct Feed {
    source: u64,
    input: FeedInput,
    shared: Arc<FeedShared>,
}

enum FeedInput {
    Video(Arc<VideoInput>),
    Audio(Arc<AudioInput>),
    Encoded(Arc<EncodedInput>),
}

/// What the room's task and a feed's thread look at together.
#[derive(Default)]
struct FeedShared {
    controls: Mutex<Controls>,
    failures: AtomicU64,
}

#[derive(Default)]
struct Controls {
    keyframes: Vec<EncodingId>,
    active: Vec<(EncodingId, bool)>,
    rates: Vec<(EncodingId, DataRate)>,
    expected_loss: Option<u8>,
    muted: bool,
}

impl FeedShared {
    fn controls(&self) -> std::sync::MutexGuard<'_, Controls> {
        self.controls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    /// Starts to drain a source.
    ///
    /// # Errors
    /// When the encoder or the thread cannot be set up.
    pub(crate) fn start(source: u64, track: &LocalTrack, out: mpsc::Sender<Encoded>) -> Result<Self, EncodeError> {
        let shared = Arc::new(FeedShared::default());
        let outlet = Outlet { source, out, shared: shared.clone() };
        let input = match track {
            LocalTrack::Video(video) => {
                let brought = video.input.encoder.lock().unwrap_or_else(PoisonError::into_inner).take();
                let encoder = match brought {
                    Some(encoder) => encoder,
                    None => Box::new(H264Ladder::new(ladder(&video.input.options))?),
                };
                video.input.frames.open(source);
                let input = video.input.clone();
                spawn("segue-video", move || encode_video(&input, encoder, &outlet))?;
                FeedInput::Video(video.input.clone())
            }
            LocalTrack::Audio(audio) => {
                let encoder = OpusEncoder::new(voice(&audio.input))?;
                audio.input.frames.open(source);
                let input = audio.input.clone();
                spawn("segue-audio", move || encode_audio(&input, encoder, &outlet))?;
                FeedInput::Audio(audio.input.clone())
            }
            LocalTrack::Encoded(encoded) => {
                encoded.input.frames.open(source);
                let input = encoded.input.clone();
                spawn("segue-frames", move || pass_encoded(&input, &outlet))?;
                FeedInput::Encoded(encoded.input.clone())
            }
        };
        Ok(Self { source, input, shared })
    }

    /// The next frame of an encoding is to be a keyframe.
    pub(crate) fn request_keyframe(&self, encoding: EncodingId) {
        match &self.input {
            FeedInput::Encoded(input) => input.request_keyframe(encoding),
            FeedInput::Video(_) => {
                let mut controls = self.shared.controls();
                if !controls.keyframes.contains(&encoding) {
                    controls.keyframes.push(encoding);
                }
            }
            FeedInput::Audio(_) => {}
        }
    }

    /// Whether anybody is sent an encoding.
    pub(crate) fn set_active(&self, encoding: EncodingId, active: bool) {
        let mut controls = self.shared.controls();
        controls.active.retain(|(other, _)| *other != encoding);
        controls.active.push((encoding, active));
    }

    /// What voice from here makes at most; of frames that come encoded, what it usually does.
    pub(crate) fn voice_rate(&self) -> DataRate {
        match &self.input {
            FeedInput::Audio(input) => input.options.rate(),
            FeedInput::Encoded(_) | FeedInput::Video(_) => STEREO_RATE,
        }
    }

    /// What an encoding makes from the next frame on. Frames that come encoded are as they are.
    pub(crate) fn set_rate(&self, encoding: EncodingId, rate: DataRate) {
        let mut controls = self.shared.controls();
        controls.rates.retain(|(other, _)| *other != encoding);
        controls.rates.push((encoding, rate));
    }

    /// Voice is to bear this loss, in percent, from the next frame on.
    pub(crate) fn set_expected_loss(&self, percent: u8) {
        self.shared.controls().expected_loss = Some(percent);
    }

    /// Nothing is encoded while muted.
    pub(crate) fn set_muted(&self, muted: bool) {
        self.shared.controls().muted = muted;
    }

    /// Frames that were not encoded for want of time or by a failure.
    pub(crate) fn dropped(&self) -> u64 {
        let waiting = match &self.input {
            FeedInput::Video(input) => input.frames.dropped(),
            FeedInput::Audio(input) => input.frames.dropped(),
            FeedInput::Encoded(input) => input.frames.dropped(),
        };
        waiting + self.shared.failures.load(Ordering::Relaxed)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        match &self.input {
            FeedInput::Video(input) => input.frames.close(self.source),
            FeedInput::Audio(input) => input.frames.close(self.source),
            FeedInput::Encoded(input) => input.frames.close(self.source),
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), EncodeError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(|_| EncodeError::Refused("thread"))
}

fn ladder(options: &VideoOptions) -> LadderConfig {
    let (usage, frame_skip) = match options.content {
        VideoContent::Camera => (Usage::Camera, false),
        VideoContent::Screen => (Usage::Screen, true),
    };
    let encodings = options.encodings();
    let rungs = encodings.iter().enumerate().map(|(number, encoding)| Rung {
        encoding: EncodingId(number as u8),
        rate: DataRate::kbps(u64::from(encoding.max_kbps)),
        frame_rate: options.frame_rate,
        active: true,
    });
    LadderConfig { usage, frame_skip, rungs: rungs.collect() }
}

fn voice(input: &AudioInput) -> OpusEncoderConfig {
    OpusEncoderConfig {
        channels: input.channels,
        rate: input.options.rate(),
        expected_loss: ExpectedLoss::default().percent(),
        dtx: input.options.dtx,
        ..OpusEncoderConfig::default()
    }
}

/// Where a thread leaves its frames.
struct Outlet {
    source: u64,
    out: mpsc::Sender<Encoded>,
    shared: Arc<FeedShared>,
}

impl Outlet {
    /// Waits where the room is behind; false when it is gone.
    fn send(&self, frame: EncodedFrame) -> bool {
        self.out.blocking_send(Encoded { source: self.source, frame }).is_ok()
    }

    fn fail(&self, error: EncodeError) {
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(source = self.source, %error, "frame not encoded");
    }
}

fn encode_video(input: &VideoInput, mut encoder: Box<dyn VideoEncoder>, outlet: &Outlet) {
    while input.frames.is_owned_by(outlet.source) {
        let Some(frame) = input.frames.pop(outlet.source) else { continue };
        if !steer(encoder.as_mut(), &outlet.shared) {
            continue;
        }
        match encoder.encode(&frame) {
            Ok(pictures) => {
                if !pictures.into_iter().all(|picture| outlet.send(video_frame(picture))) {
                    return;
                }
            }
            Err(error) => outlet.fail(error),
        }
    }
}

/// Passes wishes on to the encoder; false where nothing is to be encoded.
fn steer(encoder: &mut dyn VideoEncoder, shared: &FeedShared) -> bool {
    let mut controls = shared.controls();
    for (encoding, active) in controls.active.drain(..) {
        encoder.set_active(encoding, active);
    }
    for (encoding, rate) in controls.rates.drain(..) {
        encoder.set_rate(encoding, rate);
    }
    for encoding in controls.keyframes.drain(..) {
        encoder.request_keyframe(encoding);
    }
    !controls.muted
}

fn video_frame(picture: EncodedVideo) -> EncodedFrame {
    EncodedFrame {
        kind: TrackKind::Video,
        layer: picture.layer,
        time: picture.time,
        keyframe: picture.keyframe,
        discardable: picture.discardable,
        refers_back: picture.refers_back,
        audio_level: None,
        payload: picture.payload,
    }
}

fn encode_audio(input: &AudioInput, mut encoder: OpusEncoder, outlet: &Outlet) {
    while input.frames.is_owned_by(outlet.source) {
        let Some(frame) = input.frames.pop(outlet.source) else { continue };
        let (muted, expected_loss) = {
            let mut controls = outlet.shared.controls();
            (controls.muted, controls.expected_loss.take())
        };
        if let Some(percent) = expected_loss {
            encoder.set_expected_loss(percent);
        }
        if muted {
            continue;
        }
        match encoder.encode(&frame) {
            Ok(sound) if sound.silence => {}
            Ok(sound) => {
                if !outlet.send(audio_frame(sound)) {
                    return;
                }
            }
            Err(error) => outlet.fail(error),
        }
    }
}

fn audio_frame(sound: EncodedAudio) -> EncodedFrame {
    EncodedFrame {
        kind: TrackKind::Audio,
        layer: LayerId::default(),
        time: sound.time,
        keyframe: false,
        discardable: false,
        refers_back: 0,
        audio_level: Some(AudioLevel { level: sound.level.level, voice: sound.level.voice }),
        payload: sound.payload,
    }
}

fn pass_encoded(input: &EncodedInput, outlet: &Outlet) {
    while input.frames.is_owned_by(outlet.source) {
        let Some(frame) = input.frames.pop(outlet.source) else { continue };
        if !outlet.shared.controls().muted && !outlet.send(frame) {
            return;
        }
    }
}
