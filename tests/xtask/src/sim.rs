//! `cargo xtask sim`: builds the simulator in release and runs it.

use std::time::Instant;

use crate::shell::{cargo, execute};

/// Everything after `sim` goes to the simulator itself.
pub fn run(arguments: &[String]) -> Result<(), String> {
    execute(&mut cargo(&["build", "--release", "--package", "segue-sim", "--bin", "segue-sim"]))?;
    let started = Instant::now();
    let outcome =
        execute(cargo(&["run", "--quiet", "--release", "--package", "segue-sim", "--bin", "segue-sim", "--"]).args(arguments));
    eprintln!("{:.2} s of real time", started.elapsed().as_secs_f64());
    outcome
}

/// `cargo xtask bench handover`: the same program measures what a change of path costs.
pub fn handover(arguments: &[String]) -> Result<(), String> {
    let mut arguments: Vec<String> = [String::from("handover")].into_iter().chain(arguments.iter().cloned()).collect();
    if !arguments.iter().any(|argument| argument == "--html") {
        arguments.extend(["--html", "target/handover.html"].map(String::from));
    }
    run(&arguments)
}
