//! The key of a device.

use std::fmt;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use segue_wire::limits::JOIN_CONTEXT;

/// An Ed25519 key pair (RFC 8032) that stands for one device: the SHA-256 of its public half is the peer id others see, and the relay is
/// shown with every join that the device has the private half. Keep it (as the platform keeps keys) for the device to be known again.
#[derive(Clone)]
pub struct DeviceKey {
    pkcs8: Arc<[u8]>,
    pair: Arc<Ed25519KeyPair>,
}

/// Not an Ed25519 key in PKCS #8 (RFC 5958), or the system has no randomness for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no device key: give an Ed25519 key in PKCS #8 as `DeviceKey::to_pkcs8` gave it")]
pub struct DeviceKeyError;

impl DeviceKey {
    /// A new one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate() -> Result<Self, DeviceKeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| DeviceKeyError)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// One that was kept.
    ///
    /// # Errors
    /// The bytes are no Ed25519 key in PKCS #8.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, DeviceKeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| DeviceKeyError)?;
        Ok(Self { pkcs8: pkcs8.into(), pair: Arc::new(pair) })
    }

    /// To be kept, and kept secret.
    #[must_use]
    pub fn to_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half: 32 bytes.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Shows the relay that this device has the key: over the token, so that nobody else's token can be shown with it.
    pub(crate) fn sign_join(&self, token: &str) -> Vec<u8> {
        self.pair.sign(&[JOIN_CONTEXT, token.as_bytes()].concat()).as_ref().to_vec()
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_key_that_was_kept_signs_the_same() {
        let key = DeviceKey::generate().expect("a key");
        let again = DeviceKey::from_pkcs8(key.to_pkcs8()).expect("the same");
        assert_eq!((key.public(), key.sign_join("t")), (again.public(), again.sign_join("t")));
        let public = UnparsedPublicKey::new(&ED25519, key.public());
        assert!(public.verify(b"segue.v1 join t", &key.sign_join("t")).is_ok());
        assert!(public.verify(b"segue.v1 join u", &key.sign_join("t")).is_err());
        assert_eq!(DeviceKey::from_pkcs8(&[1, 2, 3]).err(), Some(DeviceKeyError));
        assert!(!format!("{key:?}").contains("30"), "the key is not shown");
    }
}
