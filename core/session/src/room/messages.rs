//! What participants ask of the room.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use segue_model::{EncodingId, MAX_ENCODINGS, ParticipantId, Path, Quality, TrackId};
use segue_wire::proto::{self, ErrorCode, LeaveReason, client_frame, server_frame};

use super::authority::{RoomAuthority, goodbye, track_added};
use super::edges::EdgePath;
use super::error::RoomError;
use super::member::{Member, PUBLISHES_PER_SECOND};
use super::{ForwardCommand, RoomOutput};

/// Messages above the rate that are dropped before the session ends: a client that has not understood the error by then never will.
const MAX_DROPPED: u32 = 1000;

/// What a frame for one receiver costs besides its body: its way through the carrier and a socket of its own. An empty message to a
/// room of 100 may so be sent 40 times a second, and to one of 512 eight times.
const FRAME_COST: usize = 256;

/// What a description takes of a participant's share in negotiations, where a candidate takes 1: a description is parsed, answered and may
/// build a transport.
const DESCRIPTION_COST: u64 = 8;

/// A failure to do what was asked, and of which request.
struct Failed {
    error: RoomError,
    request: u32,
}

impl From<RoomError> for Failed {
    fn from(error: RoomError) -> Self {
        Self { error, request: 0 }
    }
}

impl RoomAuthority {
    /// A frame of a participant that has joined; `None` where this version knows no such message. What cannot be done is answered
    /// with an Error that names `seq`.
    pub fn handle_message(&mut self, now: Instant, from: ParticipantId, seq: u64, message: Option<client_frame::Message>) {
        if !self.members.contains_key(&from) {
            return;
        }
        let done = self
            .admit_message(now, from)
            .and_then(|admitted| if admitted { self.dispatch(now, from, message) } else { Ok(()) });
        if let Err(Failed { error, request }) = done {
            self.send(from, server_frame::Message::Error(error.to_message(request, seq)));
        }
    }

    /// Something of a participant that could not be read: it is told why, as often as it may send messages.
    pub fn handle_undecodable(&mut self, now: Instant, from: ParticipantId, error: proto::Error) {
        match self.admit_message(now, from) {
            Ok(true) => self.send(from, server_frame::Message::Error(error)),
            Ok(false) => {}
            Err(Failed { error: too_fast, request }) => {
                self.send(from, server_frame::Message::Error(too_fast.to_message(request, error.seq)));
            }
        }
    }

    /// Drops what comes too fast: the first with an error, and after [`MAX_DROPPED`] the session ends.
    fn admit_message(&mut self, now: Instant, from: ParticipantId) -> Result<bool, Failed> {
        let rate = self.config.messages_per_second;
        let Some(member) = self.members.get_mut(&from) else { return Ok(false) };
        if member.messages.take(now, 1) {
            if member.messages.half_full() {
                member.dropped = 0;
            }
            return Ok(true);
        }
        member.dropped += 1;
        match member.dropped {
            1 => return Err(RoomError::Rate(rate).into()),
            2..=MAX_DROPPED => {}
            _ => {
                let message = "messages kept coming too fast after a warning; send fewer and larger ones";
                self.end(now, from, goodbye(LeaveReason::Refused, ErrorCode::Rate, message));
                self.reconsider(now);
            }
        }
        Ok(false)
    }

