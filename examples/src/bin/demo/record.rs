//! What the demo saw: series for the report, figures for the summary.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use segue::LegEnd;
use serde::Serialize;

/// How long after a switch a gap that begins counts as the switch's.
const SWITCH_WINDOW_S: f64 = 3.0;

/// What was waited for so long, and is still waited for, is a gap already.
const OPEN_GAP_S: f64 = 0.5;

/// One direction between two participants, by their place in the cast.
pub type EdgeKey = (usize, usize);

/// A topology, and how many switches were before: the mesh before the relay is not the mesh after it.
pub type Stretch = (&'static str, usize);

/// What one receiver saw of one sender, as points (second, value).
#[derive(Default)]
pub struct EdgeSeries {
    pub kbps: Vec<(f64, f64)>,
    pub audio_gap_ms: Vec<(f64, f64)>,
    pub video_gap_ms: Vec<(f64, f64)>,
}

/// A line across every plot.
pub struct Mark {
    pub at: f64,
    pub text: String,
}

/// The room at one moment.
pub struct TopologySample {
    pub at: f64,
    pub topology: &'static str,
    pub participants: usize,
}

/// Something heard or seen by a receiver.
#[derive(Clone, Copy)]
pub enum Observed {
    /// A run of audio that the sender emitted and that was not played.
    AudioGap(Duration),
    /// Time between two pictures beyond one frame interval, and the number of the second, where it is there.
    VideoGap(Duration, Option<u32>),
    /// Pictures whose counters were never seen.
    FramesMissed(u32),
}

/// What the SDK of one participant says its changes of path cost.
pub struct OwnReport {
    pub name: &'static str,
    pub changes: usize,
    pub audio_ms: u64,
    pub video_ms: u64,
}

/// Everything of one run.
#[derive(Default)]
pub struct Record {
    pub names: Vec<String>,
    pub edges: BTreeMap<EdgeKey, EdgeSeries>,
    /// What participants send on each of their legs, in kbit/s.
    pub legs: BTreeMap<(usize, LegEnd), Vec<(f64, f64)>>,
    pub marks: Vec<Mark>,
    pub topology: Vec<TopologySample>,
    pub duplicates_played: u64,
    pub deadlines_missed: u64,
    pub sources: Vec<String>,
    pub own_reports: Vec<OwnReport>,
    /// Pictures after which a participant's clip begins again, by place in the cast.
    pub loops: BTreeMap<usize, u32>,
    observed: Vec<(f64, EdgeKey, Observed)>,
    switches: Vec<f64>,
    path_switches: Vec<(f64, EdgeKey)>,
    shared: BTreeSet<(EdgeKey, Stretch)>,
    seen: BTreeSet<(EdgeKey, Stretch)>,
    heard: BTreeSet<(EdgeKey, Stretch)>,
    last_seen: BTreeMap<EdgeKey, f64>,
    last_heard: BTreeMap<EdgeKey, f64>,
}

/// The last line of `--json`.
#[derive(Serialize)]
pub struct Summary {
    pub kind: &'static str,
    pub ok: bool,
    pub participants_peak: usize,
    pub handovers: usize,
    pub audio_gap_ms_max: u64,
    pub video_gap_ms_max: u64,
    /// The same without taking off what the same pictures of the clip cost where nothing switches.
    pub video_late_ms_max: u64,
    pub frames_missed_max: u32,
    pub duplicates_played: u64,
    pub undecoded: usize,
    pub deadlines_missed: u64,
    pub sources: Vec<String>,
    pub report: String,
}

impl Record {
    /// An empty record of a cast.
    pub fn of(names: Vec<String>) -> Self {
        Self { names, ..Self::default() }
    }

    /// Length of the run so far.
    pub fn seconds(&self) -> f64 {
        self.topology.last().map_or(0.0, |sample| sample.at)
    }

    /// The room changed its topology.
    pub fn switched(&mut self, at: f64, text: String) {
        self.switches.push(at);
        self.marks.push(Mark { at, text });
    }

    /// An edge changed its path.
    pub fn path_switched(&mut self, at: f64, edge: EdgeKey) {
        self.path_switches.push((at, edge));
    }

    /// A receiver met with something worth counting.
    pub fn observe(&mut self, at: f64, edge: EdgeKey, observed: Observed) {
        self.observed.push((at, edge, observed));
    }

    /// The stretch between two switches that a topology stands for now.
    pub fn stretch(&self, topology: &'static str) -> Stretch {
        (topology, self.switches.len())
    }

    /// Both ends of an edge were in the room long enough in this stretch to see and hear each other. What is still waited for now is
    /// a gap, though nothing has ended it.
    pub fn shared(&mut self, at: f64, edge: EdgeKey, stretch: Stretch) {
        self.shared.insert((edge, stretch));
        let open = |last: &BTreeMap<EdgeKey, f64>| last.get(&edge).map(|last| at - last).filter(|gap| *gap > OPEN_GAP_S);
        let gaps = [
            open(&self.last_heard).map(|gap| Observed::AudioGap(Duration::from_secs_f64(gap))),
            open(&self.last_seen).map(|gap| Observed::VideoGap(Duration::from_secs_f64(gap), None)),
        ];
        gaps.into_iter().flatten().for_each(|gap| self.observe(at, edge, gap));
    }

    /// A picture was decoded.
    pub fn saw(&mut self, at: f64, edge: EdgeKey, topology: &'static str) {
        self.seen.insert((edge, self.stretch(topology)));
        self.last_seen.insert(edge, at);
    }

    /// Voice was decoded.
    pub fn heard(&mut self, at: f64, edge: EdgeKey, topology: &'static str) {
        self.heard.insert((edge, self.stretch(topology)));
        self.last_heard.insert(edge, at);
    }

    /// Whether what ended at `at` overlaps the time after a switch.
    fn near_switch(&self, at: f64, edge: EdgeKey, observed: &Observed) -> bool {
        let length = match observed {
            Observed::AudioGap(gap) | Observed::VideoGap(gap, _) => gap.as_secs_f64(),
            Observed::FramesMissed(_) => 0.0,
        };
        let near = |switch: f64| at - length <= switch + SWITCH_WINDOW_S && at >= switch - 0.1;
        self.switches.iter().any(|switch| near(*switch))
            || self.path_switches.iter().any(|(switch, switched)| *switched == edge && near(*switch))
    }

    /// How late each picture of the clips is where nothing switches: the largest of it and its neighbours, in the best of the loops. A gap counts
    /// less the same gap without a switch, and a cut of the scene has one wherever it comes.
    fn usual(&self) -> BTreeMap<(EdgeKey, u32), Duration> {
        let mut loops: BTreeMap<(EdgeKey, u32, u32), Duration> = BTreeMap::new();
        for (at, edge, observed) in &self.observed {
            let Observed::VideoGap(gap, Some(number)) = observed else { continue };
            let Some(period) = self.loops.get(&edge.0).copied().filter(|_| !self.near_switch(*at, *edge, observed)) else {
                continue;
            };
            for place in [number + period - 1, *number, number + 1] {
                let late = loops.entry((*edge, place % period, number / period)).or_default();
                *late = (*late).max(*gap);
            }
        }
        let mut usual = BTreeMap::new();
        for ((edge, place, _), late) in loops {
            let least: &mut Duration = usual.entry((edge, place)).or_insert(late);
            *least = (*least).min(late);
        }
        usual
    }

    fn undecoded(&self) -> usize {
        self.shared.iter().filter(|entry| !self.seen.contains(entry) || !self.heard.contains(entry)).count()
    }

    /// The figures, judged by the goals of the acceptance.
    pub fn summary(&self, goals: &Goals, report: String) -> Summary {
        let mut audio = Duration::ZERO;
        let (mut video, mut late) = (Duration::ZERO, Duration::ZERO);
        let usual = self.usual();
        let mut missed: BTreeMap<EdgeKey, u32> = BTreeMap::new();
        for (_, edge, observed) in self.observed.iter().filter(|(at, edge, observed)| self.near_switch(*at, *edge, observed)) {
            match observed {
                Observed::AudioGap(gap) => audio = audio.max(*gap),
                Observed::VideoGap(gap, number) => {
                    let place = number.zip(self.loops.get(&edge.0)).map(|(number, period)| (*edge, number % period));
                    let expected = place.and_then(|place| usual.get(&place)).copied().unwrap_or_default();
                    late = late.max(*gap);
                    video = video.max(gap.saturating_sub(expected));
                }
                Observed::FramesMissed(frames) => *missed.entry(*edge).or_default() += frames,
            }
        }
        let mut summary = Summary {
            kind: "demo",
            ok: false,
            participants_peak: self.topology.iter().map(|sample| sample.participants).max().unwrap_or(0),
            handovers: self.switches.len(),
            audio_gap_ms_max: audio.as_millis() as u64,
            video_gap_ms_max: video.as_millis() as u64,
            video_late_ms_max: late.as_millis() as u64,
            frames_missed_max: missed.values().copied().max().unwrap_or(0),
            duplicates_played: self.duplicates_played,
            undecoded: self.undecoded(),
            deadlines_missed: self.deadlines_missed,
            sources: self.sources.clone(),
            report,
        };
        summary.ok = goals.met_by(&summary);
        summary
    }
}

/// What a run must reach to be called ok.
pub struct Goals {
    pub participants_peak: usize,
    pub handovers: usize,
    pub audio_gap_ms: u64,
    pub video_gap_ms: u64,
}

impl Goals {
    fn met_by(&self, summary: &Summary) -> bool {
        self.unmet(summary).is_empty()
    }

    /// A sentence for each goal that a run did not reach.
    pub fn unmet(&self, summary: &Summary) -> Vec<String> {
        let mut unmet = Vec::new();
        let mut want = |met: bool, sentence: String| unmet.extend((!met).then_some(sentence));
        let (peak, handovers) = (summary.participants_peak, summary.handovers);
        want(peak >= self.participants_peak, format!("{peak} participants met, {} should have", self.participants_peak));
        want(handovers >= self.handovers, format!("{handovers} handovers, there should be {}", self.handovers));
        let (audio, video) = (summary.audio_gap_ms_max, summary.video_gap_ms_max);
        want(
            audio <= self.audio_gap_ms,
            format!("voice missed {audio} ms near a handover, at most {} is the goal", self.audio_gap_ms),
        );
        let busy = "a machine busy with other things can cause that";
        want(
            video <= self.video_gap_ms,
            format!("a picture came {video} ms late, at most {} is the goal ({busy})", self.video_gap_ms),
        );
        want(summary.duplicates_played == 0, format!("{} frames were played twice", summary.duplicates_played));
        want(summary.undecoded == 0, format!("{} pairs did not see or hear each other", summary.undecoded));
        let missed = summary.deadlines_missed;
        want(
            missed == 0,
            format!("this machine missed {missed} capture deadlines: the figures say little, run it on a quieter one"),
        );
        unmet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOALS: Goals = Goals { participants_peak: 0, handovers: 1, audio_gap_ms: 0, video_gap_ms: 80 };

    #[test]
    fn a_freeze_that_begins_after_a_switch_counts_whenever_it_ends_and_where_it_does_not() {
        let mut record = Record::default();
        record.switched(10.0, String::new());
        record.observe(14.5, (0, 1), Observed::VideoGap(Duration::from_millis(2_500), None));
        record.observe(20.0, (0, 1), Observed::VideoGap(Duration::from_millis(4_000), None));
        assert_eq!(record.summary(&GOALS, String::new()).video_gap_ms_max, 2_500);
        record.saw(11.0, (0, 1), "mesh");
        record.shared(19.0, (0, 1), record.stretch("mesh"));
        let summary = record.summary(&GOALS, String::new());
        assert_eq!(summary.video_gap_ms_max, 8_000);
        assert!(GOALS.unmet(&summary).iter().any(|sentence| sentence.contains("8000 ms late")), "{:?}", GOALS.unmet(&summary));
    }

    #[test]
    fn a_cut_of_the_scene_is_late_with_and_without_a_switch_and_counts_only_by_the_difference() {
        let mut record = Record::default();
        record.loops.insert(0, 200);
        let late = |record: &mut Record, at: f64, number: u32, ms: u64| {
            record.observe(at, (0, 1), Observed::VideoGap(Duration::from_millis(ms), Some(number)));
        };
        record.switched(40.0, String::new());
        // The same picture, or the one after it, in three loops; one of them meets a busy machine.
        late(&mut record, 9.5, 138, 70);
        late(&mut record, 17.5, 337, 300);
        late(&mut record, 41.5, 937, 90);
        let summary = record.summary(&GOALS, String::new());
        assert_eq!((summary.video_gap_ms_max, summary.video_late_ms_max), (20, 90));
        late(&mut record, 42.0, 950, 60);
        assert_eq!(record.summary(&GOALS, String::new()).video_gap_ms_max, 60, "no other loop had it late");
    }

    #[test]
    fn a_mesh_after_the_relay_is_another_mesh() {
        let mut record = Record::default();
        for switches in 0..2 {
            record.shared(9.0, (0, 1), record.stretch("mesh"));
            if switches == 0 {
                record.saw(9.0, (0, 1), "mesh");
                record.heard(9.0, (0, 1), "mesh");
                record.switched(10.0, String::new());
            }
        }
        assert_eq!(record.summary(&GOALS, String::new()).undecoded, 1);
    }
}
