//! The task of a room: it owns every machine and every transport, loops, converts and calls.
//!
//! What to do is decided by [`PeerMachine`] and the media machines. This task hands them what arrives with one `now` per turn,
//! carries out what they ask for and arms the next timeout.

mod candidate;
mod command;
mod event;
mod history;
mod leg;
mod media;
mod meter;
mod publish;
mod request;
mod seed;
mod stats;
mod uplink;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use segue_media::bwe::{EstimatorConfig, Uplink};
use segue_media::leg::WallClock;
use segue_media::receiver::Receiver;
use segue_model::{DataRate, ParticipantId, TrackId};
use segue_session::peer::{CarrierState, LegKey, PeerConfig, PeerMachine};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use crate::clock;
use crate::codec::Encoded;
use crate::device::DeviceKey;
use crate::error::Error;
use crate::net::peer_link::{self, LinkInput, LinkPacket};
use crate::net::signalling::{Connection, Endpoint, SignallingEvent, SignallingInput};
use crate::options::{Interfaces, RoomOptions};
use crate::room::request::MAX_REQUESTS;
use crate::room::{Request, Shared};
use crate::runtime;
use history::History;
use leg::Leg;
use media::Remote;
use publish::{Pending, Publication};
use seed::Seeds;

/// Negotiation events of all links that may wait. Their senders wait where it is full.
const MAX_LINK_EVENTS: usize = 1_024;

/// Packets of all links that may wait: 200 ms of 100 Mbit/s. Packets beyond are dropped and counted by their link.
const MAX_PACKETS: usize = 2_048;

/// Packets handled in one turn, so that timers are looked at in between.
const MAX_BATCH: usize = 256;

/// Frames of the relay that may wait; the connection is not read where it is full.
const MAX_SIGNALS: usize = 256;

/// Encoded frames that may wait; encoders wait where it is full.
const MAX_ENCODED: usize = 64;

/// Wishes of decoders for keyframes that may wait.
const MAX_NEEDS: usize = 64;

/// How long saying goodbye may take.
const LEAVE_TIME: Duration = Duration::from_millis(800);

/// The longest the task sleeps: housekeeping of meters and streams.
const MAX_SLEEP: Duration = Duration::from_millis(500);

/// Age at which the application's view of paths is renewed.
const PATHS_INTERVAL: Duration = Duration::from_millis(250);

/// What an uplink nobody has measured is thought to bear: a small picture and voice to a few people. Probes find more within a second.
const START_RATE: DataRate = DataRate::kbps(1_500);

/// What this SDK says it is.
const CLIENT: &str = concat!("segue-rust/", env!("CARGO_PKG_VERSION"));

/// What the relay says to a join.
type JoinAnswer = oneshot::Receiver<Result<(), Error>>;

/// Begins to join a room. The answer comes when the relay has let the participant in, or when it will not.
pub(crate) fn join(url: &str, token: &str, options: RoomOptions) -> Result<(Arc<Shared>, JoinAnswer), Error> {
    let endpoint = Endpoint::parse(url, options.trust_any_certificate)?;
    let runtime = runtime::handle()?;
    let (requests_in, requests) = mpsc::channel(MAX_REQUESTS);
    let shared = Shared::new(requests_in);
    let (joined, answer) = oneshot::channel();
    let patience = options.connect_timeout;
    let (mut driver, outlets) = Driver::new(endpoint, token, options, shared.clone(), joined);
    driver.join_by = Some(clock::now() + patience);
    runtime.spawn(driver.run(outlets, requests));
    Ok((shared, answer))
}

/// The queues that lead into the task. Each sender is cloned into what fills it.
struct Inlets {
    links: mpsc::Sender<LinkInput>,
    packets: mpsc::Sender<LinkPacket>,
    signals: mpsc::Sender<SignallingInput>,
    encoded: mpsc::Sender<Encoded>,
    needs: mpsc::Sender<TrackId>,
    tokens: mpsc::Sender<String>,
}

/// The ends the task reads.
struct Outlets {
    links: mpsc::Receiver<LinkInput>,
    packets: mpsc::Receiver<LinkPacket>,
    signals: mpsc::Receiver<SignallingInput>,
    encoded: mpsc::Receiver<Encoded>,
    needs: mpsc::Receiver<TrackId>,
    tokens: mpsc::Receiver<String>,
}

/// Failures in force; see [`crate::room::Fault`].
#[derive(Default)]
struct Faults {
    cut: Vec<LegKey>,
    refused: Vec<String>,
    stolen: Option<TrackId>,
}