    fn dispatch(&mut self, now: Instant, from: ParticipantId, message: Option<client_frame::Message>) -> Result<(), Failed> {
        use client_frame::Message;
        match message {
            None => return Err(RoomError::UnknownMessage.into()),
            Some(Message::Join(_) | Message::Resume(_)) => return Err(RoomError::AlreadyJoined.into()),
            Some(Message::Leave(_)) => {
                self.end(now, from, goodbye(LeaveReason::Left, ErrorCode::Unspecified, "left"));
                self.reconsider(now);
            }
            Some(Message::Publish(publish)) => {
                let request = publish.request;
                self.publish(now, from, publish).map_err(|error| Failed { error, request })?;
                self.reconsider(now);
            }
            Some(Message::Unpublish(unpublish)) => {
                self.unpublish(now, from, unpublish.track)?;
                self.reconsider(now);
            }
            Some(Message::SetMuted(muted)) => self.set_muted(now, from, muted)?,
            Some(Message::Subscribe(subscribe)) => self.subscribe(from, subscribe)?,
            Some(Message::Description(description)) => {
                self.negotiate(now, from, DESCRIPTION_COST)?;
                self.description(from, description)?;
            }
            Some(Message::Candidate(candidate)) => {
                self.negotiate(now, from, 1)?;
                self.candidate(from, candidate)?;
            }
            Some(Message::Kick(kick)) => self.kick(now, from, ParticipantId(kick.participant))?,
            Some(Message::MuteTrack(mute)) => self.mute_track(now, from, mute.track)?,
            Some(Message::Signal(signal)) => self.signal(now, from, signal)?,
            Some(Message::EdgePath(edge)) => self.edge_path(now, from, &edge)?,
            Some(Message::LinkReport(report)) => {
                // 0 is the relay. Of one that has just left there is nothing to know.
                if report.peer != 0 && (report.peer == from.0 || !self.members.contains_key(&ParticipantId(report.peer))) {
                    self.ignored += 1;
                } else if let Some(member) = self.members.get_mut(&from) {
                    member.handle_link_report(&report);
                    self.reconsider(now);
                }
            }
            Some(Message::UplinkReport(report)) => {
                if let Some(member) = self.members.get_mut(&from) {
                    member.handle_uplink_report(now, report);
                }
                self.reconsider(now);
            }
            // That somebody's legs are up says no more than its edges will say; the room does not wait for it.
            Some(Message::TopologyReady(_)) => {}
            Some(Message::Ping(ping)) => self.send(from, server_frame::Message::Pong(proto::Pong { time_us: ping.time_us })),
        }
        Ok(())
    }

    fn publish(&mut self, now: Instant, from: ParticipantId, publish: proto::Publish) -> Result<(), RoomError> {
        let limit = self.config.max_tracks;
        let others = self.others();
        let Some(member) = self.members.get_mut(&from) else { return Ok(()) };
        if !member.grants.publish {
            return Err(RoomError::NotPermitted("publish"));
        }
        if member.tracks.len() >= limit {
            return Err(RoomError::TooManyTracks(limit));
        }
        let mut track = proto::Track {
            id: 0,
            kind: publish.kind,
            source: publish.source,
            name: publish.name,
            muted: publish.muted,
            encodings: publish.encodings,
        };
        check_track(&track)?;
        if !member.publishes.take(now, 1) {
            return Err(RoomError::PublishRate(PUBLISHES_PER_SECOND));
        }
        // Taking the track back is paid for as well: whatever was published can be taken back at any time.
        self.charge(now, from, encoded_len(&track), 2 * others)?;
        let Some(member) = self.members.get_mut(&from) else { return Ok(()) };
        track.id = self.track_ids.fresh(now).ok_or(RoomError::NumbersUsedUp("track"))?;
        let first = member.tracks.is_empty();
        let Some(id) = track_id(track.id) else { return Err(RoomError::NumbersUsedUp("track")) };
        member.tracks.insert(id, track.clone());
        self.facts = None;
        if first {
            self.edges.set_live(from, true);
        }
        self.forward(track_added(from, &track));
        let published = proto::Published { request: publish.request, track: Some(track.clone()) };
        self.send(from, server_frame::Message::Published(published));
        let announced = proto::TrackPublished { participant: from.0, track: Some(track) };
        self.broadcast(Some(from), &server_frame::Message::TrackPublished(announced));
        Ok(())
    }

