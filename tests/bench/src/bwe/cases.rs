//! The cases, as data.

use std::time::Duration;

use super::flow::FlowSpec;
use super::link::{Capacity, Limit};
use super::measure::Floor::{AtLeast, AtMost};
use super::measure::{Floor, Measure, What};
use super::world::Setup;

/// Longest wait in the queue of the bottleneck.
const QUEUE: Limit = Limit::Time(Duration::from_millis(300));

/// A setup and what is asked of it.
pub struct Case {
    pub name: String,
    pub setup: Setup,
    pub measures: Vec<Measure>,
}

const fn measure(name: &'static str, what: What, from: f64, to: f64) -> Measure {
    Measure { name, what, from, to, floor: None }
}

const fn floor(name: &'static str, what: What, from: f64, to: f64, floor: Floor) -> Measure {
    Measure { name, what, from, to, floor: Some(floor) }
}

fn setup(steps: &[(f64, u64)], seconds: f64) -> Setup {
    Setup {
        capacity: Capacity::steps(steps),
        limit: QUEUE,
        loss: 0.0,
        jitter_ms: 0.0,
        flows: vec![FlowSpec::default()],
        seconds,
    }
}

fn case(name: &str, setup: Setup, measures: &[Measure]) -> Case {
    Case { name: name.to_owned(), setup, measures: measures.to_vec() }
}

/// All cases but the traces.
pub fn all() -> Vec<Case> {
    let mut cases = floors();
    cases.extend(conditions());
    cases.extend(rfc8867());
    cases
}

/// Those with a floor of the project: 25 ms one way, 300 ms of queue, 300 kbit/s to begin with.
fn floors() -> Vec<Case> {
    vec![
        case(
            "rise",
            setup(&[(0.0, 3_000)], 60.0),
            &[
                floor("reached_s", What::Reached, 0.0, 60.0, AtMost(8.0)),
                floor("queue_p95_ms", What::QueueP95, 15.0, 60.0, AtMost(80.0)),
                measure("queue_max_ms", What::QueueMax, 15.0, 60.0),
                floor("drops", What::Drops, 0.0, 60.0, AtMost(0.0)),
                measure("utilisation", What::Utilisation, 15.0, 60.0),
            ],
        ),
        case(
            "drop_and_back",
            setup(&[(0.0, 3_000), (30.0, 1_000), (60.0, 3_000)], 90.0),
            &[
                floor("settled_s", What::Settled, 30.0, 60.0, AtMost(3.0)),
                measure("drops", What::Drops, 30.0, 60.0),
                measure("low_utilisation", What::Utilisation, 33.0, 60.0),
                floor("back_s", What::Reached, 60.0, 90.0, AtMost(10.0)),
                floor("queue_p95_ms", What::QueueP95, 70.0, 90.0, AtMost(80.0)),
            ],
        ),
        case(
            "random_loss",
            Setup { loss: 0.1, ..setup(&[(0.0, 5_000)], 60.0) },
            &[
                floor("utilisation", What::Utilisation, 15.0, 60.0, AtLeast(0.7)),
                measure("estimate", What::Estimate, 15.0, 60.0),
                measure("queue_p95_ms", What::QueueP95, 15.0, 60.0),
                measure("drops", What::Drops, 0.0, 60.0),
            ],
        ),
    ]
}

/// Paths that are unlike the one above.
fn conditions() -> Vec<Case> {
    let steady = [
        measure("reached_s", What::Reached, 0.0, 60.0),
        measure("utilisation", What::Utilisation, 20.0, 60.0),
        measure("queue_p95_ms", What::QueueP95, 20.0, 60.0),
        measure("drops", What::Drops, 20.0, 60.0),
    ];
    let flow = |spec: FlowSpec| vec![spec];
    let base = || setup(&[(0.0, 2_000)], 60.0);
    vec![
        case("slow_link", setup(&[(0.0, 250)], 60.0), &steady),
        case("fast_link", setup(&[(0.0, 20_000)], 60.0), &steady),
        case("long_path", Setup { flows: flow(FlowSpec { delay_ms: 150.0, ..FlowSpec::default() }), ..base() }, &steady),
        case("jitter_30ms", Setup { jitter_ms: 30.0, ..base() }, &steady),
        case("jitter_60ms", Setup { jitter_ms: 60.0, ..base() }, &steady),
        case("jitter_100ms", Setup { jitter_ms: 100.0, ..base() }, &steady),
        case(
            "jitter_100ms_three_legs",
            Setup {
                jitter_ms: 100.0,
                flows: flow(FlowSpec { legs: 3, max_kbps: 1_700, ..FlowSpec::default() }),
                ..setup(&[(0.0, 20_000)], 60.0)
            },
            &steady,
        ),
        case("shallow_queue", Setup { limit: Limit::Time(Duration::from_millis(25)), ..base() }, &steady),
        case("shallow_queue_and_loss", Setup { limit: Limit::Time(Duration::from_millis(25)), loss: 0.05, ..base() }, &steady),
        case(
            "small_source",
            Setup { flows: flow(FlowSpec { max_kbps: 800, ..FlowSpec::default() }), ..base() },
            &[measure("utilisation", What::Utilisation, 20.0, 60.0), measure("queue_p95_ms", What::QueueP95, 20.0, 60.0)],
        ),
        case("warm_start", Setup { flows: flow(FlowSpec { start_kbps: 1_800, ..FlowSpec::default() }), ..base() }, &steady),
        case(
            "three_legs",
            Setup { flows: flow(FlowSpec { legs: 3, ..FlowSpec::default() }), ..setup(&[(0.0, 3_000)], 60.0) },
            &steady,
        ),
        case(
            "three_legs_against_one",
            Setup {
                flows: vec![FlowSpec { legs: 3, ..FlowSpec::default() }, FlowSpec::default()],
                ..setup(&[(0.0, 3_000)], 90.0)
            },
            &[
                measure("utilisation", What::Utilisation, 20.0, 90.0),
                measure("queue_p95_ms", What::QueueP95, 20.0, 90.0),
                measure("jain", What::Jain, 20.0, 90.0),
            ],
        ),
        case("start_too_high", Setup { flows: flow(FlowSpec { start_kbps: 4_000, ..FlowSpec::default() }), ..base() }, &steady),
    ]
}

