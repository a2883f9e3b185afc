//! How a room is joined and a track is published.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use segue::{IceOptions, RoomOptions};

use crate::error::CallError;
use crate::host::Foreign;
use crate::quality::TopologyPolicy;
use crate::track::TrackSource;

/// Which local addresses are used for media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Interfaces {
    /// Every interface, and loopback where the relay itself is reached by it.
    Automatic,
    /// Every interface but loopback.
    All,
    /// Every interface, loopback included.
    AllAndLoopback,
    /// Loopback only, for tests.
    LoopbackOnly,
}

/// How a room is joined. What is left out is chosen well for a call between people.
#[derive(Clone, Debug, uniffi::Record)]
pub struct ConnectOptions {
    /// Shown to others; empty: the token's name.
    #[uniffi(default = "")]
    pub name: String,
    /// The application's own, shown to others; at most 4 KiB.
    #[uniffi(default = "")]
    pub metadata: String,
    /// Which paths are allowed; absent: mesh while small, relay when grown.
    #[uniffi(default = None)]
    pub policy: Option<TopologyPolicy>,
    /// Which local addresses are used; absent: automatic.
    #[uniffi(default = None)]
    pub interfaces: Option<Interfaces>,
    /// Only candidates of TURN servers are used and told.
    #[uniffi(default = false)]
    pub turn_only: bool,
    /// Every track is received from the moment it is published.
    #[uniffi(default = true)]
    pub auto_subscribe: bool,
    /// May build legs to other participants; false: everything through the relay.
    #[uniffi(default = true)]
    pub direct: bool,
    /// Any certificate of the relay is taken. For development.
    #[uniffi(default = false)]
    pub trust_any_certificate: bool,
    /// How long connecting may take, in milliseconds.
    #[uniffi(default = 15000)]
    pub connect_timeout_ms: u64,
}

/// How a track is announced.
#[derive(Clone, Debug, uniffi::Record)]
pub struct PublishOptions {
    /// What it shows or sounds; absent: camera or microphone, by kind.
    #[uniffi(default = None)]
    pub source: Option<TrackSource>,
    /// For people.
    #[uniffi(default = "")]
    pub name: String,
    /// Begins silent.
    #[uniffi(default = false)]
    pub muted: bool,
}

/// Gives join tokens: asked when a room is joined without one, and whenever the connection to the relay is lost.
#[uniffi::export(foreign)]
#[async_trait]
pub trait TokenProvider: Send + Sync {
    /// A fresh token for the same room and identity.
    async fn token(&self) -> Result<String, CallError>;
}

/// The host's provider as the core asks it.
struct Provider(Foreign<dyn TokenProvider>);

#[async_trait]
impl segue::TokenProvider for Provider {
    async fn token(&self) -> Option<String> {
        match self.0.token().await {
            Ok(token) => Some(token),
            Err(error) => {
                tracing::warn!(%error, "no new token: the last one is used again");
                None
            }
        }
    }
}

impl ConnectOptions {
    pub(crate) fn into_core(self, provider: Option<Arc<dyn TokenProvider>>) -> RoomOptions {
        let interfaces = match self.interfaces.unwrap_or(Interfaces::Automatic) {
            Interfaces::Automatic => segue::Interfaces::Automatic,
            Interfaces::All => segue::Interfaces::All,
            Interfaces::AllAndLoopback => segue::Interfaces::AllAndLoopback,
            Interfaces::LoopbackOnly => segue::Interfaces::LoopbackOnly,
        };
        RoomOptions {
            name: self.name,
            metadata: self.metadata,
            policy: self.policy.map(Into::into).unwrap_or_default(),
            ice: IceOptions { interfaces, turn_only: self.turn_only },
            auto_subscribe: self.auto_subscribe,
            direct: self.direct,
            trust_any_certificate: self.trust_any_certificate,
            token_provider: provider
                .map(|provider| Arc::new(Provider(Foreign::new(provider))) as Arc<dyn segue::TokenProvider>),
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
            ..RoomOptions::default()
        }
    }
}

impl PublishOptions {
    pub(crate) fn into_core(self) -> segue::TrackOptions {
        segue::TrackOptions { source: self.source.map(Into::into), name: self.name, muted: self.muted }
    }
}
