//! What was not played of a track, and when: so that it can be told afterwards what a change of path cost where media is played.
//!
//! Voice is interrupted by frames that were sent and not played; silence of the sender has no frames and interrupts nothing. Pictures are
//! interrupted where one comes later after the one before it than it was captured after that one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_model::TrackKind;

use crate::frame::ReceivedFrame;
use crate::merge::LegId;
use crate::opus;
use crate::receiver::AudioPull;

/// What begins this soon after a change of path counts as its price.
pub const AFTERMATH: Duration = Duration::from_secs(3);

/// What ended this long before a change was noticed still belongs to it: packets are sent on the new path before anybody says so.
const BEFOREHAND: Duration = Duration::from_millis(100);

/// Interruptions kept of a track: of a call that breaks off twice a second, those of the last half minute.
const MAX_KEPT: usize = 64;

/// A later frame number further ahead than this (30 s of voice) says nothing about what is missing in between.
const MAX_AHEAD: u32 = 1_500;

/// Pictures are due when a timer says so: what is late by less is no interruption.
const TOLERANCE: Duration = Duration::from_millis(5);

/// Pictures over which their usual distance is averaged: a screen sends them in pairs.
const MEMORY: u32 = 8;

/// One interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interruption {
    /// When playing went on.
    until: Instant,
    gap: Duration,
    frames: u32,
}

/// What of a track was interrupted near a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupted {
    /// The longest interruption: frames of voice not played in a row, or how much later a picture came than its capture allows.
    pub longest: Duration,
    /// Frames of voice that were not played; 0 for pictures, which may be left out on purpose.
    pub frames: u64,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    at: Instant,
    number: u32,
    time: u64,
    /// Whose numbers and times these are, for a track that each leg numbers for itself.
    leg: Option<LegId>,
}

/// Follows what is played of one track.
#[derive(Debug)]
pub struct InterruptionMeter {
    kind: TrackKind,
    last: Option<Last>,
    /// Frames rebuilt since the last one: they were played.
    rebuilt: u32,
    /// Frames made up since the last one.
    made_up: u32,
    /// From the capture of one picture to that of the next, on average.
    usual: Duration,
    kept: VecDeque<Interruption>,
}

impl InterruptionMeter {
    /// Before anything was played.
    #[must_use]
    pub const fn new(kind: TrackKind) -> Self {
        Self { kind, last: None, rebuilt: 0, made_up: 0, usual: Duration::ZERO, kept: VecDeque::new() }
    }

    /// 20 ms of voice were asked for; `leg` is the one that numbers them, where each leg does so for itself.
    pub fn handle_pull(&mut self, now: Instant, leg: Option<LegId>, pull: &AudioPull) {
        match pull {
            AudioPull::Frame(frame) => self.handle_frame(now, leg, frame),
            AudioPull::Fec { .. } => self.rebuilt = self.rebuilt.saturating_add(1),
            AudioPull::Conceal => self.made_up = self.made_up.saturating_add(1),
            AudioPull::Silence | AudioPull::Wait => {}
        }
    }