    /// The tracks of a participant that was here before the relay restarted, under their old ids where those are free.
    pub(super) fn readmit_tracks(&mut self, now: Instant, member: &mut Member, tracks: Vec<proto::Track>) {
        if !member.grants.publish {
            return;
        }
        for mut track in tracks.into_iter().take(self.config.max_tracks) {
            if check_track(&track).is_err() {
                continue;
            }
            let Some(id) = self.track_ids.wish(now, track.id) else { return };
            track.id = id;
            if let Some(id) = track_id(id) {
                member.tracks.insert(id, track);
            }
        }
    }

    fn unpublish(&mut self, now: Instant, from: ParticipantId, track: u32) -> Result<(), RoomError> {
        let (id, member) = self.own_track(from, track)?;
        member.tracks.remove(&id);
        let last = member.tracks.is_empty();
        self.facts = None;
        if last {
            self.edges.set_live(from, false);
        }
        self.track_ids.release(now, track);
        self.forward(ForwardCommand::TrackRemoved { track: id });
        let gone = proto::TrackUnpublished { participant: from.0, track };
        self.broadcast(Some(from), &server_frame::Message::TrackUnpublished(gone));
        Ok(())
    }

    fn set_muted(&mut self, now: Instant, from: ParticipantId, wish: proto::SetMuted) -> Result<(), RoomError> {
        let (id, member) = self.own_track(from, wish.track)?;
        if member.tracks.get(&id).is_some_and(|track| track.muted == wish.muted) {
            return Ok(());
        }
        self.charge(now, from, 0, self.others())?;
        let (id, member) = self.own_track(from, wish.track)?;
        if let Some(track) = member.tracks.get_mut(&id) {
            track.muted = wish.muted;
        }
        self.forward(ForwardCommand::TrackMuted { track: id, muted: wish.muted });
        let muted = proto::TrackMuted { participant: from.0, track: wish.track, muted: wish.muted };
        self.broadcast(Some(from), &server_frame::Message::TrackMuted(muted));
        Ok(())
    }

    fn subscribe(&mut self, from: ParticipantId, wish: proto::Subscribe) -> Result<(), RoomError> {
        if self.members.get(&from).is_some_and(|member| !member.grants.subscribe) {
            return Err(RoomError::NotPermitted("subscribe"));
        }
        let unknown = RoomError::UnknownTrack(wish.track, "of another participant");
        let Some(track) = track_id(wish.track) else { return Err(unknown) };
        if !self.members.values().any(|member| member.id != from && member.tracks.contains_key(&track)) {
            return Err(unknown);
        }
        let quality = match wish.quality() {
            _ if !wish.enabled => Quality::Off,
            proto::Quality::Off => Quality::Off,
            proto::Quality::Low => Quality::Low,
            proto::Quality::Medium => Quality::Medium,
            proto::Quality::High | proto::Quality::Unspecified => Quality::High,
        };
        self.forward(ForwardCommand::Subscription { track, subscriber: from, quality });
        Ok(())
    }

    fn description(&mut self, from: ParticipantId, description: proto::RelayDescription) -> Result<(), RoomError> {
        use proto::{RelayTransport, SdpKind};
        let member = self.members.get(&from);
        let (transport, kind, generation) = (description.transport(), description.kind(), description.generation);
        match (transport, kind) {
            (RelayTransport::Publisher, SdpKind::Offer) => {
                // Without the grant it still may have a transport: lossy data of others arrives on it.
                let mut tracks = Vec::new();
                for entry in description.tracks {
                    let id = track_id(entry.track).filter(|id| member.is_some_and(|member| member.tracks.contains_key(id)));
                    tracks.push((entry.mid, id.ok_or(RoomError::UnknownTrack(entry.track, "of yours"))?));
                }
                self.output(RoomOutput::PublisherOffer { participant: from, generation, sdp: description.sdp, tracks });
                Ok(())
            }
            (RelayTransport::Subscriber, SdpKind::Answer) => {
                self.output(RoomOutput::SubscriberAnswer { participant: from, generation, sdp: description.sdp });
                Ok(())
            }
            _ => Err(RoomError::Malformed(
                "of the publisher transport the relay takes offers, of the subscriber transport answers; set `transport` and `kind` so",
            )),
        }
    }

