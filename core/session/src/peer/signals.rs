//! What participants tell each other, over the relay and over direct legs at once.

use std::time::{Duration, Instant};

use prost::Message as _;
use segue_model::{ParticipantId, Path, TrackKind};
use segue_wire::proto::signal_body::Body;
use segue_wire::proto::{self, LeaveReason, client_frame};

use super::legs::Leg;
use super::roster::MAX_DIRECT_ROOM;
use super::{Command, LegKey, PeerEvent, PeerMachine, convert};
use crate::handover::{EdgeMessage, MAX_RAISE, WatchedTrack};

/// Which carriers a signal takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carriers {
    /// All that live; the relay's even while it is only being sought, if no other takes the signal.
    All,
    /// One that lives, the direct one first; for what is repeated anyhow.
    One,
}

impl PeerMachine {
    pub(super) fn send_signal(&mut self, now: Instant, to: Option<ParticipantId>, body: Body, carriers: Carriers) {
        let Some(local) = self.local() else { return };
        self.signal_number += 1;
        let signal = proto::Signal {
            from: local.0,
            to: to.map_or(0, |to| to.0),
            number: self.signal_number,
            body: proto::SignalBody { body: Some(body) }.encode_to_vec(),
        };
        let open = |leg: &LegKey| self.legs.get(leg).is_some_and(|leg| leg.signal_open);
        let direct: Vec<_> = match to {
            Some(to) => vec![to].into_iter().filter(|to| open(&LegKey::Peer(*to))).collect(),
            None => self.remotes.keys().copied().filter(|to| open(&LegKey::Peer(*to))).collect(),
        };
        // What goes by a silent path may never arrive: it does not count.
        let heard = |to: &&ParticipantId| self.legs.get(&LegKey::Peer(**to)).is_some_and(Leg::is_heard);
        let reached = direct.iter().filter(heard).count() >= if to.is_some() { 1 } else { self.remotes.len() };
        for to in direct {
            self.commands.push_back(Command::SendPeer { to, signal: signal.clone() });
        }
        let relay = match carriers {
            Carriers::All => self.connection.is_live() || !reached,
            Carriers::One => self.connection.is_live() && !reached,
        };
        if relay {
            self.send_server(now, client_frame::Message::Signal(signal));
        }
    }

    /// A signal of `from`, by whichever carrier. Repeated ones are dropped.
    pub(super) fn handle_signal(&mut self, now: Instant, from: ParticipantId, signal: &proto::Signal) {
        let for_us = signal.to == 0 || self.local().is_some_and(|local| local.0 == signal.to);
        let Some(remote) = self.remotes.get_mut(&from).filter(|_| for_us) else {
            self.dropped.foreign += 1;
            return;
        };
        if !remote.seen.insert(signal.number) {
            self.dropped.repeated += 1;
            return;
        }
        let Some(body) = proto::SignalBody::decode(signal.body.as_slice()).ok().and_then(|body| body.body) else {
            self.dropped.malformed += 1;
            return;
        };
        match body {
            Body::EdgePrepare(_) | Body::EdgeCommit(_) | Body::EdgeAbort(_) => {
                // Two carriers may turn the order round: only the latest word of the publisher holds.
                let epoch = match &body {
                    Body::EdgePrepare(word) => word.epoch,
                    Body::EdgeCommit(word) => word.epoch,
                    Body::EdgeAbort(word) => word.epoch,
                    _ => None,
                };
                if signal.number > remote.last_publisher_word && !remote.inc.is_stale(convert::epoch(epoch)) {
                    remote.last_publisher_word = signal.number;
                    self.handle_publisher_word(now, from, body);
                } else {
                    self.dropped.stale += 1;
                }
            }
            Body::EdgeReady(ready) => {
                if signal.number > remote.last_subscriber_word
                    && let Some(path) = convert::path(ready.path)
                {
                    remote.last_subscriber_word = signal.number;
                    let answers = remote.out.handle_ready(now, convert::epoch(ready.epoch), path);
                    self.dropped.stale += u64::from(!answers);
                }
            }
            Body::Description(description) => self.handle_peer_description(now, from, description),
            Body::Candidate(candidate) => self.handle_remote_candidate(LegKey::Peer(from), candidate),
            Body::LinkReport(report) => self.handle_link_report(from, report),
            Body::Data(data) => self.handle_data(now, from, data),
            Body::DataAck(ack) => self.data.handle_ack(now, from, ack.up_to),
            Body::KeyframeRequest(request) => self.handle_keyframe_signal(now, from, request),
            Body::Muted(muted) => {
                if let Some(track) = convert::track_id(muted.track) {
                    self.set_remote_muted(from, track, muted.muted);
                }
            }
            Body::Goodbye(goodbye) => {
                let reason = LeaveReason::try_from(goodbye.reason).unwrap_or(LeaveReason::Left);
                self.remove_remote(from, reason);
            }
            Body::Subscribe(subscribe) => self.handle_wish(from, subscribe),
        }
    }

