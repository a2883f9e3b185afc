//! Our transports: built, negotiated, watched and repaired.

mod report;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use segue_model::{ParticipantId, Path};
use segue_wire::proto::signal_body::Body;
use segue_wire::proto::{self, client_frame};

use super::signals::Carriers;
use super::{Command, LegEvent, LegKey, LegPlan, LinkState, PeerMachine, SectionPlan, convert};
use crate::dialog::{self, Dialog, DialogOutput, Role};
use crate::handover::{FIRST_PATH_PATIENCE, HeartbeatWatch, Quality};
use crate::sdp;

/// A leg silent for so long restarts ICE; before that the other path carries the media anyhow.
const SUSPECT_PATIENCE: Duration = Duration::from_millis(2_500);

/// The polite side leaves the repair to the other one for so long.
const POLITE_PATIENCE: Duration = Duration::from_secs(3);

/// A restart that has not helped by then is followed by a new transport.
const RESTART_PATIENCE: Duration = Duration::from_secs(8);

/// A new transport that is not up by then is given up for the next.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// First wait before a transport is built anew, doubled each time.
const REBUILD_FIRST: Duration = Duration::from_secs(1);

/// Doublings of that wait: a minute at most, a pair that cannot connect is tried for as long as the room lasts.
const REBUILD_DOUBLINGS: u32 = 6;

/// Why a leg is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenReason {
    /// There was none: the participant with the smaller id offers.
    First,
    /// Ours failed: we offer, whoever we are.
    Ours,
    /// Theirs is new: their offer is there already.
    Theirs,
}

/// What is to be done about a leg that is not up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repair {
    Restart,
    Rebuild,
}

/// One transport.
pub(super) struct Leg {
    dialog: Dialog,
    merge: bool,
    link: LinkState,
    watch: HeartbeatWatch,
    /// The reliable channel is open.
    pub signal_open: bool,
    pub rtt: Option<Duration>,
    quality: Quality,
    /// The other end does not hear us.
    pub unheard: bool,
    /// Session id of the other end's last description: another one means another transport.
    remote_session: Option<String>,
    repair: Option<(Instant, Repair)>,
    rebuilds: u32,
    /// The last state reported to others: up or not, and with which round trip and loss.
    reported_up: Option<bool>,
    reported: (Option<Duration>, u32),
    reported_at: Option<Instant>,
    /// A leg that is not up by then is news too.
    report_at: Option<Instant>,
    sections: Vec<SectionPlan>,
}

impl Leg {
    fn is_up(&self) -> bool {
        self.is_heard() && !self.unheard
    }

    /// Up as a transport, and not silent. Those who send no heartbeats are taken at their transport's word.
    pub(super) fn is_heard(&self) -> bool {
        self.link == LinkState::Up && !self.watch.is_suspect()
    }

    /// When something last came, where heartbeats do.
    pub(super) fn heard_at(&self) -> Option<Instant> {
        self.watch.heard_at()
    }
}

impl PeerMachine {
    pub(super) fn leg_is_up(&self, key: LegKey) -> bool {
        self.legs.get(&key).is_some_and(Leg::is_up)
    }

    /// Up as a transport, heard or not: what is sent may arrive.
    pub(super) fn leg_is_open(&self, key: LegKey) -> bool {
        self.legs.get(&key).is_some_and(|leg| leg.link == LinkState::Up)
    }

    /// Up as a transport, but nothing has been heard for a while.
    pub(super) fn leg_is_suspect(&self, key: LegKey) -> bool {
        self.legs.get(&key).is_some_and(|leg| leg.link == LinkState::Up && !leg.is_up())
    }

    /// The least round trip of late, by its heartbeats.
    pub(super) fn leg_round_trip(&self, key: LegKey) -> Option<Duration> {
        self.legs.get(&key)?.quality.round_trip()
    }

