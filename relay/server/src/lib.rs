//! The Segue relay: signalling, tokens and the selective forwarding unit behind one binary, `segue-relay`.
//!
//! A relay runs inside any process: [`Relay::start`] gives a handle with its address, makes tokens and shuts it down.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use segue_relay::{Config, Grants, Relay};
//!
//! let relay = Relay::start(Config::ephemeral()).await?;
//! let token = relay.token("lobby", "ann", Grants::default())?;
//! println!("join {} with {token}", relay.url());
//! relay.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod auth;
pub mod check;
pub mod clock;
pub mod config;
mod http;
pub mod media_plane;
pub mod metrics;
pub mod redact;
mod relay;
pub mod sdp;
pub mod shard;
mod signalling;
mod tls;
pub mod transport;

pub use auth::{Claims, Grants};
pub use config::Config;
pub use relay::{Relay, StartError};
