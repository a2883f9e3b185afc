//! What networks do, and what people hear of it.

use std::time::Duration;

use segue_model::{TopologyPolicy, TrackKind};
use segue_sim::net::{Access, End, Rate};
use segue_sim::scenario::{Runner, Scenario, What, source};
use segue_sim::world::JoinOptions;

const SECOND: Duration = Duration::from_secs(1);

fn room(people: usize) -> Runner {
    let scenario = Scenario::parse("name = 'networks'\nstep = []", &|_| None).expect("a scenario without steps");
    let mut runner = Runner::new(&scenario, 11, true);
    for at in 0..people {
        let at = runner.world.join(JoinOptions { name: format!("p{at}"), policy: TopologyPolicy::Auto, skew_ppm: 0 });
        for what in [What::Microphone, What::Camera] {
            runner.world.with(at, |node, now| node.publish(now, source(what)));
        }
    }
    runner.pass(SECOND * 6);
    runner
}

/// The longest time between two frames of somebody's voice, at everybody else, in the last so many seconds.
fn longest_silence(runner: &Runner, seconds: u32) -> Duration {
    let mut longest = Duration::ZERO;
    for node in &runner.world.nodes {
        let since = node.clock.local(runner.world.now) - SECOND * seconds;
        for remote in node.remotes.values().filter(|remote| remote.kind == TrackKind::Audio) {
            let frames: Vec<_> = remote.played.frames.iter().filter(|frame| frame.at >= since).collect();
            assert!(!frames.is_empty(), "{} heard nobody", node.name);
            let pairs = frames.windows(2).map(|pair| pair[1].at - pair[0].at);
            longest = longest.max(pairs.max().unwrap_or_default());
        }
    }
    longest
}

#[test]
fn whoever_has_a_second_network_before_the_first_one_goes_misses_nothing() {
    let mut runner = room(3);
    runner.world.roam_softly(0, SECOND * 3);
    runner.pass(SECOND * 8);
    runner.verdict().expect("every oracle kept");
    assert!(longest_silence(&runner, 9) <= Duration::from_millis(60), "{:?}", longest_silence(&runner, 9));
    // .. and is where the second one is when the first is gone.
    assert!(longest_silence(&runner, 4) <= Duration::from_millis(60));
}

#[test]
fn pictures_follow_what_an_uplink_bears_and_voice_goes_on() {
    let mut runner = room(2);
    let bytes = |runner: &Runner| -> u64 {
        let remotes = runner.world.nodes[1].remotes.values().filter(|remote| remote.kind == TrackKind::Video);
        let since = runner.world.nodes[1].clock.local(runner.world.now) - SECOND * 4;
        let frames = remotes.flat_map(|remote| remote.played.frames.iter()).filter(|frame| frame.at >= since);
        frames.map(|frame| u64::from(frame.bytes)).sum()
    };
    let free = bytes(&runner) * 8 / 4_000;
    assert!((700..=850).contains(&free), "{free} kbit/s");
    let narrow = Access { up: Rate::kbps(400), ..Access::default() };
    runner.world.net.set_access(End::Host(0), &narrow);
    runner.pass(SECOND * 15);
    let narrowed = bytes(&runner) * 8 / 4_000;
    assert!((120..=330).contains(&narrowed), "{narrowed} kbit/s");
    assert!(longest_silence(&runner, 8) <= Duration::from_millis(100), "{:?}", longest_silence(&runner, 8));
    runner.world.net.set_access(End::Host(0), &Access::default());
    runner.pass(SECOND * 12);
    let back = bytes(&runner) * 8 / 4_000;
    assert!(back >= 650, "{back} kbit/s");
}
