//! The authority: members, their edges, and what follows from each change.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use segue_model::{Epoch, ParticipantId, Path, Topology, TrackId};
use segue_wire::proto::{self, ErrorCode, LeaveReason, server_frame};

use super::command::ForwardCommand;
use super::config::{MAX_PARTICIPANTS, RoomConfig};
use super::edges::{EdgePath, EdgeTable};
use super::error::RoomError;
use super::ids::IdPool;
use super::member::Member;
use super::topology::{Controller, TopologyOutput};
use super::view::{RoomFacts, RoomView};
use super::{JoinRequest, RoomOutput};

/// Failed direct legs are looked at in rooms of up to this many participants: larger ones are on the relay anyway.
const TANGLED_ROOM: usize = 16;

/// Terms of relays are milliseconds since 1970, below 2^53 because JavaScript reads them. What is reported beyond this (the year 36812) is
/// not believed: it would leave no terms to take.
const MAX_REPORTED_TERM: u64 = 1 << 50;

/// A direct path whose round trip is longer than the relay's by more than this is worse: 60 ms one way are heard in a talk. Below it, not to
/// depend on the relay is worth more.
const WORSE_ROUND_TRIP_US: u32 = 120_000;

/// Likewise a loss: what 50 heartbeats on each of a dozen legs can tell from chance.
const WORSE_LOSS_PERMILLE: u32 = 150;

/// Direct legs or edges of one participant that must fail before the whole room moves.
const TANGLED_EDGES: usize = 2;

/// One room of the relay.
pub struct RoomAuthority {
    pub(super) config: RoomConfig,
    pub(super) members: BTreeMap<ParticipantId, Member>,
    pub(super) edges: EdgeTable,
    pub(super) track_ids: IdPool,
    pub(super) controller: Controller,
    /// What the members are and publish; `None` since one of them changed.
    pub(super) facts: Option<RoomFacts>,
    participant_ids: IdPool,
    outputs: VecDeque<RoomOutput>,
    pub(super) ignored: u64,
}

impl RoomAuthority {
    /// An empty room.
    #[must_use]
    pub fn new(config: RoomConfig) -> Self {
        Self {
            controller: Controller::new(config.topology, config.incarnation),
            config,
            members: BTreeMap::new(),
            facts: None,
            edges: EdgeTable::default(),
            // The origin's source is a u16 and 0 stands for none.
            track_ids: IdPool::new(u32::from(u16::MAX)),
            participant_ids: IdPool::new(u32::MAX - 1),
            outputs: VecDeque::new(),
            ignored: 0,
        }
    }

