//! Who the relay is in DTLS: one self-signed certificate per process.

use std::fmt;
use std::sync::Arc;

use ring::digest;
use rtc_crypto::{RTCCryptoProvider, providers::RingProvider};
use rtc_dtls::crypto::Certificate;
use thiserror::Error;

/// Name in the certificate. Peers compare fingerprints and look at no name.
const CERTIFICATE_NAME: &str = "segue-relay";

/// The hash of a certificate (RFC 8122).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash function in lower case, for example `sha-256`.
    pub algorithm: String,
    /// The hash of the certificate in DER.
    pub digest: Vec<u8>,
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The certificate was not made.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
}

/// The certificate of this process, shared by all its sessions.
pub struct RelayIdentity {
    pub(super) certificate: Certificate,
    pub(super) crypto: Arc<dyn RTCCryptoProvider>,
    fingerprint: Fingerprint,
}

impl RelayIdentity {
    /// Makes a key (ECDSA P-256) and its certificate.
    pub fn generate() -> Result<Self, IdentityError> {
        let crypto: Arc<dyn RTCCryptoProvider> = Arc::new(RingProvider::new());
        let certificate = Certificate::generate_self_signed(vec![CERTIFICATE_NAME.to_owned()], crypto.crypto())
            .map_err(|error| IdentityError::Certificate(error.to_string()))?;
        let der = certificate.certificate.first().ok_or_else(|| IdentityError::Certificate("it is empty".to_owned()))?;
        let digest = digest::digest(&digest::SHA256, der.as_ref()).as_ref().to_vec();
        let fingerprint = Fingerprint { algorithm: "sha-256".to_owned(), digest };
        Ok(Self { certificate, crypto, fingerprint })
    }

    /// The certificate's fingerprint, for SDP.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl Fingerprint {
    /// Whether `certificate` (DER) has this fingerprint. Hash functions that are not known, or no longer good, match nothing.
    #[must_use]
    pub fn matches(&self, certificate: &[u8]) -> bool {
        let algorithm = match self.algorithm.as_str() {
            "sha-256" => &digest::SHA256,
            "sha-384" => &digest::SHA384,
            "sha-512" => &digest::SHA512,
            _ => return false,
        };
        digest::digest(algorithm, certificate).as_ref() == self.digest
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.algorithm)?;
        for (index, byte) in self.digest.iter().enumerate() {
            write!(f, "{}{byte:02X}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for RelayIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayIdentity").finish_non_exhaustive()
    }
}
