//! Ending a long call from outside. Kotlin and Python drop a cancelled call by themselves; Swift (UniFFI 0.32) does not, and needs
//! this.

use std::sync::Arc;

use tokio::sync::watch;

/// Ends the calls it was given to: they fail with [`crate::CallError::Cancelled`], and what they began is undone. One token may be
/// given to several calls; once cancelled it stays so.
#[derive(Debug, uniffi::Object)]
pub struct CancelToken {
    cancelled: watch::Sender<bool>,
}

#[uniffi::export]
impl CancelToken {
    /// A token nobody has cancelled.
    #[uniffi::constructor]
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { cancelled: watch::Sender::new(false) })
    }

    /// Ends every call that holds the token, now or later.
    pub fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }
}

impl CancelToken {
    /// Resolves once cancelled.
    pub(crate) async fn cancelled(&self) {
        // The sender lives as long as `self`: the wait cannot fail.
        let _ = self.cancelled.subscribe().wait_for(|cancelled| *cancelled).await;
    }
}
