//! `segue-bench NAME [ARGS]`: every benchmark of this house. `README.md` says what each prints.

mod bwe;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "segue-bench", about = "Measures Segue and prints JSON lines")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// The bandwidth estimator over emulated links, in virtual time.
    Bwe(bwe::Arguments),
}

fn main() -> ExitCode {
    let Arguments { bench: Bench::Bwe(arguments) } = Arguments::parse();
    match bwe::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("segue-bench: {message}");
            ExitCode::FAILURE
        }
    }
}
