//! The transports of a shard, in a slab.

use segue_media::heartbeat::Heartbeats;
use segue_model::ParticipantId;

use crate::media_plane::{RoomKey, TransportKind};
use crate::transport::TransportSession;

/// A session's place in the slab and which of the sessions that were there it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SessionKey {
    index: u32,
    generation: u32,
}

/// One transport of one participant.
pub(super) struct Session {
    pub(super) room: RoomKey,
    /// The room's place on the shard: a session never outlives its room.
    pub(super) place: usize,
    pub(super) participant: ParticipantId,
    pub(super) kind: TransportKind,
    pub(super) transport: TransportSession,
    /// Fragments of ours that lead here.
    pub(super) ufrags: Vec<String>,
    /// SDK peers only, from the moment DTLS is through.
    pub(super) heartbeats: Option<Heartbeats>,
    /// Media may come this way.
    pub(super) publishes: bool,
    /// A packet could not be sealed, and the log knows.
    pub(super) seal_refused: bool,
}

/// All sessions of a shard.
#[derive(Default)]
pub(super) struct Sessions {
    entries: Vec<(u32, Option<Session>)>,
    free: Vec<u32>,
    len: usize,
}

impl Sessions {
    pub(super) fn insert(&mut self, session: Session) -> SessionKey {
        self.len += 1;
        let index = self.free.pop().unwrap_or(self.entries.len() as u32);
        if self.entries.len() as u32 == index {
            self.entries.push((0, None));
        }
        let mut generation = 0;
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.0 = entry.0.wrapping_add(1);
            entry.1 = Some(session);
            generation = entry.0;
        }
        SessionKey { index, generation }
    }

    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        let (generation, session) = self.entries.get_mut(key.index as usize)?;
        session.as_mut().filter(|_| *generation == key.generation)
    }

    pub(super) fn remove(&mut self, key: SessionKey) -> Option<Session> {
        let (generation, session) = self.entries.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let session = session.take()?;
        self.free.push(key.index);
        self.len -= 1;
        Some(session)
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.entries.iter_mut().filter_map(|(_, session)| session.as_mut())
    }
}

/// A transport has room for every SSRC a subscriber can ever have: none is refused however long the call.
const _: () = assert!(segue_forward::MAX_SSRCS <= segue_srtp::MAX_STREAMS);
