//! How the WebRTC stack is set up: codecs, header extensions, ICE and DTLS.

use std::time::Duration;

use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::ice::network_type::NetworkType;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MediaEngine};
use rtc::peer_connection::configuration::setting_engine::{SettingEngine, SettingEngineBuilder};
use rtc::peer_connection::configuration::{RTCConfiguration, RTCConfigurationBuilder, RTCIceServer, RTCIceTransportPolicy};
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters, RtpCodecKind,
};
use rtc_shared::error::Result;
use segue_media::packet::ORIGIN_URI;
use segue_model::TrackKind;

use super::{Interfaces, LinkConfig, Section};

/// Payload types of our offers.
const OPUS_PAYLOAD_TYPE: u8 = 111;
const H264_PAYLOAD_TYPE: u8 = 102;
const H264_RTX_PAYLOAD_TYPE: u8 = 103;

/// Constrained baseline, level 3.1; larger pictures are sent under `level-asymmetry-allowed`.
const H264_FMTP: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
const OPUS_FMTP: &str = "minptime=10;useinbandfec=1";

/// Header extensions in the order that gives them the ids of our offers: the stack counts from 1. The gaps keep ids 6 to 9
/// free, so that RIDs get 10 and 11 as browsers number them.
const EXTENSIONS: [(&str, Carried); 11] = [
    ("urn:ietf:params:rtp-hdrext:ssrc-audio-level", Carried::Audio),
    ("http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", Carried::Both),
    ("http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01", Carried::Both),
    ("urn:ietf:params:rtp-hdrext:sdes:mid", Carried::Both),
    (ORIGIN_URI, Carried::Both),
    ("urn:segue:unused:6", Carried::Never),
    ("urn:segue:unused:7", Carried::Never),
    ("urn:segue:unused:8", Carried::Never),
    ("urn:segue:unused:9", Carried::Never),
    ("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", Carried::Video),
    ("urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id", Carried::Video),
];

/// Which kinds of section an extension is offered on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carried {
    Audio,
    Video,
    Both,
    Never,
}

/// Time between two connectivity checks of a pair. The stack's own 200 ms costs a join several of them in a row.
const ICE_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Checks of a pair before it counts as failed: 10 s, for answers that travel slowly.
const ICE_MAX_CHECKS: u16 = 500;

/// ICE silence before a link says `Disconnected`. Heartbeats notice sooner; this is the second opinion.
const ICE_DISCONNECTED: Duration = Duration::from_secs(3);

/// Further silence before it says `Failed` and a restart is due.
const ICE_FAILED: Duration = Duration::from_secs(6);

/// Keep-alives of an idle link.
const ICE_KEEPALIVE: Duration = Duration::from_secs(1);

/// How long better pairs are waited for before a reflexive one is taken.
const REFLEXIVE_WAIT: Duration = Duration::from_millis(50);

/// Likewise before a relayed one is taken.
const TURN_WAIT: Duration = Duration::from_millis(300);

/// SRTP replay window in packets: 1 s of 10 Mbit/s, so that reordering by a path change is not taken for replay.
const SRTP_REPLAY_WINDOW: usize = 1024;

/// Likewise for SRTCP, whose packets are few.
const SRTCP_REPLAY_WINDOW: usize = 256;

pub(super) const fn codec_kind(kind: TrackKind) -> RtpCodecKind {
    match kind {
        TrackKind::Audio => RtpCodecKind::Audio,
        TrackKind::Video => RtpCodecKind::Video,
    }
}

/// Opus and H.264 with its RTX, and the header extensions.
pub(super) fn media_engine() -> Result<MediaEngine> {
    let mut engine = MediaEngine::default();
    for kind in [TrackKind::Audio, TrackKind::Video] {
        let parameters = RTCRtpCodecParameters { rtp_codec: codec(kind), payload_type: payload_type(kind) };
        engine.register_codec(parameters, codec_kind(kind))?;
    }
    let rtx = RTCRtpCodec {
        mime_type: MIME_TYPE_RTX.to_owned(),
        clock_rate: TrackKind::Video.clock_rate(),
        channels: 0,
        sdp_fmtp_line: format!("apt={H264_PAYLOAD_TYPE}"),
        rtcp_feedback: vec![],
    };
    engine
        .register_codec(RTCRtpCodecParameters { rtp_codec: rtx, payload_type: H264_RTX_PAYLOAD_TYPE }, RtpCodecKind::Video)?;
    for (uri, carried) in EXTENSIONS {
        let kinds: &[RtpCodecKind] = match carried {
            Carried::Audio => &[RtpCodecKind::Audio],
            Carried::Video => &[RtpCodecKind::Video],
            Carried::Both => &[RtpCodecKind::Audio, RtpCodecKind::Video],
            Carried::Never => &[RtpCodecKind::Unspecified],
        };
        for &kind in kinds {
            engine.register_header_extension(RTCRtpHeaderExtensionCapability { uri: uri.to_owned() }, kind, None)?;
        }
    }
    Ok(engine)
}

