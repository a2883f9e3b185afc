//! What the end-to-end tests share: real sockets, real codecs, real browsers.
//!
//! A test starts a [`TestRelay`], lets [`Guest`]s join it, and waits for what its name says with [`eventually`]. Every guest writes
//! down what it sees and hears of whom, so that a test asks people, not statistics.

pub mod call;
pub mod chromium;
pub mod encoded;
pub mod fabric;
pub mod guest;
pub mod handover;
pub mod link;
pub mod log;
pub mod messages;
pub mod pages;
pub mod proxy;
pub mod relay;
pub mod wait;

pub use guest::{Guest, Joining};
pub use link::Link;
pub use log::Log;
pub use messages::Counting;
pub use proxy::Proxy;
pub use relay::TestRelay;
pub use wait::eventually;