    fn candidate(&mut self, from: ParticipantId, message: proto::RelayCandidate) -> Result<(), RoomError> {
        let transport = message.transport();
        let Some(candidate) = message.candidate.filter(|_| transport != proto::RelayTransport::Unspecified) else {
            return Err(RoomError::Malformed("a candidate needs `transport` and `candidate`"));
        };
        self.output(RoomOutput::Candidate { participant: from, transport, candidate });
        Ok(())
    }

    /// Passes a signal on, unread, from whom it really is.
    fn signal(&mut self, now: Instant, from: ParticipantId, mut signal: proto::Signal) -> Result<(), RoomError> {
        let to = ParticipantId(signal.to);
        if to == from {
            return Err(RoomError::Malformed("a signal goes to another participant, this one to yourself; set `to`"));
        }
        if signal.to != 0 && !self.members.contains_key(&to) {
            return Err(RoomError::UnknownParticipant(to));
        }
        // What JSON says of a kind unknown here has no other form: those who read protobuf would get nothing and not know of what.
        if signal.body.is_empty() {
            return Err(RoomError::UnknownMessage);
        }
        let receivers = if signal.to == 0 { self.others() } else { 1 };
        self.charge(now, from, signal.body.len(), receivers)?;
        signal.from = from.0;
        let message = server_frame::Message::Signal(signal);
        if to.0 == 0 {
            self.broadcast(Some(from), &message);
        } else {
            self.send(to, message);
        }
        Ok(())
    }

    /// Charges a participant for what it has the media plane do about its transports.
    fn negotiate(&mut self, now: Instant, from: ParticipantId, cost: u64) -> Result<(), RoomError> {
        let Some(member) = self.members.get_mut(&from) else { return Ok(()) };
        if member.negotiations.take(now, cost) { Ok(()) } else { Err(RoomError::NegotiationRate) }
    }

    /// Everybody but one.
    fn others(&self) -> usize {
        self.members.len().saturating_sub(1)
    }

    /// Charges a participant for what it has the relay send to others: each receiver costs, and each frame, however little is in it.
    pub(super) fn charge(&mut self, now: Instant, from: ParticipantId, bytes: usize, frames: usize) -> Result<(), RoomError> {
        let rate = self.config.bytes_per_second;
        let Some(member) = self.members.get_mut(&from) else { return Ok(()) };
        let taken = member.bytes.take(now, ((bytes + FRAME_COST) * frames) as u64);
        if taken { Ok(()) } else { Err(RoomError::ByteRate(rate)) }
    }

    /// The publisher's word on one edge. Its epoch does not matter: an edge moves at any time when a path fails, and the last word on
    /// one connection is the latest.
    fn edge_path(&mut self, now: Instant, from: ParticipantId, word: &proto::EdgePath) -> Result<(), RoomError> {
        let path = match word.path() {
            proto::Path::Direct => EdgePath::On(Path::Direct),
            proto::Path::Relayed => EdgePath::On(Path::Relayed),
            proto::Path::Both if word.voice_only => EdgePath::Voice,
            proto::Path::Both => EdgePath::Both,
            proto::Path::Unspecified => {
                return Err(RoomError::Malformed("an edge path is DIRECT, RELAYED or BOTH; set `path`"));
            }
        };
        let subscriber = ParticipantId(word.subscriber);
        if subscriber == from {
            return Err(RoomError::Malformed("an edge leads to another participant, this one to yourself; set `subscriber`"));
        }
        if !self.members.contains_key(&subscriber) {
            return Err(RoomError::UnknownParticipant(subscriber));
        }
        // Two members without an edge: one may not publish or the other not subscribe, so there is nothing to move.
        let Some(before) = self.edges.set_path(from, subscriber, path) else {
            self.ignored += 1;
            return Ok(());
        };
        if before != path {
            if let EdgePath::On(path) = path {
                self.controller.note_moved(now, path);
            }
            self.forward_edge(from, subscriber, path);
            if path.forwarded() {
                self.hold(from, subscriber, &word.direct);
            }
        }
        if let EdgePath::On(path) = path {
            self.controller.note_settled(path, &word.reason);
        }
        self.reconsider(now);
        Ok(())
    }

