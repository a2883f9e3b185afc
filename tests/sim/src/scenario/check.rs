//! What a scenario file may say. A value that no network, clock or camera has is an error that names the field.

use segue_model::MAX_ENCODINGS;

use super::{ParseError, Room, Scenario, Step, What};
use crate::net::{Access, Burst, Common, Conditions, Rate};
use crate::world::relay::policy;

/// Of any time in a file: a day.
const MAX_MS: u64 = 86_400_000;

/// Of what packets wait on a path, and of a queue: longer than anything that still is a network.
const MAX_DELAY_MS: f64 = 60_000.0;

/// Of a link: 100 Gbit/s. Of an encoding: 1 Gbit/s.
const MAX_LINK_KBPS: u64 = 100_000_000;
const MAX_ENCODING_KBPS: u64 = 1_000_000;

/// Pictures a second.
const MAX_FPS: u32 = 240;

/// Sound has as many frames a second as its packets, which are of 20 ms.
const AUDIO_FPS: u32 = 50;

/// Of clocks: a hundredth, a hundred times what a bad one has.
const MAX_SKEW_PPM: i64 = 10_000;

/// Of a room, and of the steps of a file.
const MAX_PEOPLE: usize = 64;
const MAX_MESSAGES: u64 = 100_000;

type Checked = Result<(), ParseError>;

/// `field cannot be value: why`.
fn within<T: PartialOrd + std::fmt::Debug>(field: &str, value: T, least: T, most: T) -> Checked {
    if value >= least && value <= most { Ok(()) } else { Err(format!("{field} cannot be {value:?}: {least:?} to {most:?}")) }
}

fn time(field: &str, ms: u64) -> Checked {
    within(field, ms, 0, MAX_MS)
}

fn share(field: &str, value: f64) -> Checked {
    within(field, value, 0.0, 1.0)
}

fn delay(field: &str, value: f64) -> Checked {
    within(field, value, 0.0, MAX_DELAY_MS)
}

fn burst(at: &str, burst: Option<Burst>) -> Checked {
    let Some(Burst { enter, leave, loss }) = burst else { return Ok(()) };
    share(&format!("{at}.burst.enter"), enter)?;
    share(&format!("{at}.burst.leave"), leave)?;
    share(&format!("{at}.burst.loss"), loss)
}

fn conditions(at: &str, conditions: Option<&Conditions>) -> Checked {
    let Some(conditions) = conditions else { return Ok(()) };
    for (name, value) in
        [("delay_ms", conditions.delay_ms), ("jitter_ms", conditions.jitter_ms), ("reorder_ms", conditions.reorder_ms)]
    {
        delay(&format!("{at}.{name}"), value)?;
    }
    for (name, value) in [("loss", conditions.loss), ("duplicate", conditions.duplicate), ("reorder", conditions.reorder)] {
        share(&format!("{at}.{name}"), value)?;
    }
    burst(at, conditions.burst)
}

fn common(at: &str, common: Option<&Common>) -> Checked {
    let Some(common) = common else { return Ok(()) };
    share(&format!("{at}.loss"), common.loss)?;
    share(&format!("{at}.control_loss"), common.control_loss)?;
    delay(&format!("{at}.jitter_ms"), common.jitter_ms)?;
    burst(at, common.burst)
}

fn rate(at: &str, rate: &Rate) -> Checked {
    within(&format!("{at}.kbps"), rate.kbps, 0, MAX_LINK_KBPS)?;
    for (ms, kbps) in &rate.trace {
        time(&format!("{at}.trace"), *ms)?;
        within(&format!("{at}.trace"), *kbps, 0, MAX_LINK_KBPS)?;
    }
    let sorted = rate.trace.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if sorted { Ok(()) } else { Err(format!("{at}.trace has to go forward in time")) }
}

fn access(at: &str, access: Option<&Access>) -> Checked {
    let Some(access) = access else { return Ok(()) };
    rate(&format!("{at}.up"), &access.up)?;
    rate(&format!("{at}.down"), &access.down)?;
    within(&format!("{at}.queue_ms"), access.queue_ms as f64, 0.0, MAX_DELAY_MS)
}

