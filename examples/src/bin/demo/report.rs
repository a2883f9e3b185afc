//! The report: one HTML file that needs nothing else.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use segue::LegEnd;

use crate::record::{EdgeSeries, OwnReport, Record, Summary};

const COLOURS: [&str; 8] = ["#4cc38a", "#6e8bff", "#f5a524", "#e5484d", "#a78bfa", "#22b8cf", "#f783ac", "#94a3b8"];
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 22.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;background:#0f1216;color:#e8edf3}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}svg{width:100%;background:#181d24;border-radius:10px}\
svg text{fill:#93a0b0;font-size:11px}table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;text-align:left;border-bottom:1px solid #2a323d;vertical-align:top}th{width:22rem;font-weight:500;color:#93a0b0}\
.legend span{margin-right:1rem;white-space:nowrap}.legend i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.3em}";

/// Writes the report of a finished demo.
pub fn write(file: &Path, record: &Record, summary: &Summary) -> io::Result<()> {
    let mut html = String::new();
    let _ = write!(html, "<!doctype html><html lang=en><meta charset=utf-8><title>Segue demo</title><style>{STYLE}</style>");
    let _ = write!(html, "<h1>Segue demo: a call that changed its path {} times</h1>", summary.handovers);
    summary_table(&mut html, summary);
    own_reports(&mut html, record);
    let _ = write!(html, "<h2>Topology and participants</h2>");
    topology_plot(&mut html, record);
    let legs = record.legs.iter().map(|((sender, end), kbps)| Line {
        sender: *sender,
        dashed: *end == LegEnd::RelayPublisher,
        points: kbps,
    });
    plot(&mut html, record, "Bitrate sent per leg (kbit/s; dashed: to the relay)", legs);
    edge_plot(&mut html, record, "Bitrate received per edge (kbit/s)", |edge| &edge.kbps);
    edge_plot(&mut html, record, "Audio gap per second (ms)", |edge| &edge.audio_gap_ms);
    let title = "Longest wait for a picture beyond the frame interval, per second (ms)";
    edge_plot(&mut html, record, title, |edge| &edge.video_gap_ms);
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(file, html)
}

fn summary_table(html: &mut String, summary: &Summary) {
    let rows = [
        ("result", if summary.ok { "ok".to_owned() } else { "not ok".to_owned() }),
        ("participants at most", summary.participants_peak.to_string()),
        ("handovers", summary.handovers.to_string()),
        ("longest audio gap within 3 s of a switch", format!("{} ms", summary.audio_gap_ms_max)),
        (
            "longest video gap within 3 s of a switch, less what the same picture of the clip costs without one",
            format!("{} ms ({} ms with it)", summary.video_gap_ms_max, summary.video_late_ms_max),
        ),
        ("most frames missed by one receiver within 3 s of a switch", summary.frames_missed_max.to_string()),
        ("frames played twice", summary.duplicates_played.to_string()),
        ("pairs and topologies without a decoded picture or voice", summary.undecoded.to_string()),
        ("capture deadlines this machine missed", summary.deadlines_missed.to_string()),
        ("sources", summary.sources.join("; ")),
    ];
    let _ = write!(html, "<table>");
    for (name, value) in rows {
        let _ = write!(html, "<tr><th>{name}</th><td>{value}</td></tr>");
    }
    let _ = write!(html, "</table>");
}

/// The same from inside: what the SDK tells its application.
fn own_reports(html: &mut String, record: &Record) {
    let _ = write!(html, "<h2>What Room::handover_report says at the end of each stay</h2><table>");
    for OwnReport { name, changes, audio_ms, video_ms } in &record.own_reports {
        let _ = write!(
            html,
            "<tr><th>{name}</th><td>{changes} changes of edges; longest gap in a voice {audio_ms} ms, in a picture {video_ms} ms</td></tr>"
        );
    }
    let _ = write!(html, "</table>");
}

fn x(record: &Record, at: f64) -> f64 {
    LEFT + at / record.seconds().max(1.0) * (WIDTH - LEFT - 8.0)
}

fn y(value: f64, most: f64) -> f64 {
    HEIGHT - BOTTOM - value / most * (HEIGHT - BOTTOM - 12.0)
}

