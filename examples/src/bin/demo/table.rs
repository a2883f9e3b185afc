//! The live table in the terminal.

use std::fmt::Write as _;
use std::io::Write as _;

use segue::{Path, RoomStats};

/// One row: what one participant receives.
pub struct Row {
    pub name: String,
    pub topology: &'static str,
    /// (publisher's name, path) in the cast's order.
    pub paths: Vec<(String, Path)>,
    pub stats: RoomStats,
}

/// Draws the table over the one before it; on something that is no terminal it prints nothing but the last one.
pub struct Table {
    lines: usize,
    live: bool,
}

impl Table {
    pub fn new(live: bool) -> Self {
        Self { lines: 0, live }
    }

    pub fn draw(&mut self, second: f64, rows: &[Row]) {
        if !self.live {
            return;
        }
        let mut text = String::new();
        if self.lines > 0 {
            let _ = write!(text, "\x1b[{}A\x1b[J", self.lines);
        }
        let _ = writeln!(
            text,
            "{second:5.1} s  {:<8} {:<8} {:>9} {:>7} {:>8} {:>6}  hears and sees by",
            "who", "room", "receives", "loss", "frames", "gaps"
        );
        for row in rows {
            let kbps: u64 = row.stats.tracks.iter().map(|track| track.bitrate.as_kbps()).sum();
            let loss = row.stats.edges.iter().map(|edge| edge.loss).fold(0.0, f32::max);
            let frames: u64 = row.stats.tracks.iter().map(|track| track.decoded).sum();
            let gaps: u64 = row.stats.tracks.iter().map(|track| track.gaps).sum();
            let _ = write!(
                text,
                "         {:<8} {:<8} {kbps:>4} kbit/s {:>5.1} % {frames:>8} {gaps:>6}  ",
                row.name,
                row.topology,
                loss * 100.0
            );
            for (name, path) in &row.paths {
                let arrow = match path {
                    Path::Direct => "\x1b[32mdirect\x1b[0m",
                    Path::Relayed => "\x1b[34mrelay\x1b[0m",
                };
                let _ = write!(text, "{name} {arrow}  ");
            }
            let _ = writeln!(text);
        }
        self.lines = rows.len() + 1;
        let mut out = std::io::stderr().lock();
        let _shown = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
