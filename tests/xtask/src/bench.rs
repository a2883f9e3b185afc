//! `cargo xtask bench`: builds in release and runs a benchmark.

use crate::doctor;
use crate::shell::{cargo, execute};

/// Everything goes to the benchmarks' own program.
pub fn run(arguments: &[String]) -> Result<(), String> {
    doctor::ensure(&[doctor::BUILD])?;
    execute(cargo(&["run", "--quiet", "--release", "--package", "segue-bench", "--"]).args(arguments))
}

/// `cargo xtask bench browser`: what people in Chromium miss while their call changes its path. Built like the tests, whose profile is optimized
/// too, so that nothing is compiled twice.
pub fn browser(arguments: &[String]) -> Result<(), String> {
    doctor::ensure(&[doctor::BUILD, doctor::TEST])?;
    execute(cargo(&["run", "--quiet", "--package", "segue-e2e", "--bin", "browser_handover", "--"]).args(arguments))
}

/// `cargo xtask bench handover --real`: what a change of path costs over real sockets with real codecs, in release like the demo.
pub fn handover(arguments: &[String]) -> Result<(), String> {
    doctor::ensure(&[doctor::BUILD])?;
    execute(cargo(&["run", "--quiet", "--release", "--package", "segue-e2e", "--bin", "handover", "--"]).args(arguments))
}