/// RFC 8867 section 5: 50 ms one way, jitter of up to 30 ms, a queue of 300 ms.
fn rfc8867() -> Vec<Case> {
    let from = |start: f64, end: f64| FlowSpec { active: vec![(start, end)], delay_ms: 50.0, ..FlowSpec::default() };
    let shaped =
        |steps: &[(f64, u64)], seconds: f64, flows: Vec<FlowSpec>| Setup { jitter_ms: 30.0, flows, ..setup(steps, seconds) };
    let whole = |from: f64, to: f64| {
        vec![
            measure("utilisation", What::Utilisation, from, to),
            measure("queue_p95_ms", What::QueueP95, from, to),
            measure("drops", What::Drops, from, to),
        ]
    };
    let fair = |from: f64, to: f64, all: (f64, f64)| {
        let mut measures = whole(from, to);
        measures.push(measure("jain", What::Jain, all.0, all.1));
        measures
    };
    let delays = [10.0, 25.0, 50.0, 100.0, 150.0];
    let spread = (0..).zip(delays).map(|(n, delay_ms)| FlowSpec { delay_ms, ..from(10.0 * f64::from(n), 299.0) }).collect();
    let paused = FlowSpec { active: vec![(0.0, 40.0), (60.0, 119.0)], ..from(0.0, 0.0) };
    let of = |name: &str, setup: Setup, measures: &[Measure]| case(name, setup, measures);
    let one = [(0.0, 1_000), (40.0, 2_500), (60.0, 600), (80.0, 1_000)];
    let two = [(0.0, 4_000), (25.0, 2_000), (50.0, 3_500), (75.0, 1_000), (100.0, 2_000)];
    vec![
        of("rfc8867_5_1", shaped(&one, 100.0, vec![from(0.0, 99.0)]), &whole(0.0, 99.0)),
        of("rfc8867_5_2", shaped(&two, 125.0, vec![from(0.0, 124.0); 2]), &fair(0.0, 124.0, (0.0, 124.0))),
        of(
            "rfc8867_5_4",
            shaped(&[(0.0, 3_500)], 120.0, vec![from(0.0, 119.0), from(20.0, 119.0), from(40.0, 119.0)]),
            &fair(0.0, 119.0, (60.0, 119.0)),
        ),
        of("rfc8867_5_5", shaped(&[(0.0, 4_000)], 300.0, spread), &fair(0.0, 299.0, (60.0, 299.0))),
        of(
            "rfc8867_5_8",
            shaped(&[(0.0, 3_500)], 120.0, vec![from(0.0, 119.0), from(0.0, 119.0), paused]),
            &fair(0.0, 119.0, (70.0, 119.0)),
        ),
    ]
}

/// A case of a recorded link: 50 ms one way, a queue that holds 300 ms at the mean rate.
pub fn trace(name: &str, capacity: Capacity, period: Duration) -> Case {
    let mean = capacity.bits(Duration::ZERO, period) / period.as_secs_f64();
    let seconds = period.as_secs_f64();
    let setup = Setup {
        capacity,
        limit: Limit::Bytes((mean * 0.3 / 8.0) as u64),
        loss: 0.0,
        jitter_ms: 0.0,
        flows: vec![FlowSpec { delay_ms: 50.0, ..FlowSpec::default() }],
        seconds,
    };
    let measures = [
        measure("utilisation", What::Utilisation, 0.0, seconds),
        measure("queue_p95_ms", What::QueueP95, 0.0, seconds),
        measure("drops", What::Drops, 0.0, seconds),
    ];
    case(&format!("trace_{name}"), setup, &measures)
}
