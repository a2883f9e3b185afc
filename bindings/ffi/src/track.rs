//! Tracks of others.

use std::sync::Arc;

use crate::audio::AudioStream;
use crate::encoded::EncodedStream;
use crate::error::CallError;
use crate::quality::{Quality, VideoEncoding};
use crate::queue::ReadyListener;
use crate::runtime;
use crate::stats::TrackStats;
use crate::video::VideoStream;

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum TrackKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// Where a track comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum TrackSource {
    /// A microphone.
    Microphone,
    /// A camera.
    Camera,
    /// A shared screen.
    Screen,
    /// The sound of a shared screen.
    ScreenAudio,
}

/// A track as it is now.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct TrackInfo {
    /// Given by the room, and again only long after the track is gone.
    pub id: u32,
    /// Who publishes it.
    pub participant: u32,
    /// Audio or video.
    pub kind: TrackKind,
    /// What it shows or sounds.
    pub source: TrackSource,
    /// The publisher's name for it.
    pub name: String,
    /// Silenced by its publisher.
    pub muted: bool,
    /// Unpublished, or its publisher left.
    pub ended: bool,
    /// Largest first; none for audio.
    pub encodings: Vec<VideoEncoding>,
}

/// A track of somebody else: the same from publication to end, whatever path it takes. What UniFFI hands out for it may be another object
/// each time; [`RemoteTrack::id`] says which track it is.
#[derive(uniffi::Object)]
pub struct RemoteTrack {
    track: segue::RemoteTrack,
}

impl RemoteTrack {
    pub(crate) fn new(track: segue::RemoteTrack) -> Arc<Self> {
        Arc::new(Self { track })
    }

    fn require(&self, kind: segue::TrackKind) -> Result<(), CallError> {
        if self.track.kind() == kind {
            return Ok(());
        }
        let (is, asked) = match kind {
            segue::TrackKind::Audio => ("video", "sound"),
            segue::TrackKind::Video => ("audio", "pictures"),
        };
        Err(CallError::argument("kind", format!("track {} is {is}: it has no {asked}", self.track.id().0)))
    }
}

#[uniffi::export]
impl RemoteTrack {
    /// Given by the room, and again only long after the track is gone.
    pub fn id(&self) -> u32 {
        u32::from(self.track.id().0)
    }

    /// Audio or video.
    pub fn kind(&self) -> TrackKind {
        self.track.kind().into()
    }

    /// Everything that is known of it now.
    pub fn info(&self) -> TrackInfo {
        TrackInfo {
            id: self.id(),
            participant: self.track.participant().0,
            kind: self.kind(),
            source: self.track.source().into(),
            name: self.track.name().to_owned(),
            muted: self.track.is_muted(),
            ended: self.track.has_ended(),
            encodings: self.track.encodings().iter().map(Into::into).collect(),
        }
    }

    /// Whether the track is to be sent here at all.
    pub fn set_subscribed(&self, subscribed: bool) {
        self.track.set_subscribed(subscribed);
    }

    /// The most that is wanted of the track.
    pub fn set_quality(&self, quality: Quality) {
        self.track.set_quality(quality.into());
    }

    /// Asks for a keyframe, for decoders of the application's own.
    pub fn request_keyframe(&self) {
        self.track.request_keyframe();
    }

    /// Decoded pictures from now on, of which at most `max_queue` wait: the newest win. Nothing is decoded while nobody asks.
    pub fn video_frames(&self, max_queue: u32, listener: Arc<dyn ReadyListener>) -> Result<Arc<VideoStream>, CallError> {
        self.require(segue::TrackKind::Video)?;
        VideoStream::new(self.track.video_frames(), max_queue, listener)
    }

    /// Decoded sound from now on, 20 ms at a time, losses made up for, of which at most `max_queue` frames wait.
    pub fn audio_frames(&self, max_queue: u32, listener: Arc<dyn ReadyListener>) -> Result<Arc<AudioStream>, CallError> {
        self.require(segue::TrackKind::Audio)?;
        AudioStream::new(self.track.audio_frames(), max_queue, listener)
    }

    /// Encoded frames from now on, beginning at a keyframe, for decoders of the application's own.
    pub fn encoded_frames(&self, max_queue: u32, listener: Arc<dyn ReadyListener>) -> Result<Arc<EncodedStream>, CallError> {
        EncodedStream::new(self.track.encoded_frames(), max_queue, listener)
    }

    /// What it measures.
    pub async fn stats(&self) -> Result<TrackStats, CallError> {
        let track = self.track.clone();
        runtime::run(None, async move { Ok(track.stats().await?.into()) }).await
    }
}

impl From<segue::TrackKind> for TrackKind {
    fn from(kind: segue::TrackKind) -> Self {
        match kind {
            segue::TrackKind::Audio => Self::Audio,
            segue::TrackKind::Video => Self::Video,
        }
    }
}

impl From<segue::TrackSource> for TrackSource {
    fn from(source: segue::TrackSource) -> Self {
        match source {
            segue::TrackSource::Microphone => Self::Microphone,
            segue::TrackSource::Camera => Self::Camera,
            segue::TrackSource::Screen => Self::Screen,
            segue::TrackSource::ScreenAudio => Self::ScreenAudio,
        }
    }
}

impl From<TrackSource> for segue::TrackSource {
    fn from(source: TrackSource) -> Self {
        match source {
            TrackSource::Microphone => Self::Microphone,
            TrackSource::Camera => Self::Camera,
            TrackSource::Screen => Self::Screen,
            TrackSource::ScreenAudio => Self::ScreenAudio,
        }
    }
}
