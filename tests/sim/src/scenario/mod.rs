//! Scenarios: files that say who does what, what goes wrong, and what must hold. `SCENARIOS.md` documents every field.

mod check;
mod run;

use std::collections::BTreeSet;
use std::time::Duration;

use segue_session::room::{RoomConfig, TopologyConfig};
use serde::Deserialize;

use crate::net::nat::Nat;
use crate::net::{Access, Common, Conditions};

pub use run::{Failure, Outcome, Runner, source};

/// A scenario as its file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// In one line.
    pub name: String,
    /// What it is about.
    #[serde(default)]
    pub about: String,
    /// How the relay is configured.
    #[serde(default)]
    pub room: Room,
    /// The network to begin with.
    #[serde(default)]
    pub network: NetworkSpec,
    /// What happens, in order.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// What may be said of the room; the rest is as the relay ships.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Room {
    pub mesh_max: Option<usize>,
    pub mesh_max_audio: Option<usize>,
    pub down_hold_ms: Option<u64>,
    pub handover_interval_ms: Option<u64>,
    pub laggard_after_ms: Option<u64>,
    pub resume_window_ms: Option<u64>,
    pub relay_for_screens: Option<bool>,
    /// Voices the relay forwards at once; all, where nothing is said: selection is not what these runs are about.
    pub n_loudest: Option<usize>,
}

impl Room {
    /// The relay's configuration.
    #[must_use]
    pub fn config(&self) -> RoomConfig {
        let ms = |value: Option<u64>, usual: Duration| value.map_or(usual, Duration::from_millis);
        let room = RoomConfig::default();
        let topology = room.topology;
        RoomConfig {
            name: "sim".to_owned(),
            resume_window: ms(self.resume_window_ms, room.resume_window),
            topology: TopologyConfig {
                mesh_max: self.mesh_max.unwrap_or(topology.mesh_max),
                mesh_max_audio: self.mesh_max_audio.unwrap_or(topology.mesh_max_audio),
                down_hold: ms(self.down_hold_ms, topology.down_hold),
                handover_interval: ms(self.handover_interval_ms, topology.handover_interval),
                laggard_after: ms(self.laggard_after_ms, topology.laggard_after),
                relay_for_screens: self.relay_for_screens.unwrap_or(topology.relay_for_screens),
                ..topology
            },
            ..room
        }
    }
}

/// The network to begin with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSpec {
    pub direct: Option<Conditions>,
    pub relay: Option<Conditions>,
    pub common: Option<Common>,
}

/// One direction, or both, of one path.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathSpec {
    /// A participant, or `relay`.
    pub from: String,
    /// A participant, or `relay`.
    pub to: String,
    /// The way back too.
    #[serde(default = "yes")]
    pub both: bool,
    pub conditions: Conditions,
}

/// Somebody's access link.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSpec {
    pub who: Vec<String>,
    pub link: Access,
}

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Microphone,
    Camera,
    Screen,
}

/// What is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    #[default]
    All,
    Media,
    Signalling,
}

/// A room's topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopologyName {
    Mesh,
    Mixed,
    Relayed,
}

/// One thing that happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    Join {
        who: Vec<String>,
        #[serde(default = "joins_every")]
        every_ms: u64,
        #[serde(default = "both_sources")]
        publish: Vec<What>,
        #[serde(default = "auto")]
        policy: String,
        #[serde(default)]
        skew_ppm: i64,
        nat: Option<Nat>,
        access: Option<Access>,
        #[serde(default)]
        dtx: bool,
    },
    Publish {
        who: Vec<String>,
        what: What,
        kbps: Option<Vec<u64>>,
        fps: Option<u32>,
        #[serde(default)]
        dtx: bool,
    },
    Unpublish {
        who: Vec<String>,
        what: What,
    },
    Mute {
        who: Vec<String>,
        what: What,
        #[serde(default = "yes")]
        muted: bool,
    },
    Leave {
        who: Vec<String>,
    },
    Conditions {
        direct: Option<Conditions>,
        relay: Option<Conditions>,
        common: Option<Common>,
        path: Option<Box<PathSpec>>,
        access: Option<Box<AccessSpec>>,
    },
    Partition {
        a: Vec<String>,
        b: Vec<String>,
        #[serde(default)]
        cut: Cut,
        #[serde(default)]
        one_way: bool,
    },
    Heal {},
    Kill {
        who: String,
    },
    RestartRelay {},
    Stall {
        who: String,
        ms: u64,
    },
    Roam {
        who: String,
        #[serde(default)]
        keep_connection: bool,
        /// Both networks are there for so long; the connection is kept then.
        #[serde(default)]
        linger_ms: u64,
    },
    DropConnection {
        who: String,
    },
    DoubleSignals {
        #[serde(default = "yes")]
        on: bool,
    },
    Send {
        who: Vec<String>,
        count: u64,
        #[serde(default = "sends_every")]
        every_ms: u64,
    },
    Run {
        ms: u64,
    },
    Check {
        topology: Option<TopologyName>,
        /// Every edge of everybody, in the eyes of both its ends.
        path: Option<PathName>,
        #[serde(default = "hears")]
        hears_ms: u64,
        #[serde(default = "sees")]
        sees_ms: u64,
        /// Everything may take so long to become true.
        #[serde(default)]
        within_ms: u64,
        /// Every reliable message sent came to everybody who was there.
        #[serde(default)]
        messages: bool,
        /// Somebody may be deaf, for a reason: hearing is not looked at.
        #[serde(default)]
        deaf: bool,
    },
}

