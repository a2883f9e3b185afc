//! Two Chromium tabs and one participant of the SDK in one room: everybody sees and hears everybody, by every path.

use std::path::PathBuf;
use std::time::Duration;

use segue::{IceOptions, Reliability, Topology};
use segue_codec::source::tone_frequency;
use segue_e2e::chromium::{Browser, Tab};
use segue_e2e::guest::{Guest, Joining, NAMES};
use segue_e2e::log::{picture_source, tone_index};
use segue_e2e::{TestRelay, eventually};
use segue_relay::{Claims, Grants};
use serde_json::{Map, Value, json};

/// How long anything may take in a page on a machine that encodes and decodes everything in software, beside other tests. Nothing here
/// is about speed.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two turns of a chat that goes on while the room changes.
const CHAT_PAUSE: Duration = Duration::from_millis(150);

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
    tab.evaluate(&format!("segueTest.join('{name}')")).await;
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

    /// Everybody says something, again and again: from the tabs by the page's own form.
    async fn chat(&self, turns: std::ops::Range<u32>) {
        for turn in turns {
            for (tab, name) in self.tabs.iter().zip(NAMES) {
                tab.evaluate(&format!("segueTest.say('{name} {turn}')")).await;
            }
            let text = format!("{} {turn}", NAMES[2]).into_bytes();
            self.guest.room.send_data("chat", text, Reliability::Reliable).await.expect("taken");
            tokio::time::sleep(CHAT_PAUSE).await;
        }
    }

    /// Everything that was said in so many turns has come to everybody, once and in order.
    async fn assert_chat(&self, turns: u32) {
        let said = |cast: usize| (0..turns).map(|turn| format!("{} {turn}", NAMES[cast])).collect::<Vec<_>>();
        for (tab, others) in self.tabs.iter().zip([[1, 2], [0, 2]]) {
            for cast in others {
                let heard = format!("JSON.stringify(segueTest.heard('{} '))", NAMES[cast]);
                let all = format!("segueTest.heard('{} ').length >= {turns}", NAMES[cast]);
                tab.wait_for(&all, PATIENCE, &heard).await;
                let heard = tab.evaluate(&heard).await;
                assert_eq!(heard.as_str(), Some(json!(said(cast)).to_string().as_str()));
            }
        }
        let heard = |cast: usize| -> Vec<String> {
            let all = self.guest.log.messages("chat", Reliability::Reliable);
            let all = all.iter().map(|text| String::from_utf8_lossy(text).into_owned());
            all.filter(|text| text.starts_with(NAMES[cast])).collect()
        };
        eventually("the chat at the SDK", || [0, 1].into_iter().map(heard).find(|heard| heard.len() < turns as usize)).await;
        assert_eq!([0, 1].map(heard), [0, 1].map(said));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_stay_in_the_call_when_it_grows_into_the_relay_and_comes_back() {
    let relay = TestRelay::start().await;
    let browser = Browser::start("handover").await;
    let call = Call::start(&browser, &relay, "handover").await;
    call.everybody_perceives_everybody("direct").await;
    call.chat(0..5).await;
    let fourth = Guest::join(&relay, "handover", NAMES[3]).await;
    fourth.publish().await;
    // One more than a mesh holds; the room goes back when it is smaller than what a mesh holds.
    let fifth = Guest::join(&relay, "handover", NAMES[4]).await;
    call.chat(5..30).await;
    call.topology_is(Topology::Relayed).await;
    call.everybody_perceives_everybody("relayed").await;
    call.screenshot("handover").await;
    fourth.leave().await;
    fifth.leave().await;
    call.chat(30..55).await;
    call.topology_is(Topology::Mesh).await;
    call.everybody_perceives_everybody("direct").await;
    call.assert_chat(55).await;
    call.assert_quiet();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_that_come_at_once_see_each_other() {
    let relay = TestRelay::start().await;
    let browser = Browser::start("at-once").await;
    for round in 0..5 {
        let link = relay.relay().link(&format!("garden-{round}")).expect("a link");
        let tabs = [open(&browser, &link, 0).await, open(&browser, &link, 1).await];
        // Nobody waits for the other: first offers, tracks and paths of both cross.
        for (tab, name) in tabs.iter().zip(NAMES) {
            tab.evaluate(&format!("segueTest.join('{name}')")).await;
        }
        for tab in &tabs {
            tab.wait_for("document.querySelector('.tile[data-participant] video')?.videoWidth > 0", PATIENCE, DESCRIBE).await;
        }
        for tab in &tabs {
            tab.evaluate("document.getElementById('leave').click()").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_needs_nothing_but_the_link() {
    let relay = TestRelay::start().await;
    let browser = Browser::start("link").await;
    let link = relay.relay().link("garden").expect("a link");
    let [ada, bob] = [open(&browser, &link, 0).await, open(&browser, &link, 1).await];
    for (tab, name) in [(&ada, "Ada"), (&bob, "Bob")] {
        assert_eq!(tab.evaluate("document.getElementById('room').value").await, "garden");
        tab.evaluate(&format!("segueTest.join('{name}')")).await;
    }
    let others_tile = |what: &str| format!("document.querySelector('.tile[data-participant]{what}')");
    ada.wait_for(&format!("{}?.textContent.includes('Bob')", others_tile("")), PATIENCE, DESCRIBE).await;
    ada.wait_for(&format!("{}?.videoWidth > 0", others_tile(" video")), PATIENCE, DESCRIBE).await;

    bob.evaluate("document.getElementById('mute-audio').click()").await;
    ada.wait_for(&format!("!{}.hidden", others_tile(" .muted")), PATIENCE, DESCRIBE).await;
    bob.evaluate("document.getElementById('share').click()").await;
    ada.wait_for(&format!("{}?.videoWidth > 0", others_tile(".screen video")), PATIENCE, DESCRIBE).await;
    ada.evaluate("document.getElementById('toggle-side').click()").await;
    ada.evaluate("segueTest.say('Is that the garden?')").await;
    bob.wait_for("segueTest.heard('Is that').length", PATIENCE, DESCRIBE).await;
    ada.screenshot(&picture("screen")).await;
    ada.evaluate("document.getElementById('tab-stats').click()").await;
    ada.wait_for("document.querySelector('#stats polyline')?.points.length > 3", PATIENCE, DESCRIBE).await;
    ada.screenshot(&picture("paths")).await;
    bob.evaluate("document.getElementById('share').click()").await;
    ada.wait_for(&format!("!{}", others_tile(".screen")), PATIENCE, DESCRIBE).await;
    bob.evaluate("document.getElementById('share').click()").await;
    ada.wait_for(&format!("{}?.videoWidth > 0", others_tile(".screen video")), PATIENCE, DESCRIBE).await;
    ada.evaluate("document.getElementById('toggle-side').click()").await;
    ada.resize(390, 800).await;
    ada.screenshot(&picture("narrow")).await;

    bob.evaluate("document.getElementById('leave').click()").await;
    ada.wait_for(&format!("!{}", others_tile("")), PATIENCE, DESCRIBE).await;
    assert_eq!(bob.evaluate("document.getElementById('call').hidden").await, true);
    // And back again, without the link being opened anew.
    bob.evaluate("segueTest.join('Bob')").await;
    ada.wait_for(&format!("{}?.videoWidth > 0", others_tile(" video")), PATIENCE, DESCRIBE).await;
    assert_eq!([ada.complaints(), bob.complaints()].concat(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_says_why_it_is_not_in_the_call() {
    let relay = TestRelay::start().await;
    let browser = Browser::start("refused").await;
    let page = relay.relay().page_url();
    let with = |token: &str| format!("{page}/#token={token}");
    let mut expired = Claims::new("door", "ada", Grants::default(), 1);
    expired.exp = 1_000_000_000;
    let late = open(&browser, &with(&relay.token_with(expired)), 0).await;
    late.evaluate("segueTest.join('Ada')").await;
    let why = "document.getElementById('join-error').textContent";
    late.wait_for(&format!("{why}.includes('expired')"), PATIENCE, why).await;
    late.screenshot(&picture("lobby")).await;

    let token = relay.token("door", "ada");
    let first = open(&browser, &with(&token), 0).await;
    first.evaluate("segueTest.join('Ada')").await;
    first.wait_for("!document.getElementById('call').hidden", PATIENCE, why).await;
    let second = open(&browser, &with(&token), 0).await;
    second.evaluate("segueTest.join('Ada')").await;
    second.wait_for("!document.getElementById('call').hidden", PATIENCE, why).await;
    let notice = "document.getElementById('notice').textContent";
    first.wait_for(&format!("!document.getElementById('lobby').hidden && {notice}"), PATIENCE, notice).await;
    first.screenshot(&picture("replaced")).await;
    assert_eq!(second.evaluate("document.getElementById('call').hidden").await, false);
}
