//! What the authority tells the forwarder of its room.

use segue_model::{EncodingId, ParticipantId, Quality, TrackId, TrackKind, TrackSource};

/// A change to what is forwarded in one room. Commands are ordered: a participant is added before its tracks and its edges, and
/// everything of a participant that is removed is gone with it (tracks, edges, subscriptions), without further commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardCommand {
    /// A participant came. No edge from or to it is forwarded until [`ForwardCommand::Edge`] says so; it is subscribed to every
    /// track of every other participant at [`Quality::High`] until [`ForwardCommand::Subscription`] says otherwise.
    ParticipantAdded {
        /// Who.
        participant: ParticipantId,
        /// It stamps and merges by origin (an SDK peer), so all tracks of a kind share one m-line; a browser has one per track.
        origin: bool,
        /// It may publish media and data.
        publish: bool,
        /// It may receive media.
        subscribe: bool,
        /// It offers the transport it receives on itself, with the sections it has, so the relay offers none.
        offers: bool,
    },
    /// A participant left: drop all it owned.
    ParticipantRemoved {
        /// Who.
        participant: ParticipantId,
    },
    /// A track was published.
    TrackAdded {
        /// Its id, which is the origin's source.
        track: TrackId,
        /// The only participant whose packets may carry this source.
        owner: ParticipantId,
        /// Audio or video.
        kind: TrackKind,
        /// Where it comes from.
        source: TrackSource,
        /// Encodings, largest first; empty for audio.
        encodings: Vec<EncodingSpec>,
        /// Nothing is expected on it for now.
        muted: bool,
    },
    /// A track was muted or unmuted.
    TrackMuted {
        /// The track.
        track: TrackId,
        /// The new state.
        muted: bool,
    },
    /// A track was taken back.
    TrackRemoved {
        /// The track.
        track: TrackId,
    },
    /// Forward, or stop forwarding, what `publisher` sends to `subscriber`.
    Edge {
        /// Whose packets.
        publisher: ParticipantId,
        /// To whom.
        subscriber: ParticipantId,
        /// Forward them.
        on: bool,
        /// The publisher sends on the direct path as well: hold the subscriber to the encoding it decodes, and keep selection by
        /// loudness and pauses by the allocator off for this edge until it is over.
        overlap: bool,
        /// In overlap: voice goes first, pictures follow with another command.
        voice_only: bool,
    },
    /// The encoding in which a subscriber that merges got a track by its direct path until now: the one to hold it to in overlap, and to go on
    /// with after it. Follows the [`ForwardCommand::Edge`] it belongs to, and is void with the next.
    DirectEncoding {
        /// The track.
        track: TrackId,
        /// Who gets it.
        subscriber: ParticipantId,
        /// In which encoding.
        encoding: EncodingId,
    },
    /// A subscriber's wish for one track; [`Quality::Off`] is not to receive it.
    Subscription {
        /// The track.
        track: TrackId,
        /// Who wishes.
        subscriber: ParticipantId,
        /// The most that is wanted.
        quality: Quality,
    },
}

/// One encoding of a published video track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodingSpec {
    /// RID (RFC 8852): `f`, `h` or `q`; may be empty where there is one encoding only.
    pub rid: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The publisher's ceiling in kbit/s, 0 where it did not say.
    pub max_kbps: u32,
}
