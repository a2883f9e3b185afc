//! `join [--json] [--joins N]`: how long it takes from a token in hand to the first sound and the first picture of a call that goes by the
//! relay. Over loopback, and over TLS with a round trip of 50 ms to the relay.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use segue::{IceOptions, Interfaces, Playout, RemoteTrack, Room, RoomEvent, RoomOptions, TopologyPolicy, TrackKind};
use segue_e2e::guest::{Guest, Joining};
use segue_e2e::link::Conditions;
use segue_e2e::{Link, Proxy, TestRelay};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Joins of one line where nothing else is asked for.
const JOINS: usize = 15;

/// Nothing takes longer on a machine that lives.
const PATIENCE: Duration = Duration::from_secs(20);

/// The round trip of the second line.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Over loopback, half of all joins within this.
const LOOPBACK_GOAL_MS: f64 = 350.0;

/// With a round trip: so many of them, and what a jitter buffer holds at first.
const ROUND_TRIPS: f64 = 8.0;
const PLAYOUT_MS: f64 = 60.0;

/// The room.
const ROOM: &str = "joining";

/// Milliseconds to the first of each.
#[derive(Default)]
struct Times {
    sound: Vec<f64>,
    picture: Vec<f64>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let joins = after("--joins").map_or(JOINS, |number| number.parse().expect("--joins takes a number"));

    let relay = TestRelay::start().await;
    let speaker = speak(&relay, &relay.url()).await;
    let times = join(&relay, &relay.url(), joins).await;
    println!("{}", line(Duration::ZERO, false, &times, LOOPBACK_GOAL_MS));
    speaker.leave().await;

    let (link, relay) = Link::before_relay_with(|config| config.tls = segue_relay::config::Tls::SelfSigned).await;
    let proxy = Proxy::start_slow(relay.address(), ROUND_TRIP / 2).await;
    // Whoever speaks is near the relay.
    let near = secure(relay.address());
    let speaker = speak(&relay, &near).await;
    let conditions = Conditions { delay: ROUND_TRIP / 2, ..Conditions::default() };
    let _line = link.new_line(conditions, conditions);
    let times = join(&relay, &secure(proxy.address()), joins).await;
    let goal = ROUND_TRIPS * ROUND_TRIP.as_secs_f64() * 1e3 + PLAYOUT_MS;
    println!("{}", line(ROUND_TRIP, true, &times, goal));
    speaker.leave().await;
}

fn secure(address: SocketAddr) -> String {
    format!("wss://{address}/v1/connect")
}

fn options() -> RoomOptions {
    let ice = IceOptions { interfaces: Interfaces::LoopbackOnly, ..IceOptions::default() };
    RoomOptions { ice, policy: TopologyPolicy::RelayOnly, trust_any_certificate: true, ..RoomOptions::default() }
}

/// Somebody who is there, seen and heard.
async fn speak(relay: &TestRelay, url: &str) -> Guest {
    let joining = Joining { url: url.to_owned(), token: relay.token(ROOM, "ada"), name: "ada", options: options() };
    let guest = joining.attempt().await.expect("let in");
    guest.publish().await;
    guest
}

async fn join(relay: &TestRelay, url: &str, joins: usize) -> Times {
    let mut times = Times::default();
    for number in 0..joins {
        let token = relay.token(ROOM, &format!("joiner-{number}"));
        let begin = Instant::now();
        let room = Room::connect(url, &token, options()).await.expect("let in");
        let (first, mut firsts) = mpsc::unbounded_channel();
        let watching = tokio::spawn(watch(room.clone(), first));
        let (mut sound, mut picture) = (None, None);
        while sound.is_none() || picture.is_none() {
            let (kind, at) = timeout(PATIENCE, firsts.recv()).await.expect("sound and picture").expect("a room that goes on");
            let elapsed = Some((at - begin).as_secs_f64() * 1e3);
            match kind {
                TrackKind::Audio => sound = sound.or(elapsed),
                TrackKind::Video => picture = picture.or(elapsed),
            }
        }
        times.sound.extend(sound);
        times.picture.extend(picture);
        room.leave().await;
        watching.abort();
    }
    times
}

async fn watch(room: Room, first: mpsc::UnboundedSender<(TrackKind, Instant)>) {
    let mut events = room.events();
    let known = room.participants().into_iter().flat_map(|participant| participant.tracks());
    let begin = |track: RemoteTrack| tokio::spawn(wait_for(track, first.clone()));
    known.for_each(|track| drop(begin(track)));
    while let Some(event) = events.next().await {
        if let RoomEvent::TrackPublished { track, .. } = event {
            drop(begin(track));
        }
    }
}

/// The first that was really sent.
async fn wait_for(track: RemoteTrack, first: mpsc::UnboundedSender<(TrackKind, Instant)>) {
    let found = match track.kind() {
        TrackKind::Video => track.video_frames().next().await.is_some(),
        TrackKind::Audio => {
            let mut sounds = track.audio_frames();
            loop {
                match sounds.next().await {
                    Some(sound) if sound.playout == Playout::Decoded => break true,
                    Some(_) => {}
                    None => break false,
                }
            }
        }
    };
    if found {
        // Whoever measures may have heard enough.
        let _ = first.send((track.kind(), Instant::now()));
    }
}

fn line(round_trip: Duration, tls: bool, times: &Times, goal: f64) -> Value {
    let quantile = |of: &[f64], share: f64| {
        let mut sorted = of.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default().round()
    };
    let summed = |of: &[f64]| json!({"p50": quantile(of, 0.5), "p90": quantile(of, 0.9)});
    let met = quantile(&times.sound, 0.5) <= goal && quantile(&times.picture, 0.5) <= goal;
    json!({
        "kind": "join", "rtt_ms": round_trip.as_millis() as u64, "tls": tls, "joins": times.sound.len(),
        "audio_ms": summed(&times.sound), "video_ms": summed(&times.picture), "goal": {"p50_ms": goal}, "met": met,
    })
}