    pub(super) fn legs_up_to_peers(&self) -> BTreeSet<ParticipantId> {
        let up = self.legs.iter().filter(|(_, leg)| leg.is_up());
        up.filter_map(|(key, _)| if let LegKey::Peer(id) = key { Some(*id) } else { None }).collect()
    }

    fn is_merge(&self, key: LegKey) -> bool {
        match key {
            LegKey::Peer(id) => self.config.origin && self.remotes.get(&id).is_some_and(|remote| remote.info.origin),
            LegKey::RelayPublisher | LegKey::RelaySubscriber => self.config.origin,
        }
    }

    fn role(&self, key: LegKey) -> Role {
        match key {
            LegKey::RelayPublisher => Role::Offerer,
            LegKey::RelaySubscriber => Role::Answerer,
            LegKey::Peer(id) if self.local().is_some_and(|local| local > id) => Role::Polite,
            LegKey::Peer(_) => Role::Impolite,
        }
    }

    /// Builds a transport; one that is there already is replaced, its counts are continued.
    pub(super) fn open_leg(&mut self, now: Instant, key: LegKey, reason: OpenReason) {
        let (mut ours, mut theirs, mut rebuilds) = (0, 0, 0);
        if let Some(old) = self.legs.remove(&key) {
            (ours, theirs) = old.dialog.generations();
            rebuilds = old.rebuilds;
            if !matches!(key, LegKey::Peer(_)) {
                // The relay's word comes in order: nothing of an older transport can follow.
                theirs = 0;
            }
            self.commands.push_back(Command::CloseLeg { leg: key });
        }
        let role = self.role(key);
        let merge = self.is_merge(key);
        let sections = if merge { Vec::new() } else { self.sections() };
        let plan =
            LegPlan { merge, polite: role == Role::Polite, ice_servers: self.ice_servers.clone(), sections: sections.clone() };
        self.commands.push_back(Command::OpenLeg { leg: key, plan });
        let mut dialog = Dialog::new(role, ours, theirs);
        let offers = reason == OpenReason::Ours || (reason == OpenReason::First && role != Role::Polite);
        if offers {
            dialog.handle_negotiate(now, false);
        }
        let leg = Leg {
            dialog,
            merge,
            link: LinkState::Connecting,
            watch: HeartbeatWatch::default(),
            signal_open: false,
            rtt: None,
            quality: Quality::default(),
            unheard: false,
            remote_session: None,
            repair: (role != Role::Answerer).then_some((now + CONNECT_PATIENCE, Repair::Rebuild)),
            rebuilds,
            reported_up: None,
            reported: (None, 0),
            reported_at: None,
            report_at: Some(now + FIRST_PATH_PATIENCE),
            sections,
        };
        self.legs.insert(key, leg);
    }

    pub(super) fn close_leg(&mut self, key: LegKey) {
        if self.legs.remove(&key).is_some() {
            self.commands.push_back(Command::CloseLeg { leg: key });
        }
    }

    /// Opens the direct legs the room allows and closes those it does not want any more, once nothing depends on them.
    pub(super) fn plan_legs(&mut self, now: Instant) {
        let mut open = Vec::new();
        let mut close = Vec::new();
        for (id, remote) in &self.remotes {
            let (wanted, there) = (self.direct_wanted(&remote.info), self.legs.contains_key(&LegKey::Peer(*id)));
            if wanted && !there {
                open.push(LegKey::Peer(*id));
            } else if !wanted && there && !remote.out.carries(Path::Direct) && !remote.inc.expects(Path::Direct) {
                close.push(LegKey::Peer(*id));
            }
        }
        for key in open {
            self.open_leg(now, key, OpenReason::First);
        }
        for key in close {
            self.close_leg(key);
        }
        self.plan_sections(now);
    }

