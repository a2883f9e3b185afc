//! A shell loops, selects, converts and calls; it does not decide. What gives a decision away in the text: a span of time that somebody
//! judges by, and a function that says it chooses. Both lists hold what stands there today, each with the reason why it is no
//! decision about media or membership, and only shrink.

use std::collections::BTreeSet;

use segue_tidy::{assert_only_known, sources, without_tests};

/// Shells, without the transports below them: those hold the timers of the protocols they speak.
const SHELLS: [&str; 4] =
    ["core/client/src/", "relay/server/src/shard/", "relay/server/src/signalling/", "tests/sim/src/world/"];

/// Spans of time in shells.
const SPANS: [&str; 37] = [
    // How the system is asked: deadlines of sockets and threads.
    "core/client/src/driver/mod.rs: LEAVE_TIME",
    "core/client/src/driver/mod.rs: MAX_SLEEP",
    "core/client/src/net/signalling/mod.rs: CLOSE_TIMEOUT",
    "core/client/src/net/signalling/mod.rs: CONNECT_TIMEOUT",
    "core/client/src/source/input.rs: IDLE",
    "relay/server/src/signalling/connection.rs: CLOSE_DEADLINE",
    "relay/server/src/signalling/connection.rs: GOODBYE_DEADLINE",
    "relay/server/src/signalling/connection.rs: JOIN_DEADLINE",
    "relay/server/src/signalling/connection.rs: PING_EVERY",
    "relay/server/src/signalling/connection.rs: SILENCE",
    "relay/server/src/signalling/connection.rs: WRITE_DEADLINE",
    "relay/server/src/signalling/hub.rs: CLOSING",
    "relay/server/src/signalling/hub.rs: DRAIN_LOOK",
    "relay/server/src/signalling/room_task.rs: EMPTY_FOR",
    "relay/server/src/signalling/visit.rs: ANSWER_DEADLINE",
    // How often something is measured or published.
    "core/client/src/driver/media.rs: PULL_INTERVAL",
    "core/client/src/driver/meter.rs: PART",
    "core/client/src/driver/meter.rs: WINDOW",
    "core/client/src/driver/mod.rs: PATHS_INTERVAL",
    "core/client/src/driver/stats.rs: FRAME",
    "relay/server/src/shard/worker.rs: BACKLOG_INTERVAL",
    "relay/server/src/shard/worker.rs: METRICS_INTERVAL",
    // What the WebRTC library is set to.
    "core/client/src/net/peer_link/engine.rs: ICE_CHECK_INTERVAL",
    "core/client/src/net/peer_link/engine.rs: ICE_DISCONNECTED",
    "core/client/src/net/peer_link/engine.rs: ICE_FAILED",
    "core/client/src/net/peer_link/engine.rs: ICE_KEEPALIVE",
    "core/client/src/net/peer_link/engine.rs: REFLEXIVE_WAIT",
    "core/client/src/net/peer_link/engine.rs: TURN_WAIT",
    // What the simulator makes up: protocols below the machines, and the time codecs and descriptions take.
    "tests/sim/src/world/link.rs: CHECK_AGAIN",
    "tests/sim/src/world/link.rs: GIVE_UP",
    "tests/sim/src/world/node.rs: DESCRIBE_TIME",
    "tests/sim/src/world/relay.rs: CONSENT",
    "tests/sim/src/world/relay.rs: SILENCE",
    "tests/sim/src/world/signalling.rs: CONNECT_TIMEOUT",
    "tests/sim/src/world/signalling.rs: SCTP_TIMEOUT",
    "tests/sim/src/world/signalling.rs: TCP_TIMEOUT",
    "tests/sim/src/world/source.rs: AUDIO_FRAME",
];

const CHOOSING: [&str; 5] = ["fn should_", "fn decide_", "fn choose_", "fn elect_", "fn prefer_"];

fn shell_lines() -> impl Iterator<Item = (String, String)> {
    sources("rs").into_iter().filter(|(path, _)| SHELLS.iter().any(|shell| path.starts_with(shell))).flat_map(|(path, text)| {
        let lines: Vec<_> = without_tests(&text).lines().map(|line| (path.clone(), line.trim().to_owned())).collect();
        lines
    })
}

#[test]
fn shells_judge_by_no_span_of_time() {
    let found: BTreeSet<String> = shell_lines()
        .filter(|(_, line)| line.contains("const ") && line.contains("Duration ="))
        .filter_map(|(path, line)| Some(format!("{path}: {}", line.split("const ").nth(1)?.split(':').next()?)))
        .collect();
    assert_only_known("a span of time in a shell", &found, &SPANS);
}

#[test]
fn shells_choose_nothing() {
    let found: BTreeSet<String> = shell_lines()
        .filter(|(path, line)| !path.ends_with("/tests.rs") && CHOOSING.iter().any(|word| line.contains(word)))
        .map(|(path, line)| format!("{path}: {line}"))
        .collect();
    assert_only_known("a shell that decides", &found, &[]);
}
