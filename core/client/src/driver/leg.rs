//! One leg: a link and the machines that fill it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_media::bwe::{ProbeCluster, Uplink};
use segue_media::feedback::PacketResult;
use segue_media::heartbeat::{HeartbeatEvent, Heartbeats};
use segue_media::leg::{
    PayloadKind, PayloadMap, RecvLeg, RecvLegConfig, RecvLegStats, SendLeg, SendLegConfig, SendLegEvent, SendLegStats,
    SendStream, StreamKey, WallClock,
};
use segue_media::merge::{Lacks, LegId};
use segue_media::pacer::FixedRate;
use segue_media::packet::{ExtensionMap, Label, MediaPacket, RtcpPacket, RtpPacket, parse_compound, write_compound};
use segue_model::{DataRate, EncodingId, Ssrc, TrackId, TrackKind};
use segue_session::peer::{RouteLeg, SectionPlan};
use segue_session::sdp::{Description, Section as SdpSection, SectionKind};
use segue_wire::proto;

use super::meter::Meter;
use super::seed::Seeds;
use crate::net::peer_link::{Channel, Direction, LinkCommand, LinkConfig, LinkCounters, LinkId, PacketBody, PeerLink, Section};

/// Room for one packet: an MTU.
const PACKET_BYTES: usize = 1_500;

/// What a leg needs from its room.
pub(super) struct LegSetup {
    pub(super) id: LegId,
    pub(super) link_id: LinkId,
    /// The other end stamps and merges by origin; see [`segue_session::peer::LegPlan`].
    pub(super) merge: bool,
    pub(super) cname: String,
    pub(super) wall: WallClock,
}

/// Payload type of a codec and of its repair format.
type PayloadTypes = (u8, Option<u8>);

/// A leg, open or opening.
pub(super) struct Leg {
    setup: LegSetup,
    link: Box<dyn PeerLink>,
    send: SendLeg,
    recv: RecvLeg,
    heartbeats: Option<Heartbeats>,
    heartbeat_ssrc: Ssrc,
    extensions: ExtensionMap,
    /// Payload types to send with, by kind and by section: a browser may number them by section.
    payloads: BTreeMap<TrackKind, PayloadTypes>,
    section_payloads: BTreeMap<Label, PayloadTypes>,
    /// Mids of our sections that both sides agreed on.
    mids: BTreeMap<TrackId, Label>,
    /// Mids of our last offer. One that is refused for a crossing one leaves them to sections of the other side: nothing may be sent on
    /// them before the answer.
    offered: BTreeMap<TrackId, Label>,
    /// Our sections where there is one per track.
    sections: BTreeMap<TrackId, Section>,
    /// What is to be sent here.
    routes: BTreeMap<TrackId, (TrackKind, RouteLeg)>,
    /// Which encoding stands for the one stream of a section, where sections are per track.
    shown: BTreeMap<TrackId, EncodingId>,
    up: bool,
    rtt: Option<Duration>,
    buffer: Vec<u8>,
    seeds: Seeds,
    pub(super) sent: Meter,
    pub(super) received: Meter,
    /// Packets of sources that are not the other end's.
    pub(super) foreign: u64,
    /// Nothing passes, by order of a test.
    pub(super) cut: bool,
    /// Every packet claims to be of this source, by order of a test.
    pub(super) stolen: Option<TrackId>,
}

/// What a turn of a leg brought up.
#[derive(Debug)]
pub(super) enum LegOutput {
    KeyframeRequested { track: TrackId, encoding: EncodingId },
    Heartbeat { rtt: Option<Duration> },
    HeartbeatLost,
}

impl Leg {
    pub(super) fn new(setup: LegSetup, link: Box<dyn PeerLink>, seed: u64) -> Self {
        let mut seeds = Seeds::new(seed);
        let send = SendLeg::new(SendLegConfig {
            extensions: ExtensionMap::ours(),
            cname: setup.cname.clone(),
            seed: seeds.next(),
            rate: FixedRate::DEFAULT,
            clock: setup.wall,
        });
        let ssrc = Ssrc(seeds.ssrc());
        Self {
            send,
            recv: RecvLeg::new(RecvLegConfig { ssrc, payloads: PayloadMap::ours() }),
            heartbeats: None,
            heartbeat_ssrc: ssrc,
            extensions: ExtensionMap::ours(),
            payloads: BTreeMap::new(),
            section_payloads: BTreeMap::new(),
            mids: BTreeMap::new(),
            offered: BTreeMap::new(),
            sections: BTreeMap::new(),
            routes: BTreeMap::new(),
            shown: BTreeMap::new(),
            up: false,
            rtt: None,
            buffer: Vec::with_capacity(PACKET_BYTES),
            sent: Meter::default(),
            received: Meter::default(),
            foreign: 0,
            cut: false,
            stolen: None,
            seeds,
            setup,
            link,
        }
    }