    /// Legs with a section for each track follow our publications.
    fn plan_sections(&mut self, now: Instant) {
        if self.legs.values().all(|leg| leg.merge) {
            return;
        }
        let sections = self.sections();
        for (&key, leg) in self.legs.iter_mut().filter(|(_, leg)| !leg.merge) {
            if key != LegKey::RelaySubscriber && leg.sections != sections {
                leg.sections.clone_from(&sections);
                self.commands.push_back(Command::SetSections { leg: key, sections: sections.clone() });
                leg.dialog.handle_change(now);
            }
        }
    }

    pub(super) fn handle_leg_event(&mut self, now: Instant, key: LegKey, event: LegEvent) {
        let role = self.role(key);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        match event {
            LegEvent::LocalDescription { kind, sdp, generation, tracks } => {
                leg.dialog.handle_local(now, kind, sdp, generation, tracks);
            }
            LegEvent::LocalCandidate(candidate) => leg.dialog.handle_local_candidate(candidate),
            LegEvent::State(state) => leg.handle_state(now, state, role),
            LegEvent::SignalChannelOpen => {
                leg.signal_open = true;
                if let LegKey::Peer(id) = key {
                    self.data.handle_path(now, id);
                    self.tell_relay_heard(now, id);
                }
            }
            LegEvent::SignalChannelClosed => leg.signal_open = false,
            LegEvent::Heartbeat { rtt } => {
                leg.rtt = rtt.or(leg.rtt);
                leg.quality.handle_heartbeat(now, rtt);
                if leg.watch.handle_heartbeat(now) {
                    leg.handle_heard();
                    self.cut_off = false;
                }
            }
            LegEvent::HeartbeatLost => {
                leg.watch.handle_lost();
                leg.handle_silent(now, role);
                self.cut_off |= self.hears_nobody();
            }
            LegEvent::Failed { reason } => {
                tracing::warn!(leg = ?key, reason, "leg failed");
                leg.link = LinkState::Closed;
                leg.schedule_rebuild(now);
            }
            LegEvent::KeyframeRequested { track, encoding } => self.handle_leg_keyframe(now, key, track, encoding),
        }
    }

    /// Media came on a leg.
    pub(super) fn note_leg_media(&mut self, now: Instant, key: LegKey) -> bool {
        let Some(leg) = self.legs.get_mut(&key) else { return false };
        let ends = leg.watch.handle_media(now);
        if ends {
            leg.handle_heard();
        }
        ends
    }

    pub(super) fn handle_leg_timeouts(&mut self, now: Instant) {
        let keys: Vec<_> = self.legs.keys().copied().collect();
        for key in keys {
            let role = self.role(key);
            let live = self.connection.is_live();
            let sibling = sibling_of(key).and_then(|key| self.legs.get(&key)).map(|leg| leg.watch);
            let Some(leg) = self.legs.get_mut(&key) else { continue };
            leg.dialog.handle_timeout(now);
            leg.report_at = leg.report_at.filter(|at| *at > now);
            if leg.watch.handle_timeout(now, sibling.as_ref()) {
                leg.handle_silent(now, role);
                self.cut_off |= self.hears_nobody();
            }
            let Some(leg) = self.legs.get_mut(&key) else { continue };
            let Some((_, repair)) = leg.repair.filter(|(at, _)| *at <= now) else { continue };
            // Nobody to answer: the relay is sought first. Word of a new transport would have to go by the one it replaces.
            let unanswered = match key {
                LegKey::Peer(_) => repair == Repair::Rebuild && leg.signal_open,
                LegKey::RelayPublisher | LegKey::RelaySubscriber => true,
            };
            if unanswered && !live {
                leg.repair = Some((now + REBUILD_FIRST, repair));
            } else if leg.is_up() {
                leg.repair = None;
            } else {
                self.repair_leg(now, key, repair);
            }
        }
    }

    /// Every leg that was up is silent: it is our own network that changed or went.
    fn hears_nobody(&self) -> bool {
        let mut known = self.legs.values().filter(|leg| leg.link != LinkState::Connecting).peekable();
        known.peek().is_some() && known.all(|leg| leg.link != LinkState::Up || leg.watch.is_suspect())
    }

