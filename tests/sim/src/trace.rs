//! What happened: a hash of all of it, and the last of it in words.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Instant;

use segue_media::packet::RtpPacket;
use segue_session::peer::PeerEvent;

use crate::net::End;
use crate::rng::mix;

/// Lines kept for a failure's report.
const LINES: usize = 60;

/// A record of a run.
#[derive(Debug)]
pub struct Trace {
    base: Instant,
    hash: u64,
    lines: VecDeque<String>,
    /// Everything in words, where somebody wants to draw it.
    pub full: Option<Vec<(f64, String)>>,
}

impl Trace {
    pub fn new(base: Instant) -> Self {
        Self { base, hash: 0, lines: VecDeque::new(), full: None }
    }

    /// The same for two runs in which the same happened.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    fn add(&mut self, now: Instant, word: u64) {
        let nanos = now.saturating_duration_since(self.base).as_nanos() as u64;
        self.hash = mix(self.hash ^ nanos).wrapping_add(word);
    }

    pub fn line(&mut self, now: Instant, line: impl FnOnce() -> String) {
        let line = line();
        let word =
            line.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        self.add(now, word);
        let time = now.saturating_duration_since(self.base).as_secs_f64();
        if let Some(full) = &mut self.full {
            full.push((time, line.clone()));
        }
        self.lines.push_back(format!("{time:>10.4} {line}"));
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }

    pub fn packet(&mut self, now: Instant, session: u64, packet: &RtpPacket) {
        let header = &packet.header;
        self.add(now, session << 32 ^ u64::from(header.ssrc.0) << 16 ^ u64::from(header.sequence.0));
    }

    pub fn frame(&mut self, now: Instant, end: End, frame: &impl Debug) {
        // Only what matters of a frame is worth a line: candidates and acknowledgements are not.
        let text = format!("{frame:?}");
        if text.contains("sdp:") || text.contains("Ping") || text.contains("Pong") || text.contains("message: None") {
            self.add(now, text.len() as u64);
        } else {
            self.line(now, || format!("{end:?} {text}"));
        }
    }

    pub fn event(&mut self, now: Instant, _at: usize, name: &str, event: &PeerEvent) {
        if !matches!(event, PeerEvent::SpeakersChanged(_)) {
            self.line(now, || format!("{name}: {event:?}"));
        }
    }
}
