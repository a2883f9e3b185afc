//! A sender that obeys its estimate, and a receiver that reports: the machines that ship, but for the encoder.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_media::bwe::{Estimator, EstimatorConfig};
use segue_media::feedback::PacketResult;
use segue_media::frame::EncodedFrame;
use segue_media::leg::{PayloadMap, RecvLeg, RecvLegConfig, SendLeg, SendLegConfig, SendStream, WallClock};
use segue_media::merge::Lacks;
use segue_media::pacer::FixedRate;
use segue_media::packet::{ExtensionMap, RtcpPacket, RtpPacket};
use segue_media::source::SourceSender;
use segue_model::{DataRate, EncodingId, LayerId, MediaTime, NtpTime, Ssrc, TrackId, TrackKind};

use super::rng::Rng;

/// Frames a second.
const FRAME_RATE: u64 = 30;

/// Deviation of frame sizes.
const SIZE_DEVIATION: f64 = 0.1;

/// What a packet carries besides payload, down to IPv4, as the encoder budgets it.
const HEADERS: u64 = 96;

/// Payload of a packet at most.
const PAYLOAD: u64 = 1_100;

/// A frame is skipped while this much waits in the pacer.
const MAX_BACKLOG: Duration = Duration::from_millis(150);

/// The track every flow sends.
const TRACK: TrackId = TrackId(1);

/// What a flow is like.
#[derive(Clone, Debug)]
pub struct FlowSpec {
    /// When it sends, in seconds.
    pub active: Vec<(f64, f64)>,
    /// One way, in milliseconds, after the bottleneck; feedback takes as long.
    pub delay_ms: f64,
    /// The source never makes more, in kbit/s.
    pub max_kbps: u64,
    /// Estimate to begin with, in kbit/s.
    pub start_kbps: u64,
}

impl Default for FlowSpec {
    fn default() -> Self {
        Self { active: vec![(0.0, f64::INFINITY)], delay_ms: 25.0, max_kbps: 50_000, start_kbps: 300 }
    }
}

/// What a flow did at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Media bytes that had arrived, each counted once.
    pub useful: u64,
    /// The estimate, in bits per second.
    pub rate: u64,
}

/// One flow.
pub struct Flow {
    pub spec: FlowSpec,
    base: Instant,
    rng: Rng,
    source: SourceSender,
    send: SendLeg,
    recv: RecvLeg,
    estimator: Estimator,
    next_frame: Duration,
    frames: u64,
    seen: BTreeSet<u32>,
    /// Feedback on its way back.
    back: VecDeque<(Duration, Vec<RtcpPacket>)>,
    repair_credit: f64,
    resent: u64,
    pub useful: u64,
}

struct Everything;

impl Lacks for Everything {
    fn lacks(&self, _: TrackId, _: EncodingId, _: u32, _: u32) -> bool {
        true
    }
}

impl Flow {
    pub fn new(base: Instant, number: u32, spec: FlowSpec, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut send = SendLeg::new(SendLegConfig {
            extensions: ExtensionMap::ours(),
            cname: "flow".to_owned(),
            seed: rng.next(),
            rate: FixedRate(DataRate::kbps(spec.start_kbps)),
            clock: WallClock { at: base, ntp: NtpTime(3_900_000_000 << 32) },
        });
        let ssrc = number * 10 + 100;
        let added = send.add_stream(SendStream {
            track: TRACK,
            encoding: EncodingId(0),
            kind: TrackKind::Video,
            ssrc: Ssrc(ssrc),
            rtx_ssrc: Some(Ssrc(ssrc + 1)),
            payload_type: 102,
            rtx_payload_type: Some(103),
            mid: None,
            rid: None,
        });
        assert!(added.is_ok(), "the only stream is taken");
        let mut recv = RecvLeg::new(RecvLegConfig { ssrc: Ssrc(ssrc + 2), payloads: PayloadMap::ours() });
        recv.set_rtt(Duration::from_secs_f64(spec.delay_ms / 500.0));
        let start = DataRate::kbps(spec.start_kbps);
        let mut estimator = Estimator::new(EstimatorConfig { start, ..EstimatorConfig::default() });
        estimator.set_ceiling(DataRate::kbps(spec.max_kbps) * 1.15);
        Self {
            // Cameras of different people do not tick together.
            next_frame: Duration::from_micros(rng.next() % 33_333),
            rng,
            base,
            source: SourceSender::new(TRACK, TrackKind::Video, seed),
            send,
            recv,
            estimator,
            frames: 0,
            seen: BTreeSet::new(),
            back: VecDeque::new(),
            repair_credit: 0.0,
            resent: 0,
            useful: 0,
            spec,
        }
    }

    pub fn sample(&self) -> Sample {
        Sample { useful: self.useful, rate: self.estimator.rate().as_bps() }
    }