    /// After a change of network all paths are sought anew as soon as there is somebody to tell: the other ends cannot know where we are.
    pub(super) fn seek_paths(&mut self, now: Instant) {
        if !self.cut_off || !self.connection.is_live() {
            return;
        }
        self.cut_off = false;
        let moved = std::mem::take(&mut self.moved);
        let keys: Vec<_> = self.legs.keys().copied().filter(|key| *key != LegKey::RelaySubscriber).collect();
        for key in keys {
            let lost = |leg: &Leg| match leg.link {
                LinkState::Failed => true,
                LinkState::Up => moved || leg.watch.is_suspect(),
                _ => false,
            };
            if self.legs.get(&key).is_some_and(lost) {
                self.repair_leg(now, key, Repair::Restart);
            }
        }
    }

    /// Another network is there beside the one in use: every path is sought anew while the present ones go on.
    pub(super) fn seek_better_paths(&mut self, now: Instant) {
        for (_, leg) in self.legs.iter_mut().filter(|(key, _)| **key != LegKey::RelaySubscriber) {
            if leg.link == LinkState::Up {
                leg.dialog.handle_negotiate(now, true);
            }
        }
    }

    fn repair_leg(&mut self, now: Instant, key: LegKey, repair: Repair) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        // A browser keeps its connection for as long as it knows us: only ICE can be restarted there.
        let only_ice = !leg.merge && leg.dialog.has_remote() && leg.link != LinkState::Closed;
        match repair {
            Repair::Restart => {
                leg.repair = Some((now + RESTART_PATIENCE, Repair::Rebuild));
                leg.dialog.handle_negotiate(now, true);
            }
            Repair::Rebuild if only_ice => leg.repair = Some((now + RESTART_PATIENCE, Repair::Restart)),
            Repair::Rebuild => {
                leg.rebuilds = (leg.rebuilds + 1).min(REBUILD_DOUBLINGS);
                let wait = CONNECT_PATIENCE + REBUILD_FIRST * (1 << leg.rebuilds);
                self.open_leg(now, key, OpenReason::Ours);
                if let Some(leg) = self.legs.get_mut(&key) {
                    leg.repair = Some((now + wait, Repair::Rebuild));
                }
            }
        }
        // The relay offers the subscriber transport anew when the publisher transport restarts.
        if key == LegKey::RelaySubscriber
            && let Some(publisher) = self.legs.get_mut(&LegKey::RelayPublisher)
        {
            publisher.dialog.handle_negotiate(now, true);
        }
    }

    pub(super) fn leg_timeout(&self) -> Option<Instant> {
        let of = |leg: &Leg| {
            let repair = leg.repair.map(|(at, _)| at);
            [leg.dialog.poll_timeout(), leg.watch.poll_timeout(), repair, leg.report_at].into_iter().flatten().min()
        };
        self.legs.values().filter_map(of).min()
    }

    /// Carries out what the dialogs want.
    pub(super) fn drain_dialogs(&mut self, now: Instant) {
        let keys: Vec<_> = self.legs.keys().copied().collect();
        for key in keys {
            while let Some(output) = self.legs.get_mut(&key).and_then(|leg| leg.dialog.poll_output()) {
                self.handle_dialog_output(now, key, output);
            }
        }
    }

    fn handle_dialog_output(&mut self, now: Instant, key: LegKey, output: DialogOutput) {
        let command = match output {
            DialogOutput::CreateOffer { restart, generation } => Command::CreateOffer { leg: key, restart, generation },
            DialogOutput::CreateAnswer { generation } => Command::CreateAnswer { leg: key, generation },
            DialogOutput::SetRemote(description) => {
                Command::SetRemote { leg: key, kind: description.kind, sdp: description.sdp, tracks: description.tracks }
            }
            DialogOutput::Rollback => Command::Rollback { leg: key },
            DialogOutput::AddCandidate(candidate) => Command::AddCandidate { leg: key, candidate },
            DialogOutput::SendDescription(description) => return self.send_description(now, key, description),
            DialogOutput::SendCandidate(candidate) => return self.send_candidate(now, key, candidate),
            DialogOutput::Failed(error) => {
                tracing::warn!(leg = ?key, %error, "negotiation failed");
                if let Some(leg) = self.legs.get_mut(&key) {
                    leg.schedule_rebuild(now);
                }
                return;
            }
        };
        self.commands.push_back(command);
    }

    fn send_description(&mut self, now: Instant, key: LegKey, description: dialog::Description) {
        let kind = convert::wire_sdp_kind(description.kind);
        let dialog::Description { sdp, tracks, generation, restart, .. } = description;
        match transport_of(key) {
            Ok(transport) => {
                let description = proto::RelayDescription { transport, kind, sdp, tracks, generation };
                self.send_server(now, client_frame::Message::Description(description));
            }
            Err(to) => {
                let description = proto::Description { kind, sdp, tracks, generation, restart };
                self.send_signal(now, Some(to), Body::Description(description), Carriers::All);
            }
        }
    }

    fn send_candidate(&mut self, now: Instant, key: LegKey, candidate: proto::Candidate) {
        match transport_of(key) {
            Ok(transport) => {
                let candidate = proto::RelayCandidate { transport, candidate: Some(candidate) };
                self.send_server(now, client_frame::Message::Candidate(candidate));
            }
            Err(to) => self.send_signal(now, Some(to), Body::Candidate(candidate), Carriers::All),
        }
    }

    pub(super) fn handle_relay_description(&mut self, now: Instant, wire: proto::RelayDescription) {
        let (Some(key), Some(kind)) = (leg_of(wire.transport), convert::sdp_kind(wire.kind)) else { return };
        let session = sdp::Description::parse(&wire.sdp).map(|parsed| parsed.session_id).ok();
        let Some(leg) = self.legs.get(&key) else { return };
        if leg.is_other_session(session.as_ref()) {
            // The relay has a new transport there, and ours belongs to the old one.
            if key == LegKey::RelayPublisher {
                return self.open_leg(now, key, OpenReason::Ours);
            }
            self.close_leg(key);
            self.open_leg(now, key, OpenReason::Theirs);
        }
        let (sdp, tracks, generation) = (wire.sdp, wire.tracks, wire.generation);
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.dialog.handle_remote(now, dialog::Description { kind, sdp, tracks, generation, restart: false });
            if leg.dialog.has_remote() {
                leg.remote_session = leg.remote_session.take().or(session);
            }
        }
    }

    pub(super) fn handle_relay_candidate(&mut self, wire: proto::RelayCandidate) {
        if let (Some(key), Some(candidate)) = (leg_of(wire.transport), wire.candidate) {
            self.handle_remote_candidate(key, candidate);
        }
    }

    pub(super) fn handle_remote_candidate(&mut self, key: LegKey, candidate: proto::Candidate) {
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.dialog.handle_remote_candidate(candidate);
        }
    }

    pub(super) fn handle_peer_description(&mut self, now: Instant, from: ParticipantId, wire: proto::Description) {
        let Some(kind) = convert::sdp_kind(wire.kind) else { return };
        if !self.remotes.get(&from).is_some_and(|remote| self.direct_wanted(&remote.info)) {
            return;
        }
        let key = LegKey::Peer(from);
        let offer = kind == dialog::SdpKind::Offer;
        let session = sdp::Description::parse(&wire.sdp).map(|parsed| parsed.session_id).ok();
        match self.legs.get(&key) {
            None if offer => self.open_leg(now, key, OpenReason::Theirs),
            None => return,
            Some(leg) => {
                let stale = offer && leg.dialog.is_stale_offer(wire.generation);
                if leg.is_other_session(session.as_ref()) && !stale {
                    // Their transport is a new one, ours belongs to the old: begin anew. An offer is answered, an answer is not worth
                    // anything any more.
                    let reason = if offer { OpenReason::Theirs } else { OpenReason::Ours };
                    self.open_leg(now, key, reason);
                    if !offer {
                        return;
                    }
                }
            }
        }
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let generation = wire.generation;
        let restart = wire.restart;
        let description = dialog::Description { kind, sdp: wire.sdp, tracks: wire.tracks, generation, restart };
        leg.dialog.handle_remote(now, description);
        let (_, taken) = leg.dialog.generations();
        if leg.dialog.has_remote() && (!offer || taken == generation) {
            leg.remote_session = session;
        }
    }

    /// The relay said that it goes, or its connection ended for good: nothing is heard from it any more.
    pub(super) fn note_relay_gone(&mut self) {
        for key in [LegKey::RelayPublisher, LegKey::RelaySubscriber] {
            if let Some(leg) = self.legs.get_mut(&key) {
                leg.watch.handle_lost();
            }
        }
    }
}

