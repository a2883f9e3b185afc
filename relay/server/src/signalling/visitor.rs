//! Participants without a signalling connection: one offer over HTTP, and they publish (WHIP, RFC 9725) or play (WHEP).

use std::collections::BTreeMap;

use segue_model::TrackKind;
use segue_session::room::{JoinRequest, RoomError};
use segue_wire::proto::{self, ErrorCode, LeaveReason, RelayTransport, SdpKind, TrackSource, client_frame, server_frame};
use tokio::sync::oneshot;

use super::admission::JoinError;
use super::session::SecretHash;
use crate::media_plane::TransportKind;
use crate::sdp::{IceFragment, PublisherSection};

/// Names of a track's encodings in the room, largest first; those of the offer may be others.
const ENCODINGS: [&str; segue_model::MAX_ENCODINGS] = ["f", "h", "q"];

/// A visitor has one transport and offers it once.
pub(super) const GENERATION: u32 = 1;

/// What a visitor comes for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// Its sections become tracks.
    Publish(Vec<PublisherSection>),
    /// It receives what [`JoinRequest::plays`] says.
    Play,
}

/// Somebody at the door, its token and its offer checked.
pub(crate) struct Visiting {
    pub(crate) request: JoinRequest,
    pub(crate) purpose: Purpose,
    pub(crate) sdp: String,
    /// What its session is found by.
    pub(crate) secret: SecretHash,
    pub(crate) reply: Reply,
}

/// Where the answer to its offer is awaited.
pub(crate) type Reply = oneshot::Sender<Result<String, VisitError>>;

/// A visitor says more of its ICE (RFC 9725 section 4.3).
pub(crate) struct Patching {
    pub(crate) secret: SecretHash,
    pub(crate) fragment: IceFragment,
    /// Of the ICE session it means; `None`: it begins another.
    pub(crate) tag: Option<String>,
    pub(crate) reply: PatchReply,
}

/// Where the outcome is awaited: nothing to say, or a fragment of ours.
pub(crate) type PatchReply = oneshot::Sender<Result<Option<String>, VisitError>>;

/// The tag of an ICE session: our username fragment, which is another one after every restart.
pub(crate) fn tag_of(description: &str) -> Option<&str> {
    description.lines().find_map(|line| line.trim_end().strip_prefix("a=ice-ufrag:"))
}

/// A patch for another ICE session than the one there is.
pub(crate) const STALE: &str =
    "the tag in If-Match is not that of the ICE session there is; use the last ETag, or * to restart ICE";

/// Why a visitor is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct VisitError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl VisitError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<JoinError> for VisitError {
    fn from(error: JoinError) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}

impl From<RoomError> for VisitError {
    fn from(error: RoomError) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}

/// A visitor in the room.
pub(super) struct Visitor {
    pub(super) secret: SecretHash,
    transport: TransportKind,
    /// Of its ICE session; empty before there is one.
    tag: String,
    /// A restart that is not answered yet.
    restart: Option<PatchReply>,
    /// `None`: answered.
    reply: Option<Reply>,
    /// Numbers of its tracks, by the number of the request.
    tracks: BTreeMap<u32, u32>,
}

impl Visitor {
    pub(super) fn new(secret: SecretHash, transport: TransportKind, reply: Reply) -> Self {
        Self { secret, transport, tag: String::new(), restart: None, reply: Some(reply), tracks: BTreeMap::new() }
    }

    pub(super) const fn transport(&self) -> TransportKind {
        self.transport
    }

    /// More of its ICE. `Some`: ICE is to be restarted with this, and the reply waits for it.
    pub(super) fn patch(&mut self, fragment: IceFragment, tag: Option<&str>, reply: PatchReply) -> Option<IceFragment> {
        let outcome = match tag {
            Some(tag) if tag == self.tag => Ok(None),
            Some(_) => Err(VisitError::new(ErrorCode::SessionUnknown, STALE)),
            None => {
                // Of two restarts the later one counts; whoever asked first hears that it ended.
                self.restart = Some(reply);
                return Some(fragment);
            }
        };
        // Whoever asked may be gone.
        let _ = reply.send(outcome);
        None
    }

