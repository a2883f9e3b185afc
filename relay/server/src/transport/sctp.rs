//! Data channels of one session: SCTP over DTLS (RFC 8831) with channels both ends know of beforehand, so no opening handshake.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rtc_sctp::{
    Association, AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, Event, Payload, PayloadProtocolIdentifier,
    ReliabilityType, ServerConfig, StreamEvent, TransportConfig,
};
use rtc_shared::TransportProtocol;
use thiserror::Error;

use super::contain::contain;
use super::drops::DropReason;
use super::sctp_guard::{Refusal, SctpGuard};
use super::session::FailReason;

/// Stream of the reliable, ordered channel.
pub const SIGNAL_CHANNEL: u16 = 0;

/// Stream of the unordered channel without retransmission.
pub const LOSSY_CHANNEL: u16 = 1;

/// Largest message either way (`a=max-message-size`): what every browser takes.
pub const MAX_MESSAGE_LEN: usize = 64 * 1024;

/// Bytes received but not read, and so the window announced to the peer.
pub(super) const RECEIVE_BUFFER: u32 = 256 * 1024;

/// Bytes that may wait to be sent on a channel; what comes then is refused.
const SEND_BUFFER: usize = 256 * 1024;

/// Streams a peer may begin over the life of a session. Ours has two; pages of others may open a few more.
pub(super) const MAX_CHANNELS: usize = 64;

/// The port of SCTP over DTLS (RFC 8841 section 5).
pub const SCTP_PORT: u16 = 5000;

/// Stands for the peer; DTLS knows only one.
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));

/// Where SCTP has the type of the first chunk, and in an INIT the tag of its sender (RFC 9260 section 3.3.2).
const CHUNK_TYPE_AT: usize = 12;
const INITIATE_TAG_AT: usize = 16;
const CHUNK_INIT: u8 = 1;

/// DCEP messages (RFC 8832 section 5).
const DCEP_ACK: u8 = 2;
const DCEP_OPEN: u8 = 3;

/// A message of a data channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataMessage {
    /// SCTP stream, and so the channel.
    pub channel: u16,
    /// Text (JSON here) or binary (protobuf here).
    pub text: bool,
    /// At most [`MAX_MESSAGE_LEN`] bytes.
    pub payload: Bytes,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendDataError {
    /// The association is not up.
    #[error("data channels are not open")]
    NotOpen,
    /// Longer than [`MAX_MESSAGE_LEN`].
    #[error("message is too long")]
    TooLong,
    /// The peer does not take what waits already.
    #[error("too much waits to be sent")]
    Congested,
}

/// What a packet brought.
#[derive(Debug, Default)]
pub(super) struct SctpOutcome {
    pub(super) opened: bool,
    pub(super) messages: Vec<DataMessage>,
    pub(super) malformed: u64,
    /// The packet belonged to nothing.
    pub(super) discarded: bool,
    /// The packet was not for the library.
    pub(super) refused: Option<Refusal>,
}

/// The SCTP association of a session. The client begins it.
pub(super) struct DataChannels {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Box<Association>)>,
    /// The answer to the INIT with this tag, to repeat where the INIT is repeated: the library would begin a second association.
    answered: Option<(u32, Vec<Bytes>)>,
    open: bool,
    guard: SctpGuard,
    /// Streams the peer began.
    begun: usize,
}

impl DataChannels {
    pub(super) fn new() -> Self {
        Self { endpoint: new_endpoint(), association: None, answered: None, open: false, guard: SctpGuard::default(), begun: 0 }
    }

    /// Whether messages can be sent.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Takes a packet and leaves those to send in `out`.
    pub(super) fn handle(&mut self, now: Instant, packet: BytesMut, out: &mut Vec<Bytes>) -> Result<SctpOutcome, FailReason> {
        let tag = initiate_tag(&packet);
        if let Some(tag) = tag
            && self.handle_repeated_init(tag, out)
        {
            return Ok(SctpOutcome::default());
        }
        if let Err(refusal) = self.guard.admit(&packet) {
            return Ok(SctpOutcome { refused: Some(refusal), ..SctpOutcome::default() });
        }
        let sent = out.len();
        let outcome = contain(|| self.feed(now, packet.freeze(), out)).map_err(|_| FailReason::Ours)?;
        if let Some(tag) = tag {
            self.answered = Some((tag, out.iter().skip(sent).cloned().collect()));
        }
        if self.begun > MAX_CHANNELS {
            return Err(FailReason::TooManyChannels);
        }
        Ok(outcome)
    }

