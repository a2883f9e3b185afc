//! `cargo xtask`: everything a newcomer, a developer or CI runs, from a machine that has Rust only.

mod bench;
mod bindings;
mod demo;
mod doctor;
mod fuzz;
mod kotlin;
mod media;
mod python;
mod shell;
mod sim;
mod standard;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [--json] [ARGS]    a real call that starts as a mesh, grows into the relay and comes back
  sim [ARGS]              a call in virtual time: --seed S, --scenario FILE, --soak, --json, --html FILE
  bench NAME [ARGS]       measures something and prints JSON lines (tests/bench/README.md says what there is);
                          handover --real: over real sockets instead of in virtual time
  test [--only STEP]...   every test: lints, house rules, unit, property, end to end, browser, fuzz replay
                          (steps: format test browser python kotlin standard clippy fuzz)
  bindings [--release] [--accept]   builds the seam and generates what Swift, Kotlin and Python need into target/bindings;
                          --release: the library as it is shipped, whose size is checked
  fuzz [SECONDS] [NAME]   runs the fuzz targets, each for SECONDS (default 60)
  doctor [--check]        says what this machine lacks and installs it where it can (--check: only says)
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let outcome = match command.as_deref() {
        Some("demo") => demo::run(&rest),
        Some("bench") if rest.first().is_some_and(|name| name == "handover") => handover(&rest[1..]),
        Some("bench") if rest.first().is_some_and(|name| name == "browser") => bench::browser(&rest[1..]),
        Some("bench") if rest.first().is_some_and(|name| name == "bindings") => bindings::bench(&rest[1..]),
        Some("bindings") => bindings::run(&rest),
        Some("bench") if rest.first().is_some_and(|name| name == "join") => bench::join(&rest[1..]),
        Some("bench") => bench::run(&rest),
        Some("sim") => sim::run(&rest),
        Some("test") => test::run(&rest),
        Some("fuzz") => fuzz::run(&rest),
        Some("doctor") => doctor::run(&rest),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("there is no command {:?}\n\n{USAGE}", other.unwrap_or(""))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// In virtual time, or over real sockets.
fn handover(arguments: &[String]) -> Result<(), String> {
    if arguments.iter().any(|argument| argument == "--real") { bench::handover(arguments) } else { sim::handover(arguments) }
}
