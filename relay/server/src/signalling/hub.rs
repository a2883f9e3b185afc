//! All rooms of the relay.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::rand::SystemRandom;
use segue_session::room::RoomConfig;
use segue_wire::proto;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::admission::JoinError;
use super::room_task::{RoomInput, RoomTask};
use crate::auth::Keys;
use crate::media_plane::{MediaPlane, RoomKey};
use crate::metrics::Metrics;

/// Frames that may wait for a room, of all its connections together. Their tasks wait with reading when it is full.
const ROOM_QUEUE: usize = 1024;

/// How often a relay that drains looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(100);

/// Connections that are open when the relay stops have this long to close; those of clients that do not read need all of it.
const CLOSING: Duration = Duration::from_secs(4);

struct OpenRoom {
    key: RoomKey,
    inputs: mpsc::Sender<RoomInput>,
    task: JoinHandle<()>,
}

/// The rooms, and what they share.
pub(crate) struct Hub {
    pub(crate) keys: Keys,
    pub(crate) random: SystemRandom,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) media: Arc<dyn MediaPlane>,
    template: RoomConfig,
    max_rooms: usize,
    rooms: Mutex<BTreeMap<String, OpenRoom>>,
    next_key: AtomicU64,
    closing: AtomicBool,
    /// No more rooms: those that are open come to their end.
    draining: AtomicBool,
    connections: watch::Sender<usize>,
}

/// One open connection, counted until it is dropped.
pub(super) struct CountedConnection(Arc<Hub>);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.connections.send_modify(|open| *open = open.saturating_sub(1));
        self.0.metrics.connections.add(-1);
    }
}

impl Hub {
    pub(crate) fn new(
        keys: Keys,
        template: RoomConfig,
        max_rooms: usize,
        media: Arc<dyn MediaPlane>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            keys,
            random: SystemRandom::new(),
            metrics,
            media,
            template,
            max_rooms,
            rooms: Mutex::default(),
            next_key: AtomicU64::new(1),
            closing: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            connections: watch::Sender::new(0),
        })
    }

    /// The queue of a room, which is opened where it is not.
    pub(super) fn open(self: &Arc<Self>, name: &str) -> Result<mpsc::Sender<RoomInput>, JoinError> {
        let mut rooms = self.lock();
        // Read under the lock: a room opened after `close` has taken the others would never be closed.
        if self.closing.load(Ordering::Acquire) {
            return Err(JoinError::Closing);
        }
        if let Some(room) = rooms.get(name).filter(|room| !room.inputs.is_closed()) {
            let full = self.media.is_full(Some(room.key));
            return if full { Err(JoinError::Overloaded) } else { Ok(room.inputs.clone()) };
        }
        if self.draining.load(Ordering::Acquire) {
            return Err(JoinError::Closing);
        }
        if self.media.is_full(None) {
            return Err(JoinError::Overloaded);
        }
        if rooms.len() >= self.max_rooms {
            return Err(JoinError::Rooms(self.max_rooms));
        }
        let key = RoomKey(self.next_key.fetch_add(1, Ordering::Relaxed));
        let config = RoomConfig { name: name.to_owned(), ..self.template.clone() };
        let (inputs, received) = mpsc::channel(ROOM_QUEUE);
        let task = tokio::spawn(RoomTask::new(self.clone(), key, config).run(received));
        rooms.insert(name.to_owned(), OpenRoom { key, inputs: inputs.clone(), task });
        Ok(inputs)
    }

    /// The queue of a room that is open.
    pub(super) fn find(&self, name: &str) -> Option<mpsc::Sender<RoomInput>> {
        self.lock().get(name).map(|room| room.inputs.clone())
    }

    /// A room's task is about to end: nobody finds it from here on, except those who have its queue already.
    pub(super) fn forget(&self, name: &str, closing: &mut mpsc::Receiver<RoomInput>) {
        let mut rooms = self.lock();
        closing.close();
        // One of the same name may have been opened already.
        if rooms.get(name).is_some_and(|room| room.inputs.is_closed()) {
            rooms.remove(name);
        }
    }

    pub(super) fn count_connection(self: &Arc<Self>) -> CountedConnection {
        self.connections.send_modify(|open| *open += 1);
        self.metrics.connections.add(1);
        CountedConnection(self.clone())
    }

    /// Opens no more rooms, and waits until those that are open have ended, at most so long.
    pub(crate) async fn drain(&self, at_most: Duration) {
        self.draining.store(true, Ordering::Release);
        let mut look = tokio::time::interval(DRAIN_LOOK);
        let rooms: Vec<_> = self.lock().values().map(|room| room.inputs.clone()).collect();
        let ended = async {
            for room in rooms {
                // A room that is gone has ended.
                let _ = room.send(RoomInput::Drain).await;
            }
            while !self.lock().is_empty() {
                look.tick().await;
            }
        };
        let _ = timeout(at_most, ended).await;
    }

    /// No more rooms are opened.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Ends every session with the same words, and waits a moment until they are said and connections have closed.
    pub(crate) async fn close(&self, goodbye: &proto::Goodbye) {
        let rooms = {
            let mut rooms = self.lock();
            self.closing.store(true, Ordering::Release);
            std::mem::take(&mut *rooms)
        };
        for room in rooms.values() {
            // A room that is gone has nobody to tell.
            let _ = room.inputs.send(RoomInput::Close(goodbye.clone())).await;
        }
        for room in rooms.into_values() {
            let _ = room.task.await;
        }
        let mut open = self.connections.subscribe();
        let _ = timeout(CLOSING, open.wait_for(|open| *open == 0)).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, OpenRoom>> {
        // Nothing that can panic runs under the lock; a poisoned map is still a map.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
