//! The demo: a real call with real speech, real video and real codecs that begins peer to peer, grows into the relay and comes back.

mod cast;
mod record;
mod relay;
mod report;
mod table;
mod watch;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Parser;
use segue::{LegEnd, Path, RoomEvent, TrackKind};

use crate::cast::{NAMES, Participant, Stage};
use crate::record::{EdgeKey, Goals, OwnReport, Record, Stretch, Summary, TopologySample};
use crate::table::{Row, Table};
use crate::watch::{Notebook, name_of};

/// When each of the cast enters, in seconds.
const ENTER: [f64; 5] = [0.0, 0.5, 3.5, 6.5, 9.5];

/// When each leaves; the first two stay to the end.
const LEAVE: [f64; 5] = [END, END, 48.0, 27.0, 24.0];

/// The end of the call.
const END: f64 = 53.0;

/// Both ends of an edge must have been in a topology this long before they are expected to have seen each other in it.
const SETTLE: Duration = Duration::from_secs(3);

/// Between two looks at the room.
const SAMPLE: Duration = Duration::from_millis(500);

const GOALS: Goals = Goals { participants_peak: 5, handovers: 2, audio_gap_ms: 0, video_gap_ms: 80 };

/// A real call that starts as a mesh, grows into the relay and comes back.
#[derive(Parser)]
struct Arguments {
    /// Prints one JSON object at the end and no live table.
    #[arg(long)]
    json: bool,
    /// Folder with Y4M clips; without any, pictures are drawn.
    #[arg(long)]
    media: Option<PathBuf>,
    /// Folder of the report.
    #[arg(long, default_value = "target/demo")]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match run(&arguments).await {
        Ok(summary) => {
            print(&arguments, &summary);
            if summary.ok { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
        }
        Err(message) => {
            eprintln!("demo: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn print(arguments: &Arguments, summary: &Summary) {
    if arguments.json {
        println!("{}", serde_json::to_string(summary).unwrap_or_default());
        return;
    }
    println!("\n{} participants at most, {} handovers", summary.participants_peak, summary.handovers);
    println!("longest audio gap {} ms, longest video gap {} ms", summary.audio_gap_ms_max, summary.video_gap_ms_max);
    println!("frames missed at most {}, played twice {}", summary.frames_missed_max, summary.duplicates_played);
    println!("pairs that did not see or hear each other: {}", summary.undecoded);
    GOALS.unmet(summary).iter().for_each(|sentence| println!("not reached: {sentence}"));
    println!("{}: report in {}", if summary.ok { "ok" } else { "NOT OK" }, summary.report);
}

async fn run(arguments: &Arguments) -> Result<Summary, String> {
    let relay = relay::Child::start().await?;
    let stage = Stage::new(relay.url.clone(), arguments.media.as_deref(), relay.token_maker());
    let record = Record::of(NAMES.map(str::to_owned).to_vec());
    let notebook = Notebook::new(record);
    play(&stage, &notebook, Table::new(!arguments.json && std::io::stderr().is_terminal())).await?;
    relay.stop().await;
    let report = arguments.out.join("report.html");
    let (deadlines, loops) = (stage.deadlines_missed.load(Ordering::Relaxed), stage.loops());
    let sources = stage.sources.into_inner().unwrap_or_default();
    notebook.write(|record, _| {
        record.deadlines_missed = deadlines;
        record.sources = sources;
        record.loops = loops;
        let summary = record.summary(&GOALS, report.display().to_string());
        report::write(&report, record, &summary).map_err(|error| format!("{}: {error}", report.display()))?;
        Ok(summary)
    })
}

/// The schedule: enters, leaves, looks.
async fn play(stage: &Stage, notebook: &Notebook, mut table: Table) -> Result<(), String> {
    let mut present: Vec<Participant> = Vec::new();
    let mut entered = 0;
    let mut settled = Settled::default();
    while notebook.at() < END {
        if entered < NAMES.len() && notebook.at() >= ENTER[entered] {
            let name = NAMES[entered];
            let participant =
                Participant::join(stage, entered).await.map_err(|error| format!("{name} could not join: {error}"))?;
            follow(notebook, &participant);
            present.push(participant);
            entered += 1;
        }
        if let Some(place) = present.iter().position(|participant| notebook.at() >= LEAVE[participant.index]) {
            let leaver = present.remove(place);
            note_own_report(notebook, &leaver).await;
            leaver.leave().await;
        }
        look(notebook, &present, &mut settled, &mut table).await;
        tokio::time::sleep(SAMPLE).await;
    }
    for participant in present {
        note_own_report(notebook, &participant).await;
        participant.leave().await;
    }
    Ok(())
}

/// What the SDK itself says a participant's changes of path cost.
async fn note_own_report(notebook: &Notebook, participant: &Participant) {
    let Ok(report) = participant.room.handover_report().await else { return };
    let [audio_ms, video_ms] = [TrackKind::Audio, TrackKind::Video].map(|kind| report.longest_gap(kind).as_millis() as u64);
    let own = OwnReport { name: NAMES[participant.index], changes: report.paths.len(), audio_ms, video_ms };
    notebook.write(|record, _| record.own_reports.push(own));
}

/// Which pairs have been together in which topology, and since when.
#[derive(Default)]
struct Settled {
    pairs: std::collections::BTreeMap<EdgeKey, (Stretch, Instant)>,
}

async fn look(notebook: &Notebook, present: &[Participant], settled: &mut Settled, table: &mut Table) {
    let mut rows = Vec::new();
    for participant in present {
        let Ok(stats) = participant.room.stats().await else { continue };
        let topology = name_of(participant.room.topology());
        let mut paths = Vec::new();
        notebook.write(|record, at| {
            for leg in stats.legs.iter().filter(|leg| leg.end != LegEnd::RelaySubscriber) {
                record.legs.entry((participant.index, leg.end)).or_default().push((at, leg.send_rate.as_kbps() as f64));
            }
        });
        for other in present.iter().filter(|other| other.index != participant.index) {
            let publisher = other.room.local_participant().id();
            let edge = (other.index, participant.index);
            let at = notebook.at();
            if let Some(seen) = stats.edges.iter().find(|seen| seen.publisher == publisher && seen.subscriber != publisher) {
                paths.push((NAMES[other.index].to_owned(), seen.path));
                let kbps = seen.bitrate.as_kbps() as f64;
                notebook.write(|record, _| record.edges.entry(edge).or_default().kbps.push((at, kbps)));
            }
            let both = (name_of(other.room.topology()) == topology).then_some(topology);
            note_shared(notebook, settled, edge, both);
        }
        rows.push(Row { name: NAMES[participant.index].to_owned(), topology, paths, stats });
    }
    if let Some(first) = present.first() {
        let topology = name_of(first.room.topology());
        let participants = present.len();
        notebook.write(|record, at| record.topology.push(TopologySample { at, topology, participants }));
    }
    table.draw(notebook.at(), &rows);
}

fn note_shared(notebook: &Notebook, settled: &mut Settled, edge: EdgeKey, topology: Option<&'static str>) {
    let Some(topology) = topology else {
        settled.pairs.remove(&edge);
        return;
    };
    notebook.write(|record, at| {
        let stretch = record.stretch(topology);
        let entry = settled.pairs.entry(edge).or_insert((stretch, Instant::now()));
        if entry.0 != stretch {
            *entry = (stretch, Instant::now());
        }
        if entry.1.elapsed() >= SETTLE {
            record.shared(at, edge, stretch);
        }
    });
}

/// Watches everything a participant receives, and notes what the room tells it.
fn follow(notebook: &Notebook, participant: &Participant) {
    let (notebook, room, index) = (notebook.clone(), participant.room.clone(), participant.index);
    let mut events = room.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                RoomEvent::TrackPublished { participant, track } => {
                    let publisher = NAMES.iter().position(|name| *name == participant.identity());
                    if let Some(publisher) = publisher {
                        watch::spawn(notebook.clone(), room.clone(), (publisher, index), track);
                    }
                }
                // The first of the cast sees every change of the room.
                RoomEvent::TopologyChanged { from, to, reason, epoch } if index == 0 => {
                    tracing::info!(from = name_of(from), to = name_of(to), reason, epoch = epoch.counter, "topology changed");
                    let text = format!("{} → {} (epoch {})", name_of(from), name_of(to), epoch.counter);
                    notebook.write(|record, at| record.switched(at, text));
                }
                RoomEvent::PathChanged { edge, path, reason } => {
                    tracing::info!(?edge, ?path, reason, "path changed");
                    let publisher = room
                        .participant(edge.publisher)
                        .and_then(|other| NAMES.iter().position(|name| *name == other.identity()));
                    if let (Some(publisher), Path::Direct | Path::Relayed) = (publisher, path) {
                        notebook.write(|record, at| record.path_switched(at, (publisher, index)));
                    }
                }
                _ => {}
            }
        }
    });
}