/// The task's state.
struct Driver {
    endpoint: Endpoint,
    options: RoomOptions,
    shared: Arc<Shared>,
    machine: PeerMachine,
    device: Option<DeviceKey>,
    receiver: Receiver,
    connection: Option<Connection>,
    /// Counts connections, so that reports of an old one are told from those of the present one.
    attempt: u64,
    /// Why the latest attempt to connect ended.
    closed_because: Option<String>,
    legs: BTreeMap<LegKey, Leg>,
    next_link: u64,
    uplink: Uplink,
    /// What legs carry may have changed.
    routes_changed: bool,
    publications: BTreeMap<TrackId, Publication>,
    pending: BTreeMap<u32, Pending>,
    remotes: BTreeMap<TrackId, Remote>,
    inlets: Inlets,
    seeds: Seeds,
    wall: WallClock,
    /// When the next 20 ms of sound are due.
    next_pull: Option<Instant>,
    /// Until the join is answered.
    joined: Option<oneshot::Sender<Result<(), Error>>>,
    /// The join is given up then.
    join_by: Option<Instant>,
    /// Told when everything is written.
    leavers: Vec<oneshot::Sender<()>>,
    /// The goodbye ends here at the latest.
    leave_by: Option<Instant>,
    ended: bool,
    faults: Faults,
    history: History,
    /// When what the application sees of paths is taken afresh, if nothing happens before.
    paths_at: Instant,
}

impl Driver {
    fn new(
        endpoint: Endpoint,
        token: &str,
        options: RoomOptions,
        shared: Arc<Shared>,
        joined: oneshot::Sender<Result<(), Error>>,
    ) -> (Box<Self>, Outlets) {
        let mut seeds = Seeds::from_system();
        let (links_in, links) = mpsc::channel(MAX_LINK_EVENTS);
        let (packets_in, packets) = mpsc::channel(MAX_PACKETS);
        let (signals_in, signals) = mpsc::channel(MAX_SIGNALS);
        let (encoded_in, encoded) = mpsc::channel(MAX_ENCODED);
        let (needs_in, needs) = mpsc::channel(MAX_NEEDS);
        let (tokens_in, tokens) = mpsc::channel(1);
        // Without randomness there is no key, and this device has no peer id.
        let device = options.device_key.clone().or_else(|| DeviceKey::generate().ok());
        let config = PeerConfig {
            seed: seeds.next(),
            token: token.to_owned(),
            name: options.name.clone(),
            metadata: options.metadata.clone(),
            client: CLIENT.to_owned(),
            device_key: device.as_ref().map(|key| key.public().to_vec()).unwrap_or_default(),
            policy: options.policy,
            origin: true,
            direct: options.direct,
        };
        let mut driver = Self {
            endpoint,
            options,
            shared,
            machine: PeerMachine::new(config),
            device,
            receiver: Receiver::new(),
            connection: None,
            attempt: 0,
            closed_because: None,
            legs: BTreeMap::new(),
            next_link: 0,
            uplink: Uplink::new(EstimatorConfig { start: START_RATE, ..EstimatorConfig::default() }),
            routes_changed: false,
            publications: BTreeMap::new(),
            pending: BTreeMap::new(),
            remotes: BTreeMap::new(),
            inlets: Inlets {
                links: links_in,
                packets: packets_in,
                signals: signals_in,
                encoded: encoded_in,
                needs: needs_in,
                tokens: tokens_in,
            },
            seeds,
            wall: WallClock { at: clock::now(), ntp: clock::ntp() },
            next_pull: None,
            joined: Some(joined),
            join_by: None,
            leavers: Vec::new(),
            leave_by: None,
            ended: false,
            faults: Faults::default(),
            history: History::default(),
            paths_at: clock::now(),
        };
        driver.set_token(token.to_owned());
        (Box::new(driver), Outlets { links, packets, signals, encoded, needs, tokens })
    }

    fn set_token(&mut self, token: String) {
        let signature = self.device.as_ref().map(|key| key.sign_join(&token)).unwrap_or_default();
        self.machine.set_token(token, signature);
    }

    /// Turns until the room is left.
    async fn run(mut self, mut outlets: Outlets, mut requests: mpsc::Receiver<Request>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        self.machine.connect(clock::now());
        self.drain(clock::now());
        while !self.ended {
            let deadline = self.deadline(clock::now());
            tokio::select! {
                _ = outlets.packets.recv_many(&mut batch, MAX_BATCH) => {}
                Some(input) = outlets.links.recv() => {
                    let now = clock::now();
                    self.handle_link(now, input);
                }
                Some(encoded) = outlets.encoded.recv() => {
                    let now = clock::now();
                    self.handle_encoded(now, encoded);
                }
                Some(input) = outlets.signals.recv() => {
                    let now = clock::now();
                    self.handle_signalling(now, input);
                }
                Some(request) = requests.recv() => {
                    let now = clock::now();
                    self.handle_request(now, request);
                }
                Some(track) = outlets.needs.recv() => {
                    let now = clock::now();
                    self.machine.request_keyframe(now, track, None);
                }
                Some(token) = outlets.tokens.recv() => self.set_token(token),
                () = sleep_until(deadline.into()) => {}
            }
            // What has arrived counts before what is due: sound is not made up while its packet waits.
            while batch.len() < MAX_BATCH
                && let Ok(packet) = outlets.packets.try_recv()
            {
                batch.push(packet);
            }
            let now = clock::now();
            self.handle_packets(now, &mut batch);
            self.handle_timeouts(now);
            self.drain(now);
        }
        self.close();
    }

