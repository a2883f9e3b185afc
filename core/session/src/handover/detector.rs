//! When one source is heard on a path.

use segue_media::packet::Origin;
use segue_model::{LayerId, TrackKind};

/// Of the last so many audio packets (200 ms) ..
const AUDIO_WINDOW: u32 = 10;

/// .. this many must have come: a path that loses a fifth is still a path.
const AUDIO_NEEDED: u32 = 8;

/// Video frames watched at once: three encodings with a few layers each in flight.
const MAX_FRAMES: usize = 16;

/// A frame of which not every packet came yet.
#[derive(Clone, Copy, Debug)]
struct Partial {
    layer: LayerId,
    frame: u32,
    first: Option<u32>,
    last: Option<u32>,
    /// Distinct packets; a leg's own duplicates are rare and only make this late by a frame if they are counted once too often.
    seen: u32,
}

/// Watches one source on one path: 8 of the last 10 audio packets or probes, or one complete video frame.
#[derive(Clone, Debug)]
pub struct Detector {
    kind: TrackKind,
    media: Window,
    probes: Window,
    partial: Vec<Partial>,
    ready: bool,
}

/// Which of the last numbers came.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    highest: u32,
    /// Bit n: `highest - n` came.
    bits: u32,
}

impl Window {
    fn insert(&mut self, number: u32) {
        let ahead = number.wrapping_sub(self.highest) as i32;
        if self.bits == 0 {
            (self.highest, self.bits) = (number, 1);
        } else if ahead > 0 {
            self.bits = self.bits.checked_shl(ahead.unsigned_abs()).unwrap_or(0) | 1;
            self.highest = number;
        } else {
            self.bits |= 1u32.checked_shl(ahead.unsigned_abs()).unwrap_or(0);
        }
    }

    fn is_full(self) -> bool {
        (self.bits & ((1 << AUDIO_WINDOW) - 1)).count_ones() >= AUDIO_NEEDED
    }
}

impl Detector {
    /// Nothing heard yet.
    #[must_use]
    pub fn new(kind: TrackKind) -> Self {
        Self { kind, media: Window::default(), probes: Window::default(), partial: Vec::new(), ready: false }
    }

    /// The source is heard well enough.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// A packet came. Gives whether the source is ready now.
    pub fn handle_packet(&mut self, origin: &Origin) -> bool {
        if self.ready {
            return true;
        }
        self.ready = if origin.flags.probe {
            self.probes.insert(origin.packet);
            self.probes.is_full()
        } else if self.kind == TrackKind::Audio {
            self.media.insert(origin.packet);
            self.media.is_full()
        } else {
            self.handle_video(origin)
        };
        if self.ready {
            self.partial = Vec::new();
        }
        self.ready
    }

    /// A frame's packets have consecutive numbers between the one flagged first and the one flagged last.
    fn handle_video(&mut self, origin: &Origin) -> bool {
        let at = self.partial.iter().position(|partial| partial.frame == origin.frame && partial.layer == origin.layer);
        let mut partial = match at {
            Some(at) => self.partial.swap_remove(at),
            None => Partial { layer: origin.layer, frame: origin.frame, first: None, last: None, seen: 0 },
        };
        partial.seen += 1;
        if origin.flags.first {
            partial.first = Some(origin.packet);
        }
        if origin.flags.last {
            partial.last = Some(origin.packet);
        }
        let complete = match (partial.first, partial.last) {
            (Some(first), Some(last)) => partial.seen > last.wrapping_sub(first),
            _ => false,
        };
        if self.partial.len() >= MAX_FRAMES {
            self.partial.remove(0);
        }
        self.partial.push(partial);
        complete
    }
}
