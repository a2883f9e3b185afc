//! What the task of a room and the application's handles look at together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use segue_model::{ParticipantId, Topology, TrackId};
use segue_session::peer::{ParticipantInfo, PathInfo, TrackInfo};
use tokio::sync::mpsc;

use super::remote::{RemoteParticipant, RemoteTrack};
use super::request::Request;
use crate::event::{ConnectionState, RoomEvent};
use crate::stream::{FrameSink, FrameStream, frames};

/// Events that may wait for a reader. A room of 512 joins and publishes within this.
const MAX_EVENTS: usize = 4_096;

/// The room as its handles see it; written by the room's task only.
pub(crate) struct Shared {
    pub(crate) requests: mpsc::Sender<Request>,
    view: Mutex<View>,
    events: Mutex<Hub>,
}

/// The last known state.
pub(crate) struct View {
    pub(crate) room: String,
    pub(crate) local: Option<ParticipantInfo>,
    pub(crate) state: ConnectionState,
    pub(crate) topology: Topology,
    pub(crate) paths: Vec<PathInfo>,
    pub(crate) participants: BTreeMap<ParticipantId, RemoteParticipant>,
    pub(crate) tracks: BTreeMap<TrackId, RemoteTrack>,
}

struct Hub {
    sinks: Vec<FrameSink<RoomEvent>>,
    /// What happened before anybody listened.
    early: VecDeque<RoomEvent>,
    listened: bool,
    /// The room was left: a stream made now ends at once.
    ended: bool,
}

impl Shared {
    pub(crate) fn new(requests: mpsc::Sender<Request>) -> Arc<Self> {
        let view = View {
            room: String::new(),
            local: None,
            state: ConnectionState::Connecting,
            topology: Topology::Mesh,
            paths: Vec::new(),
            participants: BTreeMap::new(),
            tracks: BTreeMap::new(),
        };
        let hub = Hub { sinks: Vec::new(), early: VecDeque::new(), listened: false, ended: false };
        Arc::new(Self { requests, view: Mutex::new(view), events: Mutex::new(hub) })
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells every reader.
    pub(crate) fn emit(&self, event: &RoomEvent) {
        let mut hub = self.hub();
        if !hub.listened {
            if hub.early.len() < MAX_EVENTS {
                hub.early.push_back(event.clone());
            }
            return;
        }
        hub.sinks.retain(|sink| sink.push(event.clone()));
    }

    /// A new reader; the first one also gets what happened before.
    pub(crate) fn listen(&self) -> FrameStream<RoomEvent> {
        let (sink, stream) = frames(MAX_EVENTS);
        let mut hub = self.hub();
        for event in std::mem::take(&mut hub.early) {
            sink.push(event);
        }
        hub.listened = true;
        if !hub.ended {
            hub.sinks.push(sink);
        }
        stream
    }

    /// No event follows.
    pub(crate) fn end_events(&self) {
        let mut hub = self.hub();
        hub.ended = true;
        hub.sinks.clear();
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// A participant that came; known already where the room was joined anew.
    pub(crate) fn add_participant(&mut self, info: ParticipantInfo, shared: &Arc<Shared>) -> RemoteParticipant {
        let participant = RemoteParticipant::new(info, shared);
        self.participants.insert(participant.id(), participant.clone());
        participant
    }

    /// A track that was published.
    pub(crate) fn add_track(&mut self, participant: ParticipantId, info: TrackInfo, shared: &Arc<Shared>) -> RemoteTrack {
        let track = RemoteTrack::new(participant, info, shared);
        self.tracks.insert(track.id(), track.clone());
        track
    }
}