    /// Lets every machine notice the time.
    fn handle_timeouts(&mut self, now: Instant) {
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
        if self.receiver.poll_timeout().is_some_and(|at| at <= now) {
            self.receiver.handle_timeout(now);
        }
        self.handle_leg_timeouts(now);
        self.uplink.handle_timeout(now);
        self.pull_audio(now);
        self.send_probes(now);
        self.prepare_for_loss(now);
        if self.leave_by.is_some_and(|at| at <= now) {
            self.ended = true;
        }
        if self.join_by.is_some_and(|at| at <= now) {
            self.join_by = None;
            let reason = self.closed_because.take().unwrap_or_else(|| "no answer".to_owned());
            self.answer_join(Err(Error::Timeout { reason }));
            self.leave(now);
        }
    }

    /// Carries out everything the machines ask for, until they ask for nothing more.
    fn drain(&mut self, now: Instant) {
        let mut changed = self.paths_at <= now;
        loop {
            let mut busy = false;
            // Events first: a publication has to exist before it is routed.
            while let Some(event) = self.machine.poll_event() {
                self.handle_event(now, event);
                (busy, changed) = (true, true);
            }
            while let Some(command) = self.machine.poll_command() {
                self.execute(now, command);
                busy = true;
            }
            busy |= self.drain_receiver(now);
            busy |= self.drain_legs(now);
            busy |= self.drain_uplink(now);
            if !busy {
                break;
            }
        }
        if changed {
            self.paths_at = now + PATHS_INTERVAL;
            self.shared.view().paths = self.machine.path_info();
        }
    }

    /// When the next machine has something to do.
    fn deadline(&self, now: Instant) -> Instant {
        let latest = now + MAX_SLEEP;
        let machines = [self.machine.poll_timeout(), self.receiver.poll_timeout(), self.next_pull, self.leave_by, self.join_by];
        let machines = machines.into_iter().chain([self.uplink.poll_timeout()]);
        let probes = self.publications.values().filter_map(Publication::poll_timeout);
        let legs = self.legs.values().filter_map(Leg::poll_timeout);
        machines.flatten().chain(probes).chain(legs).fold(latest, Instant::min)
    }

    fn handle_signalling(&mut self, now: Instant, input: SignallingInput) {
        if input.attempt != self.attempt {
            return;
        }
        match input.event {
            SignallingEvent::Open => self.machine.handle_carrier(now, CarrierState::Open),
            SignallingEvent::Frame(frame) => self.machine.handle_server(now, *frame),
            SignallingEvent::Closed { reason } => {
                tracing::info!(reason, "connection to the relay closed");
                self.closed_because = Some(reason);
                self.connection = None;
                self.machine.handle_carrier(now, CarrierState::Closed);
                if self.leave_by.is_some() {
                    self.ended = true;
                }
            }
        }
    }

    /// Tells whoever waits for the join, once.
    fn answer_join(&mut self, answer: Result<(), Error>) {
        self.join_by = None;
        if let Some(joined) = self.joined.take() {
            let _ = joined.send(answer);
        }
    }

    /// Begins to say goodbye.
    fn leave(&mut self, now: Instant) {
        if self.leave_by.is_none() {
            self.leave_by = Some(now + LEAVE_TIME);
            self.machine.leave(now);
        }
    }

    /// The key of a link that is still in use.
    fn leg_of(&self, link: peer_link::LinkId) -> Option<LegKey> {
        self.legs.iter().find(|(_, leg)| leg.link_id() == link).map(|(key, _)| *key)
    }

    /// Which addresses media uses.
    fn interfaces(&self) -> peer_link::Interfaces {
        match self.options.ice.interfaces {
            Interfaces::Automatic if self.endpoint.is_local => peer_link::Interfaces::AllAndLoopback,
            Interfaces::Automatic | Interfaces::All => peer_link::Interfaces::All,
            Interfaces::AllAndLoopback => peer_link::Interfaces::AllAndLoopback,
            Interfaces::LoopbackOnly => peer_link::Interfaces::LoopbackOnly,
        }
    }

    /// Whether candidates are kept from this leg, because a test asks for a pair that cannot connect.
    fn refuses(&self, leg: LegKey) -> bool {
        let LegKey::Peer(participant) = leg else { return false };
        !self.faults.refused.is_empty() && self.identity(participant).is_some_and(|name| self.faults.refused.contains(&name))
    }

    fn identity(&self, participant: ParticipantId) -> Option<String> {
        self.shared.view().participants.get(&participant).map(|found| found.identity().to_owned())
    }

    /// Releases everything and ends every stream.
    fn close(&mut self) {
        self.answer_join(Err(Error::Left));
        self.connection = None;
        self.legs.clear();
        self.publications.clear();
        self.pending.clear();
        for (_, remote) in std::mem::take(&mut self.remotes) {
            remote.end();
        }
        self.shared.end_events();
        for leaver in self.leavers.drain(..) {
            let _ = leaver.send(());
        }
    }
}
