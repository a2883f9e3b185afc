//! Generates the internal modules of the Swift, Kotlin and Python packages from the built library, and lists the surface of the seam.
//!
//! A crate of its own, because only who generates needs the generators: applications link none of this.

mod generate;
mod surface;

pub use generate::{Language, generate};
pub use surface::{fingerprint, surface};