    /// Words on edges of participants without the right to them, which changed nothing.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The number of the relay process its epochs carry: above every one that returning participants reported.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.config.incarnation
    }

    /// Nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Participants in it, those with a lost connection included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Tracks published in it.
    #[must_use]
    pub fn track_count(&self) -> usize {
        self.members.values().map(|member| member.tracks.len()).sum()
    }

    /// How the room stands, as last announced.
    #[must_use]
    pub fn topology(&self) -> Topology {
        match self.controller.standing() {
            TopologyOutput::Commit { topology, .. } => topology,
            TopologyOutput::Prepare { .. } | TopologyOutput::Abort { .. } => Topology::Mixed,
        }
    }

    /// Lets a participant in. A session of the same identity is ended first ([`RoomOutput::Ended`] with `REPLACED`): a crashed app is
    /// never locked out. `Joined` is the first output for the newcomer.
    ///
    /// # Errors
    /// [`RoomError::Full`], [`RoomError::NotHere`] for whom it wants to play, or the room's numbers are used up.
    pub fn join(&mut self, now: Instant, mut request: JoinRequest) -> Result<ParticipantId, RoomError> {
        let replaced = self.members.values().find(|member| member.identity == request.identity).map(|member| member.id);
        let limit = self.config.max_participants.min(MAX_PARTICIPANTS);
        if self.members.len() - usize::from(replaced.is_some()) >= limit {
            return Err(RoomError::Full(limit));
        }
        if let Some(played) =
            request.plays.as_ref().filter(|played| !self.members.values().any(|member| member.identity == **played))
        {
            return Err(RoomError::NotHere(played.clone()));
        }
        let rejoin = request.rejoin.take().unwrap_or_default();
        self.outbid(rejoin.incarnation);
        let id = match rejoin.participant {
            0 => self.participant_ids.fresh(now),
            wish => self.participant_ids.wish(now, wish),
        };
        let id = ParticipantId(id.ok_or(RoomError::NumbersUsedUp("participant"))?);
        if let Some(old) = replaced {
            let message = "the same identity joined again; only its newest session stays";
            self.end(now, old, goodbye(LeaveReason::Replaced, ErrorCode::Replaced, message));
        }
        let resume_token = std::mem::take(&mut request.resume_token);
        let mut member = Member::new(now, id, request, &self.config);
        self.readmit_tracks(now, &mut member, rejoin.tracks);
        self.welcome(&member, resume_token);
        self.admit(member);
        self.reconsider(now);
        Ok(id)
    }

    /// Somebody returns from a relay whose term was not below ours (a clock that was set back): we take one above it, or those who return
    /// would take our word for stale.
    fn outbid(&mut self, reported: u64) {
        // Where a room lives on, its own term is no report of another relay's.
        let least = self.config.incarnation + u64::from(!self.members.is_empty());
        if !(least..=MAX_REPORTED_TERM).contains(&reported) {
            return;
        }
        self.config.incarnation = reported + 1;
        self.controller.set_term(self.config.incarnation);
        if let Some(commit) = commit_of(self.controller.standing()) {
            self.broadcast(None, &server_frame::Message::TopologyCommit(commit));
        }
    }

    /// The connection of a participant was lost: it is held for the resume window.
    pub fn handle_disconnected(&mut self, now: Instant, participant: ParticipantId) {
        if let Some(member) = self.members.get_mut(&participant) {
            member.lost_at.get_or_insert(now);
        }
    }

    /// It came back in time.
    pub fn handle_resumed(&mut self, participant: ParticipantId) {
        if let Some(member) = self.members.get_mut(&participant) {
            member.lost_at = None;
        }
    }

    /// Ends a session from outside: too slow, the relay's own fault, kicked.
    pub fn remove(&mut self, now: Instant, participant: ParticipantId, goodbye: proto::Goodbye) {
        self.end(now, participant, goodbye);
        self.reconsider(now);
    }

    /// Ends every session, telling each the same. Nobody is told of the others' leaving.
    pub fn close(&mut self, goodbye: &proto::Goodbye) {
        self.edges = EdgeTable::default();
        self.facts = None;
        for participant in std::mem::take(&mut self.members).into_keys() {
            self.outputs.push_back(RoomOutput::Forward(ForwardCommand::ParticipantRemoved { participant }));
            self.outputs.push_back(RoomOutput::Ended { participant, goodbye: goodbye.clone() });
        }
    }

    /// Who speaks now, loudest first, with -dBov.
    pub fn handle_speakers(&mut self, speakers: &[(ParticipantId, u8)]) {
        let present = speakers.iter().filter(|(participant, _)| self.members.contains_key(participant));
        let speakers = present.map(|&(id, level)| proto::Speaker { participant: id.0, level: level.into() }).collect();
        self.broadcast(None, &server_frame::Message::Speakers(proto::Speakers { speakers }));
    }

    /// The time of [`RoomAuthority::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let window = self.config.resume_window;
        let lost = self.members.values().filter(|member| member.lost_at.is_some_and(|lost_at| lost_at + window <= now));
        for participant in lost.map(|member| member.id).collect::<Vec<_>>() {
            let message = "the connection was lost and not resumed in time; join again";
            self.end(now, participant, goodbye(LeaveReason::Timeout, ErrorCode::SessionUnknown, message));
        }
        self.reconsider(now);
    }

    /// When [`RoomAuthority::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lost = self.members.values().filter_map(|member| member.lost_at).min().map(|at| at + self.config.resume_window);
        [lost, self.controller.poll_timeout()].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<RoomOutput> {
        self.outputs.pop_front()
    }

    fn welcome(&mut self, member: &Member, resume_token: String) {
        let joined = proto::Joined {
            room: self.config.name.clone(),
            self_: Some(member.to_message()),
            others: self.members.values().map(Member::to_message).collect(),
            resume_token,
            incarnation: self.config.incarnation,
            topology: commit_of(self.controller.standing()),
            ice_servers: self.config.ice_servers.clone(),
            mesh_max: u32::try_from(self.config.topology.mesh_max).unwrap_or(u32::MAX),
            resume_window_ms: u32::try_from(self.config.resume_window.as_millis()).unwrap_or(u32::MAX),
            grants: Some(member.grants),
        };
        self.send(member.id, server_frame::Message::Joined(joined));
        if let Some(output) = self.controller.under_way() {
            self.send(member.id, topology_message(output));
        }
        let participant = Some(member.to_message());
        self.broadcast(None, &server_frame::Message::ParticipantJoined(proto::ParticipantJoined { participant }));
    }

    fn admit(&mut self, member: Member) {
        let id = member.id;
        self.forward(ForwardCommand::ParticipantAdded {
            participant: id,
            origin: member.origin(),
            publish: member.grants.publish,
            subscribe: member.grants.subscribe,
            offers: member.plays.is_some(),
        });
        let mut edges = Vec::new();
        for other in self.members.values() {
            let possible = other.direct() && member.direct() && !other.relay_only() && !member.relay_only();
            let path = if possible { self.controller.target() } else { Path::Relayed };
            for (publisher, subscriber) in [(&member, other), (other, &member)] {
                if publisher.grants.publish && subscriber.receives_from(publisher) {
                    self.edges.insert(publisher.id, subscriber.id, path, possible, !publisher.tracks.is_empty());
                    edges.push((publisher.id, subscriber.id));
                }
            }
        }
        for track in member.tracks.values() {
            self.outputs.push_back(RoomOutput::Forward(track_added(id, track)));
        }
        self.members.insert(id, member);
        self.facts = None;
        for (publisher, subscriber) in edges {
            let path = self.edges.path(publisher, subscriber);
            if path.is_some_and(EdgePath::forwarded) {
                self.forward_edge(publisher, subscriber, EdgePath::On(Path::Relayed));
            }
        }
    }

    /// Takes a participant out and tells those who stay.
    pub(super) fn end(&mut self, now: Instant, participant: ParticipantId, goodbye: proto::Goodbye) {
        let Some(member) = self.members.remove(&participant) else { return };
        member.tracks.keys().for_each(|track| self.track_ids.release(now, u32::from(track.0)));
        tracing::debug!(%participant, reason = goodbye.reason, at = ?now, "participant left");
        self.facts = None;
        self.edges.remove(participant, self.members.keys().copied());
        self.members.values_mut().for_each(|member| member.forget(participant));
        self.forward(ForwardCommand::ParticipantRemoved { participant });
        let reason = goodbye.reason;
        self.outputs.push_back(RoomOutput::Ended { participant, goodbye });
        let left = proto::ParticipantLeft { participant: participant.0, reason };
        self.broadcast(None, &server_frame::Message::ParticipantLeft(left));
    }

    /// Shows the controller the room and passes on what it says.
    pub(super) fn reconsider(&mut self, now: Instant) {
        let view = self.view();
        self.controller.handle_view(now, &view);
        while let Some(output) = self.controller.poll_output() {
            if let TopologyOutput::Commit { topology: Topology::Mesh | Topology::Relayed, .. } = output {
                self.settle_idle_edges();
            }
            self.broadcast(None, &topology_message(output));
        }
    }

    /// Edges nobody sends on have nothing to hand over: they follow the room.
    fn settle_idle_edges(&mut self) {
        let path = self.controller.target();
        for (publisher, subscriber) in self.edges.settle_idle(path) {
            self.forward_edge(publisher, subscriber, EdgePath::On(path));
        }
    }

    fn view(&mut self) -> RoomView {
        let facts = self.facts.unwrap_or_else(|| self.facts_now());
        self.facts = Some(facts);
        RoomView {
            facts,
            tangled: self.tangled(),
            direct_worse: self.direct_worse(),
            short_since: self.small_members().filter_map(Member::short_since).min(),
            lacks_uplink: self.small_members().any(Member::lacks_uplink),
            edges: self.edges.counts(),
        }
    }

    /// Members of a room that could be a mesh, nobody of a larger one.
    fn small_members(&self) -> impl Iterator<Item = &Member> {
        let small = self.members.len() <= self.config.topology.mesh_max;
        self.members.values().filter(move |_| small)
    }

    /// Asks every member: only where one of them changed, not for every word on an edge.
    fn facts_now(&self) -> RoomFacts {
        let any = |is: fn(&Member) -> bool| self.members.values().any(is);
        RoomFacts {
            members: self.members.len(),
            video: any(|member| member.publishes(proto::TrackKind::Video)),
            screen: any(Member::shares_screen),
            mesh_only: any(Member::mesh_only),
            relay_only: any(Member::relay_only),
            indirect: any(|member| !member.direct()),
            receive_only: any(Member::receive_only),
        }
    }

    /// Asked of rooms on the relay only, so that a mesh with one bad pair does not leave and return for ever.
    fn direct_worse(&self) -> bool {
        self.controller.target() == Path::Relayed
            && self.members.len() <= TANGLED_ROOM
            && self.members.values().any(|a| self.members.values().any(|b| a.id != b.id && is_worse_directly(a, b)))
    }

    fn tangled(&self) -> bool {
        // On the way to the relay and there, every edge is on it: only what was reported counts.
        let direct = self.controller.target() == Path::Direct;
        self.members.len() <= TANGLED_ROOM
            && self.members.values().any(|member| {
                self.failed_legs(member) >= TANGLED_EDGES || (direct && self.edges.fallbacks(member.id) >= TANGLED_EDGES)
            })
    }

    /// Direct legs that a member says have failed and whose other end does not say they are up: of one that lies nobody else hears a thing.
    fn failed_legs(&self, member: &Member) -> usize {
        let failed = member.failed_peers().filter_map(|peer| self.members.get(&peer));
        failed.filter(|peer| !peer.reports_leg_to(member.id)).count()
    }

    pub(super) fn forward_edge(&mut self, publisher: ParticipantId, subscriber: ParticipantId, path: EdgePath) {
        let (on, voice_only) = (path.forwarded(), path == EdgePath::Voice);
        let overlap = voice_only || path == EdgePath::Both;
        self.forward(ForwardCommand::Edge { publisher, subscriber, on, overlap, voice_only });
    }

    pub(super) fn forward(&mut self, command: ForwardCommand) {
        self.outputs.push_back(RoomOutput::Forward(command));
    }

    pub(super) fn output(&mut self, output: RoomOutput) {
        self.outputs.push_back(output);
    }

    pub(super) fn send(&mut self, to: ParticipantId, message: server_frame::Message) {
        self.outputs.push_back(RoomOutput::Send { to, message });
    }

    /// To everybody but one.
    pub(super) fn broadcast(&mut self, except: Option<ParticipantId>, message: &server_frame::Message) {
        for &to in self.members.keys().filter(|&&to| Some(to) != except) {
            self.outputs.push_back(RoomOutput::Send { to, message: message.clone() });
        }
    }
}

