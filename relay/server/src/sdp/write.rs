//! Lines that answers and offers share.

use std::fmt::Write as _;

use segue_media::packet::{ExtensionMap, uri};
use segue_model::TrackKind;

use super::{LocalTransport, StreamPair};
use crate::transport::{MAX_MESSAGE_LEN, SCTP_PORT};

/// Name of the sender in RTCP source descriptions (RFC 3550 section 6.5.1).
const CNAME: &str = "segue-relay";

/// A description as it grows. Writing to a string cannot fail, so results are dropped in one place.
pub(super) struct Writer {
    text: String,
}

impl Writer {
    /// Session level lines.
    pub(super) fn new(local: &LocalTransport<'_>, bundle: &[&str], allow_mixed: bool) -> Self {
        let mut writer = Self { text: String::new() };
        writer.line("v=0");
        writer.line(format_args!("o=- {} {} IN IP4 127.0.0.1", local.session, local.version));
        writer.line("s=-");
        writer.line("t=0 0");
        if !bundle.is_empty() {
            writer.line(format_args!("a=group:BUNDLE {}", bundle.join(" ")));
        }
        writer.line("a=msid-semantic:WMS *");
        if allow_mixed {
            writer.line("a=extmap-allow-mixed");
        }
        writer.line("a=ice-lite");
        writer
    }

    /// No session level at all.
    pub(super) fn fragment() -> Self {
        Self { text: String::new() }
    }

    pub(super) fn line(&mut self, line: impl std::fmt::Display) {
        let _ = write!(self.text, "{line}\r\n");
    }

    /// Address, ICE and DTLS of a section in use. Candidates stand in every section: which one a reader looks at differs.
    pub(super) fn transport(&mut self, local: &LocalTransport<'_>, setup: &str) {
        self.line("c=IN IP4 0.0.0.0");
        self.line(format_args!("a=fingerprint:{}", local.fingerprint));
        self.line(format_args!("a=setup:{setup}"));
        self.ice(local);
    }

    /// Credentials and candidates.
    pub(super) fn ice(&mut self, local: &LocalTransport<'_>) {
        self.line(format_args!("a=ice-ufrag:{}", local.credentials.ufrag));
        self.line(format_args!("a=ice-pwd:{}", local.credentials.pwd));
        for (index, address) in local.candidates.iter().enumerate() {
            // Host candidates, the first the best (RFC 8445 section 5.1.2.1).
            let priority = (126u32 << 24) | ((65_535 - index as u32) << 8) | 255;
            let (ip, port) = (address.ip(), address.port());
            self.line(format_args!("a=candidate:{} 1 udp {priority} {ip} {port} typ host", index + 1));
        }
        self.line("a=end-of-candidates");
    }

    /// Header extensions a section of this kind has.
    pub(super) fn extensions(&mut self, kind: TrackKind, map: &ExtensionMap) {
        let common = [
            (map.abs_send_time, uri::ABS_SEND_TIME),
            (map.transport_cc, uri::TRANSPORT_CC),
            (map.mid, uri::MID),
            (map.origin, uri::ORIGIN),
        ];
        let own = match kind {
            TrackKind::Audio => vec![(map.audio_level, uri::AUDIO_LEVEL)],
            TrackKind::Video => vec![(map.rid, uri::RID), (map.repaired_rid, uri::REPAIRED_RID)],
        };
        for (id, uri) in own.into_iter().chain(common) {
            if let Some(id) = id {
                self.line(format_args!("a=extmap:{id} {uri}"));
            }
        }
    }

    /// A codec with its repair format and feedback.
    pub(super) fn codec(&mut self, kind: TrackKind, payload_type: u8, rtx: Option<u8>, fmtp: &str, feedback: &[&str]) {
        match kind {
            TrackKind::Audio => self.line(format_args!("a=rtpmap:{payload_type} opus/48000/2")),
            TrackKind::Video => self.line(format_args!("a=rtpmap:{payload_type} H264/90000")),
        }
        self.line(format_args!("a=fmtp:{payload_type} {fmtp}"));
        for feedback in feedback {
            self.line(format_args!("a=rtcp-fb:{payload_type} {feedback}"));
        }
        if let Some(rtx) = rtx {
            self.line(format_args!("a=rtpmap:{rtx} rtx/90000"));
            self.line(format_args!("a=fmtp:{rtx} apt={payload_type}"));
        }
    }

    /// Streams we send on a section, with their repair streams (RFC 5576), and the media stream and track they belong to.
    pub(super) fn streams(&mut self, streams: &[StreamPair], msid: Option<(&str, &str)>) {
        for stream in streams {
            if let Some(repair) = stream.rtx {
                self.line(format_args!("a=ssrc-group:FID {} {}", stream.ssrc.0, repair.0));
            }
        }
        for ssrc in streams.iter().flat_map(|stream| [Some(stream.ssrc), stream.rtx]).flatten() {
            self.line(format_args!("a=ssrc:{} cname:{CNAME}", ssrc.0));
            if let Some((stream, track)) = msid {
                self.line(format_args!("a=ssrc:{} msid:{stream} {track}", ssrc.0));
            }
        }
    }

    /// The data channels' section (RFC 8841).
    pub(super) fn data(&mut self, local: &LocalTransport<'_>, proto: &str, mid: &str, setup: &str) {
        self.line(format_args!("m=application 9 {proto} webrtc-datachannel"));
        self.transport(local, setup);
        self.line(format_args!("a=mid:{mid}"));
        self.line(format_args!("a=sctp-port:{SCTP_PORT}"));
        self.line(format_args!("a=max-message-size:{MAX_MESSAGE_LEN}"));
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// Feedback we use, for one kind (RFC 4585, RFC 5104, transport-wide congestion control).
pub(super) const fn feedback_of(kind: TrackKind) -> &'static [&'static str] {
    match kind {
        TrackKind::Audio => &["transport-cc"],
        TrackKind::Video => &["transport-cc", "nack", "nack pli", "ccm fir"],
    }
}
