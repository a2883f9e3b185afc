//! Rooms that stay a mesh, over loopback, with real codecs, against half a relay.

mod support;

use std::future::Future;
use std::time::Duration;

use segue::testing::Fault;
use segue::{
    AudioSource, Channels, ConnectionState, FrameStream, I420, IceOptions, Interfaces, Plane, Reliability, RemoteTrack, Room,
    RoomEvent, RoomOptions, TrackKind, TrackOptions, TrackPublication, VideoOptions, VideoSource,
};
use support::HalfRelay;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(15), future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

async fn join(relay: &HalfRelay, identity: &str) -> Room {
    let ice = IceOptions { interfaces: Interfaces::LoopbackOnly, ..IceOptions::default() };
    let options = RoomOptions { name: identity.to_uppercase(), ice, ..RoomOptions::default() };
    soon("joining", Room::connect(&relay.url, identity, options)).await.expect("let in")
}

async fn track_of(events: &mut FrameStream<RoomEvent>, identity: &str, wanted: TrackKind) -> RemoteTrack {
    soon("a track", async {
        loop {
            if let Some(RoomEvent::TrackPublished { participant, track }) = events.next().await
                && participant.identity() == identity
                && track.kind() == wanted
            {
                return track;
            }
        }
    })
    .await
}

/// Publishes a grey picture whose brightness counts, 25 times a second.
async fn show(room: &Room) -> (TrackPublication, JoinHandle<()>) {
    let source = VideoSource::new(VideoOptions::new(320, 240, 25.0));
    let publication = room.local_participant().publish(source.clone(), TrackOptions::default()).await.expect("published");
    let pushing = tokio::spawn(async move {
        let mut ticks = interval(Duration::from_millis(40));
        for count in 0_u32.. {
            ticks.tick().await;
            let mut picture = I420::new(320, 240).expect("a picture");
            picture.plane_mut(Plane::Y).fill(40 + (count % 150) as u8);
            source.push(picture);
        }
    });
    (publication, pushing)
}

/// Publishes a tone.
async fn sing(room: &Room) -> (TrackPublication, JoinHandle<()>) {
    let source = AudioSource::new(Channels::Mono);
    let publication = room.local_participant().publish(source.clone(), TrackOptions::default()).await.expect("published");
    let pushing = tokio::spawn(async move {
        let mut ticks = interval(Duration::from_millis(20));
        let mut sample = 0_u32;
        loop {
            ticks.tick().await;
            let tone: Vec<i16> = (0..960)
                .map(|step| ((f64::from(sample + step) * 440.0 * std::f64::consts::TAU / 48_000.0).sin() * 9_000.0) as i16)
                .collect();
            sample += 960;
            source.push(&tone);
        }
    });
    (publication, pushing)
}

async fn watch(track: &RemoteTrack, pictures: usize) {
    let mut stream = track.video_frames();
    soon("pictures", async {
        for _ in 0..pictures {
            let frame = stream.next().await.expect("the track goes on");
            assert_eq!((frame.picture.width(), frame.picture.height()), (320, 240));
        }
    })
    .await;
}

async fn listen(track: &RemoteTrack, frames: usize) {
    let mut stream = track.audio_frames();
    soon("sound", async {
        let mut loud = 0;
        while loud < frames {
            let frame = stream.next().await.expect("the track goes on");
            loud += usize::from(frame.samples.iter().any(|sample| *sample > 4_000));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_see_and_hear_each_other() {
    let relay = HalfRelay::start().await;
    let (ada, bob) = (join(&relay, "ada").await, join(&relay, "bob").await);
    let (mut at_ada, mut at_bob) = (ada.events(), bob.events());
    let ours = [show(&ada).await, sing(&ada).await, show(&bob).await, sing(&bob).await];
    for (events, other) in [(&mut at_ada, "bob"), (&mut at_bob, "ada")] {
        let video = track_of(events, other, TrackKind::Video).await;
        watch(&video, 25).await;
    }
    for (room, other) in [(&ada, "bob"), (&bob, "ada")] {
        let other = room.participants().into_iter().find(|found| found.identity() == other).expect("in the room");
        let audio = other.tracks().into_iter().find(|track| track.kind() == TrackKind::Audio).expect("published");
        listen(&audio, 50).await;
        let stats = room.stats().await.expect("in the room");
        assert!(stats.tracks.iter().all(|track| track.undecoded == 0), "{stats:#?}");
        assert!(stats.edges.iter().all(|edge| edge.bitrate.as_kbps() > 10 && edge.loss < 0.01), "{stats:#?}");
        assert!(stats.legs.iter().any(|leg| leg.up && leg.rtt.is_some()), "{stats:#?}");
    }
    ours.iter().for_each(|(_, pushing)| pushing.abort());
    ada.leave().await;
    soon("leaving", async { while !matches!(at_bob.next().await, Some(RoomEvent::ParticipantLeft { .. })) {} }).await;
    assert!(matches!(ada.state(), ConnectionState::Disconnected { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_once_and_in_order_though_signalling_breaks() {
    let relay = HalfRelay::start().await;
    let (ada, bob) = (join(&relay, "ada").await, join(&relay, "bob").await);
    let mut at_bob = bob.events();
    // A message is for those who are known to be in the room when it is sent.
    soon("seeing each other", async {
        while ada.participants().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    for number in 0..40_u8 {
        if number == 20 {
            ada.inject(Fault::DropSignalling).await;
        }
        ada.send_data("count", vec![number], Reliability::Reliable).await.expect("taken");
    }
    let mut next = 0;
    soon("forty messages", async {
        while next < 40 {
            if let Some(RoomEvent::DataReceived { payload, topic, .. }) = at_bob.next().await {
                assert_eq!((topic.as_str(), payload.as_ref()), ("count", &[next][..]));
                next += 1;
            }
        }
    })
    .await;
    soon("reconnecting", async {
        while ada.state() != ConnectionState::Connected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
