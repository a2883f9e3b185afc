//! Join tokens for servers: JWTs (RFC 7519) signed with HS256 (RFC 7518 section 3.2). The relay itself is not needed for that.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use segue_wire::limits::{MAX_METADATA, MAX_NAME};
use serde_json::json;

use crate::clock;
use crate::error::CallError;

/// Shortest secret the relay takes.
const MIN_SECRET: usize = 32;

/// What a token says.
#[derive(Clone, Debug, uniffi::Record)]
pub struct TokenClaims {
    /// The one room it opens.
    pub room: String,
    /// Identity: one session per identity is in the room. Empty: anyone who has the token.
    #[uniffi(default = "")]
    pub identity: String,
    /// Shown to others.
    #[uniffi(default = "")]
    pub name: String,
    /// The application's own, shown to others.
    #[uniffi(default = "")]
    pub metadata: String,
    /// Seconds from now until it opens nothing any more.
    #[uniffi(default = 3600)]
    pub valid_seconds: u64,
    /// Seconds since 1970 before which it opens nothing; 0: at once.
    #[uniffi(default = 0)]
    pub not_before: u64,
    /// May publish.
    #[uniffi(default = true)]
    pub publish: bool,
    /// May receive.
    #[uniffi(default = true)]
    pub subscribe: bool,
    /// May moderate.
    #[uniffi(default = false)]
    pub admin: bool,
}

/// Signs a token with a key of the relay's configuration: its id and its secret.
#[uniffi::export]
pub fn sign_token(key_id: String, secret: String, claims: TokenClaims) -> Result<String, CallError> {
    if secret.len() < MIN_SECRET {
        let detail = format!("a secret of {} bytes: the relay takes none shorter than {MIN_SECRET}", secret.len());
        return Err(CallError::argument("token_secret", detail));
    }
    let names = [&claims.room, &claims.identity, &claims.name];
    if claims.room.is_empty()
        || key_id.is_empty()
        || names.iter().any(|name| name.len() > MAX_NAME)
        || claims.metadata.len() > MAX_METADATA
    {
        let detail = format!(
            "a token names a key and a room; room, identity and name have at most {MAX_NAME} bytes, metadata {MAX_METADATA}"
        );
        return Err(CallError::argument("token_claims", detail));
    }
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let body = json!({
        "iss": key_id,
        "sub": claims.identity,
        "name": claims.name,
        "room": claims.room,
        "exp": clock::unix_seconds().saturating_add(claims.valid_seconds),
        "nbf": claims.not_before,
        "metadata": claims.metadata,
        "grants": { "publish": claims.publish, "subscribe": claims.subscribe, "admin": claims.admin },
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&body));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    Ok(format!("{signed}.{signature}"))
}
