//! How a room is joined.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use segue_codec::{AudioDecoder, DecodeError, VideoDecoder};
use segue_model::TopologyPolicy;

use crate::device::DeviceKey;
use crate::stats::LegEnd;

/// How a room is joined. The default joins an `Auto` room and subscribes to everything.
#[derive(Clone)]
pub struct RoomOptions {
    /// Shown to others where the token has no name.
    pub name: String,
    /// The application's own, shown to others where the token has none; at most 4 KiB.
    pub metadata: String,
    /// Which paths are allowed.
    pub policy: TopologyPolicy,
    /// Addresses used for media.
    pub ice: IceOptions,
    /// Every track is received from the moment it is published. Otherwise each has to be asked for by
    /// [`crate::RemoteTrack::set_subscribed`].
    pub auto_subscribe: bool,
    /// May build legs to other participants; false: everything through the relay.
    pub direct: bool,
    /// Any certificate of the relay is taken, a self-signed one too. For development.
    pub trust_any_certificate: bool,
    /// The key of this device; `None`: a fresh one.
    pub device_key: Option<DeviceKey>,
    /// Who decodes.
    pub decoders: Decoders,
    /// Gives new tokens for reconnects, where the first may have expired.
    pub token_provider: Option<Arc<dyn TokenProvider>>,
    /// How long [`crate::Room::connect`] waits for the relay.
    pub connect_timeout: Duration,
    /// What stands between sockets in a test; see [`crate::testing::CandidateMap`].
    #[doc(hidden)]
    pub candidates: Option<CandidateMap>,
}

/// The address others are told instead of one of ours, on a leg; `None`: they are told nothing of it.
pub type CandidateMap = Arc<dyn Fn(LegEnd, SocketAddr) -> Option<SocketAddr> + Send + Sync>;

impl Default for RoomOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            metadata: String::new(),
            policy: TopologyPolicy::Auto,
            ice: IceOptions::default(),
            auto_subscribe: true,
            direct: true,
            trust_any_certificate: false,
            device_key: None,
            decoders: Decoders::default(),
            token_provider: None,
            connect_timeout: Duration::from_secs(15),
            candidates: None,
        }
    }
}

impl fmt::Debug for RoomOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomOptions")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .field("ice", &self.ice)
            .field("auto_subscribe", &self.auto_subscribe)
            .field("direct", &self.direct)
            .finish_non_exhaustive()
    }
}

/// Makes a decoder for one track.
pub type NewDecoder<D> = Arc<dyn Fn() -> Result<Box<D>, DecodeError> + Send + Sync>;

/// Decoders of the application's own: one is made for each track that somebody looks at or listens to, and works on a thread of its own.
/// `None`: those of this crate (OpenH264, libopus).
#[derive(Clone, Default)]
pub struct Decoders {
    /// Of pictures: H.264 access units in Annex B form.
    pub video: Option<NewDecoder<dyn VideoDecoder>>,
    /// Of sound: Opus packets.
    pub audio: Option<NewDecoder<dyn AudioDecoder>>,
}

/// Which local addresses are used for media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IceOptions {
    /// Interfaces that become host candidates.
    pub interfaces: Interfaces,
    /// Only candidates of TURN servers are used and told.
    pub turn_only: bool,
}

/// Which interfaces become host candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interfaces {
    /// Every interface, and loopback where the relay itself is reached by it.
    #[default]
    Automatic,
    /// Every interface but loopback.
    All,
    /// Every interface, loopback included.
    AllAndLoopback,
    /// Loopback only, for tests.
    LoopbackOnly,
}

/// Gives join tokens. Asked each time the connection to the relay is lost.
#[async_trait]
pub trait TokenProvider: Send + Sync {
    /// A token for the same room and identity, or `None` to go on with the last one.
    async fn token(&self) -> Option<String>;
}
