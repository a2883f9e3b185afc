//! An ICE-lite agent (RFC 8445 section 2.5): answers checks, follows nominations, watches consent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::drops::DropReason;
use super::stun::{StunError, StunKind, StunMessage};

/// Addresses that may be valid at once. A client with two networks, each with both IP versions, behind a NAT that maps every
/// socket anew has eight.
pub const MAX_VALID_ADDRESSES: usize = 8;

/// How long an address stays valid after its last check, and so how long is sent without a sign of consent (RFC 7675 section 5.1).
pub const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Characters of a username fragment: 48 bits, so that fragments of one relay do not meet by chance.
const UFRAG_CHARS: usize = 8;

/// Characters of a password: 144 bits (RFC 8445 section 5.3 asks for 128).
const PWD_CHARS: usize = 24;

/// Credentials of one ICE generation.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Username fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
}

/// What a check brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckOutcome {
    /// The address is valid now and was not before.
    pub(crate) added: Option<SocketAddr>,
    /// The address that had to make room.
    pub(crate) removed: Option<SocketAddr>,
    /// The username fragment that ended with a nomination in the new generation.
    pub(crate) retired: Option<String>,
}

struct Generation {
    credentials: IceCredentials,
    key: hmac::Key,
}

struct ValidAddress {
    address: SocketAddr,
    last_check: Instant,
}

/// The agent. Never sends a check of its own.
pub(crate) struct IceLite {
    current: Generation,
    /// The generation before an ICE restart: checks with it stay good until one of the new generation is nominated.
    previous: Option<Generation>,
    valid: Vec<ValidAddress>,
    nominated: Option<SocketAddr>,
}

impl IceCredentials {
    /// New ones from the system's random source; `None` where that fails.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut bytes = [0; UFRAG_CHARS + PWD_CHARS];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let text: String = bytes.iter().map(|byte| char::from(ICE_CHARS[usize::from(byte % 64)])).collect();
        let (ufrag, pwd) = text.split_at(UFRAG_CHARS);
        Some(Self { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() })
    }
}

/// `ice-char` of RFC 8839 section 5.4.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

impl Generation {
    fn new(credentials: IceCredentials) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, credentials.pwd.as_bytes());
        Self { credentials, key }
    }
}

impl IceLite {
    pub(crate) fn new(credentials: IceCredentials) -> Self {
        Self { current: Generation::new(credentials), previous: None, valid: Vec::new(), nominated: None }
    }

    /// An address is valid and nominated without a check.
    pub(crate) fn admit(&mut self, now: Instant, address: SocketAddr) {
        self.validate(now, address);
        self.nominated = Some(address);
    }

    /// Our credentials.
    pub(crate) fn credentials(&self) -> &IceCredentials {
        &self.current.credentials
    }

    /// Begins a new generation (RFC 8445 section 9) and gives the fragment that is no longer good, if there is one.
    pub(crate) fn restart(&mut self, credentials: IceCredentials) -> Option<String> {
        let old = std::mem::replace(&mut self.current, Generation::new(credentials));
        self.previous.replace(old).map(|forgotten| forgotten.credentials.ufrag)
    }

    /// Where to send: the nominated address while its owner consents.
    pub(crate) fn nominated(&self) -> Option<SocketAddr> {
        self.nominated
    }

    /// Where control datagrams go: as [`Self::nominated`], or before a nomination to the address checked last.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        self.nominated.or_else(|| self.valid.iter().max_by_key(|valid| valid.last_check).map(|valid| valid.address))
    }

    /// Whether datagrams from `address` are taken.
    pub(crate) fn is_valid(&self, address: SocketAddr) -> bool {
        self.nominated == Some(address) || self.valid.iter().any(|valid| valid.address == address)
    }

    /// Takes a STUN message and writes the response, if there is one, into `out` (RFC 8445 section 7.3).
    pub(crate) fn handle_stun(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<CheckOutcome, DropReason> {
        out.clear();
        let message = StunMessage::parse(datagram).ok_or(DropReason::StunMalformed)?;
        match message.kind {
            StunKind::Request => {}
            StunKind::Indication => return Ok(CheckOutcome::default()),
            StunKind::Other => return Err(DropReason::StunUnexpected),
        }
        if !message.fingerprint {
            return Err(DropReason::StunMalformed);
        }
        let ufrag = message.local_ufrag().ok_or(DropReason::StunUsername)?;
        let is_current = ufrag == self.current.credentials.ufrag;
        let previous = self.previous.as_ref().filter(|previous| previous.credentials.ufrag == ufrag);
        let generation = if is_current { Some(&self.current) } else { previous };
        let key = &generation.ok_or(DropReason::StunUsername)?.key;
        if !message.is_authentic(key) {
            return Err(DropReason::StunIntegrity);
        }
        let error = match message.unknown {
            Some(attribute) => Some(StunError::UnknownAttribute(attribute)),
            // A lite agent is always controlled, so the other end has to change (RFC 8445 section 6.1.1).
            None => message.controlled.then_some(StunError::RoleConflict),
        };
        if let Some(error) = error {
            message.write_error(error, key, out);
            return Ok(CheckOutcome::default());
        }
        message.write_success(from, Some(key), out);
        let mut outcome = self.validate(now, from);
        if message.use_candidate {
            self.nominated = Some(from);
        }
        if message.use_candidate && is_current {
            outcome.retired = self.previous.take().map(|previous| previous.credentials.ufrag);
        }
        Ok(outcome)
    }

    fn validate(&mut self, now: Instant, from: SocketAddr) -> CheckOutcome {
        if let Some(valid) = self.valid.iter_mut().find(|valid| valid.address == from) {
            valid.last_check = now;
            return CheckOutcome::default();
        }
        let mut removed = None;
        if self.valid.len() >= MAX_VALID_ADDRESSES {
            let candidates = self.valid.iter().enumerate().filter(|(_, valid)| Some(valid.address) != self.nominated);
            if let Some((at, _)) = candidates.min_by_key(|(_, valid)| valid.last_check) {
                removed = Some(self.valid.swap_remove(at).address);
            }
        }
        self.valid.push(ValidAddress { address: from, last_check: now });
        CheckOutcome { added: Some(from), removed, retired: None }
    }

    /// Drops addresses without a check for [`CONSENT_TIMEOUT`] and gives them. Where the nominated one is among them, nothing is
    /// sent until a check nominates again.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut expired = Vec::new();
        self.valid.retain(|valid| {
            let live = now < valid.last_check + CONSENT_TIMEOUT;
            if !live {
                expired.push(valid.address);
            }
            live
        });
        if self.nominated.is_some_and(|address| expired.contains(&address)) {
            self.nominated = None;
        }
        expired
    }

    /// When the next address expires.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.valid.iter().map(|valid| valid.last_check + CONSENT_TIMEOUT).min()
    }

    /// Addresses that are valid now.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.valid.iter().map(|valid| valid.address)
    }
}
