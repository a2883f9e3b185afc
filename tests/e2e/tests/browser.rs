//! Two Chromium tabs and one participant of the SDK in one room: everybody sees and hears everybody, by every path.

use std::path::PathBuf;
use std::time::Duration;

use segue::{IceOptions, Topology};
use segue_codec::source::tone_frequency;
use segue_e2e::chromium::{Browser, Tab};
use segue_e2e::guest::{Guest, Joining, NAMES};
use segue_e2e::log::{picture_source, tone_index};
use segue_e2e::{TestRelay, eventually};
use serde_json::{Map, Value, json};

/// How long anything may take in a page on a machine that encodes and decodes everything in software, beside other tests. Nothing here
/// is about speed.
const PATIENCE: Duration = Duration::from_secs(90);

/// New pictures and new windows of 100 ms of sound that count as seeing and hearing somebody.
const ENOUGH: u64 = 15;

const PAGE_MEDIA: &str = include_str!("../src/page_media.js");

/// What a failing test wants to know of a page.
const DESCRIBE: &str = "segueTest.describe()";

/// Tabs of the first two of [`NAMES`] and a participant of the SDK, the third.
struct Call<'b> {
    relay: &'b TestRelay,
    tabs: [Tab<'b>; 2],
    guest: Guest,
    ids: [u32; 3],
}

/// A tab with the camera and microphone of somebody.
async fn open<'b>(browser: &'b Browser, url: &str, cast: u16) -> Tab<'b> {
    let player = json!({ "source": picture_source(cast), "frequency": tone_frequency(tone_index(cast)) });
    browser.open(url, &format!("window.segueCast = {player};\n{PAGE_MEDIA}")).await
}

/// The page with the token of somebody, the form filled in and sent.
async fn join<'b>(browser: &'b Browser, relay: &TestRelay, room: &str, cast: u16) -> Tab<'b> {
    let name = NAMES[usize::from(cast)];
    let tab = open(browser, &format!("{}/#token={}", relay.relay().page_url(), relay.token(room, name)), cast).await;
    let join = format!("document.getElementById('name').value = '{name}'; document.getElementById('join').requestSubmit()");
    tab.evaluate(&join).await;
    tab.wait_for("!document.getElementById('call').hidden", PATIENCE, "document.getElementById('join-error').textContent")
        .await;
    tab
}

impl<'b> Call<'b> {
    async fn start(browser: &'b Browser, relay: &'b TestRelay, room: &str) -> Self {
        let tabs = [join(browser, relay, room, 0).await, join(browser, relay, room, 1).await];
        let mut joining = Joining::new(relay, room, NAMES[2]);
        // Browsers do not use the loopback interface.
        joining.options.ice = IceOptions::default();
        let guest = joining.attempt().await.expect("let in");
        guest.publish().await;
        let mut ids = [0, 0, guest.room.local_participant().id().0];
        for (tab, id) in tabs.iter().zip(&mut ids) {
            *id = tab.evaluate("segue.self.id").await.as_u64().and_then(|id| u32::try_from(id).ok()).expect("an id");
        }
        Self { relay, tabs, guest, ids }
    }

    /// Waits until everybody has seen and heard everybody anew, and every tile says `path`.
    async fn everybody_perceives_everybody(&self, path: &str) {
        let before = [0, 1].map(|cast| self.guest.log.progress(NAMES[cast]));
        for tab in &self.tabs {
            tab.evaluate("segueTest.forget()").await;
        }
        for (tab, me) in self.tabs.iter().zip(self.ids) {
            let others = self.ids.iter().zip(0_u16..).filter(|(id, _)| **id != me);
            let expected: Map<String, Value> = others
                .map(|(id, cast)| {
                    let tone = tone_frequency(tone_index(cast));
                    (id.to_string(), json!({ "source": picture_source(cast), "tone": tone, "path": path }))
                })
                .collect();
            let question = format!("segueTest.perceives({})", Value::Object(expected));
            if tab.try_wait_for(&question, PATIENCE).await.is_none() {
                self.fail(&format!("participant {me} never had {question}")).await;
            }
        }
        eventually("the SDK perceiving both tabs", || {
            let perceived = [0, 1].map(|cast| self.guest.log.progress(NAMES[cast]));
            let enough = |(now, before): (&(u64, u64), &(u64, u64))| now.0 >= before.0 + ENOUGH && now.1 >= before.1 + ENOUGH;
            let all = perceived.iter().zip(&before).all(enough);
            (!all).then(|| (before, perceived, self.guest.log.notes().seen, self.relay.relay().metrics()))
        })
        .await;
    }

    async fn topology_is(&self, topology: Topology) {
        let name = format!("{topology:?}").to_uppercase();
        for tab in &self.tabs {
            if tab.try_wait_for(&format!("segue.topology === '{name}'"), PATIENCE).await.is_none() {
                self.fail(&format!("the room never was {name}")).await;
            }
        }
        eventually("the topology at the SDK", || (self.guest.room.topology() != topology).then(|| self.guest.room.path_info()))
            .await;
    }

    async fn screenshot(&self, name: &str) {
        self.tabs[0].screenshot(&picture(name)).await;
    }

    /// Nobody's page has anything to complain about.
    fn assert_quiet(&self) {
        for tab in &self.tabs {
            assert_eq!(tab.complaints(), Vec::<String>::new());
        }
    }

    /// Ends the test with all there is to know.
    async fn fail(&self, what: &str) {
        self.screenshot("failure").await;
        let [ada, bob] = [self.tabs[0].describe(DESCRIBE).await, self.tabs[1].describe(DESCRIBE).await];
        let paths: Vec<_> = self.guest.room.path_info();
        panic!("{what}\nada: {ada}\nbob: {bob}\ncyd: {paths:#?}\n{}", self.relay.relay().metrics());
    }
}

fn picture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../target/screenshots/{name}.png"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_and_the_sdk_perceive_each_other_in_a_mesh() {
    let relay = TestRelay::start().await;
    let browser = Browser::start("mesh").await;
    let call = Call::start(&browser, &relay, "mesh").await;
    call.everybody_perceives_everybody("direct").await;
    call.topology_is(Topology::Mesh).await;
    call.screenshot("mesh").await;
    call.assert_quiet();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_and_the_sdk_perceive_each_other_through_the_relay() {
    let adjust = |config: &mut segue_relay::Config| config.room.topology.mesh_max = 1;
    let relay = TestRelay::start_with(adjust).await;
    let browser = Browser::start("relayed").await;
    let call = Call::start(&browser, &relay, "relayed").await;
    call.topology_is(Topology::Relayed).await;
    call.everybody_perceives_everybody("relayed").await;
    call.screenshot("relayed").await;
    call.assert_quiet();
}