    /// A frame is played; `leg` as in [`InterruptionMeter::handle_pull`].
    pub fn handle_frame(&mut self, now: Instant, leg: Option<LegId>, frame: &ReceivedFrame) {
        let next = Last { at: now, number: frame.number, time: frame.frame.time.0, leg };
        let (rebuilt, made_up) = (std::mem::take(&mut self.rebuilt), std::mem::take(&mut self.made_up));
        let Some(last) = self.last.replace(next) else { return };
        let (gap, frames) = match self.kind {
            TrackKind::Audio => {
                let ahead = next.number.wrapping_sub(last.number);
                let follows = last.leg == leg && (1..MAX_AHEAD).contains(&ahead);
                let missing = if follows { (ahead - 1).saturating_sub(rebuilt) } else { made_up };
                (opus::FRAME * missing, missing)
            }
            TrackKind::Video => {
                let ticks = next.time.saturating_sub(last.time) as f64;
                let captured = if last.leg == leg {
                    let exact = Duration::from_secs_f64(ticks / f64::from(self.kind.clock_rate()));
                    self.usual = (self.usual * (MEMORY - 1) + exact) / MEMORY;
                    exact
                } else {
                    // Times of two numberings do not tell how far apart they were captured.
                    self.usual
                };
                let late = now.saturating_duration_since(last.at).saturating_sub(captured);
                (if late > TOLERANCE { late } else { Duration::ZERO }, 0)
            }
        };
        if gap.is_zero() {
            return;
        }
        if self.kept.len() >= MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Interruption { until: now, gap, frames });
    }

    /// What was interrupted by a change at `at`: what began until [`AFTERMATH`] later.
    #[must_use]
    pub fn around(&self, at: Instant) -> Interrupted {
        let near = self.kept.iter().filter(|one| {
            let begun = one.until.checked_sub(one.gap).unwrap_or(one.until);
            one.until + BEFOREHAND >= at && begun <= at + AFTERMATH
        });
        near.fold(Interrupted::default(), |sum, one| Interrupted {
            longest: sum.longest.max(one.gap),
            frames: sum.frames + u64::from(one.frames),
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use segue_model::{LayerId, MediaTime, TrackId};

    use super::*;
    use crate::frame::EncodedFrame;

    fn frame(kind: TrackKind, number: u32, time: u64) -> ReceivedFrame {
        let frame = EncodedFrame {
            kind,
            layer: LayerId::default(),
            time: MediaTime(time),
            keyframe: false,
            discardable: false,
            refers_back: 0,
            audio_level: None,
            payload: Bytes::new(),
        };
        ReceivedFrame { track: TrackId(1), number, timestamp: time as u32, frame }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn voice_is_interrupted_by_frames_that_were_sent_and_neither_played_nor_rebuilt() {
        let base = Instant::now();
        let mut meter = InterruptionMeter::new(TrackKind::Audio);
        let play = |meter: &mut InterruptionMeter, at: u64, number: u32| {
            meter.handle_pull(base + ms(at), None, &AudioPull::Frame(frame(TrackKind::Audio, number, u64::from(number) * 960)));
        };
        play(&mut meter, 0, u32::MAX);
        meter.handle_pull(base + ms(20), None, &AudioPull::Fec { from: Bytes::new() });
        meter.handle_pull(base + ms(40), None, &AudioPull::Conceal);
        meter.handle_pull(base + ms(60), None, &AudioPull::Conceal);
        // Number 0 was rebuilt, 1 and 2 were not.
        play(&mut meter, 80, 3);
        // Silence of the sender and a stretched frame leave no number out.
        meter.handle_pull(base + ms(100), None, &AudioPull::Silence);
        meter.handle_pull(base + ms(120), None, &AudioPull::Conceal);
        play(&mut meter, 140, 4);
        assert_eq!(meter.around(base + ms(50)), Interrupted { longest: ms(40), frames: 2 });
        assert_eq!(meter.around(base + ms(500)), Interrupted::default());
    }

    #[test]
    fn another_numbering_is_judged_by_what_was_made_up() {
        let base = Instant::now();
        let mut meter = InterruptionMeter::new(TrackKind::Audio);
        let (old, new) = (Some(LegId(1)), Some(LegId(2)));
        meter.handle_pull(base, old, &AudioPull::Frame(frame(TrackKind::Audio, 7, 0)));
        meter.handle_pull(base + ms(20), old, &AudioPull::Conceal);
        meter.handle_pull(base + ms(40), new, &AudioPull::Frame(frame(TrackKind::Audio, 400, 1_920)));
        assert_eq!(meter.around(base), Interrupted { longest: ms(20), frames: 1 });
        let mut meter = InterruptionMeter::new(TrackKind::Video);
        for number in 0..100 {
            let time = u64::from(number);
            meter.handle_frame(base + ms(time * 40), old, &frame(TrackKind::Video, number, time * 3_600));
        }
        meter.handle_frame(base + ms(99 * 40 + 110), new, &frame(TrackKind::Video, 900, 77));
        assert_eq!(meter.around(base + ms(3_960)).longest.as_millis(), 70);
    }

    #[test]
    fn a_picture_interrupts_by_what_it_is_later_than_its_capture() {
        let base = Instant::now();
        let mut meter = InterruptionMeter::new(TrackKind::Video);
        meter.handle_frame(base, None, &frame(TrackKind::Video, 1, 0));
        // A picture of a slow screen: captured a second later, shown a second later.
        meter.handle_frame(base + ms(1_002), None, &frame(TrackKind::Video, 2, 90_000));
        assert_eq!(meter.around(base), Interrupted::default());
        meter.handle_frame(base + ms(1_200), None, &frame(TrackKind::Video, 3, 93_600));
        assert_eq!(meter.around(base).longest, ms(158));
        assert_eq!(meter.around(base + ms(1_500)).longest, Duration::ZERO, "it was over before");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let base = Instant::now();
        let mut meter = InterruptionMeter::new(TrackKind::Video);
        for number in 0..1_000_u32 {
            meter.handle_frame(base + ms(u64::from(number) * 500), None, &frame(TrackKind::Video, number, 0));
        }
        assert_eq!(meter.kept.len(), MAX_KEPT);
    }
}
