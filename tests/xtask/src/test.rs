//! `cargo xtask test`: every test there is, step by step, with one closing line that counts the steps.

use std::time::Instant;

use crate::shell::{cargo, execute};
use crate::{doctor, fuzz, kotlin, media, python, standard};

/// A step of the run: what it is called, and what it does.
type Step = (&'static str, fn() -> Result<(), String>);

/// In the order a developer wants to hear of a mistake.
const STEPS: [Step; 8] = [
    ("format", format),
    ("test", everything),
    ("browser", browser),
    ("python", python::test),
    ("kotlin", kotlin::test),
    ("standard", standard::clients),
    ("clippy", clippy),
    ("fuzz", fuzz::replay),
];

/// `cargo xtask test [--only STEP]...`
pub fn run(arguments: &[String]) -> Result<(), String> {
    let mut only = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()) {
            ("--only", Some(step)) if STEPS.iter().any(|(name, _)| name == step) => only.push(step.as_str()),
            _ => return Err(format!("usage: cargo xtask test [--only {}]", STEPS.map(|(name, _)| name).join("|"))),
        }
    }
    doctor::ensure(&[doctor::BUILD, doctor::TEST])?;
    doctor::ensure_components()?;
    let mut outcomes = Vec::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| only.is_empty() || only.contains(name)) {
        eprintln!("\n== {name}");
        let started = Instant::now();
        let outcome = step();
        if let Err(message) = &outcome {
            eprintln!("{name}: {message}");
        }
        outcomes.push((*name, started.elapsed().as_secs(), outcome.is_ok()));
    }
    println!("\nstep      result  seconds");
    for (name, seconds, passed) in &outcomes {
        println!("{name:<9} {:<7} {seconds}", if *passed { "ok" } else { "FAILED" });
    }
    let failed = outcomes.iter().filter(|(_, _, passed)| !passed).count();
    println!("\nsteps: {} passed, {failed} failed", outcomes.len() - failed);
    if failed == 0 { Ok(()) } else { Err("not everything passed".to_owned()) }
}

fn format() -> Result<(), String> {
    execute(&mut cargo(&["fmt", "--all", "--", "--check"]))
}

fn clippy() -> Result<(), String> {
    execute(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Unit, property, documentation and integration tests of every crate, the house rules and calls over real sockets among them. The
/// whole workspace at once, always: a part of it would be built with features of its own, and everything below it again.
fn everything() -> Result<(), String> {
    let media = media::prepare();
    execute(cargo(&["test", "--workspace", "--no-fail-fast", "--", "--skip", "browser"]).env("SEGUE_MEDIA", media))
}

/// The same with real Chromium tabs; one at a time, for a browser wants the machine for itself.
fn browser() -> Result<(), String> {
    execute(&mut cargo(&["test", "--workspace", "--no-fail-fast", "--test", "browser", "--", "--test-threads", "1"]))
}