    pub(super) const fn id(&self) -> LegId {
        self.setup.id
    }

    pub(super) const fn link_id(&self) -> LinkId {
        self.setup.link_id
    }

    pub(super) const fn merges(&self) -> bool {
        self.setup.merge
    }

    pub(super) const fn is_up(&self) -> bool {
        self.up
    }

    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) fn counters(&self) -> LinkCounters {
        self.link.counters()
    }

    pub(super) fn send_stats(&self) -> SendLegStats {
        self.send.stats()
    }

    pub(super) fn recv_stats(&self) -> RecvLegStats {
        self.recv.stats()
    }

    /// Queues a negotiation step; false where the link takes no more.
    pub(super) fn negotiate(&self, command: LinkCommand) -> bool {
        self.link.execute(command)
    }

    /// Writes a message: text to browsers, bytes to everybody else.
    pub(super) fn message(&self, channel: Channel, text: bool, payload: Vec<u8>) -> bool {
        !self.cut && self.link.send_message(channel, text, Bytes::from(payload))
    }

    /// The transport came up or went down.
    pub(super) fn set_up(&mut self, now: Instant, up: bool) {
        self.up = up;
        if up && self.setup.merge && self.heartbeats.is_none() {
            self.heartbeats = Some(Heartbeats::new(now, self.heartbeat_ssrc));
        }
    }

    /// The tracks we send, where sections are per track. New ones are added to the link; those gone keep an idle section.
    pub(super) fn set_sections(&mut self, plans: &[SectionPlan]) {
        for plan in plans {
            if !self.sections.contains_key(&plan.track) {
                let section = track_section(plan, &mut self.seeds);
                self.link.execute(LinkCommand::AddSection(section.clone()));
                self.sections.insert(plan.track, section);
            }
        }
    }

    /// Takes the sections the link was opened with.
    pub(super) fn adopt_sections(&mut self, sections: BTreeMap<TrackId, Section>) {
        self.sections = sections;
    }

    /// Reads our own description; says which track each of our sections carries.
    pub(super) fn read_local(&mut self, sdp: &str, is_answer: bool) -> Vec<proto::MidTrack> {
        let Ok(description) = Description::parse(sdp) else { return Vec::new() };
        if is_answer {
            self.configure(&description);
        }
        self.offered.clear();
        let mut tracks = Vec::new();
        for section in description.sections.iter().filter(|section| !section.rejected && section.direction.sends()) {
            let name = section.msid.as_ref().map(|msid| msid.track.as_str());
            let Some((track, _)) = self.sections.iter().find(|(_, ours)| Some(ours.name.as_str()) == name) else { continue };
            tracks.push(proto::MidTrack { mid: section.mid.clone(), track: u32::from(track.0) });
            if let Some(mid) = Label::new(&section.mid) {
                let agreed = if is_answer { &mut self.mids } else { &mut self.offered };
                agreed.insert(*track, mid);
            }
        }
        self.apply_routes_again();
        tracks
    }

    /// Reads the other side's description and what its sections carry.
    pub(super) fn read_remote(&mut self, sdp: &str, is_answer: bool, tracks: &[proto::MidTrack]) {
        let Ok(description) = Description::parse(sdp) else { return };
        if is_answer {
            self.mids.append(&mut self.offered);
            self.configure(&description);
        }
        for carried in tracks {
            if let (Some(section), Ok(track)) = (description.section(&carried.mid), u16::try_from(carried.track)) {
                self.bind_section(section, TrackId(track));
            }
        }
        self.set_slots(tracks);
        self.apply_routes_again();
    }

    /// Which track each section carries from now on; track 0: none. Where tracks share a section, the name is that of a stream.
    pub(super) fn set_slots(&mut self, slots: &[proto::MidTrack]) {
        for slot in slots {
            if let (Some(mid), Ok(track @ 1..)) = (Label::new(&slot.mid), u16::try_from(slot.track)) {
                self.recv.bind(StreamKey::Mid(mid), TrackId(track), EncodingId(0));
            }
        }
    }

    /// Takes what was negotiated out of the answer.
    fn configure(&mut self, answer: &Description) {
        let mut payloads = PayloadMap::default();
        let mut extensions = ExtensionMap::default();
        for section in &answer.sections {
            let kind = match section.kind {
                SectionKind::Audio => TrackKind::Audio,
                SectionKind::Video => TrackKind::Video,
                SectionKind::Data | SectionKind::Other => continue,
            };
            for (uri, id) in section.extensions.entries() {
                extensions.insert(uri, u16::from(id));
            }
            let name = if kind == TrackKind::Audio { "opus" } else { "H264" };
            for codec in section.codecs.iter().filter(|codec| codec.name.eq_ignore_ascii_case(name)) {
                payloads.insert(codec.payload_type, PayloadKind::Media(kind));
                if let Some(rtx) = codec.rtx {
                    payloads.insert(rtx, PayloadKind::Repair { kind, of: codec.payload_type });
                }
            }
            if let Some(codec) = section.codec(name) {
                self.payloads.insert(kind, (codec.payload_type, codec.rtx));
                if let Some(mid) = Label::new(&section.mid) {
                    self.section_payloads.insert(mid, (codec.payload_type, codec.rtx));
                }
            }
        }
        self.extensions = extensions;
        self.send.set_extensions(extensions);
        self.recv.set_payloads(payloads);
    }

    fn bind_section(&mut self, section: &SdpSection, track: TrackId) {
        for stream in &section.streams {
            self.recv.bind(StreamKey::Ssrc(stream.ssrc), track, EncodingId(0));
            if let Some(rtx) = stream.rtx {
                self.recv.bind(StreamKey::Repair(rtx), track, EncodingId(0));
            }
        }
        let Some(mid) = Label::new(&section.mid) else { return };
        self.recv.bind(StreamKey::Mid(mid), track, EncodingId(0));
        for rid in section.rids.iter().filter(|rid| rid.send) {
            if let (Some(encoding), Some(label)) = (EncodingId::from_rid(&rid.id), Label::new(&rid.id)) {
                self.recv.bind(StreamKey::MidRid { mid, rid: label }, track, encoding);
            }
        }
    }

    /// From now on one of our tracks is sent here so, or not at all.
    pub(super) fn set_route(&mut self, track: TrackId, kind: TrackKind, route: Option<&RouteLeg>) {
        match route {
            None => {
                self.routes.remove(&track);
            }
            Some(route) => {
                self.routes.insert(track, (kind, route.clone()));
                self.add_streams(track, kind, route.clone());
            }
        }
    }

    /// A track of ours is gone for good.
    pub(super) fn remove_track(&mut self, track: TrackId) {
        self.routes.remove(&track);
        self.shown.remove(&track);
        self.send.remove_stream(track);
    }

    /// A remote track is gone for good.
    pub(super) fn forget_remote(&mut self, track: TrackId) {
        self.recv.unbind(track);
    }

    /// Payload types and sections may have become known.
    fn apply_routes_again(&mut self) {
        for (track, (kind, route)) in self.routes.clone() {
            self.add_streams(track, kind, route);
        }
    }

    fn add_streams(&mut self, track: TrackId, kind: TrackKind, route: RouteLeg) {
        let Some(&(payload_type, rtx_payload_type)) = self.payloads.get(&kind) else { return };
        let encodings = if route.encodings.is_empty() { vec![EncodingId(0)] } else { route.encodings };
        if !self.setup.merge {
            self.shown.insert(track, encodings.first().copied().unwrap_or_default());
            self.add_declared_stream(track, kind);
            return;
        }
        for encoding in encodings {
            if self.send.has_stream(track, encoding) {
                continue;
            }
            let stream = SendStream {
                track,
                encoding,
                kind,
                ssrc: Ssrc(self.seeds.ssrc()),
                rtx_ssrc: rtx_payload_type.map(|_| Ssrc(self.seeds.ssrc())),
                payload_type,
                rtx_payload_type,
                mid: None,
                rid: None,
            };
            if let Err(error) = self.send.add_stream(stream) {
                tracing::warn!(%track, %error, "stream not added");
            }
        }
    }

    /// A section of a browser shows one encoding at a time, on the one source declared for it.
    fn add_declared_stream(&mut self, track: TrackId, kind: TrackKind) {
        let (Some(section), Some(mid)) = (self.sections.get(&track), self.mids.get(&track)) else { return };
        let Some(&(payload_type, rtx_payload_type)) = self.section_payloads.get(mid) else { return };
        if self.send.has_stream(track, EncodingId(0)) {
            return;
        }
        let stream = SendStream {
            track,
            encoding: EncodingId(0),
            kind,
            ssrc: Ssrc(section.ssrc),
            rtx_ssrc: section.rtx_ssrc.filter(|_| rtx_payload_type.is_some()).map(Ssrc),
            payload_type,
            rtx_payload_type,
            mid: Some(*mid),
            rid: None,
        };
        if let Err(error) = self.send.add_stream(stream) {
            tracing::warn!(%track, %error, "stream not added");
        }
    }

    /// What is sent here while it is up.
    pub(super) fn carried(&self) -> impl Iterator<Item = (TrackId, TrackKind, &RouteLeg)> {
        self.routes.iter().filter(|_| self.up).map(|(track, (kind, route))| (*track, *kind, route))
    }

    /// Whether the other side reports what arrives.
    pub(super) const fn reports(&self) -> bool {
        self.extensions.transport_cc.is_some()
    }

    /// What the pacer spends from now on.
    pub(super) const fn pace(&mut self, rate: DataRate) {
        self.send.set_rate(rate);
    }

    /// Sends a probe from now on.
    pub(super) fn probe(&mut self, now: Instant, cluster: ProbeCluster) {
        self.send.start_probe(now, cluster);
    }

    /// Tells the budget what left and what became of it.
    pub(super) fn account(&mut self, now: Instant, uplink: &mut Uplink) {
        let id = self.setup.id;
        if let Some(sent) = self.send.poll_sent() {
            uplink.handle_sent(now, id, sent);
        }
        uplink.handle_waiting(id, self.send.waiting());
        let results: Vec<PacketResult> = std::iter::from_fn(|| self.send.poll_result()).collect();
        if !results.is_empty() {
            uplink.handle_feedback(now, id, &results);
        }
    }

    /// Queues a media packet, if it is to be sent here.
    pub(super) fn push(&mut self, now: Instant, packet: &MediaPacket, copy: bool) {
        let Some((_, route)) = self.routes.get(&packet.origin.source) else { return };
        if !self.up || !(route.takes(packet.origin.layer) || packet.origin.flags.probe) {
            return;
        }
        let as_it_is = self.setup.merge;
        if !as_it_is && packet.origin.flags.probe {
            return;
        }
        let mut packet = Cow::Borrowed(packet);
        if !as_it_is {
            packet.to_mut().origin.layer.encoding = EncodingId(0);
        }
        match copy {
            true => self.send.push_copy(now, &packet),
            false => self.send.push(now, &packet),
        }
    }

    /// Takes a datagram; what it holds for the merge is appended to `out`.
    pub(super) fn handle_datagram(&mut self, now: Instant, body: PacketBody, out: &mut Vec<MediaPacket>) {
        if self.cut {
            return;
        }
        match body {
            PacketBody::Rtp(bytes) => {
                self.received.add(now, bytes.len());
                let Ok(packet) = RtpPacket::parse(bytes, &self.extensions) else { return };
                let mut received = self.recv.handle_rtp(now, packet);
                while let Some(media) = received {
                    out.push(media.packet);
                    received = self.recv.poll_received();
                }
            }
            PacketBody::Rtcp(bytes) => {
                let Ok(packets) = parse_compound(&bytes) else { return };
                for packet in &packets {
                    if let (RtcpPacket::Heartbeat(heartbeat), Some(heartbeats)) = (packet, &mut self.heartbeats) {
                        heartbeats.handle_heartbeat(now, heartbeat);
                    }
                    self.send.handle_rtcp(now, packet);
                    self.recv.handle_rtcp(now, packet);
                }
            }
        }
    }

    /// Asks for a keyframe by RTCP.
    pub(super) fn request_keyframe(&mut self, now: Instant, track: TrackId, encoding: EncodingId) {
        self.recv.request_keyframe(now, track, encoding);
    }

    /// Lets the machines notice the time; late packets for the merge are appended to `out`.
    pub(super) fn handle_timeout(&mut self, now: Instant, lacks: &dyn Lacks, out: &mut Vec<MediaPacket>) {
        if let Some(heartbeats) = &mut self.heartbeats {
            heartbeats.handle_timeout(now);
        }
        self.send.handle_timeout(now);
        self.recv.handle_timeout(now, lacks);
        while let Some(media) = self.recv.poll_received() {
            out.push(media.packet);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if !self.up {
            return None;
        }
        let heartbeats = self.heartbeats.as_ref().map(Heartbeats::poll_timeout);
        [heartbeats, self.send.poll_timeout(), self.recv.poll_timeout()].into_iter().flatten().min()
    }

    /// Sends what is due, as one batch.
    pub(super) fn transmit(&mut self, now: Instant) {
        if !self.up {
            return;
        }
        let mut any = false;
        while let Some(mut packet) = self.send.poll_transmit(now) {
            self.buffer.clear();
            if let (Some(stolen), Some(origin)) = (self.stolen, &mut packet.header.extensions.origin) {
                origin.source = stolen;
            }
            packet.write(&self.extensions, &mut self.buffer);
            self.sent.add(now, self.buffer.len());
            any |= self.hand_over(now, PacketBody::Rtp);
        }
        while let Some(compound) = self.send.poll_rtcp(now).or_else(|| self.recv.poll_rtcp(now)) {
            any |= self.send_rtcp(now, &compound);
        }
        if let Some(heartbeat) = self.heartbeats.as_mut().and_then(|heartbeats| heartbeats.poll_heartbeat(now)) {
            any |= self.send_rtcp(now, &[RtcpPacket::Heartbeat(heartbeat)]);
        }
        if any {
            self.link.flush();
        }
    }

    fn send_rtcp(&mut self, now: Instant, compound: &[RtcpPacket]) -> bool {
        self.buffer.clear();
        write_compound(compound, &mut self.buffer);
        !self.buffer.is_empty() && self.hand_over(now, PacketBody::Rtcp)
    }

    fn hand_over(&mut self, now: Instant, body: impl FnOnce(Bytes) -> PacketBody) -> bool {
        !self.cut && self.link.send(now, body(Bytes::copy_from_slice(&self.buffer)))
    }

    /// What the machines have to say. Call until `None`.
    pub(super) fn poll_output(&mut self) -> Option<LegOutput> {
        if let Some(event) = self.heartbeats.as_mut().and_then(Heartbeats::poll_event) {
            return Some(match event {
                HeartbeatEvent::Heard { rtt } => {
                    if let Some(rtt) = rtt {
                        self.send.note_rtt(rtt);
                    }
                    LegOutput::Heartbeat { rtt }
                }
                HeartbeatEvent::Lost => LegOutput::HeartbeatLost,
            });
        }
        while let Some(event) = self.send.poll_event() {
            match event {
                SendLegEvent::KeyframeRequested { track, encoding } => {
                    let encoding = self.shown.get(&track).copied().unwrap_or(encoding);
                    return Some(LegOutput::KeyframeRequested { track, encoding });
                }
                SendLegEvent::Rtt(rtt) => {
                    self.rtt = Some(rtt);
                    self.recv.set_rtt(rtt);
                }
                SendLegEvent::Overflow { track, encoding } => {
                    tracing::debug!(%track, encoding = encoding.0, "pacer overflow");
                }
                SendLegEvent::Remb(_) => {}
            }
        }
        None
    }
}

