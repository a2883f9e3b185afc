//! A room on its shard: its forwarder, its members' transports, and its way back to the control plane.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use segue_forward::{LegIndex, LegParameters, RoomForwarder};
use segue_model::{ParticipantId, TrackKind};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::session::SessionKey;
use crate::media_plane::{DESCRIPTION_QUEUE, MediaBusy, MediaCommand, MediaEvent, ROSTER_QUEUE, RoomKey, TransportKind};

/// Events that must arrive and wait for a control plane that is busy. A room that has more is beyond help: its oldest go.
const MAX_BACKLOG: usize = 4_096;

/// Lossy messages one participant may send in a second: pointers and reactions, at the rate of frames, with room.
const DATA_PER_SECOND: u32 = 240;

/// Bytes of lossy messages one participant may send in a second: what a camera takes, and so what a downlink that bears one bears.
const DATA_BYTES_PER_SECOND: usize = 512 * 1024;

/// A room.
pub(super) struct Room {
    pub(super) key: RoomKey,
    pub(super) forwarder: RoomForwarder,
    /// Where packets of the forwarder's legs leave, by the leg: sessions of subscriber transports that are up.
    legs: Vec<Option<SessionKey>>,
    /// What its forwarder has to say is asked for at the end of the batch.
    pub(super) touched: bool,
    /// Media may wait in its forwarder.
    pub(super) loaded: bool,
    /// When its forwarder is woken, as the timers know it.
    pub(super) armed: Option<Instant>,
    pub(super) members: BTreeMap<ParticipantId, Member>,
    /// Commands that wait for this room; counted down here.
    pub(super) waiting: Arc<Waiting>,
    events: mpsc::Sender<MediaEvent>,
    backlog: VecDeque<MediaEvent>,
}

/// How many commands of a room wait for its shard, by what bounds them.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    roster: AtomicUsize,
    descriptions: AtomicUsize,
}

/// A participant.
pub(super) struct Member {
    /// Stamps and merges by origin.
    pub(super) origin: bool,
    pub(super) publish: bool,
    /// The relay offers it a transport to receive on.
    pub(super) subscribe: bool,
    /// It offers that transport itself.
    pub(super) offers: bool,
    pub(super) publisher: Option<PublisherLeg>,
    pub(super) subscriber: Option<SubscriberLeg>,
    pub(super) data: DataBudget,
}

/// The publisher transport as negotiated.
pub(super) struct PublisherLeg {
    pub(super) session: SessionKey,
    /// The client's fragment: another one restarts ICE.
    pub(super) ufrag: String,
    pub(super) sdp: SdpNumbers,
    pub(super) up: bool,
}

/// The subscriber transport as negotiated.
pub(super) struct SubscriberLeg {
    pub(super) session: SessionKey,
    /// Of the last offer.
    pub(super) generation: u32,
    /// No answer to it yet.
    pub(super) outstanding: bool,
    /// Sections came since the last offer.
    pub(super) stale: bool,
    /// Kinds of the sections of the last offer, in order.
    pub(super) sections: Vec<TrackKind>,
    /// From the last answer.
    pub(super) parameters: Option<LegParameters>,
    pub(super) sdp: SdpNumbers,
    pub(super) up: bool,
    /// Failures in a row.
    pub(super) failures: u32,
}

/// Numbers of the `o=` line.
#[derive(Clone, Copy, Debug)]
pub(super) struct SdpNumbers {
    pub(super) session: u64,
    pub(super) version: u64,
}

/// What a participant may still send in this second.
#[derive(Debug, Default)]
pub(super) struct DataBudget {
    second: Option<Instant>,
    sent: u32,
    bytes: usize,
}

impl Room {
    pub(super) const fn new(
        key: RoomKey,
        forwarder: RoomForwarder,
        events: mpsc::Sender<MediaEvent>,
        waiting: Arc<Waiting>,
    ) -> Self {
        Self {
            key,
            forwarder,
            legs: Vec::new(),
            touched: false,
            loaded: false,
            armed: None,
            members: BTreeMap::new(),
            waiting,
            events,
            backlog: VecDeque::new(),
        }
    }

    /// Where the packets of a leg leave.
    pub(super) fn leg(&self, leg: LegIndex) -> Option<SessionKey> {
        self.legs.get(leg.0 as usize).copied().flatten()
    }

    /// A participant's packets leave here from now on, or nowhere.
    pub(super) fn set_leg(&mut self, participant: ParticipantId, session: Option<SessionKey>) {
        let Some(LegIndex(place)) = self.forwarder.leg_index(participant) else { return };
        if self.legs.len() <= place as usize {
            self.legs.resize(place as usize + 1, None);
        }
        if let Some(leg) = self.legs.get_mut(place as usize) {
            *leg = session;
        }
    }

    /// Queues what must arrive. False where it has to wait.
    pub(super) fn emit(&mut self, event: MediaEvent) -> bool {
        self.backlog.push_back(event);
        if self.backlog.len() > MAX_BACKLOG {
            self.backlog.pop_front();
        }
        self.catch_up()
    }

