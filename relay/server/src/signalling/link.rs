//! What a room holds of a connection: a bounded queue of frames, and the means to cut it off.

use std::sync::atomic::{AtomicU64, Ordering};

use segue_session::carrier::MAX_UNACKNOWLEDGED;
use segue_wire::proto::{self, ServerFrame, server_frame};
use tokio::sync::{mpsc, oneshot};

/// Frames that may wait to be written: all that a carrier holds, and as many that are not numbered. What they weigh is bounded by the
/// carrier.
const QUEUE: usize = 2 * MAX_UNACKNOWLEDGED;

/// A connection's number in this process: tells frames of an old connection from those of the one that resumed its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(u64);

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The room's end. Dropping it lets the connection write what is queued and close.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    queue: mpsc::Sender<ServerFrame>,
    cut: oneshot::Sender<ServerFrame>,
}

/// The connection's end.
pub(crate) struct LinkOutput {
    pub(crate) queue: mpsc::Receiver<ServerFrame>,
    /// Skip what is queued, try to write this, and close.
    pub(crate) cut: oneshot::Receiver<ServerFrame>,
}

/// The queue is full or the connection gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undelivered {
    Full,
    Gone,
}

impl Link {
    pub(crate) fn new() -> (Self, LinkOutput) {
        let (queue, queued) = mpsc::channel(QUEUE);
        let (cut, cut_off) = oneshot::channel();
        let id = LinkId(NEXT.fetch_add(1, Ordering::Relaxed));
        (Self { id, queue, cut }, LinkOutput { queue: queued, cut: cut_off })
    }

    /// Queues a frame.
    pub(crate) fn send(&self, frame: ServerFrame) -> Result<(), Undelivered> {
        self.queue.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Undelivered::Full,
            mpsc::error::TrySendError::Closed(_) => Undelivered::Gone,
        })
    }

    /// Queues a message without a number.
    pub(crate) fn send_bare(&self, message: server_frame::Message) -> Result<(), Undelivered> {
        self.send(ServerFrame { seq: 0, ack: 0, message: Some(message) })
    }

    /// Says goodbye after what is queued, and closes.
    pub(crate) fn end(self, goodbye: proto::Goodbye) {
        if self.send_bare(server_frame::Message::Goodbye(goodbye.clone())).is_err() {
            self.cut_off(goodbye);
        }
    }

    /// Says goodbye at once, as far as the client reads at all, and closes.
    pub(crate) fn cut_off(self, goodbye: proto::Goodbye) {
        let message = Some(server_frame::Message::Goodbye(goodbye));
        // A connection that is gone already needs no goodbye.
        let _ = self.cut.send(ServerFrame { seq: 0, ack: 0, message });
    }
}