fn room(room: &Room) -> Checked {
    for (name, value) in [("mesh_max", room.mesh_max), ("mesh_max_audio", room.mesh_max_audio), ("n_loudest", room.n_loudest)] {
        value.map_or(Ok(()), |value| within(&format!("room.{name}"), value, 1, usize::from(u16::MAX)))?;
    }
    for (name, value) in [
        ("down_hold_ms", room.down_hold_ms),
        ("handover_interval_ms", room.handover_interval_ms),
        ("laggard_after_ms", room.laggard_after_ms),
        ("resume_window_ms", room.resume_window_ms),
    ] {
        value.map_or(Ok(()), |value| time(&format!("room.{name}"), value))?;
    }
    Ok(())
}

fn names(field: &str, names: &[String]) -> Checked {
    if names.is_empty() { Err(format!("{field} names nobody")) } else { Ok(()) }
}

fn joins(who: &[String]) -> Checked {
    names("who", who)?;
    within("the number of who", who.len(), 1, MAX_PEOPLE)?;
    for (at, name) in who.iter().enumerate() {
        if name.is_empty() || name == "relay" {
            return Err(format!("who cannot be {name:?}: a name of a participant"));
        }
        if who[..at].contains(name) {
            return Err(format!("who has {name:?} twice"));
        }
    }
    Ok(())
}

fn publishes(what: What, kbps: Option<&Vec<u64>>, fps: Option<u32>) -> Checked {
    if let Some(kbps) = kbps {
        let most = if what == What::Microphone { 1 } else { MAX_ENCODINGS };
        within("the number of kbps", kbps.len(), 1, most)?;
        kbps.iter().try_for_each(|kbps| within("kbps", *kbps, 1, MAX_ENCODING_KBPS))?;
    }
    match (what, fps) {
        (_, None) => Ok(()),
        (What::Microphone, Some(fps)) => within("fps of a microphone", fps, AUDIO_FPS, AUDIO_FPS),
        (_, Some(fps)) => within("fps", fps, 1, MAX_FPS),
    }
}

fn step(step: &Step) -> Checked {
    match step {
        Step::Join { who, every_ms, policy: name, skew_ppm, nat, access: link, .. } => {
            joins(who)?;
            time("every_ms", *every_ms)?;
            if policy(name).is_none() {
                return Err(format!("policy cannot be {name:?}: auto, mesh_only, relay_only or hide_address"));
            }
            within("skew_ppm", *skew_ppm, -MAX_SKEW_PPM, MAX_SKEW_PPM)?;
            nat.map_or(Ok(()), |nat| time("nat.expiry_ms", nat.expiry_ms))?;
            access("access", link.as_ref())
        }
        Step::Publish { who, what, kbps, fps, .. } => {
            names("who", who)?;
            publishes(*what, kbps.as_ref(), *fps)
        }
        Step::Unpublish { who, .. } | Step::Mute { who, .. } | Step::Leave { who } => names("who", who),
        Step::Conditions { direct, relay, common: end_to_end, path, access: link } => {
            conditions("direct", direct.as_ref())?;
            conditions("relay", relay.as_ref())?;
            common("common", end_to_end.as_ref())?;
            conditions("path.conditions", path.as_ref().map(|path| &path.conditions))?;
            access("access.link", link.as_ref().map(|link| &link.link))
        }
        Step::Partition { a, b, .. } => names("a", a).and(names("b", b)),
        Step::Stall { ms, .. } | Step::Run { ms } => time("ms", *ms),
        Step::Roam { linger_ms, .. } => time("linger_ms", *linger_ms),
        Step::Send { who, count, every_ms } => {
            names("who", who)?;
            within("count", *count, 1, MAX_MESSAGES)?;
            time("every_ms", *every_ms)
        }
        Step::Check { hears_ms, sees_ms, within_ms, .. } => {
            time("hears_ms", *hears_ms)?;
            time("sees_ms", *sees_ms)?;
            time("within_ms", *within_ms)
        }
        Step::Heal {}
        | Step::Kill { .. }
        | Step::RestartRelay {}
        | Step::DropConnection { .. }
        | Step::DoubleSignals { .. } => Ok(()),
    }
}

