//! What was played of one track at one participant.

use std::time::{Duration, Instant};

use segue_media::frame::ReceivedFrame;
use segue_media::merge::MergeOutcome;
use segue_media::receiver::AudioPull;

/// Bytes of a frame's index in its payload.
pub const INDEX_LEN: usize = 5;

/// Writes a frame's index so that nothing in it looks like a start code.
pub fn write_index(index: u64, to: &mut [u8]) {
    to.iter_mut().enumerate().for_each(|(at, byte)| *byte = 0x80 | ((index >> (7 * at)) & 0x7f) as u8);
}

fn read_index(from: &[u8]) -> u64 {
    from.iter().take(INDEX_LEN).enumerate().fold(0, |index, (at, byte)| index | (u64::from(byte & 0x7f) << (7 * at)))
}

/// One frame that was played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// By the player's clock.
    pub at: Instant,
    /// Which of its source's frames.
    pub index: u64,
    /// Rebuilt from the redundancy of the frame after it.
    pub rebuilt: bool,
    pub keyframe: bool,
    /// Of its payload; 0 for one that was rebuilt.
    pub bytes: u32,
}

/// Time for which there was nothing to play of a source that was not silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// When it ended, by the player's clock.
    pub until: Instant,
    /// Pulls of 20 ms.
    pub pulls: u32,
}

/// Everything played of a track.
#[derive(Debug, Default)]
pub struct Played {
    record: bool,
    muted: bool,
    /// All of them, where that was asked for.
    pub frames: Vec<Frame>,
    pub last: Option<Frame>,
    /// Frames played.
    pub count: u64,
    /// Second copies dropped by the merge.
    pub duplicates: u64,
    pub first: Option<Instant>,
    pub keyframes_asked: Vec<Instant>,
    pub concealed: Duration,
    /// All of them, where that was asked for: a stretched frame is one of one pull.
    pub holes: Vec<Hole>,
    hole: u32,
    /// Frames played twice or out of order: never.
    pub doubled: u64,
}

impl Played {
    pub fn new(record: bool) -> Self {
        Self { record, ..Self::default() }
    }

    pub fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    pub fn is_muted(&self) -> bool {
        self.muted
    }

    pub fn arrived(&mut self, outcome: MergeOutcome) {
        self.duplicates += u64::from(outcome == MergeOutcome::Duplicate);
    }

    pub fn keyframe_asked(&mut self, now: Instant) {
        self.keyframes_asked.push(now);
    }

    pub fn pulled(&mut self, now: Instant, pull: &AudioPull) {
        match pull {
            AudioPull::Conceal => {
                self.concealed += Duration::from_millis(20);
                self.hole += 1;
            }
            AudioPull::Silence if self.hole > 0 => self.hole += 1,
            AudioPull::Fec { from } => {
                let index = read_index(&from[1..]).saturating_sub(1);
                self.note(Frame { at: now, index, rebuilt: true, keyframe: false, bytes: 0 });
            }
            AudioPull::Frame(_) | AudioPull::Silence | AudioPull::Wait => {}
        }
    }

    pub fn audio_frame(&mut self, now: Instant, frame: &ReceivedFrame) {
        let index = read_index(&frame.frame.payload[1..]);
        let bytes = frame.frame.payload.len() as u32;
        self.note(Frame { at: now, index, rebuilt: false, keyframe: false, bytes });
    }

    pub fn video_frame(&mut self, now: Instant, frame: &ReceivedFrame) {
        let index = read_index(&frame.frame.payload[5..]);
        let bytes = frame.frame.payload.len() as u32;
        self.note(Frame { at: now, index, rebuilt: false, keyframe: frame.frame.keyframe, bytes });
    }

    fn note(&mut self, frame: Frame) {
        if self.last.is_some_and(|last| frame.index <= last.index) {
            self.doubled += 1;
        }
        self.first.get_or_insert(frame.at);
        self.last = Some(frame);
        self.count += 1;
        let pulls = std::mem::take(&mut self.hole);
        if self.record {
            if pulls > 0 {
                self.holes.push(Hole { until: frame.at, pulls });
            }
            self.frames.push(frame);
        }
    }
}
