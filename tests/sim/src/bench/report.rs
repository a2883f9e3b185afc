//! Lines of figures.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::class::Class;
use super::compare::Measured;
use super::line::{Line, round};
use super::trial::Trial;
use crate::scenario::Failure;

/// One run and what it gave.
pub type Run = (Trial, Measured);

/// Everything measured.
#[derive(Default)]
pub struct Report {
    runs: Vec<Run>,
    failures: Vec<(Trial, Failure)>,
    /// What was printed.
    lines: RefCell<Vec<String>>,
}

/// What a goal says of some runs.
struct Verdict {
    /// Nothing where no run was of the kind that the goal speaks of.
    met: Option<bool>,
    figure: String,
}

/// Of what was measured; nothing of nothing.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn p95(values: &[f64]) -> Option<f64> {
    quantile(values, 0.95)
}

fn max(values: &[f64]) -> Option<f64> {
    quantile(values, 1.0)
}

/// In a sentence: what was not measured is not nought.
fn word(value: Option<f64>, digits: i32) -> String {
    round(value, digits).to_string()
}

fn all(runs: &[&Run], of: impl Fn(&Measured) -> Vec<f64>) -> Vec<f64> {
    runs.iter().flat_map(|(_, measured)| of(measured)).collect()
}

fn sum(runs: &[&Run], of: impl Fn(&Measured) -> u64) -> u64 {
    runs.iter().map(|(_, measured)| of(measured)).sum()
}

/// Those in which something moved: of the others nothing can be said about moving.
fn committed<'a>(runs: &[&'a Run]) -> Vec<&'a Run> {
    runs.iter().copied().filter(|(_, m)| m.committed).collect()
}

/// (never, only in part): runs in which nothing took the path it was to take, and those in which not everything did.
fn stayed(runs: &[&Run]) -> (usize, usize) {
    let never = runs.iter().filter(|(_, m)| !m.committed).count();
    (never, runs.iter().filter(|(_, m)| m.committed && !m.moved).count())
}

fn spread(values: &[f64], digits: i32, shares: &[(&str, f64)]) -> Line {
    shares.iter().fold(Line::new(), |line, (name, share)| line.put(name, round(quantile(values, *share), digits)))
}

const P50_P99: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("max", 1.0)];

fn worst_seed(runs: &[&Run]) -> Value {
    let gap = |run: &Run| max(&run.1.audio_gaps).unwrap_or(-1.0);
    runs.iter().max_by(|a, b| gap(a).total_cmp(&gap(b))).map_or(Value::Null, |(trial, _)| trial.seed.into())
}

