//! Datagrams in, datagrams out.

use std::net::SocketAddr;
use std::time::Instant;

use segue_forward::{Direction, ForwardEvent, LegIndex, RtcpOut};
use segue_media::heartbeat::{HeartbeatEvent, Heartbeats};
use segue_media::packet::{DatagramKind, RtcpPacket, classify, parse_compound, write_compound};
use segue_model::{Ssrc, TrackKind};

use super::egress::{Burst, Outlet};
use super::metrics::Figure;
use super::session::SessionKey;
use super::worker::{Shard, Timer};
use crate::media_plane::{MediaEvent, RoomKey, TransportKind, TransportState};
use crate::transport::{Inbound, RTCP_ROOM, Route, TransportEvent, answer_stun};

/// Bytes of media that may wait to be sent on, less than a cache holds: what is held must not be gone when its time comes.
const MAX_UNSENT: usize = segue_forward::CACHE_BYTES / 3;

/// What is counted of a datagram that belongs to no transport.
fn stray(datagram: &[u8]) -> Figure {
    match classify(datagram) {
        DatagramKind::Stun => Figure::StrayChecks,
        DatagramKind::Dtls => Figure::StrayHandshakes,
        DatagramKind::Rtp | DatagramKind::Rtcp => Figure::StrayMedia,
        DatagramKind::Unknown => Figure::StrayGarbage,
    }
}

impl Shard {
    /// One datagram; RTP and RTCP are opened in place.
    pub(super) fn handle_datagram(&mut self, now: Instant, sender: &dyn Outlet, from: SocketAddr, datagram: &mut [u8]) {
        self.metrics.add(Figure::DatagramsIn, 1);
        match self.demux.route(from, datagram) {
            Route::Session(key) => {
                self.take_datagram(now, sender, key, from, datagram);
            }
            Route::Contested => self.handle_contested(now, sender, from, datagram),
            Route::PlainStun => {
                if answer_stun(datagram, from, &mut self.scratch) {
                    send(sender, &self.metrics, Burst { to: from, bytes: &self.scratch, segment: None });
                }
            }
            Route::Unknown => self.metrics.add(stray(datagram), 1),
        }
    }

    /// A datagram from an address that several sessions claim: media and data go to the one that opens them, a handshake to the
    /// first that is still at it.
    fn handle_contested(&mut self, now: Instant, sender: &dyn Outlet, from: SocketAddr, datagram: &mut [u8]) {
        let claimants = self.demux.claimants(from);
        if is_handshake(datagram) {
            let connects =
                |key: &SessionKey| self.sessions.get_mut(*key).is_some_and(|session| session.transport.profile().is_none());
            if let Some(key) = claimants.iter().copied().find(connects).or(claimants.first().copied()) {
                self.take_datagram(now, sender, key, from, datagram);
            }
            return;
        }
        // What cannot be opened is not as it was before.
        let sealed = datagram.to_vec();
        for key in claimants {
            datagram.copy_from_slice(&sealed);
            if self.take_datagram(now, sender, key, from, datagram) {
                return;
            }
        }
    }

    /// A datagram for a session; whether it was media that the session opened.
    fn take_datagram(
        &mut self,
        now: Instant,
        sender: &dyn Outlet,
        key: SessionKey,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        match session.transport.handle_datagram(now, from, datagram) {
            Inbound::Rtp(len) => {
                if !session.publishes {
                    self.metrics.add(Figure::MediaRefused, 1);
                    return true;
                }
                let (place, participant) = (session.place, session.participant);
                let Some(room) = self.rooms.at_mut(place) else { return true };
                // Why a packet was refused is counted by the forwarder.
                let _ = room.forwarder.handle_rtp(now, participant, datagram.get(..len).unwrap_or_default());
                self.touch(place);
                self.unsent += len;
                if self.unsent > MAX_UNSENT {
                    self.send_all(now, sender);
                }
                true
            }
            Inbound::Rtcp(len) => {
                self.handle_rtcp(now, key, datagram.get(..len).unwrap_or_default());
                true
            }
            Inbound::Consumed => {
                self.service(now, sender, key);
                false
            }
        }
    }

