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

/// Nothing of nothing.
fn p95(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| quantile(values, 0.95))
}

/// As JSON: what was not measured is not nought.
fn or_null(value: Option<f64>) -> String {
    value.map_or("null".to_owned(), |value| format!("{value:.0}"))
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

    /// A goal for some runs: nothing where there is none.
    fn gated_goal(&self, name: &str, runs: &[&(Trial, Measured)], met: bool, figure: String, goal: &str) {
        self.goal(name, (!runs.is_empty()).then_some(met), figure, goal);
    }

    /// `met`: nothing where no run was of the kind that the goal speaks of.
    fn goal(&self, name: &str, met: impl Into<Option<bool>>, figure: String, goal: &str) {
        let met = met.into().map_or("null".to_owned(), |met| met.to_string());
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
        let gated: Vec<_> = self.runs.iter().filter(|(trial, _)| trial.class.is_gated()).collect();
        let common: Vec<_> = self.runs.iter().filter(|(trial, _)| !trial.class.stands_apart()).collect();
        self.goals_of_gaps(&gated, &common);
        self.goals_of_cost(&gated);
        self.goals_of_disasters();
        self.total(&gated);
    }

    /// Runs of a class.
    fn of(&self, class: Class) -> Vec<&(Trial, Measured)> {
        self.runs.iter().filter(|(trial, _)| trial.class == class).collect()
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
        self.gated_goal("G1", gated, p50 == 0.0 && p99 <= 20.0 && doubled == 0, figure, "p50 0, p99 <= 20 ms, 0 duplicates");
        let lost: u64 = common.iter().map(|(_, m)| m.participants_lost).sum();
        let over = gated.iter().filter(|(_, m)| max(&m.audio_gaps) > 40.0).count();
        let figure = format!("{over} of {} seeds above 40 ms, {lost} edges lost", gated.len());
        self.gated_goal("G2", common, over == 0 && lost == 0, figure, "none above 40 ms, nobody lost");
        let video = all(gated, |m| m.video_gaps.clone());
        let p95 = quantile(&video, 0.95);
        self.gated_goal("G3", gated, p95 <= 80.0, format!("p95 {p95:.1} ms, max {:.1}", max(&video)), "p95 <= 80 ms");
        let frames = |limit: &dyn Fn(f64) -> bool| {
            let runs: Vec<_> = gated.iter().copied().filter(|(trial, _)| limit(trial.loss) && !trial.burst).collect();
            max(&all(&runs, |m| m.frames_lost.clone()))
        };
        let (low, high) = (frames(&|loss| loss <= 0.01), frames(&|loss| loss > 0.01 && loss <= 0.05));
        self.gated_goal(
            "G4",
            gated,
            low == 0.0 && high <= 1.0,
            format!("{low} at <= 1 %, {high} at 5 %"),
            "0 at <= 1 %, <= 1 at 5 %",
        );
        let keyframes: u64 = gated.iter().map(|(_, m)| m.keyframes_extra).sum();
        let lossless: Vec<_> = gated.iter().copied().filter(|(trial, _)| trial.loss == 0.0 && !trial.burst).collect();
        let newcomers = max(&all(&lossless, |m| m.newcomer_keyframes.clone()));
        let figure = format!(
            "{keyframes} asked for by synced receivers, a newcomer {newcomers} of a source at most where nothing is lost"
        );
        self.gated_goal("G5", gated, keyframes == 0 && newcomers <= 1.0, figure, "0; a newcomer at most 1 of each source");
    }

    fn goals_of_cost(&self, gated: &[&(Trial, Measured)]) {
        let quality = all(gated, |m| m.quality.clone());
        let p05 = quantile(&quality, 0.05);
        self.gated_goal(
            "G6",
            gated,
            p05 >= 0.9,
            format!("p05 {p05:.2} of the twin's bytes from 1 to 3 s after"),
            ">= 90 % within 1 s",
        );
        // At the round trip the goal speaks of: where paths differ or packets are lost, it takes longer by that.
        let plain = |trial: &Trial| matches!(trial.class, Class::Clean | Class::Skew | Class::Uplink);
        let four = self.migrate(|trial| plain(trial) && trial.participants <= 4);
        let eight = self.migrate(|trial| plain(trial) && trial.participants > 4);
        let figure = format!("p95 {} ms up to 4, {} ms up to 8", or_null(four), or_null(eight));
        let met = four.is_none_or(|four| four <= 500.0) && eight.is_none_or(|eight| eight <= 1_000.0);
        let met = four.or(eight).map(|_| met);
        self.goal("G7", met, figure, "0.5 s at 4, 1 s at 8 (standby legs, RTT 50 ms)");
        let up: Vec<f64> = gated.iter().filter_map(|(_, m)| m.uplink_ratio).collect();
        let down: Vec<f64> = gated.iter().filter_map(|(_, m)| m.downlink_ratio).collect();
        let time: Vec<f64> = gated.iter().filter_map(|(_, m)| m.overlap_ms).collect();
        let (up, down, time) = (quantile(&up, 0.95), quantile(&down, 0.95), quantile(&time, 0.95));
        let figure = format!("p95 uplink {up:.2}, downlink {down:.2}, {time:.0} ms");
        self.gated_goal(
            "G8",
            gated,
            up <= 1.25 && down <= 1.25 && time <= 1_500.0,
            figure,
            "uplink <= 1.25, downlink <= 1.25, <= 1.5 s",
        );
        let added = all(gated, |m| m.delay_added.clone());
        let p95 = quantile(&added, 0.95);
        self.gated_goal("G9", gated, p95 <= 20.0, format!("p95 {p95:.1} ms beyond the path difference, 3 s after"), "<= 20 ms");
    }

    /// How long moves of some trials took, of those that took any time.
    fn migrate(&self, which: impl Fn(&Trial) -> bool) -> Option<f64> {
        let runs = self.runs.iter().filter(|(trial, _)| which(trial));
        p95(&runs.filter_map(|(_, m)| m.migrate_ms).collect::<Vec<_>>())
    }

    /// Outages of a class, of all edges; of the worst one where only some were hit.
    fn outage(&self, class: Class, worst: bool, of: &dyn Fn(&Measured) -> Vec<f64>) -> Option<f64> {
        let runs = self.of(class);
        let worst_of = || runs.iter().map(|(_, m)| max(&of(m))).collect();
        p95(&if worst { worst_of() } else { all(&runs, of) })
    }

    fn goals_of_disasters(&self) {
        let (audio, video) = self.relay_kill();
        let met = audio.zip(video).map(|(audio, video)| audio <= 1_000.0 && video <= 2_000.0);
        let figure = format!("p95 voice {} ms, picture {} ms", or_null(audio), or_null(video));
        self.goal("G10", met, figure, "voice <= 1.0 s, video <= 2.0 s");
        let cut = self.edge_kill();
        self.goal("G11", cut.map(|cut| cut <= 1_000.0), format!("p95 voice {} ms", or_null(cut)), "<= 1.0 s");
        let blocked = self.of(Class::RelayBlocked);
        let gap = max(&all(&blocked, |m| m.audio_gaps.clone()));
        let stayed = blocked.iter().filter(|(_, m)| !m.moved).count();
        let figure = format!("longest gap {gap} ms, {stayed} of {} rooms in which others did not move", blocked.len());
        let met = (!blocked.is_empty()).then_some(gap <= 20.0 && stayed == 0);
        self.goal("G12", met, figure, "the others move; 0 s for the one that cannot reach the relay");
        let churns = self.of(Class::Churn);
        let ghost = max(&churns.iter().filter_map(|(_, m)| m.ghost_ms).collect::<Vec<_>>());
        let switches = self.switches();
        let figure = format!("{switches} handovers in 30 s, a ghost for {ghost:.0} ms, {} churns of ten minutes", churns.len());
        let met = (!churns.is_empty()).then_some(switches <= 1 && ghost <= 20_000.0);
        self.goal("G13", met, figure, "<= 1 in 30 s, no ghost over 20 s");
        self.goal("G14", None::<bool>, "frames are not sealed yet".to_owned(), "0 undecryptable");
        let voice = |m: &Measured| m.audio_outage.clone();
        let (hard, soft) = (self.outage(Class::RoamHard, true, &voice), self.outage(Class::RoamSoft, true, &voice));
        let met = hard.zip(soft).map(|(hard, soft)| hard <= 1_500.0 && soft <= 300.0);
        let figure = format!("p95 hard loss {} ms, both networks up {} ms", or_null(hard), or_null(soft));
        self.goal("G15", met, figure, "<= 1.5 s after a hard loss, <= 300 ms with both up");
        let lost: u64 = self.runs.iter().map(|(_, m)| m.messages_lost + m.messages_doubled).sum();
        self.goal("G16", lost == 0, format!("{lost} lost or doubled"), "0");
    }

    fn relay_kill(&self) -> (Option<f64>, Option<f64>) {
        let of = |of: &dyn Fn(&Measured) -> Vec<f64>| self.outage(Class::RelayKilled, false, of);
        (of(&|m| m.audio_outage.clone()), of(&|m| m.video_outage.clone()))
    }

    /// Only two of the edges were cut.
    fn edge_kill(&self) -> Option<f64> {
        self.outage(Class::EdgeKilled, true, &|m| m.audio_outage.clone())
    }

    fn switches(&self) -> usize {
        self.runs.iter().map(|(_, m)| m.switches).max().unwrap_or(0)
    }

    fn total(&self, gated: &[&(Trial, Measured)]) {
        let audio = all(gated, |m| m.audio_gaps.clone());
        let video = all(gated, |m| m.video_gaps.clone());
        let lost = all(gated, |m| m.frames_lost.clone());
        let holes = all(gated, |m| m.holes.clone());
        let sum = |of: &dyn Fn(&Measured) -> u64| gated.iter().map(|(_, m)| of(m)).sum::<u64>();
        let migrate = |people: usize| {
            let common = |trial: &Trial| trial.class.is_gated() && trial.participants == people;
            self.migrate(|trial| common(trial) || (people == 16 && trial.class == Class::Sixteen))
        };
        let (kill_audio, kill_video) = self.relay_kill();
        let overlap: Vec<f64> = gated.iter().filter_map(|(_, m)| m.overlap_ms).collect();
        let ratio: Vec<f64> = gated.iter().filter_map(|(_, m)| m.uplink_ratio).collect();
        let worst = gated.iter().max_by(|a, b| max(&a.1.audio_gaps).total_cmp(&max(&b.1.audio_gaps)));
        self.say(format!(
            "{{\"kind\":\"handover\",\"real\":false,\"runs\":{},\"failed\":{},\"audio_gap_ms\":{{\"p50\":{},\"p99\":{},\"max\":{}}},\"audio_hole_ms\":{{\"p99\":{},\"max\":{}}},\"video_gap_ms\":{{\"p95\":{:.1},\"max\":{:.1}}},\"frames_lost\":{{\"p50\":{},\"max\":{}}},\"duplicates\":{},\"participants_lost\":{},\"messages_lost\":{},\"messages_doubled\":{},\"keyframes_extra\":{},\"migrate_ms\":{{\"4\":{},\"8\":{},\"16\":{}}},\"overlap_uplink_ratio\":{:.2},\"overlap_ms\":{:.0},\"relay_kill_audio_ms\":{{\"p95\":{}}},\"relay_kill_video_ms\":{{\"p95\":{}}},\"edge_kill_ms\":{{\"p95\":{}}},\"switches_per_30s_max\":{},\"worst_seed\":{}}}",
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
            or_null(migrate(4)),
            or_null(migrate(8)),
            or_null(migrate(16)),
            quantile(&ratio, 0.95),
            quantile(&overlap, 0.95),
            or_null(kill_audio),
            or_null(kill_video),
            or_null(self.edge_kill()),
            self.switches(),
            worst.map_or(0, |(trial, _)| trial.seed),
        ));
    }
}