impl Leg {
    /// A description of another transport than the one we know there.
    fn is_other_session(&self, session: Option<&String>) -> bool {
        self.remote_session.is_some() && session.is_some() && self.remote_session.as_ref() != session
    }

    fn handle_state(&mut self, now: Instant, state: LinkState, role: Role) {
        let before = std::mem::replace(&mut self.link, state);
        match state {
            LinkState::Up => {
                if before != LinkState::Up {
                    self.quality.reset();
                }
                self.rebuilds = 0;
                self.unheard = false;
                if !self.watch.is_suspect() {
                    self.repair = None;
                }
            }
            LinkState::Connecting => {}
            LinkState::Failed if before != LinkState::Failed => {
                let wait = if role == Role::Polite { POLITE_PATIENCE } else { Duration::ZERO };
                self.schedule(now + wait, Repair::Restart);
            }
            LinkState::Failed => {}
            LinkState::Closed => {
                self.signal_open = false;
                self.schedule_rebuild(now);
            }
        }
    }

    fn handle_silent(&mut self, now: Instant, role: Role) {
        let wait = if role == Role::Polite { SUSPECT_PATIENCE + POLITE_PATIENCE } else { SUSPECT_PATIENCE };
        self.schedule(now + wait, Repair::Restart);
    }

    fn handle_heard(&mut self) {
        if self.link == LinkState::Up {
            self.repair = None;
        }
    }

