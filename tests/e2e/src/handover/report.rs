//! Lines of figures, in the form of the virtual-time bench (`tests/sim`).

use serde_json::{Value, json};

use super::compare::Measured;
use super::scenario::{Scenario, What};

/// Everything measured.
#[derive(Default)]
pub struct Report {
    runs: Vec<(Scenario, Measured)>,
    failed: Vec<String>,
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// By how much the gap that was heard differs from the one that was counted, at most.
fn disagreement(m: &Measured) -> f64 {
    let pairs = m.audio_gaps.iter().zip(&m.heard_gaps);
    pairs.map(|(counted, heard)| (counted - heard).abs()).fold(0.0, f64::max)
}

fn times(outages: &[(usize, usize, f64)]) -> Vec<f64> {
    outages.iter().map(|(.., time)| *time).collect()
}

/// Outages of the edges a disaster is about.
fn hit(scenario: &Scenario, outages: &[(usize, usize, f64)]) -> Vec<f64> {
    let about = |speaker: usize, listener: usize| match scenario.what {
        What::EdgeCut => speaker < 2 && listener < 2,
        What::RoamBoth | What::RoamHard => speaker == 0 || listener == 0,
        _ => true,
    };
    outages.iter().filter(|(speaker, listener, _)| about(*speaker, *listener)).map(|(.., time)| *time).collect()
}

impl Report {
    /// Adds a scenario's figures and prints them.
    pub fn add(&mut self, scenario: &Scenario, measured: Measured) {
        let m = &measured;
        let mut line = json!({
            "kind": "handover_scenario", "scenario": scenario.name, "participants": scenario.participants,
            "edges": m.audio_gaps.len().max(m.audio_outages.len()),
            "packets_lost": m.lost.0, "packets_drawn": m.lost.1, "datagrams_cut": m.cut,
            "duplicates": m.duplicates, "edges_lost": m.edges_lost,
            "messages_lost": m.messages_lost, "messages_doubled": m.messages_doubled,
            "messages_disordered": m.messages_disordered, "late_captures": m.late,
        });
        let more = if scenario.is_disaster() {
            json!({
                "audio_outage_ms": { "p95": round(quantile(&hit(scenario, &m.audio_outages), 0.95), 0), "max": round(max(&times(&m.audio_outages)), 0) },
                "video_outage_ms": { "p95": round(quantile(&hit(scenario, &m.video_outages), 0.95), 0), "max": round(max(&times(&m.video_outages)), 0) },
            })
        } else {
            json!({
                "audio_gap_ms": { "p50": quantile(&m.audio_gaps, 0.5), "p99": quantile(&m.audio_gaps, 0.99), "max": max(&m.audio_gaps) },
                "audio_gap_heard_ms": { "p50": quantile(&m.heard_gaps, 0.5), "max": max(&m.heard_gaps) },
                "heard_differs_ms_max": disagreement(m),
                "video_gap_ms": { "p50": round(quantile(&m.video_gaps, 0.5), 1), "p95": round(quantile(&m.video_gaps, 0.95), 1), "max": round(max(&m.video_gaps), 1) },
                "frames_lost": { "p50": quantile(&m.frames_lost, 0.5), "max": max(&m.frames_lost) },
                "voice_compared": m.compared.0, "pictures_compared": m.compared.1,
                "keyframes_extra": m.keyframes_extra, "unmoved": m.unmoved,
                "migrate_ms": m.migrate_ms.map(|time| round(time, 0)), "overlap_ms": m.overlap_ms.map(|time| round(time, 0)),
                "overlap_uplink_ratio": m.uplink_ratio.map(|ratio| round(ratio, 2)),
            })
        };
        if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
            line.extend(more);
        }
        println!("{line}");
        self.runs.push((*scenario, measured));
    }

    /// Notes a scenario that could not be played.
    pub fn fail(&mut self, scenario: &Scenario, why: &str) {
        println!("{}", json!({ "kind": "handover_scenario", "scenario": scenario.name, "failed": why }));
        self.failed.push(scenario.name.to_owned());
    }

    fn all(&self, which: impl Fn(&Scenario) -> bool, of: impl Fn(&Measured) -> Vec<f64>) -> Vec<f64> {
        self.runs.iter().filter(|(scenario, _)| which(scenario)).flat_map(|(_, measured)| of(measured)).collect()
    }

    fn sum(&self, of: impl Fn(&Measured) -> u64) -> u64 {
        self.runs.iter().map(|(_, measured)| of(measured)).sum()
    }

