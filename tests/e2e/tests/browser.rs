//! Two Chromium tabs and one participant of the SDK in one room: everybody sees and hears everybody, by every path.

use std::time::Duration;

use segue::Topology;
use segue_e2e::chromium::{Browser, Tab};
use segue_e2e::guest::{Guest, NAMES};
use segue_e2e::log::picture_source;
use segue_e2e::pages::{Call, DESCRIBE, PATIENCE, open, picture};
use segue_e2e::{Proxy, TestRelay, eventually};
use segue_relay::{Claims, Grants};

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
    call.lossy_data_goes_both_ways().await;
    call.screenshot("relayed").await;
    call.assert_quiet();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_that_hide_their_addresses_are_in_the_call() {
    let relay = TestRelay::start().await;
    let browser = Browser::start_without_permissions("hidden").await;
    let call = Call::start(&browser, &relay, "hidden").await;
    // Where names of multicast DNS are not resolved, tabs meet through the relay.
    call.everybody_perceives_everybody("").await;
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
async fn browsers_that_come_at_once_see_each_other() {
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

    // A camera that is off has its light off, and is another when it is on again.
    let id = id_of(&bob).await;
    let lights = "segueTest.captured.filter((track) => track.kind === 'video' && track.readyState === 'live').length";
    bob.evaluate("document.getElementById('mute-video').click()").await;
    bob.wait_for(&format!("{lights} === 0"), PATIENCE, lights).await;
    ada.wait_for(&format!("{}.hidden", others_tile(":not(.screen) video")), PATIENCE, DESCRIBE).await;
    bob.evaluate("document.getElementById('mute-video').click()").await;
    bob.wait_for(&format!("{lights} === 1"), PATIENCE, lights).await;
    perceives(&ada, id, 1, "").await;

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

/// What the room calls somebody.
async fn id_of(tab: &Tab<'_>) -> u64 {
    tab.evaluate("segue.self.id").await.as_u64().expect("an id")
}

/// A tab sees somebody anew, by a path; "": any.
async fn perceives(tab: &Tab<'_>, id: u64, cast: u16, path: &str) {
    tab.evaluate("segueTest.forget()").await;
    let source = picture_source(cast);
    let question = format!("segueTest.perceives({{ {id}: {{ source: {source}, path: '{path}' }} }})");
    tab.wait_for(&question, PATIENCE, DESCRIBE).await;
}

/// Whoever is killed is not said goodbye to: what the browser has to say of that is no fault of the page.
fn complaints(tabs: &[Tab<'_>]) -> Vec<String> {
    let all = tabs.iter().flat_map(Tab::complaints);
    all.filter(|words| !words.contains("WebSocket connection to")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_talk_on_while_their_relay_is_away_and_are_in_the_same_call_when_it_is_back() {
    let adjust = |config: &mut segue_relay::Config| {
        config.room.topology.mesh_max = 1;
        // Nobody is taken for gone because time passed.
        config.room.resume_window = Duration::from_secs(600);
    };
    let mut relay = TestRelay::start_with(adjust).await;
    let browser = Browser::start("away").await;
    let link = relay.relay().link("away").expect("a link");
    // The third has no direct legs, and comes without a camera.
    let third = link.replace("/#", "/?policy=RELAY_ONLY&camera=0&microphone=0#");
    let tabs = [open(&browser, &link, 0).await, open(&browser, &link, 1).await, open(&browser, &third, 2).await];
    let [ada, bob, cyd] = &tabs;
    for (tab, name) in tabs.iter().zip(NAMES) {
        tab.evaluate(&format!("segueTest.join('{name}')")).await;
        tab.wait_for("!document.getElementById('call').hidden", PATIENCE, "document.getElementById('join-error').textContent")
            .await;
    }
    let ids = [id_of(ada).await, id_of(bob).await, id_of(cyd).await];
    cyd.evaluate("document.getElementById('mute-video').click()").await;
    let say = async |turn: u32| {
        for (tab, name) in tabs.iter().zip(NAMES) {
            tab.evaluate(&format!("segueTest.say('{name} {turn}')")).await;
        }
    };
    let everybody_is_relayed = async || {
        for (tab, me) in tabs.iter().zip(ids) {
            tab.wait_for("segue.state === 'connected' && segue.topology === 'RELAYED'", PATIENCE, DESCRIBE).await;
            for (id, cast) in ids.into_iter().zip(0..).filter(|(id, _)| *id != me) {
                perceives(tab, id, cast, "relayed").await;
            }
        }
    };
    everybody_is_relayed().await;
    say(0).await;
    for (tab, other) in [(ada, ids[1]), (bob, ids[0])] {
        let leg = format!("segue.participants.get({other}).leg");
        tab.wait_for(&format!("{leg}.up && (window.kept = {leg}.pc)"), PATIENCE, DESCRIBE).await;
        // The browser itself will not notice anything.
        let blind = "for (const { pc } of [segue.publisher, segue.subscriber]) \
            Object.defineProperty(pc, 'connectionState', { get: () => 'connected' })";
        tab.evaluate(blind).await;
    }

    relay.kill();
    perceives(ada, ids[1], 1, "direct").await;
    perceives(bob, ids[0], 0, "direct").await;
    say(1).await;
    let plate = format!("document.querySelector('.tile[data-participant=\"{}\"] .muted')", ids[1]);
    for hidden in ["!", ""] {
        bob.evaluate("document.getElementById('mute-audio').click()").await;
        ada.wait_for(&format!("{hidden}{plate}.hidden"), PATIENCE, DESCRIBE).await;
    }
    ada.screenshot(&picture("away")).await;

    relay.start_again().await;
    everybody_is_relayed().await;
    say(2).await;
    for (tab, me) in tabs.iter().zip(0..) {
        for name in (0..3).filter(|other| *other != me).map(|other: usize| NAMES[other]) {
            let heard = format!("JSON.stringify(segueTest.heard('{name} '))");
            let all = format!("segueTest.heard('{name} ').length >= 3");
            tab.wait_for(&all, PATIENCE, &heard).await;
            assert_eq!(
                tab.evaluate(&format!("segueTest.heard('{name} ').join()")).await,
                format!("{name} 0,{name} 1,{name} 2")
            );
        }
    }
    for (tab, other) in [(ada, ids[1]), (bob, ids[0])] {
        let same = format!("segue.participants.get({other}).leg.pc === kept && kept.connectionState === 'connected'");
        assert_eq!(tab.evaluate(&same).await, true);
    }
    assert_eq!([id_of(ada).await, id_of(bob).await, id_of(cyd).await], ids);

    relay.kill();
    perceives(ada, ids[1], 1, "direct").await;
    bob.evaluate("document.getElementById('leave').click()").await;
    let there = format!("document.querySelector('.tile[data-participant=\"{}\"]')", ids[1]);
    ada.wait_for(&format!("!{there}"), PATIENCE, DESCRIBE).await;
    assert_eq!(complaints(&tabs), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_notices_a_connection_that_carries_nothing_any_more() {
    // Half of it is what it may take.
    let adjust = |config: &mut segue_relay::Config| config.room.resume_window = Duration::from_secs(8);
    let relay = TestRelay::start_with(adjust).await;
    let proxy = Proxy::start(relay.address()).await;
    let browser = Browser::start("swallowed").await;
    let page = format!("http://{}/?camera=0&microphone=0#token={}", proxy.address(), relay.token("swallowed", "ada"));
    let ada = open(&browser, &page, 0).await;
    ada.evaluate("segueTest.join('ada')").await;
    ada.wait_for("window.segue?.state === 'connected'", PATIENCE, "document.getElementById('join-error').textContent").await;
    ada.evaluate("segue.addEventListener('state', ({ detail }) => (window.states ??= []).push(detail))").await;
    proxy.swallow();
    ada.wait_for("window.states?.join() === 'reconnecting,connected'", PATIENCE, "window.states").await;
    eventually("the resume", || (relay.metric("segue_resumes_total", "") != 1).then(|| relay.relay().metrics())).await;
}
