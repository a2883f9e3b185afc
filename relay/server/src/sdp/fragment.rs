//! ICE fragments of session descriptions (RFC 8840 section 9), as WHIP and WHEP carry them in PATCH requests.

use super::{LocalTransport, SdpRefusal};
use crate::sdp::write::Writer;

/// Lines of a fragment: those of a section or two and as many candidates as odd machines have.
const MAX_LINES: usize = 256;

/// What a client trickles, or asks to restart with. Its candidates are not looked at: an ICE-lite host learns addresses from checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceFragment {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// The first `m=` line and its `a=mid`, as they stand: the answer repeats them.
    section: Vec<String>,
}

impl IceFragment {
    /// Reads one.
    ///
    /// # Errors
    /// No ICE username fragment and password in it.
    pub fn parse(text: &str) -> Result<Self, SdpRefusal> {
        let lines = || text.lines().take(MAX_LINES).map(str::trim_end);
        let value = |name: &str| lines().find_map(|line| line.strip_prefix(name)).filter(|value| !value.is_empty());
        let ufrag =
            value("a=ice-ufrag:").zip(value("a=ice-pwd:")).map(|(ufrag, _)| ufrag.to_owned()).ok_or(SdpRefusal::NoIce)?;
        let media = lines().find(|line| line.starts_with("m=")).map(str::to_owned);
        let mid = lines().find(|line| line.starts_with("a=mid:")).map(str::to_owned);
        Ok(Self { ufrag, section: media.into_iter().chain(mid).collect() })
    }

    /// Our side after a restart: new credentials, and all candidates.
    #[must_use]
    pub fn answer(&self, local: &LocalTransport<'_>) -> String {
        let mut writer = Writer::fragment();
        writer.line("a=ice-lite");
        for line in &self.section {
            writer.line(line);
        }
        writer.ice(local);
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_names_its_generation_and_its_section() {
        let text = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
                    a=candidate:1 1 udp 1 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
        let fragment = IceFragment::parse(text).unwrap();
        assert_eq!(
            (fragment.ufrag.as_str(), fragment.section.as_slice()),
            ("EsAw", &["m=audio 9 RTP/AVP 0".to_owned(), "a=mid:0".to_owned()][..])
        );
        assert_eq!(IceFragment::parse("a=ice-ufrag:EsAw\r\n"), Err(SdpRefusal::NoIce));
    }
}