    /// Everything that waits for the end of a batch.
    pub(super) fn end_batch(&mut self, now: Instant, sender: &dyn Outlet) {
        while let Some(place) = self.touched.pop() {
            let Some(room) = self.rooms.at_mut(place) else { continue };
            room.touched = false;
            let key = room.key;
            self.send_rtcp(now, sender, key);
            self.tell(now, sender, key);
            let Some(room) = self.rooms.at_mut(place) else { continue };
            let due = room.forwarder.poll_timeout();
            if room.armed != due {
                room.armed = due;
                self.timers.set(Timer::Room(key), due);
            }
        }
        self.send_kind(now, sender, TrackKind::Audio);
        if !self.holds(now) {
            self.send_all(now, sender);
        }
    }

    /// Whether video waits a little longer for more to leave with it: only where that saves work a shard is short of.
    fn holds(&mut self, now: Instant) -> bool {
        let Some(hold) = self.load.hold().filter(|_| !self.loaded.is_empty()) else { return false };
        *self.hold_until.get_or_insert(now + hold) > now
    }

    /// Sends all media that waits: audio of all rooms first.
    fn send_all(&mut self, now: Instant, sender: &dyn Outlet) {
        self.hold_until = None;
        self.unsent = 0;
        self.send_kind(now, sender, TrackKind::Audio);
        self.send_kind(now, sender, TrackKind::Video);
        for place in self.loaded.drain(..) {
            if let Some(room) = self.rooms.at_mut(place) {
                room.loaded = false;
            }
        }
    }

    /// Writes, seals and sends what waits of one kind of media, leg by leg.
    fn send_kind(&mut self, now: Instant, sender: &dyn Outlet, kind: TrackKind) {
        for at in 0..self.loaded.len() {
            let place = self.loaded.get(at).copied().unwrap_or(usize::MAX);
            while let Some(leg) = self.rooms.at_mut(place).and_then(|room| room.forwarder.poll_leg(kind)) {
                self.send_leg(now, sender, place, leg, kind);
            }
        }
        let (calls, failures) = self.slab.take_counts();
        self.metrics.add(Figure::SendCalls, calls);
        // A full queue of the kernel is congestion: what does not fit is lost, as on any link.
        self.metrics.add(Figure::SendFailures, failures);
    }

    fn send_leg(&mut self, now: Instant, sender: &dyn Outlet, place: usize, leg: LegIndex, kind: TrackKind) {
        let Some(room) = self.rooms.at_mut(place) else { return };
        let session = room.leg(leg).and_then(|key| self.sessions.get_mut(key));
        let to = session.as_ref().and_then(|session| session.transport.remote());
        let (Some(session), Some(to)) = (session, to) else {
            room.forwarder.discard(leg, kind);
            return;
        };
        while let Some(transmit) = room.forwarder.poll_transmit(now, leg, kind, self.slab.room()) {
            match session.transport.seal_rtp(transmit.index, self.slab.room(), transmit.len) {
                Ok(sealed) => self.slab.push(sealed, to, sender),
                Err(error) => {
                    self.metrics.add(Figure::SealRefused, 1);
                    if !std::mem::replace(&mut session.seal_refused, true) {
                        tracing::error!(participant = %transmit.to, %error, "a transport cannot send what it should");
                    }
                }
            }
        }
        self.slab.finish(to, sender);
    }

    fn send_rtcp(&mut self, now: Instant, sender: &dyn Outlet, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let mut waiting: Vec<(SessionKey, Vec<RtcpPacket>)> = Vec::new();
        while let Some(RtcpOut { to, direction, packets }) = room.forwarder.poll_rtcp() {
            let Some(member) = room.members.get(&to) else { continue };
            let session = match direction {
                Direction::Publish => member.publisher.as_ref().filter(|leg| leg.up).map(|leg| leg.session),
                Direction::Subscribe => member.subscriber.as_ref().filter(|leg| leg.up).map(|leg| leg.session),
            };
            let Some(session) = session else { continue };
            waiting.push((session, packets));
        }
        for (session, packets) in waiting {
            self.send_compound(now, sender, session, &packets);
        }
    }

