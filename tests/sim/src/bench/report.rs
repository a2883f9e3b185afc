//! Lines of figures.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::compare::Measured;
use super::trial::{Class, Trial};
use crate::scenario::Failure;

/// Everything measured.
#[derive(Default)]
pub struct Report {
    runs: Vec<(Trial, Measured)>,
    failures: Vec<Failure>,
    /// What was printed.
    lines: RefCell<Vec<String>>,
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

fn all(runs: &[&(Trial, Measured)], of: impl Fn(&Measured) -> Vec<f64>) -> Vec<f64> {
    runs.iter().flat_map(|(_, measured)| of(measured)).collect()
}

impl Report {
    pub fn add(&mut self, trial: &Trial, outcome: Result<Measured, Failure>) {
        match outcome {
            Ok(measured) => self.runs.push((trial.clone(), measured)),
            Err(failure) => {
                eprintln!("seed {} ({}): {:.3} s: {}", failure.seed, trial.class.name(), failure.at, failure.what);
                for line in failure.lines.iter().rev().take(12).rev() {
                    eprintln!("    {}", line.chars().take(160).collect::<String>());
                }
                self.failures.push(failure);
            }
        }
    }

    /// One line for the seed that was added last.
    pub fn print_last(&self) {
        let Some((trial, m)) = self.runs.last() else { return };
        println!(
            "{{\"kind\":\"handover_run\",\"seed\":{},\"class\":\"{}\",\"participants\":{},\"up\":{},\"audio_gap_ms\":{},\"audio_hole_ms\":{},\"video_gap_ms\":{:.1},\"frames_lost\":{},\"keyframes_extra\":{},\"migrate_ms\":{:.0},\"overlap_ms\":{:.0},\"uplink\":{:.2},\"downlink\":{:.2},\"delay_added_ms\":{:.0},\"quality\":{:.2},\"outage_ms\":{:.0},\"edges_lost\":{},\"silent\":{},\"moved\":{}}}",
            trial.seed,
            trial.class.name(),
            trial.participants,
            trial.up,
            max(&m.audio_gaps),
            max(&m.holes),
            max(&m.video_gaps),
            max(&m.frames_lost),
            m.keyframes_extra,
            m.migrate_ms.unwrap_or(0.0),
            m.overlap_ms.unwrap_or(0.0),
            m.uplink_ratio.unwrap_or(0.0),
            m.downlink_ratio.unwrap_or(0.0),
            max(&m.delay_added),
            m.quality.iter().copied().fold(1.0, f64::min),
            max(&m.audio_outage),
            m.participants_lost,
            serde_json::json!(m.lost),
            m.moved,
        );
    }

    fn say(&self, line: String) {
        println!("{line}");
        self.lines.borrow_mut().push(line);
    }

    /// Everything printed, for people.
    pub fn page(&self) -> String {
        super::html::page(&self.lines.borrow(), &self.runs)
    }

    pub fn is_sound(&self) -> bool {
        self.failures.is_empty()
    }

    fn class_line(&self, name: &str, runs: &[&(Trial, Measured)]) {
        let audio = all(runs, |m| m.audio_gaps.clone());
        let video = all(runs, |m| m.video_gaps.clone());
        let lost = all(runs, |m| m.frames_lost.clone());
        let holes = all(runs, |m| m.holes.clone());
        let outage = all(runs, |m| m.audio_outage.clone());
        let worst = runs.iter().max_by(|a, b| max(&a.1.audio_gaps).total_cmp(&max(&b.1.audio_gaps)));
        self.say(format!(
            "{{\"kind\":\"handover_class\",\"class\":\"{name}\",\"runs\":{},\"edges\":{},\"audio_gap_ms\":{{\"p50\":{},\"p99\":{},\"max\":{}}},\"audio_hole_ms\":{{\"p99\":{},\"max\":{}}},\"video_gap_ms\":{{\"p50\":{:.1},\"p95\":{:.1},\"max\":{:.1}}},\"frames_lost\":{{\"p50\":{},\"max\":{}}},\"keyframes_extra\":{},\"not_moved\":{},\"audio_outage_ms_p95\":{:.0},\"worst_seed\":{}}}",
            runs.len(),
            audio.len(),
            quantile(&audio, 0.5),
            quantile(&audio, 0.99),
            max(&audio),
            quantile(&holes, 0.99),
            max(&holes),
            quantile(&video, 0.5),
            quantile(&video, 0.95),
            max(&video),
            quantile(&lost, 0.5),
            max(&lost),
            runs.iter().map(|(_, m)| m.keyframes_extra).sum::<u64>(),
            runs.iter().filter(|(_, m)| !m.moved).count(),
            quantile(&outage, 0.95),
            worst.map_or(0, |(trial, _)| trial.seed),
        ));
    }

