//! `segue-bench soak`: people come and go for a long time; memory and descriptors must not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use segue_bench::load::leg::{CONSENT_INTERVAL, Identity, Leg, Way, connect};
use segue_bench::load::process::{RelayProcess, Usage, usage};
use segue_bench::load::publish::Publishers;
use segue_bench::load::schedule::{Pace, Programme};
use segue_bench::load::stats::{median, round};
use serde_json::json;

use crate::call::Server;
use crate::measure::print;

/// Rooms, each with a publisher.
const ROOMS: usize = 10;

/// Memory of the last quarter may be so much above that of the second.
const GROWTH_GOAL: f64 = 1.05;

/// Descriptors the relay may have more at the end than at the beginning: those of the question itself.
const DESCRIPTOR_GOAL: usize = 2;

/// A server notices within this that somebody vanished: 30 s of consent (RFC 7675), and a moment.
const NOTICED: Duration = Duration::from_secs(35);

/// What may be asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Minutes
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Participants at a time
    #[arg(long, default_value_t = 200)]
    participants: usize,
    /// Who come and who go in a second
    #[arg(long, default_value_t = 4.0)]
    churn: f64,
    #[command(flatten)]
    server: Server,
    /// JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

/// Everybody there is.
struct Crowd {
    identity: Arc<Identity>,
    server: Server,
    process: RelayProcess,
    /// A room's publisher, and its players with when they were last heard of.
    publishers: Vec<Publishers>,
    players: Vec<(usize, Leg)>,
    joined: u64,
    vanished: u64,
    silent: u64,
    dice: u64,
}

/// Runs for so many minutes.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let server = arguments.server.clone();
    let process = server.start()?.ok_or("a soak needs the relay as its own process")?;
    let id = process.id();
    let idle = usage(id)?;
    let mut crowd = Crowd {
        identity: Arc::new(Identity::generate()?),
        server,
        process,
        publishers: Vec::new(),
        players: Vec::new(),
        joined: 0,
        vanished: 0,
        silent: 0,
        dice: 1,
    };
    for room in 0..ROOMS {
        let publisher = crowd.publisher(room)?;
        crowd.publishers.push(publisher);
    }
    while crowd.players.len() + ROOMS < arguments.participants {
        crowd.join()?;
    }
    let length = Duration::from_secs_f64(arguments.minutes * 60.0);
    let (begin, mut samples, mut sample_at, mut consent_at) = (Instant::now(), Vec::new(), Duration::ZERO, Duration::ZERO);
    while begin.elapsed() < length {
        crowd.beat(arguments.churn)?;
        let elapsed = begin.elapsed();
        if consent_at <= elapsed {
            consent_at = elapsed + CONSENT_INTERVAL;
            crowd.consent()?;
        }
        if sample_at <= elapsed {
            // A hundred samples, however long.
            sample_at = elapsed + length / 100;
            samples.push(usage(id)?);
        }
    }
    let crowded = usage(id)?;
    let (joined, vanished, silent) = (crowd.joined, crowd.vanished, crowd.silent);
    let process = crowd.disperse()?;
    std::thread::sleep(NOTICED);
    report(arguments, idle, crowded, usage(id)?, &samples, (joined, vanished, silent));
    drop(process);
    Ok(())
}

