//! [`PeerLink`] over the `webrtc` crate.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use rtc::interceptor::{Registry, Slot};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{Notify, mpsc};
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::error::Result;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState, RTCSdpType, RTCSessionDescription,
};

use super::doorbell::DoorbellRuntime;
use super::engine;
use super::tap::{Tap, Wire};
use super::{
    Channel, Direction, LinkCandidate, LinkCommand, LinkConfig, LinkCounters, LinkEvent, LinkId, LinkInput, LinkPacket,
    PacketBody, PeerLink, SdpKind, Section, TransportState,
};

/// Negotiation steps and messages that may wait for the link's task. Trickled candidates come in bursts of tens.
const MAX_WORK: usize = 256;

/// Remote candidates kept until there is a remote description: more than any host trickles.
const MAX_EARLY_CANDIDATES: usize = 64;

/// Bytes a data channel may hold unacknowledged before messages are refused: 1 MiB, as large as SCTP's window.
const MAX_CHANNEL_BUFFER: usize = 1 << 20;

/// Distance from the wire of the tap: the closest of all.
const TAP_SLOT: usize = 1;

/// What the link's task is asked to do.
enum Work {
    Command(LinkCommand),
    Message { channel: Channel, text: bool, payload: Bytes },
}

/// A [`PeerLink`] whose transport is a `webrtc` peer connection, driven by a task that ends when this value is dropped.
pub(crate) struct RtcLink {
    work: mpsc::Sender<Work>,
    wire: Arc<Wire>,
}

impl RtcLink {
    /// Opens a link. Its transport is built by its task; a failure arrives as `State(Failed)`.
    ///
    /// Must be called within a tokio runtime.
    pub(crate) fn open(config: LinkConfig, events: mpsc::Sender<LinkInput>, packets: mpsc::Sender<LinkPacket>) -> Self {
        let bell = Arc::new(Notify::new());
        let wire = Arc::new(Wire::new(bell.clone()));
        let (work, queue) = mpsc::channel(MAX_WORK);
        let tap = Tap::new(config.id, wire.clone(), packets);
        let out = Events { link: config.id, queue: events };
        tokio::spawn(run(config, tap, bell, out, queue));
        Self { work, wire }
    }
}

impl PeerLink for RtcLink {
    fn execute(&self, command: LinkCommand) -> bool {
        self.work.try_send(Work::Command(command)).is_ok()
    }

    fn send(&self, at: Instant, packet: PacketBody) -> bool {
        self.wire.push(at, packet)
    }

    fn flush(&self) {
        self.wire.ring();
    }

    fn send_message(&self, channel: Channel, text: bool, payload: Bytes) -> bool {
        self.work.try_send(Work::Message { channel, text, payload }).is_ok()
    }

    fn counters(&self) -> LinkCounters {
        self.wire.counters()
    }
}

/// The way out for events of one link.
#[derive(Clone)]
struct Events {
    link: LinkId,
    queue: mpsc::Sender<LinkInput>,
}

impl Events {
    /// Waits where the room is behind; a room that is gone takes nothing.
    async fn emit(&self, event: LinkEvent) {
        let _ = self.queue.send(LinkInput { link: self.link, event }).await;
    }
}

/// The stack's callbacks as events.
struct Handler {
    events: Events,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let Ok(init) = event.candidate.to_json() else { return };
        if is_unspecified(&init.candidate) {
            return;
        }
        let candidate = LinkCandidate {
            candidate: init.candidate,
            mid: init.sdp_mid.unwrap_or_default(),
            mline: u32::from(init.sdp_mline_index.unwrap_or_default()),
            ufrag: init.username_fragment.unwrap_or_default(),
        };
        self.events.emit(LinkEvent::LocalCandidate(candidate)).await;
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let state = match state {
            RTCPeerConnectionState::Connecting => TransportState::Connecting,
            RTCPeerConnectionState::Connected => TransportState::Up,
            RTCPeerConnectionState::Disconnected => TransportState::Disconnected,
            RTCPeerConnectionState::Failed => TransportState::Failed,
            RTCPeerConnectionState::Closed => TransportState::Closed,
            _ => return,
        };
        self.events.emit(LinkEvent::State(state)).await;
    }
}

