//! Numbered, acknowledged, resumable frames over a connection that may break: the same on both of its sides.
//!
//! Under it lies an ordered transport (a WebSocket), so that a connection loses nothing while it lives; what was in it when it died is
//! sent again on the next one. Frames count from 1; `seq` 0 marks what lives for one connection only (acknowledgements, pings, the
//! resume handshake).

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_wire::proto::{ClientFrame, ServerFrame, client_frame, server_frame};

/// Most frames held for an acknowledgement: a join of a full room is about 300 frames, so this many means that the other side has
/// stopped reading.
pub const MAX_UNACKNOWLEDGED: usize = 2048;

/// Most bytes held for an acknowledgement: a hundred descriptions of a large browser offer.
pub const MAX_UNACKNOWLEDGED_BYTES: usize = 4 * 1024 * 1024;

/// An acknowledgement waits this long for a frame to ride on.
pub const ACK_DELAY: Duration = Duration::from_millis(200);

/// An acknowledgement waits for no more frames than this.
pub const ACK_EVERY: u64 = 32;

/// One frame of one direction.
pub trait Frame: Sized {
    /// What it carries.
    type Message: Clone;

    /// A frame; without a message it only acknowledges.
    fn new(seq: u64, ack: u64, message: Option<Self::Message>) -> Self;
    /// Its number, 0 for one that is not numbered.
    fn seq(&self) -> u64;
    /// The highest contiguous number its sender has handled.
    fn ack(&self) -> u64;
    /// What it carries.
    fn into_message(self) -> Option<Self::Message>;
    /// Length of the message in bytes, as protobuf.
    fn message_len(message: &Self::Message) -> usize;
}

macro_rules! frame {
    ($frame:ident, $module:ident) => {
        impl Frame for $frame {
            type Message = $module::Message;

            fn new(seq: u64, ack: u64, message: Option<Self::Message>) -> Self {
                Self { seq, ack, message }
            }

            fn seq(&self) -> u64 {
                self.seq
            }

            fn ack(&self) -> u64 {
                self.ack
            }

            fn into_message(self) -> Option<Self::Message> {
                self.message
            }

            fn message_len(message: &Self::Message) -> usize {
                message.encoded_len()
            }
        }
    };
}

frame!(ClientFrame, client_frame);
frame!(ServerFrame, server_frame);

/// The client's side.
pub type ClientCarrier = Carrier<ClientFrame, ServerFrame>;

/// The relay's side.
pub type ServerCarrier = Carrier<ServerFrame, ClientFrame>;

/// Why a carrier gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarrierError {
    /// Too much waits for an acknowledgement.
    #[error("too slow: {frames} frames of {bytes} bytes wait for an acknowledgement; read faster or join again")]
    TooSlow {
        /// Frames waiting.
        frames: usize,
        /// Bytes waiting.
        bytes: usize,
    },
    /// A number is missing although the transport is ordered.
    #[error("frame {got} came where {expected} was due; send frames in order")]
    Gap {
        /// The number that was due.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// Acknowledges what was never sent, or asks to resume from what is no longer held.
    #[error("frame {ack} is acknowledged, {lowest} to {highest} are known; join again")]
    BadAck {
        /// What was acknowledged.
        ack: u64,
        /// Lowest number that could be.
        lowest: u64,
        /// Highest number that could be.
        highest: u64,
    },
}

struct Held<M> {
    seq: u64,
    bytes: usize,
    message: M,
}

/// One side of the connection.
pub struct Carrier<Out: Frame, In: Frame> {
    /// Numbered frames the other side has not acknowledged, oldest first.
    held: VecDeque<Held<Out::Message>>,
    held_bytes: usize,
    next_seq: u64,
    /// The next held frame to hand to this connection.
    next_out: u64,
    /// Frames of this connection only; they go first.
    unnumbered: VecDeque<Out::Message>,
    open: bool,
    /// Between [`Carrier::reopen`] and [`Carrier::resume`] nobody knows from where to send.
    resuming: bool,
    handled: u64,
    acked: u64,
    ack_due: Option<Instant>,
    incoming: std::marker::PhantomData<fn(In)>,
}

impl<Out: Frame, In: Frame> Default for Carrier<Out, In> {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
            held_bytes: 0,
            next_seq: 1,
            next_out: 1,
            unnumbered: VecDeque::new(),
            open: false,
            resuming: false,
            handled: 0,
            acked: 0,
            ack_due: None,
            incoming: std::marker::PhantomData,
        }
    }
}

impl<Out: Frame, In: Frame> Carrier<Out, In> {
    /// A carrier without a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new session begins on a new connection: nothing of the old one is remembered.
    pub fn open(&mut self) {
        *self = Self { open: true, ..Self::default() };
    }

