//! The cast: one participant with a voice and a camera, both paced by the clock.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use segue::{AudioSource, Channels, LocalTrack, Room, RoomOptions, TrackOptions, VideoOptions, VideoSource};
use segue_codec::source::{self, Found};

/// Pictures of the demo: 640 wide, 25 a second.
pub const WIDTH: u32 = 640;
pub const FRAME_RATE: f32 = 25.0;

/// Between two pictures.
pub const FRAME_INTERVAL: Duration = Duration::from_millis(40);

/// Between two audio frames.
pub const AUDIO_INTERVAL: Duration = Duration::from_millis(20);

/// A capture later than this did not keep its deadline: the machine was too busy for the figures to mean anything.
const DEADLINE: Duration = Duration::from_millis(100);

/// Names of the cast, in order of appearance.
pub const NAMES: [&str; 5] = ["Ada", "Blaise", "Chien", "Dora", "Emmy"];

/// One of the cast, in the room.
pub struct Participant {
    pub index: usize,
    pub room: Room,
    stop: Arc<AtomicBool>,
    captures: Vec<tokio::task::JoinHandle<()>>,
}

impl Participant {
    /// Joins and publishes. The id stamped into the pictures is the place in the cast.
    pub async fn join(stage: &Stage, index: usize) -> Result<Self, segue::Error> {
        let name = NAMES.get(index).copied().unwrap_or("guest");
        let options = RoomOptions { name: name.to_owned(), ..RoomOptions::default() };
        let room = Room::connect(&stage.url, &stage.token(name), options).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut participant = Self { index, room, stop, captures: Vec::new() };
        participant.publish_voice(stage).await?;
        participant.publish_camera(stage).await?;
        Ok(participant)
    }

    /// Leaves and stops capturing.
    pub async fn leave(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.room.leave().await;
        for capture in self.captures {
            let _ended = capture.await;
        }
    }

    async fn publish_voice(&mut self, stage: &Stage) -> Result<(), segue::Error> {
        let Found { mut source, real, description } = source::speech(self.index as u32);
        stage.note_source("voice", real, &description);
        let track = AudioSource::new(Channels::Mono);
        self.room.local_participant().publish(LocalTrack::from(track.clone()), TrackOptions::default()).await?;
        let (stop, late) = (self.stop.clone(), stage.deadlines_missed.clone());
        self.captures.push(tokio::task::spawn_blocking(move || {
            pace(&stop, &late, AUDIO_INTERVAL, || {
                track.push(&source.next_frame().samples);
            });
        }));
        Ok(())
    }

    async fn publish_camera(&mut self, stage: &Stage) -> Result<(), segue::Error> {
        let id = self.index as u16;
        let clip = stage.clips.get(self.index % stage.clips.len().max(1)).map(PathBuf::as_path);
        let found = source::video(clip, (WIDTH, 360), FRAME_RATE, id).map_err(|_| segue::Error::NoTrack)?;
        let Found { mut source, real, description } = found;
        stage.note_source("camera", real, &description);
        let (width, height) = source.size();
        let track = VideoSource::new(VideoOptions::new(width, height, FRAME_RATE));
        self.room.local_participant().publish(LocalTrack::from(track.clone()), TrackOptions::default()).await?;
        let (stop, late) = (self.stop.clone(), stage.deadlines_missed.clone());
        self.captures.push(tokio::task::spawn_blocking(move || {
            pace(&stop, &late, FRAME_INTERVAL, || {
                // The source stamps its counter; a picture that cannot be had is a missed one.
                if let Ok(frame) = source.next_frame() {
                    track.push_frame(frame);
                }
            });
        }));
        Ok(())
    }
}

/// Calls `capture` once per interval by the clock until stopped.
fn pace(stop: &AtomicBool, late: &AtomicU64, interval: Duration, mut capture: impl FnMut()) {
    let started = Instant::now();
    for number in 0u32.. {
        let due = started + interval * number;
        let now = Instant::now();
        if now > due + DEADLINE {
            late.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(due.saturating_duration_since(now));
        if stop.load(Ordering::Relaxed) {
            return;
        }
        capture();
    }
}

/// What everybody of the cast shares.
pub struct Stage {
    pub url: String,
    pub clips: Vec<PathBuf>,
    pub deadlines_missed: Arc<AtomicU64>,
    pub sources: std::sync::Mutex<Vec<String>>,
    tokens: Box<dyn Fn(&str) -> String + Send + Sync>,
}

impl Stage {
    /// A relay at `url` that takes what `tokens` makes; clips are looked for in `media`.
    pub fn new(url: String, media: Option<&Path>, tokens: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let mut clips: Vec<PathBuf> = media
            .and_then(|folder| std::fs::read_dir(folder).ok())
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        clips.retain(|path| path.extension().is_some_and(|extension| extension == "y4m"));
        clips.sort();
        Self { url, clips, deadlines_missed: Arc::default(), sources: std::sync::Mutex::default(), tokens: Box::new(tokens) }
    }

    /// Pictures after which the clip of one of the cast begins again; none where its pictures are drawn.
    pub fn loops(&self) -> std::collections::BTreeMap<usize, u32> {
        let period = |index: usize| pictures_in(self.clips.get(index % self.clips.len().max(1))?);
        (0..NAMES.len()).filter_map(|index| Some((index, period(index)?))).collect()
    }

    fn token(&self, identity: &str) -> String {
        (self.tokens)(identity)
    }

    fn note_source(&self, what: &str, real: bool, description: &str) {
        let line = format!("{what}: {description}{}", if real { "" } else { " (synthetic)" });
        if let Ok(mut sources) = self.sources.lock()
            && !sources.contains(&line)
        {
            sources.push(line);
        }
    }
}

/// Pictures in a clip: a line that says how large they are, then each behind a line of its own, at 12 bits a pixel.
fn pictures_in(clip: &Path) -> Option<u32> {
    const MARK: u64 = "FRAME\n".len() as u64;
    let mut head = String::new();
    BufReader::new(File::open(clip).ok()?).read_line(&mut head).ok()?;
    let side = |letter: char| head.split(' ').find_map(|word| word.strip_prefix(letter)?.trim().parse::<u64>().ok());
    let picture = side('W')? * side('H')? * 3 / 2 + MARK;
    let pictures = (std::fs::metadata(clip).ok()?.len() - head.len() as u64) / picture;
    u32::try_from(pictures).ok().filter(|pictures| *pictures > 0)
}