const fn payload_type(kind: TrackKind) -> u8 {
    match kind {
        TrackKind::Audio => OPUS_PAYLOAD_TYPE,
        TrackKind::Video => H264_PAYLOAD_TYPE,
    }
}

fn codec(kind: TrackKind) -> RTCRtpCodec {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() };
    match kind {
        TrackKind::Audio => RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: kind.clock_rate(),
            channels: 2,
            sdp_fmtp_line: OPUS_FMTP.to_owned(),
            rtcp_feedback: vec![feedback("transport-cc", "")],
        },
        TrackKind::Video => RTCRtpCodec {
            mime_type: MIME_TYPE_H264.to_owned(),
            clock_rate: kind.clock_rate(),
            channels: 0,
            sdp_fmtp_line: H264_FMTP.to_owned(),
            rtcp_feedback: vec![
                feedback("transport-cc", ""),
                feedback("ccm", "fir"),
                feedback("nack", ""),
                feedback("nack", "pli"),
            ],
        },
    }
}

/// A track that declares a section's SSRCs. No packet is ever written through it.
pub(super) fn declared_track(section: &Section) -> MediaStreamTrack {
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(section.ssrc),
            rtx: section.rtx_ssrc.map(|ssrc| RTCRtpRtxParameters { ssrc }),
            ..Default::default()
        },
        codec: codec(section.kind),
        active: true,
        ..Default::default()
    };
    MediaStreamTrack::new(
        "segue".to_owned(),
        section.name.clone(),
        section.name.clone(),
        codec_kind(section.kind),
        vec![coding],
    )
}

/// ICE and DTLS as this house wants them.
pub(super) fn setting_engine(config: &LinkConfig) -> SettingEngine {
    SettingEngineBuilder::new()
        .with_ice_timeouts(Some(ICE_DISCONNECTED), Some(ICE_FAILED), Some(ICE_KEEPALIVE))
        .with_ice_connection_attempts(Some(ICE_CHECK_INTERVAL), Some(ICE_MAX_CHECKS))
        .with_host_acceptance_min_wait(Some(Duration::ZERO))
        .with_srflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_prflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_relay_acceptance_min_wait(Some(TURN_WAIT))
        .with_network_types(vec![NetworkType::Udp4, NetworkType::Udp6])
        .with_include_loopback_candidate(config.interfaces != Interfaces::All)
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_answering_dtls_role(RTCDtlsRole::Client)
        .with_srtp_protection_profiles(vec![
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        ])
        .with_srtp_replay_protection_window(SRTP_REPLAY_WINDOW)
        .with_srtcp_replay_protection_window(SRTCP_REPLAY_WINDOW)
        .with_discard_local_candidates_during_ice_restart(true)
        .build()
}

/// ICE servers and policy.
pub(super) fn configuration(config: &LinkConfig) -> RTCConfiguration {
    let servers = config
        .ice_servers
        .iter()
        .map(|server| RTCIceServer {
            urls: server.urls.clone(),
            username: server.username.clone(),
            credential: server.credential.clone(),
        })
        .collect();
    let policy = if config.turn_only { RTCIceTransportPolicy::Relay } else { RTCIceTransportPolicy::All };
    RTCConfigurationBuilder::new().with_ice_servers(servers).with_ice_transport_policy(policy).build()
}

/// Local addresses to bind; wildcards stand for every interface of their family.
pub(super) fn bind_addresses(interfaces: Interfaces) -> Vec<String> {
    let addresses: &[&str] = match interfaces {
        Interfaces::All => &["0.0.0.0:0", "[::]:0"],
        Interfaces::AllAndLoopback => &["0.0.0.0:0", "[::]:0", "127.0.0.1:0"],
        Interfaces::LoopbackOnly => &["127.0.0.1:0"],
    };
    addresses.iter().map(|&address| address.to_owned()).collect()
}
