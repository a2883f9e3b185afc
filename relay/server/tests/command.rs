//! The command line, as a person or a service meets it.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;

const KEY: &str = "service:0123456789abcdef0123456789abcdef";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segue-relay"));
    command.args(arguments).env_remove("SEGUE_CONFIG");
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Starts a relay and stops it when it has said where rooms are. Gives what it wrote to both outputs.
fn serve(arguments: &[&str], variables: &[(&str, &str)]) -> (String, String) {
    let all = [&["serve", "--http-listen", "127.0.0.1:0", "--shards", "1"], arguments].concat();
    let mut relay =
        command(&all).envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut told = String::new();
    for line in BufReader::new(relay.stderr.take().expect("piped")).lines() {
        let line = line.expect("text");
        let last = line.starts_with("  room ") || line.starts_with("segue-relay: ") || line.starts_with("error: ");
        told += &format!("{line}\n");
        if last {
            break;
        }
    }
    // The link, if there is one, is printed next.
    let said = if told.contains("open this link") {
        let mut link = String::new();
        BufReader::new(relay.stdout.as_mut().expect("piped")).read_line(&mut link).expect("a link");
        link
    } else {
        String::new()
    };
    let _ = relay.kill();
    let rest = relay.wait_with_output().expect("ends").stdout;
    (told, said + &text(&rest))
}

#[test]
fn a_link_is_printed_with_the_development_key_or_on_request() {
    let (told, link) = serve(&[], &[]);
    assert!(told.contains("key         development") && link.contains("/#token="), "{told}{link}");
    let (told, link) = serve(&["--key", KEY], &[]);
    assert!(told.contains("segue-relay token create") && link.is_empty(), "{told}{link}");
    let (_, link) = serve(&["--key", KEY, "--print-link"], &[]);
    assert!(link.contains("/#token="), "{link}");
}

#[test]
fn an_empty_variable_is_not_set() {
    let empty = [("SEGUE_HTTP_PUBLIC_METRICS", ""), ("SEGUE_UDP_PORT", ""), ("SEGUE_KEYS", ""), ("SEGUE_TLS", "")];
    let (told, link) = serve(&[], &empty);
    assert!(link.contains("/#token="), "{told}");
    let (told, _) = serve(&[], &[("SEGUE_UDP_PORT", "many")]);
    assert!(told.starts_with("error: invalid value 'many' for '--udp-port"), "{told}");
}

#[test]
fn a_number_of_seconds_below_zero_is_refused_by_name() {
    let (told, _) = serve(&["--resume-seconds", "-1"], &[]);
    assert!(told.contains("limits.resume_seconds must be a number of seconds from 0 to a day"), "{told}");
}

#[test]
fn keys_come_from_files_too() {
    let folder = std::env::temp_dir().join(format!("segue-keys-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let keep = |name: &str, text: &str| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(document.as_ref());
    let private = keep("ed.pem", &format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"));
    let secret = keep("secret", "a secret, with a comma, of more than 32 bytes\n");
    for (path, algorithm) in [(private, "EdDSA"), (secret, "HS256")] {
        let file = format!("service:{}", path.display());
        let token = run(&["token", "create", "--room", "standup", "--key-file", &file]);
        assert!(token.status.success(), "{}", text(&token.stderr));
        let head = text(&token.stdout).split('.').next().map(str::to_owned).expect("a token");
        let head = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head).expect("base64");
        assert!(text(&head).contains(algorithm), "{}", text(&head));
    }
    let missing = run(&["token", "create", "--room", "standup", "--key-file", "service:nowhere/service.key"]);
    assert!(text(&missing.stderr).contains("cannot read nowhere/service.key"), "{}", text(&missing.stderr));
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn check_says_what_others_would_need() {
    let local = run(&["check"]);
    assert!(local.status.success());
    assert!(text(&local.stdout).contains("lacks: HTTP listens on this machine only"), "{}", text(&local.stdout));
    let public = run(&["check", "--http-public-url", "https://calls.example.org"]);
    assert!(!public.status.success());
    let told = text(&public.stdout);
    assert!(told.contains("auth.key_files") && told.contains("media.port") && told.contains("media.bind"), "{told}");
}
