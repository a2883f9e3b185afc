//! Keys: protection profiles, the exporter's layout and the key derivation function.

use std::fmt;

use ring::aead;
use rtc_crypto::{BlockCipherAlgorithm, RTCCryptoProvider};
use thiserror::Error;

/// Bytes of the master and session salts of both profiles (RFC 7714 section 12).
pub const SALT_LEN: usize = 12;

/// Bytes of the longest master key.
pub const MAX_KEY_LEN: usize = 32;

/// Bytes of an AES block, and so of the counter of the key derivation function.
const BLOCK_LEN: usize = 16;

/// Bits of the index in a nonce (RFC 7714 section 8.1).
const INDEX_MASK: u64 = (1 << 48) - 1;

/// Byte of the derivation function's counter the label is added to (RFC 3711 section 4.3.1: the label stands above a 48-bit
/// index in a 112-bit number, which stands above the 16-bit block count).
const LABEL_AT: usize = 7;

/// An SRTP protection profile with authenticated encryption (RFC 7714 section 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`.
    AeadAes256Gcm,
}

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The keying material is shorter or longer than the profile asks for.
    #[error("keying material has {got} bytes where the profile needs {wanted}")]
    Length {
        /// Bytes the profile needs.
        wanted: usize,
        /// Bytes there were.
        got: usize,
    },
    /// The cryptographic library refused an operation it has to have.
    #[error("the cryptographic library refused the key")]
    Refused,
}

/// Master key and salt of one direction.
#[derive(Clone)]
pub struct MasterKey {
    profile: Profile,
    key: [u8; MAX_KEY_LEN],
    salt: [u8; SALT_LEN],
}

/// The keys of both directions, as DTLS-SRTP exports them (RFC 5764 section 4.2).
#[derive(Clone, Debug)]
pub struct KeyingMaterial {
    /// What the DTLS client writes with.
    pub client: MasterKey,
    /// What the DTLS server writes with.
    pub server: MasterKey,
}

/// Which session key is derived (RFC 3711 section 4.3.2).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Rtp,
    Rtcp,
}

/// A session cipher: the key inside `ring`, and the salt the nonces are made of.
pub(crate) struct SessionCipher {
    key: aead::LessSafeKey,
    /// As a number.
    salt: u128,
}

impl Profile {
    /// The number of the profile in the `use_srtp` extension of DTLS.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::AeadAes128Gcm => 0x0007,
            Self::AeadAes256Gcm => 0x0008,
        }
    }

    /// Bytes of the master key.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes to ask the DTLS exporter for.
    #[must_use]
    pub const fn exporter_len(self) -> usize {
        2 * (self.key_len() + SALT_LEN)
    }

    const fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::AeadAes128Gcm => &aead::AES_128_GCM,
            Self::AeadAes256Gcm => &aead::AES_256_GCM,
        }
    }

    const fn block_cipher(self) -> BlockCipherAlgorithm {
        match self {
            Self::AeadAes128Gcm => BlockCipherAlgorithm::Aes128,
            Self::AeadAes256Gcm => BlockCipherAlgorithm::Aes256,
        }
    }
}

impl KeyingMaterial {
    /// Splits what the exporter gave: client key, server key, client salt, server salt.
    pub fn from_exporter(profile: Profile, material: &[u8]) -> Result<Self, KeyError> {
        let wrong = KeyError::Length { wanted: profile.exporter_len(), got: material.len() };
        if material.len() != profile.exporter_len() {
            return Err(wrong);
        }
        let (client_key, rest) = material.split_at_checked(profile.key_len()).ok_or(wrong)?;
        let (server_key, rest) = rest.split_at_checked(profile.key_len()).ok_or(wrong)?;
        let (client_salt, server_salt) = rest.split_at_checked(SALT_LEN).ok_or(wrong)?;
        Ok(Self {
            client: MasterKey::new(profile, client_key, client_salt)?,
            server: MasterKey::new(profile, server_key, server_salt)?,
        })
    }
}

