//! Packets that carry their own story: when they were sent, by whom, and whether they count.

use std::time::{SystemTime, UNIX_EPOCH};

use segue_media::packet::{AudioLevel, ExtensionMap, Extensions, Label, RtpHeader};
use segue_model::{ExtSeq, SeqNo, Ssrc};
use segue_srtp::{RTP_OVERHEAD, SrtpSender};

use super::offer::{H264, OPUS};
use super::schedule::{AUDIO_BYTES, VIDEO_BYTES};

/// Type of a fragment (RFC 6184 section 5.8) and of a slice of a keyframe and of another frame.
const FU_A: u8 = 0x7c;
const IDR: u8 = 5;
const SLICE: u8 = 1;

/// Bytes before the story in every payload: the fragment's header, or what stands for Opus.
const HEAD: usize = 2;

/// Opus in mono at 20 ms (RFC 6716 section 3.1).
const OPUS_HEAD: [u8; HEAD] = [0x78, 0];

/// Loudness of our voice, -dBov.
const LEVEL: u8 = 20;

/// What a payload tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Story {
    /// Nanoseconds since 1970.
    pub sent: u64,
    /// It counts.
    pub measured: bool,
}

/// Bytes of a story.
const STORY: usize = 9;

impl Story {
    /// Reads a payload.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let bytes = payload.get(HEAD..HEAD + STORY)?;
        let (sent, rest) = bytes.split_first_chunk()?;
        Some(Self { sent: u64::from_be_bytes(*sent), measured: rest.first() == Some(&1) })
    }

    /// Writes itself where [`Story::read`] looks.
    pub fn write(self, payload: &mut [u8]) {
        if let Some(bytes) = payload.get_mut(HEAD..HEAD + STORY) {
            bytes[..8].copy_from_slice(&self.sent.to_be_bytes());
            bytes[8] = u8::from(self.measured);
        }
    }
}

/// Nanoseconds since 1970: what the kernel stamps arrivals with.
#[must_use]
pub fn wallclock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// One outgoing stream.
#[derive(Debug)]
pub struct Stream {
    ssrc: Ssrc,
    payload_type: u8,
    next: u64,
    mid: Option<Label>,
    audio: bool,
}

/// A frame's place of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The frame's, in the media's clock.
    pub timestamp: u32,
    /// First packet of its frame.
    pub first: bool,
    /// Last packet of its frame.
    pub last: bool,
    /// The frame is a keyframe.
    pub keyframe: bool,
}

impl Stream {
    /// Audio or video, under this SSRC.
    #[must_use]
    pub fn new(ssrc: u32, audio: bool) -> Self {
        let (payload_type, mid) = if audio { (OPUS, "0") } else { (H264, "1") };
        Self { ssrc: Ssrc(ssrc), payload_type, next: 1, mid: Label::new(mid), audio }
    }

    /// Writes and seals the next packet.
    pub fn write(
        &mut self,
        map: &ExtensionMap,
        seal: &mut SrtpSender,
        place: Place,
        story: Story,
        transport_cc: Option<u16>,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        let audio_level = self.audio.then_some(AudioLevel { level: LEVEL, voice: true });
        let extensions = Extensions { audio_level, mid: self.mid, transport_cc, ..Extensions::default() };
        let header = RtpHeader {
            marker: place.last,
            payload_type: self.payload_type,
            sequence: SeqNo(self.next as u16),
            timestamp: place.timestamp,
            ssrc: self.ssrc,
            extensions,
        };
        header.write(map, false, out);
        let head = out.len();
        let bytes = if self.audio { AUDIO_BYTES } else { VIDEO_BYTES };
        out.resize(bytes - RTP_OVERHEAD, 0x5a);
        let payload = out.get_mut(head..).unwrap_or_default();
        if let Some(start) = payload.get_mut(..HEAD) {
            let unit = if place.keyframe { IDR } else { SLICE };
            let fragment = unit | if place.first { 0x80 } else { 0 } | if place.last { 0x40 } else { 0 };
            start.copy_from_slice(&if self.audio { OPUS_HEAD } else { [FU_A, fragment] });
        }
        story.write(payload);
        let index = ExtSeq(self.next);
        self.next += 1;
        // Numbers only count up, so nothing is refused.
        let _ = seal.seal_rtp_vec(index, out);
    }

    /// The SSRC.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        self.ssrc.0
    }

    /// Packets written so far.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.next - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_tells_its_story() {
        let story = Story { sent: 17, measured: true };
        let mut payload = [0; 40];
        story.write(&mut payload);
        assert_eq!(Story::read(&payload), Some(story));
        assert_eq!(Story::read(&payload[..5]), None);
    }
}
