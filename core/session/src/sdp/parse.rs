//! The line parser.

use std::collections::BTreeSet;

use segue_media::packet::ExtensionMap;
use segue_model::Ssrc;

use super::attribute;
use super::{Codec, Description, IceParameters, SdpError, Section, SectionKind, Setup, Stream};

/// Longest description in bytes: a browser's offer with thirty sections has about 120 kB.
pub const MAX_LEN: usize = 256 * 1024;

/// Longest line in bytes: candidates and fingerprints stay below 300.
pub const MAX_LINE_LEN: usize = 4096;

/// Most sections: two slots (audio, video) for each of 64 tracks someone may receive at once.
pub const MAX_SECTIONS: usize = 128;

/// Most entries of one attribute in a section: Chromium lists about 40 payload types, and 60 candidates on odd machines.
pub const MAX_LIST_LEN: usize = 128;

pub(super) fn parse(text: &str) -> Result<Description, SdpError> {
    if text.len() > MAX_LEN {
        return Err(SdpError::TooLong(text.len()));
    }
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        reader.handle_line(index + 1, line.trim_end())?;
    }
    reader.finish()
}

/// Attributes that may stand at session level and hold for every section without its own (RFC 8839 section 5.4, RFC 8842).
#[derive(Default)]
struct Shared {
    ice: IceParameters,
    fingerprints: Vec<super::Fingerprint>,
    setup: Option<Setup>,
    direction: Option<super::Direction>,
    extensions: ExtensionMap,
}

#[derive(Default)]
struct Reader {
    begun: bool,
    session: Description,
    shared: Shared,
    section: Option<Draft>,
}

/// A section while its lines are read.
#[derive(Default)]
struct Draft {
    section: Section,
    has_mid: bool,
    has_direction: bool,
    bundle_only: bool,
    port_zero: bool,
    formats: Vec<u8>,
    maps: Vec<Codec>,
    parameters: Vec<(u8, String)>,
    feedback: Vec<(Option<u8>, String)>,
    ssrcs: Vec<Ssrc>,
    groups: Vec<(Ssrc, Ssrc)>,
}