/// The sections a link is opened with: one for each kind where the other end knows origins, one per track otherwise.
pub(super) fn shared_sections(direction: Direction, seeds: &mut Seeds) -> Vec<Section> {
    [TrackKind::Audio, TrackKind::Video]
        .map(|kind| Section {
            kind,
            direction,
            name: match kind {
                TrackKind::Audio => "audio".to_owned(),
                TrackKind::Video => "video".to_owned(),
            },
            ssrc: seeds.ssrc(),
            rtx_ssrc: (kind == TrackKind::Video).then(|| seeds.ssrc()),
        })
        .into()
}

/// A section for one of our tracks.
pub(super) fn track_section(plan: &SectionPlan, seeds: &mut Seeds) -> Section {
    Section {
        kind: plan.kind,
        direction: Direction::SendOnly,
        name: plan.track.to_string(),
        ssrc: seeds.ssrc(),
        rtx_ssrc: (plan.kind == TrackKind::Video).then(|| seeds.ssrc()),
    }
}

/// A link's configuration; `turn_only` as the application wishes.
pub(super) fn link_config(
    id: LinkId,
    sections: Vec<Section>,
    channels: bool,
    ice_servers: &[proto::IceServer],
    options: (crate::net::peer_link::Interfaces, bool),
) -> LinkConfig {
    let ice_servers = ice_servers
        .iter()
        .map(|server| crate::net::peer_link::IceServer {
            urls: server.urls.clone(),
            username: server.username.clone(),
            credential: server.credential.clone(),
        })
        .collect();
    let (interfaces, turn_only) = options;
    LinkConfig { id, sections, ice_servers, interfaces, turn_only, channels }
}
