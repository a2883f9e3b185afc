//! `cargo xtask bench`: builds in release and runs a benchmark.

use crate::doctor;
use crate::shell::{cargo, execute};

/// Everything goes to the benchmarks' own program.
pub fn run(arguments: &[String]) -> Result<(), String> {
    doctor::ensure(&[doctor::BUILD])?;
    execute(cargo(&["run", "--quiet", "--release", "--package", "segue-bench", "--"]).args(arguments))
}
