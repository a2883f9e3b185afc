//! The connection to the relay: opened, joined or resumed, watched, and sought again.

use std::time::{Duration, Instant};

use segue_model::ParticipantId;
use segue_wire::proto::signal_body::Body;
use segue_wire::proto::{self, ErrorCode, LeaveReason, client_frame};

use super::legs::Leg;
use super::signals::Carriers;
use super::{CarrierState, Command, ConnectionState, LegKey, PeerEvent, PeerMachine, convert};
use crate::carrier::ClientCarrier;

/// A connection that does not open, or a join without an answer, is given up after this.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// A first join that has not succeeded by then fails: a person is waiting.
const FIRST_JOIN_PATIENCE: Duration = Duration::from_secs(20);

/// First wait before the next attempt, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(250);

/// Doublings of that wait: 4 s, so that a relay that is back is found soon and one that is starting is not stormed.
const RETRY_DOUBLINGS: u32 = 4;

/// A ping keeps middleboxes from forgetting us and shows a dead connection.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Nothing heard for so long, pongs included: the connection is dead.
const SILENCE: Duration = Duration::from_secs(12);

/// Until the relay says another.
const RESUME_WINDOW: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Idle,
    Opening,
    Open,
    Waiting(Instant),
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    None,
    Joining,
    Live,
    /// Its connection is gone; it can be resumed.
    Lost,
    Resuming,
}

/// State of the connection and of the session on it.
pub(super) struct Connection {
    pub state: ConnectionState,
    carrier: ClientCarrier,
    link: Link,
    session: Session,
    resume_token: String,
    resume_window: Duration,
    /// When the last attempt, opening or join began.
    attempt_at: Option<Instant>,
    began_at: Option<Instant>,
    /// When a live session lost its connection.
    lost_at: Option<Instant>,
    attempts: u32,
    heard_at: Option<Instant>,
    ping_at: Option<Instant>,
    random: u64,
}

impl Connection {
    pub fn new(seed: u64) -> Self {
        Self {
            state: ConnectionState::Idle,
            carrier: ClientCarrier::new(),
            link: Link::Idle,
            session: Session::None,
            resume_token: String::new(),
            resume_window: RESUME_WINDOW,
            attempt_at: None,
            began_at: None,
            lost_at: None,
            attempts: 0,
            heard_at: None,
            ping_at: None,
            random: seed,
        }
    }

    /// In the room, with a connection that carries frames.
    pub fn is_live(&self) -> bool {
        self.session == Session::Live
    }

    /// Frames handed over now will arrive, now or after a resume.
    pub fn has_session(&self) -> bool {
        matches!(self.session, Session::Live | Session::Lost | Session::Resuming)
    }

    /// How long a lost session is held.
    pub fn resume_window(&self) -> Duration {
        self.resume_window
    }

    /// Up to a quarter of `wait` less, so that clients of one relay do not return together (splitmix64).
    fn jittered(&mut self, wait: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        wait - wait.mul_f64((mixed >> 40) as f64 / f64::from(1u32 << 24) / 4.0)
    }

    /// All but the window, which is looked at again after it is over.
    fn timeouts(&self) -> [Option<Instant>; 5] {
        let attempt = self.attempt_at.filter(|_| self.awaits_answer()).map(|at| at + ANSWER_PATIENCE);
        let first = self.began_at.map(|at| at + FIRST_JOIN_PATIENCE);
        let retry = if let Link::Waiting(at) = self.link { Some(at) } else { None };
        let silence = self.heard_at.filter(|_| self.session == Session::Live).map(|at| at + SILENCE);
        let ping = self.ping_at.filter(|_| self.session == Session::Live);
        [attempt, first, retry, silence.into_iter().chain(ping).min(), self.carrier.poll_timeout()]
    }

    fn awaits_answer(&self) -> bool {
        self.link == Link::Opening || matches!(self.session, Session::Joining | Session::Resuming)
    }
}

impl PeerMachine {
    pub(super) fn begin(&mut self, now: Instant) {
        if self.connection.link == Link::Idle {
            self.connection.began_at = Some(now);
            self.set_state(ConnectionState::Connecting);
            self.open_connection(now);
        }
    }