    /// The connection died. Numbered frames are kept for the next one.
    pub fn close(&mut self) {
        self.open = false;
        self.unnumbered.clear();
        self.ack_due = None;
    }

    /// A new connection for the old session. Only unnumbered frames pass until [`Carrier::resume`].
    pub fn reopen(&mut self) {
        self.close();
        self.open = true;
        self.resuming = true;
    }

    /// The other side has handled everything up to `ack`: what it lacks goes out again.
    ///
    /// # Errors
    /// [`CarrierError::BadAck`]: the session cannot be resumed.
    pub fn resume(&mut self, ack: u64) -> Result<(), CarrierError> {
        self.handle_ack(ack)?;
        self.next_out = self.held.front().map_or(self.next_seq, |held| held.seq);
        self.resuming = false;
        Ok(())
    }

    /// Numbers a message and sends it, now or on the next connection.
    ///
    /// # Errors
    /// [`CarrierError::TooSlow`]: nothing was queued; end the session.
    pub fn send(&mut self, message: Out::Message) -> Result<(), CarrierError> {
        let bytes = Out::message_len(&message);
        if self.held.len() >= MAX_UNACKNOWLEDGED || self.held_bytes.saturating_add(bytes) > MAX_UNACKNOWLEDGED_BYTES {
            return Err(CarrierError::TooSlow { frames: self.held.len(), bytes: self.held_bytes });
        }
        self.held.push_back(Held { seq: self.next_seq, bytes, message });
        self.held_bytes += bytes;
        self.next_seq += 1;
        Ok(())
    }

    /// Sends a message that lives for this connection only (ping, resume); dropped where there is none.
    pub fn send_unnumbered(&mut self, message: Out::Message) {
        if self.open && self.unnumbered.len() < MAX_UNACKNOWLEDGED {
            self.unnumbered.push_back(message);
        }
    }

    /// A frame came. Gives its message, `None` for a repeated one or a bare acknowledgement.
    ///
    /// # Errors
    /// A gap or an impossible acknowledgement: the other side misbehaves, end the connection.
    pub fn handle_frame(&mut self, now: Instant, frame: In) -> Result<Option<In::Message>, CarrierError> {
        self.handle_ack(frame.ack())?;
        let seq = frame.seq();
        if seq == 0 {
            return Ok(frame.into_message());
        }
        if seq > self.handled + 1 {
            return Err(CarrierError::Gap { expected: self.handled + 1, got: seq });
        }
        // A repeated frame is acknowledged too: its sender has not seen the first acknowledgement.
        let due = if self.handled - self.acked >= ACK_EVERY { now } else { now + ACK_DELAY };
        self.ack_due = Some(self.ack_due.map_or(due, |at| at.min(due)));
        if seq <= self.handled {
            return Ok(None);
        }
        self.handled = seq;
        Ok(frame.into_message())
    }

    /// Highest contiguous number handled.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.handled
    }

    /// Frames and bytes that wait for an acknowledgement.
    #[must_use]
    pub fn unacknowledged(&self) -> (usize, usize) {
        (self.held.len(), self.held_bytes)
    }

    /// When [`Carrier::poll_transmit`] has an acknowledgement to send.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ack_due.filter(|_| self.open)
    }

    /// The next frame for the connection.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Out> {
        if !self.open {
            return None;
        }
        let (seq, message) = if let Some(message) = self.unnumbered.pop_front() {
            (0, Some(message))
        } else if let Some(held) = self.held_from(self.next_out).filter(|_| !self.resuming) {
            let next = (held.seq, Some(held.message.clone()));
            self.next_out = next.0 + 1;
            next
        } else if self.ack_due.is_some_and(|due| due <= now) {
            (0, None)
        } else {
            return None;
        };
        self.acked = self.handled;
        self.ack_due = None;
        Some(Out::new(seq, self.handled, message))
    }

    fn held_from(&self, seq: u64) -> Option<&Held<Out::Message>> {
        let first = self.held.front()?.seq;
        self.held.get(usize::try_from(seq.saturating_sub(first)).ok()?)
    }

    fn handle_ack(&mut self, ack: u64) -> Result<(), CarrierError> {
        let lowest = self.held.front().map_or(self.next_seq, |held| held.seq) - 1;
        let highest = self.next_seq - 1;
        if ack > highest {
            return Err(CarrierError::BadAck { ack, lowest, highest });
        }
        while self.held.front().is_some_and(|held| held.seq <= ack) {
            if let Some(held) = self.held.pop_front() {
                self.held_bytes -= held.bytes;
            }
        }
        Ok(())
    }
}