/// One line for one seed.
pub fn run_line(trial: &Trial, outcome: &Result<Measured, Failure>) -> String {
    let line = Line::of("handover_run").put("seed", trial.seed).put("class", trial.class.name());
    let m = match outcome {
        Ok(measured) => measured,
        Err(failure) => {
            return line.put("participants", trial.participants).put("up", trial.up).put("failed", failure.what.as_str()).end();
        }
    };
    line.put("participants", m.truth.participants)
        .put("up", trial.up)
        .put("audio_gap_ms", round(max(&m.audio_gaps), 0))
        .put("audio_hole_ms", round(max(&m.holes), 0))
        .put("video_gap_ms", round(max(&m.video_gaps), 1))
        .put("freezes", m.freezes)
        .put("frames_lost", round(max(&m.frames_lost), 0))
        .put("keyframes_extra", m.keyframes_extra)
        .put("migrate_ms", round(m.migrate_ms, 0))
        .put("overlap_ms", round(m.overlap_ms, 0))
        .put("uplink", round(m.uplink_ratio, 2))
        .put("downlink", round(m.downlink_ratio, 2))
        .put("delay_added_ms", round(max(&m.delay_added), 0))
        .put("quality", round(quantile(&m.quality, 0.0), 2))
        .put("outage_ms", round(max(&m.audio_outage), 0))
        .put("video_outage_ms", round(max(&m.video_outage), 0))
        .put("messages_sent", m.messages_sent)
        .put("messages_lost", m.messages_lost)
        .put("participants_lost", m.participants_lost)
        .put("lost", m.lost.clone())
        .put("committed", m.committed)
        .put("moved", m.moved)
        .end()
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
                self.failures.push((trial.clone(), failure));
            }
        }
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

    fn runs(&self, which: impl Fn(&Trial) -> bool) -> Vec<&Run> {
        self.runs.iter().filter(|(trial, _)| which(trial)).collect()
    }

    fn of(&self, class: Class) -> Vec<&Run> {
        self.runs(|trial| trial.class == class)
    }

    fn gated(&self) -> Vec<&Run> {
        self.runs(|trial| trial.class.is_gated())
    }

    fn class_line(&self, class: Class, runs: &[&Run]) -> String {
        let (never, partly) = stayed(runs);
        let moved = committed(runs);
        let quality = |up: bool| {
            let runs: Vec<_> = moved.iter().copied().filter(|(trial, _)| trial.up == up).collect();
            spread(&all(&runs, |m| m.quality.clone()), 2, &[("p05", 0.05), ("min", 0.0)])
        };
        let audio = all(&moved, |m| m.audio_gaps.clone());
        let video = all(&moved, |m| m.video_gaps.clone());
        let failed = self.failures.iter().filter(|(trial, _)| trial.class == class).count();
        Line::of("handover_class")
            .put("class", class.name())
            .put("gated", class.is_gated())
            .put("runs", runs.len())
            .put("failed", failed)
            .put("not_moved", never)
            .put("moved_in_part", partly)
            .put("edges", audio.len())
            .within("audio_gap_ms", spread(&audio, 0, &P50_P99))
            .within("audio_hole_ms", spread(&all(&moved, |m| m.holes.clone()), 0, &[("p99", 0.99), ("max", 1.0)]))
            .within("video_gap_ms", spread(&video, 1, &[("p50", 0.5), ("p95", 0.95), ("max", 1.0)]))
            .put("freezes", sum(&moved, |m| m.freezes))
            .within("frames_lost", spread(&all(&moved, |m| m.frames_lost.clone()), 0, &[("p50", 0.5), ("max", 1.0)]))
            .put("keyframes_extra", sum(runs, |m| m.keyframes_extra))
            .within("quality", Line::new().within("up", quality(true)).within("down", quality(false)))
            .put("duplicates", sum(runs, |m| m.duplicates))
            .put("participants_lost", sum(runs, |m| m.participants_lost))
            .put("messages_sent", sum(runs, |m| m.messages_sent))
            .put("messages_lost", sum(runs, |m| m.messages_lost))
            .put("messages_doubled", sum(runs, |m| m.messages_doubled))
            .put("audio_outage_ms_p95", round(p95(&all(runs, |m| m.audio_outage.clone())), 0))
            .put("worst_seed", worst_seed(&moved))
            .end()
    }

    /// A goal over classes. A run of them that failed, because something was played twice or an oracle was broken otherwise, fails the goal.
    fn goal(&self, name: &str, classes: impl Fn(Class) -> bool, verdict: Verdict, wanted: &str) {
        let Verdict { met, mut figure } = verdict;
        let failed = self.failures.iter().filter(|(trial, _)| classes(trial.class)).count();
        if failed > 0 {
            figure = format!("{figure}; {failed} runs failed");
        }
        let met = if failed > 0 { Some(false) } else { met };
        let met = met.map_or(Value::Null, Value::from);
        self.say(
            Line::of("handover_goal").put("goal", name).put("met", met).put("measured", figure).put("wanted", wanted).end(),
        );
    }

    pub fn print(&self) {
        let mut classes: BTreeMap<Class, Vec<&Run>> = BTreeMap::new();
        for (trial, _) in &self.failures {
            classes.entry(trial.class).or_default();
        }
        for run in &self.runs {
            classes.entry(run.0.class).or_default().push(run);
        }
        for (class, runs) in &classes {
            self.say(self.class_line(*class, runs));
        }
        let gated = Class::is_gated;
        self.goal("G1", gated, self.audio_gaps(), "p50 0, p99 <= 20 ms, 0 duplicates");
        self.goal("G2", |class| !class.stands_apart(), self.nobody_lost(), "none above 40 ms, nobody lost, every one moves");
        self.goal("G3", gated, self.video_gaps(), "p95 <= max(2 frames, 80 ms); no freeze");
        self.goal("G4", gated, self.frames_lost(), "0 at <= 1 %, <= 1 at 5 %");
        self.goal("G5", gated, self.keyframes(), "0; a newcomer at most 1 of each source");
        self.goal("G6", gated, self.quality(), ">= 90 % within 1 s, in every class and direction");
        self.goal("G7", Self::is_plain, self.time_to_move(), "0.5 s at 4, 1 s at 8 (standby legs, RTT 50 ms)");
        self.goal("G8", gated, self.overlap_cost(), "uplink <= 1.25, downlink <= 1.25, <= 1.5 s");
        self.goal("G9", gated, self.delay_added(), "<= 20 ms");
        self.goals_of_disasters();
        self.say(self.total());
    }

    /// In whose runs nothing but the change of path takes time.
    fn is_plain(class: Class) -> bool {
        matches!(class, Class::Clean | Class::Skew | Class::Uplink | Class::Asked)
    }

    fn audio_gaps(&self) -> Verdict {
        let runs = committed(&self.gated());
        let audio = all(&runs, |m| m.audio_gaps.clone());
        let (p50, p99) = (quantile(&audio, 0.5), quantile(&audio, 0.99));
        let doubled = sum(&self.runs(|_| true), |m| m.duplicates);
        let holes = all(&runs, |m| m.holes.clone());
        let figure = format!(
            "p50 {} p99 {} max {} duplicates {doubled}; nothing to play for p99 {} max {} ms more than the twin; {} voices, {} frames compared",
            word(p50, 0),
            word(p99, 0),
            word(max(&audio), 0),
            word(quantile(&holes, 0.99), 0),
            word(max(&holes), 0),
            audio.len(),
            sum(&runs, |m| m.compared.0),
        );
        let met = p50.zip(p99).map(|(p50, p99)| p50 == 0.0 && p99 <= 20.0 && doubled == 0);
        Verdict { met, figure }
    }

    fn nobody_lost(&self) -> Verdict {
        let common = self.runs(|trial| !trial.class.stands_apart());
        let gated = self.gated();
        let lost = sum(&common, |m| m.participants_lost);
        let over = committed(&gated).iter().filter(|(_, m)| max(&m.audio_gaps).is_some_and(|gap| gap > 40.0)).count();
        let (never, partly) = stayed(&gated);
        let figure = format!(
            "{over} of {} seeds above 40 ms, {lost} edges or participants lost, {never} of {} did not move, {partly} in part only",
            gated.len() - never,
            gated.len()
        );
        Verdict { met: (!common.is_empty()).then_some(over == 0 && lost == 0 && never == 0), figure }
    }

    fn video_gaps(&self) -> Verdict {
        let runs = committed(&self.gated());
        let video = all(&runs, |m| m.video_gaps.clone());
        // Of pictures of few frames a second two are longer.
        let beyond = all(&runs, |m| m.video_gaps.iter().zip(&m.video_limits).map(|(gap, limit)| gap / limit).collect());
        let freezes = sum(&runs, |m| m.freezes);
        let figure = format!(
            "p95 {} ms, max {}, {freezes} freezes, {} pictures",
            word(p95(&video), 1),
            word(max(&video), 1),
            video.len()
        );
        Verdict { met: p95(&beyond).map(|p95| p95 <= 1.0 && freezes == 0), figure }
    }

    fn frames_lost(&self) -> Verdict {
        // By what is lost in the mean, in bursts as well.
        let frames = |low: f64, high: f64| {
            let runs = self.runs.iter().filter(|(trial, m)| {
                let own = m.truth.own_fates && trial.class == Class::Asked;
                trial.class.is_gated() && !own && m.truth.loss > low && m.truth.loss <= high + 1e-9
            });
            max(&all(&committed(&runs.collect::<Vec<_>>()), |m| m.frames_lost.clone()))
        };
        let (low, high) = (frames(-1.0, 0.01), frames(0.01 + 1e-9, 0.05));
        let own = self.gated().iter().any(|(trial, m)| m.truth.own_fates && trial.class == Class::Asked);
        let why = if own {
            "; paths that lose, delay or disorder by themselves are left out: the twin meets other packets"
        } else {
            ""
        };
        let figure = format!("{} at <= 1 %, {} at up to 5 % mean loss{why}", word(low, 0), word(high, 0));
        let met = low.is_none_or(|low| low == 0.0) && high.is_none_or(|high| high <= 1.0);
        Verdict { met: low.or(high).map(|_| met), figure }
    }

    fn keyframes(&self) -> Verdict {
        let gated = self.gated();
        let keyframes = sum(&gated, |m| m.keyframes_extra);
        let lossless: Vec<_> = gated.iter().copied().filter(|(_, m)| m.truth.loss == 0.0).collect();
        let newcomers = max(&all(&lossless, |m| m.newcomer_keyframes.clone()));
        let figure = format!(
            "{keyframes} asked for by synced receivers, a newcomer {} of a source at most where nothing is lost",
            word(newcomers, 0)
        );
        let pictures = sum(&committed(&gated), |m| m.video_gaps.len() as u64);
        let met = keyframes == 0 && newcomers.is_none_or(|newcomers| newcomers <= 1.0);
        Verdict { met: (pictures > 0 || keyframes > 0 || newcomers.is_some()).then_some(met), figure }
    }

    /// By class and direction: one that is worse is not made up for by the others.
    fn quality(&self) -> Verdict {
        let mut groups: BTreeMap<(Class, bool), Vec<&Run>> = BTreeMap::new();
        for run in committed(&self.gated()) {
            groups.entry((run.0.class, run.0.up)).or_default().push(run);
        }
        let of = |(key, runs): (&(Class, bool), &Vec<&Run>)| {
            Some((quantile(&all(runs, |m| m.quality.clone()), 0.05)?, key.0.name(), if key.1 { "up" } else { "down" }))
        };
        let mut groups: Vec<_> = groups.iter().filter_map(of).collect();
        groups.sort_by(|a, b| a.0.total_cmp(&b.0));
        let missed = groups.iter().filter(|(p05, ..)| *p05 < 0.9);
        let missed = missed.map(|(p05, class, way)| format!("{class} {way} {p05:.2}")).collect::<Vec<_>>();
        let worst = groups.first().map(|(p05, class, way)| {
            format!("p05 {p05:.2} of the twin's bytes from 1 to 3 s after in the worst, {class} {way}")
        });
        let mut figure = worst.unwrap_or_else(|| "null".to_owned());
        if !missed.is_empty() {
            figure = format!("{figure}; missed by {}", missed.join(", "));
        }
        Verdict { met: (!groups.is_empty()).then_some(missed.is_empty()), figure }
    }

    /// How long moves of some runs took, of those that took any time.
    fn migrate(&self, which: impl Fn(&Run) -> bool) -> Option<f64> {
        let runs = self.runs.iter().filter(|run| which(run));
        p95(&runs.filter_map(|(_, m)| m.migrate_ms).collect::<Vec<_>>())
    }

    fn time_to_move(&self) -> Verdict {
        // At the round trip the goal speaks of: where paths differ or packets are lost, it takes longer by that.
        let plain = |(trial, m): &Run| {
            let truth = &m.truth;
            Self::is_plain(trial.class)
                && truth.round_trip_50
                && truth.loss == 0.0
                && truth.jitter_ms == 0.0
                && !truth.own_fates
        };
        let four = self.migrate(|run| plain(run) && run.1.truth.participants <= 4);
        let eight = self.migrate(|run| plain(run) && run.1.truth.participants > 4);
        let figure = format!("p95 {} ms up to 4, {} ms up to 8", word(four, 0), word(eight, 0));
        let met = four.is_none_or(|four| four <= 500.0) && eight.is_none_or(|eight| eight <= 1_000.0);
        Verdict { met: four.or(eight).map(|_| met), figure }
    }

    fn overlap_cost(&self) -> Verdict {
        let runs = self.gated();
        let of = |figure: fn(&Measured) -> Option<f64>| p95(&runs.iter().filter_map(|(_, m)| figure(m)).collect::<Vec<_>>());
        let (up, down, time) = (of(|m| m.uplink_ratio), of(|m| m.downlink_ratio), of(|m| m.overlap_ms));
        let figure = format!("p95 uplink {}, downlink {}, {} ms", word(up, 2), word(down, 2), word(time, 0));
        let within = |figure: Option<f64>, limit: f64| figure.is_none_or(|figure| figure <= limit);
        let met = within(up, 1.25) && within(down, 1.25) && within(time, 1_500.0);
        Verdict { met: up.or(down).or(time).map(|_| met), figure }
    }

    fn delay_added(&self) -> Verdict {
        let runs: Vec<_> = committed(&self.gated());
        let fickle = |(trial, m): &Run| trial.class == Class::Asked && m.truth.own_fates;
        let added = all(&runs.iter().copied().filter(|run| !fickle(run)).collect::<Vec<_>>(), |m| m.delay_added.clone());
        let why = if runs.iter().any(|run| fickle(run)) {
            "; paths with jitter, loss or disorder of their own are left out: their difference is no figure"
        } else {
            ""
        };
        let figure = format!("p95 {} ms beyond the path difference of each edge, 3 s after{why}", word(p95(&added), 1));
        Verdict { met: p95(&added).map(|p95| p95 <= 20.0), figure }
    }

    /// Outages of a class, of all edges; of the worst one where only some were hit.
    fn outage(&self, class: Class, worst: bool, of: &dyn Fn(&Measured) -> Vec<f64>) -> Option<f64> {
        let runs = self.of(class);
        let worst_of = || runs.iter().filter_map(|(_, m)| max(&of(m))).collect();
        p95(&if worst { worst_of() } else { all(&runs, of) })
    }

    fn goals_of_disasters(&self) {
        let lost = |class: Class| sum(&self.of(class), |m| m.participants_lost);
        let (audio, video) = self.relay_kill();
        let gone = lost(Class::RelayKilled);
        let met = audio.zip(video).map(|(audio, video)| audio <= 1_000.0 && video <= 2_000.0 && gone == 0);
        let figure =
            format!("p95 voice {} ms, picture {} ms, {gone} edges or participants lost", word(audio, 0), word(video, 0));
        self.goal("G10", |class| class == Class::RelayKilled, Verdict { met, figure }, "voice <= 1.0 s, video <= 2.0 s");
        let (cut, gone) = (self.edge_kill(), lost(Class::EdgeKilled));
        let figure = format!("p95 voice {} ms, {gone} edges or participants lost", word(cut, 0));
        let met = cut.map(|cut| cut <= 1_000.0 && gone == 0);
        self.goal("G11", |class| class == Class::EdgeKilled, Verdict { met, figure }, "<= 1.0 s");
        self.goal(
            "G12",
            |class| class == Class::RelayBlocked,
            self.relay_blocked(),
            "the others move; 0 s for the one that cannot reach the relay",
        );
        self.goal("G13", |class| class == Class::Churn, self.churn(), "<= 1 in 30 s, no ghost over 20 s");
        self.goal("G14", |_| false, Verdict { met: None, figure: "frames are not sealed yet".to_owned() }, "0 undecryptable");
        let voice = |m: &Measured| m.audio_outage.clone();
        let (hard, soft) = (self.outage(Class::RoamHard, true, &voice), self.outage(Class::RoamSoft, true, &voice));
        let gone = lost(Class::RoamHard) + lost(Class::RoamSoft);
        let met = hard.is_none_or(|hard| hard <= 1_500.0) && soft.is_none_or(|soft| soft <= 300.0) && gone == 0;
        let figure = format!(
            "p95 hard loss {} ms, both networks up {} ms, {gone} edges or participants lost",
            word(hard, 0),
            word(soft, 0)
        );
        let roams = |class| matches!(class, Class::RoamHard | Class::RoamSoft);
        self.goal(
            "G15",
            roams,
            Verdict { met: hard.or(soft).map(|_| met), figure },
            "<= 1.5 s after a hard loss, <= 300 ms with both up",
        );
        let runs = self.runs(|_| true);
        let (sent, lost) = (sum(&runs, |m| m.messages_sent), sum(&runs, |m| m.messages_lost + m.messages_doubled));
        let figure = format!("{lost} lost or doubled of {sent} sent");
        self.goal("G16", |_| true, Verdict { met: (sent > 0).then_some(lost == 0), figure }, "0");
    }

    fn relay_blocked(&self) -> Verdict {
        let blocked = self.of(Class::RelayBlocked);
        let gap = max(&all(&blocked, |m| m.audio_gaps.clone()));
        let stayed = blocked.iter().filter(|(_, m)| !m.moved).count();
        let lost = sum(&blocked, |m| m.participants_lost);
        let figure = format!(
            "longest gap {} ms, {stayed} of {} rooms in which others did not move, {lost} edges or participants lost",
            word(gap, 0),
            blocked.len()
        );
        Verdict { met: gap.map(|gap| gap <= 20.0 && stayed == 0 && lost == 0), figure }
    }

    fn churn(&self) -> Verdict {
        let churns = self.of(Class::Churn);
        let ghost = max(&churns.iter().filter_map(|(_, m)| m.ghost_ms).collect::<Vec<_>>());
        let switches = self.switches();
        let lost = sum(&churns, |m| m.participants_lost);
        let figure = format!(
            "{} handovers in 30 s, a ghost for {} ms, {lost} participants lost, {} churns of ten minutes",
            switches.map_or("null".to_owned(), |switches| switches.to_string()),
            word(ghost, 0),
            churns.len()
        );
        let met = ghost.zip(switches).map(|(ghost, switches)| switches <= 1 && ghost <= 20_000.0 && lost == 0);
        Verdict { met, figure }
    }

    fn relay_kill(&self) -> (Option<f64>, Option<f64>) {
        let of = |of: &dyn Fn(&Measured) -> Vec<f64>| self.outage(Class::RelayKilled, false, of);
        (of(&|m| m.audio_outage.clone()), of(&|m| m.video_outage.clone()))
    }

    /// Only two of the edges were cut.
    fn edge_kill(&self) -> Option<f64> {
        self.outage(Class::EdgeKilled, true, &|m| m.audio_outage.clone())
    }

    fn switches(&self) -> Option<usize> {
        self.runs.iter().map(|(_, m)| m.switches).max()
    }

    fn total(&self) -> String {
        let gated = self.gated();
        let moved = committed(&gated);
        let (never, partly) = stayed(&gated);
        let migrate = |people: usize| {
            let common = |(trial, m): &Run| trial.class.is_gated() && m.truth.participants == people;
            round(self.migrate(|run| common(run) || (people == 16 && run.0.class == Class::Sixteen)), 0)
        };
        let (kill_audio, kill_video) = self.relay_kill();
        let p95_of = |of: fn(&Measured) -> Option<f64>| p95(&gated.iter().filter_map(|(_, m)| of(m)).collect::<Vec<_>>());
        let only = |value: Option<f64>| Line::new().put("p95", round(value, 0));
        Line::of("handover")
            .put("real", false)
            .put("runs", self.runs.len())
            .put("failed", self.failures.len())
            .put("gated", gated.len())
            .put("not_moved", never)
            .put("moved_in_part", partly)
            .within("audio_gap_ms", spread(&all(&moved, |m| m.audio_gaps.clone()), 0, &P50_P99))
            .within("audio_hole_ms", spread(&all(&moved, |m| m.holes.clone()), 0, &[("p99", 0.99), ("max", 1.0)]))
            .within("video_gap_ms", spread(&all(&moved, |m| m.video_gaps.clone()), 1, &[("p95", 0.95), ("max", 1.0)]))
            .put("freezes", sum(&moved, |m| m.freezes))
            .within("frames_lost", spread(&all(&moved, |m| m.frames_lost.clone()), 0, &[("p50", 0.5), ("max", 1.0)]))
            .put("duplicates", sum(&gated, |m| m.duplicates))
            .put("participants_lost", sum(&gated, |m| m.participants_lost))
            .put("messages_sent", sum(&gated, |m| m.messages_sent))
            .put("messages_lost", sum(&gated, |m| m.messages_lost))
            .put("messages_doubled", sum(&gated, |m| m.messages_doubled))
            .put("keyframes_extra", sum(&gated, |m| m.keyframes_extra))
            .within("migrate_ms", Line::new().put("4", migrate(4)).put("8", migrate(8)).put("16", migrate(16)))
            .put("overlap_uplink_ratio", round(p95_of(|m| m.uplink_ratio), 2))
            .put("overlap_ms", round(p95_of(|m| m.overlap_ms), 0))
            .within("relay_kill_audio_ms", only(kill_audio))
            .within("relay_kill_video_ms", only(kill_video))
            .within("edge_kill_ms", only(self.edge_kill()))
            .put("switches_per_30s_max", self.switches())
            .put("worst_seed", worst_seed(&moved))
            .end()
    }
}

#[cfg(test)]
mod tests;