    fn open_connection(&mut self, now: Instant) {
        self.connection.link = Link::Opening;
        self.connection.attempt_at = Some(now);
        self.commands.push_back(Command::ConnectServer);
    }

    pub(super) fn handle_connection(&mut self, now: Instant, state: CarrierState) {
        match (state, self.connection.link) {
            (CarrierState::Open, Link::Opening) => {
                self.connection.link = Link::Open;
                self.connection.attempt_at = Some(now);
                self.connection.heard_at = Some(now);
                if self.connection.session == Session::Lost {
                    self.connection.carrier.reopen();
                    self.connection.session = Session::Resuming;
                    let resume_token = self.connection.resume_token.clone();
                    let resume = client_frame::Message::Resume(proto::Resume { resume_token });
                    self.connection.carrier.send_unnumbered(resume);
                } else {
                    self.join(now);
                }
            }
            (CarrierState::Closed, Link::Opening | Link::Open) => self.lose_connection(now),
            _ => {}
        }
    }

    /// A new session: on the open connection, as what we were if we were somebody.
    fn join(&mut self, now: Instant) {
        self.connection.carrier.open();
        self.connection.session = Session::Joining;
        self.connection.attempt_at = Some(now);
        let rejoin = self.local().map(|id| proto::Rejoin {
            incarnation: self.incarnation,
            participant: id.0,
            tracks: self.publications.values().map(convert::wire_track).collect(),
        });
        let join = proto::Join {
            protocol: 1,
            token: self.config.token.clone(),
            device_key: self.config.device_key.clone(),
            name: self.config.name.clone(),
            metadata: self.config.metadata.clone(),
            capabilities: Some(proto::Capabilities { origin: self.config.origin, direct: self.advertises_direct() }),
            client: self.config.client.clone(),
            policy: convert::wire_policy(self.config.policy),
            rejoin,
            device_signature: self.device_signature.clone(),
        };
        // A fresh carrier holds nothing: it takes a join whatever its size.
        let _ = self.connection.carrier.send(client_frame::Message::Join(join));
    }

    fn lose_connection(&mut self, now: Instant) {
        let attempts = self.connection.attempts;
        self.connection.attempts = (attempts + 1).min(RETRY_DOUBLINGS);
        let wait = RETRY_FIRST * (1 << attempts);
        let wait = self.connection.jittered(wait);
        self.wait_for_relay(now, wait);
    }

    fn wait_for_relay(&mut self, now: Instant, wait: Duration) {
        self.connection.carrier.close();
        self.connection.session = match self.connection.session {
            Session::Live | Session::Lost | Session::Resuming if !self.connection.resume_token.is_empty() => Session::Lost,
            _ => Session::None,
        };
        self.connection.link = Link::Waiting(now + wait);
        if self.local().is_some() {
            self.connection.lost_at.get_or_insert(now);
            self.set_state(ConnectionState::Reconnecting);
        }
    }

    /// The session cannot go on: the connection is closed by us and the next one joins anew.
    fn drop_session(&mut self, now: Instant, wait: Duration) {
        self.connection.resume_token.clear();
        self.commands.push_back(Command::DisconnectServer);
        self.wait_for_relay(now, wait);
    }

    /// Takes a frame's numbers; gives its message and acknowledgement.
    pub(super) fn take_frame(
        &mut self,
        now: Instant,
        frame: proto::ServerFrame,
    ) -> Option<(proto::server_frame::Message, u64)> {
        if self.connection.link != Link::Open {
            return None;
        }
        self.connection.heard_at = Some(now);
        let ack = frame.ack;
        match self.connection.carrier.handle_frame(now, frame) {
            Ok(message) => message.map(|message| (message, ack)),
            Err(error) => {
                tracing::warn!(%error, "the relay's frames do not add up");
                let wait = self.connection.jittered(RETRY_FIRST);
                self.drop_session(now, wait);
                None
            }
        }
    }

