//! Waiting for a condition, never for a time.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How long anything may take on a busy machine. Nothing is measured by it: a test that meets it found something that never happens.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until nothing is missing. `missing` gives what a reader of the failure wants to know, or `None` once all is well.
///
/// # Panics
/// When something is missing for [`PATIENCE`].
pub async fn eventually<T: Debug>(what: &str, mut missing: impl FnMut() -> Option<T>) {
    let mut last = None;
    let waiting = async {
        while let Some(found) = missing() {
            last = Some(found);
            sleep(LOOK_EVERY).await;
        }
    };
    if timeout(PATIENCE, waiting).await.is_err() {
        panic!("{what} did not happen: {last:#?}");
    }
}

/// Waits for a future.
///
/// # Panics
/// When it takes longer than [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}
