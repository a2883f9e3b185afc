//! Logs of a whole call name no address, key, password, token or description. The only test of its program: it takes all logs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use segue::testing::Fault;
use segue::{ConnectionState, Path, Reliability};
use segue_e2e::call::{all_edges_on, everybody_is, everybody_sees_and_hears_everybody};
use segue_e2e::{Guest, Joining, Proxy, TestRelay};
use tracing_subscriber::fmt::MakeWriter;

/// Everything written so far.
#[derive(Clone, Default)]
struct Pages(Arc<Mutex<Vec<u8>>>);

impl Pages {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Pages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Pages {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Words that stand in descriptions and candidates only (RFC 8866, RFC 8839).
const DESCRIPTIONS: [&str; 12] = [
    "a=",
    "m=audio",
    "c=IN",
    "ice-ufrag",
    "ice-pwd",
    "ufrag",
    "fingerprint",
    "candidate:",
    "typ host",
    "sha-256",
    "o=-",
    "m=video",
];

/// Whether a word is an address of version 4 or 6, with or without a port. Paths of modules are none.
fn is_address(word: &str) -> bool {
    let word = word.trim_end_matches([':', '.']);
    word.parse::<IpAddr>().is_ok() || word.parse::<SocketAddr>().is_ok()
}

/// What of a line should not be in it.
fn leaks(line: &str, secrets: &[String]) -> Vec<String> {
    let words = line.split(|c: char| c.is_whitespace() || "\"'`=()[]{}<>,;/@%\\".contains(c));
    let addresses = words.filter(|word| is_address(word)).map(str::to_owned);
    let known = secrets.iter().map(String::as_str).chain(DESCRIPTIONS).filter(|word| line.contains(word));
    addresses.chain(known.map(str::to_owned)).collect()
}

#[test]
fn leaks_are_found() {
    let secrets = ["s3cret".to_owned()];
    for line in [
        "INFO segue: up at=127.0.0.1",
        "INFO segue: up at=127.0.0.1:4000",
        "INFO segue: up at=Some([::1]:4000)",
        "INFO segue: up at=fe80::1%2",
        "INFO segue: error=\"cannot reach ws://10.0.0.7:7880/v1\"",
        "INFO segue: joins token=s3cret",
        "INFO segue: sdp=\"v=0\\r\\na=ice-pwd:x\"",
    ] {
        assert!(!leaks(line, &secrets).is_empty(), "{line}");
    }
    let clean = "DEBUG segue_relay::signalling::room_task: participant joined room=a participant=1 after=1.5s at=12:30";
    assert!(leaks(clean, &secrets).is_empty(), "{:?}", leaks(clean, &secrets));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_whole_call_names_no_address_key_or_description() {
    let pages = Pages::default();
    tracing_subscriber::fmt().with_env_filter("segue=trace").with_ansi(false).without_time().with_writer(pages.clone()).init();
    let mut relay = TestRelay::start().await;
    let secrets: Vec<String> =
        ["ada", "bob", "cyd", "dan", "eve"].map(|name| relay.token("secret-room", name)).into_iter().collect();
    let proxy = Proxy::start(relay.address()).await;
    let joining = Joining { url: proxy.url(), ..Joining::new(&relay, "secret-room", "ada") };
    let token = joining.token.clone();
    let ada = joining.attempt().await.expect("let in");
    ada.publish().await;
    let mut guests = vec![ada];
    for name in ["bob", "cyd"] {
        guests.push(Guest::join_and_publish(&relay, "secret-room", name).await);
    }
    guests[1].room.inject(Fault::RefuseDirect("dan".to_owned())).await;
    all_edges_on(Path::Direct, &guests.iter().collect::<Vec<_>>()).await;
    for name in ["dan", "eve"] {
        guests.push(Guest::join_and_publish(&relay, "secret-room", name).await);
    }
    let all: Vec<&Guest> = guests.iter().collect();
    all_edges_on(Path::Relayed, &all).await;
    everybody_sees_and_hears_everybody(&all).await;
    all[0].room.send_data("topic", "word", Reliability::Reliable).await.expect("taken");
    all[0].room.send_data("topic", "word", Reliability::Lossy).await.expect("taken");

    proxy.tear();
    let refused = Joining { token: "nonsense".to_owned(), ..Joining::new(&relay, "secret-room", "fay") };
    refused.attempt().await.err().expect("refused");
    proxy.mend();
    relay.kill();
    everybody_is(ConnectionState::Reconnecting, &all).await;
    relay.start_again().await;
    everybody_is(ConnectionState::Connected, &all).await;
    for guest in guests {
        guest.leave().await;
    }
    relay.shut_down().await;

    let secrets: Vec<String> = secrets.into_iter().chain([token, "eyJ".to_owned()]).collect();
    let text = pages.text();
    for expected in ["segue_relay", "participant joined", "participant left", "connection to the relay closed"] {
        assert!(text.contains(expected), "the log does not say `{expected}`: is it taken at all?\n{text}");
    }
    let found: Vec<_> = text.lines().map(|line| (line, leaks(line, &secrets))).filter(|(_, leaks)| !leaks.is_empty()).collect();
    assert!(found.is_empty(), "{found:#?}");
}
