//! `segue-bench forward-mem`: the relay's way of a packet in memory, without system calls, beside the work that cannot be avoided: a copy
//! and a seal for every receiver.

pub mod floor;
mod instructions;
pub mod room;

use serde_json::json;

use crate::cpu::{Ratio, thread_cpu};
use room::{Memory, Room, Shape};

/// What may be asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Packets forwarded in every slice that is timed.
    #[arg(long, default_value_t = 600_000)]
    packets: usize,
    /// Slices of the relay and of the floor, in turns.
    #[arg(long, default_value_t = 9)]
    slices: usize,
    /// Only this many receivers.
    #[arg(long)]
    legs: Option<usize>,
    /// Only this many packets of the publisher in a batch.
    #[arg(long)]
    batch: Option<usize>,
    /// JSON lines instead of a table.
    #[arg(long)]
    json: bool,
    /// No count of instructions (by valgrind, where it is installed).
    #[arg(long)]
    no_instructions: bool,
    /// One slice of the relay's path and nothing else: what a profiler or a counter of instructions is run on.
    #[arg(long)]
    once: bool,
}

/// Receivers of one publisher.
const LEGS: [usize; 3] = [10, 40, 100];

/// Packets of the publisher that come at once: one (even pacing), and a frame.
const BATCHES: [usize; 2] = [1, 6];

/// Runs the benchmark.
///
/// # Errors
/// What went wrong, in words.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let legs =
        LEGS.into_iter().filter(|&legs| arguments.legs.is_none_or(|wanted| wanted == legs)).chain(extra(arguments.legs, &LEGS));
    let shapes = legs.flat_map(|legs| {
        let batches = BATCHES.into_iter().chain(extra(arguments.batch, &BATCHES));
        batches.filter(|&batch| arguments.batch.is_none_or(|wanted| wanted == batch)).map(move |batch| Shape { legs, batch })
    });
    for shape in shapes.collect::<Vec<_>>() {
        if arguments.once {
            once(shape, arguments.packets)?;
        } else {
            measure(shape, arguments)?;
        }
    }
    Ok(())
}

fn extra(wanted: Option<usize>, known: &[usize]) -> Option<usize> {
    wanted.filter(|wanted| !known.contains(wanted))
}

/// Forwards so many packets once.
fn once(shape: Shape, packets: usize) -> Result<(), String> {
    let mut room = Room::new(shape)?;
    let outlet = Memory::default();
    let batches = room.seal(packets);
    room.forward(batches, &outlet);
    room.check(&outlet)
}

fn measure(shape: Shape, arguments: &Arguments) -> Result<(), String> {
    let mut room = Room::new(shape)?;
    let mut floor = floor::Floor::new(shape)?;
    let outlet = Memory::default();
    // Caches, lists and branch predictors get their state.
    let warm = room.seal(arguments.packets / 10);
    room.forward(warm, &outlet);
    floor.run(arguments.packets / 10);
    let mut ratio = Ratio::default();
    for _ in 0..arguments.slices {
        let batches = room.seal(arguments.packets);
        let before = (thread_cpu()?, outlet.packets.get());
        room.forward(batches, &outlet);
        let after = (thread_cpu()?, outlet.packets.get());
        let sealed = floor.run(arguments.packets);
        let end = thread_cpu()?;
        let forwarded = after.1 - before.1;
        let of = |span: std::time::Duration, packets: u64| span.as_nanos() as f64 / packets.max(1) as f64;
        ratio.push(of(after.0 - before.0, forwarded), of(end - after.0, sealed));
    }
    room.check(&outlet)?;
    let instructions = if arguments.no_instructions { None } else { instructions::per_packet(shape) };
    let line = json!({
        "kind": "forward-mem",
        "shape": format!("1x{}", shape.legs),
        "batch": shape.batch,
        "packets": outlet.packets.get(),
        "checked": outlet.checked.get(),
        "cpu_ns_per_packet": round(ratio.ours()),
        "floor_ns_per_packet": round(ratio.floor()),
        "ratio": (ratio.median() * 1_000.0).round() / 1_000.0,
        "ratio_min": (ratio.min() * 1_000.0).round() / 1_000.0,
        "ratio_max": (ratio.max() * 1_000.0).round() / 1_000.0,
        "instructions_per_packet": instructions,
        "met": ratio.median() <= 1.4,
    });
    if arguments.json {
        println!("{line}");
    } else {
        println!(
            "1x{:<4} batch {}  {:>6.0} ns a packet, floor {:>6.0} ns, ratio {:.2}{}",
            shape.legs,
            shape.batch,
            ratio.ours(),
            ratio.floor(),
            ratio.median(),
            instructions.map_or(String::new(), |count| format!(", {count} instructions")),
        );
    }
    Ok(())
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
