//! What one participant hears and sees of another, measured at the place where it would be played.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use segue::{PlayedAudio, Playout, RemoteTrack, Room, Topology, TrackKind};
use segue_codec::counter;

use crate::cast::{AUDIO_INTERVAL, FRAME_INTERVAL};
use crate::record::{EdgeKey, Observed, Record};

/// RTP clock of audio, in ticks per millisecond.
const AUDIO_TICKS_PER_MS: u64 = 48;

/// How many counters back a repeated picture is recognised.
const REMEMBERED: usize = 64;

/// The record of the run and the moment it began.
#[derive(Clone)]
pub struct Notebook {
    record: Arc<Mutex<Record>>,
    started: Instant,
}

impl Notebook {
    pub fn new(record: Record) -> Self {
        Self { record: Arc::new(Mutex::new(record)), started: Instant::now() }
    }

    /// Seconds since the beginning.
    pub fn at(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Writes into the record.
    pub fn write<T>(&self, write: impl FnOnce(&mut Record, f64) -> T) -> T {
        let at = self.at();
        write(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner), at)
    }
}

/// The name of a topology as the report spells it.
pub fn name_of(topology: Topology) -> &'static str {
    match topology {
        Topology::Mesh => "mesh",
        Topology::Mixed => "mixed",
        Topology::Relayed => "relayed",
    }
}

/// Watches a track until it ends.
pub fn spawn(notebook: Notebook, room: Room, edge: EdgeKey, track: RemoteTrack) {
    match track.kind() {
        TrackKind::Audio => tokio::spawn(listen(notebook, room, edge, track)),
        TrackKind::Video => tokio::spawn(look(notebook, room, edge, track)),
    };
}

async fn listen(notebook: Notebook, room: Room, edge: EdgeKey, track: RemoteTrack) {
    let mut sounds = track.audio_frames();
    let mut last: Option<u64> = None;
    while let Some(PlayedAudio { frame, playout }) = sounds.next().await {
        if playout != Playout::Decoded {
            continue;
        }
        let time = frame.time.0;
        let gap = last.map_or(Duration::ZERO, |last| {
            Duration::from_millis(time.saturating_sub(last) / AUDIO_TICKS_PER_MS).saturating_sub(AUDIO_INTERVAL)
        });
        let doubled = last.is_some_and(|last| time <= last);
        last = Some(time);
        let topology = name_of(room.topology());
        notebook.write(|record, at| {
            record.heard(at, edge, topology);
            record.duplicates_played += u64::from(doubled);
            if gap > Duration::ZERO {
                record.observe(at, edge, Observed::AudioGap(gap));
            }
            worst(&mut record.edges.entry(edge).or_default().audio_gap_ms, at, gap);
        });
    }
}

async fn look(notebook: Notebook, room: Room, edge: EdgeKey, track: RemoteTrack) {
    let mut pictures = track.video_frames();
    let mut last: Option<(Instant, u32)> = None;
    let mut seen = std::collections::VecDeque::with_capacity(REMEMBERED);
    while let Some(picture) = pictures.next().await {
        let now = Instant::now();
        let Some((source, number)) = counter::read(&picture.picture) else { continue };
        if usize::from(source) != edge.0 {
            continue;
        }
        let doubled = seen.contains(&number);
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(number);
        let (gap, missed) = last.map_or((Duration::ZERO, 0), |(before, counter)| {
            ((now - before).saturating_sub(FRAME_INTERVAL), number.saturating_sub(counter).saturating_sub(1))
        });
        last = Some((now, number));
        if gap > FRAME_INTERVAL {
            tracing::debug!(?edge, number, missed, gap_ms = gap.as_millis() as u64, at = notebook.at(), "a picture came late");
        }
        let topology = name_of(room.topology());
        notebook.write(|record, at| {
            record.saw(at, edge, topology);
            record.duplicates_played += u64::from(doubled);
            record.observe(at, edge, Observed::VideoGap(gap, Some(number)));
            if missed > 0 {
                record.observe(at, edge, Observed::FramesMissed(missed));
            }
            worst(&mut record.edges.entry(edge).or_default().video_gap_ms, at, gap);
        });
    }
}

/// Keeps the worst value of each second.
fn worst(series: &mut Vec<(f64, f64)>, at: f64, gap: Duration) {
    let value = gap.as_secs_f64() * 1000.0;
    match series.last_mut() {
        Some((second, most)) if *second == at.floor() => *most = most.max(value),
        _ => series.push((at.floor(), value)),
    }
}
