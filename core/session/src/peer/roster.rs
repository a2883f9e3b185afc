//! Who else is in the room, and what we know of each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use segue_model::{Epoch, ParticipantId, Path, Quality, Topology, TopologyPolicy, TrackId};
use segue_wire::proto::{self, LeaveReason};

use super::legs::OpenReason;
use super::{LegKey, ParticipantInfo, PeerEvent, PeerMachine, TrackInfo, convert};
use crate::data;
use crate::handover::{EdgeMessage, Incoming, Outgoing};

/// Direct legs are kept in rooms up to this size: eight times the uplink of one copy is what a mesh fallback may cost.
pub const MAX_DIRECT_ROOM: usize = 8;

/// Signal numbers remembered above the lowest not seen: two carriers are never further apart than what they hold.
const MAX_SEEN: usize = 2048;

/// Numbers of signals handled, of one sender.
#[derive(Default)]
pub(super) struct Seen {
    floor: u64,
    above: BTreeSet<u64>,
}

impl Seen {
    /// Whether `number` is new.
    pub fn insert(&mut self, number: u64) -> bool {
        if number <= self.floor || !self.above.insert(number) {
            return false;
        }
        while self.above.remove(&(self.floor + 1)) {
            self.floor += 1;
        }
        if self.above.len() > MAX_SEEN
            && let Some(lowest) = self.above.pop_first()
        {
            // What is still missing below is lost for good: its carrier died with it.
            self.floor = lowest;
        }
        true
    }
}

/// Another participant.
pub(super) struct Remote {
    pub info: ParticipantInfo,
    /// The room's decision in force when we met.
    met: Epoch,
    pub tracks: BTreeMap<TrackId, TrackInfo>,
    /// We to them.
    pub out: Outgoing,
    /// They to us.
    pub inc: Incoming,
    /// Number of their last word as publisher, and as subscriber: overtaken ones are stale.
    pub last_publisher_word: u64,
    pub last_subscriber_word: u64,
    pub seen: Seen,
    /// The most they want of our tracks on a direct path.
    pub wishes: BTreeMap<TrackId, Quality>,
    /// They cannot hear the relay, by their own word.
    pub relay_lost: bool,
    /// Their round trip with the relay, by their own word.
    pub relay_round_trip: Option<Duration>,
    pub data: data::Incoming,
    /// Since when they can be reached by nothing while the relay is away.
    pub unreachable_since: Option<Instant>,
    /// Since when a restarted relay does not know them: they may still be on their way back.
    pub absent_since: Option<Instant>,
}

/// Where edges are in a room that stands so.
fn path_in(committed: Topology) -> Path {
    if committed == Topology::Relayed { Path::Relayed } else { Path::Direct }
}

/// The same person's same device under the same id.
fn is_same(known: &ParticipantInfo, wire: &proto::Participant) -> bool {
    known.id == ParticipantId(wire.id) && known.identity == wire.identity && known.peer_id == wire.peer_id
}

impl PeerMachine {
    /// Both sides allow and are able to have a direct leg, whatever the size of the room.
    pub(super) fn direct_permitted(&self, other: &ParticipantInfo) -> bool {
        let open = |policy| matches!(policy, TopologyPolicy::Auto | TopologyPolicy::MeshOnly);
        // The relay denies it to whoever may not receive.
        let ours = self.config.direct && self.local.as_ref().is_none_or(|local| local.direct);
        ours && open(self.config.policy) && other.direct && open(other.policy)
    }

    /// .. and the room is small enough.
    pub(super) fn direct_wanted(&self, other: &ParticipantInfo) -> bool {
        self.remotes.len() < MAX_DIRECT_ROOM && self.direct_permitted(other)
    }

    /// An edge to or from somebody new, before either end has said anything: the relay assumes the same.
    fn first_path(&self, other: &ParticipantInfo) -> Path {
        if self.direct_permitted(other) { self.topology.preferred() } else { Path::Relayed }
    }

