//! The relay's transport against a stock WebRTC peer over loopback UDP: offer and answer, ICE, DTLS, SRTP both ways, data channels.

#![allow(clippy::disallowed_methods, reason = "real sockets take real time")]

mod peer;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use peer::{Peer, Relay, h264, opus, run_until};
use rtc::data_channel::RTCDataChannelInit;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::rtp;
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use segue_model::{ExtSeq, Ssrc, TrackKind};
use segue_relay::sdp::{LocalTransport, PublisherOffer, Slot, StreamPair, SubscriberAnswer, subscriber_offer};
use segue_relay::transport::{
    DropReason, FailReason, Fingerprint, IceCredentials, LOSSY_CHANNEL, RTP_ROOM, RelayIdentity, SIGNAL_CHANNEL, SessionConfig,
    SrtpProfile, TransportEvent, TransportSession,
};

/// Packets each way.
const PACKETS: u64 = 500;

fn relay() -> (Arc<RelayIdentity>, Relay) {
    let identity = Arc::new(RelayIdentity::generate().unwrap());
    let credentials = IceCredentials::random().unwrap();
    let session = TransportSession::new(SessionConfig { identity: identity.clone(), credentials });
    (identity, Relay::new(session))
}

/// Negotiates a publisher transport: audio, video and both data channels.
fn publish(
    profiles: Vec<SrtpProtectionProfile>,
    change: impl FnOnce(&mut Vec<Fingerprint>),
) -> (Peer, Relay, PublisherOffer, [RTCRtpSenderId; 2]) {
    let mut peer = Peer::new(profiles);
    let audio = peer.add_track(RtpCodecKind::Audio, opus(), 1001);
    let video = peer.add_track(RtpCodecKind::Video, h264(), 1002);
    for (id, ordered) in [(SIGNAL_CHANNEL, true), (LOSSY_CHANNEL, false)] {
        let init = RTCDataChannelInit {
            ordered,
            max_retransmits: (!ordered).then_some(0),
            negotiated: Some(id),
            ..Default::default()
        };
        let channel = peer.pc.create_data_channel(if ordered { "signal" } else { "lossy" }, Some(init)).unwrap().id();
        peer.channels.push(channel);
    }
    let offer = peer.pc.create_offer(None).unwrap();
    peer.pc.set_local_description(Instant::now(), offer.clone()).unwrap();
    let offer = PublisherOffer::parse(&offer.sdp).unwrap();
    let (identity, mut relay) = relay();
    let mut fingerprints = offer.fingerprints().to_vec();
    change(&mut fingerprints);
    relay.session.set_remote(Instant::now(), fingerprints).unwrap();
    let candidates = [relay.address()];
    let local = LocalTransport {
        credentials: relay.session.credentials(),
        fingerprint: identity.fingerprint(),
        candidates: &candidates,
        session: 1,
        version: 1,
    };
    let answer = offer.answer(&local);
    peer.pc.set_remote_description(Instant::now(), RTCSessionDescription::answer(answer).unwrap()).unwrap();
    (peer, relay, offer, [audio, video])
}

fn connect(peer: &mut Peer, relay: &mut Relay) -> SrtpProfile {
    run_until(peer, relay, "connection", |peer, relay| peer.connected && relay.session.is_connected());
    let connected = relay.events.iter().find_map(|event| match event {
        TransportEvent::Connected { profile } => Some(*profile),
        _ => None,
    });
    connected.unwrap()
}

fn send_rtp(peer: &mut Peer, sender: RTCRtpSenderId, ssrc: u32, payload_type: u8, sequence: u16) {
    let header = rtp::header::Header { version: 2, payload_type, sequence_number: sequence, ssrc, ..Default::default() };
    let packet = rtp::packet::Packet { header, payload: Bytes::from(sequence.to_be_bytes().repeat(300)) };
    peer.pc.rtp_sender(sender).unwrap().write_rtp(Instant::now(), packet).unwrap();
}

/// Sends [`PACKETS`] on two tracks, in batches so that socket buffers bear them.
fn publish_media(peer: &mut Peer, relay: &mut Relay, offer: &PublisherOffer, senders: [RTCRtpSenderId; 2]) {
    let types: Vec<_> = offer.sections().iter().map(|section| section.payload_type).collect();
    for sequence in 0..PACKETS as u16 / 2 {
        for (index, sender) in senders.into_iter().enumerate() {
            send_rtp(peer, sender, 1001 + index as u32, types[index], sequence);
        }
        let sent = 2 * (usize::from(sequence) + 1);
        if sequence % 10 == 9 {
            run_until(peer, relay, "packets at the relay", |_, relay| relay.rtp.len() == sent);
        }
    }
    for (ssrc, sequence) in [(1001, 0), (1002, 249)] {
        let found = relay
            .rtp
            .iter()
            .find(|packet| packet[8..12] == u32::to_be_bytes(ssrc) && packet[2..4] == u16::to_be_bytes(sequence));
        assert!(found.is_some_and(|packet| packet.ends_with(&u16::to_be_bytes(sequence).repeat(300))));
    }
}