    fn send_compound(&mut self, _now: Instant, sender: &dyn Outlet, key: SessionKey, packets: &[RtcpPacket]) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(to) = session.transport.remote() else { return };
        self.scratch.clear();
        write_compound(packets, &mut self.scratch);
        let len = self.scratch.len();
        self.scratch.resize(len + RTCP_ROOM, 0);
        if let Ok(sealed) = session.transport.seal_rtcp(&mut self.scratch, len) {
            let bytes = self.scratch.get(..sealed).unwrap_or_default();
            send(sender, &self.metrics, Burst { to, bytes, segment: None });
        }
    }

    fn handle_rtcp(&mut self, now: Instant, key: SessionKey, compound: &[u8]) {
        // A compound that is not well formed is dropped whole (RFC 3550 appendix A.2).
        let Ok(packets) = parse_compound(compound) else {
            self.metrics.add(Figure::MediaRefused, 1);
            return;
        };
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (place, participant, kind) = (session.place, session.participant, session.kind);
        let mut round_trip = None;
        for packet in &packets {
            if let (RtcpPacket::Heartbeat(heartbeat), Some(heartbeats)) = (packet, &mut session.heartbeats) {
                heartbeats.handle_heartbeat(now, heartbeat);
                if let Some(HeartbeatEvent::Heard { rtt }) = heartbeats.poll_event() {
                    round_trip = rtt;
                }
            }
        }
        self.schedule(key);
        let direction = match kind {
            TransportKind::Publisher => Direction::Publish,
            TransportKind::Subscriber => Direction::Subscribe,
        };
        if let Some(room) = self.rooms.at_mut(place) {
            if let Some(rtt) = round_trip.filter(|_| kind == TransportKind::Publisher) {
                room.forwarder.set_round_trip(participant, rtt);
            }
            room.forwarder.handle_rtcp(now, participant, direction, &packets);
            self.touch(place);
        }
    }

    /// What the room's forwarder has to say.
    fn tell(&mut self, now: Instant, sender: &dyn Outlet, key: RoomKey) {
        while let Some(event) = self.rooms.get_mut(key).and_then(|room| room.forwarder.poll_event()) {
            match event {
                ForwardEvent::SlotsAdded { subscriber } => self.offer_sections(now, sender, key, subscriber),
                ForwardEvent::SlotsChanged { subscriber } => self.tell_slots(now, key, subscriber),
                ForwardEvent::SlotsExhausted { subscriber } => {
                    let slots = segue_forward::MAX_SLOTS;
                    tracing::warn!(participant = %subscriber, slots, "a subscriber has no slot left for a track");
                }
                ForwardEvent::Speakers(speakers) => {
                    let Some(room) = self.rooms.get_mut(key) else { return };
                    if !room.emit_current(MediaEvent::Speakers { speakers }) {
                        self.metrics.add(Figure::EventsDropped, 1);
                    }
                }
            }
        }
    }

    pub(super) fn handle_session_timeout(&mut self, now: Instant, sender: &dyn Outlet, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.transport.handle_timeout(now);
        let beat = session.heartbeats.as_mut().and_then(|heartbeats| {
            heartbeats.handle_timeout(now);
            // Whether a path is suspect is for the client to judge: it has another.
            while heartbeats.poll_event().is_some() {}
            heartbeats.poll_heartbeat(now)
        });
        if let Some(beat) = beat {
            self.send_compound(now, sender, key, &[RtcpPacket::Heartbeat(beat)]);
        }
        self.service(now, sender, key);
    }

    /// Drains a transport after it was handed something.
    pub(super) fn service(&mut self, now: Instant, sender: &dyn Outlet, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        while let Some(transmit) = session.transport.poll_transmit() {
            send(sender, &self.metrics, Burst { to: transmit.to, bytes: &transmit.payload, segment: None });
        }
        while let Some(event) = self.sessions.get_mut(key).and_then(|session| session.transport.poll_event()) {
            self.handle_transport_event(now, sender, key, event);
        }
        self.schedule(key);
    }

    pub(super) fn schedule(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let beat = session.heartbeats.as_ref().map(Heartbeats::poll_timeout);
        let due = [session.transport.poll_timeout(), beat].into_iter().flatten().min();
        self.timers.set(Timer::Session(key), due);
    }

    fn handle_transport_event(&mut self, now: Instant, sender: &dyn Outlet, key: SessionKey, event: TransportEvent) {
        match event {
            TransportEvent::AddressAdded(address) => self.demux.bind(address, key),
            TransportEvent::AddressRemoved(address) => self.demux.release(address, key),
            TransportEvent::UfragRetired(ufrag) => self.demux.remove_ufrag(&ufrag),
            TransportEvent::Connected { .. } => {
                self.begin_heartbeats(now, key);
                self.handle_state(now, key, TransportState::Up);
            }
            TransportEvent::Resumed => self.handle_state(now, key, TransportState::Up),
            TransportEvent::Interrupted => self.handle_state(now, key, TransportState::Failed),
            TransportEvent::ChannelsOpen => {}
            TransportEvent::Data(message) => self.handle_data(now, sender, key, &message),
            TransportEvent::Failed(reason) => {
                tracing::debug!(%reason, "a transport failed");
                self.handle_end(now, sender, key);
            }
            TransportEvent::Closed => self.handle_end(now, sender, key),
        }
    }

    fn begin_heartbeats(&mut self, now: Instant, key: SessionKey) {
        let ssrc = Ssrc((self.random)() as u32);
        let Some(session) = self.sessions.get_mut(key) else { return };
        let member = self.rooms.get(session.room).and_then(|room| room.members.get(&session.participant));
        if member.is_some_and(|member| member.origin) {
            session.heartbeats = Some(Heartbeats::new(now, ssrc));
        }
    }

    /// A transport is up, or nothing is heard of its peer.
    fn handle_state(&mut self, now: Instant, key: SessionKey, state: TransportState) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (room, participant, kind) = (session.room, session.participant, session.kind);
        let place = session.place;
        let Some(room_state) = self.rooms.at_mut(place) else { return };
        let Some(member) = room_state.members.get_mut(&participant).filter(|member| member.is_current(kind, key)) else {
            return;
        };
        let up = state == TransportState::Up;
        match kind {
            TransportKind::Publisher => {
                if let Some(leg) = &mut member.publisher {
                    leg.up = up;
                }
            }
            TransportKind::Subscriber => {
                if let Some(leg) = &mut member.subscriber {
                    leg.up = up;
                    if up {
                        leg.failures = 0;
                    }
                    room_state.forwarder.set_subscriber_leg(participant, leg.parameters.filter(|_| up));
                    room_state.set_leg(participant, up.then_some(key));
                }
            }
        }
        self.touch(place);
        self.emit(now, room, MediaEvent::TransportState { participant, transport: kind, state });
    }

    /// A transport is over.
    fn handle_end(&mut self, now: Instant, sender: &dyn Outlet, key: SessionKey) {
        self.handle_state(now, key, TransportState::Failed);
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (room, participant, kind) = (session.room, session.participant, session.kind);
        if kind == TransportKind::Subscriber {
            self.offer_after_failure(now, room, participant, key);
        }
        self.remove_session(now, sender, key);
    }

    /// Closes a transport and forgets it.
    pub(super) fn remove_session(&mut self, now: Instant, sender: &dyn Outlet, key: SessionKey) {
        self.timers.set(Timer::Session(key), None);
        let Some(mut session) = self.sessions.remove(key) else { return };
        for address in session.transport.addresses() {
            self.demux.release(address, key);
        }
        session.transport.close(now);
        while let Some(transmit) = session.transport.poll_transmit() {
            send(sender, &self.metrics, Burst { to: transmit.to, bytes: &transmit.payload, segment: None });
        }
        while let Some(event) = session.transport.poll_event() {
            if let TransportEvent::AddressRemoved(address) = event {
                self.demux.release(address, key);
            }
        }
        for ufrag in &session.ufrags {
            self.demux.remove_ufrag(ufrag);
        }
        self.retired_transport_drops.add(&session.transport.stats().drops);
    }
}

/// A DTLS record before there are keys: its epoch is 0 (RFC 6347 section 4.1).
fn is_handshake(datagram: &[u8]) -> bool {
    matches!(datagram, [20..=63, _, _, 0, 0, ..])
}

fn send(sender: &dyn Outlet, metrics: &super::metrics::ShardMetrics, burst: Burst<'_>) {
    metrics.add(Figure::SendCalls, 1);
    if !sender.send(burst) {
        // A full queue of the kernel is congestion: what does not fit is lost, as on any link.
        metrics.add(Figure::SendFailures, 1);
    }
}
