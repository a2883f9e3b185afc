//! STUN as an ICE-lite agent and a STUN server need it (RFC 8489): binding requests in, responses out.
//!
//! These are the only bytes a relay reads from anyone at all, so they are parsed here, in place, without an allocation.

use std::net::{IpAddr, SocketAddr};

use ring::hmac;

/// Length of the header (RFC 8489 section 5).
const HEADER_LEN: usize = 20;

/// Length of an attribute's type and length (section 14).
const ATTRIBUTE_HEADER_LEN: usize = 4;

/// Length of MESSAGE-INTEGRITY's value: an HMAC-SHA1 (section 14.5).
const INTEGRITY_LEN: usize = 20;

/// Longest request that is read. ICE checks have about 120 bytes; RFC 8489 section 6.1 keeps requests below 576 with headers.
const MAX_LEN: usize = 548;

const MAGIC_COOKIE: u32 = 0x2112_a442;
const FINGERPRINT_XOR: u32 = 0x5354_554e;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_INDICATION: u16 = 0x0011;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;

/// From this type on an attribute that is not known may be ignored (RFC 8489 section 14).
const FIRST_OPTIONAL: u16 = 0x8000;

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StunKind {
    /// A binding request.
    Request,
    /// A binding indication: a keepalive (RFC 8445 section 11).
    Indication,
    /// Anything else.
    Other,
}

/// A message that was parsed. The fingerprint, where there is one, is right; integrity is checked by [`Self::is_authentic`].
#[derive(Clone, Debug)]
pub struct StunMessage<'a> {
    bytes: &'a [u8],
    /// Request or indication.
    pub kind: StunKind,
    /// USERNAME.
    pub username: Option<&'a str>,
    /// USE-CANDIDATE: the sender nominates this pair (RFC 8445 section 7.1.2).
    pub use_candidate: bool,
    /// ICE-CONTROLLED: the sender believes that we are the one to nominate.
    pub controlled: bool,
    /// The first attribute that is not known and may not be ignored.
    pub unknown: Option<u16>,
    /// There is a FINGERPRINT, as every message of ICE has (RFC 8445 section 7.1).
    pub fingerprint: bool,
    integrity: Option<(usize, &'a [u8])>,
}

/// What an error response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StunError {
    /// 420: an attribute was not understood.
    UnknownAttribute(u16),
    /// 487: both ends are controlled (RFC 8445 section 7.3.1.1).
    RoleConflict,
}