#[test]
fn a_publisher_connects_with_gcm_and_sends_media_and_data() {
    // The order a browser has, with the slow profile first.
    let profiles = vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80, SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm];
    let (mut peer, mut relay, offer, senders) = publish(profiles, |_| {});
    assert_eq!(offer.sections().iter().map(|section| section.payload_type).collect::<Vec<_>>(), [109, 98]);
    assert!(offer.has_data() && offer.sections().iter().all(|section| section.active && section.extensions.origin.is_some()));
    assert_eq!(connect(&mut peer, &mut relay), SrtpProfile::AeadAes128Gcm);
    assert_eq!(relay.session.nominated(), Some(peer.address));
    publish_media(&mut peer, &mut relay, &offer, senders);
    assert_eq!(relay.rtp.len() as u64, PACKETS);

    run_until(&mut peer, &mut relay, "open channels", |peer, relay| {
        peer.open_channels == 2 && relay.events.contains(&TransportEvent::ChannelsOpen)
    });
    let now = Instant::now();
    let channels = peer.channels.clone();
    peer.pc.data_channel(channels[0]).unwrap().send_text(now, "hello").unwrap();
    peer.pc.data_channel(channels[1]).unwrap().send(now, bytes::BytesMut::from(&[1u8, 2, 3][..])).unwrap();
    run_until(&mut peer, &mut relay, "messages at the relay", |_, relay| relay.messages().len() == 2);
    let messages = relay.messages();
    assert!(messages.contains(&(SIGNAL_CHANNEL, true, Bytes::from_static(b"hello"))));
    assert!(messages.contains(&(LOSSY_CHANNEL, false, Bytes::from_static(&[1, 2, 3]))));
    relay.session.send_data(now, SIGNAL_CHANNEL, true, b"text").unwrap();
    relay.session.send_data(now, LOSSY_CHANNEL, false, &[7; 1000]).unwrap();
    relay.session.send_data(now, LOSSY_CHANNEL, false, &[]).unwrap();
    run_until(&mut peer, &mut relay, "messages at the peer", |peer, _| peer.data.len() == 3);
    assert!(peer.data.contains(&(true, Bytes::from_static(b"text"))));
    assert!(peer.data.contains(&(false, Bytes::from(vec![7; 1000]))));
    assert!(peer.data.contains(&(false, Bytes::new())));

    relay.session.close(Instant::now());
    run_until(&mut peer, &mut relay, "goodbye at the peer", |peer, _| peer.closed);
    assert!(relay.session.is_over() && relay.demux.addresses() == 0);
}

#[test]
fn a_channel_that_is_opened_in_band_is_acknowledged() {
    let (mut peer, mut relay, ..) = publish(vec![], |_| {});
    connect(&mut peer, &mut relay);
    run_until(&mut peer, &mut relay, "open channels", |peer, _| peer.open_channels == 2);
    let channel = peer.pc.create_data_channel("chat", None).unwrap().id();
    run_until(&mut peer, &mut relay, "the third channel", |peer, _| peer.open_channels == 3);
    peer.pc.data_channel(channel).unwrap().send_text(Instant::now(), "third").unwrap();
    run_until(&mut peer, &mut relay, "its message", |_, relay| !relay.messages().is_empty());
    let (id, text, payload) = relay.messages().remove(0);
    assert!(id > LOSSY_CHANNEL && text && payload == "third");
    relay.session.send_data(Instant::now(), id, true, b"back").unwrap();
    run_until(&mut peer, &mut relay, "the answer", |peer, _| peer.data.contains(&(true, Bytes::from_static(b"back"))));
}

#[test]
fn a_peer_without_gcm_takes_the_slow_path_and_is_counted() {
    let (mut peer, mut relay, offer, senders) = publish(vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80], |_| {});
    assert_eq!(connect(&mut peer, &mut relay), SrtpProfile::Aes128CmSha1_80);
    publish_media(&mut peer, &mut relay, &offer, senders);
    assert!(relay.session.stats().slow_path_packets >= PACKETS);
}

