//! The transport of one participant in one direction of negotiation.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_media::packet::{DatagramKind, classify};
use segue_model::ExtSeq;
use thiserror::Error;

use super::cipher::{MediaCipher, SealFailure, SrtpProfile};
use super::drops::{DropCounts, DropReason};
use super::dtls::{DtlsOutcome, DtlsServer};
use super::ice::{IceCredentials, IceLite};
use super::identity::{Fingerprint, RelayIdentity};
use super::sctp::{DataChannels, DataMessage, SctpOutcome, SendDataError};

/// How long ICE and DTLS may take from the moment both descriptions are known. Browsers give up after about as long.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Control datagrams that may wait for the shard: all the data channels may have under way, and then some.
pub const MAX_QUEUED_TRANSMITS: usize = 512;

/// What a session begins with.
#[derive(Debug)]
pub struct SessionConfig {
    /// The certificate of this process.
    pub identity: Arc<RelayIdentity>,
    /// Ours, as they stand in our description.
    pub credentials: IceCredentials,
}

/// What a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// An RTP packet stands in the first so many bytes of the buffer.
    Rtp(usize),
    /// A compound RTCP packet stands in the first so many bytes.
    Rtcp(usize),
    /// Dealt with, or dropped and counted. Drain the queues.
    Consumed,
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// The bytes.
    pub payload: Bytes,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// Datagrams from this address belong to this session ([`super::Demux::bind`]).
    AddressAdded(SocketAddr),
    /// They no longer do ([`super::Demux::release`]).
    AddressRemoved(SocketAddr),
    /// Checks with this username fragment no longer belong to this session.
    UfragRetired(String),
    /// DTLS is through, media may flow both ways.
    Connected {
        /// The SRTP profile in use.
        profile: SrtpProfile,
    },
    /// No consent for [`super::CONSENT_TIMEOUT`]: nothing is sent until [`Self::Resumed`].
    Interrupted,
    /// A check came again.
    Resumed,
    /// Data channels are open.
    ChannelsOpen,
    /// A message of a data channel.
    Data(DataMessage),
    /// It will not connect, or cannot go on. The session is over.
    Failed(FailReason),
    /// The peer said goodbye. The session is over.
    Closed,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FailReason {
    /// ICE or DTLS took longer than [`CONNECT_TIMEOUT`].
    #[error("the transport did not connect in time")]
    HandshakeTimeout,
    /// The certificate is not the one of the session description.
    #[error("the certificate does not match the fingerprint of the session description")]
    Fingerprint,
    /// The client offers no SRTP profile this relay has.
    #[error("no common SRTP profile")]
    NoSrtpProfile,
    /// The peer opened more data channels than anyone needs.
    #[error("too many data channels")]
    TooManyChannels,
    /// Our own fault, or that of a library.
    #[error("the relay could not go on with this transport")]
    Ours,
}

/// A new description names another certificate: the session cannot go on, a new one has to be made (RFC 8842 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the description names another certificate")]
pub struct RemoteChanged;

/// Figures of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportStats {
    /// What was dropped.
    pub drops: DropCounts,
    /// RTP and RTCP packets that went through AES-CM, both ways.
    pub slow_path_packets: u64,
}

/// One ICE, DTLS, SRTP and SCTP association. After any `handle_*`, `send_data` or `close` drain [`Self::poll_transmit`] and
/// [`Self::poll_event`].
pub struct TransportSession {
    ice: IceLite,
    dtls: DtlsServer,
    channels: DataChannels,
    cipher: Option<MediaCipher>,
    profile: Option<SrtpProfile>,
    connect_by: Option<Instant>,
    interrupted: bool,
    over: bool,
    transmits: VecDeque<Transmit>,
    events: VecDeque<TransportEvent>,
    stats: TransportStats,
    scratch: Vec<u8>,
}

impl TransportSession {
    /// A session that waits for the peer's description.
    #[must_use]
    pub fn new(config: SessionConfig) -> Self {
        Self {
            ice: IceLite::new(config.credentials),
            dtls: DtlsServer::new(config.identity),
            channels: DataChannels::new(),
            cipher: None,
            profile: None,
            connect_by: None,
            interrupted: false,
            over: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            stats: TransportStats::default(),
            scratch: Vec::new(),
        }
    }

    /// A session that is connected with a peer already, with keys that are given: for measurements without a handshake. `None` where
    /// they do not fit the profile.
    pub(crate) fn keyed(
        config: SessionConfig,
        now: Instant,
        peer: SocketAddr,
        profile: SrtpProfile,
        material: &[u8],
    ) -> Option<Self> {
        let mut session = Self::new(config);
        session.cipher = Some(MediaCipher::new(profile, material, &rtc_crypto::providers::RingProvider::new())?);
        session.profile = Some(profile);
        session.ice.admit(now, peer);
        Some(session)
    }

    /// Our ICE credentials, for the next description.
    #[must_use]
    pub fn credentials(&self) -> &IceCredentials {
        self.ice.credentials()
    }

