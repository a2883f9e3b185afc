//! `segue-bench forward`: what forwarding costs a relay, beside what the bare sends would cost.

use std::sync::Arc;
use std::time::Duration;

use segue_bench::load::leg::Identity;
use segue_bench::load::receive::Waiting;
use segue_bench::load::schedule::{Pace, Programme, frame_rate};
use segue_bench::load::stats::{Quantiles, round};
use serde::Serialize;
use serde_json::{Value, json};

use crate::call::{Call, Server, Shape};
use crate::measure::{Flow, Rounds, print};

/// Packets a second of all receivers at most: the generator costs as much as what it measures.
const LIMIT: f64 = 20_000.0;

/// Figures of the relay are at most a second old.
const FIGURES: Duration = Duration::from_millis(1_100);

/// What may be asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Publishers and receivers of each, as `1x100`; may be given several times
    #[arg(long = "shape", default_values = ["1x10", "1x40", "1x100", "10x10"])]
    shapes: Vec<Shape>,
    /// How the packets of a frame are spread; may be given several times
    #[arg(long = "pace", default_values = ["even", "burst"])]
    paces: Vec<Pace>,
    /// Seconds of one measured stretch
    #[arg(long, default_value_t = 4.0, value_parser = crate::measure::seconds)]
    seconds: f64,
    /// Measured stretches, and as many of the floor; figures are their medians
    #[arg(long, default_value_t = 3, value_parser = crate::measure::rounds)]
    rounds: usize,
    /// How receivers wait
    #[arg(long, default_value = "woken")]
    receivers: Waiting,
    /// Legs give and take transport-wide feedback
    #[arg(long)]
    feedback: bool,
    #[command(flatten)]
    server: Server,
    /// JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

/// What is printed of a shape at a pace, in this order.
#[derive(Serialize)]
struct Line {
    kind: &'static str,
    shape: String,
    pace: Pace,
    cpu_us_per_packet: f64,
    floor_us_per_packet: f64,
    ratio: f64,
    packets: u64,
    lost: u64,
    gso_run_mean: Option<f64>,
    delay_ms: Option<Quantiles>,
    audio_delay_ms: Option<Quantiles>,
    rss_kib_per_subscriber: Option<f64>,
}

/// Measures every shape at every pace.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let identity = Arc::new(Identity::generate()?);
    for &shape in &arguments.shapes {
        let call = Call::start(&identity, &arguments.server, shape, arguments.feedback)?;
        let mut flow = Flow::start(&identity, call, arguments.receivers)?;
        for &pace in &arguments.paces {
            measure(arguments, shape, pace, &mut flow)?;
        }
        drop(flow.receivers.stop());
    }
    Ok(())
}

fn measure(arguments: &Arguments, shape: Shape, pace: Pace, flow: &mut Flow) -> Result<(), String> {
    let programme = Programme { pace, frame_rate: frame_rate(shape.legs(), LIMIT), audio: true };
    let stretch = Duration::from_secs_f64(arguments.seconds);
    let before = flow.call.figures()?;
    let rounds = Rounds::measure(flow, programme, stretch, shape, arguments.rounds, arguments.receivers)?;
    let usage = flow.call.usage()?;
    std::thread::sleep(FIGURES);
    let runs = flow.call.figures()?.since(&before);
    let idle = flow.call.idle.resident;
    let resident = usage.map(|usage| usage.resident.saturating_sub(idle) as f64 / 1024.0 / shape.legs() as f64);
    let ratio = rounds.cost() / rounds.floor();
    let line = Line {
        kind: "forward",
        shape: shape.to_string(),
        pace,
        cpu_us_per_packet: round(rounds.cost()),
        floor_us_per_packet: round(rounds.floor()),
        ratio: round(ratio),
        packets: rounds.received(),
        lost: rounds.lost(),
        gso_run_mean: runs.map(round),
        delay_ms: rounds.delays(1).quantiles(),
        audio_delay_ms: rounds.delays(0).quantiles(),
        rss_kib_per_subscriber: resident.map(round),
    };
    print(&line, arguments.json);
    print(&check(shape, programme, ratio, &rounds), arguments.json);
    Ok(())
}

/// Whether the goals of `performance.md` are met, and what makes the figures worth believing.
fn check(shape: Shape, programme: Programme, ratio: f64, rounds: &Rounds) -> Value {
    let goal_ratio = match programme.pace {
        Pace::Even => 1.5,
        Pace::Burst => 2.0,
    };
    // Of even pacing without a pacer's wait.
    let goal_delay = match (programme.pace, shape.publishers, shape.receivers) {
        (Pace::Even, 1, 100) => Some(2.2),
        (Pace::Even, 10, 10) => Some(0.8),
        _ => None,
    };
    let in_time = goal_delay.is_none_or(|goal| rounds.delays(1).quantile(0.99) <= goal);
    let rounded = |costs: Vec<f64>| costs.into_iter().map(round).collect::<Vec<_>>();
    json!({
        "kind": "forward_check", "shape": shape.to_string(), "pace": programme.pace,
        "goal": {"ratio": goal_ratio, "delay_p99_ms": goal_delay, "lost": 0},
        "met": ratio <= goal_ratio && in_time && rounds.lost() == 0,
        "frame_rate": round(programme.frame_rate), "floor_delay_ms": rounds.floor_delays().quantiles(),
        "generator_cpu": round(rounds.generator), "generator_late": rounds.sent(|sent| sent.late),
        "unfit": rounds.unfit,
        "keyframe_requests": rounds.sent(|sent| sent.keyframe_requests), "nacked": rounds.sent(|sent| sent.nacked),
        "repeated": rounds.arrived(|counts| counts.repeated), "bad": rounds.arrived(|counts| counts.bad),
        "cpu_us_per_packet_rounds": rounded(rounds.costs()), "floor_us_per_packet_rounds": rounded(rounds.floor_costs()),
    })
}
