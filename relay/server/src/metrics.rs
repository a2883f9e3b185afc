//! Figures for Prometheus: a fixed set of atomics, written where things happen and read by `/metrics`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use segue_wire::proto::{ErrorCode, LeaveReason, Path, Topology};

use crate::media_plane::Sample;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Some more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// So far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Up or down.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    /// Now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Codes and reasons are small numbers; what lies beyond is counted as the first.
const CODES: usize = 32;

/// What a room may have become, as its label.
const TOPOLOGIES: [(Topology, &str); 3] =
    [(Topology::Mesh, "mesh"), (Topology::Mixed, "mixed"), (Topology::Relayed, "relayed")];

/// By which path an edge may go, as its label.
const PATHS: [(Path, &str); 3] = [(Path::Direct, "direct"), (Path::Relayed, "relayed"), (Path::Both, "both")];

/// What the control plane counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Open signalling connections.
    pub connections: Gauge,
    /// Rooms with somebody in them, or just left.
    pub rooms: Gauge,
    /// Participants in rooms, lost connections included.
    pub participants: Gauge,
    /// Tracks published.
    pub tracks: Gauge,
    /// Sessions begun.
    pub joins: Counter,
    /// Sessions continued on a new connection.
    pub resumes: Counter,
    /// Frames received.
    pub frames_in: Counter,
    /// Frames sent.
    pub frames_out: Counter,
    /// TLS handshakes and HTTP requests that failed.
    pub http_failures: Counter,
    /// Connections refused because the relay has its full number.
    pub refused_full: Counter,
    /// Connections refused because their address has its share.
    pub refused_share: Counter,
    /// Offers over HTTP (WHIP, WHEP) that were refused.
    pub offers_refused: Counter,
    /// Changes of topology decided.
    pub handovers_begun: Counter,
    /// Of those, given up.
    pub handovers_aborted: Counter,
    /// From decision to commit, all changes together.
    pub handover_ms: Counter,
    /// Changes of topology committed, by what the room became.
    pub handovers: [Counter; TOPOLOGIES.len()],
    /// Edges that said by which path they go, by path.
    pub edges: [Counter; PATHS.len()],
    /// Errors sent to clients, by code.
    pub errors: [Counter; CODES],
    /// Sessions ended, by reason.
    pub goodbyes: [Counter; CODES],
}

impl Metrics {
    /// An error was sent to a client.
    pub fn count_error(&self, code: ErrorCode) {
        self.errors[index(code as i32)].increment();
    }

    /// A room came to be this.
    pub fn count_handover(&self, topology: Topology) {
        let counters = TOPOLOGIES.iter().zip(&self.handovers).filter(|((known, _), _)| *known == topology);
        counters.for_each(|(_, counter)| counter.increment());
    }

    /// An edge goes by this from now on.
    pub fn count_edge(&self, path: Path) {
        let counters = PATHS.iter().zip(&self.edges).filter(|((known, _), _)| *known == path);
        counters.for_each(|(_, counter)| counter.increment());
    }

    /// A session ended.
    pub fn count_goodbye(&self, reason: LeaveReason) {
        self.goodbyes[index(reason as i32)].increment();
    }

