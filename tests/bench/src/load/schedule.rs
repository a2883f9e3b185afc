//! When which packet of a publisher is due: the same for the relay and for the floor it is compared with.

use std::time::Duration;

/// Packets of a video frame: 1.5 Mbit/s at 30 frames a second in packets of about a kilobyte.
pub const PACKETS_PER_FRAME: u32 = 6;

/// Frames a second where nothing limits them.
pub const FRAME_RATE: f64 = 30.0;

/// Audio packets a second: Opus frames of 20 ms.
pub const AUDIO_RATE: f64 = 50.0;

/// Bytes of a video datagram, SRTP included.
pub const VIDEO_BYTES: usize = 1_041;

/// Bytes of an audio datagram, SRTP included: 32 kbit/s.
pub const AUDIO_BYTES: usize = 120;

/// How the packets of a frame are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// Evenly over the frame interval, as a pacer sends them.
    Even,
    /// At once, as an encoder gives them.
    Burst,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Packets of a video frame, from the first to before the last.
    Video {
        /// Of which frame.
        frame: u32,
        /// Its first packet that is due now.
        from: u32,
        /// The one after the last that is due now.
        to: u32,
    },
    /// One audio packet.
    Audio,
}

/// What a publisher sends.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Programme {
    /// How frames are spread.
    pub pace: Pace,
    /// Video frames a second.
    pub frame_rate: f64,
    /// It speaks, too.
    pub audio: bool,
}

/// The packets of one publisher.
#[derive(Clone, Debug)]
pub struct Schedule {
    programme: Programme,
    /// Where in a frame interval this publisher begins, so that those of a room do not send at one time.
    phase: f64,
    frame: u32,
    packet: u32,
    audio: u32,
}

/// Frames a second at which `legs` receivers get at most `limit` packets a second in all.
#[must_use]
pub fn frame_rate(legs: usize, limit: f64) -> f64 {
    let per_leg = limit / legs.max(1) as f64 - AUDIO_RATE;
    (per_leg / f64::from(PACKETS_PER_FRAME)).clamp(1.0, FRAME_RATE)
}

impl Schedule {
    /// Of publisher `index` of `count`.
    #[must_use]
    pub fn new(programme: Programme, index: usize, count: usize) -> Self {
        Self { programme, phase: index as f64 / count.max(1) as f64, frame: 0, packet: 0, audio: 0 }
    }

    /// When something is due next, since the beginning.
    #[must_use]
    pub fn next_at(&self) -> Duration {
        Duration::from_secs_f64(self.video_at().min(self.audio_at()))
    }

    fn video_at(&self) -> f64 {
        let within = f64::from(self.packet) / f64::from(PACKETS_PER_FRAME);
        (f64::from(self.frame) + within + self.phase) / self.programme.frame_rate
    }

    fn audio_at(&self) -> f64 {
        if self.programme.audio { (f64::from(self.audio) + self.phase) / AUDIO_RATE } else { f64::INFINITY }
    }

    /// What is due next, and the one after it becomes the next.
    pub fn pop(&mut self) -> Due {
        if self.audio_at() <= self.video_at() {
            self.audio += 1;
            return Due::Audio;
        }
        let (frame, from) = (self.frame, self.packet);
        let to = match self.programme.pace {
            Pace::Even => from + 1,
            Pace::Burst => PACKETS_PER_FRAME,
        };
        self.packet = to % PACKETS_PER_FRAME;
        self.frame += to / PACKETS_PER_FRAME;
        Due::Video { frame, from, to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(pace: Pace, rate: f64) -> (u32, u32, u32) {
        let mut schedule = Schedule::new(Programme { pace, frame_rate: rate, audio: true }, 1, 4);
        let (mut video, mut audio, mut calls) = (0, 0, 0);
        let mut last = Duration::ZERO;
        while schedule.next_at() < Duration::from_secs(10) {
            assert!(schedule.next_at() >= last);
            last = schedule.next_at();
            match schedule.pop() {
                Due::Video { from, to, .. } => video += to - from,
                Due::Audio => audio += 1,
            }
            calls += 1;
        }
        (video, audio, calls)
    }

    #[test]
    fn both_paces_send_the_same_packets() {
        assert_eq!(count(Pace::Even, 30.0), (1_799, 500, 2_299));
        assert_eq!(count(Pace::Burst, 30.0), (1_800, 500, 800));
    }

    #[test]
    fn the_frame_rate_keeps_the_limit() {
        assert_eq!(frame_rate(10, 20_000.0), 30.0);
        assert_eq!(frame_rate(100, 20_000.0), 25.0);
        assert_eq!(frame_rate(1_000, 20_000.0), 1.0);
    }
}
