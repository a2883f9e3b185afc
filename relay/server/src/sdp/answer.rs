//! A publisher's offer and our answer to it.

use segue_media::packet::ExtensionMap;
use segue_model::TrackKind;
use segue_session::sdp::{Description, Section, SectionKind, Setup};

use super::write::{Writer, feedback_of};
use super::{Chosen, LocalTransport, SdpRefusal, StreamPair, choose, kind_of, remote_transport};
use crate::transport::Fingerprint;

/// An offer for a publisher transport, and what we take of it.
#[derive(Clone, Debug)]
pub struct PublisherOffer {
    description: Description,
    /// Media, protocol and formats of every `m=` line, to refuse a section in its own words.
    lines: Vec<MediaLine>,
    ufrag: String,
    fingerprints: Vec<Fingerprint>,
    sections: Vec<PublisherSection>,
    data: bool,
}

/// An offer of a client that only receives (WHEP), and what we take of it.
#[derive(Clone, Debug)]
pub struct PlayerOffer(PublisherOffer);

/// A media section we take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherSection {
    /// `a=mid`.
    pub mid: String,
    /// Audio or video.
    pub kind: TrackKind,
    /// The client sends on it now.
    pub active: bool,
    /// The client receives on it now.
    pub receives: bool,
    /// Payload type of the media.
    pub payload_type: u8,
    /// Payload type of its retransmissions.
    pub rtx_payload_type: Option<u8>,
    /// Header extensions of both ends, under the client's ids.
    pub extensions: ExtensionMap,
    /// Rids of simulcast, in the client's order; empty without simulcast.
    pub rids: Vec<String>,
    /// Streams the client declares; there may be others.
    pub streams: Vec<StreamPair>,
}

#[derive(Clone, Debug)]
struct MediaLine {
    media: String,
    proto: String,
    formats: String,
}

impl PublisherOffer {
    /// Reads an offer.
    ///
    /// # Errors
    /// Where it is no session description, or where nothing of it can be used.
    pub fn parse(text: &str) -> Result<Self, SdpRefusal> {
        let description = Description::parse(text)?;
        let (ufrag, fingerprints) = remote_transport(&description)?;
        let lines = text.lines().filter_map(MediaLine::parse).collect();
        let mut offer = Self { description, lines, ufrag, fingerprints, sections: Vec::new(), data: false };
        let mut sections = Vec::new();
        for section in offer.description.sections.iter().filter(|section| offer.takes(section)) {
            if section.setup == Some(Setup::Passive) {
                return Err(SdpRefusal::Passive);
            }
            let Some((kind, chosen)) = kind_of(section).zip(choose(section)) else { continue };
            if !section.rtcp_mux {
                return Err(SdpRefusal::NoRtcpMux);
            }
            sections.push(PublisherSection::new(section, kind, &chosen));
        }
        offer.sections = sections;
        offer.data = offer.description.sections.iter().any(|section| section.kind == SectionKind::Data && offer.takes(section));
        let wants_media = offer.description.sections.iter().any(|section| kind_of(section).is_some() && !section.rejected);
        if offer.sections.is_empty() && (wants_media || !offer.data) {
            return Err(SdpRefusal::NoCommonCodec);
        }
        Ok(offer)
    }

    /// The client's ICE username fragment: a new one restarts ICE, and asks for new credentials of ours.
    #[must_use]
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// The client's certificate, for [`crate::transport::TransportSession::set_remote`].
    #[must_use]
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// Sections we take, in order.
    #[must_use]
    pub fn sections(&self) -> &[PublisherSection] {
        &self.sections
    }

    /// Whether there is a section for data channels, which we take.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.data
    }

    /// Our answer: what we take `recvonly`, everything else refused with port zero (RFC 9429 section 5.3.1).
    #[must_use]
    pub fn answer(&self, local: &LocalTransport<'_>) -> String {
        self.answer_each(local, write_received)
    }

    /// An answer whose media sections `media` ends.
    fn answer_each(&self, local: &LocalTransport<'_>, mut media: impl FnMut(&mut Writer, &PublisherSection)) -> String {
        let sections = &self.description.sections;
        let taken: Vec<_> =
            sections.iter().filter(|section| self.answers(section)).map(|section| section.mid.as_str()).collect();
        let mut writer = Writer::new(local, &taken, self.description.extmap_allow_mixed);
        for (section, line) in sections.iter().zip(&self.lines) {
            match self.sections.iter().find(|taken| taken.mid == section.mid) {
                Some(taken) => {
                    write_media(&mut writer, local, section, taken, &line.proto);
                    media(&mut writer, taken);
                }
                None if self.answers(section) => writer.data(local, &line.proto, &section.mid, "passive"),
                None => {
                    writer.line(format_args!("m={} 0 {} {}", line.media, line.proto, line.formats));
                    writer.line("c=IN IP4 0.0.0.0");
                    writer.line("a=inactive");
                    writer.line(format_args!("a=mid:{}", section.mid));
                }
            }
        }
        writer.finish()
    }

    /// Whether the section is in use and on the one transport there is: in the BUNDLE group, or the first (RFC 9143 section 7.3).
    fn takes(&self, section: &Section) -> bool {
        let first = self.description.sections.first().is_some_and(|first| first.mid == section.mid);
        !section.rejected && (self.description.bundle.contains(&section.mid) || (first && self.description.bundle.is_empty()))
    }

    fn answers(&self, section: &Section) -> bool {
        let media = self.sections.iter().any(|taken| taken.mid == section.mid);
        media || (section.kind == SectionKind::Data && self.takes(section))
    }
}

