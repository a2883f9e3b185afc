//! One leg of a participant: the machines a client's leg has, without its transport.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_media::bwe::{ProbeCluster, Uplink};
use segue_media::heartbeat::{HeartbeatEvent, Heartbeats};
use segue_media::leg::{PayloadMap, RecvLeg, RecvLegConfig, SendLeg, SendLegConfig, SendLegEvent, SendStream, WallClock};
use segue_media::merge::{Lacks, LegId};
use segue_media::pacer::FixedRate;
use segue_media::packet::{ExtensionMap, MediaPacket, RtcpPacket, RtpPacket, parse_compound, write_compound};
use segue_model::{DataRate, EncodingId, NtpTime, Ssrc, TrackId, TrackKind};
use segue_session::peer::{LegEvent, RouteLeg};

use crate::rng::Rng;

/// Payload types of an SDK's offer.
pub const OPUS: u8 = 111;
/// See [`OPUS`].
pub const H264: u8 = 102;
/// See [`OPUS`].
pub const H264_RTX: u8 = 103;

/// A transport's number in the world: never used again.
pub type Session = u64;

/// A leg.
pub struct Leg {
    pub id: LegId,
    pub session: Session,
    /// The transport at the other end, by its description.
    pub remote: Option<Session>,
    /// Offers and answers set: 0 stable, 1 our offer out, 2 theirs in.
    pub signalling: u8,
    /// ICE restarts of ours, and of theirs as far as we know.
    pub restarts: u32,
    pub remote_restarts: u32,
    pub up: bool,
    send: SendLeg,
    recv: RecvLeg,
    heartbeats: Option<Heartbeats>,
    ssrc: Ssrc,
    routes: BTreeMap<TrackId, RouteLeg>,
    rng: Rng,
    /// Something was done with it since it was last drained.
    pub stale: bool,
    /// When it is due, if it is not stale.
    pub due: Option<Instant>,
}

impl Leg {
    pub fn new(session: Session, base: Instant, cname: String, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let ssrc = Ssrc(rng.next() as u32);
        let config = SendLegConfig {
            extensions: ExtensionMap::ours(),
            cname,
            seed: rng.next(),
            rate: FixedRate::DEFAULT,
            clock: WallClock { at: base, ntp: NtpTime(3_900_000_000 << 32) },
        };
        Self {
            id: LegId(session as u32),
            session,
            remote: None,
            signalling: 0,
            restarts: 0,
            remote_restarts: 0,
            up: false,
            send: SendLeg::new(config),
            recv: RecvLeg::new(RecvLegConfig { ssrc, payloads: PayloadMap::ours() }),
            heartbeats: None,
            ssrc,
            routes: BTreeMap::new(),
            rng,
            stale: true,
            due: None,
        }
    }

    pub fn set_up(&mut self, now: Instant, up: bool) {
        self.stale = true;
        self.up = up;
        if up && self.heartbeats.is_none() {
            self.heartbeats = Some(Heartbeats::new(now, self.ssrc));
        }
    }

    pub fn set_route(&mut self, track: TrackId, kind: TrackKind, route: Option<&RouteLeg>) {
        self.stale = true;
        let Some(route) = route else {
            self.routes.remove(&track);
            return;
        };
        self.routes.insert(track, route.clone());
        let encodings = if route.encodings.is_empty() { vec![EncodingId(0)] } else { route.encodings.clone() };
        for encoding in encodings.into_iter().filter(|encoding| !self.send.has_stream(track, *encoding)).collect::<Vec<_>>() {
            let video = kind == TrackKind::Video;
            let stream = SendStream {
                track,
                encoding,
                kind,
                ssrc: Ssrc(self.rng.next() as u32),
                rtx_ssrc: video.then(|| Ssrc(self.rng.next() as u32)),
                payload_type: if video { H264 } else { OPUS },
                rtx_payload_type: video.then_some(H264_RTX),
                mid: None,
                rid: None,
            };
            self.send.add_stream(stream).expect("a new source of a new stream");
        }
    }

    pub fn remove_track(&mut self, track: TrackId) {
        self.stale = true;
        self.routes.remove(&track);
        self.send.remove_stream(track);
    }

    pub fn forget_remote(&mut self, track: TrackId) {
        self.stale = true;
        self.recv.unbind(track);
    }

    /// What is sent here while it is up.
    pub fn carried(&self) -> impl Iterator<Item = (TrackId, &RouteLeg)> {
        self.routes.iter().filter(|_| self.up).map(|(track, route)| (*track, route))
    }

    /// What the pacer spends from now on.
    pub fn pace(&mut self, rate: DataRate) {
        self.stale = true;
        self.send.set_rate(rate);
    }

