//! A wall around code of others that parses bytes from the network.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The code behind the wall panicked. What it worked on must not be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panicked;

/// Runs `work`; a panic in it ends one session instead of every room of a shard. The caller drops what `work` touched.
pub(super) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}
