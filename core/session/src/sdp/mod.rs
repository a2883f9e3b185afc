//! What two ends agreed on, read out of session descriptions (RFC 8866, JSEP RFC 9429).
//!
//! Reads only: descriptions are written by the peer connection of a client and by the transport of a relay. Text from the network is
//! hostile: lines, sections and lists are bounded, unknown attributes are skipped, and nothing here panics.

mod attribute;
mod parse;
#[cfg(test)]
mod tests;

use segue_media::packet::ExtensionMap;
use segue_model::Ssrc;

pub use parse::{MAX_LEN, MAX_LINE_LEN, MAX_LIST_LEN, MAX_SECTIONS};

/// A parsed session description. Attributes that may stand at session level (ICE, DTLS) are copied into every section that has none
/// of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Session id of the `o=` line (RFC 8866 section 5.2): the same for the life of one peer connection, so a new one means that the
    /// other side began anew.
    pub session_id: String,
    /// `a=ice-lite` (RFC 8839 section 5.3).
    pub ice_lite: bool,
    /// Mids of the BUNDLE group (RFC 9143), in order.
    pub bundle: Vec<String>,
    /// `a=extmap-allow-mixed` at session level (RFC 8285 section 6).
    pub extmap_allow_mixed: bool,
    /// The `m=` sections in order.
    pub sections: Vec<Section>,
}

/// One `m=` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// `a=mid`; the index of the section where it has none.
    pub mid: String,
    /// What it carries.
    pub kind: SectionKind,
    /// Port zero without `a=bundle-only`: refused or stopped.
    pub rejected: bool,
    /// Who sends, as its writer sees it.
    pub direction: Direction,
    /// Codecs in order of preference, without the repair formats (their payload type stands in [`Codec::rtx`]).
    pub codecs: Vec<Codec>,
    /// Ids of the header extensions this house uses.
    pub extensions: ExtensionMap,
    /// `a=rid` lines (RFC 8851).
    pub rids: Vec<Rid>,
    /// `a=simulcast` (RFC 8853): rids to send, largest first as written.
    pub simulcast_send: Vec<String>,
    /// `a=simulcast`: rids to receive.
    pub simulcast_receive: Vec<String>,
    /// Declared streams with their repair streams (`a=ssrc`, `a=ssrc-group:FID`; RFC 5576).
    pub streams: Vec<Stream>,
    /// `a=msid`: stream and track id (RFC 8830).
    pub msid: Option<Msid>,
    /// ICE parameters (RFC 8839).
    pub ice: IceParameters,
    /// `a=fingerprint` (RFC 8122).
    pub fingerprints: Vec<Fingerprint>,
    /// `a=setup` (RFC 8842).
    pub setup: Option<Setup>,
    /// `a=candidate` lines, without `a=`, as text (RFC 8839 section 5.1).
    pub candidates: Vec<String>,
    /// `a=end-of-candidates`.
    pub end_of_candidates: bool,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize` (RFC 5506).
    pub rtcp_rsize: bool,
    /// `a=sctp-port` of a data section (RFC 8841).
    pub sctp_port: Option<u16>,
    /// `a=max-message-size` of a data section, in bytes (RFC 8841); 0 means any size.
    pub max_message_size: Option<u64>,
}

/// What a section carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SectionKind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
    /// `m=application`: data channels.
    Data,
    /// Something this house does not speak.
    #[default]
    Other,
}

/// Who sends, seen from the writer of the description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    #[default]
    SendRecv,
    /// The writer sends.
    SendOnly,
    /// The writer receives.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// The writer sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// The writer receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// A codec of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codec {
    /// RTP payload type.
    pub payload_type: u8,
    /// Encoding name as written (`opus`, `H264`).
    pub name: String,
    /// RTP clock in Hz.
    pub clock_rate: u32,
    /// Channels of `a=rtpmap`, 1 where it names none.
    pub channels: u8,
    /// The text of `a=fmtp`.
    pub fmtp: String,
    /// Payload type of the RTX format that repairs it (RFC 4588, `apt`).
    pub rtx: Option<u8>,
    /// `a=rtcp-fb` values for it, those for `*` included (RFC 4585).
    pub feedback: Vec<String>,
}

impl Codec {
    /// The value of a parameter of `a=fmtp`, names compared without case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// One `a=rid` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rid {
    /// The identifier.
    pub id: String,
    /// The writer sends it; it receives it otherwise.
    pub send: bool,
}

/// A declared stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// The SSRC of its repair stream.
    pub rtx: Option<Ssrc>,
}

/// `a=msid`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Msid {
    /// Id of the media stream.
    pub stream: String,
    /// Id of the track, empty where the line has none.
    pub track: String,
}

/// ICE parameters of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceParameters {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
    /// `a=ice-options` (`trickle`, `renomination`).
    pub options: Vec<String>,
}

/// `a=fingerprint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash function in lower case (`sha-256`).
    pub algorithm: String,
    /// The digest.
    pub digest: Vec<u8>,
}

/// DTLS role (RFC 8842 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Starts the handshake.
    Active,
    /// Waits for it.
    Passive,
    /// Either; offers say so.
    ActPass,
}

/// Why a description was refused. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Longer than [`MAX_LEN`].
    #[error("the session description has {0} bytes, more than {MAX_LEN}: offer fewer sections or codecs")]
    TooLong(usize),
    /// A line longer than [`MAX_LINE_LEN`].
    #[error("line {line} of the session description is longer than {MAX_LINE_LEN} bytes: shorten it")]
    LineTooLong {
        /// Counted from 1.
        line: usize,
    },
    /// More sections than [`MAX_SECTIONS`].
    #[error("the session description has more than {MAX_SECTIONS} sections: reuse stopped ones")]
    TooManySections,
    /// A section repeats one attribute more than [`MAX_LIST_LEN`] times.
    #[error(
        "line {line} of the session description is one {what} too many, {MAX_LIST_LEN} are allowed in a section: leave some out"
    )]
    TooMany {
        /// The attribute.
        what: &'static str,
        /// Counted from 1.
        line: usize,
    },
    /// Does not begin with `v=0`.
    #[error("the session description does not begin with v=0: send the text of an offer or an answer")]
    NotSdp,
    /// A line that cannot be read.
    #[error("line {line} of the session description is malformed: write {what} as its RFC says")]
    Malformed {
        /// The attribute or line type.
        what: &'static str,
        /// Counted from 1.
        line: usize,
    },
    /// Two sections have one mid.
    #[error("two sections of the session description have the mid {0:?}: give each its own")]
    DuplicateMid(String),
    /// Nothing but an empty session.
    #[error("the session description has no section: offer audio, video or data")]
    NoSection,
}

impl Description {
    /// Reads a description.
    ///
    /// # Errors
    /// Text that is no session description, breaks a limit, or has a malformed line among those this house needs.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        parse::parse(text)
    }

    /// The section of a mid.
    #[must_use]
    pub fn section(&self, mid: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.mid == mid)
    }

    /// ICE user fragment of the first section that is in use: the generation of its candidates.
    #[must_use]
    pub fn ufrag(&self) -> Option<&str> {
        self.sections
            .iter()
            .find(|section| !section.rejected && !section.ice.ufrag.is_empty())
            .map(|section| section.ice.ufrag.as_str())
    }
}

impl Section {
    /// The first codec of that name, compared without case.
    #[must_use]
    pub fn codec(&self, name: &str) -> Option<&Codec> {
        self.codecs.iter().find(|codec| codec.name.eq_ignore_ascii_case(name))
    }
}
