//! Segue: video calls that start as a direct mesh and grow into a relay without a gap.
//!
//! [`Room::connect`] joins; [`LocalParticipant::publish`] sends a [`VideoSource`], an [`AudioSource`] or frames the application
//! encoded itself; [`Room::events`] tells who comes and what they send; [`RemoteTrack`] gives decoded pictures, sound or encoded
//! frames. Whether media goes from peer to peer or over the relay is the room's affair: participants and tracks stay the same
//! throughout, and [`Room::topology`] and [`Room::path_info`] tell how it is.
//!
//! ```no_run
//! use segue::{AudioSource, Channels, Room, RoomEvent, RoomOptions, TrackOptions};
//!
//! # async fn example(url: &str, token: &str) -> Result<(), segue::Error> {
//! let room = Room::connect(url, token, RoomOptions::default()).await?;
//! let mut events = room.events();
//! let voice = AudioSource::new(Channels::Mono);
//! room.local_participant().publish(voice.clone(), TrackOptions::default()).await?;
//! voice.push(&[0; 960]);
//! while let Some(event) = events.next().await {
//!     if let RoomEvent::TrackPublished { participant, track } = event {
//!         println!("{} sends {:?}", participant.identity(), track.kind());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Codecs of the platform stand in for those of this crate behind the traits [`VideoEncoder`] ([`VideoSource::with_encoder`]),
//! [`VideoDecoder`] and [`AudioDecoder`] ([`RoomOptions::decoders`]). [`mix`] adds up what is heard of several tracks.
//!
//! A shell around pure machines: what is decided, is decided in `segue-session` and `segue-media`; here are sockets, threads, the
//! one clock, and the types an application sees. No type of the WebRTC stack below is among them.

mod clock;
mod codec;
mod device;
mod driver;
mod error;
mod event;
mod net;
mod options;
mod room;
mod runtime;
mod source;
mod stats;
mod stream;

pub use device::{DeviceKey, DeviceKeyError};
pub use error::{DataError, EncodeError, Error, UrlError};
pub use event::{ConnectionState, Edge, LeaveReason, PathInfo, Reliability, RoomEvent, Speaker};
pub use options::{Decoders, IceOptions, Interfaces, NewDecoder, RoomOptions, TokenProvider};
pub use room::{LocalParticipant, PlayedAudio, Playout, RemoteParticipant, RemoteTrack, Room, TrackOptions, TrackPublication};
pub use runtime::block_on;
pub use source::{AudioOptions, AudioSource, EncodedSource, Encoding, LocalTrack, VideoContent, VideoOptions, VideoSource};
pub use stats::{
    EdgeStats, HandoverReport, LegEnd, LegStats, PathChange, PublicationStats, RoomStats, TopologyChange, TrackGap, TrackStats,
};
pub use stream::FrameStream;

pub use segue_codec::frame::FrameError;
pub use segue_codec::mix::mix;
pub use segue_codec::{
    AudioDecoder, AudioFrame, Channels, DecodeError, EncodedVideo, FramePool, I420, MemoryHold, Plane, VideoDecoder,
    VideoEncoder, VideoFrame,
};
pub use segue_media::frame::{EncodedFrame, ReceivedFrame};
pub use segue_media::packet::AudioLevel;
pub use segue_model::{
    DataRate, EncodingId, Epoch, LayerId, MediaTime, ParticipantId, Path, Quality, TemporalId, Topology, TopologyPolicy,
    TrackId, TrackKind, TrackSource,
};

/// Failures on demand, for tests of applications and of this crate.
#[doc(hidden)]
pub mod testing {
    pub use crate::options::CandidateMap;
    pub use crate::room::Fault;
    pub use crate::source::{open_audio, open_video};
}
