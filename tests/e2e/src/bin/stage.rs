//! `stage`: what the suites of the packages play on. A relay, a proxy before it that can be torn, guests who publish what can be recognised
//! and judge what they see and hear, and a door for programs of any language: one line of JSON per request and per answer, over TCP on
//! loopback. `tests/e2e/README.md` says what can be asked. Ends when its standard input ends.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use segue::{Reliability, TrackKind};
use segue_e2e::guest::NAMES;
use segue_e2e::{Guest, Proxy, TestRelay};
use segue_relay::auth::{DEVELOPMENT_KEY, LOCAL_DEVELOPMENT_SECRET};
use segue_relay::{Claims, Grants};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt as _, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

/// How long a condition may take to come true on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long the proxy lets nothing through when it is torn: every connection notices.
const TORN: Duration = Duration::from_millis(300);

/// New pictures that count as seeing somebody, and new windows of 100 ms that count as hearing them.
const PICTURES: u64 = 15;
const TONES: u64 = 10;

/// Longest request. More is a mistake of the caller.
const MAX_LINE: u64 = 1 << 20;

type Answer = Result<Value, String>;

struct Stage {
    relay: TestRelay,
    proxy: Proxy,
    /// Takes connections and never says a word.
    dead: String,
    guests: Mutex<BTreeMap<(String, String), Arc<Guest>>>,
    barriers: Mutex<BTreeMap<String, watch::Sender<u64>>>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let relay = TestRelay::start().await;
    let proxy = Proxy::start(relay.address()).await;
    let deaf = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let dead = format!("ws://{}/v1/connect", deaf.local_addr()?);
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", json!({ "stage": door.local_addr()?.to_string(), "relay": relay.address().to_string() }));
    let stage = Arc::new(Stage { relay, proxy, dead, guests: Mutex::default(), barriers: Mutex::default() });
    let serving = tokio::spawn(serve(door, stage));
    // Whoever started this goes, and so does this.
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    serving.abort();
    drop(deaf);
    Ok(())
}

async fn serve(door: TcpListener, stage: Arc<Stage>) {
    while let Ok((caller, _)) = door.accept().await {
        let stage = stage.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(caller, &stage).await {
                eprintln!("stage: {error}");
            }
        });
    }
}

async fn converse(caller: TcpStream, stage: &Stage) -> std::io::Result<()> {
    let (input, mut output) = caller.into_split();
    let mut lines = BufReader::new(input);
    loop {
        let mut line = String::new();
        if (&mut lines).take(MAX_LINE).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let request: Result<Value, _> = serde_json::from_str(&line);
        let answer = match request {
            Ok(request) => stage.handle(&request).await,
            Err(error) => Err(format!("not a line of JSON: {error}")),
        };
        let answer = answer.unwrap_or_else(|error| json!({ "error": error }));
        output.write_all(format!("{answer}\n").as_bytes()).await?;
    }
}

/// A text of a request.
fn text<'a>(request: &'a Value, name: &str) -> Result<&'a str, String> {
    request[name].as_str().ok_or_else(|| format!("`{name}` is missing or no text in {request}"))
}

fn done() -> Answer {
    Ok(json!({ "ok": true }))
}

/// Waits until something is so.
async fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let mut last = String::new();
    let waiting = async {
        loop {
            match look() {
                Ok(found) => return found,
                Err(missing) => last = missing,
            }
            sleep(LOOK_EVERY).await;
        }
    };
    timeout(PATIENCE, waiting).await.map_err(|_| format!("{what} did not happen: {last}"))
}

impl Stage {
    async fn handle(&self, request: &Value) -> Answer {
        match text(request, "do")? {
            "places" => Ok(json!({
                "url": self.proxy.url(), "dead": self.dead, "key": DEVELOPMENT_KEY, "secret": LOCAL_DEVELOPMENT_SECRET
            })),
            "token" => self.token(request),
            "tear" => {
                self.proxy.tear();
                sleep(TORN).await;
                self.proxy.mend();
                done()
            }
            "barrier" => self.barrier(request).await,
            "guest_join" => self.guest_join(request).await,
            "guest_leave" => self.guest_leave(request).await,
            "guest_mute" => self.guest_mute(request).await,
            "guest_send" => self.guest_send(request).await,
            "guest_perceives" => self.guest_perceives(request).await,
            "guest_receives" => self.guest_receives(request).await,
            "guest_knows" => self.guest_knows(request).await,
            other => Err(format!("the stage cannot do `{other}`")),
        }
    }

    /// `room`, `identity`; `kind`: `good`, `expired` or `forged`.
    fn token(&self, request: &Value) -> Answer {
        let (room, identity) = (text(request, "room")?, text(request, "identity")?);
        let good = self.relay.token(room, identity);
        let token = match request["kind"].as_str().unwrap_or("good") {
            "good" => good,
            "expired" => self.relay.token_with(Claims { exp: 1_000_000, ..Claims::new(room, identity, Grants::default(), 0) }),
            "forged" => format!("{}AAAA", good.trim_end_matches(|letter| letter != '.')),
            other => return Err(format!("no kind of token is called `{other}`")),
        };
        Ok(json!({ "token": token }))
    }