    fn instant(&self, now: Duration) -> Instant {
        self.base + now
    }

    fn is_active(&self, now: Duration) -> bool {
        let at = now.as_secs_f64();
        self.spec.active.iter().any(|(from, to)| at >= *from && at < *to)
    }

    pub fn delay(&self) -> Duration {
        Duration::from_secs_f64(self.spec.delay_ms / 1e3)
    }

    /// A packet has come.
    pub fn handle_arrival(&mut self, now: Duration, packet: RtpPacket, bytes: u64) {
        let mut received = self.recv.handle_rtp(self.instant(now), packet);
        while let Some(media) = received {
            if self.seen.insert(media.packet.origin.packet) {
                self.useful += bytes;
            }
            received = self.recv.poll_received();
        }
    }

    /// Lets time pass and sends what is due: `(bytes on the link, packet)` to `out`.
    pub fn handle_timeout(&mut self, now: Duration, out: &mut Vec<(u64, RtpPacket)>) {
        let at = self.instant(now);
        self.handle_feedback(now);
        self.recv.handle_timeout(at, &Everything);
        while let Some(compound) = self.recv.poll_rtcp(at) {
            self.back.push_back((now + self.delay(), compound));
        }
        self.send.handle_timeout(at);
        self.estimator.handle_timeout(at);
        while self.next_frame <= now {
            self.push_frame(now);
            self.next_frame += Duration::from_nanos(1_000_000_000 / FRAME_RATE);
        }
        self.send.set_rate(self.estimator.pacing_rate());
        if let Some(cluster) = self.estimator.poll_probe() {
            self.send.start_probe(at, cluster);
        }
        while let Some(packet) = self.send.poll_transmit(at) {
            out.push((packet.wire_len(&ExtensionMap::ours()) as u64 + 44, packet));
        }
        while self.send.poll_rtcp(at).is_some() {}
        if let Some(size) = self.send.poll_sent() {
            self.estimator.handle_sent(at, size);
        }
    }

    fn handle_feedback(&mut self, now: Duration) {
        let at = self.instant(now);
        while self.back.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, compound)) = self.back.pop_front() else { break };
            compound.iter().for_each(|packet| self.send.handle_rtcp(at, packet));
            while self.send.poll_event().is_some() {}
            let results: Vec<PacketResult> = std::iter::from_fn(|| self.send.poll_result()).collect();
            if !results.is_empty() {
                self.estimator.handle_feedback(at, &results);
            }
        }
    }

    fn push_frame(&mut self, now: Duration) {
        self.frames += 1;
        let resent: u64 = self.send.stats().streams.iter().map(|(_, stats)| stats.resent).sum();
        self.repair_credit += (resent - self.resent) as f64 * (PAYLOAD + HEADERS) as f64;
        self.resent = resent;
        if !self.is_active(now) {
            return;
        }
        let rate = self.estimator.rate();
        let waiting = self.send.stats().waiting;
        if rate.time_for(waiting).is_none_or(|wait| wait > MAX_BACKLOG) {
            return;
        }
        let budget = rate.min(DataRate::kbps(self.spec.max_kbps)).as_bps() as f64 / 8.0 / FRAME_RATE as f64;
        // Repairs are paid from the same budget, spread over a fifth of a second.
        let repair = (self.repair_credit / 6.0).min(budget / 2.0);
        self.repair_credit -= repair;
        let noise = (1.0 + SIZE_DEVIATION * self.rng.normal()).clamp(0.5, 1.5);
        let bytes = ((budget * 0.98 - repair) * noise).max(200.0) as u64;
        let headers = bytes.div_ceil(PAYLOAD + HEADERS) * HEADERS;
        let mut payload = vec![0xaa; bytes.saturating_sub(headers).max(100) as usize];
        payload[..5].copy_from_slice(&[0, 0, 0, 1, if self.frames == 1 { 0x65 } else { 0x41 }]);
        let frame = EncodedFrame {
            kind: TrackKind::Video,
            layer: LayerId::default(),
            time: MediaTime(now.as_micros() as u64 * 9 / 100),
            keyframe: self.frames == 1,
            discardable: false,
            refers_back: u8::from(self.frames != 1),
            audio_level: None,
            payload: Bytes::from(payload),
        };
        for packet in self.source.packetise(&frame) {
            self.send.push(self.instant(now), &packet);
        }
    }

    pub fn poll_timeout(&self) -> Duration {
        let machines = [self.send.poll_timeout(), self.recv.poll_timeout(), self.estimator.poll_timeout()];
        let machines = machines.into_iter().flatten().map(|at| at.saturating_duration_since(self.base));
        let back = self.back.front().map(|(due, _)| *due);
        machines.chain(back).fold(self.next_frame, Duration::min)
    }
}
