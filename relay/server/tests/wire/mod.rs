//! A stock WebRTC peer as an SDK client uses one: ICE, DTLS, SRTP and data channels are its own, RTP and RTCP go in and out as plain
//! bytes through one interceptor, so that every SSRC, payload type and extension is the test's.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::data_channel::{RTCDataChannelId, RTCDataChannelInit};
use rtc::interceptor::{AttributedPacket, Interceptor, Packet, Registry, Slot, StreamInfo, TaggedPacket};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MediaEngine};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCDtlsRole, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability,
    RtpCodecKind,
};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use rtc::shared::marshal::{Marshal, Unmarshal};
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use segue_media::packet::{RtcpPacket, parse_compound, uri, write_compound};

/// Queues between the test and the interceptor.
#[derive(Default)]
pub struct Wire {
    out: VecDeque<Packet>,
    pub rtp: Vec<Bytes>,
    pub rtcp: Vec<RtcpPacket>,
}

struct Tap(Arc<Mutex<Wire>>);

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        let mut wire = self.0.lock().unwrap();
        match &packet.message.packet {
            Packet::Rtp(packet) => wire.rtp.push(packet.marshal()?.freeze()),
            Packet::Rtcp(packets) => {
                let bytes = rtc::rtcp::packet::marshal(packets)?;
                wire.rtcp.extend(parse_compound(&bytes).unwrap());
            }
            _ => {}
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, _: TaggedPacket) -> Result<(), Error> {
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        let packet = self.0.lock().unwrap().out.pop_front()?;
        let message = AttributedPacket::new(packet);
        Some(TaggedPacket { now: super::now(), transport: TransportContext::default(), message })
    }
}

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

/// The peer with its socket and what came out of it.
pub struct Peer {
    pc: RTCPeerConnection,
    socket: UdpSocket,
    address: SocketAddr,
    pub wire: Arc<Mutex<Wire>>,
    pub connected: bool,
    lossy: Option<RTCDataChannelId>,
    pub open_channels: usize,
    /// The relay said goodbye.
    pub closed: bool,
    pub data: Vec<(bool, Bytes)>,
}

fn codec(mime: &str, clock_rate: u32, channels: u16, fmtp: &str) -> RTCRtpCodec {
    RTCRtpCodec { mime_type: mime.to_owned(), clock_rate, channels, sdp_fmtp_line: fmtp.to_owned(), rtcp_feedback: vec![] }
}

fn opus() -> RTCRtpCodec {
    codec(MIME_TYPE_OPUS, 48_000, 2, "minptime=10;useinbandfec=1")
}

fn h264() -> RTCRtpCodec {
    codec(MIME_TYPE_H264, 90_000, 0, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
}

fn media_engine() -> MediaEngine {
    let mut media = MediaEngine::default();
    let rtx = codec(MIME_TYPE_RTX, 90_000, 0, "apt=102");
    let codecs = [(opus(), 111, RtpCodecKind::Audio), (h264(), 102, RtpCodecKind::Video), (rtx, 103, RtpCodecKind::Video)];
    for (rtp_codec, payload_type, kind) in codecs {
        media.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, kind).unwrap();
    }
    for uri in [uri::AUDIO_LEVEL, uri::ABS_SEND_TIME, uri::TRANSPORT_CC, uri::MID, uri::ORIGIN] {
        for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
            let capability = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
            media.register_header_extension(capability, kind, None).unwrap();
        }
    }
    media
}

impl Peer {
    /// A datagram as if the peer had sent it.
    pub fn send_datagram(&self, to: SocketAddr, datagram: &[u8]) {
        self.socket.send_to(datagram, to).unwrap();
    }

