//! A participant that publishes what can be recognised, and writes down what it gets.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use segue::{
    AudioSource, Channels, Error, IceOptions, Interfaces, ParticipantId, Path, RemoteTrack, Room, RoomEvent, RoomOptions,
    TrackKind, TrackOptions, TrackPublication, VideoOptions, VideoSource,
};
use segue_codec::source::{AudioSource as _, SyntheticSource, ToneSource, VideoSource as _};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::log::{Log, picture_source, tone_index};
use crate::relay::TestRelay;
use crate::wait::soon;

/// Who there is. The place in this list is what pictures and tones tell.
pub const NAMES: [&str; 6] = ["ada", "bob", "cyd", "dan", "eve", "fay"];

/// Small pictures: codecs of ten participants share the machine with everything else.
pub const SIZE: (u32, u32) = (320, 192);

/// Pictures per second.
pub(crate) const FRAME_RATE: f32 = 15.0;

/// Enough for every picture to be readable.
pub(crate) const MAX_KBPS: u32 = 250;

/// Between two frames of sound.
pub(crate) const AUDIO_INTERVAL: Duration = Duration::from_millis(20);

/// How a guest comes.
#[derive(Clone)]
pub struct Joining {
    /// Where to.
    pub url: String,
    /// What opens the door.
    pub token: String,
    /// Who, of [`NAMES`].
    pub name: &'static str,
    /// How.
    pub options: RoomOptions,
}

/// A participant of a test. Goes silently when dropped.
pub struct Guest {
    /// The room as the application sees it.
    pub room: Room,
    /// Identity.
    pub name: &'static str,
    /// What it noticed so far.
    pub log: Log,
    publications: Mutex<Vec<TrackPublication>>,
    tasks: Arc<Tasks>,
}

#[derive(Default)]
struct Tasks(Mutex<Vec<JoinHandle<()>>>);

impl Tasks {
    fn keep(&self, task: JoinHandle<()>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|task| task.abort());
    }
}

/// The place of a name in [`NAMES`].
#[must_use]
pub fn index_of(name: &str) -> u16 {
    NAMES.iter().position(|known| *known == name).unwrap_or(NAMES.len()) as u16
}

impl Joining {
    /// Into a room of a relay, over loopback.
    #[must_use]
    pub fn new(relay: &TestRelay, room: &str, name: &'static str) -> Self {
        let ice = IceOptions { interfaces: Interfaces::LoopbackOnly, ..IceOptions::default() };
        let options = RoomOptions { ice, ..RoomOptions::default() };
        Self { url: relay.url(), token: relay.token(room, name), name, options }
    }

    /// Knocks.
    ///
    /// # Errors
    /// As the SDK gives them.
    pub async fn attempt(self) -> Result<Guest, Error> {
        let room = soon("an answer to a join", Room::connect(&self.url, &self.token, self.options)).await?;
        let (log, tasks) = (Log::default(), Arc::new(Tasks::default()));
        tasks.keep(tokio::spawn(observe(room.clone(), log.clone(), tasks.clone())));
        Ok(Guest { room, name: self.name, log, publications: Mutex::default(), tasks })
    }
}

impl Guest {
    /// Joins.
    pub async fn join(relay: &TestRelay, room: &str, name: &'static str) -> Self {
        Joining::new(relay, room, name).attempt().await.expect("let in")
    }

    /// Joins and sends pictures and a tone.
    pub async fn join_and_publish(relay: &TestRelay, room: &str, name: &'static str) -> Self {
        let guest = Self::join(relay, room, name).await;
        guest.publish().await;
        guest
    }

    /// Sends pictures that count and a tone of its own.
    pub async fn publish(&self) {
        self.show().await.expect("permitted");
        self.sing().await.expect("permitted");
    }

    /// Sends pictures that count.
    ///
    /// # Errors
    /// As the SDK gives them.
    pub async fn show(&self) -> Result<TrackPublication, Error> {
        self.show_as(VideoOptions { max_kbps: MAX_KBPS, ..VideoOptions::new(SIZE.0, SIZE.1, FRAME_RATE) }).await
    }