/// A candidate whose address (the fifth word, RFC 8839 section 5.1) is a wildcard leads nowhere.
fn is_unspecified(candidate: &str) -> bool {
    candidate.split_whitespace().nth(4).is_some_and(|address| address == "0.0.0.0" || address == "::")
}

/// The life of a link.
async fn run(config: LinkConfig, tap: Tap, bell: Arc<Notify>, events: Events, mut queue: mpsc::Receiver<Work>) {
    let mut link = match Open::new(&config, tap, bell, events.clone()).await {
        Ok(link) => link,
        Err(error) => {
            events.emit(LinkEvent::Refused { step: "open", reason: name(&error) }).await;
            events.emit(LinkEvent::State(TransportState::Failed)).await;
            return;
        }
    };
    while let Some(work) = queue.recv().await {
        match work {
            Work::Command(command) => {
                let step = step_name(&command);
                if let Err(error) = link.execute(command).await {
                    events.emit(LinkEvent::Refused { step, reason: name(&error) }).await;
                }
            }
            Work::Message { channel, text, payload } => link.send_message(channel, text, payload).await,
        }
    }
    if let Err(error) = link.connection.close().await {
        tracing::debug!(error = name(&error), "link did not close cleanly");
    }
}

/// The name of an error without what it quotes, which may be an address or part of a description.
fn name(error: &webrtc::error::Error) -> String {
    format!("{error:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}

const fn step_name(command: &LinkCommand) -> &'static str {
    match command {
        LinkCommand::CreateOffer { .. } => "create offer",
        LinkCommand::CreateAnswer { .. } => "create answer",
        LinkCommand::SetRemote { .. } => "set remote description",
        LinkCommand::Rollback => "rollback",
        LinkCommand::AddCandidate(_) => "add candidate",
        LinkCommand::AddSection(_) => "add section",
    }
}

/// An open link, owned by its task.
struct Open {
    connection: Box<dyn PeerConnection>,
    channels: Vec<(Channel, Arc<dyn DataChannel>)>,
    events: Events,
    has_remote: bool,
    early_candidates: VecDeque<LinkCandidate>,
}

impl Open {
    async fn new(config: &LinkConfig, tap: Tap, bell: Arc<Notify>, events: Events) -> Result<Self> {
        let connection: Box<dyn PeerConnection> = Box::new(
            PeerConnectionBuilder::new()
                .with_configuration(engine::configuration(config))
                .with_media_engine(engine::media_engine()?)
                .with_setting_engine(engine::setting_engine(config))
                .with_interceptor_registry(Registry::new().with(Slot::from(TAP_SLOT), tap))
                .with_runtime(Arc::new(DoorbellRuntime::new(bell)))
                .with_handler(Arc::new(Handler { events: events.clone() }))
                .with_udp_addrs(engine::bind_addresses(config.interfaces))
                .with_data_channel_send_buffer_limit(MAX_CHANNEL_BUFFER)
                .build()
                .await?,
        );
        let mut link = Self { connection, channels: Vec::new(), events, has_remote: false, early_candidates: VecDeque::new() };
        for section in &config.sections {
            link.add_section(section).await?;
        }
        if config.channels {
            link.open_channels().await?;
        }
        Ok(link)
    }

    async fn add_section(&self, section: &Section) -> Result<()> {
        let track = engine::declared_track(section);
        let direction = match section.direction {
            Direction::SendRecv => RTCRtpTransceiverDirection::Sendrecv,
            Direction::SendOnly => RTCRtpTransceiverDirection::Sendonly,
        };
        let init = RTCRtpTransceiverInit { direction, streams: vec![], send_encodings: track.codings().to_vec() };
        self.connection.add_transceiver_from_track(Arc::new(TrackLocalStaticRTP::new(track)), Some(init)).await?;
        Ok(())
    }

    async fn open_channels(&mut self) -> Result<()> {
        for channel in Channel::ALL {
            let reliable = channel == Channel::Signal;
            let init = RTCDataChannelInit {
                ordered: reliable,
                max_retransmits: (!reliable).then_some(0),
                negotiated: Some(channel.number()),
                ..Default::default()
            };
            let stream = self.connection.create_data_channel(channel.label(), Some(init)).await?;
            tokio::spawn(pump(channel, stream.clone(), self.events.clone()));
            self.channels.push((channel, stream));
        }
        Ok(())
    }

    async fn execute(&mut self, command: LinkCommand) -> Result<()> {
        match command {
            LinkCommand::CreateOffer { restart, generation } => {
                if restart {
                    self.connection.restart_ice().await?;
                }
                let offer = self.connection.create_offer(None).await?;
                self.apply_local(SdpKind::Offer, offer, generation).await
            }
            LinkCommand::CreateAnswer { generation } => {
                let answer = self.connection.create_answer(None).await?;
                self.apply_local(SdpKind::Answer, answer, generation).await
            }
            LinkCommand::SetRemote { kind, sdp } => self.set_remote(kind, sdp).await,
            LinkCommand::Rollback => {
                let mut rollback = RTCSessionDescription::default();
                rollback.sdp_type = RTCSdpType::Rollback;
                self.connection.set_local_description(rollback).await
            }
            LinkCommand::AddCandidate(candidate) => self.add_candidate(candidate).await,
            LinkCommand::AddSection(section) => self.add_section(&section).await,
        }
    }

    async fn apply_local(&self, kind: SdpKind, description: RTCSessionDescription, generation: u32) -> Result<()> {
        let sdp = description.sdp.clone();
        self.connection.set_local_description(description).await?;
        self.events.emit(LinkEvent::LocalDescription { kind, sdp, generation }).await;
        Ok(())
    }

    async fn set_remote(&mut self, kind: SdpKind, sdp: String) -> Result<()> {
        let description = match kind {
            SdpKind::Offer => RTCSessionDescription::offer(sdp)?,
            SdpKind::Answer => RTCSessionDescription::answer(sdp)?,
        };
        self.connection.set_remote_description(description).await?;
        self.has_remote = true;
        while let Some(candidate) = self.early_candidates.pop_front() {
            self.add_candidate(candidate).await?;
        }
        Ok(())
    }

    async fn add_candidate(&mut self, candidate: LinkCandidate) -> Result<()> {
        if !self.has_remote {
            if self.early_candidates.len() < MAX_EARLY_CANDIDATES {
                self.early_candidates.push_back(candidate);
            }
            return Ok(());
        }
        // The end of candidates needs no word: checks go on until the pairs are spent.
        if candidate.candidate.is_empty() {
            return Ok(());
        }
        let init = RTCIceCandidateInit {
            candidate: candidate.candidate,
            sdp_mid: Some(candidate.mid),
            sdp_mline_index: u16::try_from(candidate.mline).ok(),
            username_fragment: (!candidate.ufrag.is_empty()).then_some(candidate.ufrag),
            url: None,
        };
        self.connection.add_ice_candidate(init).await
    }

    async fn send_message(&self, channel: Channel, text: bool, payload: Bytes) {
        let Some((_, stream)) = self.channels.iter().find(|(candidate, _)| *candidate == channel) else { return };
        let sent = match (text, std::str::from_utf8(&payload)) {
            (true, Ok(text)) => stream.try_send_text(text).await,
            _ => stream.try_send(BytesMut::from(payload)).await,
        };
        if let Err(error) = sent {
            tracing::debug!(channel = channel.label(), error = name(&error), "message not sent");
        }
    }
}

/// Hands a data channel's events on until it ends. Waiting for the room here is what throttles the sender.
async fn pump(channel: Channel, stream: Arc<dyn DataChannel>, events: Events) {
    while let Some(event) = stream.poll().await {
        match event {
            DataChannelEvent::OnOpen => events.emit(LinkEvent::ChannelOpen(channel)).await,
            DataChannelEvent::OnMessage(message) => {
                let payload = message.data.freeze();
                events.emit(LinkEvent::Message { channel, text: message.is_string, payload }).await;
            }
            DataChannelEvent::OnClose => break,
            _ => {}
        }
    }
    events.emit(LinkEvent::ChannelClosed(channel)).await;
}