impl<'a> StunMessage<'a> {
    /// Parses a datagram that is one STUN message. `None` where it is not, or where its fingerprint is wrong.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > MAX_LEN {
            return None;
        }
        let kind = u16_at(bytes, 0)?;
        let len = usize::from(u16_at(bytes, 2)?);
        if u32_at(bytes, 4)? != MAGIC_COOKIE || len + HEADER_LEN != bytes.len() || !len.is_multiple_of(4) {
            return None;
        }
        let kind = match kind {
            BINDING_REQUEST => StunKind::Request,
            BINDING_INDICATION => StunKind::Indication,
            other if other >> 14 == 0 => StunKind::Other,
            _ => return None,
        };
        let mut message = Self {
            bytes,
            kind,
            username: None,
            use_candidate: false,
            controlled: false,
            unknown: None,
            fingerprint: false,
            integrity: None,
        };
        let mut at = HEADER_LEN;
        while at < bytes.len() {
            let attribute = u16_at(bytes, at)?;
            let len = usize::from(u16_at(bytes, at + 2)?);
            let value_at = at + ATTRIBUTE_HEADER_LEN;
            let value = bytes.get(value_at..value_at + len)?;
            let next = value_at + len.next_multiple_of(4);
            if attribute == FINGERPRINT {
                // The last one, over everything before it (section 14.7).
                let crc = crc32(bytes.get(..at)?) ^ FINGERPRINT_XOR;
                message.fingerprint = true;
                return (next == bytes.len() && value == crc.to_be_bytes()).then_some(message);
            }
            message.handle_attribute(attribute, at, value)?;
            at = next;
        }
        Some(message)
    }

    fn handle_attribute(&mut self, attribute: u16, at: usize, value: &'a [u8]) -> Option<()> {
        // What follows MESSAGE-INTEGRITY is not covered by it and is ignored (section 14.5).
        if self.integrity.is_some() {
            return Some(());
        }
        match attribute {
            USERNAME => self.username = Some(str::from_utf8(value).ok()?),
            MESSAGE_INTEGRITY => self.integrity = Some((at, value)),
            USE_CANDIDATE => self.use_candidate = true,
            ICE_CONTROLLED => self.controlled = true,
            PRIORITY | MESSAGE_INTEGRITY_SHA256 => {}
            unknown if unknown < FIRST_OPTIONAL => self.unknown = self.unknown.or(Some(unknown)),
            _ => {}
        }
        Some(())
    }

    /// The part of the username that names the receiver (RFC 8445 section 7.2.2: "receiver:sender").
    #[must_use]
    pub fn local_ufrag(&self) -> Option<&'a str> {
        self.username.and_then(|name| name.split_once(':')).map(|(local, _)| local)
    }

    /// Whether MESSAGE-INTEGRITY is there and was made with `key` (section 14.5).
    #[must_use]
    pub fn is_authentic(&self, key: &hmac::Key) -> bool {
        let Some((at, value)) = self.integrity else { return false };
        let Some(expected) = integrity_of(self.bytes, at, key) else { return false };
        rtc_crypto::constant_time_eq(expected.as_ref(), value)
    }

    /// A success response that tells the sender which address it came from.
    pub fn write_success(&self, from: SocketAddr, key: Option<&hmac::Key>, out: &mut Vec<u8>) {
        self.begin(BINDING_SUCCESS, out);
        self.push_address(from, out);
        finish(key, out);
    }

    /// An error response.
    pub fn write_error(&self, error: StunError, key: &hmac::Key, out: &mut Vec<u8>) {
        self.begin(BINDING_ERROR, out);
        match error {
            StunError::UnknownAttribute(attribute) => {
                push(ERROR_CODE, &[0, 0, 4, 20], out);
                push(UNKNOWN_ATTRIBUTES, &attribute.to_be_bytes(), out);
            }
            StunError::RoleConflict => push(ERROR_CODE, &[0, 0, 4, 87], out),
        }
        finish(Some(key), out);
    }

    fn begin(&self, kind: u16, out: &mut Vec<u8>) {
        out.clear();
        out.extend(kind.to_be_bytes());
        out.extend([0, 0]);
        // Cookie and transaction id are those of the request.
        out.extend(self.bytes.iter().skip(4).take(HEADER_LEN - 4));
    }

    /// XOR-MAPPED-ADDRESS (section 14.2): the port with the upper half of the cookie, the address with cookie and transaction id.
    fn push_address(&self, address: SocketAddr, out: &mut Vec<u8>) {
        let mask = self.bytes.iter().skip(4);
        let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }];
        value.extend(address.port().to_be_bytes().iter().zip(mask.clone()).map(|(byte, mask)| byte ^ mask));
        let xor = |bytes: &[u8], value: &mut Vec<u8>| value.extend(bytes.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        match address.ip() {
            IpAddr::V4(ip) => xor(&ip.octets(), &mut value),
            IpAddr::V6(ip) => xor(&ip.octets(), &mut value),
        }
        push(XOR_MAPPED_ADDRESS, &value, out);
    }
}

/// Answers a binding request without credentials, as a STUN server does (RFC 8489 section 6.3): writes the response into `out`
/// and says whether there is one. The response is not longer than twice the request, so it is of no use as an amplifier.
pub fn answer_plain(datagram: &[u8], from: SocketAddr, out: &mut Vec<u8>) -> bool {
    let request = StunMessage::parse(datagram)
        .filter(|message| message.kind == StunKind::Request && message.username.is_none() && message.integrity.is_none());
    let Some(request) = request else { return false };
    request.write_success(from, None, out);
    true
}

fn push(attribute: u16, value: &[u8], out: &mut Vec<u8>) {
    out.extend(attribute.to_be_bytes());
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    write_len(out.len() - HEADER_LEN, out);
}

/// MESSAGE-INTEGRITY where there is a key, and FINGERPRINT.
fn finish(key: Option<&hmac::Key>, out: &mut Vec<u8>) {
    if let Some(tag) = key.and_then(|key| integrity_of(out, out.len(), key)) {
        push(MESSAGE_INTEGRITY, tag.as_ref(), out);
    }
    // The checksum counts its own attribute in the length (section 14.7).
    write_len(out.len() + 8 - HEADER_LEN, out);
    let crc = crc32(out) ^ FINGERPRINT_XOR;
    push(FINGERPRINT, &crc.to_be_bytes(), out);
}

fn write_len(len: usize, out: &mut [u8]) {
    if let Some(field) = out.get_mut(2..4) {
        field.copy_from_slice(&(len as u16).to_be_bytes());
    }
}

/// The HMAC of a message up to a MESSAGE-INTEGRITY attribute at `at`, with a length that ends with that attribute (section 14.5).
fn integrity_of(bytes: &[u8], at: usize, key: &hmac::Key) -> Option<hmac::Tag> {
    let len = (at + ATTRIBUTE_HEADER_LEN + INTEGRITY_LEN - HEADER_LEN) as u16;
    let mut context = hmac::Context::with_key(key);
    context.update(bytes.get(..2)?);
    context.update(&len.to_be_bytes());
    context.update(bytes.get(4..at)?);
    Some(context.sign())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// CRC-32 of ITU V.42, reflected (section 14.7), a nibble at a time.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = crc_table();
    let step = |crc: u32, nibble: u32| TABLE[((crc ^ nibble) & 0xf) as usize] ^ (crc >> 4);
    !bytes.iter().fold(!0u32, |crc, byte| step(step(crc, u32::from(*byte) & 0xf), u32::from(*byte) >> 4))
}