    /// Of the edges that one kind of disaster is about.
    fn outage(&self, what: What, of: impl Fn(&Measured) -> &Vec<(usize, usize, f64)>) -> Option<f64> {
        let runs = self.runs.iter().filter(|(scenario, _)| scenario.what == what);
        let times: Vec<f64> = runs.flat_map(|(scenario, measured)| hit(scenario, of(measured))).collect();
        (!times.is_empty()).then(|| round(quantile(&times, 0.95), 0))
    }

    /// A line for a goal; nothing where no run speaks of it.
    fn goal(name: &str, met: Option<bool>, figure: &str, wanted: &str) {
        if let Some(met) = met {
            let line = json!({ "kind": "handover_goal", "real": true, "goal": name, "met": met, "measured": figure, "wanted": wanted });
            println!("{line}");
        }
    }

    /// Goals, and everything together as the last line.
    pub fn print(&self) {
        self.gaps();
        self.disasters();
        self.total();
    }

    fn gaps(&self) {
        let audio = self.all(Scenario::is_gated, |m| m.audio_gaps.clone());
        let some = (!audio.is_empty()).then_some(());
        let (p50, p99, doubled) = (quantile(&audio, 0.5), quantile(&audio, 0.99), self.sum(|m| m.duplicates));
        let heard = self.all(Scenario::is_gated, |m| m.heard_gaps.clone());
        let differs = max(&self.all(Scenario::is_gated, |m| vec![disagreement(m)]));
        let figure = format!(
            "p50 {p50} p99 {p99} max {} duplicates {doubled}; by ear max {}, differs by {differs} at most",
            max(&audio),
            max(&heard)
        );
        let met = p50 == 0.0 && p99 <= 20.0 && doubled == 0 && differs <= 20.0;
        Self::goal(
            "G1",
            some.map(|()| met),
            &figure,
            "p50 0, p99 <= 20 ms, 0 duplicates; heard and counted agree within a frame",
        );
        let video = self.all(Scenario::is_gated, |m| m.video_gaps.clone());
        let p95 = quantile(&video, 0.95);
        let figure = format!("p95 {p95:.1} ms, max {:.1}", max(&video));
        Self::goal("G3", some.map(|()| p95 <= 80.0), &figure, "p95 <= 80 ms");
        let frames = |from: f64, to: f64| {
            self.all(|scenario| scenario.is_gated() && (from..=to).contains(&scenario.loss), |m| m.frames_lost.clone())
        };
        let (low, high) = (frames(0.0, 0.01), frames(0.011, 0.05));
        let figure = format!("{} at <= 1 %, {} at 5 %", max(&low), max(&high));
        let met = max(&low) == 0.0 && max(&high) <= 1.0;
        Self::goal("G4", some.map(|()| met), &figure, "0 at <= 1 %, <= 1 at 5 %");
        let keyframes: u64 = self.runs.iter().filter(|(scenario, _)| scenario.is_gated()).map(|(_, m)| m.keyframes_extra).sum();
        Self::goal("G5", some.map(|()| keyframes == 0), &format!("{keyframes} asked for by synced receivers"), "0");
        let cold = self.all(|scenario| scenario.cold, |m| m.migrate_ms.into_iter().collect());
        let figure = format!("{:.0} ms at 4, legs to the relay built when needed, RTT 50 ms", max(&cold));
        Self::goal("G7", (!cold.is_empty()).then(|| max(&cold) <= 2_000.0), &figure, "cold: 2 s at 4");
    }

