//! From whole frames to pictures and sound.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use bytes::Bytes;
use segue_codec::audio::FRAME_SAMPLES;
use segue_codec::h264::H264Decoder;
use segue_codec::opus::OpusDecoder;
use segue_codec::{AudioDecoder, AudioFrame, Channels, DecodeError, FramePool, VideoDecoder};
use segue_media::frame::ReceivedFrame;
use segue_model::{MediaTime, TrackId, TrackKind};
use tokio::sync::mpsc;

use crate::options::Decoders;
use crate::room::{PlayedAudio, Playout, TrackInner};

/// Frames that may wait for a decoder: two thirds of a second of video. A decoder further behind than that is better off at the
/// next keyframe.
const MAX_WAITING: usize = 20;

/// Pictures in the hands of the decoder and the application together.
const MAX_PICTURES: usize = 16;

/// What to play for 20 ms.
#[derive(Debug)]
pub(crate) enum Sound {
    /// Decode this.
    Frame(ReceivedFrame),
    /// Rebuild the frame before this one.
    Recover(Bytes),
    /// Make something up.
    Conceal,
    /// Play nothing.
    Silence,
}

enum Job {
    Picture(ReceivedFrame),
    Sound(Sound),
}

/// A decoder's thread. Dropping this ends it.
pub(crate) struct DecodeWorker {
    jobs: SyncSender<Job>,
    /// Frames were lost on the way to the decoder: nothing is of use before a keyframe.
    awaits_keyframe: bool,
}

impl DecodeWorker {
    /// A decoder for a track; `None` where the system refuses a thread. Tracks that need a keyframe are named in `needs`.
    pub(crate) fn start(
        track: Arc<TrackInner>,
        id: TrackId,
        kind: TrackKind,
        decoders: Decoders,
        needs: mpsc::Sender<TrackId>,
    ) -> Option<Self> {
        let (jobs, queue) = sync_channel(MAX_WAITING);
        let work = move || match kind {
            TrackKind::Video => decode_video(&track, id, &decoders, &queue, &needs),
            TrackKind::Audio => decode_audio(&track, &decoders, &queue),
        };
        thread::Builder::new().name("segue-decode".to_owned()).spawn(work).ok()?;
        Some(Self { jobs, awaits_keyframe: kind == TrackKind::Video })
    }

    /// Hands a video frame over; false where it was not taken and a keyframe is needed.
    pub(crate) fn push_picture(&mut self, frame: ReceivedFrame) -> bool {
        if self.awaits_keyframe && !frame.frame.keyframe {
            return false;
        }
        self.awaits_keyframe = false;
        match self.jobs.try_send(Job::Picture(frame)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.awaits_keyframe = true;
                false
            }
        }
    }

    /// Hands 20 ms of sound over; a decoder that is behind loses it.
    pub(crate) fn push_sound(&self, sound: Sound) {
        let _ = self.jobs.try_send(Job::Sound(sound));
    }
}

fn video_decoder(decoders: &Decoders) -> Result<Box<dyn VideoDecoder>, DecodeError> {
    match &decoders.video {
        Some(new) => new(),
        None => Ok(Box::new(H264Decoder::new(FramePool::new(MAX_PICTURES))?)),
    }
}

fn audio_decoder(decoders: &Decoders) -> Result<Box<dyn AudioDecoder>, DecodeError> {
    match &decoders.audio {
        Some(new) => new(),
        None => Ok(Box::new(OpusDecoder::new(Channels::Mono)?)),
    }
}

fn decode_video(track: &TrackInner, id: TrackId, decoders: &Decoders, queue: &Receiver<Job>, needs: &mpsc::Sender<TrackId>) {
    let mut decoder = match video_decoder(decoders) {
        Ok(decoder) => decoder,
        Err(error) => {
            tracing::warn!(%id, %error, "no decoder");
            return;
        }
    };
    while let Ok(job) = queue.recv() {
        let Job::Picture(frame) = job else { continue };
        match decoder.decode(&frame.frame.payload, frame.frame.time) {
            Ok(Some(picture)) => {
                track.counters.decoded.fetch_add(1, Ordering::Relaxed);
                track.deliver_picture(&picture);
            }
            // The picture was decoded, but the application holds every frame of the pool: it misses this one only.
            Ok(None) | Err(DecodeError::NoFrame) => {}
            Err(error) => {
                track.counters.undecoded.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%id, %error, number = frame.number, "frame not decoded");
                let _ = needs.try_send(id);
            }
        }
    }
}

fn decode_audio(track: &TrackInner, decoders: &Decoders, queue: &Receiver<Job>) {
    let mut decoder = match audio_decoder(decoders) {
        Ok(decoder) => decoder,
        Err(error) => {
            tracing::warn!(%error, "no decoder");
            return;
        }
    };
    let mut time = MediaTime(0);
    while let Ok(job) = queue.recv() {
        let Job::Sound(sound) = job else { continue };
        if let Sound::Frame(frame) = &sound {
            time = frame.frame.time;
        }
        let (frame, playout) = match play(decoder.as_mut(), sound, time, track) {
            Ok(played) => played,
            Err(error) => {
                track.counters.undecoded.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "sound not decoded");
                let frame = decoder.conceal(time).unwrap_or_else(|_| AudioFrame::silence(Channels::Mono, time));
                (frame, Playout::Concealed)
            }
        };
        time = MediaTime(time.0 + frame.length() as u64);
        deliver(track, frame, playout);
    }
}

fn play(
    decoder: &mut dyn AudioDecoder,
    sound: Sound,
    time: MediaTime,
    track: &TrackInner,
) -> Result<(AudioFrame, Playout), DecodeError> {
    let counters = &track.counters;
    match sound {
        Sound::Frame(frame) => {
            let decoded = decoder.decode(&frame.frame.payload, time)?;
            counters.decoded.fetch_add(1, Ordering::Relaxed);
            Ok((decoded, Playout::Decoded))
        }
        Sound::Recover(next) => {
            counters.concealed.fetch_add(1, Ordering::Relaxed);
            counters.recovered.fetch_add(1, Ordering::Relaxed);
            Ok((decoder.decode_fec(&next, time)?, Playout::Recovered))
        }
        Sound::Conceal => {
            counters.concealed.fetch_add(1, Ordering::Relaxed);
            Ok((decoder.conceal(time)?, Playout::Concealed))
        }
        Sound::Silence => Ok((AudioFrame::silence(Channels::Mono, time), Playout::Silence)),
    }
}

/// Delivers in frames of 20 ms, though a packet may hold more.
fn deliver(track: &TrackInner, frame: AudioFrame, playout: Playout) {
    if frame.length() <= FRAME_SAMPLES {
        track.deliver_sound(&PlayedAudio { frame, playout });
        return;
    }
    let width = frame.channels.count();
    for (index, samples) in frame.samples.chunks(FRAME_SAMPLES * width).enumerate() {
        let time = MediaTime(frame.time.0 + (index * FRAME_SAMPLES) as u64);
        let frame = AudioFrame { time, channels: frame.channels, samples: samples.to_vec() };
        track.deliver_sound(&PlayedAudio { frame, playout });
    }
}
