//! `segue-bench attack`: one room is attacked while another's delay and loss are measured.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use segue_bench::load::attack::{Attack, Attacker};
use segue_bench::load::leg::Identity;
use segue_bench::load::process::sum;
use segue_bench::load::receive::Waiting;
use segue_bench::load::schedule::{Pace, Programme};
use segue_bench::load::stats::{Delays, median, round};
use serde_json::json;

use crate::call::{Call, Server, Shape};
use crate::measure::{Flow, print};

/// The other room's 99th percentile may grow by so much, and so much of its media be lost.
const GROWTH_GOAL: f64 = 1.2;
const LOSS_GOAL: f64 = 0.001;

/// Whose delay is measured.
const VICTIMS: Shape = Shape { publishers: 1, receivers: 10 };

/// The room that is attacked.
const ROOM: &str = "attacked";

/// Consent of the attacker's own legs.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The room is warm from the stretch before; the attack has begun when it is measured.
const WARM_UP: Duration = Duration::from_millis(100);

/// The attacker's blows are spread over intervals of this.
const BEAT: Duration = Duration::from_millis(5);

/// What may be asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only these; may be given several times
    #[arg(long = "attack")]
    attacks: Vec<Attack>,
    /// Datagrams a second of an attack
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Requests a second of an attack over HTTP
    #[arg(long, default_value_t = 20)]
    slow_rate: u32,
    /// Seconds of one stretch
    #[arg(long, default_value_t = 1.0, value_parser = crate::measure::seconds)]
    seconds: f64,
    /// Stretches without and with the attack, in turns; figures are their medians
    #[arg(long, default_value_t = 9, value_parser = crate::measure::rounds)]
    rounds: usize,
    #[command(flatten)]
    server: Server,
    /// JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

/// The other room in one state.
#[derive(Default)]
struct Seen {
    p99: Vec<f64>,
    lost: u64,
    expected: u64,
}

/// Measures every attack.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let identity = Arc::new(Identity::generate()?);
    // Everybody on one shard: the worst neighbours.
    let server = Server { shards: Some(1), ..arguments.server.clone() };
    let call = Call::start(&identity, &server, VICTIMS, false)?;
    let mut flow = Flow::start(&identity, call, Waiting::Woken)?;
    let whip = server.whip(flow.call.process(), ROOM, "attacker")?;
    let whep = server.whep(flow.call.process(), ROOM, "attacker")?;
    let mut attacker = Attacker::join(identity, whip, whep)?;
    let nobody = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let nobody = nobody.local_addr().map_err(|error| error.to_string())?;
    let attacks = if arguments.attacks.is_empty() { Attack::ALL.to_vec() } else { arguments.attacks.clone() };
    let mut all_met = true;
    for attack in attacks {
        let (mut calm, mut attacked) = (Seen::default(), Seen::default());
        let before = flow.call.process().map_or(Ok(String::new()), |process| process.metrics())?;
        for _ in 0..arguments.rounds.max(1) {
            attacker.aim(Some(nobody));
            stretch(arguments, &mut flow, &mut attacker, attack, &mut calm)?;
            attacker.aim(None);
            stretch(arguments, &mut flow, &mut attacker, attack, &mut attacked)?;
            attacker.rest();
        }
        std::thread::sleep(Duration::from_millis(1_100));
        let after = flow.call.process().map_or(Ok(String::new()), |process| process.metrics())?;
        let counted: f64 =
            ["segue_dropped_total", "segue_stray_checks_total", "segue_media_refused_total", "segue_offers_refused_total"]
                .iter()
                .map(|name| sum(&after, name) - sum(&before, name))
                .sum();
        let growth = median(&attacked.p99) / median(&calm.p99);
        let loss = attacked.lost as f64 / attacked.expected.max(1) as f64;
        let met = growth <= GROWTH_GOAL && loss <= LOSS_GOAL;
        all_met &= met;
        let line = json!({
            "kind": "attack", "attack": attack.name(), "delay_p99_ms": round(median(&attacked.p99)),
            "calm_delay_p99_ms": round(median(&calm.p99)), "growth": round(growth), "loss": round(loss * 1e3) / 1e3,
            "calm_lost": calm.lost, "counted": counted,
            "goal": {"growth": GROWTH_GOAL, "loss": LOSS_GOAL}, "met": met,
        });
        print(&line, arguments.json);
    }
    print(&json!({"kind": "attack_check", "met": all_met}), arguments.json);
    Ok(())
}

/// The other room's media for a while, and the attacker beside it.
fn stretch(
    arguments: &Arguments,
    flow: &mut Flow,
    attacker: &mut Attacker,
    attack: Attack,
    seen: &mut Seen,
) -> Result<(), String> {
    let programme = Programme { pace: Pace::Even, frame_rate: 30.0, audio: true };
    let over = AtomicBool::new(false);
    let rate = if attack.is_slow() { arguments.slow_rate } else { arguments.rate };
    let (measured, struck) = std::thread::scope(|scope| {
        let attacking = scope.spawn(|| strike(attacker, attack, rate, &over));
        let measured = flow.measure(programme, WARM_UP, Duration::from_secs_f64(arguments.seconds), VICTIMS.receivers);
        over.store(true, Ordering::Relaxed);
        (measured, attacking.join().unwrap_or_else(|_| Err("the attacker failed".to_owned())))
    });
    struck?;
    let measured = measured?;
    let mut delays = Delays::default();
    measured.counts.delays.iter().for_each(|kind| delays.extend(kind));
    seen.p99.push(delays.quantile(0.99));
    seen.lost += measured.expected.saturating_sub(measured.counts.measured.iter().sum());
    seen.expected += measured.expected;
    Ok(())
}

/// So many blows a second until it is over.
fn strike(attacker: &mut Attacker, attack: Attack, rate: u32, over: &AtomicBool) -> Result<(), String> {
    let begin = Instant::now();
    let (mut struck, mut keep_alive_at) = (0u64, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let elapsed = begin.elapsed();
        if keep_alive_at <= elapsed {
            keep_alive_at = elapsed + KEEP_ALIVE;
            attacker.keep_alive()?;
        }
        while struck < (elapsed.as_secs_f64() * f64::from(rate)) as u64 {
            attacker.strike(attack)?;
            struck += 1;
        }
        std::thread::sleep(BEAT);
    }
    Ok(())
}
