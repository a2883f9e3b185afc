//! The little of HTTP/1.1 that WHIP and WHEP need: one request, one answer, one connection.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// No answer takes longer on a machine that lives.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer of ours has a few kilobytes; of other servers too.
const MAX_ANSWER: u64 = 1 << 20;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Host and port.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Url {
    /// Reads `http://host:port/path`.
    ///
    /// # Errors
    /// Another scheme, or no host.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").ok_or_else(|| format!("{text}: only http:// URLs are spoken here"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() {
            return Err(format!("{text}: no host"));
        }
        let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Self { authority, path: format!("/{path}") })
    }

    /// What a `Location` of an answer from here means.
    #[must_use]
    pub fn join(&self, location: &str) -> Self {
        Self::parse(location).unwrap_or_else(|_| Self { authority: self.authority.clone(), path: location.to_owned() })
    }
}

impl Answer {
    /// A header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request, with a bearer token and an SDP body where there are any, and waits for the answer.
///
/// # Errors
/// The server cannot be reached or does not speak HTTP.
pub fn request(method: &str, url: &Url, token: Option<&str>, sdp: Option<&str>) -> Result<Answer, String> {
    let fail = |error: std::io::Error| format!("{method} http://{}{}: {error}", url.authority, url.path);
    let mut stream = TcpStream::connect(&url.authority).map_err(fail)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    let mut head = format!("{method} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", url.path, url.authority);
    if let Some(token) = token {
        head.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    if let Some(sdp) = sdp {
        head.push_str(&format!("content-type: application/sdp\r\ncontent-length: {}\r\n", sdp.len()));
    }
    head.push_str("\r\n");
    head.push_str(sdp.unwrap_or_default());
    stream.write_all(head.as_bytes()).map_err(fail)?;
    let mut bytes = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut bytes).map_err(fail)?;
    parse(&bytes).ok_or_else(|| format!("{method} http://{}{}: the answer is not HTTP", url.authority, url.path))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let headers: Vec<_> = lines.filter_map(header).collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value.eq_ignore_ascii_case("chunked"));
    let body = bytes.get(end + 4..)?;
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Some(Answer { status, headers, body: String::from_utf8(body).ok()? })
}

/// RFC 9112 section 7.1.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_in_chunks() {
        let answer = parse(b"HTTP/1.1 201 Created\r\nLocation: /x\r\n\r\nv=0").unwrap();
        assert_eq!((answer.status, answer.header("location"), answer.body.as_str()), (201, Some("/x"), "v=0"));
        let answer = parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nv=0\r\n2\r\n\r\n\r\n0\r\n\r\n").unwrap();
        assert_eq!(answer.body, "v=0\r\n");
    }

    #[test]
    fn locations_are_relative_or_whole() {
        let url = Url::parse("http://127.0.0.1:7880/v1/whip/room").unwrap();
        assert_eq!(url.join("/v1/whip/room/x").path, "/v1/whip/room/x");
        assert_eq!(url.join("http://other/y"), Url { authority: "other:80".to_owned(), path: "/y".to_owned() });
        assert!(Url::parse("https://x/").is_err());
    }
}
