//! The script all languages play (`conformance.json`), through crate `segue`, on the same stage as theirs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use segue::{
    ConnectionState, Error, IceOptions, Interfaces, Path, Reliability, Room, RoomEvent, RoomOptions, Topology, TrackKind,
};
use segue_e2e::{Guest, Joining, eventually};
use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

/// New pictures and windows of sound that count.
const PICTURES: u64 = 15;
const TONES: u64 = 10;

/// The stage, which ends with this.
struct Stage {
    program: Child,
    address: String,
}

impl Stage {
    fn start() -> Self {
        let mut stage = Command::new(env!("CARGO_BIN_EXE_stage"));
        let mut program = stage.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the stage starts");
        let mut line = String::new();
        BufReader::new(program.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let told: Value = serde_json::from_str(&line).expect("JSON");
        Self { program, address: text(&told, "stage").to_owned() }
    }

    async fn ask(&self, request: Value) -> Value {
        let address = self.address.clone();
        let answer: Value = spawn_blocking(move || {
            let mut stage = TcpStream::connect(address).expect("the stage listens");
            stage.write_all(format!("{request}\n").as_bytes()).expect("written");
            let mut line = String::new();
            BufReader::new(stage).read_line(&mut line).expect("an answer");
            serde_json::from_str(&line).expect("JSON")
        })
        .await
        .expect("no panic");
        assert!(answer["error"].is_null(), "{answer}");
        answer
    }

    async fn token(&self, room: &str, identity: &str, kind: &str) -> String {
        let answer = self.ask(json!({ "do": "token", "room": room, "identity": identity, "kind": kind })).await;
        text(&answer, "token").to_owned()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.program.stdin.take());
        let _ = self.program.wait();
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("`{name}` is missing in {value}"))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

fn options() -> RoomOptions {
    let ice = IceOptions { interfaces: Interfaces::LoopbackOnly, ..IceOptions::default() };
    RoomOptions { ice, ..RoomOptions::default() }
}

fn kind(step: &Value) -> TrackKind {
    if text(step, "kind") == "audio" { TrackKind::Audio } else { TrackKind::Video }
}

/// Plays one scenario.
struct Runner<'a> {
    stage: &'a Stage,
    room: String,
    cast: BTreeMap<String, Guest>,
    remembered: BTreeMap<String, Vec<segue::RemoteTrack>>,
}