    /// Queues what is only current. False where it was dropped.
    pub(super) fn emit_current(&mut self, event: MediaEvent) -> bool {
        self.backlog.is_empty() && !matches!(self.events.try_send(event), Err(TrySendError::Full(_)))
    }

    /// Sends what waits; true where nothing waits any more.
    pub(super) fn catch_up(&mut self) -> bool {
        while let Some(event) = self.backlog.pop_front() {
            if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                self.backlog.push_front(event);
                return false;
            }
        }
        true
    }
}

impl Waiting {
    /// One more waits, if it may.
    pub(super) fn enter(&self, command: &MediaCommand) -> Result<(), MediaBusy> {
        let (waiting, limit) = self.of(command);
        let more = |waiting: usize| (waiting < limit).then_some(waiting + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(|_| ()).map_err(|_| MediaBusy)
    }

    /// One was handled.
    pub(super) fn leave(&self, command: &MediaCommand) {
        self.of(command).0.fetch_sub(1, Ordering::Relaxed);
    }

    const fn of(&self, command: &MediaCommand) -> (&AtomicUsize, usize) {
        match command {
            MediaCommand::Forward(_) => (&self.roster, ROSTER_QUEUE),
            MediaCommand::PublisherOffer { .. }
            | MediaCommand::SubscriberAnswer { .. }
            | MediaCommand::SubscriberOffer { .. }
            | MediaCommand::RestartIce { .. }
            | MediaCommand::Candidate { .. } => (&self.descriptions, DESCRIPTION_QUEUE),
        }
    }
}

impl Member {
    /// Whether `session` is the one in use for `kind`.
    pub(super) fn is_current(&self, kind: TransportKind, session: SessionKey) -> bool {
        let current = match kind {
            TransportKind::Publisher => self.publisher.as_ref().map(|leg| leg.session),
            TransportKind::Subscriber => self.subscriber.as_ref().map(|leg| leg.session),
        };
        current == Some(session)
    }
}

impl SdpNumbers {
    pub(super) const fn advance(&mut self) {
        self.version += 1;
    }
}

impl DataBudget {
    /// Whether one more of so many bytes may be sent.
    pub(super) fn take(&mut self, now: Instant, bytes: usize) -> bool {
        if self.second.is_none_or(|second| now.saturating_duration_since(second) >= Duration::from_secs(1)) {
            *self = Self { second: Some(now), sent: 0, bytes: 0 };
        }
        let fits = self.sent < DATA_PER_SECOND && self.bytes.saturating_add(bytes) <= DATA_BYTES_PER_SECOND;
        if fits {
            self.sent += 1;
            self.bytes += bytes;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use segue_forward::ForwarderConfig;

    use super::*;

    #[test]
    fn what_must_arrive_waits_and_what_is_current_does_not() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut room = Room::new(RoomKey(1), RoomForwarder::new(ForwarderConfig::default()), sender, Arc::default());
        let speakers = |level| MediaEvent::Speakers { speakers: vec![(ParticipantId(1), level)] };
        assert!(room.emit(speakers(1)));
        assert!(!room.emit_current(speakers(2)));
        assert!(!room.emit(speakers(3)));
        assert!(!room.emit_current(speakers(4)));
        let level = |event| match event {
            Ok(MediaEvent::Speakers { speakers }) => speakers[0].1,
            _ => 0,
        };
        assert_eq!(level(receiver.try_recv()), 1);
        assert!(room.catch_up());
        assert_eq!(level(receiver.try_recv()), 3);
        assert!(room.emit_current(speakers(5)));
    }

    #[test]
    fn a_room_that_joins_at_once_does_not_crowd_out_its_descriptions() {
        use segue_session::room::{ForwardCommand, MAX_PARTICIPANTS};
        let (publisher, subscriber) = (ParticipantId(1), ParticipantId(2));
        let edge =
            MediaCommand::Forward(ForwardCommand::Edge { publisher, subscriber, on: true, overlap: false, voice_only: false });
        let answer = MediaCommand::SubscriberAnswer { participant: subscriber, generation: 1, sdp: String::new() };
        let waiting = Waiting::default();
        assert!((0..MAX_PARTICIPANTS * (MAX_PARTICIPANTS - 1)).all(|_| waiting.enter(&edge).is_ok()));
        assert_eq!((0..2 * DESCRIPTION_QUEUE).filter(|_| waiting.enter(&answer).is_ok()).count(), DESCRIPTION_QUEUE);
        waiting.leave(&answer);
        assert!(waiting.enter(&answer).is_ok());
    }

    #[test]
    fn data_is_limited_by_the_second() {
        let start = super::super::clock::now();
        let mut budget = DataBudget::default();
        let taken = (0..1_000).filter(|_| budget.take(start, 100)).count();
        assert_eq!(taken, DATA_PER_SECOND as usize);
        let later = start + Duration::from_secs(1);
        let taken = (0..1_000).filter(|_| budget.take(later, 15 * 1024)).count();
        assert_eq!(taken, DATA_BYTES_PER_SECOND / (15 * 1024));
        // What is small still fits.
        assert!(budget.take(later, 1024));
        assert!(!budget.take(later + Duration::from_secs(1), DATA_BYTES_PER_SECOND + 1));
    }
}