    pub fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let address = socket.local_addr().unwrap();
        let wire = Arc::new(Mutex::new(Wire::default()));
        let settings = SettingEngineBuilder::new()
            .with_answering_dtls_role(RTCDtlsRole::Client)
            .with_ice_connection_attempts(Some(Duration::from_millis(20)), Some(500))
            .build();
        let mut pc = RTCPeerConnectionBuilder::new()
            .with_setting_engine(settings)
            .with_media_engine(media_engine())
            .with_interceptor_registry(Registry::new().with(Slot::from(1), Tap(wire.clone())))
            .build(super::now())
            .unwrap();
        let base_config = CandidateConfig {
            network: "udp".to_owned(),
            address: address.ip().to_string(),
            port: address.port(),
            component: 1,
            ..Default::default()
        };
        let candidate = CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host().unwrap();
        pc.add_local_candidate(RTCIceCandidate::from(&candidate).to_json().unwrap()).unwrap();
        let (connected, lossy, open_channels, closed, data) = (false, None, 0, false, Vec::new());
        Self { pc, socket, address, wire, connected, lossy, open_channels, closed, data }
    }

    /// An offer of one audio and one video section and both data channels.
    pub fn offer(&mut self) -> String {
        for (kind, codec) in [(RtpCodecKind::Audio, opus()), (RtpCodecKind::Video, h264())] {
            let coding = RTCRtpCodingParameters { ssrc: Some(9_000 + kind as u32), ..Default::default() };
            let encoding = RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec, ..Default::default() };
            let name = format!("{kind:?}");
            let track = MediaStreamTrack::new("segue".to_owned(), name.clone(), name, kind, vec![encoding]);
            self.pc.add_track(track).unwrap();
        }
        for (id, label) in [(0, "signal"), (1, "lossy")] {
            let max_retransmits = (id == 1).then_some(0);
            let init = RTCDataChannelInit { ordered: id == 0, max_retransmits, negotiated: Some(id), ..Default::default() };
            self.lossy = Some(self.pc.create_data_channel(label, Some(init)).unwrap().id());
        }
        let offer = self.pc.create_offer(None).unwrap();
        self.pc.set_local_description(super::now(), offer.clone()).unwrap();
        offer.sdp
    }

    pub fn accept_answer(&mut self, sdp: String) {
        self.pc.set_remote_description(super::now(), RTCSessionDescription::answer(sdp).unwrap()).unwrap();
    }

    pub fn answer(&mut self, offer: String) -> String {
        self.pc.set_remote_description(super::now(), RTCSessionDescription::offer(offer).unwrap()).unwrap();
        let answer = self.pc.create_answer(None).unwrap();
        self.pc.set_local_description(super::now(), answer.clone()).unwrap();
        answer.sdp
    }

    pub fn send_rtp(&mut self, bytes: &[u8]) {
        let packet = rtc::rtp::Packet::unmarshal(&mut Bytes::copy_from_slice(bytes)).unwrap();
        self.wire.lock().unwrap().out.push_back(Packet::Rtp(packet));
    }

    pub fn send_rtcp(&mut self, packets: &[RtcpPacket]) {
        let mut bytes = Vec::new();
        write_compound(packets, &mut bytes);
        let raw = rtc::rtcp::raw_packet::RawPacket(Bytes::from(bytes));
        self.wire.lock().unwrap().out.push_back(Packet::Rtcp(vec![Box::new(raw)]));
    }

    pub fn send_lossy(&mut self, text: bool, payload: &[u8]) {
        let mut channel = self.pc.data_channel(self.lossy.unwrap()).unwrap();
        if text {
            channel.send_text(super::now(), String::from_utf8(payload.to_vec()).unwrap()).unwrap();
        } else {
            channel.send(super::now(), BytesMut::from(payload)).unwrap();
        }
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        self.pc.close().unwrap();
        self.flush();
    }

    /// One turn: waits at most a millisecond for a datagram.
    pub fn turn(&mut self) {
        let mut buffer = [0; 2048];
        self.flush();
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            let transport = TransportContext {
                local_addr: self.address,
                peer_addr: from,
                ecn: None,
                transport_protocol: TransportProtocol::UDP,
            };
            let message = BytesMut::from(&buffer[..len]);
            let _ = self.pc.handle_read(TaggedBytesMut { now: super::now(), transport, message });
            self.flush();
        }
    }

    fn flush(&mut self) {
        let now = super::now();
        if self.pc.poll_timeout().is_some_and(|at| at <= now) {
            let _ = self.pc.handle_timeout(now);
        }
        while let Some(transmit) = self.pc.poll_write() {
            let _ = self.socket.send_to(&transmit.message, transmit.transport.peer_addr);
        }
        while let Some(event) = self.pc.poll_event() {
            match event {
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => {
                    self.connected = state == RTCPeerConnectionState::Connected;
                    self.closed |= state == RTCPeerConnectionState::Closed;
                }
                RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnOpen(_)) => self.open_channels += 1,
                RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnClose(_)) => self.closed = true,
                _ => {}
            }
        }
        while let Some(TaggedRTCMessage { message, .. }) = self.pc.poll_read() {
            if let RTCMessage::DataChannelMessage(_, message) = message {
                self.data.push((message.is_string, message.data.freeze()));
            }
        }
    }
}
