//! What a call makes of a link that is too slow for it.

use std::time::Duration;

use segue::{LegEnd, LegStats, RoomOptions, TrackKind, VideoOptions};
use segue_e2e::link::{Conditions, Link};
use segue_e2e::wait::soon;
use segue_e2e::{Guest, Joining, TestRelay, eventually};

/// New pictures that make a stretch of the call in which the sender has settled.
const STRETCH: u64 = 60;

async fn join_relayed(relay: &TestRelay, room: &str, name: &'static str) -> Guest {
    let mut joining = Joining::new(relay, room, name);
    joining.options = RoomOptions { direct: false, ..joining.options };
    joining.attempt().await.expect("let in")
}

/// The leg by which a guest sends to the relay.
async fn uplink_of(guest: &Guest) -> LegStats {
    let stats = guest.room.stats().await.expect("in a room");
    stats.legs.into_iter().find(|leg| leg.end == LegEnd::RelayPublisher).expect("a leg to the relay")
}

/// Pictures, tones, made-up sound and unreadable pictures of somebody.
fn progress(guest: &Guest, of: &str) -> (u64, u64, u64, u64) {
    let notes = guest.log.notes();
    let (pictures, unreadable) = notes.seen.get(of).map_or((0, 0), |seen| (seen.pictures, seen.unreadable));
    let (tones, concealed) = notes.heard.get(of).map_or((0, 0), |heard| (heard.tones, heard.concealed));
    (pictures, tones, concealed, unreadable)
}

/// A link of 700 kbit/s is much less than the pictures would take. The sender finds what it bears and stays below: after some
/// time nothing is dropped, no queue stands, no sound is made up, and every picture is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_through_700_kbps_keeps_voice_whole_and_pictures_decodable() {
    let (link, relay) = Link::before_relay().await;
    let bob = join_relayed(&relay, "narrow", "bob").await;
    bob.sing().await.expect("permitted");
    // Bob's sockets are on a perfect line: they have shown themselves before there is another.
    soon("bob's leg to the relay", async {
        while !uplink_of(&bob).await.up {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;

    let narrow = Conditions { rate: Some(700), delay: Duration::from_millis(20), ..Conditions::default() };
    let wide = Conditions { delay: Duration::from_millis(20), ..Conditions::default() };
    let line = link.new_line(narrow, wide);
    let ada = join_relayed(&relay, "narrow", "ada").await;
    ada.sing().await.expect("permitted");
    ada.show_as(VideoOptions { max_kbps: 2_000, ..VideoOptions::new(640, 384, 30.0) }).await.expect("permitted");
    bob.track("ada", TrackKind::Video).await;

    let mut window = None;
    eventually("a stretch of the call in which the link is not overrun", || {
        let now = progress(&bob, "ada");
        let (tally, before) = (line.tally_up(), window);
        match before {
            None => {
                window = Some((now, tally, tally.longest_wait));
                Some(String::new())
            }
            Some((then, tallied, longest)) => {
                let longest = tally.longest_wait.max(longest);
                window = Some((then, tallied, longest));
                let spoiled = (tally.dropped - tallied.dropped, now.2 - then.2, now.3 - then.3);
                let settled = spoiled == (0, 0, 0) && longest < Duration::from_millis(150);
                if settled && now.0 >= then.0 + STRETCH && now.1 > then.1 {
                    return None;
                }
                if !settled {
                    window = None;
                }
                Some(format!("dropped, made up, unreadable: {spoiled:?}; longest wait {longest:?}; {then:?} {now:?}"))
            }
        }
    })
    .await;

    let leg = uplink_of(&ada).await;
    println!("{leg:?} {:?}", line.tally_up());
    let estimate = leg.estimate.expect("the relay reports what arrives");
    assert!((150..=850).contains(&estimate.as_kbps()), "{estimate:?} through 700 kbit/s");
    assert!(leg.target <= estimate, "{leg:?}");
}
