//! The threads on which the host is called, and no others. One runs the pumps that hand events, readiness and log records over: what a host
//! does in a callback holds up other callbacks only, never media or signalling. The other wakes whoever waits for a call: also a host that
//! waits in a callback.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

use crate::error::CallError;
use crate::runtime;

/// How long [`shut_down`] waits for a callback that is running.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

static PUMPS: HostThread = HostThread::new("segue-host");
static ANSWERS: HostThread = HostThread::new("segue-answers");
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
    Ok(Pump(PUMPS.handle()?.spawn(work)))
}

/// Runs something on the host's thread to its end.
pub(crate) fn pump_to_end(work: impl Future<Output = ()> + Send + 'static) -> Result<(), CallError> {
    PUMPS.handle().map(|handle| drop(handle.spawn(work)))
}

/// Gives what a task of the SDK comes to from a thread on which the host may be woken.
pub(crate) fn answer<T: Send + 'static>(task: JoinHandle<T>) -> Result<oneshot::Receiver<Result<T, JoinError>>, CallError> {
    let (answer, waiting) = oneshot::channel();
    let hand_over = async move {
        let outcome = task.await;
        if is_open() {
            let _ = answer.send(outcome);
        }
    };
    ANSWERS.handle().map(|handle| {
        drop(handle.spawn(hand_over));
        waiting
    })
}

/// A thread that calls the host, started when it is needed first.
struct HostThread {
    name: &'static str,
    handle: OnceLock<Result<Handle, String>>,
}

impl HostThread {
    const fn new(name: &'static str) -> Self {
        Self { name, handle: OnceLock::new() }
    }

    fn handle(&self) -> Result<Handle, CallError> {
        let start = || {
            let runtime = Builder::new_current_thread().build().map_err(|error| error.to_string())?;
            let handle = runtime.handle().clone();
            let work = move || {
                runtime::thread_started();
                runtime.block_on(std::future::pending::<()>());
            };
            std::thread::Builder::new().name(self.name.to_owned()).spawn(work).map_err(|error| error.to_string())?;
            Ok(handle)
        };
        let started = self.handle.get_or_init(start);
        let failed = |reason| CallError::internal("runtime", format!("no thread for callbacks could be started: {reason}"));
        started.clone().map_err(failed)
    }

    /// Stands still from now on; returns when a callback that was running is done.
    fn stop(&self) {
        let Some(Ok(handle)) = self.handle.get() else { return };
        let (done, wait) = std::sync::mpsc::channel();
        handle.spawn(async move {
            let _ = done.send(());
            loop {
                std::thread::park();
            }
        });
        let _ = wait.recv_timeout(SHUTDOWN_PATIENCE);
    }
}

/// Something of the host's that it is told when we let it go. Once the host is not called any more it is kept instead: to let it go would be to
/// call.
pub(crate) struct Foreign<T: ?Sized>(ManuallyDrop<Arc<T>>);

impl<T: ?Sized> Foreign<T> {
    pub(crate) const fn new(object: Arc<T>) -> Self {
        Self(ManuallyDrop::new(object))
    }
}

impl<T: ?Sized> Deref for Foreign<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> Drop for Foreign<T> {
    fn drop(&mut self) {
        if is_open() {
            // SAFETY: dropped here and nowhere else, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

/// From now on the host is not called any more; returns when callbacks that were running are done.
pub(crate) fn shut_down() {
    SHUT.store(true, Ordering::Release);
    PUMPS.stop();
    ANSWERS.stop();
}
