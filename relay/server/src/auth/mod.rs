//! Join tokens: JWTs (RFC 7519) signed with HS256 or EdDSA.

mod crypto;
mod key;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation};
use segue_wire::limits::{MAX_METADATA, MAX_NAME};
use segue_wire::proto::{self, ErrorCode};
use serde::{Deserialize, Serialize};

use crate::clock;
use key::Key;

pub use key::{KeyError, KeySettings, MIN_SECRET};

/// Name of the key a relay without configured keys uses.
pub const DEVELOPMENT_KEY: &str = "development";

/// Secret of the development key where only this machine can reach the relay. It is public, and fixed so that `segue-relay token
/// create` in another terminal makes tokens the relay takes. A relay that others can reach draws a random one.
pub const LOCAL_DEVELOPMENT_SECRET: &str = "segue development key: for one machine only";

/// Clocks of issuer and relay may differ by this many seconds.
const LEEWAY_SECONDS: u64 = 10;

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Id of the key that signed it.
    pub iss: String,
    /// Identity: one session per identity is in the room. Empty: anyone who has the token; each gets an identity of its own.
    #[serde(default)]
    pub sub: String,
    /// Shown to others.
    #[serde(default)]
    pub name: String,
    /// The one room it opens.
    #[serde(default)]
    pub room: String,
    /// Seconds since 1970 after which it opens nothing. A fraction is read, and left out.
    #[serde(deserialize_with = "numeric_date")]
    pub exp: u64,
    /// Seconds since 1970 before which it opens nothing. A fraction is read, and left out.
    #[serde(default, deserialize_with = "numeric_date")]
    pub nbf: u64,
    /// The application's.
    #[serde(default)]
    pub metadata: String,
    /// What its holder may do.
    #[serde(default)]
    pub grants: Grants,
}

/// What a token allows. Absent: to publish and to subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Publish tracks and lossy data (reliable data is end to end: the relay does not read it).
    #[serde(default = "yes")]
    pub publish: bool,
    /// Receive tracks.
    #[serde(default = "yes")]
    pub subscribe: bool,
    /// Moderate the room.
    #[serde(default)]
    pub admin: bool,
}

/// A NumericDate (RFC 7519 section 2): a number of seconds that may have a fraction.
fn numeric_date<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    // Times before 1970 are as good as 1970; doubles are exact for whole seconds far beyond any calendar.
    if seconds.is_finite() { Ok(seconds.max(0.0) as u64) } else { Err(serde::de::Error::custom("not a time")) }
}

const fn yes() -> bool {
    true
}

impl Default for Grants {
    fn default() -> Self {
        Self { publish: true, subscribe: true, admin: false }
    }
}

impl From<Grants> for proto::Grants {
    fn from(grants: Grants) -> Self {
        Self { publish: grants.publish, subscribe: grants.subscribe, admin: grants.admin }
    }
}

/// Why a token opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error("the token has expired; ask for a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet; compare the clocks of its issuer and of the relay")]
    NotYet,
    /// Not signed by a key of this relay.
    #[error("the token is not signed by a key of this relay; make one with `segue-relay token create` or check the keys")]
    Unsigned,
    /// Not a token, or claims are missing.
    #[error("the token is not a JWT with the claims iss, room and exp; make one with `segue-relay token create`")]
    Malformed,
    /// For another room.
    #[error("the token is for another room; ask for one for this room")]
    WrongRoom,
}

impl TokenError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Expired => ErrorCode::TokenExpired,
            Self::WrongRoom => ErrorCode::WrongRoom,
            Self::NotYet | Self::Unsigned | Self::Malformed => ErrorCode::TokenInvalid,
        }
    }
}

/// Why a token could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// Public keys cannot sign.
    #[error("no key that can sign: give a `secret` or a `private_key`")]
    NoSigningKey,
    /// No relay takes it.
    #[error(
        "a token names a room, and neither that nor identity or name exceeds {MAX_NAME} bytes, nor metadata {MAX_METADATA}"
    )]
    Claims,
    /// The library refused.
    #[error("could not sign: {0}")]
    Signing(String),
}

/// The keys of a relay.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<Key>,
}

