//! Where a relay is reached.

use tokio_tungstenite::tungstenite::http::Uri;

/// Path of the signalling endpoint, for URLs that name only the host.
const PATH: &str = "/v1/connect";

/// Why a URL leads to no relay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL at all.
    #[error("`{0}` is not a URL")]
    Malformed(String),
    /// Neither a WebSocket nor a web address.
    #[error("a relay is reached by ws, wss, http or https, not by `{0}`")]
    Scheme(String),
}

/// A relay's signalling endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// With a scheme of `ws` or `wss`, a path, and the query it came with: the relay reads `room` there.
    pub(crate) url: String,
    /// The host is this machine.
    pub(crate) is_local: bool,
    /// Any certificate is taken, a self-signed one too.
    pub(crate) trust_any_certificate: bool,
}

impl Endpoint {
    /// Reads `ws://`, `wss://`, `http://` and `https://` addresses, with or without the endpoint's path.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub(crate) fn parse(url: &str, trust_any_certificate: bool) -> Result<Self, UrlError> {
        let malformed = || UrlError::Malformed(url.chars().take(200).collect());
        let uri: Uri = url.trim().parse().map_err(|_| malformed())?;
        let scheme = match uri.scheme_str() {
            Some("ws" | "http") => "ws",
            Some("wss" | "https") => "wss",
            Some(other) => return Err(UrlError::Scheme(other.to_owned())),
            None => return Err(malformed()),
        };
        let authority = uri.authority().ok_or_else(malformed)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let path = match uri.path() {
            "" | "/" => PATH,
            path => path,
        };
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let is_local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        Ok(Self { url: format!("{scheme}://{authority}{path}{query}"), is_local, trust_any_certificate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_addresses_become_websocket_addresses() {
        let parsed = |url| Endpoint::parse(url, false).map(|endpoint| (endpoint.url, endpoint.is_local));
        assert_eq!(parsed("http://127.0.0.1:7080"), Ok(("ws://127.0.0.1:7080/v1/connect".to_owned(), true)));
        assert_eq!(parsed("https://call.example/"), Ok(("wss://call.example/v1/connect".to_owned(), false)));
        assert_eq!(parsed("ws://call.example?room=a"), Ok(("ws://call.example/v1/connect?room=a".to_owned(), false)));
        assert_eq!(parsed("wss://[::1]:1/other"), Ok(("wss://[::1]:1/other".to_owned(), true)));
        assert_eq!(parsed("ftp://call.example"), Err(UrlError::Scheme("ftp".to_owned())));
        assert!(matches!(parsed("call.example"), Err(UrlError::Malformed(_))));
    }
}