    /// Capability in Join: false where policy forbids what we could.
    pub(super) fn advertises_direct(&self) -> bool {
        self.config.direct && !matches!(self.config.policy, TopologyPolicy::RelayOnly | TopologyPolicy::HideAddress)
    }

    pub(super) fn add_remote(&mut self, now: Instant, wire: &proto::Participant) {
        let info = convert::participant(wire);
        let id = info.id;
        if self.local() == Some(id) {
            return;
        }
        match self.remotes.get_mut(&id) {
            Some(known) if is_same(&known.info, wire) => {
                let returns = known.absent_since.take().is_some();
                if returns {
                    // The relay could not take our word on this edge before, nor pass on how we hear it.
                    known.out.tell_relay();
                    self.tell_relay_heard(now, id);
                }
                self.update_tracks(id, wire);
                return;
            }
            Some(_) => self.remove_remote(id, LeaveReason::Timeout),
            None => {}
        }
        let path = self.first_path(&info);
        let epoch = self.topology.epoch;
        let out = Outgoing::new(now, path, "joined", epoch);
        let remote = Remote {
            info: info.clone(),
            met: epoch,
            tracks: BTreeMap::new(),
            out,
            // Epochs of this edge begin below every other, so that nothing its publisher says first is stale.
            inc: Incoming::new(path, "joined", Epoch::default()),
            last_publisher_word: 0,
            last_subscriber_word: 0,
            seen: Seen::default(),
            wishes: BTreeMap::new(),
            relay_lost: false,
            relay_round_trip: None,
            data: data::Incoming::default(),
            unreachable_since: None,
            absent_since: None,
        };
        self.remotes.insert(id, remote);
        if path != path_in(self.topology.committed) {
            // A newcomer is told how the room stands before it is told where it goes: what it takes for our path may be the old one.
            self.send_edge_message(now, id, EdgeMessage::Commit { epoch, path, reason: "joined".to_owned() });
        }
        self.data.add_receiver(id);
        self.events.push_back(PeerEvent::ParticipantJoined(info.clone()));
        self.update_tracks(id, wire);
        if self.direct_wanted(&info) {
            self.open_leg(now, LegKey::Peer(id), OpenReason::First);
        }
    }

    /// The room was on its way when we came, which it says after the welcome: the relay and those we met there count on where it is
    /// going already. `epoch`: that of the move.
    pub(super) fn begin_edges_anew(&mut self, now: Instant, epoch: Epoch) {
        let met: Vec<_> =
            self.remotes.values().filter(|remote| remote.met == epoch).map(|remote| remote.info.clone()).collect();
        for info in met {
            let path = self.first_path(&info);
            if let Some(remote) = self.remotes.get_mut(&info.id) {
                remote.out = Outgoing::new(now, path, "joined", epoch);
                remote.inc = Incoming::new(path, "joined", Epoch::default());
            }
        }
    }

    pub(super) fn remove_remote(&mut self, id: ParticipantId, reason: LeaveReason) {
        let Some(remote) = self.remotes.remove(&id) else { return };
        for track in remote.tracks.keys() {
            self.owners.remove(track);
        }
        self.close_leg(LegKey::Peer(id));
        self.data.remove_receiver(id);
        self.events.push_back(PeerEvent::ParticipantLeft { participant: id, reason });
    }

    /// After a new session: who is no longer in `others` left, who is new came, and tracks that changed say so. `restarted`: the
    /// relay is a new one, to which the others have yet to find their way; who has a direct leg to us is waited for.
    pub(super) fn replace_roster(&mut self, now: Instant, others: &[proto::Participant], restarted: bool) {
        let mut gone = Vec::new();
        for (&id, remote) in &mut self.remotes {
            let there = others.iter().any(|other| ParticipantId(other.id) == id && is_same(&remote.info, other));
            let reachable = self.legs.get(&LegKey::Peer(id)).is_some_and(|leg| leg.signal_open);
            if !there && restarted && reachable {
                remote.absent_since.get_or_insert(now);
            } else if !there {
                gone.push(id);
            }
        }
        for id in gone {
            self.remove_remote(id, LeaveReason::Timeout);
        }
        for other in others {
            self.add_remote(now, other);
        }
    }