impl Keys {
    /// From a configuration; at least one.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn from_settings(settings: &[KeySettings]) -> Result<Self, KeyError> {
        crypto::install();
        Ok(Self { keys: settings.iter().map(Key::from_settings).collect::<Result<_, _>>()? })
    }

    /// One key of the name [`DEVELOPMENT_KEY`].
    #[must_use]
    pub fn development(secret: &str) -> Self {
        crypto::install();
        Self { keys: vec![Key::from_secret(DEVELOPMENT_KEY.to_owned(), secret.as_bytes())] }
    }

    /// Checks a token; `room` is the room the connection asked for, where it named one.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &str, room: Option<&str>) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        let mut outcome = Err(TokenError::Unsigned);
        for key in self.keys.iter().filter(|key| key.algorithm == header.alg) {
            outcome = match jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation) {
                Ok(data) if data.claims.iss == key.id => Ok(data.claims),
                Ok(_) => Err(TokenError::Unsigned),
                Err(error) => Err(refusal(error.kind())),
            };
            if !matches!(outcome, Err(TokenError::Unsigned)) {
                break;
            }
        }
        let claims = outcome?;
        if !claims.fit() {
            return Err(TokenError::Malformed);
        }
        if room.is_some_and(|room| room != claims.room) {
            return Err(TokenError::WrongRoom);
        }
        Ok(claims)
    }

    /// Signs claims with the first key that can; `iss` is filled in.
    ///
    /// # Errors
    /// See [`MintError`].
    pub fn mint(&self, mut claims: Claims) -> Result<String, MintError> {
        if !claims.fit() {
            return Err(MintError::Claims);
        }
        let (key, encoding) =
            self.keys.iter().find_map(|key| Some((key, key.encoding.as_ref()?))).ok_or(MintError::NoSigningKey)?;
        claims.iss.clone_from(&key.id);
        jsonwebtoken::encode(&Header::new(key.algorithm), &claims, encoding)
            .map_err(|error| MintError::Signing(error.to_string()))
    }
}

impl Claims {
    /// Claims for `identity` in `room`, valid from now for `seconds`.
    #[must_use]
    pub fn new(room: &str, identity: &str, grants: Grants, seconds: u64) -> Self {
        Self {
            sub: identity.to_owned(),
            room: room.to_owned(),
            exp: clock::unix_seconds().saturating_add(seconds),
            grants,
            ..Self::default()
        }
    }

    fn fit(&self) -> bool {
        let names = [&self.sub, &self.name, &self.room];
        !self.room.is_empty() && names.iter().all(|name| name.len() <= MAX_NAME) && self.metadata.len() <= MAX_METADATA
    }
}