    fn goal(&self, name: &str, met: bool, figure: String, goal: &str) {
        self.say(format!(
            "{{\"kind\":\"handover_goal\",\"goal\":\"{name}\",\"met\":{met},\"measured\":\"{figure}\",\"wanted\":\"{goal}\"}}"
        ));
    }

    pub fn print(&self) {
        let mut classes: BTreeMap<Class, Vec<&(Trial, Measured)>> = BTreeMap::new();
        for run in &self.runs {
            classes.entry(run.0.class).or_default().push(run);
        }
        for (class, runs) in &classes {
            self.class_line(class.name(), runs);
        }
        let of = |class: Class| classes.get(&class).cloned().unwrap_or_default();
        let gated: Vec<_> = self.runs.iter().filter(|(trial, _)| trial.class.is_gated()).collect();
        let common: Vec<_> = self.runs.iter().filter(|(trial, _)| !trial.class.stands_apart()).collect();
        self.goals_of_gaps(&gated, &common);
        self.goals_of_cost(&common);
        self.goals_of_disasters(
            &of(Class::RelayKilled),
            &of(Class::EdgeKilled),
            &of(Class::RelayBlocked),
            &of(Class::RoamHard),
        );
        self.total(&gated, &of(Class::RelayKilled), &of(Class::EdgeKilled));
    }

    fn goals_of_gaps(&self, gated: &[&(Trial, Measured)], common: &[&(Trial, Measured)]) {
        let audio = all(gated, |m| m.audio_gaps.clone());
        let (p50, p99) = (quantile(&audio, 0.5), quantile(&audio, 0.99));
        let doubled: u64 = self.runs.iter().map(|(_, m)| m.duplicates).sum();
        let holes = all(gated, |m| m.holes.clone());
        let figure = format!(
            "p50 {p50} p99 {p99} duplicates {doubled}; nothing to play for p99 {} max {} ms more than the twin",
            quantile(&holes, 0.99),
            max(&holes)
        );
        self.goal("G1", p50 == 0.0 && p99 <= 20.0 && doubled == 0, figure, "p50 0, p99 <= 20 ms, 0 duplicates");
        let lost: u64 = common.iter().map(|(_, m)| m.participants_lost).sum();
        let over = gated.iter().filter(|(_, m)| max(&m.audio_gaps) > 40.0).count();
        let figure = format!("{over} of {} seeds above 40 ms, {lost} edges lost", gated.len());
        self.goal("G2", over == 0 && lost == 0, figure, "none above 40 ms, nobody lost");
        let video = all(gated, |m| m.video_gaps.clone());
        let p95 = quantile(&video, 0.95);
        self.goal("G3", p95 <= 80.0, format!("p95 {p95:.1} ms, max {:.1}", max(&video)), "p95 <= 80 ms");
        let frames = |limit: &dyn Fn(f64) -> bool| {
            let runs: Vec<_> = gated.iter().copied().filter(|(trial, _)| limit(trial.loss) && !trial.burst).collect();
            max(&all(&runs, |m| m.frames_lost.clone()))
        };
        let (low, high) = (frames(&|loss| loss <= 0.01), frames(&|loss| loss > 0.01 && loss <= 0.05));
        self.goal("G4", low == 0.0 && high <= 1.0, format!("{low} at <= 1 %, {high} at 5 %"), "0 at <= 1 %, <= 1 at 5 %");
        let keyframes: u64 = gated.iter().map(|(_, m)| m.keyframes_extra).sum();
        self.goal("G5", keyframes == 0, format!("{keyframes} asked for by synced receivers"), "0");
    }

