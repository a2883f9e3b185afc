//! Offers, and what an answer says.

use std::fmt::Write as _;
use std::net::SocketAddr;

use segue_media::packet::{ExtensionMap, uri};
use segue_session::sdp::{Description, SectionKind, Setup};

/// Payload types of our offers.
pub const OPUS: u8 = 111;
/// H.264.
pub const H264: u8 = 102;
/// Its repair format.
pub const H264_RTX: u8 = 103;

/// What a leg says of itself.
#[derive(Clone, Debug)]
pub struct Ours {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
    /// SHA-256 of the certificate.
    pub fingerprint: Vec<u8>,
    /// The leg sends; it receives otherwise.
    pub sends: bool,
    /// SSRCs of audio and video, where it sends.
    pub ssrcs: [u32; 2],
    /// It gives and takes transport-wide feedback.
    pub feedback: bool,
}

/// What the server says.
#[derive(Clone, Debug)]
pub struct Theirs {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
    /// The first UDP candidate that can be reached from here.
    pub address: SocketAddr,
    /// Header extensions of the transport.
    pub extensions: ExtensionMap,
    /// Payload types of audio and video.
    pub payload_types: [Option<u8>; 2],
}

impl Ours {
    /// One section of audio and one of video.
    #[must_use]
    pub fn offer(&self) -> String {
        let mut sdp = String::from(
            "v=0\r\no=- 4711 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\n",
        );
        self.section(&mut sdp, "audio", "0", &[OPUS], self.ssrcs[0]);
        sdp.push_str("a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n");
        let _ = write!(sdp, "a=extmap:1 {}\r\n", uri::AUDIO_LEVEL);
        self.section(&mut sdp, "video", "1", &[H264, H264_RTX], self.ssrcs[1]);
        sdp.push_str(
            "a=rtpmap:102 H264/90000\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
             a=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\na=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n",
        );
        if self.feedback {
            sdp.push_str("a=rtcp-fb:102 transport-cc\r\n");
        }
        sdp
    }

    // Writing to a string cannot fail.
    fn section(&self, sdp: &mut String, media: &str, mid: &str, formats: &[u8], ssrc: u32) {
        let formats: Vec<_> = formats.iter().map(u8::to_string).collect();
        let fingerprint: Vec<_> = self.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
        let direction = if self.sends { "sendonly" } else { "recvonly" };
        let _ = write!(
            sdp,
            "m={media} 9 UDP/TLS/RTP/SAVPF {}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
             a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
             a=extmap:4 {}\r\n",
            formats.join(" "),
            self.ufrag,
            self.pwd,
            fingerprint.join(":"),
            uri::MID,
        );
        if self.feedback {
            let _ = write!(sdp, "a=extmap:3 {}\r\n", uri::TRANSPORT_CC);
        }
        if self.sends {
            let _ = write!(sdp, "a=msid:bench {media}\r\na=ssrc:{ssrc} cname:bench\r\n");
        }
    }
}

impl Theirs {
    /// Reads an answer.
    ///
    /// # Errors
    /// A sentence that says what the answer lacks.
    pub fn parse(sdp: &str) -> Result<Self, String> {
        let description = Description::parse(sdp).map_err(|error| error.to_string())?;
        let live = || description.sections.iter().filter(|section| !section.rejected);
        let first = live().next().ok_or("the answer refuses every section")?;
        if live().any(|section| section.setup == Some(Setup::Active)) {
            return Err("the answer says setup:active; the generator is a DTLS client only".to_owned());
        }
        let candidates = live().flat_map(|section| section.candidates.iter());
        let address = candidates.filter_map(|candidate| address_of(candidate)).next();
        let mut extensions = ExtensionMap::default();
        let mut payload_types = [None; 2];
        for section in live() {
            extensions.audio_level = extensions.audio_level.or(section.extensions.audio_level);
            extensions.transport_cc = extensions.transport_cc.or(section.extensions.transport_cc);
            extensions.mid = extensions.mid.or(section.extensions.mid);
            let index = match section.kind {
                SectionKind::Audio => 0,
                SectionKind::Video => 1,
                SectionKind::Data | SectionKind::Other => continue,
            };
            payload_types[index] = section.codecs.first().map(|codec| codec.payload_type);
        }
        Ok(Self {
            ufrag: first.ice.ufrag.clone(),
            pwd: first.ice.pwd.clone(),
            address: address.ok_or("the answer has no UDP candidate over IPv4")?,
            extensions,
            payload_types,
        })
    }
}

/// `candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host` (RFC 8839 section 5.1).
fn address_of(candidate: &str) -> Option<SocketAddr> {
    let words: Vec<_> = candidate.split_ascii_whitespace().collect();
    let [_, component, protocol, _, ip, port, ..] = words.as_slice() else { return None };
    let udp = *component == "1" && protocol.eq_ignore_ascii_case("udp");
    let address = SocketAddr::new(ip.parse().ok()?, port.parse().ok()?);
    (udp && address.is_ipv4()).then_some(address)
}