    fn schedule(&mut self, at: Instant, repair: Repair) {
        if self.repair.is_none_or(|(earlier, _)| at < earlier) {
            self.repair = Some((at, repair));
        }
    }

    fn schedule_rebuild(&mut self, now: Instant) {
        self.repair = Some((now + REBUILD_FIRST * (1 << self.rebuilds), Repair::Rebuild));
    }
}

fn transport_of(key: LegKey) -> Result<i32, ParticipantId> {
    match key {
        LegKey::RelayPublisher => Ok(proto::RelayTransport::Publisher.into()),
        LegKey::RelaySubscriber => Ok(proto::RelayTransport::Subscriber.into()),
        LegKey::Peer(id) => Err(id),
    }
}

/// The other leg to the same end.
fn sibling_of(key: LegKey) -> Option<LegKey> {
    match key {
        LegKey::RelayPublisher => Some(LegKey::RelaySubscriber),
        LegKey::RelaySubscriber => Some(LegKey::RelayPublisher),
        LegKey::Peer(_) => None,
    }
}

fn leg_of(transport: i32) -> Option<LegKey> {
    match proto::RelayTransport::try_from(transport) {
        Ok(proto::RelayTransport::Publisher) => Some(LegKey::RelayPublisher),
        Ok(proto::RelayTransport::Subscriber) => Some(LegKey::RelaySubscriber),
        _ => None,
    }
}
