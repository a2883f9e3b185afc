//! Sources: encoders without codecs. Frames of the right size at the right time, with a number in them.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_media::frame::EncodedFrame;
use segue_media::packet::{AudioLevel, MediaPacket, Origin};
use segue_media::source::{ProbeTimer, SourceSender};
use segue_model::{DataRate, EncodingId, LayerId, MediaTime, TrackId, TrackKind, TrackSource};
use segue_session::peer::{EncodingInfo, LegKey, PublishRequest, RouteLeg};

use crate::played::{INDEX_LEN, write_index};
use crate::rng::{hash, unit, unmix};

/// Distance of audio frames.
pub const AUDIO_FRAME: Duration = Duration::from_millis(20);

/// Of voice, where nothing is said.
const AUDIO_KBPS: u64 = 32;

/// A keyframe is so many times the size of another frame.
const KEYFRAME_FACTOR: u64 = 5;

/// First byte of an Opus packet of 20 ms (RFC 6716 section 3.1: hybrid, fullband, one frame).
const OPUS_20_MS: u8 = 0x78;

/// Frames whose first packet is remembered, of all encodings: no retransmission asks for older ones.
const MAX_FIRSTS: usize = 256;

/// What is published.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    pub kind: TrackKind,
    pub source: TrackSource,
    /// Frames a second; 50 for audio.
    pub fps: u32,
    /// Of each encoding, largest first; one for audio.
    pub kbps: Vec<u64>,
    /// Nothing is sent in pauses of speech.
    pub dtx: bool,
    pub muted: bool,
}

impl SourceSpec {
    pub fn request(&self) -> PublishRequest {
        let video = self.kind == TrackKind::Video;
        let encoding = |(index, kbps): (usize, &u64)| EncodingInfo {
            rid: EncodingId(index as u8).rid().to_owned(),
            width: 1280 >> index,
            height: 720 >> index,
            max_kbps: *kbps as u32,
        };
        PublishRequest {
            kind: self.kind,
            source: self.source,
            name: String::new(),
            muted: self.muted,
            encodings: if video { self.kbps.iter().enumerate().map(encoding).collect() } else { Vec::new() },
        }
    }

