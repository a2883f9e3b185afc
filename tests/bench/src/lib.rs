//! What benchmarks and tests of the relay's data plane share: [`load`], legs that are cheap enough to be many.

pub mod load;