impl MasterKey {
    /// From a key of the profile's length and a salt of [`SALT_LEN`] bytes.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        if key.len() != profile.key_len() {
            return Err(KeyError::Length { wanted: profile.key_len(), got: key.len() });
        }
        let salt = *salt
            .first_chunk::<SALT_LEN>()
            .filter(|_| salt.len() == SALT_LEN)
            .ok_or(KeyError::Length { wanted: SALT_LEN, got: salt.len() })?;
        let mut padded = [0; MAX_KEY_LEN];
        padded.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        Ok(Self { profile, key: padded, salt })
    }

    /// The profile the key is for.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Derives session key and salt (RFC 3711 section 4.3, with the salt padded as in RFC 7714 section 11 and a key derivation
    /// rate of zero as in RFC 5764 section 4.1.2).
    pub(crate) fn session(&self, purpose: Purpose) -> Result<SessionCipher, KeyError> {
        let (key_label, salt_label) = match purpose {
            Purpose::Rtp => (0, 2),
            Purpose::Rtcp => (3, 5),
        };
        let mut key = [0; MAX_KEY_LEN];
        let key = key.get_mut(..self.profile.key_len()).ok_or(KeyError::Refused)?;
        self.derive(key_label, key)?;
        let mut salt = [0; SALT_LEN];
        self.derive(salt_label, &mut salt)?;
        let key = aead::UnboundKey::new(self.profile.aead(), key).map_err(|_| KeyError::Refused)?;
        let salt = salt.iter().fold(0, |number, &byte| (number << 8) | u128::from(byte));
        Ok(SessionCipher { key: aead::LessSafeKey::new(key), salt })
    }

    /// The pseudo-random function: AES in counter mode under the master key (RFC 3711 section 4.3.3, RFC 6188 section 2).
    fn derive(&self, label: u8, out: &mut [u8]) -> Result<(), KeyError> {
        let provider = rtc_crypto::providers::RingProvider::new();
        let master = self.key.get(..self.profile.key_len()).ok_or(KeyError::Refused)?;
        let mut counter = [0; BLOCK_LEN];
        counter.iter_mut().zip(self.salt).for_each(|(to, from)| *to = from);
        if let Some(byte) = counter.get_mut(LABEL_AT) {
            *byte ^= label;
        }
        for (block, chunk) in (0u8..).zip(out.chunks_mut(BLOCK_LEN)) {
            let mut stream = counter;
            if let Some(last) = stream.last_mut() {
                *last = block;
            }
            provider.crypto().block_encrypt(self.profile.block_cipher(), master, &mut stream).map_err(|_| KeyError::Refused)?;
            chunk.iter_mut().zip(stream).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}

impl SessionCipher {
    /// The nonce: 16 zero bits, SSRC and a 48-bit number, exclusive-or the salt (RFC 7714 sections 8.1 and 9.1; the number is
    /// rollover counter and sequence number for RTP, the index for RTCP).
    fn nonce(&self, ssrc: u32, index: u64) -> aead::Nonce {
        // As one number: bytes that are put together one by one make the processor wait when they are read as words.
        let number = (u128::from(ssrc) << 48) | u128::from(index & INDEX_MASK);
        let [_, _, _, _, nonce @ ..] = (number ^ self.salt).to_be_bytes();
        aead::Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts `text` in place and gives the tag.
    pub(crate) fn seal(&self, ssrc: u32, index: u64, clear: &[u8], text: &mut [u8]) -> Option<aead::Tag> {
        let nonce = self.nonce(ssrc, index);
        self.key.seal_in_place_separate_tag(nonce, aead::Aad::from(clear), text).ok()
    }

    /// Decrypts `text`, which ends with its tag, in place.
    pub(crate) fn open(&self, ssrc: u32, index: u64, clear: &[u8], text: &mut [u8]) -> Option<()> {
        let nonce = self.nonce(ssrc, index);
        self.key.open_in_place(nonce, aead::Aad::from(clear), text).ok().map(|_| ())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values themselves are held against another implementation in `tests/oracle.rs`.
    #[test]
    fn a_longer_key_goes_on_where_a_shorter_one_ends() {
        let key = MasterKey::new(Profile::AeadAes128Gcm, &[0xe1; 16], &[0x0e; 12]).unwrap();
        let (mut a, mut b) = ([0; 16], [0; 32]);
        key.derive(0, &mut a).unwrap();
        key.derive(0, &mut b).unwrap();
        assert_eq!(a[..], b[..16]);
        assert_ne!(b[..16], b[16..]);
    }

    #[test]
    fn material_is_split_in_the_order_of_rfc_5764() {
        let material: Vec<u8> = (0..56).collect();
        let keys = KeyingMaterial::from_exporter(Profile::AeadAes128Gcm, &material).unwrap();
        assert_eq!(keys.client.key[..16], material[..16]);
        assert_eq!(keys.server.key[..16], material[16..32]);
        assert_eq!(keys.client.salt[..], material[32..44]);
        assert_eq!(keys.server.salt[..], material[44..]);
        let short = KeyingMaterial::from_exporter(Profile::AeadAes256Gcm, &material);
        assert_eq!(short.unwrap_err(), KeyError::Length { wanted: 88, got: 56 });
    }

    #[test]
    fn keys_are_not_printed() {
        let key = MasterKey::new(Profile::AeadAes128Gcm, &[0xab; 16], &[0xcd; 12]).unwrap();
        assert_eq!(format!("{key:?}"), "MasterKey { profile: AeadAes128Gcm, .. }");
    }
}