    /// What the room says to it. False: it cannot stay.
    pub(super) fn handle_message(&mut self, message: server_frame::Message) -> bool {
        match message {
            server_frame::Message::Published(published) => {
                self.tracks.insert(published.request, published.track.map_or(0, |track| track.id));
                true
            }
            server_frame::Message::Description(description) if description.kind() == SdpKind::Answer => {
                tag_of(&description.sdp).unwrap_or_default().clone_into(&mut self.tag);
                if let Some(restart) = self.restart.take() {
                    // Whoever asked for it can ask again.
                    let _ = restart.send(Ok(Some(description.sdp)));
                    return true;
                }
                // Whoever did not wait for the answer has no way to use it.
                self.reply.take().is_some_and(|reply| reply.send(Ok(description.sdp)).is_ok())
            }
            server_frame::Message::Error(error) => match self.reply.take() {
                Some(reply) => {
                    // It cannot stay whether the refusal is heard or not.
                    let _ = reply.send(Err(VisitError::new(error.code(), error.message)));
                    false
                }
                None => {
                    if let Some(restart) = self.restart.take() {
                        let _ = restart.send(Err(VisitError::new(error.code(), error.message)));
                    }
                    true
                }
            },
            // Who else is there, and what is heard and seen, is not for it.
            _ => true,
        }
    }

    /// Its session is over; where that is before it was answered, this is the answer.
    pub(super) fn end(self, goodbye: &proto::Goodbye) {
        if let Some(reply) = self.reply {
            // It may have gone already.
            let _ = reply.send(Err(VisitError::new(goodbye.code(), goodbye.message.clone())));
        }
    }

    /// The offer of its publisher transport, where every section has its track.
    pub(super) fn description(&self, sections: &[PublisherSection], sdp: String) -> Option<client_frame::Message> {
        let track = |(section, number): (&PublisherSection, u32)| {
            self.tracks.get(&number).map(|&track| proto::MidTrack { mid: section.mid.clone(), track })
        };
        let tracks = sections.iter().zip(1..).map(track).collect::<Option<Vec<_>>>()?;
        Some(client_frame::Message::Description(proto::RelayDescription {
            transport: RelayTransport::Publisher.into(),
            kind: SdpKind::Offer.into(),
            sdp,
            tracks,
            generation: GENERATION,
        }))
    }
}

/// Publishes a section of an offer as a track.
pub(super) fn publish(section: &PublisherSection, request: u32) -> client_frame::Message {
    let (kind, source) = match section.kind {
        TrackKind::Audio => (proto::TrackKind::Audio, TrackSource::Microphone),
        TrackKind::Video => (proto::TrackKind::Video, TrackSource::Camera),
    };
    let encoding = |name: &&str| proto::Encoding { rid: (*name).to_owned(), ..proto::Encoding::default() };
    let encodings = ENCODINGS.iter().take(section.rids.len()).map(encoding).collect();
    let name = String::new();
    client_frame::Message::Publish(proto::Publish {
        request,
        kind: kind.into(),
        source: source.into(),
        name,
        muted: false,
        encodings,
    })
}

/// There is none that a secret could stand for.
pub(crate) fn no_session() -> VisitError {
    let message = "there is no such session any more: it was ended, or its transport was lost";
    VisitError::new(ErrorCode::SessionUnknown, message)
}

/// The last word to a visitor that cannot stay or whose transport is no more; nobody reads it but the log.
pub(super) fn gone() -> proto::Goodbye {
    let message = "the transport is no more".to_owned();
    proto::Goodbye { reason: LeaveReason::Timeout.into(), code: ErrorCode::SessionUnknown.into(), message, retry_after_ms: 0 }
}
