//! Which build this is.

use crate::host;

/// The shape of everything that is exported, as it is committed; `cargo xtask bindings` and a test keep it true.
const SURFACE: &str = include_str!("../surface.txt");

/// Version of the SDK and a number for the shape of its interface, such as `0.1.0+5a31c2d4`. What is generated for a language carries the
/// same words: where they differ, library and bindings are of different builds and must not be used together.
#[uniffi::export]
#[must_use]
pub fn sdk_version() -> String {
    format!("{}+{:08x}", env!("CARGO_PKG_VERSION"), fingerprint(SURFACE))
}

/// From now on the host is not called any more; returns when a callback that was running is done. For hosts whose runtime ends before the
/// process does (Python at exit).
#[uniffi::export]
pub fn shut_down() {
    host::shut_down();
}

/// FNV-1a, folded to 32 bits: tells builds apart, protects from nothing.
#[must_use]
pub fn fingerprint(surface: &str) -> u32 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = surface.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    (hash ^ (hash >> 32)) as u32
}