    /// The peer's certificate fingerprints (at least one) from its description. An ICE-lite agent needs nothing else of it.
    ///
    /// # Errors
    /// Where they are not those of an earlier description.
    pub fn set_remote(&mut self, now: Instant, fingerprints: Vec<Fingerprint>) -> Result<(), RemoteChanged> {
        if self.dtls.fingerprints().is_empty() {
            self.dtls.set_fingerprints(fingerprints);
        } else if self.dtls.fingerprints() != fingerprints {
            return Err(RemoteChanged);
        }
        if self.cipher.is_none() {
            self.connect_by = Some(now + CONNECT_TIMEOUT);
        }
        Ok(())
    }

    /// New credentials of ours, since the peer restarts ICE (RFC 8445 section 9). Checks with the old ones stay good until one
    /// with the new nominates.
    pub fn restart_ice(&mut self, credentials: IceCredentials) {
        if let Some(ufrag) = self.ice.restart(credentials) {
            self.events.push_back(TransportEvent::UfragRetired(ufrag));
        }
    }

    /// Takes a datagram. RTP and RTCP are opened in place.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) -> Inbound {
        let result = if self.over { Err(DropReason::SessionOver) } else { self.handle(now, from, datagram) };
        result.unwrap_or_else(|reason| {
            self.stats.drops.count(reason);
            Inbound::Consumed
        })
    }

    /// Handles what is due: retransmissions, consent, the deadline of connecting.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.over {
            return;
        }
        for address in self.ice.handle_timeout(now) {
            self.events.push_back(TransportEvent::AddressRemoved(address));
        }
        self.note_destination();
        if self.connect_by.is_some_and(|at| at <= now) {
            self.fail(FailReason::HandshakeTimeout);
            return;
        }
        let mut out = Vec::new();
        self.dtls.handle_timeout(now, &mut out);
        self.queue(out);
        let mut packets = Vec::new();
        match self.channels.handle_timeout(now, &mut packets) {
            Ok(outcome) => self.handle_sctp_outcome(outcome),
            Err(reason) => self.fail(reason),
        }
        self.send_sctp(now, packets);
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        [self.ice.poll_timeout(), self.connect_by, self.dtls.poll_timeout(), self.channels.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next control datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// Where sealed packets go; `None` before a check came and where consent is lost. Does not change between calls of
    /// `handle_*`.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.ice.destination().filter(|_| !self.over)
    }

    /// The nominated address, if there is one.
    #[must_use]
    pub fn nominated(&self) -> Option<SocketAddr> {
        self.ice.nominated().filter(|_| !self.over)
    }

    /// Addresses the session holds in the demultiplexer.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ice.addresses()
    }

    /// The SRTP profile, once there are keys.
    #[must_use]
    pub fn profile(&self) -> Option<SrtpProfile> {
        self.profile
    }

    /// Whether packets can be sealed and sent.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.cipher.is_some() && self.remote().is_some()
    }

    /// Whether the session has failed or was closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> &TransportStats {
        &self.stats
    }

    /// Seals the RTP packet in the first `len` bytes of `buffer` in place and gives the length of what is to be sent to
    /// [`Self::remote`]. `buffer` is at least [`super::RTP_ROOM`] bytes longer. `index` is the extended form of its sequence
    /// number: every (SSRC, index) is sealed once.
    ///
    /// # Errors
    /// Nothing may be sent then.
    pub fn seal_rtp(&mut self, index: ExtSeq, buffer: &mut [u8], len: usize) -> Result<usize, SealFailure> {
        let cipher = self.cipher.as_mut().filter(|_| !self.over).ok_or(SealFailure::NotConnected)?;
        self.stats.slow_path_packets += u64::from(cipher.profile_is_slow());
        cipher.seal_rtp(index, buffer, len)
    }

    /// Seals the compound RTCP packet in the first `len` bytes of `buffer`, which is at least [`super::RTCP_ROOM`] bytes longer.
    ///
    /// # Errors
    /// Nothing may be sent then.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SealFailure> {
        let cipher = self.cipher.as_mut().filter(|_| !self.over).ok_or(SealFailure::NotConnected)?;
        self.stats.slow_path_packets += u64::from(cipher.profile_is_slow());
        cipher.seal_rtcp(buffer, len)
    }

    /// Sends a message on a data channel.
    ///
    /// # Errors
    /// The message was not taken.
    pub fn send_data(&mut self, now: Instant, channel: u16, text: bool, payload: &[u8]) -> Result<(), SendDataError> {
        if self.over || !self.channels.is_open() {
            return Err(SendDataError::NotOpen);
        }
        let mut packets = Vec::new();
        let sent = self.channels.send(now, channel, text, payload, &mut packets).unwrap_or_else(|reason| {
            self.fail(reason);
            Err(SendDataError::NotOpen)
        });
        self.send_sctp(now, packets);
        sent
    }

    /// Says goodbye (DTLS `close_notify`) and ends; drain [`Self::poll_transmit`] once more.
    pub fn close(&mut self, now: Instant) {
        if self.over {
            return;
        }
        let mut out = Vec::new();
        self.dtls.close(now, &mut out);
        self.queue(out);
        self.end();
    }

    fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) -> Result<Inbound, DropReason> {
        let kind = classify(datagram);
        if kind == DatagramKind::Stun {
            self.handle_stun(now, from, datagram)?;
            return Ok(Inbound::Consumed);
        }
        if !self.ice.is_valid(from) {
            return Err(DropReason::UnknownAddress);
        }
        match kind {
            DatagramKind::Rtp => {
                let cipher = self.cipher.as_mut().ok_or(DropReason::MediaEarly)?;
                self.stats.slow_path_packets += u64::from(cipher.profile_is_slow());
                cipher.open_rtp(datagram).map(Inbound::Rtp)
            }
            DatagramKind::Rtcp => {
                let cipher = self.cipher.as_mut().ok_or(DropReason::MediaEarly)?;
                self.stats.slow_path_packets += u64::from(cipher.profile_is_slow());
                cipher.open_rtcp(datagram).map(Inbound::Rtcp)
            }
            DatagramKind::Dtls => self.handle_dtls(now, datagram).map(|()| Inbound::Consumed),
            DatagramKind::Stun | DatagramKind::Unknown => Err(DropReason::Unrecognised),
        }
    }

    fn handle_stun(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Result<(), DropReason> {
        let outcome = self.ice.handle_stun(now, from, datagram, &mut self.scratch)?;
        if !self.scratch.is_empty() {
            let payload = Bytes::copy_from_slice(&self.scratch);
            self.push_transmit(Transmit { to: from, payload });
        }
        self.events.extend(outcome.removed.map(TransportEvent::AddressRemoved));
        self.events.extend(outcome.added.map(TransportEvent::AddressAdded));
        self.events.extend(outcome.retired.map(TransportEvent::UfragRetired));
        self.note_destination();
        Ok(())
    }

    fn handle_dtls(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DropReason> {
        let mut out = Vec::new();
        let result = self.dtls.handle(now, datagram, &mut out);
        self.queue(out);
        match result {
            Ok(outcome) => self.handle_dtls_outcome(now, outcome?),
            Err(reason) => self.fail(reason),
        }
        Ok(())
    }

    fn handle_dtls_outcome(&mut self, now: Instant, outcome: DtlsOutcome) {
        if let Some((profile, cipher)) = outcome.established {
            self.cipher = Some(cipher);
            self.profile = Some(profile);
            self.connect_by = None;
            self.events.push_back(TransportEvent::Connected { profile });
        }
        for packet in outcome.data {
            let mut packets = Vec::new();
            match self.channels.handle(now, packet, &mut packets) {
                Ok(outcome) => self.handle_sctp_outcome(outcome),
                Err(reason) => self.fail(reason),
            }
            self.send_sctp(now, packets);
        }
        if outcome.closed && !self.over {
            self.end();
            self.events.push_back(TransportEvent::Closed);
        }
    }

    fn handle_sctp_outcome(&mut self, outcome: SctpOutcome) {
        if let Some(reason) = outcome.drop_reason() {
            self.stats.drops.count(reason);
        }
        if outcome.opened {
            self.events.push_back(TransportEvent::ChannelsOpen);
        }
        self.events.extend(outcome.messages.into_iter().map(TransportEvent::Data));
    }

    fn send_sctp(&mut self, now: Instant, packets: Vec<Bytes>) {
        let mut out = Vec::new();
        for packet in packets {
            if let Err(reason) = self.dtls.write(now, &packet, &mut out) {
                self.fail(reason);
                break;
            }
        }
        self.queue(out);
    }

    /// Queues DTLS datagrams for the peer.
    fn queue(&mut self, out: Vec<Bytes>) {
        for payload in out {
            match self.ice.destination() {
                Some(to) => self.push_transmit(Transmit { to, payload }),
                None => self.stats.drops.count(DropReason::NoDestination),
            }
        }
    }

    fn push_transmit(&mut self, transmit: Transmit) {
        if self.transmits.len() >= MAX_QUEUED_TRANSMITS {
            self.stats.drops.count(DropReason::TransmitQueueFull);
            return;
        }
        self.transmits.push_back(transmit);
    }

    fn note_destination(&mut self) {
        if self.cipher.is_none() {
            return;
        }
        let interrupted = self.ice.destination().is_none();
        if interrupted != self.interrupted {
            self.interrupted = interrupted;
            self.events.push_back(if interrupted { TransportEvent::Interrupted } else { TransportEvent::Resumed });
        }
    }

    fn fail(&mut self, reason: FailReason) {
        if !self.over {
            self.end();
            self.events.push_back(TransportEvent::Failed(reason));
        }
    }

    fn end(&mut self) {
        self.over = true;
        self.cipher = None;
        let addresses: Vec<_> = self.ice.addresses().collect();
        self.events.extend(addresses.into_iter().map(TransportEvent::AddressRemoved));
    }
}

impl std::fmt::Debug for TransportSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransportSession").field("profile", &self.profile).field("over", &self.over).finish_non_exhaustive()
    }
}
