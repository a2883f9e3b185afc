//! DTLS of one session: always the server, with the SRTP profile chosen from what the client offers.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig, VerifyPeerCertificateFn};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;

use super::cipher::{MediaCipher, SrtpProfile};
use super::contain::contain;
use super::drops::DropReason;
use super::hello::{Hello, HelloReader};
use super::identity::{Fingerprint, RelayIdentity};
use super::session::FailReason;

/// Datagrams that are no application data, over the life of a session. A handshake takes about ten, with every flight sent eight
/// times below a hundred; the library keeps what they carry until its handshake ends.
const MAX_HANDSHAKE_DATAGRAMS: u32 = 256;

/// Datagrams kept until the ClientHello is whole.
const MAX_HELD: usize = 16;

/// First interval of retransmission (RFC 6347 section 4.2.4.1 allows less than a second where latency matters); it doubles.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(250);

/// Retransmissions of a flight: the last is sent after 16 s, within the time a session may take to connect.
const MAX_RESENDS: u32 = 6;

/// Content type of application data records (RFC 5246 section 6.2.1).
const APPLICATION_DATA: u8 = 23;

/// The peer as the library knows it. Which address it really has, ICE decides.
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));

/// Label of the exporter (RFC 5764 section 4.2).
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// What a datagram brought.
#[derive(Debug, Default)]
pub(super) struct DtlsOutcome {
    /// The handshake is over and these are the keys.
    pub(super) established: Option<(SrtpProfile, MediaCipher)>,
    /// Decrypted SCTP packets.
    pub(super) data: Vec<BytesMut>,
    /// The peer said goodbye.
    pub(super) closed: bool,
}

/// The DTLS association of a session.
///
/// Flights are sent again here and not by the library, as the same datagrams: a flight under new record numbers stops the
/// retransmission timer of a client on the same library, and where that client's answer was lost nobody would speak again. What the
/// client has already, its replay window drops.
pub(super) struct DtlsServer {
    identity: Arc<RelayIdentity>,
    fingerprints: Vec<Fingerprint>,
    state: State,
    handshake_datagrams: u32,
    established: bool,
    flight: Vec<Bytes>,
    resend_at: Option<Instant>,
    resends: u32,
}

enum State {
    /// No whole ClientHello yet.
    Hello { reader: HelloReader, held: Vec<BytesMut> },
    /// The library works.
    Running { endpoint: Box<Endpoint>, profile: SrtpProfile },
    /// Nothing more.
    Over,
}

impl DtlsServer {
    pub(super) fn new(identity: Arc<RelayIdentity>) -> Self {
        Self {
            identity,
            fingerprints: Vec::new(),
            state: State::Hello { reader: HelloReader::default(), held: Vec::new() },
            handshake_datagrams: 0,
            established: false,
            flight: Vec::new(),
            resend_at: None,
            resends: 0,
        }
    }

    /// What the peer's certificate has to be. Has an effect until the handshake begins.
    pub(super) fn set_fingerprints(&mut self, fingerprints: Vec<Fingerprint>) {
        self.fingerprints = fingerprints;
    }