    fn disasters(&self) {
        let (audio, video) =
            (self.outage(What::RelayKilled, |m| &m.audio_outages), self.outage(What::RelayKilled, |m| &m.video_outages));
        let (voice, picture) = (audio.unwrap_or_default(), video.unwrap_or_default());
        let figure = format!("p95 voice {voice} ms, picture {picture} ms after SIGKILL");
        Self::goal("G10", audio.map(|_| voice <= 1_000.0 && picture <= 2_000.0), &figure, "voice <= 1.0 s, video <= 2.0 s");
        let cut = self.outage(What::EdgeCut, |m| &m.audio_outages);
        let figure = format!("p95 voice {} ms", cut.unwrap_or_default());
        Self::goal("G11", cut.map(|cut| cut <= 1_000.0), &figure, "<= 1.0 s");
        let blocked: Vec<_> = self.runs.iter().filter(|(scenario, _)| scenario.relay_blocked).collect();
        let gap = max(&self.all(|scenario| scenario.relay_blocked, |m| m.audio_gaps.clone()));
        // Of N, one stays: its 2 (N - 1) edges.
        let others = blocked.iter().all(|(scenario, m)| m.unmoved == 4 * (scenario.participants - 1));
        let figure = format!("longest voice gap of anybody {gap} ms, the others moved: {others}");
        let met = (!blocked.is_empty()).then_some(gap <= 20.0 && others);
        Self::goal("G12", met, &figure, "the others move; 0 s for the one that cannot reach the relay");
        let (both, hard) =
            (self.outage(What::RoamBoth, |m| &m.audio_outages), self.outage(What::RoamHard, |m| &m.audio_outages));
        let figure = format!("p95 voice {} ms with both up, {} ms hard", both.unwrap_or_default(), hard.unwrap_or_default());
        let met = both.zip(hard).map(|(both, hard)| both <= 300.0 && hard <= 1_500.0);
        Self::goal("G15", met, &figure, "<= 300 ms with both up, <= 1.5 s hard");
        let wrong = self.sum(|m| m.messages_lost + m.messages_doubled + m.messages_disordered);
        let met = (!self.runs.is_empty()).then_some(wrong == 0);
        Self::goal("G16", met, &format!("{wrong} lost, doubled or out of order"), "0");
    }

    fn total(&self) {
        let gated = Scenario::is_gated;
        let audio = self.all(gated, |m| m.audio_gaps.clone());
        let heard = self.all(gated, |m| m.heard_gaps.clone());
        let video = self.all(gated, |m| m.video_gaps.clone());
        let lost = self.all(gated, |m| m.frames_lost.clone());
        let of = |figure: fn(&Measured) -> u64| {
            self.runs.iter().filter(|(scenario, _)| scenario.is_gated()).map(|(_, m)| figure(m)).sum::<u64>()
        };
        let warm = |scenario: &Scenario| scenario.is_gated() && scenario.participants == 4 && !scenario.cold;
        let migrate = self.all(warm, |m| m.migrate_ms.into_iter().collect());
        let ratio = self.all(gated, |m| m.uplink_ratio.into_iter().collect());
        let overlap = self.all(gated, |m| m.overlap_ms.into_iter().collect());
        let worst = self.runs.iter().filter(|(scenario, _)| scenario.is_gated());
        let worst = worst.max_by(|a, b| max(&a.1.audio_gaps).total_cmp(&max(&b.1.audio_gaps)));
        let line = json!({
            "kind": "handover", "real": true, "runs": self.runs.len(), "failed": self.failed.len(),
            "audio_gap_ms": { "p50": quantile(&audio, 0.5), "p99": quantile(&audio, 0.99), "max": max(&audio) },
            "audio_gap_heard_ms": { "p50": quantile(&heard, 0.5), "p99": quantile(&heard, 0.99), "max": max(&heard) },
            "video_gap_ms": { "p95": round(quantile(&video, 0.95), 1), "max": round(max(&video), 1) },
            "frames_lost": { "p50": quantile(&lost, 0.5), "max": max(&lost) },
            "duplicates": of(|m| m.duplicates), "participants_lost": of(|m| m.edges_lost),
            "messages_lost": of(|m| m.messages_lost), "messages_doubled": of(|m| m.messages_doubled),
            "keyframes_extra": of(|m| m.keyframes_extra),
            "migrate_ms": { "4": (!migrate.is_empty()).then(|| round(quantile(&migrate, 0.95), 0)), "8": null, "16": null },
            "overlap_uplink_ratio": (!ratio.is_empty()).then(|| round(quantile(&ratio, 0.95), 2)),
            "overlap_ms": (!overlap.is_empty()).then(|| round(quantile(&overlap, 0.95), 0)),
            "relay_kill_audio_ms": { "p95": self.outage(What::RelayKilled, |m| &m.audio_outages) },
            "relay_kill_video_ms": { "p95": self.outage(What::RelayKilled, |m| &m.video_outages) },
            "edge_kill_ms": { "p95": self.outage(What::EdgeCut, |m| &m.audio_outages) },
            "switches_per_30s_max": self.runs.iter().filter(|(scenario, _)| !scenario.is_disaster()).map(|(_, m)| m.switches).max(),
            "late_captures": self.sum(|m| m.late),
            "worst_scenario": worst.map(|(scenario, _)| scenario.name),
        });
        println!("{line}");
    }
}
