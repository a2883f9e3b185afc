//! `segue-bench NAME [ARGS]`: every benchmark of this house. `README.md` says what each prints.

mod attack;
mod bwe;
mod call;
mod cpu;
mod floor;
mod forward;
mod forward_mem;
mod measure;
mod memory;
mod rooms;
mod saturate;
mod soak;

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
    /// What forwarding costs the relay, beside its floor.
    Forward(forward::Arguments),
    /// The relay's way of a packet in memory, without system calls.
    ForwardMem(forward_mem::Arguments),
    /// A shard that always has full batches, and sockets that nobody reads.
    Saturate(saturate::Arguments),
    /// Few rooms and many.
    Rooms(rooms::Arguments),
    /// Resident bytes of many legs.
    Memory(memory::Arguments),
    /// One room is attacked, another measured.
    Attack(attack::Arguments),
    /// People come and go for a long time.
    Soak(soak::Arguments),
    /// The floor's process: takes its plan from standard input.
    #[command(hide = true)]
    Floor,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().bench {
        Bench::Bwe(arguments) => bwe::run(&arguments),
        Bench::Forward(arguments) => forward::run(&arguments),
        Bench::ForwardMem(arguments) => forward_mem::run(&arguments),
        Bench::Saturate(arguments) => saturate::run(&arguments),
        Bench::Rooms(arguments) => rooms::run(&arguments),
        Bench::Memory(arguments) => memory::run(&arguments),
        Bench::Attack(arguments) => attack::run(&arguments),
        Bench::Soak(arguments) => soak::run(&arguments),
        Bench::Floor => floor::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("segue-bench: {message}");
            ExitCode::FAILURE
        }
    }
}
