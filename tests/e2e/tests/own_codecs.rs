//! An application that brings its own codecs, with nothing but the crate `segue`; and one that moderates.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use segue::{
    DataRate, DecodeError, Decoders, EncodeError, EncodedVideo, EncodingId, I420, IceOptions, Interfaces, LayerId, LeaveReason,
    MediaTime, Plane, Room, RoomEvent, RoomOptions, TrackOptions, VideoDecoder, VideoEncoder, VideoFrame, VideoOptions,
    VideoSource,
};
use segue_relay::{Config, Grants, Relay};

/// Pictures of this size, 25 a second.
const OPTIONS: VideoOptions = VideoOptions { encodings: 1, ..VideoOptions::new(160, 120, 25.0) };

/// "Encodes" a picture as its brightness, in what passes for an H.264 NAL unit (an IDR slice or another).
#[derive(Default)]
struct Brightness {
    keyframe: bool,
    begun: bool,
}

impl VideoEncoder for Brightness {
    fn encode(&mut self, frame: &VideoFrame) -> Result<Vec<EncodedVideo>, EncodeError> {
        let luma = *frame.picture.plane(Plane::Y).first().ok_or(EncodeError::Shape)?;
        let keyframe = std::mem::take(&mut self.keyframe) || !std::mem::replace(&mut self.begun, true);
        let unit = if keyframe { 0x65 } else { 0x41 };
        Ok(vec![EncodedVideo {
            layer: LayerId::default(),
            time: frame.time,
            keyframe,
            discardable: false,
            refers_back: u8::from(!keyframe),
            size: (frame.picture.width(), frame.picture.height()),
            payload: vec![0, 0, 0, 1, unit, 0x88, luma].into(),
        }])
    }

    fn request_keyframe(&mut self, _: EncodingId) {
        self.keyframe = true;
    }

    fn set_rate(&mut self, _: EncodingId, _: DataRate) {}

    fn set_frame_rate(&mut self, _: EncodingId, _: f32) {}

    fn set_active(&mut self, _: EncodingId, active: bool) {
        self.keyframe |= active;
    }
}

/// Its other half.
struct Painter;

impl VideoDecoder for Painter {
    fn decode(&mut self, access_unit: &[u8], time: MediaTime) -> Result<Option<VideoFrame>, DecodeError> {
        let [.., 0x88, luma] = access_unit else { return Err(DecodeError::Damaged(0)) };
        let mut picture = I420::new(OPTIONS.width, OPTIONS.height).map_err(|_| DecodeError::NoFrame)?;
        picture.plane_mut(Plane::Y).fill(*luma);
        Ok(Some(VideoFrame { picture: Arc::new(picture), time }))
    }
}

async fn join(relay: &Relay, identity: &str, admin: bool, decoders: Decoders) -> Room {
    let token = relay.token("own", identity, Grants { admin, ..Grants::default() }).expect("a token");
    let ice = IceOptions { interfaces: Interfaces::LoopbackOnly, ..IceOptions::default() };
    Room::connect(&relay.url(), &token, RoomOptions { ice, decoders, ..RoomOptions::default() }).await.expect("let in")
}

/// The first thing that `pick` takes.
async fn event<T>(room: &Room, pick: impl Fn(RoomEvent) -> Option<T>) -> T {
    let mut events = room.events();
    let found = async {
        loop {
            if let Some(found) = pick(events.next().await.expect("the room goes on")) {
                break found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect("in time")
}

#[tokio::test]
async fn codecs_of_the_application_stand_at_both_ends() {
    let relay = Relay::start(Config::ephemeral()).await.expect("a relay");
    let ada = join(&relay, "ada", false, Decoders::default()).await;
    let video: segue::NewDecoder<dyn VideoDecoder> = Arc::new(|| Ok(Box::new(Painter)));
    let bob = join(&relay, "bob", false, Decoders { video: Some(video), audio: None }).await;
    let camera = VideoSource::with_encoder(OPTIONS, Box::<Brightness>::default());
    ada.local_participant().publish(camera.clone(), TrackOptions::default()).await.expect("permitted");
    let shown = Arc::new(AtomicU8::new(1));
    let shows = shown.clone();
    let capture = tokio::spawn(async move {
        loop {
            let mut picture = I420::new(OPTIONS.width, OPTIONS.height).expect("a size pictures can have");
            let luma = shows.fetch_add(1, Ordering::Relaxed).max(1);
            picture.plane_mut(Plane::Y).fill(luma);
            camera.push(picture);
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    });
    let track = event(&bob, |event| match event {
        RoomEvent::TrackPublished { track, .. } => Some(track),
        _ => None,
    })
    .await;
    let mut pictures = track.video_frames();
    let mut seen = Vec::new();
    while seen.len() < 10 {
        let next = tokio::time::timeout(Duration::from_secs(60), pictures.next()).await.expect("in time");
        seen.push(next.expect("the track goes on").picture.plane(Plane::Y)[0]);
    }
    // Numbers that were painted, in the order in which they were: those that came too fast to be kept are left out.
    assert!(seen.windows(2).all(|pair| (1..40).contains(&pair[1].wrapping_sub(pair[0]))), "{seen:?}");
    capture.abort();
    ada.leave().await;
    bob.leave().await;
    relay.shutdown().await;
}

#[tokio::test]
async fn a_moderator_silences_and_puts_out_and_others_may_not() {
    let relay = Relay::start(Config::ephemeral()).await.expect("a relay");
    let ada = join(&relay, "ada", false, Decoders::default()).await;
    let moderator = join(&relay, "mod", true, Decoders::default()).await;
    let voice =
        segue::AudioSource::with_options(segue::AudioOptions { dtx: true, ..segue::AudioOptions::new(segue::Channels::Mono) });
    let publication = ada.local_participant().publish(voice, TrackOptions::default()).await.expect("permitted");
    let error = ada.local_participant().kick(moderator.local_participant().id()).await.expect_err("not permitted");
    assert_eq!(error.code(), "not_permitted");
    event(&moderator, |event| matches!(event, RoomEvent::TrackPublished { .. }).then_some(())).await;

    let (events, heard) = (ada.events(), moderator.local_participant());
    drop(events);
    let told = tokio::spawn({
        let ada = ada.clone();
        async move { event(&ada, |event| if let RoomEvent::MutedByModerator { track } = event { Some(track) } else { None }).await }
    });
    tokio::task::yield_now().await;
    heard.mute_remote(publication.id()).await.expect("permitted");
    assert_eq!(told.await.expect("told"), publication.id());

    let ended = tokio::spawn({
        let ada = ada.clone();
        async move {
            event(&ada, |event| match event {
                RoomEvent::ConnectionStateChanged(segue::ConnectionState::Disconnected { reason, code, .. }) => {
                    Some((reason, code))
                }
                _ => None,
            })
            .await
        }
    });
    tokio::task::yield_now().await;
    heard.kick(ada.local_participant().id()).await.expect("permitted");
    assert_eq!(ended.await.expect("told"), (LeaveReason::Kicked, "kicked"));
    moderator.leave().await;
    relay.shutdown().await;
}
