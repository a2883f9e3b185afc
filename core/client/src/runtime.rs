//! The tokio runtime a room runs on: the host's where there is one, our own otherwise.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::Error;

/// Threads of our own runtime: one for the room, one for its transports.
const WORKERS: usize = 2;

static OWN: OnceLock<Option<Runtime>> = OnceLock::new();

/// The runtime to spawn on.
pub(crate) fn handle() -> Result<Handle, Error> {
    if let Ok(handle) = Handle::try_current() {
        return Ok(handle);
    }
    own().map(|runtime| runtime.handle().clone())
}

/// Runs a future of this crate to its end from code that is not async.
///
/// # Errors
/// [`Error::Runtime`] where no runtime could be started.
///
/// # Panics
/// When called from within an async task.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Error> {
    Ok(own()?.block_on(future))
}

fn own() -> Result<&'static Runtime, Error> {
    OWN.get_or_init(|| Builder::new_multi_thread().worker_threads(WORKERS).thread_name("segue").enable_all().build().ok())
        .as_ref()
        .ok_or_else(|| Error::Runtime("the system refuses threads or sockets".to_owned()))
}