fn refusal(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYet,
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenError::Unsigned,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret of thirty-two bytes, or more";

    fn claims(exp: u64) -> Claims {
        Claims { exp, ..Claims::new("lobby", "ann", Grants::default(), 0) }
    }

    #[test]
    fn a_token_opens_its_room_only() {
        let keys = Keys::development(SECRET);
        let token = keys.mint(Claims::new("lobby", "ann", Grants { admin: true, ..Grants::default() }, 60)).expect("signed");
        let claims = keys.verify(&token, None).expect("valid");
        assert_eq!((claims.sub.as_str(), claims.iss.as_str(), claims.grants.admin), ("ann", DEVELOPMENT_KEY, true));
        assert_eq!(keys.verify(&token, Some("lobby")), Ok(claims));
        assert_eq!(keys.verify(&token, Some("vault")), Err(TokenError::WrongRoom));
    }

    #[test]
    fn expired_foreign_and_broken_tokens_are_told_apart() {
        let keys = Keys::development(SECRET);
        let expired = keys.mint(claims(1_000_000)).expect("signed");
        assert_eq!(keys.verify(&expired, None), Err(TokenError::Expired));
        let early = Claims { nbf: clock::unix_seconds() + 600, ..Claims::new("lobby", "ann", Grants::default(), 900) };
        assert_eq!(keys.verify(&keys.mint(early).expect("signed"), None), Err(TokenError::NotYet));
        let foreign =
            Keys::development("another secret of thirty-two bytes").mint(Claims::new("lobby", "ann", Grants::default(), 60));
        assert_eq!(keys.verify(&foreign.expect("signed"), None), Err(TokenError::Unsigned));
        assert_eq!(keys.verify("nonsense", None), Err(TokenError::Malformed));
        assert_eq!(keys.mint(Claims::new("", "ann", Grants::default(), 60)), Err(MintError::Claims));
        let endless = "x".repeat(MAX_NAME + 1);
        assert_eq!(keys.mint(Claims::new("lobby", &endless, Grants::default(), 60)), Err(MintError::Claims));
    }

    #[test]
    fn times_may_have_a_fraction() {
        #[derive(Serialize)]
        struct Loose {
            iss: &'static str,
            room: &'static str,
            exp: f64,
            nbf: f64,
        }
        let keys = Keys::development(SECRET);
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let token = |exp: f64, nbf: f64| {
            let claims = Loose { iss: DEVELOPMENT_KEY, room: "lobby", exp, nbf };
            jsonwebtoken::encode(&Header::default(), &claims, &key).expect("signed")
        };
        let now = clock::unix_seconds() as f64;
        let claims = keys.verify(&token(now + 60.75, now - 0.5), None).expect("valid");
        assert_eq!(claims.exp, now as u64 + 60);
        assert_eq!(keys.verify(&token(now - 60.5, 0.0), None), Err(TokenError::Expired));
        assert_eq!(keys.verify(&token(now + 900.5, now + 600.5), None), Err(TokenError::NotYet));
    }

    #[test]
    fn ed25519_keys_sign_and_check() {
        let pkcs8 = Ed25519KeyPairBytes::new();
        let private = KeySettings { id: "service".to_owned(), private_key: Some(pkcs8.pem()), ..KeySettings::default() };
        let public = KeySettings { id: "service".to_owned(), public_key: Some(pkcs8.public()), ..KeySettings::default() };
        let signer = Keys::from_settings(&[private]).expect("a key");
        let checker = Keys::from_settings(&[public]).expect("a key");
        let token = signer.mint(Claims::new("lobby", "ann", Grants::default(), 60)).expect("signed");
        assert_eq!(checker.verify(&token, None).expect("valid").iss, "service");
        assert_eq!(checker.mint(claims(0)), Err(MintError::NoSigningKey));
        assert_eq!(Keys::development(SECRET).verify(&token, None), Err(TokenError::Unsigned));
    }

    #[test]
    fn a_public_key_is_no_hmac_secret() {
        let pkcs8 = Ed25519KeyPairBytes::new();
        let public = KeySettings { id: DEVELOPMENT_KEY.to_owned(), public_key: Some(pkcs8.public()), ..KeySettings::default() };
        let forged =
            Keys::development(&pkcs8.public()).mint(Claims::new("lobby", "eve", Grants::default(), 60)).expect("signed");
        assert_eq!(Keys::from_settings(&[public]).expect("a key").verify(&forged, None), Err(TokenError::Unsigned));
    }

    #[test]
    fn weak_and_ambiguous_keys_are_refused() {
        let key = |secret: Option<&str>| KeySettings {
            id: "k".to_owned(),
            secret: secret.map(str::to_owned),
            ..KeySettings::default()
        };
        assert_eq!(Keys::from_settings(&[key(Some("short"))]).err(), Some(KeyError::ShortSecret("k".to_owned())));
        assert_eq!(Keys::from_settings(&[key(None)]).err(), Some(KeyError::Form("k".to_owned())));
    }

    struct Ed25519KeyPairBytes(Vec<u8>);

    impl Ed25519KeyPairBytes {
        fn new() -> Self {
            let random = ring::rand::SystemRandom::new();
            Self(ring::signature::Ed25519KeyPair::generate_pkcs8(&random).expect("a key").as_ref().to_vec())
        }

        fn pem(&self) -> String {
            use base64::Engine as _;
            let body = base64::engine::general_purpose::STANDARD.encode(&self.0);
            format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
        }

        fn public(&self) -> String {
            use base64::Engine as _;
            use ring::signature::KeyPair as _;
            let pair = ring::signature::Ed25519KeyPair::from_pkcs8(&self.0).expect("a pair");
            base64::engine::general_purpose::STANDARD.encode(pair.public_key().as_ref())
        }
    }
}