    /// Whether the peer's certificate is known already.
    pub(super) fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// Takes a datagram. The outer error ends the session, the inner one drops the datagram.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        datagram: &[u8],
        out: &mut Vec<Bytes>,
    ) -> Result<Result<DtlsOutcome, DropReason>, FailReason> {
        if self.fingerprints.is_empty() {
            return Ok(Err(DropReason::DtlsEarly));
        }
        let is_data = datagram.first() == Some(&APPLICATION_DATA);
        if !is_data {
            if self.handshake_datagrams >= MAX_HANDSHAKE_DATAGRAMS {
                return Ok(Err(DropReason::DtlsFlood));
            }
            self.handshake_datagrams += 1;
        }
        match &mut self.state {
            State::Over => Ok(Err(DropReason::SessionOver)),
            State::Running { .. } => {
                let mut outcome = DtlsOutcome::default();
                self.read(now, BytesMut::from(datagram), &mut outcome, out)?;
                let useless = is_data && outcome.data.is_empty() && !outcome.closed && outcome.established.is_none();
                Ok(if useless { Err(DropReason::DtlsDiscarded) } else { Ok(outcome) })
            }
            State::Hello { reader, held } => {
                let Some(hello) = reader.handle(datagram) else { return Ok(Err(DropReason::DtlsMalformed)) };
                if held.len() < MAX_HELD {
                    held.push(BytesMut::from(datagram));
                }
                let Hello::Offered(offered) = hello else { return Ok(Ok(DtlsOutcome::default())) };
                let held = std::mem::take(held);
                let profile = SrtpProfile::choose(&offered).ok_or(FailReason::NoSrtpProfile)?;
                self.begin(profile)?;
                let mut outcome = DtlsOutcome::default();
                for datagram in held {
                    self.read(now, datagram, &mut outcome, out)?;
                }
                Ok(Ok(outcome))
            }
        }
    }

    /// Encrypts an SCTP packet.
    pub(super) fn write(&mut self, now: Instant, packet: &[u8], out: &mut Vec<Bytes>) -> Result<(), FailReason> {
        let State::Running { endpoint, .. } = &mut self.state else { return Ok(()) };
        let written = contain(|| endpoint.write(now, PEER, packet).is_ok());
        drain(endpoint, out);
        self.or_over(written).map(|_| ())
    }

    /// Sends `close_notify` (RFC 5246 section 7.2.1) and ends.
    pub(super) fn close(&mut self, now: Instant, out: &mut Vec<Bytes>) {
        if let State::Running { endpoint, .. } = &mut self.state
            && contain(|| endpoint.close(now).is_ok()).is_ok()
        {
            drain(endpoint, out);
        }
        self.state = State::Over;
        self.forget_flight();
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Bytes>) {
        if self.resend_at.is_none_or(|at| now < at) {
            return;
        }
        out.extend(self.flight.iter().cloned());
        self.resends += 1;
        self.resend_at = (self.resends < MAX_RESENDS).then(|| now + FLIGHT_INTERVAL * (1 << self.resends));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.resend_at
    }

    fn begin(&mut self, profile: SrtpProfile) -> Result<(), FailReason> {
        let config = self.config(profile).map_err(|_| FailReason::Ours)?;
        let endpoint = Box::new(Endpoint::new(PEER, TransportProtocol::UDP, Some(Arc::new(config))));
        self.state = State::Running { endpoint, profile };
        Ok(())
    }

    fn config(&self, profile: SrtpProfile) -> Result<HandshakeConfig, Error> {
        let fingerprints = self.fingerprints.clone();
        let verify: VerifyPeerCertificateFn = Arc::new(move |certificates, _| {
            let certificate = certificates.first().ok_or(Error::ErrNonCertificate)?;
            let known = fingerprints.iter().any(|fingerprint| fingerprint.matches(certificate));
            if known { Ok(()) } else { Err(Error::ErrNoMatchingCertificateFingerprint) }
        });
        let profile = match profile {
            SrtpProfile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            SrtpProfile::AeadAes256Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
            SrtpProfile::Aes128CmSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        };
        ConfigBuilder::default()
            .with_crypto_provider(self.identity.crypto.clone())
            .with_certificates(vec![self.identity.certificate.clone()])
            .with_srtp_protection_profiles(vec![profile])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // There is no authority to ask: the fingerprint is what is verified (RFC 8827 section 6.5).
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(verify))
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_flight_interval(FLIGHT_INTERVAL)
            .build(false, None)
    }

    fn read(
        &mut self,
        now: Instant,
        datagram: BytesMut,
        outcome: &mut DtlsOutcome,
        out: &mut Vec<Bytes>,
    ) -> Result<(), FailReason> {
        let State::Running { endpoint, profile } = &mut self.state else { return Ok(()) };
        let profile = *profile;
        let events = contain(|| endpoint.read(now, PEER, None, datagram));
        let sent = out.len();
        drain(endpoint, out);
        if let Some(flight) = out.get(sent..).filter(|flight| !flight.is_empty() && !self.established) {
            self.flight = flight.to_vec();
            self.resend_at = Some(now + FLIGHT_INTERVAL);
            self.resends = 0;
        }
        let events = match self.or_over(events)? {
            Ok(events) => events,
            Err(Error::ErrNoMatchingCertificateFingerprint) => return Err(self.fail(FailReason::Fingerprint)),
            // Before there are keys nothing says who sent it, so an error is no reason to end: the handshake has a deadline.
            Err(_) => return Ok(()),
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    let cipher = self.export(profile).ok_or(FailReason::Ours)?;
                    self.established = true;
                    self.forget_flight();
                    outcome.established = Some((profile, cipher));
                }
                EndpointEvent::ApplicationData(data) => outcome.data.push(data),
                EndpointEvent::PeerClosed => {
                    outcome.closed = true;
                    self.state = State::Over;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn export(&self, profile: SrtpProfile) -> Option<MediaCipher> {
        let State::Running { endpoint, .. } = &self.state else { return None };
        let state = endpoint.get_connection_state(PEER)?;
        let material = state.export_keying_material(EXPORTER_LABEL, &[], profile.exporter_len()).ok()?;
        MediaCipher::new(profile, material.as_ref(), self.identity.crypto.as_ref())
    }

    fn or_over<T>(&mut self, result: Result<T, super::contain::Panicked>) -> Result<T, FailReason> {
        result.map_err(|_| self.fail(FailReason::Ours))
    }

    fn forget_flight(&mut self) {
        self.flight.clear();
        self.resend_at = None;
    }

    fn fail(&mut self, reason: FailReason) -> FailReason {
        self.state = State::Over;
        self.forget_flight();
        reason
    }
}

fn drain(endpoint: &mut Endpoint, out: &mut Vec<Bytes>) {
    while let Some(transmit) = endpoint.poll_transmit() {
        out.push(transmit.message.freeze());
    }
}
