//! How much a connection may send before it has joined: without a token nobody makes the relay hold much.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes a connection may send between its upgrade and its Join: the largest Join (a token, metadata and the tracks of a participant that
/// returns, 18 KiB) in JSON, which may take twice that, and a few frames that are refused.
const STRANGER_BYTES: usize = 64 * 1024;

/// What a connection may still send. Shared by its socket, which spends it, and its reader, which knows whether it has joined.
#[derive(Debug)]
pub(crate) struct Allowance(AtomicUsize);

/// The connection sent more than a stranger may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a connection may send {STRANGER_BYTES} bytes before it has joined; send Join first")]
pub(crate) struct Spent;

impl Allowance {
    /// For requests to the page and the like: the HTTP server has limits of its own.
    pub(crate) const fn unlimited() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }

    /// It is a WebSocket now.
    pub(crate) fn begin(&self) {
        self.0.store(STRANGER_BYTES, Ordering::Relaxed);
    }

    /// It has joined: what is sent is the room's to judge.
    pub(crate) fn lift(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    /// Before more is read.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) == 0 { Err(io::Error::new(io::ErrorKind::QuotaExceeded, Spent)) } else { Ok(()) }
    }

    /// So much was read.
    pub(crate) fn spend(&self, bytes: usize) {
        // Nobody else changes it meanwhile, except to lift it: then the lifted value stays, or is short of it by what cannot matter.
        let left = self.0.load(Ordering::Relaxed);
        if left != usize::MAX {
            let _ = self.0.compare_exchange(left, left.saturating_sub(bytes), Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_little_and_members_have_no_limit_here() {
        let allowance = Allowance::unlimited();
        allowance.spend(10 * STRANGER_BYTES);
        assert!(allowance.check().is_ok());
        allowance.begin();
        allowance.spend(STRANGER_BYTES - 1);
        assert!(allowance.check().is_ok());
        allowance.spend(2);
        assert_eq!(allowance.check().expect_err("spent").kind(), io::ErrorKind::QuotaExceeded);
        allowance.lift();
        allowance.spend(10 * STRANGER_BYTES);
        assert!(allowance.check().is_ok());
    }
}
