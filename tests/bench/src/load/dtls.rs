//! DTLS of a leg: always the client, with AES-GCM and nothing else.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::RingProvider;
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use segue_srtp::{KeyingMaterial, Profile};

/// The peer as the library knows it: the socket is connected to the real one.
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));

/// Label of the exporter (RFC 5764 section 4.2).
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// One certificate for all legs of the process: making them is not what is measured.
pub struct Identity {
    crypto: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    pub(super) fingerprint: Vec<u8>,
}

impl Identity {
    /// A certificate of its own.
    ///
    /// # Errors
    /// No randomness.
    pub fn generate() -> Result<Self, String> {
        let crypto: Arc<dyn RTCCryptoProvider> = Arc::new(RingProvider::new());
        let certificate = Certificate::generate_self_signed(vec!["bench".to_owned()], crypto.crypto());
        let certificate = certificate.map_err(|error| error.to_string())?;
        let encoded = certificate.certificate.first().ok_or("no certificate")?;
        let fingerprint = ring::digest::digest(&ring::digest::SHA256, encoded.as_ref()).as_ref().to_vec();
        Ok(Self { crypto, certificate, fingerprint })
    }

    fn config(&self) -> Result<HandshakeConfig, String> {
        ConfigBuilder::default()
            .with_crypto_provider(self.crypto.clone())
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .build(true, None)
            .map_err(|error| error.to_string())
    }
}

/// A handshake.
pub(super) struct Dtls {
    endpoint: Box<Endpoint>,
    /// SCTP that came last.
    data: Option<BytesMut>,
}

impl Dtls {
    /// Begins one.
    pub(super) fn begin(now: Instant, identity: &Identity) -> Result<Self, String> {
        let mut endpoint = Box::new(Endpoint::new(PEER, TransportProtocol::UDP, None));
        endpoint.connect(now, PEER, Arc::new(identity.config()?), None).map_err(|error| error.to_string())?;
        Ok(Self { endpoint, data: None })
    }

    /// Takes a datagram; the keys, once the handshake is through.
    pub(super) fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<Option<KeyingMaterial>, String> {
        let events = self.endpoint.read(now, PEER, None, BytesMut::from(datagram)).map_err(|error| error.to_string())?;
        let mut complete = false;
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => complete = true,
                EndpointEvent::ApplicationData(data) => self.data = Some(data),
                _ => {}
            }
        }
        if !complete {
            return Ok(None);
        }
        let profile = Profile::AeadAes128Gcm;
        let state = self.endpoint.get_connection_state(PEER).ok_or("no DTLS state")?;
        let material = state.export_keying_material(EXPORTER_LABEL, &[], profile.exporter_len());
        let material = material.map_err(|error| error.to_string())?;
        KeyingMaterial::from_exporter(profile, material.as_ref()).map(Some).map_err(|error| error.to_string())
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.endpoint.poll_timeout(&PEER).is_some_and(|at| at <= now) {
            // What it cannot send again now it sends at its next timeout.
            let _ = self.endpoint.handle_timeout(PEER, now);
        }
    }

    /// Encrypts an SCTP packet.
    pub(super) fn write(&mut self, now: Instant, packet: &[u8]) -> Result<(), String> {
        self.endpoint.write(now, PEER, packet).map_err(|error| error.to_string())
    }

    /// The SCTP packet that came last, once.
    pub(super) fn take_data(&mut self) -> Option<BytesMut> {
        self.data.take()
    }

    /// Says goodbye.
    pub(super) fn close(&mut self, now: Instant) {
        // Whether the peer hears it or not, this end is over.
        let _ = self.endpoint.close(now);
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.endpoint.poll_transmit().map(|transmit| transmit.message.freeze())
    }
}