    /// Sends pictures that count, as the test wishes.
    ///
    /// # Errors
    /// As the SDK gives them.
    pub async fn show_as(&self, options: VideoOptions) -> Result<TrackPublication, Error> {
        let (width, height, frame_rate) = (options.width, options.height, options.frame_rate);
        let source = VideoSource::new(options);
        let publication = self.publish_track(source.clone()).await?;
        let id = picture_source(index_of(self.name));
        let mut pictures = SyntheticSource::new(width, height, frame_rate, id).expect("a size pictures can have");
        self.tasks.keep(tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs_f32(1.0 / frame_rate));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // A pool that is empty for a moment costs a picture, not the test.
                if let Ok(frame) = pictures.next_frame() {
                    source.push(Arc::unwrap_or_clone(frame.picture));
                }
            }
        }));
        Ok(publication)
    }

    /// Sends a tone of its own.
    ///
    /// # Errors
    /// As the SDK gives them.
    pub async fn sing(&self) -> Result<TrackPublication, Error> {
        let source = AudioSource::new(Channels::Mono);
        let publication = self.publish_track(source.clone()).await?;
        let mut tone = ToneSource::of_participant(tone_index(index_of(self.name)));
        self.tasks.keep(tokio::spawn(async move {
            let mut ticks = interval(AUDIO_INTERVAL);
            loop {
                ticks.tick().await;
                source.push(&tone.next_frame().samples);
            }
        }));
        Ok(publication)
    }

    /// Runs something until the guest goes.
    pub(crate) fn keep(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.keep(tokio::spawn(work));
    }

    pub(crate) async fn publish_track(&self, source: impl Into<segue::LocalTrack>) -> Result<TrackPublication, Error> {
        let local = self.room.local_participant();
        let publication = soon("a publication", local.publish(source, TrackOptions::default())).await?;
        self.publications.lock().unwrap_or_else(PoisonError::into_inner).push(publication.clone());
        Ok(publication)
    }

    /// Its number in the room.
    #[must_use]
    pub fn id(&self) -> ParticipantId {
        self.room.local_participant().id()
    }

    /// What it publishes of a kind.
    #[must_use]
    pub fn publication(&self, kind: TrackKind) -> TrackPublication {
        let publications = self.publications.lock().unwrap_or_else(PoisonError::into_inner);
        publications.iter().find(|publication| publication.kind() == kind).expect("published").clone()
    }

    /// What somebody else publishes of a kind, as soon as it does.
    pub async fn track(&self, of: &str, kind: TrackKind) -> RemoteTrack {
        let find = || {
            let who = self.room.participants().into_iter().find(|participant| participant.identity() == of)?;
            who.tracks().into_iter().find(|track| track.kind() == kind)
        };
        soon("a publication of somebody else", async {
            loop {
                if let Some(track) = find() {
                    return track;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    /// Edges to and from somebody whose path is another, with the reason.
    #[must_use]
    pub fn edges_not_on(&self, path: Path, other: &Self) -> Vec<String> {
        let id = other.id();
        let edges: Vec<_> = self.room.path_info();
        let of_pair = || edges.iter().filter(|info| info.edge.publisher == id || info.edge.subscriber == id);
        let wrong = of_pair().filter(|info| info.path != path || !info.active || info.moving);
        let mut wrong: Vec<_> = wrong.map(|info| format!("at {}: {info:?}", self.name)).collect();
        if of_pair().count() < 2 {
            wrong.push(format!("{} knows {} of the edges with {}", self.name, of_pair().count(), other.name));
        }
        wrong
    }

    /// Leaves properly.
    pub async fn leave(self) {
        soon("leaving", self.room.leave()).await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

/// Writes everything down, and watches and listens to every track from its publication on.
async fn observe(room: Room, log: Log, tasks: Arc<Tasks>) {
    let mut events = room.events();
    drop(room);
    while let Some(event) = events.next().await {
        if let RoomEvent::TrackPublished { participant, track } = &event {
            let name = participant.identity().to_owned();
            log.note_track(&name, track.kind());
            tasks.keep(match track.kind() {
                TrackKind::Video => tokio::spawn(watch(track.clone(), name, log.clone())),
                TrackKind::Audio => tokio::spawn(listen(track.clone(), name, log.clone())),
            });
        }
        log.note_event(event);
    }
}

async fn watch(track: RemoteTrack, name: String, log: Log) {
    let (mut pictures, index) = (track.video_frames(), index_of(&name));
    while let Some(frame) = pictures.next().await {
        log.note_picture(&name, index, &frame);
    }
}

async fn listen(track: RemoteTrack, name: String, log: Log) {
    let (mut sounds, index) = (track.audio_frames(), index_of(&name));
    while let Some(sound) = sounds.next().await {
        log.note_sound(&name, index, &sound);
    }
}
