//! Connectivity checks (RFC 8445 section 7, RFC 8489).

use std::net::SocketAddr;

use rtc_crypto::RTCCryptoProvider as _;
use rtc_crypto::providers::RingProvider;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, ATTR_XORMAPPED_ADDRESS};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter as _};
use rtc_stun::xoraddr::XorMappedAddress;

/// Priority of a peer-reflexive candidate learned from a check (RFC 8445 section 7.1.1).
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// A check that nominates. `username` is theirs, a colon, ours; the password is theirs.
///
/// # Errors
/// No randomness.
pub fn check(username: &str, pwd: &str) -> Result<Vec<u8>, String> {
    let mut message = Message::new();
    message.new_transaction_id().map_err(|error| error.to_string())?;
    message.set_type(BINDING_REQUEST);
    message.write_header();
    message.add(ATTR_USERNAME, username.as_bytes());
    message.add(ATTR_PRIORITY, &PRIORITY.to_be_bytes());
    message.add(ATTR_ICE_CONTROLLING, &[7; 8]);
    message.add(ATTR_USE_CANDIDATE, &[]);
    sign(message, pwd)
}

/// The answer to a check of theirs, under our password.
///
/// # Errors
/// The check cannot be read.
pub fn answer(check: &[u8], from: SocketAddr, pwd: &str) -> Result<Vec<u8>, String> {
    let mut request = Message::new();
    request.unmarshal_binary(check).map_err(|error| error.to_string())?;
    let mut message = Message::new();
    message.transaction_id = request.transaction_id;
    message.set_type(BINDING_SUCCESS);
    message.write_header();
    let mapped = XorMappedAddress { ip: from.ip(), port: from.port() };
    mapped.add_to_as(&mut message, ATTR_XORMAPPED_ADDRESS).map_err(|error| error.to_string())?;
    sign(message, pwd)
}

fn sign(mut message: Message, pwd: &str) -> Result<Vec<u8>, String> {
    let provider = RingProvider::new();
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), provider.crypto());
    integrity.add_to(&mut message).map_err(|error| error.to_string())?;
    FINGERPRINT.add_to(&mut message).map_err(|error| error.to_string())?;
    Ok(message.raw)
}

/// Whether a datagram is STUN (RFC 7983 section 7).
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram, [0..=3, ..])
}

/// A binding request.
#[must_use]
pub fn is_request(datagram: &[u8]) -> bool {
    matches!(datagram, [0, 1, ..])
}

/// A success response.
#[must_use]
pub fn is_success(datagram: &[u8]) -> bool {
    matches!(datagram, [1, 1, ..])
}
