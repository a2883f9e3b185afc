//! Offers as browsers write them, and what becomes of them.

use std::net::SocketAddr;

use segue_media::packet::ExtensionMap;
use segue_model::{Ssrc, TrackKind};
use segue_session::sdp::{Description, Direction, SectionKind, Setup};

use super::*;

/// Session level and the lines every section of one transport has.
fn offer(bundle: &str, sections: &[String]) -> String {
    format!(
        "v=0\r\no=- 46117 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {bundle}\r\na=extmap-allow-mixed\r\n{}",
        sections.concat()
    )
}

fn transport(setup: &str) -> String {
    format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:Rfrg\r\na=ice-pwd:0123456789012345678901\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n",
        vec!["AB"; 32].join(":")
    )
}

fn audio(mid: &str) -> String {
    format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0\r\n{}a=mid:{mid}\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:9 urn:other\r\na=sendonly\r\na=msid:s a\r\na=rtcp-mux\r\n\
         a=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
         a=rtpmap:63 red/48000/2\r\na=rtpmap:0 PCMU/8000\r\na=ssrc:1111 cname:x\r\n",
        transport("actpass")
    )
}

/// Chromium's order: VP8 first, H.264 in several profiles, each with its RTX.
fn video(mid: &str) -> String {
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104 105 106 107\r\n{}a=mid:{mid}\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
         a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\na=extmap:5 urn:segue:origin\r\n\
         a=sendonly\r\na=msid:s v\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
         a=rtpmap:102 H264/90000\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
         a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
         a=rtpmap:104 H264/90000\r\na=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n\
         a=rtpmap:105 rtx/90000\r\na=fmtp:105 apt=104\r\n\
         a=rtpmap:106 H264/90000\r\na=rtcp-fb:106 goog-remb\r\na=rtcp-fb:106 transport-cc\r\na=rtcp-fb:106 nack\r\n\
         a=rtcp-fb:106 nack pli\r\na=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtpmap:107 rtx/90000\r\na=fmtp:107 apt=106\r\n\
         a=rid:f send\r\na=rid:h send\r\na=rid:q send\r\na=simulcast:send f;h;q\r\n",
        transport("actpass")
    )
}

fn data(mid: &str) -> String {
    format!(
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n{}a=mid:{mid}\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n",
        transport("actpass")
    )
}