    /// Waits until `count` callers have come to the barrier `name`.
    async fn barrier(&self, request: &Value) -> Answer {
        let (name, count) = (text(request, "name")?, request["count"].as_u64().ok_or("`count` is missing")?);
        let mut here = {
            let mut barriers = self.barriers.lock().await;
            let barrier = barriers.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(0));
            barrier.send_modify(|here| *here += 1);
            barrier.subscribe()
        };
        let all_here = timeout(PATIENCE * 2, here.wait_for(|here| *here >= count)).await.is_ok_and(|came| came.is_ok());
        if all_here { done() } else { Err(format!("barrier {name}: {} of {count} came", *here.borrow())) }
    }

    async fn guest(&self, request: &Value) -> Result<Arc<Guest>, String> {
        let key = (text(request, "room")?.to_owned(), text(request, "name")?.to_owned());
        self.guests.lock().await.get(&key).cloned().ok_or_else(|| format!("nobody called {} is a guest in {}", key.1, key.0))
    }

    /// A guest joins, and sends pictures and a tone unless `silent`.
    async fn guest_join(&self, request: &Value) -> Answer {
        let (room, name) = (text(request, "room")?, text(request, "name")?);
        let name = NAMES.into_iter().find(|known| *known == name).ok_or_else(|| format!("guests are called {NAMES:?}"))?;
        let guest = Guest::join(&self.relay, room, name).await;
        if !request["silent"].as_bool().unwrap_or(false) {
            guest.publish().await;
        }
        self.guests.lock().await.insert((room.to_owned(), name.to_owned()), Arc::new(guest));
        done()
    }

    async fn guest_leave(&self, request: &Value) -> Answer {
        let guest = self.guest(request).await?;
        self.guests.lock().await.remove(&(text(request, "room")?.to_owned(), text(request, "name")?.to_owned()));
        guest.room.leave().await;
        done()
    }

    /// `kind`: `audio` or `video`; `muted`.
    async fn guest_mute(&self, request: &Value) -> Answer {
        let guest = self.guest(request).await?;
        let kind = if text(request, "kind")? == "audio" { TrackKind::Audio } else { TrackKind::Video };
        let muted = request["muted"].as_bool().ok_or("`muted` is missing")?;
        guest.publication(kind).set_muted(muted).await.map_err(|error| error.to_string())?;
        done()
    }

    /// `topic`, `text`, `reliable`.
    async fn guest_send(&self, request: &Value) -> Answer {
        let guest = self.guest(request).await?;
        let (topic, words) = (text(request, "topic")?.to_owned(), text(request, "text")?.to_owned());
        let reliability = reliability(request);
        guest.room.send_data(&topic, words.into_bytes(), reliability).await.map_err(|error| error.to_string())?;
        done()
    }

    /// From now on the guest gets new pictures (`pictures`: false: not asked) and new sound (`sound`: false likewise) of `whom`.
    async fn guest_perceives(&self, request: &Value) -> Answer {
        let (guest, whom) = (self.guest(request).await?, text(request, "whom")?);
        let pictures = if request["pictures"].as_bool().unwrap_or(true) { PICTURES } else { 0 };
        let tones = if request["sound"].as_bool().unwrap_or(true) { TONES } else { 0 };
        let before = guest.log.progress(whom);
        until(&format!("{} perceiving {whom}", guest.name), || {
            let now = guest.log.progress(whom);
            let (seen, heard) = (now.0 - before.0, now.1 - before.1);
            if seen >= pictures && heard >= tones { Ok(()) } else { Err(format!("{seen} pictures, {heard} tones")) }
        })
        .await?;
        let notes = guest.log.notes();
        let wrong = notes.seen.get(whom).map(|seen| (seen.repeated, seen.backwards, seen.strange)).unwrap_or_default();
        if wrong == (0, 0, 0) { done() } else { Err(format!("pictures of {whom}: repeated, backwards, strange: {wrong:?}")) }
    }

    /// Messages of `topic`, in this order: `texts`.
    async fn guest_receives(&self, request: &Value) -> Answer {
        let (guest, topic) = (self.guest(request).await?, text(request, "topic")?);
        let wanted: Vec<&str> =
            request["texts"].as_array().ok_or("`texts` is missing")?.iter().filter_map(Value::as_str).collect();
        let reliability = reliability(request);
        until(&format!("{} receiving {wanted:?}", guest.name), || {
            let found = guest.log.messages(topic, reliability);
            let found: Vec<_> = found.iter().map(|message| String::from_utf8_lossy(message).into_owned()).collect();
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await?;
        done()
    }

    /// The others the guest knows come to be exactly `identities`.
    async fn guest_knows(&self, request: &Value) -> Answer {
        let guest = self.guest(request).await?;
        let wanted = request["identities"].as_array().ok_or("`identities` is missing")?;
        let mut wanted: Vec<String> = wanted.iter().filter_map(|one| Some(one.as_str()?.to_owned())).collect();
        wanted.sort();
        until(&format!("{} knowing {wanted:?}", guest.name), || {
            let others = guest.room.participants();
            let mut known: Vec<String> = others.iter().map(|one| one.identity().to_owned()).collect();
            known.sort();
            if known == wanted { Ok(()) } else { Err(format!("{known:?}")) }
        })
        .await?;
        done()
    }
}

fn reliability(request: &Value) -> Reliability {
    if request["reliable"].as_bool().unwrap_or(true) { Reliability::Reliable } else { Reliability::Lossy }
}
