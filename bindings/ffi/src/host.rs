//! The one thread on which the host is called. It runs the pumps that hand events, readiness and log records over, and nothing else:
//! what a host does in a callback holds up other callbacks only, never media or signalling.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

use crate::error::CallError;
use crate::runtime;

/// How long [`shut_down`] waits for a callback that is running.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

static HANDLE: OnceLock<Result<Handle, String>> = OnceLock::new();
static SHUT: AtomicBool = AtomicBool::new(false);

/// A pump. Ends when dropped.
pub(crate) struct Pump(JoinHandle<()>);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether the host may still be called.
pub(crate) fn is_open() -> bool {
    !SHUT.load(Ordering::Acquire)
}

/// Runs something on the host's thread until the returned value is dropped.
pub(crate) fn pump(work: impl Future<Output = ()> + Send + 'static) -> Result<Pump, CallError> {
    Ok(Pump(handle()?.spawn(work)))
}

/// Runs something on the host's thread to its end.
pub(crate) fn pump_to_end(work: impl Future<Output = ()> + Send + 'static) -> Result<(), CallError> {
    handle().map(|handle| drop(handle.spawn(work)))
}

fn handle() -> Result<Handle, CallError> {
    let start = || {
        let runtime = Builder::new_current_thread().build().map_err(|error| error.to_string())?;
        let handle = runtime.handle().clone();
        let work = move || {
            runtime::thread_started();
            runtime.block_on(std::future::pending::<()>());
        };
        std::thread::Builder::new().name("segue-host".to_owned()).spawn(work).map_err(|error| error.to_string())?;
        Ok(handle)
    };
    let started: &Result<Handle, String> = HANDLE.get_or_init(start);
    started
        .clone()
        .map_err(|reason| CallError::internal("runtime", format!("no thread for callbacks could be started: {reason}")))
}

/// From now on the host is not called any more; returns when a callback that was running is done.
pub(crate) fn shut_down() {
    SHUT.store(true, Ordering::Release);
    let Some(Ok(handle)) = HANDLE.get() else { return };
    let (done, wait) = std::sync::mpsc::channel();
    handle.spawn(async move {
        let _ = done.send(());
    });
    let _ = wait.recv_timeout(SHUTDOWN_PATIENCE);
}