fn with_local<T>(work: impl FnOnce(&LocalTransport<'_>) -> T) -> T {
    let credentials = IceCredentials { ufrag: "ourufrag".to_owned(), pwd: "ourpasswordourpassword24".to_owned() };
    let fingerprint = Fingerprint { algorithm: "sha-256".to_owned(), digest: vec![0x0f; 32] };
    let candidates: Vec<SocketAddr> = vec!["192.0.2.1:7000".parse().unwrap(), "[2001:db8::1]:7000".parse().unwrap()];
    work(&LocalTransport {
        credentials: &credentials,
        fingerprint: &fingerprint,
        candidates: &candidates,
        session: 7,
        version: 3,
    })
}

#[test]
fn a_browsers_simulcast_offer_is_taken() {
    let text = offer("0 1 2", &[audio("0"), video("1"), data("2")]);
    let read = PublisherOffer::parse(&text).unwrap();
    assert_eq!(read.ufrag(), "Rfrg");
    assert_eq!(read.fingerprints()[0].digest, [0xab; 32]);
    assert!(read.has_data());
    let [audio, video] = read.sections() else { panic!("two media sections") };
    assert_eq!((audio.payload_type, audio.rtx_payload_type, audio.kind), (111, None, TrackKind::Audio));
    assert_eq!(audio.streams, [StreamPair { ssrc: Ssrc(1111), rtx: None }]);
    assert_eq!((video.payload_type, video.rtx_payload_type, video.kind), (106, Some(107), TrackKind::Video));
    assert_eq!(video.rids, ["f", "h", "q"]);
    assert_eq!((video.extensions.origin, video.extensions.rid, video.extensions.audio_level), (Some(5), Some(10), None));

    let text = with_local(|local| read.answer(local));
    let answer = Description::parse(&text).unwrap();
    assert!(answer.ice_lite && answer.extmap_allow_mixed);
    assert_eq!(answer.bundle, ["0", "1", "2"]);
    for section in &answer.sections {
        assert_eq!(section.setup, Some(Setup::Passive));
        assert_eq!((section.ice.ufrag.as_str(), section.candidates.len(), section.rejected), ("ourufrag", 2, false));
        assert_eq!(section.fingerprints[0].digest, [0x0f; 32]);
    }
    let [audio, video, data] = &answer.sections[..] else { panic!("three sections") };
    assert_eq!((audio.direction, video.direction), (Direction::RecvOnly, Direction::RecvOnly));
    assert_eq!(audio.codecs.len(), 1);
    assert_eq!(audio.extensions, ExtensionMap { audio_level: Some(1), mid: Some(4), ..ExtensionMap::default() });
    assert_eq!((video.codecs[0].payload_type, video.codecs[0].rtx), (106, Some(107)));
    assert_eq!(video.codecs[0].feedback, ["transport-cc", "nack", "nack pli"]);
    assert_eq!(video.codecs[0].parameter("profile-level-id"), Some("42e01f"));
    assert_eq!(video.simulcast_receive, ["f", "h", "q"]);
    assert!(video.rids.len() == 3 && video.rids.iter().all(|rid| !rid.send));
    assert_eq!(video.extensions.origin, Some(5));
    assert_eq!((data.kind, data.sctp_port, data.max_message_size), (SectionKind::Data, Some(5000), Some(65_536)));
}

#[test]
fn what_is_not_known_is_refused_in_its_own_words() {
    let strange = format!("m=text 9 RTP/AVP 98\r\n{}a=mid:t\r\n", transport("actpass"));
    let vp8 = video("v").replace("H264", "H265");
    let text = offer("t v a", &[strange, vp8, audio("a"), data("alone")]);
    let text = with_local(|local| PublisherOffer::parse(&text).unwrap().answer(local));
    assert!(text.contains("m=text 0 RTP/AVP 98\r\n"));
    assert!(text.contains("m=video 0 UDP/TLS/RTP/SAVPF 96 97 102"));
    // In no BUNDLE group: there is no second transport.
    assert!(text.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel"));
    let answer = Description::parse(&text).unwrap();
    assert_eq!(answer.bundle, ["a"]);
    assert_eq!(answer.sections.iter().map(|section| section.rejected).collect::<Vec<_>>(), [true, true, false, true]);
}

#[test]
fn an_offer_that_cannot_be_used_says_why() {
    let refused = |text: String| PublisherOffer::parse(&text).unwrap_err();
    let good = offer("a", &[audio("a")]);
    assert!(matches!(refused("hello".to_owned()), SdpRefusal::Bad(_)));
    assert_eq!(refused(good.replace("opus", "speex")), SdpRefusal::NoCommonCodec);
    assert_eq!(refused(good.replace("a=ice-ufrag:Rfrg\r\n", "")), SdpRefusal::NoIce);
    assert_eq!(refused(good.replace("sha-256", "md5")), SdpRefusal::NoFingerprint);
    assert_eq!(refused(good.replace("actpass", "passive")), SdpRefusal::Passive);
    assert_eq!(refused(good.replace("a=rtcp-mux\r\n", "")), SdpRefusal::NoRtcpMux);
    assert_eq!(refused("hello".to_owned()).kind(), Refusal::BadSdp);
    assert_eq!(refused(good.replace("opus", "speex")).kind(), Refusal::Incompatible);
    assert!(PublisherOffer::parse(&offer("d", &[data("d")])).unwrap().has_data());
}

#[test]
fn an_offer_of_ours_reads_as_it_was_meant() {
    let slot = |mid: &str, kind, active, ssrc: Option<u32>| Slot {
        mid: mid.to_owned(),
        kind,
        active,
        streams: ssrc.map(|ssrc| StreamPair { ssrc: Ssrc(ssrc), rtx: Some(Ssrc(ssrc + 1)) }).into_iter().collect(),
        msid: active.then(|| ("p1".to_owned(), "t1".to_owned())),
    };
    let slots = [
        slot("0", TrackKind::Audio, true, None),
        slot("1", TrackKind::Video, true, Some(5)),
        slot("2", TrackKind::Video, false, None),
    ];
    let text = with_local(|local| subscriber_offer(local, &slots));
    let read = Description::parse(&text).unwrap();
    assert!(read.ice_lite);
    assert_eq!(read.bundle, ["0", "1", "2"]);
    assert_eq!(
        read.sections.iter().map(|section| section.direction).collect::<Vec<_>>(),
        [Direction::SendOnly, Direction::SendOnly, Direction::Inactive]
    );
    assert!(
        read.sections.iter().all(|section| section.setup == Some(Setup::ActPass) && section.rtcp_mux && section.rtcp_rsize)
    );
    let video = &read.sections[1];
    assert_eq!((video.codecs[0].payload_type, video.codecs[0].rtx), (H264, Some(H264_RTX)));
    assert_eq!(video.codecs[0].feedback, ["transport-cc", "nack", "nack pli", "ccm fir"]);
    assert_eq!(video.streams[0].rtx, Some(Ssrc(6)));
    assert_eq!(video.msid.as_ref().map(|msid| msid.track.as_str()), Some("t1"));
    let ours = ExtensionMap::ours();
    assert_eq!(video.extensions, ExtensionMap { audio_level: None, ..ours });
    assert_eq!(read.sections[0].extensions, ExtensionMap { rid: None, repaired_rid: None, ..ours });
}

#[test]
fn answers_to_us_are_checked() {
    let answer = |setup: &str| {
        let text = offer("a v", &[audio("a"), video("v")]).replace("sendonly", "recvonly");
        SubscriberAnswer::parse(&text.replace("actpass", setup), 2)
    };
    let read = answer("active").unwrap();
    assert_eq!(read.ufrag, "Rfrg");
    assert_eq!(
        read.slots.iter().map(|slot| (slot.payload_type, slot.receives)).collect::<Vec<_>>(),
        [(111, true), (106, true)]
    );
    assert_eq!(answer("passive"), Err(SdpRefusal::Passive));
    assert_eq!(answer("actpass"), Err(SdpRefusal::Passive));
    let one = offer("a", &[audio("a")]).replace("actpass", "active");
    assert_eq!(SubscriberAnswer::parse(&one, 2), Err(SdpRefusal::SectionCount { wanted: 2, got: 1 }));
    let refused = offer("", &[audio("a").replace("m=audio 9", "m=audio 0")]);
    assert_eq!(SubscriberAnswer::parse(&refused, 1), Err(SdpRefusal::NoCommonCodec));
}
