//! The relay's transport in virtual time, against a bare DTLS client and hand-made checks: fragments, loss, deadlines, consent,
//! ICE restart, floods.

#![allow(clippy::disallowed_methods, reason = "virtual time needs an instant to begin at")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::RingProvider;
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLED, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter};
use segue_relay::transport::{
    CONNECT_TIMEOUT, CONSENT_TIMEOUT, DropReason, FailReason, Fingerprint, IceCredentials, MAX_QUEUED_TRANSMITS,
    MAX_VALID_ADDRESSES, RelayIdentity, RemoteChanged, SessionConfig, SrtpProfile, TransportEvent, TransportSession,
};

const CLIENT: &str = "192.0.2.1:4000";
const GCM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
const CM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;

/// A session, a DTLS client, and time.
struct Bench {
    now: Instant,
    session: TransportSession,
    client: Endpoint,
    client_done: bool,
    events: Vec<TransportEvent>,
    /// Percent of datagrams that are lost.
    loss: u32,
    /// Percent of the client's datagrams that come damaged first and whole afterwards.
    damage: u32,
    /// Of a linear congruential generator that draws them.
    dice: u32,
}

fn client_address() -> SocketAddr {
    CLIENT.parse().unwrap()
}

fn relay_address() -> SocketAddr {
    "192.0.2.2:5000".parse().unwrap()
}

fn new_session() -> TransportSession {
    let identity = Arc::new(RelayIdentity::generate().unwrap());
    TransportSession::new(SessionConfig { identity, credentials: IceCredentials::random().unwrap() })
}

fn check(session: &TransportSession, nominate: bool, extra: Option<AttrType>) -> Vec<u8> {
    let credentials = session.credentials();
    check_as(&credentials.ufrag, &credentials.pwd, nominate, extra)
}

fn check_as(ufrag: &str, pwd: &str, nominate: bool, extra: Option<AttrType>) -> Vec<u8> {
    let provider = RingProvider::new();
    let mut message = Message::new();
    message.new_transaction_id().unwrap();
    message.set_type(BINDING_REQUEST);
    message.write_header();
    message.add(ATTR_USERNAME, format!("{ufrag}:theirs").as_bytes());
    message.add(ATTR_PRIORITY, &[0, 0, 0, 1]);
    if nominate {
        message.add(ATTR_USE_CANDIDATE, &[]);
    }
    if let Some(extra) = extra {
        message.add(extra, &[0; 8]);
    }
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), provider.crypto());
    integrity.add_to(&mut message).unwrap();
    FINGERPRINT.add_to(&mut message).unwrap();
    message.raw
}

fn drain_events(session: &mut TransportSession) -> Vec<TransportEvent> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

