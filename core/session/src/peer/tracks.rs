//! What we publish, what we want of others, and who needs a keyframe.

use std::time::Instant;

use segue_model::{EncodingId, ParticipantId, Path, Quality, TrackId};
use segue_wire::proto::signal_body::Body;
use segue_wire::proto::{self, ErrorCode, client_frame};

use super::signals::Carriers;
use super::{Command, LegKey, PeerEvent, PeerMachine, PublishRequest, TrackInfo, convert};

/// A publication the relay has not answered.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub request: PublishRequest,
    /// The id it had in the session before.
    pub renumbers: Option<TrackId>,
}

impl PeerMachine {
    pub(super) fn request_publication(&mut self, now: Instant, request: PublishRequest, renumbers: Option<TrackId>) -> u32 {
        self.last_request = self.last_request.wrapping_add(1).max(1);
        let number = self.last_request;
        if self.connection.has_session() {
            self.send_server(now, client_frame::Message::Publish(convert::wire_publish(number, &request)));
        }
        self.pending.insert(number, Pending { request, renumbers });
        number
    }

    pub(super) fn handle_published(&mut self, published: &proto::Published) {
        let Some(pending) = self.pending.remove(&published.request) else { return };
        let Some(track) = published.track.as_ref().and_then(convert::track) else { return };
        if let Some(local) = self.local() {
            self.take_id(track.id, local);
        }
        self.publications.insert(track.id, track.clone());
        match pending.renumbers {
            Some(old) => self.events.push_back(PeerEvent::TrackRenumbered { old, new: track.id }),
            None => self.events.push_back(PeerEvent::Published { request: published.request, track }),
        }
    }

    /// Whether `error` answers a publication.
    pub(super) fn handle_publish_error(&mut self, error: &proto::Error) -> bool {
        if error.request == 0 || self.pending.remove(&error.request).is_none() {
            return false;
        }
        let code = ErrorCode::try_from(error.code).unwrap_or(ErrorCode::Unspecified);
        let message = error.message.clone();
        self.events.push_back(PeerEvent::PublishFailed { request: error.request, code, message });
        true
    }

    /// Takes our tracks into a new session: those whose ids were granted stay, others were given a new one, the rest is published again.
    pub(super) fn carry_publications(&mut self, now: Instant, granted: &[proto::Track]) {
        let mut granted: Vec<_> = granted.iter().filter_map(convert::track).collect();
        let (kept, lost): (Vec<_>, Vec<_>) =
            self.publications.keys().copied().partition(|id| granted.iter().any(|track| track.id == *id));
        granted.retain(|track| !kept.contains(&track.id));
        for old in lost {
            let Some(track) = self.publications.remove(&old) else { continue };
            let same = |other: &TrackInfo| (other.kind, other.source, &other.name) == (track.kind, track.source, &track.name);
            if let Some(at) = granted.iter().position(same) {
                let new = granted.swap_remove(at).id;
                if let Some(local) = self.local() {
                    self.take_id(new, local);
                }
                self.publications.insert(new, TrackInfo { id: new, ..track });
                self.events.push_back(PeerEvent::TrackRenumbered { old, new });
                continue;
            }
            let TrackInfo { kind, source, name, muted, encodings, .. } = track;
            self.request_publication(now, PublishRequest { kind, source, name, muted, encodings }, Some(old));
        }
        let kept: Vec<_> = self.publications.values().map(|track| (track.id, track.muted)).collect();
        for (track, muted) in kept {
            let message = proto::SetMuted { track: track.0.into(), muted };
            self.send_server(now, client_frame::Message::SetMuted(message));
        }
        let subscriptions: Vec<_> = self.subscriptions.iter().map(|(track, quality)| (*track, *quality)).collect();
        for (track, quality) in subscriptions {
            let message = convert::wire_subscribe(track, quality);
            self.send_server(now, client_frame::Message::Subscribe(message));
        }
    }

    /// Publications asked for while there was no session.
    pub(super) fn send_pending(&mut self, now: Instant) {
        let pending: Vec<_> =
            self.pending.iter().map(|(number, pending)| convert::wire_publish(*number, &pending.request)).collect();
        for publish in pending {
            self.send_server(now, client_frame::Message::Publish(publish));
        }
    }

    pub(super) fn withdraw(&mut self, now: Instant, track: TrackId) {
        if self.publications.remove(&track).is_some() {
            let message = proto::Unpublish { track: track.0.into() };
            self.send_server(now, client_frame::Message::Unpublish(message));
            self.keyframes.remove(track);
            for remote in self.remotes.values_mut() {
                remote.wishes.remove(&track);
            }
        }
    }

    pub(super) fn mute(&mut self, now: Instant, track: TrackId, muted: bool) {
        let Some(known) = self.publications.get_mut(&track).filter(|known| known.muted != muted) else { return };
        known.muted = muted;
        let message = proto::SetMuted { track: track.0.into(), muted };
        self.send_server(now, client_frame::Message::SetMuted(message));
        if !self.connection.is_live() {
            self.send_signal(now, None, Body::Muted(message), Carriers::One);
        }
    }

    /// A moderator silenced one of our tracks: the room knows already.
    pub(super) fn note_moderated(&mut self, track: TrackId, muted: bool) {
        let Some(participant) = self.local() else { return };
        let Some(known) = self.publications.get_mut(&track).filter(|known| known.muted != muted) else { return };
        known.muted = muted;
        self.events.push_back(PeerEvent::TrackMuted { participant, track, muted });
    }

    pub(super) fn want(&mut self, now: Instant, track: TrackId, quality: Quality) {
        let Some(owner) = self.owners.get(&track).copied() else { return };
        if self.subscriptions.insert(track, quality).unwrap_or_default() == quality {
            return;
        }
        let message = convert::wire_subscribe(track, quality);
        self.send_server(now, client_frame::Message::Subscribe(message));
        self.send_signal(now, Some(owner), Body::Subscribe(message), Carriers::All);
        if let Some(remote) = self.remotes.get_mut(&owner).filter(|_| quality == Quality::Off) {
            remote.inc.handle_silent(track);
        }
    }

    /// A direct subscriber says how much it wants of one of our tracks.
    pub(super) fn handle_wish(&mut self, from: ParticipantId, subscribe: proto::Subscribe) {
        let quality = convert::quality(&subscribe);
        let Some(track) = convert::track_id(subscribe.track).filter(|track| self.publications.contains_key(track)) else {
            return;
        };
        let Some(remote) = self.remotes.get_mut(&from) else { return };
        if remote.wishes.insert(track, quality).unwrap_or_default() != quality {
            self.events.push_back(PeerEvent::WishChanged { track, subscriber: from, quality });
        }
    }

    pub(super) fn ask_keyframe(&mut self, track: TrackId, encoding: Option<EncodingId>) {
        let Some(owner) = self.owners.get(&track) else { return };
        let Some(remote) = self.remotes.get(owner) else { return };
        let leg = match remote.inc.path() {
            Path::Direct => LegKey::Peer(*owner),
            Path::Relayed => LegKey::RelaySubscriber,
        };
        self.commands.push_back(Command::RequestKeyframe { leg, track, encoding });
    }
}
