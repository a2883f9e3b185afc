//! A sender that obeys its estimate, and a receiver that reports: the machines that ship, but for the encoder.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_media::bwe::{CoupledEstimator, EstimatorConfig, LegNeed, PACING};
use segue_media::feedback::PacketResult;
use segue_media::frame::EncodedFrame;
use segue_media::leg::{PayloadMap, RecvLeg, RecvLegConfig, SendLeg, SendLegConfig, SendStream, WallClock};
use segue_media::merge::{Lacks, LegId};
use segue_media::pacer::FixedRate;
use segue_media::packet::{ExtensionMap, RtcpPacket, RtpPacket};
use segue_media::source::SourceSender;
use segue_model::{DataRate, DataSize, EncodingId, LayerId, MediaTime, NtpTime, Ssrc, TrackId, TrackKind};

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
    /// Receivers: each is sent a copy over a leg of its own.
    pub legs: u32,
}

impl Default for FlowSpec {
    fn default() -> Self {
        Self { active: vec![(0.0, f64::INFINITY)], delay_ms: 25.0, max_kbps: 50_000, start_kbps: 300, legs: 1 }
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
    spec: FlowSpec,
    base: Instant,
    rng: Rng,
    source: SourceSender,
    estimator: CoupledEstimator,
    legs: Vec<Leg>,
    next_frame: Duration,
    frames: u64,
    repair_credit: f64,
    resent: u64,
    useful: u64,
}

/// One transport and both its ends.
struct Leg {
    id: LegId,
    send: SendLeg,
    recv: RecvLeg,
    seen: BTreeSet<u32>,
    /// Feedback on its way back.
    back: VecDeque<(Duration, Vec<RtcpPacket>)>,
}

impl Leg {
    fn new(base: Instant, number: u32, spec: &FlowSpec, seed: u64) -> Self {
        let mut send = SendLeg::new(SendLegConfig {
            extensions: ExtensionMap::ours(),
            cname: "flow".to_owned(),
            seed,
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
        Self { id: LegId(number), send, recv, seen: BTreeSet::new(), back: VecDeque::new() }
    }

    fn resent(&self) -> u64 {
        self.send.stats().streams.iter().map(|(_, stats)| stats.resent).sum()
    }
}

struct Everything;

impl Lacks for Everything {
    fn lacks(&self, _: TrackId, _: EncodingId, _: u32, _: u32) -> bool {
        true
    }
}

impl Flow {
    pub fn new(base: Instant, spec: FlowSpec, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let legs: Vec<Leg> = (0..spec.legs).map(|number| Leg::new(base, number, &spec, rng.next())).collect();
        let start = DataRate::kbps(spec.start_kbps);
        let mut estimator = CoupledEstimator::new(EstimatorConfig { start, ..EstimatorConfig::default() });
        for leg in &legs {
            let need = LegNeed { audio: DataRate::ZERO, most: DataRate::kbps(spec.max_kbps), reports: true };
            estimator.set_need(base, leg.id, need);
        }
        Self {
            // Cameras of different people do not tick together.
            next_frame: Duration::from_micros(rng.next() % 33_333),
            rng,
            base,
            source: SourceSender::new(TRACK, TrackKind::Video, seed),
            estimator,
            legs,
            frames: 0,
            repair_credit: 0.0,
            resent: 0,
            useful: 0,
            spec,
        }
    }

    pub fn sample(&self) -> Sample {
        let rate = self.legs.iter().map(|leg| self.estimator.rate(leg.id).as_bps()).sum();
        Sample { useful: self.useful, rate }
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

    /// A packet has come over a leg.
    pub fn handle_arrival(&mut self, now: Duration, leg: usize, packet: RtpPacket, bytes: u64) {
        let at = self.instant(now);
        let leg = &mut self.legs[leg];
        let mut received = leg.recv.handle_rtp(at, packet);
        while let Some(media) = received {
            if leg.seen.insert(media.packet.origin.packet) {
                self.useful += bytes;
            }
            received = leg.recv.poll_received();
        }
    }

    /// Lets time pass and sends what is due: `(leg, bytes on the link, packet)` to `out`.
    pub fn handle_timeout(&mut self, now: Duration, out: &mut Vec<(usize, u64, RtpPacket)>) {
        let (at, delay) = (self.instant(now), self.delay());
        for leg in &mut self.legs {
            while leg.back.front().is_some_and(|(due, _)| *due <= now) {
                let Some((_, compound)) = leg.back.pop_front() else { break };
                compound.iter().for_each(|packet| leg.send.handle_rtcp(at, packet));
                while leg.send.poll_event().is_some() {}
                let results: Vec<PacketResult> = std::iter::from_fn(|| leg.send.poll_result()).collect();
                if !results.is_empty() {
                    self.estimator.handle_feedback(at, leg.id, &results);
                }
            }
            leg.recv.handle_timeout(at, &Everything);
            while let Some(compound) = leg.recv.poll_rtcp(at) {
                leg.back.push_back((now + delay, compound));
            }
            leg.send.handle_timeout(at);
        }
        self.estimator.handle_timeout(at);
        while self.next_frame <= now {
            self.push_frame(now);
            self.next_frame += Duration::from_nanos(1_000_000_000 / FRAME_RATE);
        }
        while let Some((id, cluster)) = self.estimator.poll_probe() {
            self.legs.iter_mut().filter(|leg| leg.id == id).for_each(|leg| leg.send.start_probe(at, cluster));
        }
        for (number, leg) in self.legs.iter_mut().enumerate() {
            leg.send.set_rate(self.estimator.rate(leg.id) * PACING);
            while let Some(packet) = leg.send.poll_transmit(at) {
                out.push((number, packet.wire_len(&ExtensionMap::ours()) as u64 + 44, packet));
            }
            while leg.send.poll_rtcp(at).is_some() {}
            if let Some(size) = leg.send.poll_sent() {
                self.estimator.handle_sent(at, leg.id, size);
            }
        }
    }

    /// Makes a frame for the slowest leg and sends it over all.
    fn push_frame(&mut self, now: Duration) {
        self.frames += 1;
        let resent = self.legs.iter().map(Leg::resent).max().unwrap_or_default();
        self.repair_credit += (resent - self.resent) as f64 * (PAYLOAD + HEADERS) as f64;
        self.resent = resent;
        if !self.is_active(now) {
            return;
        }
        let rate = self.legs.iter().map(|leg| self.estimator.rate(leg.id)).min().unwrap_or_default();
        let waiting = self.legs.iter().map(|leg| leg.send.waiting().as_bytes()).max().unwrap_or_default();
        if rate.time_for(DataSize::bytes(waiting)).is_none_or(|wait| wait > MAX_BACKLOG) {
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
        let at = self.instant(now);
        for packet in self.source.packetise(&frame) {
            self.legs.iter_mut().for_each(|leg| leg.send.push(at, &packet));
        }
    }

    pub fn poll_timeout(&self) -> Duration {
        let legs = self.legs.iter().flat_map(|leg| [leg.send.poll_timeout(), leg.recv.poll_timeout()]);
        let machines = legs.chain([self.estimator.poll_timeout()]).flatten();
        let machines = machines.map(|at| at.saturating_duration_since(self.base));
        let back = self.legs.iter().filter_map(|leg| Some(leg.back.front()?.0));
        machines.chain(back).fold(self.next_frame, Duration::min)
    }
}