impl Reader {
    fn handle_line(&mut self, line: usize, text: &str) -> Result<(), SdpError> {
        if text.len() > MAX_LINE_LEN {
            return Err(SdpError::LineTooLong { line });
        }
        if text.is_empty() {
            return Ok(());
        }
        let Some((letter, value)) = text.split_once('=') else {
            return Err(if self.begun { SdpError::Malformed { what: "a line", line } } else { SdpError::NotSdp });
        };
        if !self.begun {
            self.begun = letter == "v" && value.trim() == "0";
            return if self.begun { Ok(()) } else { Err(SdpError::NotSdp) };
        }
        match letter {
            "o" => self.session.session_id = value.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned(),
            "m" => self.handle_media(line, value)?,
            "a" => {
                let (name, value) = value.split_once(':').unwrap_or((value, ""));
                match &mut self.section {
                    Some(draft) => draft.handle_attribute(line, name, value.trim())?,
                    None => self.handle_session_attribute(line, name, value.trim())?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_session_attribute(&mut self, line: usize, name: &str, value: &str) -> Result<(), SdpError> {
        let malformed = |what| SdpError::Malformed { what, line };
        match name {
            "ice-lite" => self.session.ice_lite = true,
            "extmap-allow-mixed" => self.session.extmap_allow_mixed = true,
            "group" => {
                if let Some(mids) = value.strip_prefix("BUNDLE") {
                    self.session.bundle = mids.split_ascii_whitespace().take(MAX_SECTIONS).map(str::to_owned).collect();
                }
            }
            "extmap" => attribute::extmap(value, &mut self.shared.extensions).ok_or(malformed("extmap"))?,
            "setup" => self.shared.setup = Some(attribute::setup(value).ok_or(malformed("setup"))?),
            "fingerprint" => {
                let fingerprint = attribute::fingerprint(value).ok_or(malformed("fingerprint"))?;
                push(&mut self.shared.fingerprints, fingerprint, "fingerprint", line)?;
            }
            _ if handle_ice(&mut self.shared.ice, name, value) => {}
            _ => {
                if let Some(direction) = attribute::direction(name) {
                    self.shared.direction = Some(direction);
                }
            }
        }
        Ok(())
    }

    /// `m=audio 9 UDP/TLS/RTP/SAVPF 111 0` (RFC 8866 section 5.14).
    fn handle_media(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        self.close_section()?;
        if self.session.sections.len() >= MAX_SECTIONS {
            return Err(SdpError::TooManySections);
        }
        let malformed = || SdpError::Malformed { what: "m", line };
        let mut words = value.split_ascii_whitespace();
        let kind = attribute::section_kind(words.next().ok_or_else(malformed)?);
        let port = words.next().ok_or_else(malformed)?;
        let port = port.split('/').next().unwrap_or_default().parse::<u16>().map_err(|_| malformed())?;
        words.next().ok_or_else(malformed)?;
        let mut draft = Draft { port_zero: port == 0, ..Draft::default() };
        draft.section.kind = kind;
        if matches!(kind, SectionKind::Audio | SectionKind::Video) {
            for word in words {
                let format = attribute::payload_type_of(word).ok_or_else(malformed)?;
                push(&mut draft.formats, format, "format", line)?;
            }
        }
        self.section = Some(draft);
        Ok(())
    }

    fn close_section(&mut self) -> Result<(), SdpError> {
        let Some(draft) = self.section.take() else { return Ok(()) };
        let section = draft.finish(self.session.sections.len(), &self.shared);
        self.session.sections.push(section);
        Ok(())
    }

    fn finish(mut self) -> Result<Description, SdpError> {
        self.close_section()?;
        if !self.begun {
            return Err(SdpError::NotSdp);
        }
        if self.session.sections.is_empty() {
            return Err(SdpError::NoSection);
        }
        let mut mids = BTreeSet::new();
        match self.session.sections.iter().find(|section| !mids.insert(section.mid.as_str())) {
            Some(section) => Err(SdpError::DuplicateMid(section.mid.clone())),
            None => Ok(self.session),
        }
    }
}

impl Draft {
    fn handle_attribute(&mut self, line: usize, name: &str, value: &str) -> Result<(), SdpError> {
        let malformed = |what| SdpError::Malformed { what, line };
        let section = &mut self.section;
        match name {
            "mid" => {
                if value.is_empty() {
                    return Err(malformed("mid"));
                }
                value.clone_into(&mut section.mid);
                self.has_mid = true;
            }
            "bundle-only" => self.bundle_only = true,
            "msid" => section.msid = Some(attribute::msid(value).ok_or(malformed("msid"))?),
            "setup" => section.setup = Some(attribute::setup(value).ok_or(malformed("setup"))?),
            "fingerprint" => {
                let fingerprint = attribute::fingerprint(value).ok_or(malformed("fingerprint"))?;
                push(&mut section.fingerprints, fingerprint, "fingerprint", line)?;
            }
            "candidate" => push(&mut section.candidates, format!("candidate:{value}"), "candidate", line)?,
            "end-of-candidates" => section.end_of_candidates = true,
            "rtcp-mux" => section.rtcp_mux = true,
            "rtcp-rsize" => section.rtcp_rsize = true,
            "sctp-port" => section.sctp_port = Some(value.parse().map_err(|_| malformed("sctp-port"))?),
            "max-message-size" => section.max_message_size = Some(value.parse().map_err(|_| malformed("max-message-size"))?),
            "extmap" => attribute::extmap(value, &mut section.extensions).ok_or(malformed("extmap"))?,
            _ if handle_ice(&mut section.ice, name, value) => {}
            _ => match attribute::direction(name) {
                Some(direction) => {
                    section.direction = direction;
                    self.has_direction = true;
                }
                None => self.handle_stream_attribute(line, name, value)?,
            },
        }
        Ok(())
    }

    fn handle_stream_attribute(&mut self, line: usize, name: &str, value: &str) -> Result<(), SdpError> {
        let malformed = |what| SdpError::Malformed { what, line };
        match name {
            "rtpmap" => push(&mut self.maps, attribute::rtpmap(value).ok_or(malformed("rtpmap"))?, "rtpmap", line)?,
            "fmtp" => {
                let (format, text) = attribute::numbered(value).ok_or(malformed("fmtp"))?;
                push(&mut self.parameters, (format, text.to_owned()), "fmtp", line)?;
            }
            "rtcp-fb" => {
                let (format, text) = value.split_once(' ').ok_or(malformed("rtcp-fb"))?;
                let format = match format {
                    "*" => None,
                    number => Some(attribute::payload_type_of(number).ok_or(malformed("rtcp-fb"))?),
                };
                // Eight kinds of feedback for each format: bounded by lines, wider than the other lists.
                if self.feedback.len() >= 8 * MAX_LIST_LEN {
                    return Err(SdpError::TooMany { what: "rtcp-fb", line });
                }
                self.feedback.push((format, text.trim().to_owned()));
            }
            "rid" => push(&mut self.section.rids, attribute::rid(value).ok_or(malformed("rid"))?, "rid", line)?,
            "simulcast" => {
                let (send, receive) = attribute::simulcast(value).ok_or(malformed("simulcast"))?;
                self.section.simulcast_send = send;
                self.section.simulcast_receive = receive;
            }
            "ssrc" => {
                let ssrc = attribute::ssrc(value).ok_or(malformed("ssrc"))?;
                if !self.ssrcs.contains(&ssrc) {
                    push(&mut self.ssrcs, ssrc, "ssrc", line)?;
                }
            }
            "ssrc-group" => {
                if let Some(group) = attribute::fid_group(value).ok_or(malformed("ssrc-group"))? {
                    push(&mut self.groups, group, "ssrc-group", line)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self, index: usize, shared: &Shared) -> Section {
        let codecs = self.codecs();
        let streams = self.streams();
        let mut section = self.section;
        section.rejected = self.port_zero && !self.bundle_only;
        section.codecs = codecs;
        section.streams = streams;
        if !self.has_mid {
            section.mid = index.to_string();
        }
        if !self.has_direction {
            section.direction = shared.direction.unwrap_or_default();
        }
        if section.ice.ufrag.is_empty() {
            section.ice.ufrag.clone_from(&shared.ice.ufrag);
            section.ice.pwd.clone_from(&shared.ice.pwd);
        }
        if section.ice.options.is_empty() {
            section.ice.options.clone_from(&shared.ice.options);
        }
        if section.fingerprints.is_empty() {
            section.fingerprints.clone_from(&shared.fingerprints);
        }
        section.setup = section.setup.or(shared.setup);
        inherit(&mut section.extensions, &shared.extensions);
        section
    }

    /// Formats in the order of the `m=` line, RTX folded into what it repairs (RFC 4588 section 8.1).
    fn codecs(&self) -> Vec<Codec> {
        let fmtp = |format: u8| {
            self.parameters.iter().find(|(of, _)| *of == format).map(|(_, text)| text.as_str()).unwrap_or_default()
        };
        let is_rtx = |codec: &Codec| codec.name.eq_ignore_ascii_case("rtx");
        let repairs = |format: u8| {
            let of = |codec: &&Codec| {
                let probe = Codec { fmtp: fmtp(codec.payload_type).to_owned(), ..Codec::default() };
                is_rtx(codec) && probe.parameter("apt").and_then(attribute::payload_type_of) == Some(format)
            };
            self.maps.iter().find(of).map(|codec| codec.payload_type)
        };
        let mapped = self.formats.iter().filter_map(|format| self.maps.iter().find(|codec| codec.payload_type == *format));
        mapped
            .filter(|codec| !is_rtx(codec))
            .map(|codec| Codec {
                fmtp: fmtp(codec.payload_type).to_owned(),
                rtx: repairs(codec.payload_type),
                feedback: self.feedback_of(codec.payload_type),
                ..codec.clone()
            })
            .collect()
    }

    fn feedback_of(&self, format: u8) -> Vec<String> {
        let for_it = self.feedback.iter().filter(|(of, _)| of.is_none_or(|of| of == format));
        for_it.map(|(_, text)| text.clone()).collect()
    }

    fn streams(&self) -> Vec<Stream> {
        let is_repair = |ssrc: Ssrc| self.groups.iter().any(|(_, repair)| *repair == ssrc);
        let repair_of = |ssrc: Ssrc| self.groups.iter().find(|(media, _)| *media == ssrc).map(|(_, repair)| *repair);
        let media = self.ssrcs.iter().copied().filter(|ssrc| !is_repair(*ssrc));
        media.map(|ssrc| Stream { ssrc, rtx: repair_of(ssrc) }).collect()
    }
}

fn handle_ice(ice: &mut IceParameters, name: &str, value: &str) -> bool {
    match name {
        "ice-ufrag" => value.clone_into(&mut ice.ufrag),
        "ice-pwd" => value.clone_into(&mut ice.pwd),
        "ice-options" => ice.options = value.split_ascii_whitespace().take(MAX_LIST_LEN).map(str::to_owned).collect(),
        _ => return false,
    }
    true
}

fn inherit(ids: &mut ExtensionMap, session: &ExtensionMap) {
    ids.audio_level = ids.audio_level.or(session.audio_level);
    ids.abs_send_time = ids.abs_send_time.or(session.abs_send_time);
    ids.transport_cc = ids.transport_cc.or(session.transport_cc);
    ids.mid = ids.mid.or(session.mid);
    ids.origin = ids.origin.or(session.origin);
    ids.rid = ids.rid.or(session.rid);
    ids.repaired_rid = ids.repaired_rid.or(session.repaired_rid);
}

fn push<T>(list: &mut Vec<T>, value: T, what: &'static str, line: usize) -> Result<(), SdpError> {
    if list.len() >= MAX_LIST_LEN {
        return Err(SdpError::TooMany { what, line });
    }
    list.push(value);
    Ok(())
}
