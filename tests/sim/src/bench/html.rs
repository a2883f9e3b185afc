//! `handover.html`: the same figures for people, with how they were come by.

use std::fmt::Write as _;

use serde_json::Value;

use super::compare::Measured;
use super::report::Run;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#222}table{border-collapse:\
collapse;font-size:13px}td,th{border-bottom:1px solid #ddd;padding:.25em .7em;text-align:right}td:first-child,th:first-child{text-align:\
left}.no{color:#b00020;font-weight:600}.yes{color:#1b6e3a}svg{display:block;margin:.5em 0 1.5em}code{background:#f3f3f3;padding:.1em .3em}";

const METHOD: &str = "<h2>Method</h2><p>Every seed draws a room (2 to 8 people who are measured, and those whose coming or leaving moves it), \
a direction and a condition class, and is run twice in virtual time: once under a relay that moves the room, once, the twin, under one that is \
configured not to. What decides in both is the code that ships; made up are the network, ICE and DTLS (a transport is up after a stated number \
of round trips), and the codecs (frames carry their number).</p><p>A media packet has the same fate in both runs whatever path it takes: loss and \
jitter are functions of the seed, the captured frame and the packet's place in it, its receiver and which retransmission it is. All that is \
sent obeys the estimator that ships, so rates and frame sizes may differ between the two; which frames are hit does not. The class <code>hops</code> draws them per \
hop instead, so that its twin loses other packets.</p><ul><li><b>Audio gap</b>: the longest run of frames that the twin played and this run did \
not, from the room's decision to 3 s after the last edge has moved, for each pair of participants; runs of which nothing moved are counted apart.</li><li><b>Audio hole</b>: the longest time \
without anything to play, less that of the twin: a playout that is held would leave out no frame and still be heard.</li><li><b>Video gap</b>: \
the longest excess of the interval between two pictures shown over that between their captures, less the twin's, for each track; a freeze is one of 150 ms, or of two frames where those are longer.</li><li><b>Frames lost</b>: \
frames of video the twin showed and this run did not.</li><li><b>Overlap cost</b>: bytes of the frames captured between the first edge \
in overlap and the last, on all legs of a participant and with all repairs, over those of the same frames in the twin, for the participant it costs \
most; without frames that are keyframes in either run, which a newcomer costs in both.</li>\
<li><b>Outage</b>: after a relay was killed, an edge cut or a network lost, the longest silence of an edge; no twin.</li><li><b>Quality</b>: \
bytes of each picture played from 1 to 3 s after the last commit, over those of the twin; judged for each class and direction.</li><li><b>Migration</b>: from the room's decision to \
the last commit, less ten times the difference of paths for which playout is stretched. <code>16</code>: eight more join a mesh of eight at \
once, and the eight move.</li><li><b>Churn</b>: one joins or leaves every second for ten minutes.</li></ul><p>The gaps of the \
summary and of G1 to G4 are those of the classes these goals speak of: loss up to 5 %, path differences up to 150 ms. Every other class has its \
line below.</p><h2>Again</h2><p><code>cargo xtask bench handover --seeds 1000 --json</code>, one seed with <code>--seeds 1 --seed-base S \
--each</code>, one class with <code>--class NAME</code>, other conditions with <code>--loss P --burst --jitter MS --path-diff MS \
--participants N --scenario FILE</code>. The same seed gives the same figures on any machine.</p>";

fn cell(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{name} {}", cell(value))).collect::<Vec<_>>().join(", ")
        }
        Value::String(text) => text.replace('&', "&amp;").replace('<', "&lt;"),
        other => other.to_string(),
    }
}