impl Runner<'_> {
    async fn play(&mut self, step: &Value) {
        match text(step, "do") {
            "stage" => {
                let mut ask = step["ask"].clone();
                if ask["room"] == "$room" {
                    ask["room"] = json!(self.room);
                }
                self.stage.ask(ask).await;
            }
            "join" => self.join(text(step, "as")).await,
            "join_fails" => self.join_fails(step).await,
            "cancel_join" => self.cancel_join(step).await,
            "publish" => self.player(step).publish().await,
            "sees" => self.progresses(step, PICTURES, 0).await,
            "hears" => self.progresses(step, 0, TONES).await,
            "mute" => {
                let muted = step["muted"].as_bool().expect("`muted`");
                self.player(step).publication(kind(step)).set_muted(muted).await.expect("in the room");
            }
            "told_muted" => self.told_muted(step).await,
            "send" => {
                let words = text(step, "text").to_owned().into_bytes();
                let reliability = if step["reliable"] == true { Reliability::Reliable } else { Reliability::Lossy };
                self.player(step).room.send_data(text(step, "topic"), words, reliability).await.expect("taken");
            }
            "receives" => self.receives(step).await,
            "topology" => self.topology(step).await,
            "told_state" => self.told_state(step).await,
            "remember_tracks" => {
                let tracks = tracks(self.player(step));
                assert!(!tracks.is_empty());
                self.remembered.insert(text(step, "as").to_owned(), tracks);
            }
            "same_tracks" => {
                let now: Vec<_> = tracks(self.player(step)).iter().map(segue::RemoteTrack::id).collect();
                for track in &self.remembered[text(step, "as")] {
                    assert!(now.contains(&track.id()) && !track.has_ended(), "{track:?} in {now:?}");
                }
            }
            "leave" => self.player(step).room.leave().await,
            "ended" => self.ended(step).await,
            "call_fails" => self.call_fails(step).await,
            "cycles" => self.cycles(step).await,
            other => panic!("this runner cannot do `{other}`"),
        }
    }

    fn player(&self, step: &Value) -> &Guest {
        &self.cast[text(step, "as")]
    }

    async fn joining(&self, identity: &str, kind: &str, place: &str) -> Joining {
        let places = self.stage.ask(json!({ "do": "places" })).await;
        let token = self.stage.token(&self.room, identity, kind).await;
        let known = segue_e2e::guest::NAMES.into_iter().find(|name| *name == identity).expect("a known name");
        Joining { url: text(&places, place).to_owned(), token, name: known, options: options() }
    }

    async fn join(&mut self, identity: &str) {
        let guest = self.joining(identity, "good", "url").await.attempt().await.expect("let in");
        self.cast.insert(identity.to_owned(), guest);
    }

    async fn join_fails(&self, step: &Value) {
        let joining = self.joining(text(step, "as"), text(step, "token"), "url").await;
        let error = joining.attempt().await.err().expect("refused");
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert_eq!(error.code(), text(step, "code"));
    }

    /// Rust cancels by dropping the future.
    async fn cancel_join(&self, step: &Value) {
        let joining = self.joining(text(step, "as"), "good", step["at"].as_str().unwrap_or("url")).await;
        let patience = Duration::from_millis(step["after_ms"].as_u64().expect("`after_ms`"));
        let _ = timeout(patience, joining.attempt()).await;
    }

    async fn progresses(&self, step: &Value, pictures: u64, tones: u64) {
        let (player, whom) = (self.player(step), text(step, "whom"));
        let before = player.log.progress(whom);
        eventually(&format!("{} perceiving {whom}", player.name), || {
            let now = player.log.progress(whom);
            (now.0 < before.0 + pictures || now.1 < before.1 + tones).then_some((before, now))
        })
        .await;
        let seen = player.log.notes().seen.get(whom).cloned().unwrap_or_default();
        assert_eq!((seen.repeated, seen.backwards, seen.strange), (0, 0, 0), "{seen:?}");
    }

    async fn told_muted(&self, step: &Value) {
        let (player, muted) = (self.player(step), step["muted"].as_bool().expect("`muted`"));
        let track = player.track(text(step, "whom"), kind(step)).await;
        eventually("being told", || {
            let told = player.log.find(|event| match event {
                RoomEvent::TrackMuted { track: found, muted } if found.id() == track.id() => Some(*muted),
                _ => None,
            });
            (told.last() != Some(&muted) || track.is_muted() != muted).then_some(told)
        })
        .await;
    }

    async fn receives(&self, step: &Value) {
        let (player, wanted) = (self.player(step), texts(&step["texts"]));
        eventually("receiving", || {
            let found = player.log.messages(text(step, "topic"), Reliability::Reliable);
            let found: Vec<_> = found.iter().map(|message| String::from_utf8_lossy(message).into_owned()).collect();
            (found != wanted).then_some(found)
        })
        .await;
    }

    async fn topology(&self, step: &Value) {
        let room = &self.player(step).room;
        let (wanted, path) = match text(step, "is") {
            "mesh" => (Topology::Mesh, Some(Path::Direct)),
            "relayed" => (Topology::Relayed, Some(Path::Relayed)),
            _ => (Topology::Mixed, None),
        };
        eventually("the room being so", || {
            let paths = room.path_info();
            let settled = paths.iter().all(|info| info.active && !info.moving && path.is_none_or(|path| path == info.path));
            let all = paths.len() >= 2 * room.participants().len();
            (room.topology() != wanted || !settled || !all).then_some((room.topology(), paths))
        })
        .await;
    }

    async fn told_state(&self, step: &Value) {
        let (player, wanted) = (self.player(step), texts(&step["states"]));
        eventually("being told of the connection", || {
            let told = player.log.find(|event| match event {
                RoomEvent::ConnectionStateChanged(state) => Some(format!("{state:?}").to_lowercase()),
                _ => None,
            });
            let so = told.windows(wanted.len()).any(|window| window == wanted);
            (!so).then_some(told)
        })
        .await;
    }

    async fn ended(&self, step: &Value) {
        let player = self.player(step);
        eventually("the end of events", || {
            let ends = player.log.find(|event| match event {
                RoomEvent::ConnectionStateChanged(ConnectionState::Disconnected { .. }) => Some(()),
                _ => None,
            });
            (ends.len() != 1).then_some(ends)
        })
        .await;
        assert!(player.room.events().next().await.is_none(), "a room that was left tells nothing");
    }

    async fn call_fails(&self, step: &Value) {
        let player = self.player(step);
        let error = match text(step, "call") {
            "publish" => player.sing().await.err(),
            "send" => player.room.send_data("late", "too late", Reliability::Reliable).await.err(),
            "stats" => player.room.stats().await.err(),
            other => panic!("this runner cannot call `{other}`"),
        };
        assert_eq!(error.expect("a failure").code(), text(step, "code"));
    }

    async fn cycles(&self, step: &Value) {
        let number = |name: &str| step[name].as_u64().unwrap_or_else(|| panic!("`{name}`"));
        let (count, at_once) = (number("count"), number("at_once"));
        let url = text(&self.stage.ask(json!({ "do": "places" })).await, "url").to_owned();
        let mut before = None;
        for batch in 0..count / at_once {
            let mut joins = JoinSet::new();
            for place in 0..at_once {
                let token = self.stage.token(&format!("{}-{batch}-{place}", self.room), text(step, "as"), "good").await;
                let url = url.clone();
                joins.spawn(async move { Room::connect(&url, &token, options()).await.expect("let in").leave().await });
            }
            joins.join_all().await;
            if (batch + 1) * at_once >= count / 5 && before.is_none() {
                before = Some(resident_megabytes());
            }
        }
        let grown = resident_megabytes() - before.expect("enough cycles");
        println!("{count} cycles: memory grew by {grown:.1} MB after the first fifth");
        assert!(grown < number("megabytes") as f64, "{grown} MB");
    }
}

fn tracks(player: &Guest) -> Vec<segue::RemoteTrack> {
    player.room.participants().iter().flat_map(segue::RemoteParticipant::tracks).collect()
}

fn resident_megabytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<f64>().ok()).expect("a number") / 1_000.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_of_all_languages_plays_in_rust() {
    let script = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/conformance.json")).expect("the script");
    let script: Value = serde_json::from_str(&script).expect("JSON");
    let stage = Stage::start();
    for (number, scenario) in script["scenarios"].as_array().expect("scenarios").iter().enumerate() {
        println!("{}", text(scenario, "name"));
        let room = format!("rust-{number}");
        let mut runner = Runner { stage: &stage, room, cast: BTreeMap::new(), remembered: BTreeMap::new() };
        for step in scenario["steps"].as_array().expect("steps") {
            println!("    {step}");
            runner.play(step).await;
        }
    }
}