const fn crc_table() -> [u32; 16] {
    let mut table = [0u32; 16];
    let mut index = 0;
    while index < 16 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc_crypto::RTCCryptoProvider;
    use rtc_stun::fingerprint::FINGERPRINT as THEIR_FINGERPRINT;
    use rtc_stun::integrity::MessageIntegrity;
    use rtc_stun::message::{BINDING_REQUEST as THEIR_REQUEST, Getter, Message, Setter};
    use rtc_stun::xoraddr::XorMappedAddress;

    use super::*;

    fn key(password: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
    }

    /// A check as another implementation writes it.
    fn check(password: &str, use_candidate: bool) -> Vec<u8> {
        let provider = rtc_crypto::providers::RingProvider::new();
        let mut message = Message::new();
        message.new_transaction_id().unwrap();
        message.set_type(THEIR_REQUEST);
        message.write_header();
        message.add(rtc_stun::attributes::ATTR_USERNAME, b"ours:theirs");
        if use_candidate {
            message.add(rtc_stun::attributes::ATTR_USE_CANDIDATE, &[]);
        }
        message.add(rtc_stun::attributes::ATTR_PRIORITY, &[0, 0, 1, 2]);
        MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), provider.crypto())
            .add_to(&mut message)
            .unwrap();
        THEIR_FINGERPRINT.add_to(&mut message).unwrap();
        message.raw
    }

    #[test]
    fn reads_what_another_implementation_writes() {
        let bytes = check("secret", true);
        let message = StunMessage::parse(&bytes).unwrap();
        assert_eq!(message.kind, StunKind::Request);
        assert_eq!(message.local_ufrag(), Some("ours"));
        assert!(message.use_candidate && message.unknown.is_none());
        assert!(message.is_authentic(&key("secret")));
        assert!(!message.is_authentic(&key("Secret")));
    }

    #[test]
    fn another_implementation_reads_what_we_write() {
        let provider = rtc_crypto::providers::RingProvider::new();
        for from in ["192.0.2.7:4711", "[2001:db8::9]:65535"] {
            let from: SocketAddr = from.parse().unwrap();
            let bytes = check("secret", false);
            let mut out = Vec::new();
            StunMessage::parse(&bytes).unwrap().write_success(from, Some(&key("secret")), &mut out);
            let mut response = Message::new();
            response.unmarshal_binary(&out).unwrap();
            THEIR_FINGERPRINT.check(&response).unwrap();
            MessageIntegrity::check(&mut response, b"secret", provider.crypto()).unwrap();
            let mut mapped = XorMappedAddress::default();
            mapped.get_from(&response).unwrap();
            assert_eq!(SocketAddr::new(mapped.ip, mapped.port), from);
            assert_eq!(response.raw[4..20], bytes[4..20]);
        }
    }

    #[test]
    fn answers_as_a_server_only_without_credentials() {
        let mut plain = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        plain.extend(1..=12);
        let mut out = Vec::new();
        assert!(answer_plain(&plain, "192.0.2.7:4711".parse().unwrap(), &mut out));
        assert!(out.len() <= 2 * plain.len());
        assert!(StunMessage::parse(&out).is_some());
        assert!(!answer_plain(&check("secret", false), "192.0.2.7:4711".parse().unwrap(), &mut out));
    }

    proptest! {
        #[test]
        fn a_damaged_check_is_never_authentic(at in 0usize..1_000, bit in 0u8..8, cut in 0usize..100) {
            let good = check("secret", true);
            let mut bytes = good.clone();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(StunMessage::parse(&bytes).is_none_or(|message| !message.fingerprint));
            let cut = &good[..good.len() - 1 - cut % good.len()];
            prop_assert!(StunMessage::parse(cut).is_none());
        }

        #[test]
        fn garbage_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), headed in any::<bool>()) {
            let mut bytes = bytes;
            if headed && bytes.len() >= 20 {
                let len = (bytes.len() - 20) as u16;
                bytes[..2].copy_from_slice(&[0, 1]);
                bytes[2..4].copy_from_slice(&len.to_be_bytes());
                bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            }
            if let Some(message) = StunMessage::parse(&bytes) {
                let _ = message.is_authentic(&key("secret"));
            }
            let _ = answer_plain(&bytes, "192.0.2.7:4711".parse().unwrap(), &mut Vec::new());
        }
    }
}