    /// What a subscriber is held to while its edge moves.
    fn hold(&mut self, from: ParticipantId, subscriber: ParticipantId, direct: &[proto::TrackEncoding]) {
        let mut told = BTreeMap::new();
        for word in direct {
            let encoding = u8::try_from(word.encoding).ok().filter(|encoding| usize::from(*encoding) < MAX_ENCODINGS);
            // One that was taken back meanwhile has no path to be held to.
            match (self.own_track(from, word.track).map(|(track, _)| track), encoding) {
                (Ok(track), Some(encoding)) => _ = told.insert(track, EncodingId(encoding)),
                _ => self.ignored += 1,
            }
        }
        for (track, encoding) in told {
            self.forward(ForwardCommand::DirectEncoding { track, subscriber, encoding });
        }
    }

    fn own_track(&mut self, from: ParticipantId, track: u32) -> Result<(TrackId, &mut Member), RoomError> {
        let error = RoomError::UnknownTrack(track, "of yours");
        let Some(id) = track_id(track) else { return Err(error) };
        let member = self.members.get_mut(&from).filter(|member| member.tracks.contains_key(&id));
        member.map(|member| (id, member)).ok_or(error)
    }
}

/// A track number of the wire; `None` for one that no track has.
pub(super) fn track_id(track: u32) -> Option<TrackId> {
    u16::try_from(track).ok().filter(|&id| id != 0).map(TrackId)
}

/// What the announcement of a track weighs, near enough.
fn encoded_len(track: &proto::Track) -> usize {
    track.name.len() + track.encodings.iter().map(|encoding| encoding.rid.len() + 16).sum::<usize>()
}

fn check_track(track: &proto::Track) -> Result<(), RoomError> {
    use proto::{TrackKind, TrackSource};
    let audio = match track.kind() {
        TrackKind::Unspecified => return Err(RoomError::Malformed("a track is AUDIO or VIDEO; set `kind`")),
        kind => kind == TrackKind::Audio,
    };
    match track.source() {
        TrackSource::Unspecified => return Err(RoomError::Malformed("a track has a source; set `source`")),
        TrackSource::Microphone | TrackSource::ScreenAudio if !audio => {
            return Err(RoomError::Malformed("MICROPHONE and SCREEN_AUDIO are sources of AUDIO tracks; set `kind` to AUDIO"));
        }
        TrackSource::Camera | TrackSource::Screen if audio => {
            return Err(RoomError::Malformed("CAMERA and SCREEN are sources of VIDEO tracks; set `kind` to VIDEO"));
        }
        _ => {}
    }
    if audio && !track.encodings.is_empty() {
        return Err(RoomError::Malformed("an AUDIO track has no encodings; leave `encodings` empty"));
    }
    let rids: BTreeSet<&str> = track.encodings.iter().map(|encoding| encoding.rid.as_str()).collect();
    if rids.len() != track.encodings.len() {
        return Err(RoomError::Malformed("two encodings of a track have the same `rid`; name them f, h and q"));
    }
    if rids.iter().any(|rid| segue_model::EncodingId::from_rid(rid).is_none()) && track.encodings.len() > 1 {
        return Err(RoomError::Malformed("encodings are named f, h and q, largest first; set `rid` so"));
    }
    Ok(())
}