    pub(super) fn send_server(&mut self, now: Instant, message: client_frame::Message) {
        if !self.connection.has_session() {
            // What the relay must know of us is told again when it has let us in.
            return;
        }
        if let Err(error) = self.connection.carrier.send(message) {
            tracing::warn!(%error, "the relay does not read");
            let wait = self.connection.jittered(RETRY_FIRST);
            self.drop_session(now, wait);
        }
    }

    /// Hands frames to the shell.
    pub(super) fn transmit(&mut self, now: Instant) {
        while let Some(frame) = self.connection.carrier.poll_transmit(now) {
            self.commands.push_back(Command::SendServer(frame));
        }
    }

    /// The relay let us in: notes how to come back.
    pub(super) fn note_session(&mut self, now: Instant, resume_token: &str, window_ms: u32) {
        resume_token.clone_into(&mut self.connection.resume_token);
        if window_ms > 0 {
            self.connection.resume_window = Duration::from_millis(window_ms.into());
        }
        self.note_live(now);
    }

    pub(super) fn handle_resumed(&mut self, now: Instant, ack: u64) {
        if self.connection.session != Session::Resuming {
            return;
        }
        match self.connection.carrier.resume(ack) {
            Ok(()) => self.note_live(now),
            Err(error) => {
                tracing::warn!(%error, "the session cannot be resumed");
                let wait = self.connection.jittered(RETRY_FIRST);
                self.drop_session(now, wait);
            }
        }
    }

    fn note_live(&mut self, now: Instant) {
        self.connection.session = Session::Live;
        self.connection.attempts = 0;
        self.connection.began_at = None;
        self.connection.lost_at = None;
        self.connection.ping_at = Some(now + PING_INTERVAL);
        for remote in self.remotes.values_mut() {
            remote.unreachable_since = None;
            // They have as long as we to find it again.
            remote.absent_since = remote.absent_since.map(|_| now);
        }
        self.set_state(ConnectionState::Connected);
    }

    /// An error that answers no request of ours.
    pub(super) fn handle_error(&mut self, now: Instant, error: proto::Error) {
        let code = ErrorCode::try_from(error.code).unwrap_or(ErrorCode::Unspecified);
        match (self.connection.session, code) {
            (Session::Resuming, _) => self.join(now),
            (Session::Joining, ErrorCode::Rate | ErrorCode::Shutdown | ErrorCode::Ours) => {
                self.commands.push_back(Command::DisconnectServer);
                self.lose_connection(now);
            }
            // A call that lives on its direct legs is not ended by a relay that does not want us back.
            (Session::Joining, _) if self.anybody_reachable() => {
                self.events.push_back(PeerEvent::ServerError { code, message: error.message });
                self.commands.push_back(Command::DisconnectServer);
                self.lose_connection(now);
            }
            (Session::Joining, _) => self.end(LeaveReason::Refused, code, error.message),
            // Somebody or something left while we spoke of it.
            (_, ErrorCode::UnknownParticipant | ErrorCode::UnknownTrack) => {}
            _ => self.events.push_back(PeerEvent::ServerError { code, message: error.message }),
        }
    }

    pub(super) fn handle_goodbye(&mut self, now: Instant, goodbye: proto::Goodbye) {
        let code = ErrorCode::try_from(goodbye.code).unwrap_or(ErrorCode::Unspecified);
        let reason = LeaveReason::try_from(goodbye.reason).unwrap_or(LeaveReason::Unspecified);
        if code == ErrorCode::SessionUnknown && self.connection.session == Session::Resuming {
            self.drop_session(now, Duration::ZERO);
        } else if goodbye.retry_after_ms > 0 {
            let wait = self.connection.jittered(Duration::from_millis(goodbye.retry_after_ms.into()));
            self.note_relay_gone();
            self.drop_session(now, wait);
        } else {
            self.end(reason, code, goodbye.message);
        }
    }

    pub(super) fn depart(&mut self, now: Instant) {
        let reason = LeaveReason::Left.into();
        if !self.connection.is_live() {
            let goodbye = proto::Goodbye { reason, ..proto::Goodbye::default() };
            self.send_signal(now, None, Body::Goodbye(goodbye), Carriers::One);
        }
        self.send_server(now, client_frame::Message::Leave(proto::Leave { reason }));
        self.transmit(now);
        self.end(LeaveReason::Left, ErrorCode::Unspecified, String::new());
    }