    /// Queues a message.
    pub(super) fn send(
        &mut self,
        now: Instant,
        channel: u16,
        text: bool,
        payload: &[u8],
        out: &mut Vec<Bytes>,
    ) -> Result<Result<(), SendDataError>, FailReason> {
        if payload.len() > MAX_MESSAGE_LEN {
            return Ok(Err(SendDataError::TooLong));
        }
        if !self.open {
            return Ok(Err(SendDataError::NotOpen));
        }
        // SCTP has no empty messages: one byte under an identifier of its own (RFC 8831 section 6.6).
        let (ppid, payload) = match (text, payload) {
            (true, []) => (PayloadProtocolIdentifier::StringEmpty, &[0][..]),
            (false, []) => (PayloadProtocolIdentifier::BinaryEmpty, &[0][..]),
            (true, payload) => (PayloadProtocolIdentifier::String, payload),
            (false, payload) => (PayloadProtocolIdentifier::Binary, payload),
        };
        contain(|| {
            let sent = self.write(now, channel, ppid, payload);
            self.drain(now, out);
            sent
        })
        .map_err(|_| FailReason::Ours)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Bytes>) -> Result<SctpOutcome, FailReason> {
        let due = self.poll_timeout().is_some_and(|at| at <= now);
        if !due {
            return Ok(SctpOutcome::default());
        }
        contain(|| {
            if let Some((_, association)) = &mut self.association {
                association.handle_timeout(now);
            }
            let mut outcome = SctpOutcome::default();
            self.handle_events(now, &mut outcome, out);
            outcome
        })
        .map_err(|_| FailReason::Ours)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.association.as_ref().and_then(|(_, association)| association.poll_timeout())
    }

    /// While the association comes up: an INIT that was answered is answered again with the same, another one begins anew.
    fn handle_repeated_init(&mut self, tag: u32, out: &mut Vec<Bytes>) -> bool {
        if self.open {
            // A second association on one DTLS connection is not a thing (RFC 8841 section 4).
            return true;
        }
        match &self.answered {
            Some((answered, answer)) if *answered == tag => {
                out.extend(answer.iter().cloned());
                true
            }
            _ => {
                *self = Self { begun: self.begun, ..Self::new() };
                false
            }
        }
    }