impl Bench {
    fn new(profiles: &[SrtpProtectionProfile], mtu: usize, loss: u32, dice: u32) -> Self {
        let now = Instant::now();
        let crypto: Arc<dyn RTCCryptoProvider> = Arc::new(RingProvider::new());
        let certificate = Certificate::generate_self_signed(vec!["client".to_owned()], crypto.crypto()).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate.certificate[0].as_ref()).as_ref().to_vec();
        let config = ConfigBuilder::default()
            .with_crypto_provider(crypto)
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(profiles.to_vec())
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_mtu(mtu)
            .build(true, None)
            .unwrap();
        let mut client = Endpoint::new(client_address(), TransportProtocol::UDP, None);
        client.connect(now, relay_address(), Arc::new(config), None).unwrap();
        let mut session = new_session();
        session.set_remote(now, vec![Fingerprint { algorithm: "sha-256".to_owned(), digest }]).unwrap();
        let mut bench = Self { now, session, client, client_done: false, events: vec![], loss, damage: 0, dice };
        bench.check();
        bench
    }

    fn check(&mut self) {
        let mut check = check(&self.session, true, None);
        self.session.handle_datagram(self.now, client_address(), &mut check);
    }

    fn draw(&mut self, below: u32) -> u32 {
        self.dice = self.dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.dice >> 16) % below
    }

    fn arrives(&mut self) -> bool {
        self.draw(100) >= self.loss
    }

    /// Gives the session a damaged copy: bytes changed, cut, or repeated.
    fn damage(&mut self, datagram: &[u8]) {
        let mut copy = datagram.to_vec();
        for _ in 0..=self.draw(4) {
            let (at, value) = (self.draw(copy.len() as u32) as usize, self.draw(256) as u8);
            copy[at] = value;
        }
        match self.draw(3) {
            0 => copy.truncate(1 + self.draw(copy.len() as u32) as usize),
            1 => copy.extend_from_slice(datagram),
            _ => {}
        }
        self.session.handle_datagram(self.now, client_address(), &mut copy);
    }

    /// One exchange of everything both have to say.
    fn exchange(&mut self) {
        while let Some(transmit) = self.client.poll_transmit() {
            if self.draw(100) < self.damage {
                self.damage(&transmit.message);
            }
            if self.arrives() {
                self.session.handle_datagram(self.now, client_address(), &mut transmit.message.to_vec());
            }
        }
        while let Some(transmit) = self.session.poll_transmit() {
            let is_dtls = matches!(transmit.payload.first(), Some(20..=63));
            if is_dtls && self.arrives() {
                let message = BytesMut::from(&transmit.payload[..]);
                for event in self.client.read(self.now, relay_address(), None, message).unwrap_or_default() {
                    self.client_done |= matches!(event, EndpointEvent::HandshakeComplete);
                }
            }
        }
        self.events.extend(drain_events(&mut self.session));
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        if self.session.poll_timeout().is_some_and(|at| at <= self.now) {
            self.session.handle_timeout(self.now);
        }
        let _ = self.client.handle_timeout(relay_address(), self.now);
        self.exchange();
    }

    fn run(&mut self, most: Duration) {
        let end = self.now + most;
        while self.now < end && !self.session.is_over() && !(self.client_done && self.session.is_connected()) {
            self.advance(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_hello_in_fragments_gets_the_fast_profile() {
    let mut bench = Bench::new(&[CM, GCM], 120, 0, 0);
    bench.run(Duration::from_secs(5));
    assert!(bench.events.contains(&TransportEvent::Connected { profile: SrtpProfile::AeadAes128Gcm }), "{:?}", bench.events);
}

#[test]
fn a_lossy_path_connects_by_retransmission() {
    for dice in 0..20 {
        let mut bench = Bench::new(&[CM, GCM], 1200, 25, dice);
        bench.run(Duration::from_secs(29));
        assert!(
            bench.session.is_connected() && bench.client_done,
            "dice {dice}: client {}, {:?}, {:?}",
            bench.client_done,
            bench.events,
            bench.session.stats()
        );
    }
}

#[test]
fn damaged_handshakes_neither_panic_nor_go_wrong() {
    let mut connected = 0;
    for dice in 0..300 {
        let mut bench = Bench::new(&[CM, GCM], if dice % 2 == 0 { 1200 } else { 150 }, 0, dice);
        bench.damage = 60;
        bench.run(Duration::from_secs(31));
        assert!(!bench.events.contains(&TransportEvent::Failed(FailReason::Ours)), "dice {dice}: {:?}", bench.events);
        connected += usize::from(bench.session.is_connected());
    }
    assert!(connected > 0);
}

#[test]
fn a_client_without_a_profile_of_ours_is_refused() {
    for profiles in [&[SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32][..], &[]] {
        let mut bench = Bench::new(profiles, 1200, 0, 0);
        bench.run(Duration::from_secs(5));
        assert!(bench.events.contains(&TransportEvent::Failed(FailReason::NoSrtpProfile)), "{:?}", bench.events);
    }
}

#[test]
fn silence_after_the_description_fails_in_time() {
    let mut session = new_session();
    let now = Instant::now();
    assert_eq!(session.poll_timeout(), None);
    let fingerprints = vec![Fingerprint { algorithm: "sha-256".to_owned(), digest: vec![1; 32] }];
    session.set_remote(now, fingerprints.clone()).unwrap();
    assert_eq!(session.poll_timeout(), Some(now + CONNECT_TIMEOUT));
    session.handle_timeout(now + CONNECT_TIMEOUT);
    assert_eq!(drain_events(&mut session), [TransportEvent::Failed(FailReason::HandshakeTimeout)]);
    assert_eq!(session.poll_timeout(), None);
    let other = vec![Fingerprint { algorithm: "sha-256".to_owned(), digest: vec![2; 32] }];
    assert_eq!(session.set_remote(now, other), Err(RemoteChanged));
    assert_eq!(session.set_remote(now, fingerprints), Ok(()));
}

#[test]
fn sending_stops_without_consent_and_goes_on_with_it() {
    let mut bench = Bench::new(&[GCM], 1200, 0, 0);
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.session.remote(), Some(client_address()));
    bench.events.clear();
    bench.advance(CONSENT_TIMEOUT);
    assert_eq!(bench.session.remote(), None);
    assert_eq!(bench.events, [TransportEvent::AddressRemoved(client_address()), TransportEvent::Interrupted]);
    assert!(bench.session.poll_timeout().is_none_or(|at| at > bench.now));
    bench.events.clear();
    bench.check();
    bench.exchange();
    assert_eq!(bench.session.remote(), Some(client_address()));
    assert_eq!(bench.events, [TransportEvent::AddressAdded(client_address()), TransportEvent::Resumed]);
}

#[test]
fn the_last_nomination_decides_and_addresses_are_bounded() {
    let mut session = new_session();
    let now = Instant::now();
    let address = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
    for port in 1..=100 {
        let mut check = check(&session, port == 3, None);
        session.handle_datagram(now + Duration::from_millis(u64::from(port)), address(port), &mut check);
    }
    assert_eq!(session.addresses().count(), MAX_VALID_ADDRESSES);
    assert_eq!(session.remote(), Some(address(3)));
    let mut nomination = check(&session, true, None);
    session.handle_datagram(now, address(100), &mut nomination);
    assert_eq!(session.remote(), Some(address(100)));
}

#[test]
fn old_credentials_are_good_until_a_new_nomination() {
    let mut session = new_session();
    let now = Instant::now();
    let old = session.credentials().clone();
    session.restart_ice(IceCredentials::random().unwrap());
    assert_ne!(session.credentials(), &old);
    session.handle_datagram(now, client_address(), &mut check_as(&old.ufrag, &old.pwd, true, None));
    assert_eq!(session.remote(), Some(client_address()));
    let mut nomination = check(&session, true, None);
    session.handle_datagram(now, client_address(), &mut nomination);
    assert!(drain_events(&mut session).contains(&TransportEvent::UfragRetired(old.ufrag.clone())));
    session.handle_datagram(now, client_address(), &mut check_as(&old.ufrag, &old.pwd, true, None));
    assert_eq!(session.stats().drops.of(DropReason::StunUsername), 1);
}

#[test]
fn checks_that_are_wrong_get_an_error_or_nothing() {
    let mut session = new_session();
    let now = Instant::now();
    for (attribute, code) in [(ATTR_ICE_CONTROLLED, 87), (AttrType(0x7123), 20)] {
        let mut bytes = check(&session, true, Some(attribute));
        session.handle_datagram(now, client_address(), &mut bytes);
        let response = session.poll_transmit().unwrap().payload;
        assert_eq!((response[..2].to_vec(), response[26], response[27]), (vec![1, 0x11], 4, code));
    }
    let ufrag = session.credentials().ufrag.clone();
    session.handle_datagram(now, client_address(), &mut check_as(&ufrag, "not the password", true, None));
    session.handle_datagram(now, client_address(), &mut check_as("nobody", "x", true, None));
    assert_eq!(session.stats().drops.of(DropReason::StunIntegrity), 1);
    assert_eq!(session.stats().drops.of(DropReason::StunUsername), 1);
    assert!(session.poll_transmit().is_none() && session.remote().is_none());
}

#[test]
fn floods_are_bounded() {
    let mut bench = Bench::new(&[GCM], 1200, 0, 0);
    let hello = bench.client.poll_transmit().unwrap().message.to_vec();
    for _ in 0..2_000 {
        bench.session.handle_datagram(bench.now, client_address(), &mut hello.clone());
        let mut check = check(&bench.session, true, None);
        bench.session.handle_datagram(bench.now, client_address(), &mut check);
    }
    let drops = &bench.session.stats().drops;
    assert!(drops.of(DropReason::DtlsFlood) > 1_000 && drops.of(DropReason::TransmitQueueFull) > 0);
    let queued = std::iter::from_fn(|| bench.session.poll_transmit()).count();
    assert_eq!(queued, MAX_QUEUED_TRANSMITS);
}
