//! The task of one room: carries between its connections, its authority and its media.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use segue_model::ParticipantId;
use segue_session::carrier::CarrierError;
use segue_session::room::{JoinRequest, RoomAuthority, RoomConfig, RoomError, RoomOutput};
use segue_wire::WireError;
use segue_wire::proto::{self, ClientFrame, ErrorCode, LeaveReason, server_frame};
use tokio::sync::{mpsc, oneshot};

use super::hub::Hub;
use super::link::{Link, LinkId};
use super::session::{ResumeToken, SecretHash, Session};
use super::visitor::{Patching, Visiting, Visitor};
use crate::clock;
use crate::media_plane::{EVENT_QUEUE, MediaCommand, MediaEvent, MidTrack, RoomKey, RoomMedia, TransportKind};

mod departed;
mod media;
mod moves;
mod visits;

use departed::Departed;
use moves::Moves;

/// An empty room is kept this long: whoever reloads a page finds its numbers go on.
const EMPTY_FOR: Duration = Duration::from_secs(30);

/// Inputs handled before their results are sent: in a burst, answers share one round.
const BATCH: usize = 64;

/// Wait before a client that met a room in trouble comes back.
const RETRY_AFTER_MS: u32 = 1000;

/// What a room is told.
pub(super) enum RoomInput {
    /// Somebody at the door, its token checked.
    Join(Box<Joining>),
    /// A connection for a session.
    Resume { secret: SecretHash, ack: u64, link: Link, reply: oneshot::Sender<Result<ParticipantId, Link>> },
    /// A frame of a participant.
    Frame { participant: ParticipantId, link: LinkId, frame: ClientFrame },
    /// Something of a participant that is no frame.
    Undecodable { participant: ParticipantId, link: LinkId, error: WireError },
    /// A participant did what ends its session.
    Misbehaved { participant: ParticipantId, link: LinkId, goodbye: proto::Goodbye },
    /// A connection ended.
    Disconnected { participant: ParticipantId, link: LinkId },
    /// Somebody at the door who will have no connection.
    Visit(Box<Visiting>),
    /// Such a one leaves. The reply says whether it was there.
    EndVisit { secret: SecretHash, reply: oneshot::Sender<bool> },
    /// Such a one says more of its ICE.
    Patch(Box<Patching>),
    /// End as soon as nobody is there.
    Drain,
    /// Say this to everybody and end.
    Close(proto::Goodbye),
}

pub(super) struct Joining {
    pub(super) request: JoinRequest,
    pub(super) link: Link,
    /// Number of the frame that held the Join.
    pub(super) seq: u64,
    /// Frames before it that were refused.
    pub(super) undecoded: u64,
    pub(super) reply: oneshot::Sender<Result<ParticipantId, (RoomError, Link)>>,
}

pub(super) struct RoomTask {
    hub: Arc<Hub>,
    name: String,
    authority: RoomAuthority,
    sessions: BTreeMap<ParticipantId, Session>,
    /// Participants without a connection.
    visitors: BTreeMap<ParticipantId, Visitor>,
    departed: Departed,
    media: Box<dyn RoomMedia>,
    media_events: mpsc::Receiver<MediaEvent>,
    empty_since: Option<Instant>,
    draining: bool,
    closed: bool,
    moves: Moves,
    /// Participants and tracks as the gauges have them.
    counted: (i64, i64),
}