    fn goals_of_cost(&self, common: &[&(Trial, Measured)]) {
        let gated: Vec<_> = common.iter().copied().filter(|(trial, _)| trial.class.is_gated()).collect();
        let quality = all(&gated, |m| m.quality.clone());
        let p05 = quantile(&quality, 0.05);
        self.goal("G6", p05 >= 0.9, format!("p05 {p05:.2} of the twin's bytes from 1 to 3 s after"), ">= 90 % within 1 s");
        let migrate = |low: usize, high: usize| {
            let runs = common
                .iter()
                .filter(|(trial, _)| trial.class == Class::Clean && trial.up && (low..=high).contains(&trial.participants));
            let times: Vec<f64> = runs.filter_map(|(_, m)| m.migrate_ms).collect();
            quantile(&times, 0.95)
        };
        let (four, eight) = (migrate(2, 4), migrate(5, 8));
        let figure = format!("p95 {four:.0} ms up to 4, {eight:.0} ms up to 8");
        self.goal("G7", four <= 500.0 && eight <= 1_000.0, figure, "0.5 s at 4, 1 s at 8 (standby legs, RTT 50 ms)");
        let up: Vec<f64> = gated.iter().filter_map(|(_, m)| m.uplink_ratio).collect();
        let down: Vec<f64> = gated.iter().filter_map(|(_, m)| m.downlink_ratio).collect();
        let time: Vec<f64> = gated.iter().filter_map(|(_, m)| m.overlap_ms).collect();
        let (up, down, time) = (quantile(&up, 0.95), quantile(&down, 0.95), quantile(&time, 0.95));
        let figure = format!("p95 uplink {up:.2}, downlink {down:.2}, {time:.0} ms");
        self.goal("G8", up <= 1.25 && down <= 1.25 && time <= 1_500.0, figure, "uplink <= 1.25, downlink <= 1.25, <= 1.5 s");
        let added = all(&gated, |m| m.delay_added.clone());
        let p95 = quantile(&added, 0.95);
        self.goal("G9", p95 <= 20.0, format!("p95 {p95:.1} ms beyond the path difference, 3 s after"), "<= 20 ms");
    }

    fn goals_of_disasters(
        &self,
        killed: &[&(Trial, Measured)],
        edge: &[&(Trial, Measured)],
        blocked: &[&(Trial, Measured)],
        roam: &[&(Trial, Measured)],
    ) {
        let p95 = |runs: &[&(Trial, Measured)], of: &dyn Fn(&Measured) -> Vec<f64>| quantile(&all(runs, of), 0.95);
        let (audio, video) = (p95(killed, &|m| m.audio_outage.clone()), p95(killed, &|m| m.video_outage.clone()));
        let figure = format!("p95 voice {audio:.0} ms, picture {video:.0} ms");
        self.goal("G10", audio <= 1_000.0 && video <= 2_000.0, figure, "voice <= 1.0 s, video <= 2.0 s");
        // Only two of the edges were cut.
        let cut: Vec<f64> = edge.iter().map(|(_, m)| max(&m.audio_outage)).collect();
        let audio = quantile(&cut, 0.95);
        self.goal("G11", audio <= 1_000.0, format!("p95 voice {audio:.0} ms"), "<= 1.0 s");
        let gap = max(&all(blocked, |m| m.audio_gaps.clone()));
        self.goal("G12", gap <= 20.0, format!("longest gap {gap} ms"), "0 s for the one that cannot reach the relay");
        let switches = self.runs.iter().map(|(_, m)| m.switches).max().unwrap_or(0);
        self.goal("G13", switches <= 1, format!("{switches} handovers in a run; churn: `sim --soak`"), "<= 1 in 30 s");
        self.goal("G14", true, "frames are not sealed yet".to_owned(), "0 undecryptable");
        let hard: Vec<f64> = roam.iter().map(|(_, m)| max(&m.audio_outage)).collect();
        let hard = quantile(&hard, 0.95);
        self.goal("G15", hard <= 1_500.0, format!("p95 hard loss {hard:.0} ms"), "<= 1.5 s after a hard loss");
        let lost: u64 = self.runs.iter().map(|(_, m)| m.messages_lost + m.messages_doubled).sum();
        self.goal("G16", lost == 0, format!("{lost} lost or doubled"), "0");
    }