#[test]
fn a_certificate_that_is_not_the_described_one_is_refused() {
    let (mut peer, mut relay, ..) = publish(vec![], |fingerprints| fingerprints[0].digest[0] ^= 1);
    run_until(&mut peer, &mut relay, "failure", |_, relay| {
        relay.events.contains(&TransportEvent::Failed(FailReason::Fingerprint))
    });
    assert!(!relay.session.is_connected());
}

#[test]
fn a_subscriber_connects_and_receives_media() {
    let mut peer = Peer::new(vec![]);
    let (identity, mut relay) = relay();
    let candidates = [relay.address()];
    let local = LocalTransport {
        credentials: relay.session.credentials(),
        fingerprint: identity.fingerprint(),
        candidates: &candidates,
        session: 2,
        version: 1,
    };
    let slot = |mid: &str, kind, ssrc, rtx: Option<u32>| Slot {
        mid: mid.to_owned(),
        kind,
        active: true,
        streams: vec![StreamPair { ssrc: Ssrc(ssrc), rtx: rtx.map(Ssrc) }],
        msid: Some(("s".to_owned(), format!("t{ssrc}"))),
    };
    let slots = [slot("a0", TrackKind::Audio, 2001, None), slot("v0", TrackKind::Video, 2002, Some(2003))];
    let offer = subscriber_offer(&local, &slots);
    peer.pc.set_remote_description(Instant::now(), RTCSessionDescription::offer(offer).unwrap()).unwrap();
    let answer = peer.pc.create_answer(None).unwrap();
    peer.pc.set_local_description(Instant::now(), answer.clone()).unwrap();
    let answer = SubscriberAnswer::parse(&answer.sdp, slots.len()).unwrap();
    assert!(answer.slots.iter().all(|slot| slot.receives));
    assert_eq!(answer.slots.iter().map(|slot| slot.payload_type).collect::<Vec<_>>(), [111, 102]);
    relay.session.set_remote(Instant::now(), answer.fingerprints).unwrap();
    assert_eq!(connect(&mut peer, &mut relay), SrtpProfile::AeadAes128Gcm);

    for number in 0..PACKETS {
        let (ssrc, payload_type) = if number % 2 == 0 { (2001u32, 111) } else { (2002, 102) };
        let index = ExtSeq(65_536 + 65_000 + number / 2 * 3);
        let mut packet = vec![0x80, payload_type];
        packet.extend(index.wire().0.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0x61; 500]);
        let len = packet.len();
        packet.resize(len + RTP_ROOM, 0);
        let sealed = relay.session.seal_rtp(index, &mut packet, len).unwrap();
        relay.socket.send_to(&packet[..sealed], relay.session.remote().unwrap()).unwrap();
        if number % 20 == 19 {
            run_until(&mut peer, &mut relay, "packets at the peer", |peer, _| peer.rtp.len() as u64 == number + 1);
        }
    }
    assert_eq!(peer.rtp.len() as u64, PACKETS);
    assert!(peer.rtp.iter().all(|packet| packet.payload[..] == [0x61; 500]));
}

#[test]
fn garbage_and_replays_are_counted_and_change_nothing() {
    let (mut peer, mut relay, offer, senders) = publish(vec![], |_| {});
    connect(&mut peer, &mut relay);
    publish_media(&mut peer, &mut relay, &offer, senders);
    let (now, from) = (Instant::now(), peer.address);
    let session = &mut relay.session;
    for len in 0..64 {
        for first in [0u8, 1, 20, 22, 23, 63, 64, 0x80, 0x90, 0xbf, 0xff] {
            for second in [0u8, 1, 96, 200, 255] {
                let mut datagram = vec![second; len];
                if let Some(byte) = datagram.first_mut() {
                    *byte = first;
                }
                session.handle_datagram(now, from, &mut datagram);
            }
        }
    }
    let drops = &session.stats().drops;
    for reason in [
        DropReason::Unrecognised,
        DropReason::StunMalformed,
        DropReason::RtpMalformed,
        DropReason::RtpUnauthentic,
        DropReason::RtcpMalformed,
        DropReason::DtlsDiscarded,
    ] {
        assert!(drops.of(reason) > 0, "{}", reason.name());
    }
    let mut stranger = [0x80; 50];
    session.handle_datagram(now, "127.0.0.1:9".parse().unwrap(), &mut stranger);
    assert_eq!(session.stats().drops.of(DropReason::UnknownAddress), 1);
    assert!(session.is_connected() && !session.is_over());
    relay.rtp.clear();
    let before = relay.rtp.len();
    send_rtp(&mut peer, senders[0], 1001, offer.sections()[0].payload_type, 400);
    run_until(&mut peer, &mut relay, "a packet after the garbage", |_, relay| relay.rtp.len() == before + 1);
}