    /// The text form of Prometheus, version 0.0.4, with the media plane's samples after our own.
    #[must_use]
    pub fn render(&self, media: &[Sample]) -> String {
        let mut out = String::new();
        for (name, help, gauge) in [
            ("connections", "open signalling connections", &self.connections),
            ("rooms", "rooms open", &self.rooms),
            ("participants", "participants in rooms", &self.participants),
            ("tracks", "tracks published", &self.tracks),
        ] {
            head(&mut out, name, help, "gauge");
            let _ = writeln!(out, "segue_{name} {}", gauge.get());
        }
        for (name, help, counter) in [
            ("joins_total", "sessions begun", &self.joins),
            ("resumes_total", "sessions continued on a new connection", &self.resumes),
            ("signalling_frames_received_total", "signalling frames received", &self.frames_in),
            ("signalling_frames_sent_total", "signalling frames sent", &self.frames_out),
            ("http_failures_total", "connections that failed before a request was served", &self.http_failures),
            ("connections_refused_full_total", "connections refused: the relay has its full number", &self.refused_full),
            ("offers_refused_total", "offers of WHIP and WHEP clients refused", &self.offers_refused),
            ("connections_refused_share_total", "connections refused: their address has its share", &self.refused_share),
            ("handovers_begun_total", "changes between mesh and relay decided", &self.handovers_begun),
            ("handovers_aborted_total", "of those, given up", &self.handovers_aborted),
            ("handover_milliseconds_total", "from decision to commit, all changes together", &self.handover_ms),
        ] {
            head(&mut out, name, help, "counter");
            let _ = writeln!(out, "segue_{name} {}", counter.get());
        }
        head(&mut out, "handovers_total", "changes between mesh and relay committed, by what the room became", "counter");
        for ((_, label), counter) in TOPOLOGIES.iter().zip(&self.handovers) {
            let _ = writeln!(out, "segue_handovers_total{{to=\"{label}\"}} {}", counter.get());
        }
        head(&mut out, "edge_paths_total", "edges told to go by a path (both: while they move), by path", "counter");
        for ((_, label), counter) in PATHS.iter().zip(&self.edges) {
            let _ = writeln!(out, "segue_edge_paths_total{{path=\"{label}\"}} {}", counter.get());
        }
        head(&mut out, "errors_total", "errors sent to clients, by code", "counter");
        for (number, counter) in self.errors.iter().enumerate().filter(|(_, counter)| counter.get() > 0) {
            let code = ErrorCode::try_from(number as i32).unwrap_or(ErrorCode::Unspecified);
            let label = code.as_str_name().trim_start_matches("ERROR_CODE_").to_lowercase();
            let _ = writeln!(out, "segue_errors_total{{code=\"{label}\"}} {}", counter.get());
        }
        head(&mut out, "sessions_ended_total", "sessions ended, by reason", "counter");
        for (number, counter) in self.goodbyes.iter().enumerate().filter(|(_, counter)| counter.get() > 0) {
            let reason = LeaveReason::try_from(number as i32).unwrap_or(LeaveReason::Unspecified);
            let label = reason.as_str_name().trim_start_matches("LEAVE_REASON_").to_lowercase();
            let _ = writeln!(out, "segue_sessions_ended_total{{reason=\"{label}\"}} {}", counter.get());
        }
        render_samples(&mut out, media);
        out
    }
}

fn index(code: i32) -> usize {
    usize::try_from(code).ok().filter(|&code| code < CODES).unwrap_or(0)
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP segue_{name} {help}\n# TYPE segue_{name} {kind}");
}

fn render_samples(out: &mut String, samples: &[Sample]) {
    // One head per name, however many shards have samples of it.
    let mut sorted: Vec<_> = samples.iter().collect();
    sorted.sort_by_key(|sample| sample.name);
    let mut last = "";
    for sample in sorted {
        if sample.name != last {
            head(out, sample.name, sample.help, if sample.name.ends_with("_total") { "counter" } else { "gauge" });
            last = sample.name;
        }
        let labels: Vec<_> = sample.labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(out, "segue_{}{labels} {}", sample.name, sample.value);
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_names_labels_and_values() {
        let metrics = Metrics::default();
        metrics.joins.increment();
        metrics.count_error(ErrorCode::RoomFull);
        let sample = |reason: &str| Sample {
            name: "packets_dropped_total",
            help: "packets dropped",
            labels: vec![("reason", reason.to_owned())],
            value: 3.0,
        };
        let text = metrics.render(&[sample("replayed"), sample("a\"b")]);
        assert!(text.contains("segue_joins_total 1\n"), "{text}");
        assert!(text.contains("segue_errors_total{code=\"room_full\"} 1\n"), "{text}");
        assert!(text.contains("segue_packets_dropped_total{reason=\"replayed\"} 3\n"), "{text}");
        assert!(text.contains("{reason=\"a\\\"b\"} 3\n"), "{text}");
        assert_eq!(text.matches("# TYPE segue_packets_dropped_total counter").count(), 1);
    }
}
