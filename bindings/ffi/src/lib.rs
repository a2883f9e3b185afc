//! The seam between the Rust core and Swift, Kotlin and Python: UniFFI types over crate `segue`, and nothing else.
//!
//! What applications see is written by hand in each language (`bindings/swift`, `bindings/kotlin`, `bindings/python`) over what is
//! generated from here. Rules of the seam:
//!
//! * Control goes through UniFFI: [`Room`], [`Publication`], [`RemoteTrack`], events, errors.
//! * Media never goes through a serializer byte by byte: pictures come in as borrowed bytes or by address (one copy into a pooled
//!   picture), and go out as handles that give the address of what was decoded; what else is longer than a kilobyte is a
//!   [`Blob`].
//! * A JVM may take pictures by native methods of its own, over the same objects (`jni`).
//! * Everything that waits for the host is bounded, the newest wins, and what was dropped is counted.
//! * The host is called on threads that do nothing else ([`host`]): a host that stalls holds up nobody's media.
//! * A panic becomes an error and never ends the host.

mod audio;
mod blob;
mod cancel;
mod clock;
mod encoded;
mod error;
mod event;
mod host;
mod jni;
mod log;
mod measure;
mod options;
mod publication;
mod quality;
mod queue;
mod room;
mod runtime;
mod stats;
mod token;
mod track;
mod version;
mod video;

pub use audio::{AudioFrame, AudioSource, AudioStream, Playout};
pub use blob::Blob;
pub use cancel::CancelToken;
pub use encoded::{EncodedFrame, EncodedSource, EncodedStream};
pub use error::CallError;
pub use event::{ConnectionState, LeaveReason, ParticipantInfo, RoomEvent, RoomListener, Speaker, Subscription};
pub use log::{LogLevel, LogRecord, Logger, set_logger};
pub use measure::{measure_audio, measure_frame, measure_sound, measure_video};
pub use options::{ConnectOptions, Interfaces, PublishOptions, TokenProvider};
pub use publication::Publication;
pub use quality::{Quality, TopologyPolicy, VideoContent, VideoEncoding, VideoOptions};
pub use queue::ReadyListener;
pub use room::{Path, PathInfo, Room, Topology};
pub use runtime::set_thread_start_hook;
pub use stats::{EdgeStats, LegStats, PublicationStats, RoomStats, TrackStats};
pub use token::{TokenClaims, sign_token};
pub use track::{RemoteTrack, TrackInfo, TrackKind, TrackSource};
pub use version::{fingerprint, sdk_version, shut_down};
pub use video::{PixelFormat, VideoFrame, VideoSource, VideoStream};

uniffi::setup_scaffolding!("segue_ffi");
