//! A call of two Chromium tabs and one participant of the SDK.

use std::path::PathBuf;
use std::time::Duration;

use segue::{IceOptions, Reliability, Topology};
use segue_codec::source::tone_frequency;
use serde_json::{Map, Value, json};

use crate::chromium::{Browser, Tab};
use crate::guest::{Guest, Joining, NAMES};
use crate::log::{picture_source, tone_index};
use crate::relay::TestRelay;
use crate::wait::eventually;

/// How long anything may take in a page on a machine that encodes and decodes everything in software, beside other tests. Nothing here
/// is about speed.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Between two turns of a chat that goes on while the room changes.
const CHAT_PAUSE: Duration = Duration::from_millis(150);

/// Between two pictures of a shared screen.
const SCREEN_MS: u32 = 100;

/// New pictures and new windows of 100 ms of sound that count as seeing and hearing somebody.
const ENOUGH: u64 = 15;

/// What stands in for devices and looks at tiles.
const PAGE_MEDIA: &str = include_str!("page_media.js");

/// What a failing test wants to know of a page.
pub const DESCRIBE: &str = "segueTest.describe()";

/// Tabs of the first two of [`NAMES`] and a participant of the SDK, the third.
pub struct Call<'b, 'r> {
    relay: &'r TestRelay,
    /// Of the first two.
    pub tabs: [Tab<'b>; 2],
    /// The third.
    pub guest: Guest,
    /// What the room calls the three.
    pub ids: [u32; 3],
}

/// A tab with the camera and microphone of somebody.
///
/// # Panics
/// Where Chromium refuses.
pub async fn open<'b>(browser: &'b Browser, url: &str, cast: u16) -> Tab<'b> {
    let player =
        json!({ "source": picture_source(cast), "frequency": tone_frequency(tone_index(cast)), "screenMs": SCREEN_MS });
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

impl<'b, 'r> Call<'b, 'r> {
    /// All three come and publish.
    ///
    /// # Panics
    /// Where it does not happen in time, with all there is to know.
    pub async fn start(browser: &'b Browser, relay: &'r TestRelay, room: &str) -> Self {
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

    /// Waits until everybody has seen and heard everybody anew, and every tile says `path`; "": any.
    ///
    /// # Panics
    /// Where it does not happen in time, with all there is to know.
    pub async fn everybody_perceives_everybody(&self, path: &str) {
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

    /// Waits until the room is so, in everybody's words.
    ///
    /// # Panics
    /// Where it does not happen in time, with all there is to know.
    pub async fn topology_is(&self, topology: Topology) {
        let name = format!("{topology:?}").to_uppercase();
        for tab in &self.tabs {
            if tab.try_wait_for(&format!("segue.topology === '{name}'"), PATIENCE).await.is_none() {
                self.fail(&format!("the room never was {name}")).await;
            }
        }
        eventually("the topology at the SDK", || (self.guest.room.topology() != topology).then(|| self.guest.room.path_info()))
            .await;
    }

    /// Of the first tab.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub async fn screenshot(&self, name: &str) {
        self.tabs[0].screenshot(&picture(name)).await;
    }

    /// Everybody says something, again and again: from the tabs by the page's own form.
    ///
    /// # Panics
    /// Where the page or the SDK does not take it.
    pub async fn chat(&self, turns: std::ops::Range<u32>) {
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
    ///
    /// # Panics
    /// Where that does not happen in time, with all there is to know.
    pub async fn assert_chat(&self, turns: u32) {
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

    /// Data that may be lost comes from the page to everybody and from the SDK to the page, sooner or later.
    ///
    /// # Panics
    /// Where it does not happen in time, with all there is to know.
    pub async fn lossy_data_goes_both_ways(&self) {
        let [ada, bob] = &self.tabs;
        let noting = "window.lossy = new Set(); \
            segue.addEventListener('lossy', ({ detail }) => lossy.add(new TextDecoder().decode(detail.bytes))), true";
        bob.evaluate(noting).await;
        let heard = || self.guest.log.messages("word", Reliability::Lossy).contains(&b"ada".to_vec().into());
        for _ in 0..PATIENCE.as_millis() / CHAT_PAUSE.as_millis() {
            ada.evaluate("segue.sendLossy('word', new TextEncoder().encode('ada'))").await;
            self.guest.room.send_data("word", "cyd", Reliability::Lossy).await.expect("taken");
            tokio::time::sleep(CHAT_PAUSE).await;
            if heard() && bob.evaluate("lossy.has('ada') && lossy.has('cyd')").await == true {
                return;
            }
        }
        self.fail("data that may be lost never came").await;
    }

    /// Nobody's page has anything to complain about.
    ///
    /// # Panics
    /// With the complaints.
    pub fn assert_quiet(&self) {
        for tab in &self.tabs {
            assert_eq!(tab.complaints(), Vec::<String>::new());
        }
    }

    /// Ends the test with all there is to know.
    ///
    /// # Panics
    /// Always.
    pub async fn fail(&self, what: &str) {
        self.screenshot("failure").await;
        let [ada, bob] = [self.tabs[0].describe(DESCRIBE).await, self.tabs[1].describe(DESCRIBE).await];
        let paths: Vec<_> = self.guest.room.path_info();
        panic!("{what}\nada: {ada}\nbob: {bob}\ncyd: {paths:#?}\n{}", self.relay.relay().metrics());
    }
}

/// Where a screenshot goes.
#[must_use]
pub fn picture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../target/screenshots/{name}.png"))
}