/// Whether the direct path from `a` to `b` failed, or is clearly worse than the one by the relay. What is not known is not worse.
fn is_worse_directly(a: &Member, b: &Member) -> bool {
    const RELAY: ParticipantId = ParticipantId(0);
    if !a.direct() || !b.direct() || a.relay_only() || b.relay_only() {
        return false;
    }
    let (Some(direct), Some(ours), Some(theirs)) = (a.link(b.id), a.link(RELAY), b.link(RELAY)) else { return a.misses(b.id) };
    a.misses(b.id)
        || direct.0 > ours.0.saturating_add(theirs.0).saturating_add(WORSE_ROUND_TRIP_US)
        || direct.1 > ours.1.saturating_add(theirs.1).saturating_add(WORSE_LOSS_PERMILLE)
}

/// The relay's last word to a session.
pub(super) fn goodbye(reason: LeaveReason, code: ErrorCode, message: &str) -> proto::Goodbye {
    proto::Goodbye { reason: reason.into(), code: code.into(), message: message.to_owned(), retry_after_ms: 0 }
}

pub(super) fn track_added(owner: ParticipantId, track: &proto::Track) -> ForwardCommand {
    use segue_model::{TrackKind, TrackSource};
    ForwardCommand::TrackAdded {
        track: TrackId(u16::try_from(track.id).unwrap_or_default()),
        owner,
        kind: if track.kind() == proto::TrackKind::Video { TrackKind::Video } else { TrackKind::Audio },
        source: match track.source() {
            proto::TrackSource::Camera => TrackSource::Camera,
            proto::TrackSource::Screen => TrackSource::Screen,
            proto::TrackSource::ScreenAudio => TrackSource::ScreenAudio,
            proto::TrackSource::Microphone | proto::TrackSource::Unspecified => TrackSource::Microphone,
        },
        encodings: track.encodings.iter().map(encoding_spec).collect(),
        muted: track.muted,
    }
}