fn open_plot(html: &mut String) {
    let _ = write!(html, "<svg viewBox='0 0 {WIDTH} {HEIGHT}'>");
}

fn marks(html: &mut String, record: &Record) {
    for mark in &record.marks {
        let at = x(record, mark.at);
        let _ = write!(
            html,
            "<line x1={at:.1} x2={at:.1} y1=0 y2={:.1} stroke='#fff6' stroke-dasharray=3 /><text x={:.1} y=10>{}</text>",
            HEIGHT - BOTTOM,
            at + 3.0,
            mark.text
        );
    }
    let mut second = 0.0;
    while second <= record.seconds() {
        let _ = write!(html, "<text x={:.1} y={:.1}>{second:.0} s</text>", x(record, second), HEIGHT - 6.0);
        second += 10.0;
    }
}

fn topology_plot(html: &mut String, record: &Record) {
    open_plot(html);
    let rows = ["mesh", "mixed", "relayed"];
    for (row, name) in rows.iter().enumerate() {
        let _ = write!(html, "<text x=4 y={:.1}>{name}</text>", y(row as f64 + 0.2, 3.0));
    }
    let mut line = String::new();
    for sample in &record.topology {
        let row = rows.iter().position(|name| *name == sample.topology).unwrap_or(0);
        let _ = write!(line, "{:.1},{:.1} ", x(record, sample.at), y(row as f64 + 0.3, 3.0));
    }
    let _ = write!(html, "<polyline points='{line}' fill=none stroke='#6e8bff' stroke-width=3 />");
    let most = record.topology.iter().map(|sample| sample.participants).max().unwrap_or(1) as f64;
    let mut line = String::new();
    for sample in &record.topology {
        let _ = write!(line, "{:.1},{:.1} ", x(record, sample.at), y(sample.participants as f64, most));
    }
    let _ = write!(html, "<polyline points='{line}' fill=none stroke='#4cc38a' stroke-width=1.5 />");
    marks(html, record);
    let _ = write!(html, "</svg><p class=legend><span><i style='background:#6e8bff'></i>topology</span>");
    let _ = write!(html, "<span><i style='background:#4cc38a'></i>participants (at most {most:.0})</span></p>");
}

/// What comes from one participant, in points of (second, value).
#[derive(Clone, Copy)]
struct Line<'a> {
    sender: usize,
    dashed: bool,
    points: &'a [(f64, f64)],
}

fn edge_plot(html: &mut String, record: &Record, title: &str, values: impl Fn(&EdgeSeries) -> &Vec<(f64, f64)>) {
    let lines =
        record.edges.iter().map(|((publisher, _), edge)| Line { sender: *publisher, dashed: false, points: values(edge) });
    plot(html, record, title, lines);
}

fn plot<'a>(html: &mut String, record: &Record, title: &str, lines: impl Iterator<Item = Line<'a>> + Clone) {
    let _ = write!(html, "<h2>{title}</h2>");
    open_plot(html);
    let most = lines.clone().flat_map(|line| line.points.iter().map(|(_, value)| *value)).fold(1.0, f64::max);
    for part in 0..=2 {
        let value = most * f64::from(part) / 2.0;
        let _ = write!(html, "<text x=4 y={:.1}>{value:.0}</text>", y(value, most) + 4.0);
    }
    for Line { sender, dashed, points } in lines {
        let colour = COLOURS.get(sender % COLOURS.len()).unwrap_or(&"#fff");
        let mut drawn = String::new();
        for (at, value) in points {
            let _ = write!(drawn, "{:.1},{:.1} ", x(record, *at), y(*value, most));
        }
        let dashes = if dashed { " stroke-dasharray=5" } else { "" };
        let _ = write!(
            html,
            "<polyline points='{drawn}' fill=none stroke='{colour}' stroke-width=1.2 stroke-opacity=.8{dashes} />"
        );
    }
    marks(html, record);
    let _ = write!(html, "</svg><p class=legend>");
    for (index, name) in record.names.iter().enumerate() {
        let colour = COLOURS.get(index % COLOURS.len()).unwrap_or(&"#fff");
        let _ = write!(html, "<span><i style='background:{colour}'></i>from {name}</span>");
    }
    let _ = write!(html, "</p>");
}
