//! `cargo xtask bench`: builds in release and runs a benchmark.

use std::process::Command;

use crate::doctor;
use crate::shell::{cargo, execute, target};

/// Benchmarks that put a relay of its own under load: its binary is built, too.
const OF_THE_RELAY: [&str; 5] = ["forward", "rooms", "memory", "attack", "soak"];

/// Everything goes to the benchmarks' own program.
pub fn run(arguments: &[String]) -> Result<(), String> {
    doctor::ensure(&[doctor::BUILD])?;
    if arguments.first().is_some_and(|name| OF_THE_RELAY.contains(&name.as_str())) {
        return under_load(arguments);
    }
    execute(cargo(&["run", "--quiet", "--release", "--package", "segue-bench", "--"]).args(arguments))
}

/// Built together, so that what both stand on is compiled once.
fn under_load(arguments: &[String]) -> Result<(), String> {
    let packages = ["--package", "segue-relay", "--package", "segue-bench"];
    execute(cargo(&["build", "--quiet", "--release", "--bin", "segue-relay", "--bin", "segue-bench"]).args(packages))?;
    execute(Command::new(target().join("release/segue-bench")).args(arguments))
}

/// `cargo xtask bench join`: from a token in hand to the first sound and picture.
pub fn join(arguments: &[String]) -> Result<(), String> {
    doctor::ensure(&[doctor::BUILD])?;
    execute(cargo(&["run", "--quiet", "--release", "--package", "segue-e2e", "--bin", "join", "--"]).args(arguments))
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
