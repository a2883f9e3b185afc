//! `segue-bench rooms`: the same packets a second over few rooms and over many. What a room costs by being there must not show.

use std::sync::Arc;
use std::time::Duration;

use segue_bench::load::leg::Identity;
use segue_bench::load::receive::Waiting;
use segue_bench::load::schedule::{PACKETS_PER_FRAME, Pace, Programme};
use segue_bench::load::stats::round;
use serde_json::json;

use crate::call::{Call, Server, Shape};
use crate::measure::{Flow, Rounds, print};

/// A packet in many rooms may cost so much more than in few.
const GOAL: f64 = 1.2;

/// What may be asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Rooms of the two runs
    #[arg(long, num_args = 2, default_values_t = [5, 500])]
    rooms: Vec<usize>,
    /// Players in every room, of its one publisher
    #[arg(long, default_value_t = 2)]
    players: usize,
    /// Packets a second, of all players
    #[arg(long, default_value_t = 8_000.0)]
    rate: f64,
    /// Seconds of one measured stretch
    #[arg(long, default_value_t = 5.0, value_parser = crate::measure::seconds)]
    seconds: f64,
    /// Measured stretches; figures are their medians
    #[arg(long, default_value_t = 3, value_parser = crate::measure::rounds)]
    rounds: usize,
    #[command(flatten)]
    server: Server,
    /// JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

/// Measures both numbers of rooms.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let identity = Arc::new(Identity::generate()?);
    let mut costs = Vec::new();
    for &rooms in &arguments.rooms {
        let shape = Shape { publishers: rooms, receivers: arguments.players };
        let call = Call::start(&identity, &arguments.server, shape, false)?;
        let mut flow = Flow::start(&identity, call, Waiting::Polled)?;
        let frame_rate = arguments.rate / shape.legs() as f64 / f64::from(PACKETS_PER_FRAME);
        let programme = Programme { pace: Pace::Even, frame_rate, audio: false };
        let stretch = Duration::from_secs_f64(arguments.seconds);
        let rounds = Rounds::measure(&mut flow, programme, stretch, shape, arguments.rounds, Waiting::Polled)?;
        drop(flow.receivers.stop());
        let line = json!({
            "kind": "rooms", "rooms": rooms, "players": arguments.players, "packets": rounds.received(), "lost": rounds.lost(),
            "cpu_us_per_packet": round(rounds.cost()), "floor_us_per_packet": round(rounds.floor()),
            "ratio": round(rounds.cost() / rounds.floor()), "delay_ms": rounds.delays(1).quantiles(),
            "generator_cpu": round(rounds.generator), "generator_late": rounds.sent(|sent| sent.late),
            "unfit": rounds.unfit,
        });
        print(&line, arguments.json);
        costs.push(rounds.cost());
    }
    if let [few, many] = costs.as_slice() {
        let growth = many / few;
        let line = json!({"kind": "rooms_check", "growth": round(growth), "goal": {"growth": GOAL}, "met": growth <= GOAL});
        print(&line, arguments.json);
    }
    Ok(())
}