fn table(out: &mut String, rows: &[&Value]) {
    let Some(names) = rows.first().and_then(|row| row.as_object()) else { return };
    let names: Vec<_> = names.keys().filter(|name| *name != "kind").cloned().collect();
    let _ = write!(out, "<table><tr>{}</tr>", names.iter().map(|name| format!("<th>{name}</th>")).collect::<String>());
    for row in rows {
        let class = match row.get("met") {
            Some(Value::Bool(true)) => " class=yes",
            Some(Value::Bool(false)) => " class=no",
            _ => "",
        };
        let cells: String =
            names.iter().map(|name| format!("<td>{}</td>", cell(row.get(name).unwrap_or(&Value::Null)))).collect();
        let _ = write!(out, "<tr{class}>{cells}</tr>");
    }
    out.push_str("</table>");
}

/// Bars of how often each value came, the height in powers of ten so that one in ten thousand is seen.
fn histogram(out: &mut String, title: &str, values: &[f64], step: f64) {
    const BARS: usize = 30;
    let mut counts = [0usize; BARS];
    for value in values {
        counts[((value / step).round().max(0.0) as usize).min(BARS - 1)] += 1;
    }
    let _ = write!(out, "<h3>{title}</h3><svg width=760 height=170 role=img aria-label=\"{title}\">");
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = ((*count as f64).log10() + 1.0) * 24.0;
        let (x, y) = (at * 25 + 5, 140.0 - height);
        let _ = write!(
            out,
            "<rect x={x} y={y:.0} width=20 height={height:.0} fill=\"#37a\"/><text x={x} y={:.0} font-size=9>{count}</text>",
            y - 3.0
        );
    }
    for at in (0..BARS).step_by(3) {
        let _ = write!(out, "<text x={} y=156 font-size=10>{:.0}</text>", at * 25 + 5, at as f64 * step);
    }
    out.push_str("</svg>");
}

/// The whole page, of the lines printed and the runs they are of.
pub fn page(lines: &[String], runs: &[Run]) -> String {
    let values: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |kind: &str| values.iter().filter(|value| value["kind"] == kind).collect::<Vec<_>>();
    let mut out = format!(
        "<!doctype html><meta charset=utf-8><title>Handover</title><style>{STYLE}</style><h1>Handover in virtual time</h1>"
    );
    let _ = write!(out, "<p>{} comparisons.</p><h2>Goals</h2>", runs.len());
    table(&mut out, &of("handover_goal"));
    out.push_str("<h2>Condition classes</h2>");
    table(&mut out, &of("handover_class"));
    out.push_str("<h2>Distributions</h2><p>Counts of edges; the height of a bar is the logarithm. What is beyond the last bar is in it.</p>");
    let gated = || runs.iter().filter(|(trial, _)| trial.class.is_gated());
    let all = |of: &dyn Fn(&Measured) -> Vec<f64>| {
        gated().filter(|(_, measured)| measured.committed).flat_map(|(_, measured)| of(measured)).collect::<Vec<_>>()
    };
    histogram(&mut out, "Audio gap, ms", &all(&|m| m.audio_gaps.clone()), 20.0);
    histogram(&mut out, "Audio hole, ms", &all(&|m| m.holes.clone()), 20.0);
    histogram(&mut out, "Video gap, ms", &all(&|m| m.video_gaps.clone()), 10.0);
    histogram(&mut out, "Frames of video lost", &all(&|m| m.frames_lost.clone()), 1.0);
    histogram(
        &mut out,
        "From the decision to the last commit, beyond stretching, ms",
        &all(&|m| m.migrate_ms.into_iter().collect()),
        50.0,
    );
    let apart: Vec<f64> = runs.iter().flat_map(|(_, m)| m.audio_outage.clone()).collect();
    histogram(&mut out, "Silence after a kill, a cut or a lost network, ms", &apart, 50.0);
    out.push_str(METHOD);
    out.push_str("<h2>Summary line</h2>");
    for line in lines.iter().filter(|line| line.starts_with("{\"kind\":\"handover\",")) {
        let _ = write!(out, "<pre style=\"white-space:pre-wrap\">{}</pre>", line.replace('<', "&lt;"));
    }
    out
}