    /// Whoever did not find a restarted relay in the time it gives left.
    pub(super) fn handle_absent(&mut self, now: Instant) {
        if !self.connection.is_live() {
            // Nor can they while it is away itself.
            return;
        }
        let window = self.connection.resume_window();
        let over = |remote: &Remote| remote.absent_since.is_some_and(|since| since + window <= now);
        let gone: Vec<_> = self.remotes.iter().filter(|(_, remote)| over(remote)).map(|(id, _)| *id).collect();
        for id in gone {
            self.remove_remote(id, LeaveReason::Timeout);
        }
    }

    pub(super) fn absent_timeout(&self) -> Option<Instant> {
        if !self.connection.is_live() {
            return None;
        }
        let first = self.remotes.values().filter_map(|remote| remote.absent_since).min();
        first.map(|since| since + self.connection.resume_window())
    }

    fn update_tracks(&mut self, id: ParticipantId, wire: &proto::Participant) {
        let tracks: Vec<_> = wire.tracks.iter().filter_map(convert::track).collect();
        let Some(remote) = self.remotes.get(&id) else { return };
        let gone: Vec<_> =
            remote.tracks.keys().copied().filter(|known| !tracks.iter().any(|track| track.id == *known)).collect();
        for track in gone {
            self.remove_track(id, track);
        }
        for track in tracks {
            self.add_track(id, track);
        }
    }

    pub(super) fn add_track(&mut self, id: ParticipantId, track: TrackInfo) {
        // No two tracks of a room have one id at a time: one that we have is a mistake or an attack.
        if self.publications.contains_key(&track.id) || !self.remotes.contains_key(&id) {
            return;
        }
        self.take_id(track.id, id);
        let Some(remote) = self.remotes.get_mut(&id) else { return };
        match remote.tracks.insert(track.id, track.clone()) {
            None => {
                self.owners.insert(track.id, id);
                self.events.push_back(PeerEvent::TrackPublished { participant: id, track });
            }
            Some(before) if before.muted != track.muted => self.note_muted(id, track.id, track.muted),
            Some(_) => {}
        }
    }

    /// The relay gave an id away: whoever had it of a relay before this one, and has yet to return, will get another.
    pub(super) fn take_id(&mut self, track: TrackId, new: ParticipantId) {
        if let Some(owner) = self.owners.get(&track).copied().filter(|owner| *owner != new) {
            self.remove_track(owner, track);
        }
    }

    pub(super) fn remove_track(&mut self, id: ParticipantId, track: TrackId) {
        let Some(remote) = self.remotes.get_mut(&id) else { return };
        if remote.tracks.remove(&track).is_some() {
            remote.inc.handle_unpublished(track);
            self.owners.remove(&track);
            self.subscriptions.remove(&track);
            self.events.push_back(PeerEvent::TrackUnpublished { participant: id, track });
        }
    }

    pub(super) fn set_remote_muted(&mut self, id: ParticipantId, track: TrackId, muted: bool) {
        let Some(known) = self.remotes.get_mut(&id).and_then(|remote| remote.tracks.get_mut(&track)) else { return };
        if known.muted != muted {
            known.muted = muted;
            self.note_muted(id, track, muted);
        }
    }

    fn note_muted(&mut self, id: ParticipantId, track: TrackId, muted: bool) {
        if let Some(remote) = self.remotes.get_mut(&id).filter(|_| muted) {
            remote.inc.handle_silent(track);
        }
        self.events.push_back(PeerEvent::TrackMuted { participant: id, track, muted });
    }
}