fn report(arguments: &Arguments, idle: Usage, crowded: Usage, end: Usage, samples: &[Usage], people: (u64, u64, u64)) {
    let quarter = |from: usize| {
        let part = samples.iter().skip(samples.len() * from / 4).take(samples.len() / 4);
        median(&part.map(|usage| usage.resident as f64 / 1024.0).collect::<Vec<_>>())
    };
    let growth = quarter(3) / quarter(1).max(1.0);
    let leaked = end.descriptors.saturating_sub(idle.descriptors);
    let kib = |usage: Usage| usage.resident / 1024;
    let line = json!({
        "kind": "soak", "minutes": arguments.minutes, "participants": arguments.participants, "joined": people.0,
        "vanished": people.1, "silent": people.2, "kib_idle": kib(idle), "kib_second_quarter": round(quarter(1)),
        "kib_last_quarter": round(quarter(3)), "growth": round(growth), "kib_empty_again": kib(end),
        "descriptors_idle": idle.descriptors, "descriptors_crowded": crowded.descriptors, "descriptors_leaked": leaked,
        "goal": {"growth": GROWTH_GOAL, "descriptors_leaked": DESCRIPTOR_GOAL, "silent": 0},
        "met": growth <= GROWTH_GOAL && leaked <= DESCRIPTOR_GOAL && people.2 == 0,
    });
    print(&line, arguments.json);
}

impl Crowd {
    fn draw(&mut self, below: usize) -> usize {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) as usize % below.max(1)
    }

    fn publisher(&self, room: usize) -> Result<Publishers, String> {
        let (url, token) = self.server.whip(Some(&self.process), &format!("soak{room}"), "camera")?;
        let ssrc = 20_000 + 2 * room as u32;
        let leg = Leg::offer(&self.identity, Way::Publish, &url, &token, [ssrc, ssrc + 1], false);
        let mut legs = vec![leg.map_err(|error| error.to_string())?];
        connect(&self.identity, &mut legs).map_err(|error| error.to_string())?;
        Ok(Publishers::new(self.identity.clone(), legs))
    }

    fn join(&mut self) -> Result<(), String> {
        let room = self.draw(ROOMS);
        let (url, token) = self.server.whep(Some(&self.process), &format!("soak{room}"), "camera")?;
        let leg = Leg::offer(&self.identity, Way::Play, &url, &token, [0; 2], false).map_err(|error| error.to_string())?;
        self.players.push((room, leg));
        let last = self.players.len() - 1;
        let mut leg = [self.players.swap_remove(last).1];
        connect(&self.identity, &mut leg).map_err(|error| error.to_string())?;
        self.players.extend(leg.into_iter().map(|leg| (room, leg)));
        self.joined += 1;
        Ok(())
    }

    /// A moment: a little media in every room, somebody goes, somebody comes, now and then a publisher begins anew.
    fn beat(&mut self, churn: f64) -> Result<(), String> {
        let programme = Programme { pace: Pace::Burst, frame_rate: 10.0, audio: true };
        let each = Duration::from_secs_f64(1.0 / churn.max(0.1) / ROOMS as f64);
        for publisher in &mut self.publishers {
            publisher.run(programme, each, true);
        }
        let gone = self.draw(self.players.len());
        let (_, leg) = self.players.swap_remove(gone);
        self.silent += u64::from(!heard(&leg));
        if self.draw(4) == 0 {
            // Without a word: battery, tunnel, lid.
            self.vanished += 1;
        } else {
            leg.end().map_err(|error| error.to_string())?;
        }
        self.join()?;
        if self.draw(8) == 0 {
            let room = self.draw(ROOMS);
            self.publishers[room] = self.publisher(room)?;
        }
        Ok(())
    }

    fn consent(&mut self) -> Result<(), String> {
        for (_, leg) in &mut self.players {
            leg.check().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Everybody goes.
    fn disperse(self) -> Result<RelayProcess, String> {
        let publishers = self.publishers.into_iter().flat_map(Publishers::into_legs);
        for leg in publishers.chain(self.players.into_iter().map(|(_, leg)| leg)) {
            // One whose publisher session was replaced is gone already.
            leg.end().map_err(|error| error.to_string())?;
        }
        Ok(self.process)
    }
}

/// Whether any media waits at a leg's socket: nobody read it since it came.
fn heard(leg: &Leg) -> bool {
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| leg.socket.recv(&mut buffer).ok().map(|len| (len, buffer[0]))).any(|(_, first)| first >= 128)
}
