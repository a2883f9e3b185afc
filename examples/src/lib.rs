//! Programs that show Segue at work: `src/bin/demo` is the demo of `cargo xtask demo`.
//!
//! The code of the README is compiled with the documentation tests of this crate.

#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
pub struct Readme;
