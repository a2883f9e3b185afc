//! The runtime everything runs on: one, ours, with several threads, whatever the host uses.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::AbortHandle;

use crate::cancel::CancelToken;
use crate::error::CallError;
use crate::host;

/// Fewest threads: one for rooms, one for their transports.
const MIN_WORKERS: usize = 2;

/// Most threads: rooms of a host are few, and codecs have threads of their own.
const MAX_WORKERS: usize = 8;

static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
static HOOK: OnceLock<fn()> = OnceLock::new();

/// What every thread of ours does first: on a JVM it attaches itself, once. To be set before the first room; false where it is set already.
pub fn set_thread_start_hook(hook: fn()) -> bool {
    HOOK.set(hook).is_ok()
}

/// To be called by every thread this crate starts.
pub(crate) fn thread_started() {
    if let Some(hook) = HOOK.get() {
        hook();
    }
}

/// Where work of this crate is spawned.
pub(crate) fn handle() -> Result<Handle, CallError> {
    let start = || {
        let workers =
            std::thread::available_parallelism().map_or(MIN_WORKERS, |cores| cores.get().clamp(MIN_WORKERS, MAX_WORKERS));
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(workers).thread_name("segue").on_thread_start(thread_started).enable_all();
        builder.build().map_err(|error| error.to_string())
    };
    match RUNTIME.get_or_init(start) {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(reason) => Err(CallError::internal("runtime", format!("no runtime could be started: {reason}"))),
    }
}

/// A task that ends when nobody waits for it any more.
struct Owned(AbortHandle);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs work on our runtime. Whoever polls the returned future is the host's own executor: it only waits, and is woken on a thread of
/// [`host`]. The work is dropped with the
/// future, when `cancel` says so, and its panic is an error.
pub(crate) async fn run<T: Send + 'static>(
    cancel: Option<Arc<CancelToken>>,
    work: impl Future<Output = Result<T, CallError>> + Send + 'static,
) -> Result<T, CallError> {
    let task = handle()?.spawn(work);
    let _owned = Owned(task.abort_handle());
    let outcome = host::answer(task)?;
    let cancelled = async {
        match &cancel {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = cancelled => Err(CallError::cancelled()),
        outcome = outcome => outcome
            .map_err(|_| CallError::cancelled())?
            .unwrap_or_else(|error| Err(CallError::internal("panic", format!("the SDK failed: {error}")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let outcome = run(None, async { if true { panic!("on purpose") } else { Ok(()) } }).await;
        assert!(matches!(outcome, Err(CallError::Internal { code, .. }) if code == "panic"));
    }

    #[tokio::test]
    async fn a_cancelled_call_ends_and_its_work_is_dropped() {
        struct Note(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Note {
            fn drop(&mut self) {
                let _ = self.0.take().map(|told| told.send(()));
            }
        }
        let (told, dropped) = tokio::sync::oneshot::channel();
        let note = Note(Some(told));
        let token = CancelToken::new();
        let work = async move {
            let _note = note;
            std::future::pending::<()>().await;
            Ok(())
        };
        let (outcome, ()) = tokio::join!(run(Some(token.clone()), work), async { token.cancel() });
        assert_eq!(outcome, Err(CallError::cancelled()));
        dropped.await.expect("the work is gone");
    }
}
