//! Keyframes: where they begin, and how often they are asked for.

use std::time::{Duration, Instant};

/// At most one keyframe request per source and encoding leaves in this time: newcomers that arrive together share one keyframe.
pub const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// Whether an H.264 payload (RFC 6184 section 5.4) begins a keyframe. Only for publishers without origin: with it the packet says so.
/// Senders put the parameter sets in front of the picture, so the first packet of a keyframe is the one that holds an SPS; an
/// IDR picture without one begins it too.
pub(crate) fn begins_h264_keyframe(payload: &[u8]) -> bool {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let kind = |byte: u8| byte & 0x1f;
    let begins = |unit: u8| unit == SPS || unit == IDR;
    match payload {
        [first, rest @ ..] if kind(*first) == STAP_A => {
            let mut rest = rest;
            while let [high, low, unit, ..] = rest {
                if begins(kind(*unit)) {
                    return true;
                }
                let size = usize::from(u16::from_be_bytes([*high, *low]));
                rest = rest.get(2 + size..).unwrap_or(&[]);
            }
            false
        }
        [first, fragment, ..] if kind(*first) == FU_A => fragment & 0x80 != 0 && begins(kind(*fragment)),
        [first, ..] => begins(kind(*first)),
        [] => false,
    }
}

/// Merges the requests of all subscribers for one encoding.
#[derive(Debug, Default)]
pub(crate) struct KeyframeRequests {
    sent_at: Option<Instant>,
    pending: bool,
}

impl KeyframeRequests {
    pub(crate) const fn new() -> Self {
        Self { sent_at: None, pending: false }
    }

    /// Whether a request waits.
    pub(crate) const fn is_pending(&self) -> bool {
        self.pending
    }

    /// A subscriber needs a keyframe.
    pub(crate) const fn request(&mut self) {
        self.pending = true;
    }

    /// A keyframe began: whoever asked before has it.
    pub(crate) const fn satisfy(&mut self) {
        self.pending = false;
    }

    /// Whether a request leaves now.
    pub(crate) fn poll(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|due| due <= now) || (self.pending && self.sent_at.is_none());
        if due {
            self.pending = false;
            self.sent_at = Some(now);
        }
        due
    }

    /// When the waiting request may leave; `None` where none waits or it may leave at once.
    pub(crate) fn due(&self) -> Option<Instant> {
        if !self.pending {
            return None;
        }
        self.sent_at.map(|at| at + KEYFRAME_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h264_keyframes_are_seen_in_every_packet_form() {
        assert!(begins_h264_keyframe(&[0x67, 1, 2]));
        assert!(begins_h264_keyframe(&[0x65, 1]));
        assert!(begins_h264_keyframe(&[0x78, 0, 2, 0x67, 1, 0, 1, 0x68]));
        assert!(begins_h264_keyframe(&[0x78, 0, 2, 0x09, 1, 0, 1, 0x65]));
        assert!(begins_h264_keyframe(&[0x7c, 0x85, 0]));
        assert!(!begins_h264_keyframe(&[0x7c, 0x05, 0]));
        assert!(!begins_h264_keyframe(&[0x7c, 0x81, 0]));
        assert!(!begins_h264_keyframe(&[0x41, 0x9a]));
        assert!(!begins_h264_keyframe(&[0x78, 0xff, 0xff, 0x01]));
        assert!(!begins_h264_keyframe(&[]));
    }

    #[test]
    fn one_request_per_interval() {
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        assert!(!requests.poll(start));
        requests.request();
        requests.request();
        assert!(requests.poll(start));
        assert!(!requests.poll(start));
        requests.request();
        assert!(!requests.poll(start + Duration::from_millis(499)));
        assert_eq!(requests.due(), Some(start + KEYFRAME_INTERVAL));
        assert!(requests.poll(start + KEYFRAME_INTERVAL));
        requests.request();
        requests.satisfy();
        assert!(!requests.poll(start + KEYFRAME_INTERVAL * 3));
    }
}
