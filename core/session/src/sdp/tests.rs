use proptest::prelude::*;

use super::*;

const OFFER: &str = "v=0\r\n\
o=- 4611731400430051336 2 IN IP4 127.0.0.1\r\n\
s=-\r\n\
t=0 0\r\n\
a=group:BUNDLE 0 1 2\r\n\
a=extmap-allow-mixed\r\n\
a=ice-options:trickle\r\n\
a=fingerprint:sha-256 AB:CD:01\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\n\
a=ice-ufrag:abcd\r\n\
a=ice-pwd:0123456789012345678901\r\n\
a=setup:actpass\r\n\
a=mid:0\r\n\
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
a=extmap:5 urn:segue:origin\r\n\
a=sendonly\r\n\
a=msid:s t\r\n\
a=rtcp-mux\r\n\
a=rtpmap:111 opus/48000/2\r\n\
a=rtcp-fb:111 transport-cc\r\n\
a=fmtp:111 minptime=10;useinbandfec=1\r\n\
a=rtpmap:63 red/48000/2\r\n\
a=ssrc:77 cname:x\r\n\
a=ssrc:77 msid:s t\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\n\
a=ice-ufrag:abcd\r\n\
a=ice-pwd:0123456789012345678901\r\n\
a=setup:actpass\r\n\
a=mid:1\r\n\
a=rtpmap:102 H264/90000\r\n\
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
a=rtcp-fb:* nack\r\n\
a=rtcp-fb:102 nack pli\r\n\
a=rtpmap:103 rtx/90000\r\n\
a=fmtp:103 apt=102\r\n\
a=ssrc-group:FID 5 6\r\n\
a=ssrc:5 cname:x\r\n\
a=ssrc:6 cname:x\r\n\
a=rid:f send\r\n\
a=rid:h send\r\n\
a=simulcast:send f;~h\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
a=ice-ufrag:abcd\r\n\
a=ice-pwd:0123456789012345678901\r\n\
a=mid:2\r\n\
a=setup:actpass\r\n\
a=sctp-port:5000\r\n\
a=max-message-size:262144\r\n\
a=candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host\r\n";

#[test]
fn an_offer_is_read_whole() {
    let offer = Description::parse(OFFER).unwrap();
    assert_eq!(offer.session_id, "4611731400430051336");
    assert_eq!(offer.bundle, ["0", "1", "2"]);
    assert_eq!(offer.ufrag(), Some("abcd"));
    let [audio, video, data] = &offer.sections[..] else { panic!("three sections") };
    assert_eq!((audio.kind, audio.direction, audio.setup), (SectionKind::Audio, Direction::SendOnly, Some(Setup::ActPass)));
    assert_eq!(audio.codec("OPUS").unwrap().parameter("useinbandfec"), Some("1"));
    assert_eq!(audio.codecs[0].channels, 2);
    assert_eq!((audio.extensions.audio_level, audio.extensions.origin), (Some(1), Some(5)));
    assert_eq!(audio.fingerprints, [Fingerprint { algorithm: "sha-256".into(), digest: vec![0xab, 0xcd, 1] }]);
    assert_eq!(audio.streams, [Stream { ssrc: Ssrc(77), rtx: None }]);
    assert_eq!(video.codecs.len(), 1);
    assert_eq!(video.codecs[0].rtx, Some(103));
    assert_eq!(video.codecs[0].feedback, ["nack", "nack pli"]);
    assert_eq!(video.streams, [Stream { ssrc: Ssrc(5), rtx: Some(Ssrc(6)) }]);
    assert_eq!(video.simulcast_send, ["f", "h"]);
    assert_eq!(video.rids.len(), 2);
    assert_eq!((data.kind, data.sctp_port, data.max_message_size), (SectionKind::Data, Some(5000), Some(262_144)));
    assert_eq!(data.candidates, ["candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host"]);
}

#[test]
fn bad_text_is_named() {
    assert_eq!(Description::parse(""), Err(SdpError::NotSdp));
    assert_eq!(Description::parse("hello"), Err(SdpError::NotSdp));
    assert_eq!(Description::parse("v=0\r\n"), Err(SdpError::NoSection));
    assert_eq!(Description::parse(&"v".repeat(MAX_LEN + 1)), Err(SdpError::TooLong(MAX_LEN + 1)));
    let two = "v=0\r\nm=audio 9 X 0\r\na=mid:a\r\nm=audio 9 X 0\r\na=mid:a\r\n";
    assert_eq!(Description::parse(two), Err(SdpError::DuplicateMid("a".into())));
    let broken = "v=0\r\nm=audio 9 X 0\r\na=rtpmap:300 opus/48000\r\n";
    assert_eq!(Description::parse(broken), Err(SdpError::Malformed { what: "rtpmap", line: 3 }));
    let many = format!("v=0\r\n{}", "m=audio 9 X 0\r\n".repeat(MAX_SECTIONS + 1));
    assert_eq!(Description::parse(&many), Err(SdpError::TooManySections));
}

#[test]
fn a_stopped_section_is_rejected_and_a_bundled_one_is_not() {
    let text = "v=0\r\nm=audio 0 X 0\r\nm=video 0 X 96\r\na=bundle-only\r\n";
    let parsed = Description::parse(text).unwrap();
    assert!(parsed.sections[0].rejected);
    assert!(!parsed.sections[1].rejected);
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,400}") {
        let _ = Description::parse(&text);
        let _ = Description::parse(&format!("v=0\r\nm=audio 9 X 0\r\n{text}"));
    }

    #[test]
    fn no_damage_to_an_offer_panics(at in 0..OFFER.len(), with in "[ -~\r\n]{0,4}", cut in 0usize..40) {
        let mut bytes = OFFER.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, with.bytes());
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = Description::parse(&text);
        }
    }
}