    fn total(&self, gated: &[&(Trial, Measured)], killed: &[&(Trial, Measured)], edge: &[&(Trial, Measured)]) {
        let audio = all(gated, |m| m.audio_gaps.clone());
        let video = all(gated, |m| m.video_gaps.clone());
        let lost = all(gated, |m| m.frames_lost.clone());
        let holes = all(gated, |m| m.holes.clone());
        let sum = |of: &dyn Fn(&Measured) -> u64| gated.iter().map(|(_, m)| of(m)).sum::<u64>();
        // Eight with the newcomer: no larger room has direct legs to move from.
        let migrate = |low: usize, high: usize| {
            let people = low..=high;
            let runs = gated.iter().filter(|(trial, _)| people.contains(&trial.participants));
            quantile(&runs.filter_map(|(_, m)| m.migrate_ms).collect::<Vec<_>>(), 0.95)
        };
        let overlap: Vec<f64> = gated.iter().filter_map(|(_, m)| m.overlap_ms).collect();
        let ratio: Vec<f64> = gated.iter().filter_map(|(_, m)| m.uplink_ratio).collect();
        let kill = |of: &dyn Fn(&Measured) -> Vec<f64>| quantile(&all(killed, of), 0.95);
        let cut: Vec<f64> = edge.iter().map(|(_, m)| max(&m.audio_outage)).collect();
        let worst = gated.iter().max_by(|a, b| max(&a.1.audio_gaps).total_cmp(&max(&b.1.audio_gaps)));
        self.say(format!(
            "{{\"kind\":\"handover\",\"real\":false,\"runs\":{},\"failed\":{},\"audio_gap_ms\":{{\"p50\":{},\"p99\":{},\"max\":{}}},\"audio_hole_ms\":{{\"p99\":{},\"max\":{}}},\"video_gap_ms\":{{\"p95\":{:.1},\"max\":{:.1}}},\"frames_lost\":{{\"p50\":{},\"max\":{}}},\"duplicates\":{},\"participants_lost\":{},\"messages_lost\":{},\"messages_doubled\":{},\"keyframes_extra\":{},\"migrate_ms\":{{\"4\":{:.0},\"8\":{:.0},\"16\":null}},\"overlap_uplink_ratio\":{:.2},\"overlap_ms\":{:.0},\"relay_kill_audio_ms\":{{\"p95\":{:.0}}},\"relay_kill_video_ms\":{{\"p95\":{:.0}}},\"edge_kill_ms\":{{\"p95\":{:.0}}},\"switches_per_30s_max\":{},\"worst_seed\":{}}}",
            self.runs.len(),
            self.failures.len(),
            quantile(&audio, 0.5),
            quantile(&audio, 0.99),
            max(&audio),
            quantile(&holes, 0.99),
            max(&holes),
            quantile(&video, 0.95),
            max(&video),
            quantile(&lost, 0.5),
            max(&lost),
            sum(&|m| m.duplicates),
            sum(&|m| m.participants_lost),
            sum(&|m| m.messages_lost),
            sum(&|m| m.messages_doubled),
            sum(&|m| m.keyframes_extra),
            migrate(4, 4),
            migrate(7, 8),
            quantile(&ratio, 0.95),
            quantile(&overlap, 0.95),
            kill(&|m| m.audio_outage.clone()),
            kill(&|m| m.video_outage.clone()),
            quantile(&cut, 0.95),
            self.runs.iter().map(|(_, m)| m.switches).max().unwrap_or(0),
            worst.map_or(0, |(trial, _)| trial.seed),
        ));
    }
}