    /// It is over: everything is closed.
    fn end(&mut self, reason: LeaveReason, code: ErrorCode, message: String) {
        if self.connection.link == Link::Ended {
            return;
        }
        for leg in std::mem::take(&mut self.legs).into_keys() {
            self.commands.push_back(Command::CloseLeg { leg });
        }
        self.commands.push_back(Command::DisconnectServer);
        let random = self.connection.random;
        self.connection = Connection { link: Link::Ended, ..Connection::new(random) };
        self.forget_room();
        self.set_state(ConnectionState::Disconnected { reason, code, message });
    }

    fn set_state(&mut self, state: ConnectionState) {
        if self.connection.state != state {
            self.connection.state = state.clone();
            self.events.push_back(PeerEvent::ConnectionStateChanged(state));
        }
    }

    pub(super) fn handle_connection_timeouts(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let connection = &self.connection;
        if due(connection.began_at.map(|at| at + FIRST_JOIN_PATIENCE)) {
            let message = "the relay did not let us in in time: check its address and that it runs".to_owned();
            return self.end(LeaveReason::Timeout, ErrorCode::Unspecified, message);
        }
        let unanswered = connection.awaits_answer() && due(connection.attempt_at.map(|at| at + ANSWER_PATIENCE));
        let silent = connection.session == Session::Live && due(connection.heard_at.map(|at| at + SILENCE));
        if unanswered || silent {
            self.commands.push_back(Command::DisconnectServer);
            self.lose_connection(now);
        }
        if self.connection.session == Session::Live && due(self.connection.ping_at) {
            self.connection.ping_at = Some(now + PING_INTERVAL);
            // The relay repeats the number; nothing is measured with it here.
            self.connection.carrier.send_unnumbered(client_frame::Message::Ping(proto::Ping { time_us: 0 }));
        }
        if due(self.connection.lost_at.map(|at| at + self.connection.resume_window)) {
            self.handle_window_over(now);
        }
        if let Link::Waiting(at) = self.connection.link
            && at <= now
        {
            self.open_connection(now);
        }
    }

    /// The relay has forgotten us by now, and nobody tells us who left: whoever cannot be reached directly is gone.
    fn handle_window_over(&mut self, now: Instant) {
        self.connection.resume_token.clear();
        if self.connection.session == Session::Lost {
            self.connection.session = Session::None;
        }
        let window = self.connection.resume_window;
        let lost_at = self.connection.lost_at.unwrap_or(now);
        let mut gone = Vec::new();
        for (id, remote) in &mut self.remotes {
            let leg = self.legs.get(&LegKey::Peer(*id));
            // A channel that is open over a silent path reaches nobody.
            let heard_at = leg.and_then(Leg::heard_at).unwrap_or(lost_at);
            if leg.is_some_and(|leg| leg.signal_open && leg.is_heard()) {
                remote.unreachable_since = None;
            } else if *remote.unreachable_since.get_or_insert(heard_at.max(lost_at)) + window <= now {
                gone.push(*id);
            }
        }
        for id in gone {
            self.remove_remote(id, LeaveReason::Timeout);
        }
        if self.remotes.is_empty() {
            let message = "the connection to the relay was lost and did not come back in time".to_owned();
            self.end(LeaveReason::Timeout, ErrorCode::Unspecified, message);
        }
    }

    fn anybody_reachable(&self) -> bool {
        let reachable = |id: &ParticipantId| self.legs.get(&LegKey::Peer(*id)).is_some_and(|leg| leg.signal_open);
        self.remotes.keys().any(reachable)
    }

    pub(super) fn connection_timeout(&self, now: Instant) -> Option<Instant> {
        // After the window the roster is looked at once a second.
        let second = |at: Instant| at.max(now + Duration::from_secs(1));
        let window = self.connection.lost_at.map(|at| at + self.connection.resume_window);
        let window = window.map(|at| if at <= now { second(at) } else { at });
        self.connection.timeouts().into_iter().chain([window]).flatten().min()
    }
}
