//! What one participant played of another's track, as it was played.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use segue::{Playout, RemoteTrack, TrackKind};
use segue_codec::audio::FRAME_SAMPLES;
use segue_codec::counter;
use tokio::task::JoinHandle;

/// 20 ms of sound.
#[derive(Clone, Copy, Debug)]
pub struct Sound {
    pub at: Instant,
    /// RTP timestamp.
    pub timestamp: u32,
    pub playout: Playout,
}

/// Everything played of one track.
#[derive(Debug)]
pub struct Played {
    pub kind: TrackKind,
    pub track: u16,
    pub sounds: Vec<Sound>,
    /// Samples of all of them.
    pub samples: Vec<i16>,
    /// When each picture was there to be shown, and its number.
    pub pictures: Vec<(Instant, u32)>,
    /// Pictures that could not be read or were somebody else's.
    pub strange: u64,
}

/// By speaker and kind.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<BTreeMap<(usize, TrackKind), Played>>>);

impl Record {
    /// Looks at what was played.
    pub fn read<T>(&self, with: impl FnOnce(&BTreeMap<(usize, TrackKind), Played>) -> T) -> T {
        with(&self.lock())
    }

    /// Writes down what is played of a track until it ends.
    #[must_use]
    pub fn follow(&self, speaker: usize, track: &RemoteTrack) -> JoinHandle<()> {
        let key = (speaker, track.kind());
        let empty = Played {
            kind: track.kind(),
            track: track.id().0,
            sounds: Vec::new(),
            samples: Vec::new(),
            pictures: Vec::new(),
            strange: 0,
        };
        self.lock().insert(key, empty);
        let (record, track) = (self.clone(), track.clone());
        match track.kind() {
            TrackKind::Audio => tokio::spawn(async move {
                let mut sounds = track.audio_frames();
                while let Some(sound) = sounds.next().await {
                    let at = Instant::now();
                    let mut record = record.lock();
                    let Some(played) = record.get_mut(&key).filter(|_| sound.samples.len() == FRAME_SAMPLES) else { continue };
                    played.sounds.push(Sound { at, timestamp: sound.time.wire(), playout: sound.playout });
                    played.samples.extend_from_slice(&sound.samples);
                }
            }),
            TrackKind::Video => tokio::spawn(async move {
                let mut pictures = track.video_frames();
                while let Some(picture) = pictures.next().await {
                    let at = Instant::now();
                    let read = counter::read(&picture.picture).filter(|(source, _)| usize::from(*source) == speaker);
                    let mut record = record.lock();
                    let Some(played) = record.get_mut(&key) else { continue };
                    match read {
                        Some((_, number)) => played.pictures.push((at, number)),
                        None => played.strange += 1,
                    }
                }
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(usize, TrackKind), Played>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
