//! What a guest saw, heard and was told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use segue::{PlayedAudio, Playout, Reliability, RoomEvent, TrackKind, VideoFrame};
use segue_codec::counter;
use segue_codec::source::{detect_tone, tone_frequency};

/// Samples in which a tone is looked for: 100 ms.
const WINDOW: usize = 4_800;

/// Tones of neighbours lie this many steps apart, so that no voice is taken for another.
const TONE_STEPS: u32 = 4;

/// The number drawn into a guest's pictures.
#[must_use]
pub const fn picture_source(index: u16) -> u16 {
    index + 100
}

/// The place of a guest's tone among all tones.
#[must_use]
pub const fn tone_index(index: u16) -> u32 {
    index as u32 * TONE_STEPS
}

/// What one guest knows. Shared with the tasks that write it.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Notes>>);

/// By identity of the one seen or heard.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Pictures.
    pub seen: BTreeMap<String, Seen>,
    /// Sound.
    pub heard: BTreeMap<String, Heard>,
    /// Everything the room told.
    pub events: Vec<RoomEvent>,
}

/// Pictures of somebody.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Pictures whose number was greater than that of the one before.
    pub pictures: u64,
    /// Number of the last one.
    pub last: Option<u32>,
    /// Pictures shown before.
    pub repeated: u64,
    /// Pictures older than the last.
    pub backwards: u64,
    /// Pictures whose number could not be read.
    pub unreadable: u64,
    /// Pictures of somebody else.
    pub strange: u64,
    /// Width of the last one.
    pub width: u32,
}

/// Sound of somebody.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Windows of decoded sound with the tone of its sender.
    pub tones: u64,
    /// Windows of decoded sound without it.
    pub others: u64,
    /// Frames decoded.
    pub decoded: u64,
    /// Frames rebuilt.
    pub recovered: u64,
    /// Frames made up.
    pub concealed: u64,
    /// Frames of silence.
    pub silent: u64,
    window: Vec<i16>,
}

impl Log {
    /// The notes as they are.
    #[must_use]
    pub fn notes(&self) -> Notes {
        self.lock().clone()
    }

    /// Pictures seen and tones heard of somebody so far.
    #[must_use]
    pub fn progress(&self, identity: &str) -> (u64, u64) {
        let notes = self.lock();
        let pictures = notes.seen.get(identity).map_or(0, |seen| seen.pictures);
        (pictures, notes.heard.get(identity).map_or(0, |heard| heard.tones))
    }

    /// Something of every event that `pick` finds something in.
    #[must_use]
    pub fn find<T>(&self, pick: impl FnMut(&RoomEvent) -> Option<T>) -> Vec<T> {
        self.lock().events.iter().filter_map(pick).collect()
    }

    /// Messages of a topic, in the order they came.
    #[must_use]
    pub fn messages(&self, topic: &str, reliability: Reliability) -> Vec<Bytes> {
        self.find(|event| match event {
            RoomEvent::DataReceived { topic: found, payload, reliability: how, .. }
                if found == topic && *how == reliability =>
            {
                Some(payload.clone())
            }
            _ => None,
        })
    }

    pub(crate) fn note_event(&self, event: RoomEvent) {
        self.lock().events.push(event);
    }

    /// Another track may count from the beginning.
    pub(crate) fn note_track(&self, identity: &str, kind: TrackKind) {
        if kind == TrackKind::Video {
            self.lock().seen.entry(identity.to_owned()).or_default().last = None;
        }
    }

    pub(crate) fn note_picture(&self, identity: &str, index: u16, frame: &VideoFrame) {
        let read = counter::read(&frame.picture);
        let mut notes = self.lock();
        let seen = notes.seen.entry(identity.to_owned()).or_default();
        seen.width = frame.picture.width();
        match read {
            None => seen.unreadable += 1,
            Some((source, _)) if source != picture_source(index) => seen.strange += 1,
            Some((_, number)) => seen.note(number),
        }
    }

    pub(crate) fn note_sound(&self, identity: &str, index: u16, sound: &PlayedAudio) {
        self.lock().heard.entry(identity.to_owned()).or_default().note(index, sound);
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn note(&mut self, number: u32) {
        match self.last {
            Some(last) if number == last => self.repeated += 1,
            Some(last) if number < last => self.backwards += 1,
            _ => {
                self.pictures += 1;
                self.last = Some(number);
            }
        }
    }
}

impl Heard {
    /// Only sound that was sent is judged: a window ends where something was made up.
    fn note(&mut self, index: u16, sound: &PlayedAudio) {
        match sound.playout {
            Playout::Decoded => self.decoded += 1,
            Playout::Recovered => self.recovered += 1,
            Playout::Concealed => self.concealed += 1,
            Playout::Silence => self.silent += 1,
        }
        if sound.playout != Playout::Decoded {
            self.window.clear();
            return;
        }
        self.window.extend_from_slice(&sound.samples);
        if self.window.len() >= WINDOW {
            if detect_tone(&self.window, tone_frequency(tone_index(index))) {
                self.tones += 1;
            } else {
                self.others += 1;
            }
            self.window.clear();
        }
    }
}
