//! `browser_handover [--json] [--changes N]`: what two people in Chromium miss while their call grows into the relay and comes back, with a
//! shared screen and a participant of the SDK. Ends in one line of JSON. It reports, and judges nothing.

use std::time::Duration;

use segue::{Topology, TrackKind};
use segue_e2e::chromium::{Browser, Tab};
use segue_e2e::guest::{Guest, Joining, NAMES};
use segue_e2e::pages::{Call, DESCRIBE, PATIENCE};
use segue_e2e::{TestRelay, eventually};
use serde_json::{Value, json};

/// After everybody is on the new path, until the old one is surely gone: drain and the standby of the page.
const SETTLE: Duration = Duration::from_secs(2);

/// How long the call is watched without a change, for comparison.
const STILL: Duration = Duration::from_secs(4);

/// Changes of path measured where nothing else is asked for.
const CHANGES: usize = 6;

/// What stands for the gap of somebody who is not heard or seen at all, in milliseconds.
const NEVER: f64 = 1e6;

/// Goals of the design, in milliseconds.
const AUDIO_GOAL: f64 = 100.0;
const VIDEO_GOAL: f64 = 300.0;
const KILL_GOAL: f64 = 3_000.0;

/// How long the call is watched after its relay died.
const OUTAGE: Duration = Duration::from_secs(8);

/// Gaps of one window, in milliseconds.
#[derive(Default)]
struct Gaps {
    audio: Vec<f64>,
    video: Vec<f64>,
    change: Vec<f64>,
}

impl Gaps {
    fn worst(of: &[f64]) -> f64 {
        of.iter().copied().fold(0.0, f64::max).round()
    }

    fn median(of: &[f64]) -> f64 {
        let mut sorted = of.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default().round()
    }

    fn add(&mut self, other: &Self) {
        self.audio.extend(&other.audio);
        self.video.extend(&other.video);
        self.change.extend(&other.change);
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let changes = after("--changes").map_or(CHANGES, |number| number.parse().expect("--changes takes a number"));
    let quiet = arguments.iter().any(|argument| argument == "--json");

    // The screen would ask for the relay at once: here the number of people does.
    let mut relay = TestRelay::start_with(|config| config.room.topology.relay_for_screens = false).await;
    let browser = Browser::start("bench").await.without_content_policy();
    let call = Call::start(&browser, &relay, "bench").await;
    call.tabs[1].evaluate("document.getElementById('share').click()").await;
    call.everybody_perceives_everybody("direct").await;
    let screen = "document.querySelector('.tile.screen[data-participant] video')?.videoWidth > 0";
    call.tabs[0].wait_for(screen, PATIENCE, DESCRIBE).await;
    for tab in &call.tabs {
        tab.evaluate("segueTest.watch()").await;
    }
    tokio::time::sleep(SETTLE).await;
    gaps(&call.tabs).await;
    tokio::time::sleep(STILL).await;
    let still = gaps(&call.tabs).await;
    report(quiet, "still", &still);

    let mut moved = Gaps::default();
    let mut more: Vec<Guest> = Vec::new();
    for _ in 0..changes {
        let target = change(&call, &relay, &mut more).await;
        let gaps = gaps(&call.tabs).await;
        report(quiet, &format!("{target:?}").to_lowercase(), &gaps);
        moved.add(&gaps);
    }
    let own = call.guest.room.handover_report().await.expect("in the room");
    let own = [TrackKind::Audio, TrackKind::Video].map(|kind| (own.longest_gap(kind).as_secs_f64() * 1e3).round());
    if more.is_empty() {
        change(&call, &relay, &mut more).await;
        gaps(&call.tabs).await;
    }
    let Call { tabs, guest, .. } = call;
    relay.kill();
    tokio::time::sleep(OUTAGE).await;
    let dead = gaps(&tabs).await;
    report(quiet, "killed", &dead);
    drop(guest);
    let kill = [Gaps::worst(&dead.audio), Gaps::worst(&dead.video)];
    let (audio, video) = (Gaps::worst(&moved.audio).max(own[0]), Gaps::worst(&moved.video).max(own[1]));
    let line = json!({
        "kind": "browser_handover", "changes": changes, "streams": moved.audio.len() + moved.video.len(),
        "audio_gap_ms_max": Gaps::worst(&moved.audio), "audio_gap_ms_p50": Gaps::median(&moved.audio),
        "video_gap_ms_max": Gaps::worst(&moved.video), "video_gap_ms_p50": Gaps::median(&moved.video),
        "video_change_ms_max": Gaps::worst(&moved.change), "video_change_ms_p50": Gaps::median(&moved.change),
        "still_audio_gap_ms_max": Gaps::worst(&still.audio), "still_video_gap_ms_max": Gaps::worst(&still.video),
        "sdk_audio_gap_ms_max": own[0], "sdk_video_gap_ms_max": own[1],
        "goal_audio_gap_ms": AUDIO_GOAL, "goal_video_gap_ms": VIDEO_GOAL,
        "relay_kill_audio_ms": kill[0], "relay_kill_video_ms": kill[1], "goal_relay_kill_ms": KILL_GOAL,
        "met": audio <= AUDIO_GOAL && video <= VIDEO_GOAL && kill.iter().all(|outage| *outage <= KILL_GOAL),
    });
    println!("{line}");
}

/// Lets two more come where nobody did, otherwise leave, and waits until everybody is on the new path for good.
async fn change(call: &Call<'_, '_>, relay: &TestRelay, more: &mut Vec<Guest>) -> Topology {
    let target = if more.is_empty() { Topology::Relayed } else { Topology::Mesh };
    if more.is_empty() {
        for name in &NAMES[3..5] {
            // They only count: what they would decode is load that one machine has to bear for all.
            let mut joining = Joining::new(relay, "bench", name);
            joining.options.auto_subscribe = false;
            more.push(joining.attempt().await.expect("let in"));
        }
    } else {
        for guest in more.drain(..) {
            guest.leave().await;
        }
    }
    call.topology_is(target).await;
    eventually("the SDK's edges", || call.guest.room.path_info().into_iter().find(|edge| edge.moving)).await;
    tokio::time::sleep(SETTLE).await;
    target
}

/// What both tabs missed since the last time.
async fn gaps(tabs: &[Tab<'_>]) -> Gaps {
    let mut all = Gaps::default();
    for tab in tabs {
        let found = tab.evaluate("segueTest.gaps()").await;
        let gap = |value: &Value| value.as_f64().unwrap_or(NEVER);
        let numbers = |kind: &str| found[kind].as_object().into_iter().flat_map(|by| by.values().map(gap)).collect();
        all.add(&Gaps { audio: numbers("audio"), video: numbers("video"), change: numbers("change") });
    }
    all
}

fn report(quiet: bool, what: &str, Gaps { audio, video, change }: &Gaps) {
    if !quiet {
        let [audio, video, change] = [audio, video, change].map(|of| Gaps::worst(of));
        println!("{what:8} at most: audio gap {audio:4} ms, video gap {video:4} ms, across the change itself {change:4} ms");
    }
}
