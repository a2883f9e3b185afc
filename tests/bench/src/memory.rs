//! `segue-bench memory`: resident bytes of a relay with a thousand legs.

use std::sync::Arc;
use std::time::Duration;

use segue_bench::load::leg::Identity;
use segue_bench::load::receive::Waiting;
use segue_bench::load::schedule::{Pace, Programme};
use segue_bench::load::stats::round;
use serde_json::json;

use crate::call::{Call, Server, Shape};
use crate::measure::{Flow, print};

/// KiB of a receiving leg, and of a participant without its publisher's cache.
const LEG_GOAL: f64 = 96.0;
const PARTICIPANT_GOAL: f64 = 256.0;

/// KiB of a publisher's cache at most.
const CACHE_GOAL: f64 = 384.0;

/// Packets a second of all legs at most.
const LIMIT: f64 = 20_000.0;

/// What may be asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Publishers, each in a room of its own
    #[arg(long, default_value_t = 10)]
    publishers: usize,
    /// Players of each
    #[arg(long, default_value_t = 100)]
    players: usize,
    /// Publishers without players, measured first
    #[arg(long, default_value_t = 100)]
    alone: usize,
    /// Seconds of media, so that every history is full
    #[arg(long, default_value_t = 30.0, value_parser = crate::measure::seconds)]
    seconds: f64,
    #[command(flatten)]
    server: Server,
    /// JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

/// Measures publishers alone, at the full rate, and then legs.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let identity = Arc::new(Identity::generate()?);
    let alone = Shape { publishers: arguments.alone, receivers: 0 };
    // Of them nothing is forwarded, and each sends at its full rate for as long as a cache lasts.
    let full = Programme { pace: Pace::Even, frame_rate: 30.0, audio: true };
    let publisher = resident(&identity, arguments, alone, full, 4.0)? / arguments.alone.max(1) as f64;
    let shape = Shape { publishers: arguments.publishers, receivers: arguments.players };
    let voices = 50.0;
    let frame_rate = ((LIMIT / shape.legs().max(1) as f64) / 6.0).min(30.0);
    let programme = Programme { pace: Pace::Even, frame_rate, audio: LIMIT / shape.legs().max(1) as f64 > 2.0 * voices };
    let all = resident(&identity, arguments, shape, programme, arguments.seconds)?;
    let leg = (all - publisher * arguments.publishers as f64).max(0.0) / shape.legs().max(1) as f64;
    // What a second of this rate is, as it lies in the cache.
    let cache = (1.5e6 / 8.0 / 1024.0_f64).min(CACHE_GOAL);
    let participant = (publisher - cache).max(0.0) + leg;
    let line = json!({
        "kind": "memory", "legs": shape.legs(), "publishers": arguments.publishers, "kib_per_subscriber_leg": round(leg),
        "kib_per_publisher": round(publisher), "kib_of_its_cache": round(cache), "kib_per_participant": round(participant),
        "goal": {"kib_per_subscriber_leg": LEG_GOAL, "kib_per_participant": PARTICIPANT_GOAL, "kib_of_a_cache": CACHE_GOAL},
        "met": leg <= LEG_GOAL && participant <= PARTICIPANT_GOAL,
    });
    print(&line, arguments.json);
    Ok(())
}

/// KiB the relay has more than when it was idle.
fn resident(
    identity: &Arc<Identity>,
    arguments: &Arguments,
    shape: Shape,
    programme: Programme,
    seconds: f64,
) -> Result<f64, String> {
    let call = Call::start(identity, &arguments.server, shape, false)?;
    let mut flow = Flow::start(identity, call, Waiting::Polled)?;
    flow.publishers.run(programme, Duration::from_secs_f64(seconds), false);
    let usage = flow.call.usage()?.ok_or("the server's process is not known: name it with --pid")?;
    let idle = flow.call.idle.resident;
    drop(flow.receivers.stop());
    Ok(usage.resident.saturating_sub(idle) as f64 / 1024.0)
}