    /// Sends a probe from now on.
    pub fn probe(&mut self, now: Instant, cluster: ProbeCluster) {
        self.stale = true;
        self.send.start_probe(now, cluster);
    }

    /// Tells the budget what left and what became of it.
    pub fn account(&mut self, now: Instant, uplink: &mut Uplink) {
        if let Some(sent) = self.send.poll_sent() {
            uplink.handle_sent(now, self.id, sent);
        }
        uplink.handle_waiting(self.id, self.send.waiting());
        let results: Vec<_> = std::iter::from_fn(|| self.send.poll_result()).collect();
        if !results.is_empty() {
            uplink.handle_feedback(now, self.id, &results);
        }
    }

    /// Queues a media packet, if it is to be sent here.
    pub fn push(&mut self, now: Instant, packet: &MediaPacket, copy: bool) {
        let Some(route) = self.routes.get(&packet.origin.source) else { return };
        if self.up && (route.takes(packet.origin.layer) || packet.origin.flags.probe) {
            self.stale = true;
            match copy {
                true => self.send.push_copy(now, packet),
                false => self.send.push(now, packet),
            }
        }
    }

    pub fn handle_rtp(&mut self, now: Instant, packet: RtpPacket, out: &mut Vec<MediaPacket>) {
        self.stale = true;
        let mut received = self.recv.handle_rtp(now, packet);
        while let Some(media) = received {
            out.push(media.packet);
            received = self.recv.poll_received();
        }
    }

    pub fn handle_rtcp(&mut self, now: Instant, bytes: &[u8]) {
        self.stale = true;
        for packet in parse_compound(bytes).expect("our own compounds are well formed") {
            if let (RtcpPacket::Heartbeat(heartbeat), Some(heartbeats)) = (&packet, &mut self.heartbeats) {
                heartbeats.handle_heartbeat(now, heartbeat);
            }
            self.send.handle_rtcp(now, &packet);
            self.recv.handle_rtcp(now, &packet);
        }
    }

    pub fn request_keyframe(&mut self, now: Instant, track: TrackId, encoding: EncodingId) {
        self.stale = true;
        self.recv.request_keyframe(now, track, encoding);
    }

    pub fn handle_timeout(&mut self, now: Instant, lacks: &dyn Lacks, out: &mut Vec<MediaPacket>) {
        self.stale = true;
        if let Some(heartbeats) = &mut self.heartbeats {
            heartbeats.handle_timeout(now);
        }
        self.send.handle_timeout(now);
        self.recv.handle_timeout(now, lacks);
        while let Some(media) = self.recv.poll_received() {
            out.push(media.packet);
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.up {
            return None;
        }
        let heartbeats = self.heartbeats.as_ref().map(Heartbeats::poll_timeout);
        [heartbeats, self.send.poll_timeout(), self.recv.poll_timeout()].into_iter().flatten().min()
    }

    pub fn poll_transmit(&mut self, now: Instant) -> Option<RtpPacket> {
        if !self.up {
            return None;
        }
        self.send.poll_transmit(now)
    }

    pub fn poll_rtcp(&mut self, now: Instant) -> Option<Bytes> {
        if !self.up {
            return None;
        }
        let compound = self.send.poll_rtcp(now).or_else(|| self.recv.poll_rtcp(now)).or_else(|| {
            let heartbeat = self.heartbeats.as_mut()?.poll_heartbeat(now)?;
            Some(vec![RtcpPacket::Heartbeat(heartbeat)])
        })?;
        let mut bytes = Vec::new();
        write_compound(&compound, &mut bytes);
        Some(Bytes::from(bytes))
    }

    /// What the machines have to say. Call until `None`.
    pub fn poll_event(&mut self) -> Option<LegEvent> {
        if let Some(event) = self.heartbeats.as_mut().and_then(Heartbeats::poll_event) {
            return Some(match event {
                HeartbeatEvent::Heard { rtt } => {
                    if let Some(rtt) = rtt {
                        self.send.note_rtt(rtt);
                    }
                    LegEvent::Heartbeat { rtt }
                }
                HeartbeatEvent::Lost => LegEvent::HeartbeatLost,
            });
        }
        while let Some(event) = self.send.poll_event() {
            match event {
                SendLegEvent::KeyframeRequested { track, encoding } => {
                    return Some(LegEvent::KeyframeRequested { track, encoding });
                }
                SendLegEvent::Rtt(rtt) => self.recv.set_rtt(rtt),
                SendLegEvent::Overflow { .. } | SendLegEvent::Remb(_) => {}
            }
        }
        None
    }

    /// What waits to be sent.
    pub fn waiting(&self) -> u64 {
        self.send.stats().waiting.as_bytes()
    }

    /// Delay of everything sent so far, for those who look.
    pub fn rtt(&self) -> Option<Duration> {
        self.send.stats().rtt
    }
}