    pub fn interval(&self) -> Duration {
        if self.kind == TrackKind::Audio { AUDIO_FRAME } else { Duration::from_secs(1) / self.fps.max(1) }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Rung {
    active: bool,
    /// What its encoder was told to make, where it was told.
    rate: Option<DataRate>,
    wants_keyframe: bool,
    /// Frames since the last keyframe.
    since_keyframe: u64,
    keyframes: u64,
}

/// A published track.
pub struct Publication {
    pub spec: SourceSpec,
    pub track: TrackId,
    sender: SourceSender,
    seed: u64,
    begun: Instant,
    /// Frames since the beginning, whether sent or not.
    pub index: u64,
    rungs: Vec<Rung>,
    pub routes: Vec<RouteLeg>,
    /// Legs that bear no picture now.
    paused: BTreeSet<LegKey>,
    probe: ProbeTimer,
    /// The first packet of the latest frames: encoding, number of the frame, number of the packet.
    firsts: VecDeque<(LayerId, u32, u32)>,
}

/// The seed of a source whose timestamps, and for sound whose numbers of packets, begin anew so long after its first frame.
pub fn seed_that_rolls_over(track: TrackId, spec: &SourceSpec, after: Duration) -> u64 {
    let frames = (after.as_nanos() / spec.interval().as_nanos()) as u32;
    let ticks = (after.as_nanos() * u128::from(spec.kind.clock_rate()) / 1_000_000_000) as u32;
    let packets = if spec.kind == TrackKind::Audio { frames } else { 0 };
    // How `SourceSender` takes its first numbers from its seed, backwards.
    unmix(u64::from(packets.wrapping_neg()) << 32 | u64::from(ticks.wrapping_neg())) ^ u64::from(track.0)
}

impl Publication {
    /// Begins to run at the next multiple of its interval.
    pub fn new(now: Instant, spec: SourceSpec, track: TrackId, seed: u64) -> Self {
        let sender = SourceSender::new(track, spec.kind, seed);
        let rungs = vec![Rung::default(); spec.kbps.len().max(1)];
        Self {
            spec,
            track,
            sender,
            seed,
            begun: now,
            index: 0,
            rungs,
            routes: Vec::new(),
            paused: BTreeSet::new(),
            probe: ProbeTimer::default(),
            firsts: VecDeque::new(),
        }
    }

    /// Goes on under another id.
    pub fn renumber(&mut self, track: TrackId) {
        self.track = track;
        self.sender = SourceSender::new(track, self.spec.kind, self.seed);
        self.request_keyframes();
    }

    fn next_at(&self) -> Instant {
        self.begun + self.spec.interval() * u32::try_from(self.index).unwrap_or(u32::MAX)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.probe.poll_timeout().into_iter().chain([self.next_at()]).min()
    }

    /// Two ways at once are being compared: silence must not look like loss.
    fn probes(&self) -> bool {
        let direct = self.routes.iter().any(|route| matches!(route.leg, LegKey::Peer(_)));
        direct && self.routes.iter().any(|route| route.leg == LegKey::RelayPublisher)
    }

    pub fn set_routes(&mut self, now: Instant, routes: Vec<RouteLeg>) {
        self.sender.set_largest(RouteLeg::largest_relayed(&routes));
        self.routes = routes;
        self.activate();
        self.probe.handle_comparison(now, self.probes());
    }

    /// What an encoding makes at most, payload only.
    pub fn most(&self, encoding: EncodingId) -> DataRate {
        let kbps = self.spec.kbps.get(usize::from(encoding.0)).copied().unwrap_or(AUDIO_KBPS);
        if self.spec.muted { DataRate::ZERO } else { DataRate::kbps(kbps) }
    }

    /// What an encoder makes from now on, as far as it can.
    pub fn set_rate(&mut self, encoding: EncodingId, rate: DataRate) {
        if let Some(rung) = self.rungs.get_mut(usize::from(encoding.0)) {
            rung.rate = Some(rate);
        }
    }

    /// A leg bears no picture, or bears one again, which begins with a keyframe.
    pub fn set_paused(&mut self, leg: LegKey, paused: bool) {
        if self.paused.contains(&leg) == paused {
            return;
        }
        if paused {
            self.paused.insert(leg);
        } else {
            self.paused.remove(&leg);
            let encodings: Vec<_> =
                self.routes.iter().filter(|route| route.leg == leg).flat_map(|route| route.encodings.clone()).collect();
            encodings.into_iter().for_each(|encoding| self.request_keyframe(encoding));
        }
        self.activate();
    }

    /// Whether a leg bears its media now.
    pub fn bears(&self, leg: LegKey) -> bool {
        !self.paused.contains(&leg)
    }

    fn activate(&mut self) {
        for (index, rung) in self.rungs.iter_mut().enumerate() {
            let encoding = EncodingId(index as u8);
            let carries = |route: &RouteLeg| route.encodings.is_empty() || route.encodings.contains(&encoding);
            let active = self.routes.iter().any(|route| carries(route) && !self.paused.contains(&route.leg));
            rung.wants_keyframe |= active && !rung.active;
            rung.active = active;
        }
    }

    pub fn request_keyframe(&mut self, encoding: EncodingId) {
        if let Some(rung) = self.rungs.get_mut(usize::from(encoding.0)) {
            rung.wants_keyframe = true;
        }
    }

    pub fn request_keyframes(&mut self) {
        self.rungs.iter_mut().for_each(|rung| rung.wants_keyframe = true);
    }

    pub fn keyframes(&self) -> u64 {
        self.rungs.iter().map(|rung| rung.keyframes).sum()
    }

    /// Packets that are due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<MediaPacket>) {
        while self.next_at() <= now {
            let index = self.index;
            self.index += 1;
            if self.spec.muted {
                continue;
            }
            let before = out.len();
            match self.spec.kind {
                TrackKind::Audio => self.speak(index, out),
                TrackKind::Video => self.picture(index, out),
            }
            if out.len() > before {
                self.probe.handle_frame(now);
            }
        }
        if self.probe.handle_timeout(now) {
            out.push(self.sender.probe());
        }
    }

    /// Speech comes in spurts of a second or so, with pauses between them.
    fn is_quiet(&self, index: u64) -> bool {
        unit(hash(&[self.seed, 21, index / 40])) < 0.3
    }

    fn speak(&mut self, index: u64, out: &mut Vec<MediaPacket>) {
        let quiet = self.is_quiet(index);
        if quiet && self.spec.dtx && index > 0 && self.is_quiet(index - 1) {
            return;
        }
        let bytes = self.spec.kbps.first().copied().unwrap_or(AUDIO_KBPS) * 1_000 / 8 / 50;
        let mut payload = vec![0x55; bytes.max(12) as usize];
        payload[0] = OPUS_20_MS;
        write_index(index, &mut payload[1..=INDEX_LEN]);
        let frame = EncodedFrame {
            kind: TrackKind::Audio,
            layer: LayerId::default(),
            time: MediaTime(index * 960),
            keyframe: false,
            discardable: false,
            refers_back: 0,
            audio_level: Some(AudioLevel { level: if quiet { 70 } else { 25 }, voice: !quiet }),
            payload: Bytes::from(payload),
        };
        out.extend(self.sender.packetise(&frame));
    }

    /// Two temporal layers: every other frame refers to the one before it and is referred to by none.
    fn picture(&mut self, index: u64, out: &mut Vec<MediaPacket>) {
        for at in 0..self.rungs.len() {
            let rung = &mut self.rungs[at];
            if !rung.active {
                continue;
            }
            let keyframe = std::mem::take(&mut rung.wants_keyframe);
            rung.since_keyframe = if keyframe { 0 } else { rung.since_keyframe + 1 };
            rung.keyframes += u64::from(keyframe);
            let upper = rung.since_keyframe % 2 == 1;
            let most = self.spec.kbps[at] * 1_000;
            let rate = rung.rate.map_or(most, |rate| rate.as_bps().min(most));
            let mean = rate / 8 / u64::from(self.spec.fps.max(1));
            let noise = unit(hash(&[self.seed, 22, at as u64, index]));
            let size = mean * if keyframe { KEYFRAME_FACTOR } else { 1 } * (800 + (noise * 400.0) as u64) / 1_000;
            let frame = EncodedFrame {
                kind: TrackKind::Video,
                layer: LayerId::new(at as u8, u8::from(upper)),
                time: MediaTime(index * 90_000 / u64::from(self.spec.fps.max(1))),
                keyframe,
                discardable: upper,
                refers_back: if keyframe { 0 } else { 2 - u8::from(upper) },
                audio_level: None,
                payload: access_unit(index, keyframe, size as usize),
            };
            let packets = self.sender.packetise(&frame);
            self.firsts.extend(packets.first().map(|packet| (packet.origin.layer, packet.origin.frame, packet.origin.packet)));
            out.extend(packets);
        }
        while self.firsts.len() > MAX_FIRSTS {
            self.firsts.pop_front();
        }
    }

    /// Which packet of its frame this is: another run may have cut the frames before it otherwise.
    pub fn place_in_frame(&self, origin: &Origin) -> u32 {
        if self.spec.kind == TrackKind::Audio {
            return 0;
        }
        let same = |(layer, frame, _): &&(LayerId, u32, u32)| *layer == origin.layer && *frame == origin.frame;
        let first = self.firsts.iter().rev().find(same).map_or(0, |(.., packet)| *packet);
        origin.packet.wrapping_sub(first)
    }

    /// When a packet with this RTP timestamp was made, in this source's own time.
    pub fn made_at(&self, timestamp: u32) -> Duration {
        let base = self.sender.timestamp(MediaTime(0));
        let ticks = u64::from(timestamp.wrapping_sub(base));
        Duration::from_nanos(ticks * 1_000_000_000 / u64::from(self.spec.kind.clock_rate()))
    }

    /// When the source began, by its participant's clock.
    pub fn begun(&self) -> Instant {
        self.begun
    }
}

/// One NAL unit in Annex B form, without anything in it that looks like a start code.
fn access_unit(index: u64, keyframe: bool, size: usize) -> Bytes {
    let mut unit = vec![0x55; size.max(16)];
    unit[..5].copy_from_slice(&[0, 0, 0, 1, if keyframe { 0x65 } else { 0x41 }]);
    write_index(index, &mut unit[5..5 + INDEX_LEN]);
    Bytes::from(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_rolls_over_when_it_is_to() {
        for (kind, source, fps) in
            [(TrackKind::Audio, TrackSource::Microphone, 50), (TrackKind::Video, TrackSource::Camera, 30)]
        {
            let spec = SourceSpec { kind, source, fps, kbps: vec![32], dtx: false, muted: false };
            let after = Duration::from_secs(14);
            let sender = SourceSender::new(TrackId(3), kind, seed_that_rolls_over(TrackId(3), &spec, after));
            let ticks = |at: Duration| MediaTime(at.as_millis() as u64 * u64::from(kind.clock_rate()) / 1_000);
            assert!(sender.timestamp(ticks(after - Duration::from_millis(100))) > u32::MAX / 2);
            assert!(sender.timestamp(ticks(after + Duration::from_millis(100))) < u32::MAX / 2);
        }
    }
}