    fn feed(&mut self, now: Instant, packet: Bytes, out: &mut Vec<Bytes>) -> SctpOutcome {
        let mut outcome = SctpOutcome::default();
        match self.endpoint.handle(now, PEER, None, packet) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association = Some((handle, Box::new(association)));
                self.endpoint.reject_new_associations();
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => match &mut self.association {
                Some((ours, association)) if *ours == handle => association.handle_event(event),
                _ => outcome.discarded = true,
            },
            _ => outcome.discarded = true,
        }
        self.handle_events(now, &mut outcome, out);
        outcome
    }

    fn handle_events(&mut self, now: Instant, outcome: &mut SctpOutcome, out: &mut Vec<Bytes>) {
        let mut readable = Vec::new();
        let mut lost = false;
        if let Some((_, association)) = &mut self.association {
            while let Some(event) = association.poll() {
                match event {
                    Event::Connected => {
                        self.open = true;
                        outcome.opened = true;
                        readable.extend(association.stream_ids());
                    }
                    Event::HandshakeFailed { .. } | Event::AssociationLost { .. } => lost = true,
                    Event::Stream(StreamEvent::Opened { .. }) => self.begun += 1,
                    Event::Stream(StreamEvent::Readable { id }) => readable.push(id),
                    _ => {}
                }
            }
        }
        if self.open {
            for stream in readable {
                self.read(now, stream, outcome);
            }
        }
        self.drain(now, out);
        let drained = self.association.as_mut().is_some_and(|(_, association)| association.poll_endpoint_event().is_some());
        if lost || drained {
            *self = Self { begun: self.begun, ..Self::new() };
        }
    }

    fn read(&mut self, now: Instant, channel: u16, outcome: &mut SctpOutcome) {
        let mut acknowledge = false;
        if let Some((_, association)) = &mut self.association
            && let Ok(mut stream) = association.stream(channel)
        {
            while let Ok(Some(chunks)) = stream.read_sctp() {
                self.guard.read(chunks.chunks.len());
                let Ok(payload) = chunks.to_payload(MAX_MESSAGE_LEN) else {
                    outcome.malformed += 1;
                    continue;
                };
                let (text, payload) = match chunks.ppi {
                    PayloadProtocolIdentifier::String => (true, payload.freeze()),
                    PayloadProtocolIdentifier::Binary => (false, payload.freeze()),
                    PayloadProtocolIdentifier::StringEmpty => (true, Bytes::new()),
                    PayloadProtocolIdentifier::BinaryEmpty => (false, Bytes::new()),
                    PayloadProtocolIdentifier::Dcep => {
                        acknowledge |= payload.first() == Some(&DCEP_OPEN);
                        continue;
                    }
                    _ => {
                        outcome.malformed += 1;
                        continue;
                    }
                };
                outcome.messages.push(DataMessage { channel, text, payload });
            }
        }
        if acknowledge {
            // Where it cannot be sent the peer's channel stays closed, which is the peer's to notice.
            let _ = self.write(now, channel, PayloadProtocolIdentifier::Dcep, &[DCEP_ACK]);
        }
    }

    fn write(
        &mut self,
        now: Instant,
        channel: u16,
        ppid: PayloadProtocolIdentifier,
        payload: &[u8],
    ) -> Result<(), SendDataError> {
        let (_, association) = self.association.as_mut().ok_or(SendDataError::NotOpen)?;
        if association.stream(channel).is_err() {
            association.open_stream(channel, PayloadProtocolIdentifier::Binary).map_err(|_| SendDataError::NotOpen)?;
        }
        let mut stream = association.stream(channel).map_err(|_| SendDataError::NotOpen)?;
        if stream.buffered_amount().is_ok_and(|waiting| waiting + payload.len() > SEND_BUFFER) {
            return Err(SendDataError::Congested);
        }
        // Set before every message: a stream the peer began has the parameters of the library, not those agreed on.
        let (unordered, reliability) = if channel == LOSSY_CHANNEL && ppid != PayloadProtocolIdentifier::Dcep {
            (true, ReliabilityType::Rexmit)
        } else {
            (false, ReliabilityType::Reliable)
        };
        stream.set_reliability_params(unordered, reliability, 0).map_err(|_| SendDataError::NotOpen)?;
        stream.write_with_ppi(now, payload, ppid).map_err(|_| SendDataError::NotOpen)?;
        Ok(())
    }

    fn drain(&mut self, now: Instant, out: &mut Vec<Bytes>) {
        let Some((_, association)) = &mut self.association else { return };
        while let Some(transmit) = association.poll_transmit(now) {
            if let Payload::RawEncode(packets) = transmit.message {
                packets.iter().for_each(|packet| self.guard.sent(packet));
                out.extend(packets);
            }
        }
    }
}

/// What counts as a drop of the datagram.
impl SctpOutcome {
    pub(super) fn drop_reason(&self) -> Option<DropReason> {
        match self {
            Self { refused: Some(refusal), .. } => Some(refusal.drop_reason()),
            Self { discarded: true, .. } => Some(DropReason::SctpDiscarded),
            Self { malformed: 1.., .. } => Some(DropReason::DataMalformed),
            _ => None,
        }
    }
}

fn new_endpoint() -> Endpoint {
    let config = TransportConfig::default()
        .with_sctp_port(SCTP_PORT)
        .with_max_message_size(MAX_MESSAGE_LEN as u32)
        .with_max_receive_buffer_size(RECEIVE_BUFFER);
    let server = Some(Arc::new(ServerConfig::new(config)));
    Endpoint::new(PEER, TransportProtocol::UDP, Arc::new(EndpointConfig::new()), server)
}

/// The initiate tag, where the packet begins with an INIT.
fn initiate_tag(packet: &[u8]) -> Option<u32> {
    if packet.get(CHUNK_TYPE_AT) != Some(&CHUNK_INIT) {
        return None;
    }
    packet.get(INITIATE_TAG_AT..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