fn encoding_spec(encoding: &proto::Encoding) -> super::EncodingSpec {
    let proto::Encoding { rid, width, height, max_kbps } = encoding.clone();
    super::EncodingSpec { rid, width, height, max_kbps }
}

fn commit_of(output: TopologyOutput) -> Option<proto::TopologyCommit> {
    match topology_message(output) {
        server_frame::Message::TopologyCommit(commit) => Some(commit),
        _ => None,
    }
}

fn topology_message(output: TopologyOutput) -> server_frame::Message {
    use server_frame::Message;
    match output {
        TopologyOutput::Prepare { epoch, target, reason } => Message::TopologyPrepare(proto::TopologyPrepare {
            epoch: epoch_message(epoch),
            target: topology_number(super::topology::pure(target)),
            reason,
        }),
        TopologyOutput::Commit { epoch, topology, reason } => Message::TopologyCommit(proto::TopologyCommit {
            epoch: epoch_message(epoch),
            topology: topology_number(topology),
            reason,
        }),
        TopologyOutput::Abort { epoch, topology, reason } => Message::TopologyAbort(proto::TopologyAbort {
            epoch: epoch_message(epoch),
            topology: topology_number(topology),
            reason,
        }),
    }
}

fn epoch_message(epoch: Epoch) -> Option<proto::Epoch> {
    Some(proto::Epoch { incarnation: epoch.incarnation, counter: epoch.counter })
}

fn topology_number(topology: Topology) -> i32 {
    match topology {
        Topology::Mesh => proto::Topology::Mesh,
        Topology::Mixed => proto::Topology::Mixed,
        Topology::Relayed => proto::Topology::Relayed,
    }
    .into()
}
