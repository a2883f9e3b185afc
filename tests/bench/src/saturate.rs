//! `segue-bench saturate`: a shard that always has full batches sends to sockets that nobody reads, beside a bare seal and send of runs of
//! the same lengths to the same sockets.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use segue_relay::shard::in_memory::{Burst, InMemorySocket, Outlet};
use serde_json::json;

use crate::cpu::{Ratio, thread_cpu};
use crate::forward_mem::floor::Floor;
use crate::forward_mem::room::{Memory, Room, Sealed, Shape};

/// What may be asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Packets forwarded in every slice that is timed.
    #[arg(long, default_value_t = 200_000)]
    packets: usize,
    /// Slices of the relay and of the floor, in turns.
    #[arg(long, default_value_t = 7)]
    slices: usize,
    /// Only this many receivers.
    #[arg(long)]
    legs: Option<usize>,
    /// JSON lines instead of a table.
    #[arg(long)]
    json: bool,
}

/// Receivers of one publisher, and how many of its packets wait at the shard's socket whenever it looks.
const SHAPES: [(usize, usize); 4] = [(40, 1), (40, 6), (40, 16), (100, 32)];

/// Runs the benchmark.
///
/// # Errors
/// What went wrong, in words.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    for (legs, waiting) in SHAPES {
        if arguments.legs.is_none_or(|wanted| wanted == legs) {
            measure(legs, waiting, arguments)?;
        }
    }
    Ok(())
}

/// Sends by the relay's socket, and notes what.
struct Noted<'a> {
    outlet: &'a dyn Outlet,
    memory: &'a Memory,
    /// Packets of each run.
    runs: RefCell<Vec<usize>>,
}

impl Outlet for Noted<'_> {
    fn send(&self, burst: Burst<'_>) -> bool {
        self.memory.note(&burst);
        let segment = burst.segment.unwrap_or(burst.bytes.len()).max(1);
        self.runs.borrow_mut().push(burst.bytes.len().div_ceil(segment));
        self.outlet.send(burst)
    }

    fn max_segments(&self) -> usize {
        self.outlet.max_segments()
    }
}

/// Sockets of the publisher, the shard and the receivers.
struct Sockets {
    publisher: UdpSocket,
    /// For what comes, and for what leaves: what leaves must not wait for the other to be looked at.
    shard: InMemorySocket,
    leaving: InMemorySocket,
    /// Held open, never read.
    _sinks: Vec<UdpSocket>,
    receivers: Vec<SocketAddr>,
}

impl Sockets {
    fn new(legs: usize) -> Result<Self, String> {
        let told = |error: std::io::Error| format!("cannot make a socket: {error}");
        let any = || (Ipv4Addr::LOCALHOST, 0);
        let sinks = (0..legs).map(|_| UdpSocket::bind(any())).collect::<Result<Vec<_>, _>>().map_err(told)?;
        let receivers = sinks.iter().map(UdpSocket::local_addr).collect::<Result<Vec<_>, _>>().map_err(told)?;
        let publisher = UdpSocket::bind(any()).map_err(told)?;
        let shard = InMemorySocket::bind(any().into()).map_err(told)?;
        let leaving = InMemorySocket::bind(any().into()).map_err(told)?;
        publisher.connect(shard.local()).map_err(told)?;
        Ok(Self { publisher, shard, leaving, _sinks: sinks, receivers })
    }
}

fn measure(legs: usize, waiting: usize, arguments: &Arguments) -> Result<(), String> {
    let mut sockets = Sockets::new(legs)?;
    let from = sockets.publisher.local_addr().map_err(|error| error.to_string())?;
    let shape = Shape { legs, batch: 1 };
    let mut room = Room::at(shape, from, &sockets.receivers)?;
    let mut floor = Floor::new(shape)?;
    let memory = Memory::default();
    let mut ratio = Ratio::default();
    let (mut packets, mut calls) = (0, 0);
    // The first slice only warms up.
    for slice in 0..=arguments.slices {
        let sealed = room.seal(arguments.packets);
        let begin = memory.packets.get();
        let (spent, runs) = forward(&mut room, &mut sockets, &sealed, waiting, &memory)?;
        let forwarded = memory.packets.get() - begin;
        let before = thread_cpu()?;
        let sent = floor.replay(&runs, &sockets.receivers, sockets.leaving.outlet());
        let floor_spent = thread_cpu()? - before;
        room.check(&memory)?;
        if slice > 0 {
            (packets, calls) = (packets + forwarded, calls + runs.len() as u64);
            let of = |span: Duration, packets: u64| span.as_nanos() as f64 / packets.max(1) as f64;
            ratio.push(of(spent, forwarded), of(floor_spent, sent));
        }
    }
    let run = packets as f64 / calls.max(1) as f64;
    let round = |value: f64| (value * 1_000.0).round() / 1_000.0;
    if arguments.json {
        let line = json!({
            "kind": "saturate",
            "shape": format!("1x{legs}"),
            "batch": waiting,
            "packets": packets,
            "checked": memory.checked.get(),
            "gso_run_mean": round(run),
            "cpu_us_per_packet": round(ratio.ours() / 1_000.0),
            "floor_us_per_packet": round(ratio.floor() / 1_000.0),
            "packets_per_second_and_core": (1e9 / ratio.ours()).round(),
            "ratio": round(ratio.median()),
            "ratio_min": round(ratio.min()),
            "ratio_max": round(ratio.max()),
            "met": ratio.median() <= 1.5,
        });
        println!("{line}");
    } else {
        let (ours, floor) = (ratio.ours() / 1_000.0, ratio.floor() / 1_000.0);
        println!("1x{legs:<4} runs of {run:>4.1}  {ours:.2} us a packet, floor {floor:.2} us, ratio {:.2}", ratio.median());
    }
    Ok(())
}

/// Brings packets to the shard's socket, so many before it looks, and gives what the shard spent and the lengths of the runs it sent.
fn forward(
    room: &mut Room,
    sockets: &mut Sockets,
    Sealed(packets): &Sealed,
    waiting: usize,
    memory: &Memory,
) -> Result<(Duration, Vec<usize>), String> {
    let noted = Noted { outlet: sockets.leaving.outlet(), memory, runs: RefCell::default() };
    let mut spent = Duration::ZERO;
    for batch in packets.chunks(waiting) {
        for packet in batch {
            sockets.publisher.send(packet).map_err(|error| format!("the publisher cannot send: {error}"))?;
        }
        let before = thread_cpu()?;
        room.receive(&mut sockets.shard, &noted);
        spent += thread_cpu()? - before;
    }
    Ok((spent, noted.runs.into_inner()))
}
