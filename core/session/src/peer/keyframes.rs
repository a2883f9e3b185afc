//! Who needs a keyframe of what we publish, and when one is made.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segue_model::{EncodingId, ParticipantId, Path, TrackId, TrackKind};
use segue_wire::proto;

use super::{LegKey, PeerEvent, PeerMachine, convert};
use crate::handover::{NEWCOMER_HOLD, PathState};

/// Keyframe requests for one encoding are answered at most this often, over all legs together.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// Requests for keyframes of our encodings.
#[derive(Debug, Default)]
pub(super) struct Keyframes {
    gates: BTreeMap<(TrackId, EncodingId), Gate>,
    /// Asked for by the relay, and made at this time or when nothing moves any more.
    held: BTreeMap<(TrackId, EncodingId), Instant>,
}

/// Of one encoding.
#[derive(Clone, Copy, Debug)]
struct Gate {
    answered: Instant,
    /// Somebody asked since.
    waiting: bool,
}

impl Keyframes {
    pub(super) fn remove(&mut self, track: TrackId) {
        self.gates.retain(|(of, _), _| *of != track);
        self.held.retain(|(of, _), _| *of != track);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let gates = self.gates.values().map(|gate| gate.answered + KEYFRAME_INTERVAL);
        gates.chain(self.held.values().copied()).min()
    }
}

impl PeerMachine {
    pub(super) fn handle_keyframe_signal(&mut self, now: Instant, from: ParticipantId, request: proto::KeyframeRequest) {
        let encoding =
            u8::try_from(request.encoding).ok().filter(|encoding| usize::from(*encoding) < segue_model::MAX_ENCODINGS);
        if let (Some(track), Some(encoding)) = (convert::track_id(request.track), encoding)
            && self.remotes.contains_key(&from)
        {
            self.handle_keyframe_request(now, track, EncodingId(encoding));
        }
    }

    /// Somebody on a leg needs a keyframe. One that would go to everybody who needs none, in front of all that moves, waits for the move.
    pub(super) fn handle_leg_keyframe(&mut self, now: Instant, leg: LegKey, track: TrackId, encoding: EncodingId) {
        if leg == LegKey::RelayPublisher && self.is_direct(track, encoding) && self.keyframes_wait() {
            self.keyframes.held.entry((track, encoding)).or_insert(now + NEWCOMER_HOLD);
        } else {
            self.handle_keyframe_request(now, track, encoding);
        }
    }

    /// Whether an encoding goes on direct legs.
    fn is_direct(&self, track: TrackId, encoding: EncodingId) -> bool {
        let legs = self.routes.get(&track).into_iter().flatten();
        legs.filter(|leg| leg.leg != LegKey::RelayPublisher).any(|leg| leg.encodings.contains(&encoding))
    }

    /// Our edges move to the relay, and none to somebody who does not merge: that one is ready when it decodes what the relay brings, and
    /// needs a keyframe of it.
    fn keyframes_wait(&self) -> bool {
        let decodes_anew = self.remotes.values().any(|remote| remote.out.in_overlap() && !remote.out.is_proving());
        self.moves_to_relay() && !decodes_anew
    }

    /// An edge of ours is to be on the relay, could be, and is not yet. Whoever cannot reach the relay, and whoever was tried in vain, holds
    /// nothing up.
    pub(super) fn moves_to_relay(&self) -> bool {
        self.remotes.values().any(|remote| {
            let wished = self.wished_path(&remote.info).0 == Path::Relayed;
            wished && remote.out.may_leave_direct() && self.relayed_state(remote) == PathState::Up
        })
    }

    fn handle_keyframe_request(&mut self, now: Instant, track: TrackId, encoding: EncodingId) {
        if self.publications.get(&track).is_none_or(|track| track.kind != TrackKind::Video) {
            return;
        }
        match self.keyframes.gates.get_mut(&(track, encoding)) {
            Some(gate) if now < gate.answered + KEYFRAME_INTERVAL => gate.waiting = true,
            _ => self.make_keyframe(now, track, encoding),
        }
    }

    /// A keyframe is made whatever was made before.
    pub(super) fn make_keyframe(&mut self, now: Instant, track: TrackId, encoding: EncodingId) {
        self.keyframes.gates.insert((track, encoding), Gate { answered: now, waiting: false });
        self.events.push_back(PeerEvent::KeyframeRequested { track, encoding });
    }

    /// Makes the keyframes whose time has come.
    pub(super) fn release_keyframes(&mut self, now: Instant) {
        let wait = !self.keyframes.held.is_empty() && self.keyframes_wait();
        let mut due: Vec<_> = self.keyframes.held.iter().filter(|(_, at)| !wait || **at <= now).map(|(key, _)| *key).collect();
        self.keyframes.held.retain(|_, at| wait && *at > now);
        let over = |gate: &Gate| gate.answered + KEYFRAME_INTERVAL <= now;
        due.extend(self.keyframes.gates.iter().filter(|(_, gate)| over(gate) && gate.waiting).map(|(key, _)| *key));
        self.keyframes.gates.retain(|_, gate| !over(gate));
        for (track, encoding) in due {
            self.handle_keyframe_request(now, track, encoding);
        }
    }
}