/// The path of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathName {
    Direct,
    Relayed,
}

fn yes() -> bool {
    true
}

fn joins_every() -> u64 {
    300
}

fn sends_every() -> u64 {
    50
}

fn hears() -> u64 {
    200
}

fn sees() -> u64 {
    400
}

fn auto() -> String {
    "auto".to_owned()
}

fn both_sources() -> Vec<What> {
    vec![What::Microphone, What::Camera]
}

/// Why a file is no scenario.
pub type ParseError = String;

impl Scenario {
    /// Reads one; `file` gives the text of a file that stands beside it.
    ///
    /// # Errors
    /// A sentence that says where and why.
    pub fn parse(text: &str, file: &dyn Fn(&str) -> Option<String>) -> Result<Self, ParseError> {
        let mut scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for step in &mut scenario.steps {
            let access = match step {
                Step::Join { access: Some(access), .. } => access,
                Step::Conditions { access: Some(spec), .. } => &mut spec.link,
                _ => continue,
            };
            for rate in [&mut access.up, &mut access.down] {
                if let Some(name) = rate.trace_file.take() {
                    let text = file(&name).ok_or_else(|| format!("trace file {name} cannot be read"))?;
                    rate.trace = trace(&text).ok_or_else(|| format!("trace file {name}: each line is `ms kbps`"))?;
                }
            }
        }
        check::check(&scenario)?;
        Ok(scenario)
    }
}

impl Scenario {
    /// How many participants its steps have in the room at once at most, and how many at the end.
    #[must_use]
    pub fn people(&self) -> (usize, usize) {
        let (mut present, mut most) = (BTreeSet::new(), 0);
        for step in &self.steps {
            match step {
                Step::Join { who, .. } => present.extend(who.iter().cloned()),
                Step::Leave { who } => who.iter().for_each(|name| _ = present.remove(name)),
                Step::Kill { who } => _ = present.remove(who),
                _ => {}
            }
            most = most.max(present.len());
        }
        (most, present.len())
    }
}

fn trace(text: &str) -> Option<Vec<(u64, u64)>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, ParseError> {
        Scenario::parse(text, &|name| (name == "lte").then(|| "0 3000\n10000 800\n".to_owned()))
    }

    #[test]
    fn a_file_is_read_with_its_traces() {
        let text = "name = 'x'\n[[step]]\ndo = 'join'\nwho = ['a']\naccess = { up = { trace_file = 'lte' } }\n[[step]]\ndo = 'run'\nms = 5";
        let scenario = parse(text).unwrap();
        let Step::Join { access: Some(access), .. } = &scenario.steps[0] else { panic!("a join") };
        assert_eq!(access.up.trace, [(0, 3_000), (10_000, 800)]);
    }

    #[test]
    fn people_are_those_who_came_and_did_not_go() {
        let text = "name = 'x'\n[[step]]\ndo = 'join'\nwho = ['a', 'b', 'c']\n[[step]]\ndo = 'leave'\nwho = ['b']\n[[step]]\ndo = 'kill'\nwho = 'a'\n[[step]]\ndo = 'kill'\nwho = 'relay'\n[[step]]\ndo = 'join'\nwho = ['b']";
        assert_eq!(parse(text).unwrap().people(), (3, 2));
    }

    #[test]
    fn what_nobody_knows_is_an_error() {
        for text in [
            "name = 'x'\nfoo = 1\nstep = []",
            "name = 'x'\n[room]\nmesh = 3\n[[step]]\ndo = 'heal'",
            "name = 'x'\n[[step]]\ndo = 'run'\nms = 5\nfast = true",
            "name = 'x'\n[[step]]\ndo = 'fly'",
            "name = 'x'\n[network.direct]\nlag = 5\n[[step]]\ndo = 'heal'",
            "name = 'x'\n[[step]]\ndo = 'heal'\nnow = true",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