/// Everything in a file.
///
/// # Errors
/// The step, the field, and what it may be.
pub fn check(scenario: &Scenario) -> Result<(), ParseError> {
    room(&scenario.room)?;
    conditions("network.direct", scenario.network.direct.as_ref())?;
    conditions("network.relay", scenario.network.relay.as_ref())?;
    common("network.common", scenario.network.common.as_ref())?;
    let mut present = std::collections::BTreeSet::new();
    for (index, found) in scenario.steps.iter().enumerate() {
        let at = |what: String| format!("step {}: {what}", index + 1);
        step(found).map_err(at)?;
        match found {
            Step::Join { who, .. } => {
                if let Some(name) = who.iter().find(|name| !present.insert((*name).clone())) {
                    return Err(at(format!("{name} is in the room already")));
                }
            }
            Step::Leave { who } => who.iter().for_each(|name| _ = present.remove(name)),
            Step::Kill { who } => _ = present.remove(who),
            _ => {}
        }
        within("the number of participants", present.len(), 0, MAX_PEOPLE).map_err(at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_nothing_has_is_an_error_that_names_its_field() {
        let two = "[[step]]\ndo = 'join'\nwho = ['a', 'b']\n";
        for (field, text) in [
            ("kbps", "[[step]]\ndo = 'publish'\nwho = ['a']\nwhat = 'camera'\nkbps = []"),
            ("kbps", "[[step]]\ndo = 'publish'\nwho = ['a']\nwhat = 'camera'\nkbps = [0]"),
            ("kbps", "[[step]]\ndo = 'publish'\nwho = ['a']\nwhat = 'camera'\nkbps = [1, 2, 3, 4]"),
            ("kbps", "[[step]]\ndo = 'publish'\nwho = ['a']\nwhat = 'microphone'\nkbps = [32, 16]"),
            ("fps", "[[step]]\ndo = 'publish'\nwho = ['a']\nwhat = 'camera'\nfps = 0"),
            ("fps", "[[step]]\ndo = 'publish'\nwho = ['a']\nwhat = 'camera'\nfps = 4000000000"),
            ("fps", "[[step]]\ndo = 'publish'\nwho = ['a']\nwhat = 'microphone'\nfps = 30"),
            ("skew_ppm", "[[step]]\ndo = 'join'\nwho = ['c']\nskew_ppm = -1000000"),
            ("policy", "[[step]]\ndo = 'join'\nwho = ['c']\npolicy = 'none'"),
            ("access.up.kbps", "[[step]]\ndo = 'join'\nwho = ['c']\naccess = { up = { kbps = 1000000000000 } }"),
            (
                "access.down.trace",
                "[[step]]\ndo = 'join'\nwho = ['c']\naccess = { down = { trace = [[5000, 10], [0, 3000]] } }",
            ),
            ("access.queue_ms", "[[step]]\ndo = 'join'\nwho = ['c']\naccess = { queue_ms = 100000 }"),
            ("already", "[[step]]\ndo = 'join'\nwho = ['a']"),
            ("twice", "[[step]]\ndo = 'join'\nwho = ['c', 'c']"),
            ("relay", "[[step]]\ndo = 'join'\nwho = ['relay']"),
            ("who", "[[step]]\ndo = 'leave'\nwho = []"),
            (
                "path.conditions.loss",
                "[[step]]\ndo = 'conditions'\npath = { from = 'a', to = 'b', conditions = { loss = 2.0 } }",
            ),
            ("common.jitter_ms", "[[step]]\ndo = 'conditions'\ncommon = { jitter_ms = -1.0 }"),
            (
                "direct.burst.leave",
                "[[step]]\ndo = 'conditions'\ndirect = { burst = { enter = 0.1, leave = nan, loss = 0.5 } }",
            ),
            ("ms", "[[step]]\ndo = 'run'\nms = 9000000000000000000"),
            ("count", "[[step]]\ndo = 'send'\nwho = ['a']\ncount = 0"),
        ] {
            let error = Scenario::parse(&format!("name = 'x'\n{two}{text}"), &|_| None).unwrap_err();
            assert!(error.starts_with("step 2: ") && error.contains(field), "{field}: {error}");
        }
        for (field, text) in [
            ("network.direct.delay_ms", "[network.direct]\ndelay_ms = nan"),
            ("network.direct.delay_ms", "[network.direct]\ndelay_ms = -5"),
            ("network.relay.delay_ms", "[network.relay]\ndelay_ms = 1e300"),
            ("network.relay.reorder", "[network.relay]\nreorder = inf"),
            ("network.common.loss", "[network.common]\nloss = 2.0"),
            ("room.mesh_max", "[room]\nmesh_max = 0"),
            ("room.handover_interval_ms", "[room]\nhandover_interval_ms = 9000000000000000000"),
        ] {
            let error = Scenario::parse(&format!("name = 'x'\n{text}\n{two}"), &|_| None).unwrap_err();
            assert!(error.starts_with(&format!("{field} cannot be")), "{field}: {error}");
        }
    }
}