impl PlayerOffer {
    /// Reads an offer. Sections on which the client receives are taken; those on which it only sends, and data, are refused.
    ///
    /// # Errors
    /// Where it is no session description, or where nothing of it can be used.
    pub fn parse(text: &str) -> Result<Self, SdpRefusal> {
        let mut offer = PublisherOffer::parse(text)?;
        offer.data = false;
        offer.sections.retain(|section| section.receives);
        if offer.sections.is_empty() {
            return Err(SdpRefusal::NothingReceived);
        }
        // What the relay sends is one encoding, without their names.
        for section in &mut offer.sections {
            section.rids.clear();
            (section.extensions.rid, section.extensions.repaired_rid) = (None, None);
        }
        Ok(Self(offer))
    }

    /// The client's certificate.
    #[must_use]
    pub fn fingerprints(&self) -> &[Fingerprint] {
        self.0.fingerprints()
    }

    /// Sections the client receives on, in order.
    #[must_use]
    pub fn sections(&self) -> &[PublisherSection] {
        &self.0.sections
    }

    /// Our answer: `sendonly` on what we take, with the streams that will come, in the order of [`Self::sections`].
    #[must_use]
    pub fn answer(&self, local: &LocalTransport<'_>, streams: &[StreamPair]) -> String {
        let mut streams = streams.iter();
        self.0.answer_each(local, |writer, taken| {
            writer.line("a=sendonly");
            // One media stream: what is played belongs together.
            let msid = ("segue", taken.mid.as_str());
            writer.line(format_args!("a=msid:{} {}", msid.0, msid.1));
            let repaired = taken.rtx_payload_type.is_some();
            let stream = streams.next().map(|stream| StreamPair { rtx: stream.rtx.filter(|_| repaired), ..*stream });
            writer.streams(stream.as_slice(), Some(msid));
        })
    }
}

impl PublisherSection {
    fn new(section: &Section, kind: TrackKind, chosen: &Chosen<'_>) -> Self {
        Self {
            mid: section.mid.clone(),
            kind,
            active: section.direction.sends(),
            receives: section.direction.receives(),
            payload_type: chosen.codec.payload_type,
            rtx_payload_type: chosen.codec.rtx.filter(|_| kind == TrackKind::Video),
            extensions: section.extensions,
            rids: section.simulcast_send.clone(),
            streams: section.streams.iter().map(|stream| StreamPair { ssrc: stream.ssrc, rtx: stream.rtx }).collect(),
        }
    }
}

impl MediaLine {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("m=")?.split_ascii_whitespace();
        let (media, _port, proto) = (words.next()?, words.next()?, words.next()?);
        Some(Self { media: media.to_owned(), proto: proto.to_owned(), formats: words.collect::<Vec<_>>().join(" ") })
    }
}

fn write_media(writer: &mut Writer, local: &LocalTransport<'_>, section: &Section, taken: &PublisherSection, proto: &str) {
    let Some(chosen) = choose(section) else { return };
    let media = if taken.kind == TrackKind::Audio { "audio" } else { "video" };
    let rtx = taken.rtx_payload_type.map(|rtx| format!(" {rtx}")).unwrap_or_default();
    writer.line(format_args!("m={media} 9 {proto} {}{rtx}", taken.payload_type));
    writer.transport(local, "passive");
    writer.line(format_args!("a=mid:{}", taken.mid));
    writer.line("a=rtcp-mux");
    if section.rtcp_rsize {
        writer.line("a=rtcp-rsize");
    }
    writer.extensions(taken.kind, &taken.extensions);
    let offered = |feedback: &&&str| chosen.codec.feedback.iter().any(|offered| offered == **feedback);
    let feedback: Vec<_> = feedback_of(taken.kind).iter().filter(offered).copied().collect();
    writer.codec(taken.kind, taken.payload_type, taken.rtx_payload_type, &chosen.fmtp, &feedback);
}

/// What a section has on which the client sends.
fn write_received(writer: &mut Writer, taken: &PublisherSection) {
    writer.line(if taken.active { "a=recvonly" } else { "a=inactive" });
    if !taken.rids.is_empty() {
        for rid in &taken.rids {
            writer.line(format_args!("a=rid:{rid} recv"));
        }
        writer.line(format_args!("a=simulcast:recv {}", taken.rids.join(";")));
    }
}
