//! Join tokens for a relay whose key is known here: JWTs signed with HS256 (RFC 7519, RFC 7515 appendix A.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;

/// Id of the key a relay under load is started with.
pub const KEY: &str = "bench";

/// Its secret: for one process on one machine, whose life is a measurement.
pub const SECRET: &str = "the key of the load generator and of the relay it starts";

/// The year 2100: measurements do not last that long.
const FOREVER: u64 = 4_102_444_800;

/// A token for a room; an empty identity is for anyone.
#[must_use]
pub fn mint(room: &str, identity: &str) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "HS256", "typ": "JWT"}));
    let claims = part(json!({"iss": KEY, "sub": identity, "room": room, "exp": FOREVER}));
    let text = format!("{header}.{claims}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
}
