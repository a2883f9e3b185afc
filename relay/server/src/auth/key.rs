//! The keys that sign and check tokens.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::Deserialize;

/// An HMAC secret shorter than its hash (RFC 7518 section 3.2) can be guessed.
pub const MIN_SECRET: usize = 32;

/// Length of a raw Ed25519 public key.
const ED25519_PUBLIC: usize = 32;

/// One key as a configuration gives it: a name and one of three forms.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// The `iss` claim of its tokens.
    pub id: String,
    /// HS256: at least 32 bytes of text. Signs and checks.
    #[serde(default)]
    pub secret: Option<String>,
    /// EdDSA: PEM (SPKI) or the base64 of the 32 bytes. Checks only.
    #[serde(default)]
    pub public_key: Option<String>,
    /// EdDSA: PEM (PKCS #8) of an Ed25519 key. Signs and checks.
    #[serde(default)]
    pub private_key: Option<String>,
}

impl KeySettings {
    /// What a file holds: a key in PEM by its own word, otherwise a secret, without the line end that editors leave.
    #[must_use]
    pub fn from_text(id: String, text: &str) -> Self {
        let settings = Self { id, ..Self::default() };
        let key = Some(text.trim_end_matches(['\r', '\n']).to_owned());
        if text.contains("-----BEGIN PRIVATE KEY-----") {
            Self { private_key: key, ..settings }
        } else if text.contains("-----BEGIN PUBLIC KEY-----") {
            Self { public_key: key, ..settings }
        } else {
            Self { secret: key, ..settings }
        }
    }
}

impl fmt::Debug for KeySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySettings({})", self.id)
    }
}

/// Why a configured key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No name.
    #[error("a key has no `id`; give it one, it is the `iss` claim of its tokens")]
    NoId,
    /// None or several of the three forms.
    #[error("key `{0}`: give exactly one of `secret`, `public_key` and `private_key`")]
    Form(String),
    /// Can be guessed.
    #[error("key `{0}`: the secret has fewer than {MIN_SECRET} bytes; make one with `openssl rand -hex 32`")]
    ShortSecret(String),
    /// Not an Ed25519 key.
    #[error("key `{0}`: not an Ed25519 key in PEM or base64; make one with `openssl genpkey -algorithm ed25519`")]
    NotEd25519(String),
}

/// One key, ready to use.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
    pub(super) encoding: Option<EncodingKey>,
}

impl Key {
    pub(super) fn from_settings(settings: &KeySettings) -> Result<Self, KeyError> {
        let id = settings.id.clone();
        if id.is_empty() {
            return Err(KeyError::NoId);
        }
        match (&settings.secret, &settings.public_key, &settings.private_key) {
            (Some(secret), None, None) if secret.len() < MIN_SECRET => Err(KeyError::ShortSecret(id)),
            (Some(secret), None, None) => Ok(Self::from_secret(id, secret.as_bytes())),
            (None, Some(public), None) => {
                let der = der_of(public).ok_or_else(|| KeyError::NotEd25519(id.clone()))?;
                // An SPKI of Ed25519 (RFC 8410 section 4) ends in the raw key.
                let raw = der.len().checked_sub(ED25519_PUBLIC).and_then(|from| der.get(from..));
                let raw =
                    raw.filter(|_| matches!(der.len(), ED25519_PUBLIC | 44)).ok_or_else(|| KeyError::NotEd25519(id.clone()))?;
                Ok(Self { id, algorithm: Algorithm::EdDSA, decoding: DecodingKey::from_ed_der(raw), encoding: None })
            }
            (None, None, Some(private)) => {
                let der = der_of(private).ok_or_else(|| KeyError::NotEd25519(id.clone()))?;
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| KeyError::NotEd25519(id.clone()))?;
                Ok(Self {
                    id,
                    algorithm: Algorithm::EdDSA,
                    decoding: DecodingKey::from_ed_der(pair.public_key().as_ref()),
                    encoding: Some(EncodingKey::from_ed_der(&der)),
                })
            }
            _ => Err(KeyError::Form(id)),
        }
    }

    pub(super) fn from_secret(id: String, secret: &[u8]) -> Self {
        Self {
            id,
            algorithm: Algorithm::HS256,
            decoding: DecodingKey::from_secret(secret),
            encoding: Some(EncodingKey::from_secret(secret)),
        }
    }
}

/// The bytes of a PEM block or of bare base64.
fn der_of(text: &str) -> Option<Vec<u8>> {
    let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).ok()
}