    fn handle_publisher_word(&mut self, now: Instant, from: ParticipantId, body: Body) {
        let delay = self.drain_time([LegKey::Peer(from), LegKey::RelaySubscriber]);
        let subscriber = self.local();
        let switch = !self.config.origin;
        let Some(remote) = self.remotes.get_mut(&from) else { return };
        match body {
            Body::EdgePrepare(prepare) => {
                let known = prepare.tracks.iter().filter_map(|track| remote.tracks.get(&convert::track_id(*track)?));
                let tracks: Vec<_> = known
                    .map(|track| WatchedTrack {
                        track: track.id,
                        kind: track.kind,
                        silent: track.muted || self.subscriptions.get(&track.id) == Some(&segue_model::Quality::Off),
                    })
                    .collect();
                if let Some(path) = convert::path(prepare.path) {
                    let switch = switch || !remote.info.origin;
                    let first = remote.inc.handle_prepare(convert::epoch(prepare.epoch), path, &tracks, switch);
                    // Whoever overstates it delays nobody but itself, and not by much.
                    let by = Duration::from_micros(prepare.raise_us.into()).min(MAX_RAISE);
                    if first {
                        self.raise_playout(from, path, &tracks, by);
                    }
                }
            }
            Body::EdgeCommit(commit) => {
                let Some(path) = convert::path(commit.path) else { return };
                if remote.inc.handle_commit(now, convert::epoch(commit.epoch), path, &commit.reason, delay)
                    && let Some(subscriber) = subscriber
                {
                    let edge = super::Edge { publisher: from, subscriber };
                    self.events.push_back(PeerEvent::PathChanged { edge, path, reason: commit.reason });
                }
            }
            Body::EdgeAbort(abort) => {
                if let Some(path) = convert::path(abort.path) {
                    remote.inc.handle_abort(convert::epoch(abort.epoch), path);
                }
            }
            _ => {}
        }
    }

    /// Before tracks of `from` come by `path`, `by` later than now.
    fn raise_playout(&mut self, from: ParticipantId, path: Path, tracks: &[WatchedTrack], by: Duration) {
        let round_trip = |path| match path {
            Path::Direct => self.leg_round_trip(LegKey::Peer(from)),
            Path::Relayed => self.leg_round_trip(LegKey::RelaySubscriber),
        };
        // A loss is noticed after a quarter of a round trip at most and repaired one later.
        let longer = round_trip(path).zip(round_trip(path.other())).map(|(new, old)| new.saturating_sub(old));
        let repair = longer.map_or(Duration::ZERO, |longer| longer + longer / 4).min(MAX_RAISE);
        if !by.is_zero() || !repair.is_zero() {
            self.commands.extend(tracks.iter().map(|track| Command::RaisePlayout { track: track.track, by, repair }));
        }
    }

    /// What somebody sees of a leg we share (`peer` is us), or of the relay (`peer` is 0).
    fn handle_link_report(&mut self, from: ParticipantId, report: proto::LinkReport) {
        let lost = matches!(proto::LinkState::try_from(report.state), Ok(proto::LinkState::Failed | proto::LinkState::Closed));
        if report.peer == 0 {
            if let Some(remote) = self.remotes.get_mut(&from) {
                remote.relay_lost = lost;
                let round_trip = (report.rtt_us > 0).then(|| Duration::from_micros(report.rtt_us.into()));
                remote.relay_round_trip = round_trip.or(remote.relay_round_trip);
            }
        } else if self.local() == Some(ParticipantId(report.peer))
            && let Some(leg) = self.legs.get_mut(&LegKey::Peer(from))
        {
            leg.unheard = lost;
        }
    }

    /// Tells the subscriber of an edge.
    pub(super) fn send_edge_message(&mut self, now: Instant, to: ParticipantId, message: EdgeMessage) {
        let body = match message {
            EdgeMessage::Prepare { epoch, path, tracks, raise } => Body::EdgePrepare(proto::EdgePrepare {
                epoch: convert::wire_epoch(epoch),
                path: convert::wire_path(path),
                tracks: tracks.iter().map(|track| track.0.into()).collect(),
                raise_us: u32::try_from(raise.as_micros()).unwrap_or(u32::MAX),
            }),
            EdgeMessage::Commit { epoch, path, reason } => Body::EdgeCommit(proto::EdgeCommit {
                epoch: convert::wire_epoch(epoch),
                path: convert::wire_path(path),
                reason,
            }),
            EdgeMessage::Abort { epoch, path, reason } => {
                let (epoch, path) = (convert::wire_epoch(epoch), convert::wire_path(path));
                Body::EdgeAbort(proto::EdgeAbort { epoch, path, reason })
            }
        };
        self.send_signal(now, Some(to), body, Carriers::All);
    }

    /// Tells publishers what we hear by now.
    pub(super) fn answer_prepares(&mut self, now: Instant) {
        let (direct, relayed) = (self.legs_up_to_peers(), self.leg_is_up(LegKey::RelaySubscriber));
        let ready: Vec<_> = self
            .remotes
            .iter_mut()
            .filter_map(|(id, remote)| {
                let up = |path| match path {
                    Path::Direct => direct.contains(id),
                    Path::Relayed => relayed,
                };
                remote.inc.poll_ready(up).map(|ready| (*id, ready))
            })
            .collect();
        for (to, ready) in ready {
            let (epoch, path) = (convert::wire_epoch(ready.epoch), convert::wire_path(ready.path));
            self.send_signal(now, Some(to), Body::EdgeReady(proto::EdgeReady { epoch, path }), Carriers::All);
        }
    }

    /// Places of our video tracks among those of the room: they follow one by one in overlap, and so do publishers, by their ids.
    pub(super) fn video_indices(&self) -> std::ops::Range<u32> {
        let before = self.local().map_or(0, |local| self.remotes.range(..local).count()).min(MAX_DIRECT_ROOM);
        let videos = self.publications.values().filter(|track| track.kind == TrackKind::Video).count();
        let place = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        place(before)..place(before + videos)
    }
}
