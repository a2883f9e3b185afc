//! A participant of a run: real codecs, a voice of bursts and pictures that count, paced by the clock.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use segue::{
    AudioSource, Channels, Edge, IceOptions, Interfaces, Path, Reliability, Room, RoomEvent, RoomOptions, Topology, TrackKind,
    TrackOptions, VideoOptions, VideoSource,
};
use segue_codec::source::{SyntheticSource, VideoSource as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::record::Record;
use super::signal::Bursts;
use crate::fabric::{Fabric, Source};

/// The cast. A place in it is what pictures carry.
pub const NAMES: [&str; 8] = ["ada", "bob", "cyd", "dan", "eve", "fay", "gil", "hal"];

/// Small pictures: codecs of a whole room share one machine.
const SIZE: (u32, u32) = (320, 192);

/// Pictures per second.
const FRAME_RATE: u32 = 25;

/// Enough for every picture to be readable, in kbit/s.
const MAX_KBPS: u32 = 400;

/// Distance of two frames.
pub const fn interval(kind: TrackKind) -> Duration {
    match kind {
        TrackKind::Audio => Duration::from_millis(20),
        TrackKind::Video => Duration::from_millis(1_000 / FRAME_RATE as u64),
    }
}

/// Ticks of the RTP clock between two frames.
pub const fn ticks(kind: TrackKind) -> u32 {
    match kind {
        TrackKind::Audio => 960,
        TrackKind::Video => 90_000 / FRAME_RATE,
    }
}

/// A capture later than this did not keep its deadline: the machine was too busy for the figures to mean anything.
const DEADLINE: Duration = Duration::from_millis(100);

/// How long joining or publishing may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What reliable messages are sent under.
const TOPIC: &str = "count";

/// What the room told.
#[derive(Clone, Debug)]
pub enum Told {
    /// Somebody came.
    Joined(usize),
    /// Somebody went.
    Left,
    /// An edge moved.
    Path(Edge, Path),
    /// The room moved.
    Topology(Topology),
    /// A reliable message came: from whom, its number.
    Message(usize, u32),
}

/// What was told, and when.
type Telling = Arc<Mutex<Vec<(Instant, Told)>>>;

/// One of the cast, in the room.
pub struct Caller {
    pub at: usize,
    pub room: Room,
    pub record: Record,
    told: Telling,
    /// Published, not yet capturing.
    devices: Option<(AudioSource, VideoSource)>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Caller {
    /// Joins.
    ///
    /// # Errors
    /// In words.
    pub async fn join(at: usize, server: SocketAddr, token: &str, fabric: &Fabric) -> Result<Self, String> {
        let options = RoomOptions {
            ice: IceOptions { interfaces: Interfaces::LoopbackOnly, ..IceOptions::default() },
            candidates: Some(fabric.candidates_of(at)),
            ..RoomOptions::default()
        };
        let url = format!("ws://{server}/v1/connect");
        let joining = timeout(PATIENCE, Room::connect(&url, token, options)).await;
        let room = joining.map_err(|_| format!("{} waits for an answer", NAMES[at]))?.map_err(|error| error.to_string())?;
        let (record, told) = (Record::default(), Telling::default());
        let tasks = vec![tokio::spawn(observe(room.clone(), record.clone(), told.clone()))];
        Ok(Self { at, room, record, told, devices: None, stop: Arc::default(), tasks })
    }

    /// Publishes a voice and a camera, which wait for [`Caller::begin`]. Gives the tracks.
    ///
    /// # Errors
    /// In words.
    pub async fn publish(&mut self) -> Result<Vec<(u16, TrackKind, Source)>, String> {
        let local = self.room.local_participant();
        let voice = AudioSource::new(Channels::Mono);
        let options = VideoOptions { max_kbps: MAX_KBPS, ..VideoOptions::new(SIZE.0, SIZE.1, FRAME_RATE as f32) };
        let camera = VideoSource::new(options);
        let published = async {
            local.publish(voice.clone(), TrackOptions::default()).await?;
            local.publish(camera.clone(), TrackOptions::default()).await
        };
        timeout(PATIENCE, published).await.map_err(|_| "a publication waits")?.map_err(|error| error.to_string())?;
        self.devices = Some((voice, camera));
        let stats = self.room.stats().await.map_err(|error| error.to_string())?;
        let source = |base, kind| Source { base, ticks: ticks(kind) };
        let tracks = stats.publications.iter().map(|sent| (sent.track.0, sent.kind, source(sent.timestamp_base, sent.kind)));
        Ok(tracks.collect())
    }

    /// Captures from `start` on.
    pub fn begin(&mut self, start: Instant, late: &Arc<AtomicU64>) {
        let Some((voice, camera)) = self.devices.take() else { return };
        let mut bursts = Bursts::default();
        self.pace(start, TrackKind::Audio, late, move || {
            voice.push(&bursts.next_frame());
        });
        let pictures = SyntheticSource::new(SIZE.0, SIZE.1, FRAME_RATE as f32, self.at as u16);
        let mut pictures = pictures.expect("a size pictures can have");
        self.pace(start, TrackKind::Video, late, move || {
            if let Ok(picture) = pictures.next_frame() {
                camera.push_frame(picture);
            }
        });
    }

    /// Sends a number to everybody, reliably; false where it is not taken.
    pub async fn say(room: &Room, number: u32) -> bool {
        room.send_data(TOPIC, number.to_be_bytes().to_vec(), Reliability::Reliable).await.is_ok()
    }

    /// Numbers that came from somebody, in the order they came.
    #[must_use]
    pub fn messages_of(&self, speaker: usize) -> Vec<u32> {
        let told = self.told();
        let numbers = told.iter().filter_map(|(_, told)| match told {
            Told::Message(from, number) if *from == speaker => Some(*number),
            _ => None,
        });
        numbers.collect()
    }

    /// What the room told so far.
    #[must_use]
    pub fn told(&self) -> Vec<(Instant, Told)> {
        lock(&self.told).clone()
    }

    /// Captures until the caller goes, by the clock.
    fn pace(&mut self, start: Instant, kind: TrackKind, late: &Arc<AtomicU64>, mut capture: impl FnMut() + Send + 'static) {
        let (stop, late) = (self.stop.clone(), late.clone());
        self.tasks.push(tokio::task::spawn_blocking(move || {
            for number in 0_u32.. {
                let due = start + interval(kind) * number;
                let now = Instant::now();
                late.fetch_add(u64::from(now > due + DEADLINE), Ordering::Relaxed);
                std::thread::sleep(due.saturating_duration_since(now));
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                capture();
            }
        }));
    }

    /// Leaves properly.
    pub async fn leave(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = timeout(PATIENCE, self.room.leave()).await;
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Writes everything down from its publication on.
async fn observe(room: Room, record: Record, told: Telling) {
    let mut events = room.events();
    let place = |identity: &str| NAMES.iter().position(|name| *name == identity);
    let mut followed = Vec::new();
    while let Some(event) = events.next().await {
        let now = Instant::now();
        let news = match event {
            RoomEvent::TrackPublished { participant, track } => {
                if let Some(speaker) = place(participant.identity()) {
                    followed.push(record.follow(speaker, &track));
                }
                None
            }
            RoomEvent::ParticipantJoined(participant) => place(participant.identity()).map(Told::Joined),
            RoomEvent::ParticipantLeft { .. } => Some(Told::Left),
            RoomEvent::PathChanged { edge, path, .. } => Some(Told::Path(edge, path)),
            RoomEvent::TopologyChanged { to, .. } => Some(Told::Topology(to)),
            RoomEvent::DataReceived { from, topic, payload, .. } if topic == TOPIC => {
                let speaker = room.participant(from).and_then(|participant| place(participant.identity()));
                let number = payload.get(..4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
                speaker.zip(number).map(|(speaker, number)| Told::Message(speaker, number))
            }
            _ => None,
        };
        if let Some(news) = news {
            lock(&told).push((now, news));
        }
    }
}