impl RoomTask {
    pub(super) fn new(hub: Arc<Hub>, key: RoomKey, config: RoomConfig) -> Self {
        let (events, media_events) = mpsc::channel(EVENT_QUEUE);
        let media = hub.media.open_room(key, events);
        hub.metrics.rooms.add(1);
        Self {
            hub,
            name: config.name.clone(),
            departed: Departed::new(config.resume_window),
            authority: RoomAuthority::new(config),
            sessions: BTreeMap::new(),
            visitors: BTreeMap::new(),
            media,
            media_events,
            empty_since: Some(clock::now()),
            draining: false,
            closed: false,
            moves: Moves::default(),
            counted: (0, 0),
        }
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<RoomInput>) {
        loop {
            let deadline = self.poll_timeout();
            let wake = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                input = inputs.recv() => {
                    let now = clock::now();
                    let more = std::iter::from_fn(|| inputs.try_recv().ok()).take(BATCH).collect::<Vec<_>>();
                    input.into_iter().chain(more).for_each(|input| self.handle_input(now, input));
                    self.flush(now);
                }
                event = self.media_events.recv() => {
                    let now = clock::now();
                    match event {
                        Some(event) => self.handle_media_event(now, event),
                        None => self.give_up(),
                    }
                    self.flush(now);
                }
                () = wake => {
                    let now = clock::now();
                    self.authority.handle_timeout(now);
                    self.flush(now);
                }
            }
            let now = clock::now();
            if self.closed || self.ends_at().is_some_and(|at| at <= now) {
                break;
            }
        }
        self.hub.metrics.rooms.add(-1);
        self.hub.forget(&self.name, &mut inputs);
        // Whoever came a moment ago finds the room closing.
        while let Ok(input) = inputs.try_recv() {
            if let RoomInput::Join(joining) = input {
                joining.link.end(closing("the room was closing; join again in a moment"));
            }
        }
        self.count();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.sessions.values().filter_map(Session::poll_timeout).min();
        [self.authority.poll_timeout(), sessions, self.ends_at()].into_iter().flatten().min()
    }

    /// When the room ends, where nobody is in it.
    fn ends_at(&self) -> Option<Instant> {
        let patience = if self.draining { Duration::ZERO } else { EMPTY_FOR };
        self.empty_since.map(|since| since + patience)
    }

    fn handle_input(&mut self, now: Instant, input: RoomInput) {
        match input {
            RoomInput::Join(joining) => self.join(now, *joining),
            RoomInput::Resume { secret, ack, link, reply } => self.resume(now, secret, ack, link, reply),
            RoomInput::Frame { participant, link, frame } => self.frame(now, participant, link, frame),
            RoomInput::Undecodable { participant, link, error } => self.undecodable(now, participant, link, &error),
            RoomInput::Misbehaved { participant, link, goodbye } => {
                if self.current(participant, link).is_some() {
                    self.authority.remove(now, participant, goodbye);
                }
            }
            RoomInput::Disconnected { participant, link } => {
                if self.current(participant, link).is_some() {
                    self.lost(now, participant);
                }
            }
            RoomInput::Visit(visiting) => self.visit(now, *visiting),
            RoomInput::EndVisit { secret, reply } => {
                let found = self.end_visit(now, &secret);
                // Whoever asked may be gone.
                let _ = reply.send(found);
            }
            RoomInput::Patch(patching) => self.patch_visit(*patching),
            RoomInput::Drain => self.draining = true,
            RoomInput::Close(goodbye) => self.close(&goodbye),
        }
    }

    fn join(&mut self, now: Instant, joining: Joining) {
        let Joining { mut request, link, seq, undecoded, reply } = joining;
        let Some(token) = ResumeToken::draw(&self.hub.random, &self.name) else {
            // The reply is dropped: the connection takes that for the relay's own fault.
            return;
        };
        request.resume_token = token.text;
        match self.authority.join(now, request) {
            Ok(participant) => {
                let mut session = Session::new(link, token.hash, undecoded);
                if let Err(error) = session.handle_frame(now, ClientFrame { seq, ack: 0, message: None }) {
                    self.misbehaved(now, participant, error);
                }
                self.sessions.insert(participant, session);
                self.hub.metrics.joins.increment();
                self.empty_since = None;
                tracing::info!(room = %self.name, %participant, "participant joined");
                if reply.send(Ok(participant)).is_err() {
                    self.lost(now, participant);
                }
            }
            Err(error) => {
                // A connection that is gone needs no answer.
                let _ = reply.send(Err((error, link)));
            }
        }
    }

    fn resume(
        &mut self,
        now: Instant,
        secret: SecretHash,
        ack: u64,
        link: Link,
        reply: oneshot::Sender<Result<ParticipantId, Link>>,
    ) {
        let found = self.sessions.iter_mut().find(|(_, session)| session.secret == secret);
        let Some((&participant, session)) = found.filter(|_| !reply.is_closed()) else {
            match self.departed.goodbye(now, &secret) {
                // The reply is dropped: there is nothing more to do on this connection.
                Some(goodbye) => link.end(goodbye.clone()),
                // A connection that is gone needs no answer.
                None => drop(reply.send(Err(link))),
            }
            return;
        };
        let outcome = session.resume(link, ack);
        if outcome.is_ok() {
            self.authority.handle_resumed(participant);
            self.hub.metrics.resumes.increment();
            tracing::info!(room = %self.name, %participant, "participant resumed");
        } else {
            let message = "the session could not be resumed".to_owned();
            let (reason, code) = (LeaveReason::Timeout.into(), ErrorCode::SessionUnknown.into());
            self.authority.remove(now, participant, proto::Goodbye { reason, code, message, retry_after_ms: 0 });
        }
        if reply.send(outcome.map(|()| participant)).is_err() {
            self.lost(now, participant);
        }
    }

    /// The connection of a participant is no more.
    fn lost(&mut self, now: Instant, participant: ParticipantId) {
        if let Some(session) = self.sessions.get_mut(&participant) {
            session.lose();
            self.authority.handle_disconnected(now, participant);
        }
    }

    fn frame(&mut self, now: Instant, participant: ParticipantId, link: LinkId, frame: ClientFrame) {
        let seq = frame.seq;
        let Some(session) = self.current(participant, link) else { return };
        match session.handle_frame(now, frame) {
            Ok(Some(message)) => {
                session.note_description(seq, message.as_ref());
                Moves::note_received(message.as_ref(), &self.hub.metrics);
                self.authority.handle_message(now, participant, seq, message);
            }
            Ok(None) => {}
            Err(error) => self.misbehaved(now, participant, error),
        }
    }

    fn undecodable(&mut self, now: Instant, participant: ParticipantId, link: LinkId, error: &WireError) {
        let Some(session) = self.current(participant, link) else { return };
        match session.handle_undecoded(now, error.seq()) {
            Ok(()) => self.authority.handle_undecodable(now, participant, wire_error(error)),
            Err(error) => self.misbehaved(now, participant, error),
        }
    }

    /// The session of a participant, if `link` is its connection now.
    fn current(&mut self, participant: ParticipantId, link: LinkId) -> Option<&mut Session> {
        self.sessions.get_mut(&participant).filter(|session| session.link.as_ref().is_some_and(|current| current.id == link))
    }

    fn misbehaved(&mut self, now: Instant, participant: ParticipantId, error: CarrierError) {
        let (reason, code) = match error {
            CarrierError::TooSlow { .. } => (LeaveReason::TooSlow, ErrorCode::TooSlow),
            CarrierError::Gap { .. } | CarrierError::BadAck { .. } => (LeaveReason::Refused, ErrorCode::Malformed),
        };
        let message = error.to_string();
        self.authority.remove(
            now,
            participant,
            proto::Goodbye { reason: reason.into(), code: code.into(), message, retry_after_ms: 0 },
        );
    }

    fn close(&mut self, goodbye: &proto::Goodbye) {
        self.authority.close(goodbye);
        self.closed = true;
    }

    /// Carries out what the authority wants until it wants nothing more.
    fn flush(&mut self, now: Instant) {
        loop {
            self.carry_out_all(now);
            let mut slow = Vec::new();
            for (&participant, session) in &mut self.sessions {
                match session.pump(now) {
                    Ok(sent) => self.hub.metrics.frames_out.add(sent),
                    Err(_) => slow.push(participant),
                }
            }
            if slow.is_empty() {
                break;
            }
            for participant in slow {
                self.misbehaved(now, participant, CarrierError::TooSlow { frames: 0, bytes: 0 });
            }
        }
        self.empty_since = match (self.authority.is_empty(), self.empty_since) {
            (true, None) => Some(now),
            (true, since) => since,
            (false, _) => None,
        };
        self.count();
    }

    fn carry_out_all(&mut self, now: Instant) {
        while let Some(output) = self.authority.poll_output() {
            self.carry_out(now, output);
        }
    }

    fn carry_out(&mut self, now: Instant, output: RoomOutput) {
        match output {
            RoomOutput::Send { to, message } => self.send(now, to, message),
            RoomOutput::Forward(command) => self.command(MediaCommand::Forward(command)),
            RoomOutput::PublisherOffer { participant, generation, sdp, tracks } => {
                let tracks = tracks.into_iter().map(|(mid, track)| MidTrack { mid, track: Some(track) }).collect();
                self.negotiate(now, participant, MediaCommand::PublisherOffer { participant, generation, sdp, tracks });
            }
            RoomOutput::SubscriberAnswer { participant, generation, sdp } => {
                self.negotiate(now, participant, MediaCommand::SubscriberAnswer { participant, generation, sdp });
            }
            RoomOutput::Candidate { participant, transport, candidate } => {
                let transport = match transport {
                    proto::RelayTransport::Subscriber => TransportKind::Subscriber,
                    _ => TransportKind::Publisher,
                };
                let proto::Candidate { candidate, ufrag, .. } = candidate;
                self.negotiate(now, participant, MediaCommand::Candidate { participant, transport, candidate, ufrag });
            }
            RoomOutput::Ended { participant, goodbye } => self.ended(now, participant, goodbye),
        }
    }

    fn send(&mut self, now: Instant, to: ParticipantId, message: server_frame::Message) {
        self.moves.note_sent(now, &message, &self.hub.metrics);
        if let server_frame::Message::Error(error) = &message {
            self.hub.metrics.count_error(error.code());
        }
        let Some(session) = self.sessions.get_mut(&to) else { return self.tell_visitor(now, to, message) };
        if let Err(error) = session.send(message) {
            self.misbehaved(now, to, error);
        }
    }

    fn ended(&mut self, now: Instant, participant: ParticipantId, goodbye: proto::Goodbye) {
        self.hub.metrics.count_goodbye(goodbye.reason());
        tracing::info!(room = %self.name, %participant, reason = goodbye.reason().as_str_name(), "participant left");
        if let Some(visitor) = self.visitors.remove(&participant) {
            visitor.end(&goodbye);
        }
        let Some(mut session) = self.sessions.remove(&participant) else { return };
        self.departed.insert(now, session.secret, &goodbye);
        let slow = goodbye.reason() == LeaveReason::TooSlow || session.pump(now).is_err();
        match session.link.take() {
            Some(link) if slow => link.cut_off(goodbye),
            Some(link) => link.end(goodbye),
            None => {}
        }
    }

    /// A shard that does not take a participant's description knows no more of its transports than before: that session ends, and its client
    /// comes back for another.
    fn negotiate(&mut self, now: Instant, participant: ParticipantId, command: MediaCommand) {
        if !self.closed && self.media.command(command).is_err() {
            tracing::error!(room = %self.name, %participant, "the media plane does not keep up; ending a session");
            let message = "the relay's media plane does not keep up; join again in a moment".to_owned();
            let (reason, code) = (LeaveReason::Refused.into(), ErrorCode::Ours.into());
            self.authority.remove(now, participant, proto::Goodbye { reason, code, message, retry_after_ms: RETRY_AFTER_MS });
        }
    }

    /// A shard that does not take changes of the roster no longer does what the authority believes: nothing can be mended, so the room ends.
    fn command(&mut self, command: MediaCommand) {
        if !self.closed && self.media.command(command).is_err() {
            self.give_up();
        }
    }

    /// The shard is stuck or has ended.
    fn give_up(&mut self) {
        tracing::error!(room = %self.name, "the media plane does not keep up or has ended; closing the room");
        self.close(&closing("the relay's media plane does not keep up; join again in a moment"));
    }

    fn count(&mut self) {
        let now = (self.authority.len() as i64, self.authority.track_count() as i64);
        self.hub.metrics.participants.add(now.0 - self.counted.0);
        self.hub.metrics.tracks.add(now.1 - self.counted.1);
        self.counted = now;
    }
}

/// A room that ends through no fault of those in it.
fn closing(message: &str) -> proto::Goodbye {
    proto::Goodbye {
        reason: LeaveReason::RoomClosed.into(),
        code: ErrorCode::Ours.into(),
        message: message.to_owned(),
        retry_after_ms: RETRY_AFTER_MS,
    }
}

/// What the client is told of a frame that could not be decoded.
pub(super) fn wire_error(error: &WireError) -> proto::Error {
    let advice = match error {
        WireError::Oversize { .. } | WireError::Limit { .. } => "send less at a time",
        WireError::Malformed(_) => "send ClientFrame messages: protobuf as binary, JSON as text",
    };
    proto::Error { code: error.code().into(), message: format!("{error}; {advice}"), request: 0, seq: error.seq() }
}
