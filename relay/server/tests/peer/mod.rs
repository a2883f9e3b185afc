//! A stock WebRTC peer without sockets, and the loop that joins it to a relay transport over loopback UDP.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::data_channel::RTCDataChannelId;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MediaEngine};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCDtlsRole, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp;
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability,
    RtpCodecKind,
};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use segue_relay::transport::{Demux, Inbound, Route, TransportEvent, TransportSession, answer_stun};

/// How long a test may take; loopback takes a fraction of a second.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The peer with its socket and what came out of it.
pub struct Peer {
    pub pc: RTCPeerConnection,
    pub socket: UdpSocket,
    pub address: SocketAddr,
    pub connected: bool,
    pub channels: Vec<RTCDataChannelId>,
    pub open_channels: usize,
    pub rtp: Vec<rtp::packet::Packet>,
    pub data: Vec<(bool, Bytes)>,
    pub closed: bool,
}

/// The relay's end with its socket and what came out of it.
pub struct Relay {
    pub session: TransportSession,
    pub demux: Demux<u32>,
    pub socket: UdpSocket,
    pub rtp: Vec<Vec<u8>>,
    pub rtcp: usize,
    pub events: Vec<TransportEvent>,
}

fn codec(mime: &str, clock_rate: u32, channels: u16, fmtp: &str) -> RTCRtpCodec {
    RTCRtpCodec { mime_type: mime.to_owned(), clock_rate, channels, sdp_fmtp_line: fmtp.to_owned(), rtcp_feedback: vec![] }
}

pub fn opus() -> RTCRtpCodec {
    codec(MIME_TYPE_OPUS, 48_000, 2, "minptime=10;useinbandfec=1")
}

pub fn h264() -> RTCRtpCodec {
    codec(MIME_TYPE_H264, 90_000, 0, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
}

impl Peer {
    pub fn new(profiles: Vec<SrtpProtectionProfile>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let mut media = MediaEngine::default();
        for (codec, payload_type, kind) in [(opus(), 109, RtpCodecKind::Audio), (h264(), 98, RtpCodecKind::Video)] {
            let parameters = RTCRtpCodecParameters { rtp_codec: codec, payload_type };
            media.register_codec(parameters, kind).unwrap();
            for uri in ["urn:ietf:params:rtp-hdrext:sdes:mid", "urn:segue:origin"] {
                let capability = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
                media.register_header_extension(capability, kind, None).unwrap();
            }
        }
        // Left to itself this peer answers the offer of an ICE-lite host with `passive`.
        let mut settings = SettingEngineBuilder::new().with_answering_dtls_role(RTCDtlsRole::Client);
        if !profiles.is_empty() {
            settings = settings.with_srtp_protection_profiles(profiles);
        }
        let mut pc = RTCPeerConnectionBuilder::new()
            .with_setting_engine(settings.build())
            .with_media_engine(media)
            .build(Instant::now())
            .unwrap();
        let candidate = CandidateHostConfig {
            base_config: CandidateConfig {
                network: "udp".to_owned(),
                address: address.ip().to_string(),
                port: address.port(),
                component: 1,
                ..Default::default()
            },
            ..Default::default()
        };
        let candidate = RTCIceCandidate::from(&candidate.new_candidate_host().unwrap()).to_json().unwrap();
        pc.add_local_candidate(candidate).unwrap();
        Self {
            pc,
            socket,
            address,
            connected: false,
            channels: vec![],
            open_channels: 0,
            rtp: vec![],
            data: vec![],
            closed: false,
        }
    }

    pub fn add_track(&mut self, kind: RtpCodecKind, codec: RTCRtpCodec, ssrc: u32) -> RTCRtpSenderId {
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
            codec,
            ..Default::default()
        };
        let track = MediaStreamTrack::new(format!("stream{ssrc}"), format!("track{ssrc}"), String::new(), kind, vec![encoding]);
        self.pc.add_track(track).unwrap()
    }

    fn poll(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(transmit) = self.pc.poll_write() {
            let _ = self.socket.send_to(&transmit.message, transmit.transport.peer_addr);
            busy = true;
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
            match message {
                RTCMessage::RtpPacket(_, packet) => self.rtp.push(packet),
                RTCMessage::DataChannelMessage(_, message) => self.data.push((message.is_string, message.data.freeze())),
                _ => {}
            }
        }
        if self.pc.poll_timeout().is_some_and(|at| at <= now) {
            let _ = self.pc.handle_timeout(now);
        }
        busy
    }

    fn read(&mut self, now: Instant) -> bool {
        let mut buffer = [0; 2048];
        let Ok((len, from)) = self.socket.recv_from(&mut buffer) else { return false };
        let transport = TransportContext {
            local_addr: self.address,
            peer_addr: from,
            ecn: None,
            transport_protocol: TransportProtocol::UDP,
        };
        let _ = self.pc.handle_read(TaggedBytesMut { now, transport, message: BytesMut::from(&buffer[..len]) });
        true
    }
}

impl Relay {
    pub fn new(session: TransportSession) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut demux = Demux::new();
        demux.insert_ufrag(&session.credentials().ufrag, 1).unwrap();
        Self { session, demux, socket, rtp: vec![], rtcp: 0, events: vec![] }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn poll(&mut self, now: Instant) -> bool {
        let mut busy = false;
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
        while let Some(transmit) = self.session.poll_transmit() {
            let _ = self.socket.send_to(&transmit.payload, transmit.to);
            busy = true;
        }
        while let Some(event) = self.session.poll_event() {
            match &event {
                TransportEvent::AddressAdded(address) => self.demux.bind(*address, 1),
                TransportEvent::AddressRemoved(address) => self.demux.release(*address, 1),
                TransportEvent::UfragRetired(ufrag) => self.demux.remove_ufrag(ufrag),
                _ => {}
            }
            self.events.push(event);
        }
        busy
    }

    fn read(&mut self, now: Instant) -> bool {
        let mut buffer = [0; 2048];
        let Ok((len, from)) = self.socket.recv_from(&mut buffer) else { return false };
        match self.demux.route(from, &buffer[..len]) {
            Route::Session(_) | Route::Contested => match self.session.handle_datagram(now, from, &mut buffer[..len]) {
                Inbound::Rtp(len) => self.rtp.push(buffer[..len].to_vec()),
                Inbound::Rtcp(_) => self.rtcp += 1,
                Inbound::Consumed => {}
            },
            Route::PlainStun => {
                let mut out = Vec::new();
                if answer_stun(&buffer[..len], from, &mut out) {
                    let _ = self.socket.send_to(&out, from);
                }
            }
            Route::Unknown => {}
        }
        true
    }

    pub fn messages(&self) -> Vec<(u16, bool, Bytes)> {
        let data = |event: &TransportEvent| match event {
            TransportEvent::Data(message) => Some((message.channel, message.text, message.payload.clone())),
            _ => None,
        };
        self.events.iter().filter_map(data).collect()
    }
}

/// Runs both until `done`, or panics with `what` when patience ends.
pub fn run_until(peer: &mut Peer, relay: &mut Relay, what: &str, done: impl Fn(&Peer, &Relay) -> bool) {
    let begin = Instant::now();
    while !done(peer, relay) {
        let now = Instant::now();
        assert!(now - begin < PATIENCE, "no {what}: drops {:?}, events {:?}", relay.session.stats(), relay.events);
        let busy = [peer.poll(now), relay.poll(now), peer.read(now), relay.read(now)];
        if !busy.contains(&true) {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}
