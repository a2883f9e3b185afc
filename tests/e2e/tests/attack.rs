//! Somebody with a valid token does its worst from one room: the people of another on the same shard miss nothing, and what it did is counted.
//! What it costs their delay is measured by `cargo xtask bench attack`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use segue_bench::load::attack::{Attack, Attacker};
use segue_bench::load::http::Url;
use segue_bench::load::leg::{Identity, Leg, Way, connect};
use segue_bench::load::publish::Publishers;
use segue_bench::load::receive::{Receivers, Sink, Waiting};
use segue_bench::load::schedule::{Pace, Programme};
use segue_bench::load::token;
use segue_e2e::{TestRelay, eventually};
use segue_relay::auth::KeySettings;

/// Players whose media is counted.
const PLAYERS: u64 = 3;

/// Blows of an attack with datagrams: ten thousand SSRCs among them.
const BLOWS: u64 = 10_000;

/// Blows of an attack with requests.
const REQUESTS: u64 = 60;

/// Blows until the attacker waits for the relay: what its receive buffer holds beside everybody else's media.
const AT_ONCE: u64 = 50;

fn place(relay: &TestRelay, kind: &str, room: &str, rest: &str, identity: &str) -> (Url, String) {
    let url = Url::parse(&format!("http://{}/v1/{kind}/{room}{rest}", relay.address())).expect("a URL");
    (url, token::mint(room, identity))
}

/// The other room: a publisher and its players.
fn victims(relay: &TestRelay, identity: &Arc<Identity>) -> (Publishers, Receivers) {
    let (url, bearer) = place(relay, "whip", "quiet", "", "camera");
    let mut publisher = vec![Leg::offer(identity, Way::Publish, &url, &bearer, [1, 2], false).expect("let in")];
    connect(identity, &mut publisher).expect("connected");
    let (url, bearer) = place(relay, "whep", "quiet", "/camera", "");
    let player = |_| Leg::offer(identity, Way::Play, &url, &bearer, [0, 0], false).expect("let in");
    let mut players: Vec<_> = (0..PLAYERS).map(player).collect();
    connect(identity, &mut players).expect("connected");
    let sinks = players.into_iter().map(|leg| Sink::Leg(Box::new(leg))).collect();
    let receivers = Receivers::start(identity.clone(), sinks, Waiting::Woken).expect("a thread");
    (Publishers::new(identity.clone(), publisher), receivers)
}

/// The counter that has to tell of an attack, and how many of its blows at least.
fn told_by(attack: Attack) -> Option<(&'static str, &'static str, u64)> {
    match attack {
        Attack::Replays => Some(("segue_dropped_total", "rtp_replayed", BLOWS - 1)),
        Attack::WrongKeys => Some(("segue_dropped_total", "rtp_unauthentic", BLOWS)),
        Attack::ManySsrcs => Some(("segue_dropped_total", "stream_limit", BLOWS / 2)),
        Attack::BadExtensions => Some(("segue_dropped_total", "rtp_malformed", BLOWS / 4)),
        Attack::StunStrangers => Some(("segue_stray_checks_total", "shard", BLOWS)),
        Attack::StunForged => Some(("segue_dropped_total", "stun_integrity", BLOWS)),
        Attack::LongSdp => Some(("segue_offers_refused_total", "", REQUESTS)),
        Attack::SctpBombs => Some(("segue_dropped_total", "sctp_refused", BLOWS / 2)),
        // Well formed, and nothing comes of them, or too slow to be counted yet.
        Attack::RtcpBombs | Attack::UnknownRepairs | Attack::StunMoving | Attack::SlowReaders | Attack::HalfOpen => None,
    }
}

fn strike(attacker: &mut Attacker, attack: Attack) {
    let blows = if attack.is_slow() { REQUESTS } else { BLOWS };
    for blow in 0..blows {
        attacker.strike(attack).expect("a blow");
        if blow % AT_ONCE == 0 && !attack.is_slow() {
            attacker.wait().expect("a relay that answers");
        }
    }
    attacker.wait().expect("a relay that answers");
    attacker.rest();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_on_one_room_costs_another_no_packet_and_is_counted() {
    let relay = TestRelay::start_with(|config| {
        let (id, secret) = (token::KEY.to_owned(), Some(token::SECRET.to_owned()));
        config.keys = vec![KeySettings { id, secret, ..KeySettings::default() }];
    })
    .await;
    let identity = Arc::new(Identity::generate().expect("a certificate"));
    let (mut publishers, receivers) = victims(&relay, &identity);
    let whip = place(&relay, "whip", "attacked", "", "attacker");
    let whep = place(&relay, "whep", "attacked", "/attacker", "");
    let mut attacker = Attacker::join(identity, whip, whep).expect("let in");
    let programme = Programme { pace: Pace::Even, frame_rate: 10.0, audio: true };
    // Whoever begins to play waits for a keyframe.
    publishers.run(programme, Duration::from_millis(500), false);
    let mut before = (0, 0);
    for attack in Attack::ALL {
        let counter = told_by(attack);
        let count = |name: &str, label: &str| relay.metric(name, label);
        let counted = counter.map_or(0, |(name, label, _)| count(name, label));
        let over = AtomicBool::new(false);
        let sent = std::thread::scope(|scope| {
            let attacking = scope.spawn(|| {
                strike(&mut attacker, attack);
                over.store(true, Ordering::Relaxed);
            });
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) && !attacking.is_finished() {
                let stretch = publishers.run(programme, Duration::from_millis(100), true);
                sent += stretch.packets.iter().sum::<u64>();
            }
            attacking.join().expect("an attack to the end");
            sent
        });
        before.0 += sent * PLAYERS;
        eventually("all media of the other room", || {
            before.1 += receivers.take().measured.iter().sum::<u64>();
            (before.1 < before.0).then(|| format!("{}: {} of {}", attack.name(), before.1, before.0))
        })
        .await;
        assert_eq!(before.1, before.0, "{}", attack.name());
        if let Some((name, label, least)) = counter {
            let more = || count(name, label).saturating_sub(counted);
            eventually("a count of the attack", || (more() < least).then(|| (attack.name(), more(), least))).await;
        }
    }
    // The attacker has two places, and one for each leg it did not finish; nobody else came or went.
    let participants = relay.metric("segue_participants", "");
    assert!((PLAYERS + 3..PLAYERS + 3 + REQUESTS + 4).contains(&participants), "{participants}");
}
