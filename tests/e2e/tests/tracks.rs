//! What is done with tracks and messages in the course of a call, in a mesh and over the relay alike.

use segue::{FramePool, Path, Quality, Reliability, RemoteTrack, RoomEvent, TrackKind};
use segue_codec::h264::H264Decoder;
use segue_codec::opus::OpusDecoder;
use segue_codec::source::{detect_tone, tone_frequency};
use segue_codec::{AudioDecoder as _, Channels, VideoDecoder as _, counter};
use segue_e2e::call::{all_edges_on, assert_pictures_in_order, everybody_is_in, everybody_sees_and_hears_everybody};
use segue_e2e::guest::{SIZE, index_of};
use segue_e2e::log::{picture_source, tone_index};
use segue_e2e::wait::soon;
use segue_e2e::{Guest, TestRelay, eventually};

/// A relay whose rooms are a mesh, or all relayed.
async fn relay_for(path: Path) -> TestRelay {
    match path {
        Path::Direct => TestRelay::start().await,
        Path::Relayed => TestRelay::start_with(|config| config.room.topology.mesh_max = 1).await,
    }
}

/// Two who see and hear each other on a path.
async fn pair(path: Path) -> (TestRelay, Guest, Guest) {
    let relay = relay_for(path).await;
    let ada = Guest::join_and_publish(&relay, "pair", "ada").await;
    let bob = Guest::join_and_publish(&relay, "pair", "bob").await;
    all_edges_on(path, &[&ada, &bob]).await;
    everybody_sees_and_hears_everybody(&[&ada, &bob]).await;
    (relay, ada, bob)
}

/// What `of` no longer sends is measured by what it still sends: `count` stands still while `clock` goes on by `steps`.
async fn stands_still(what: &str, steps: u64, mut count: impl FnMut() -> u64, mut clock: impl FnMut() -> u64) {
    let (mut last, mut since) = (count(), clock());
    eventually(what, || {
        if count() != last {
            (last, since) = (count(), clock());
        }
        (clock() < since + steps).then_some((last, since))
    })
    .await;
}

async fn is_muted(at: &Guest, track: &RemoteTrack, muted: bool) {
    eventually("the news of silence", || {
        let told = at.log.find(|event| match event {
            RoomEvent::TrackMuted { track: found, muted } if found.id() == track.id() => Some(*muted),
            _ => None,
        });
        (told.last() != Some(&muted) || track.is_muted() != muted).then_some(told)
    })
    .await;
}

async fn tracks_are_muted_and_unmuted(path: Path) {
    let (_relay, ada, bob) = pair(path).await;
    let (sound, pictures) = (bob.track("ada", TrackKind::Audio).await, bob.track("ada", TrackKind::Video).await);
    ada.publication(TrackKind::Audio).set_muted(true).await.expect("in the room");
    is_muted(&bob, &sound, true).await;
    let (seen, heard) = (|| bob.log.progress("ada").0, || bob.log.progress("ada").1);
    stands_still("silence", 10, heard, seen).await;
    ada.publication(TrackKind::Audio).set_muted(false).await.expect("in the room");
    is_muted(&bob, &sound, false).await;
    everybody_sees_and_hears_everybody(&[&ada, &bob]).await;

    ada.publication(TrackKind::Video).set_muted(true).await.expect("in the room");
    is_muted(&bob, &pictures, true).await;
    stands_still("darkness", 10, seen, heard).await;
    ada.publication(TrackKind::Video).set_muted(false).await.expect("in the room");
    is_muted(&bob, &pictures, false).await;
    everybody_sees_and_hears_everybody(&[&ada, &bob]).await;
    assert!(!sound.has_ended() && !pictures.has_ended());
    assert_pictures_in_order(&[&ada, &bob]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tracks_of_a_mesh_are_muted_and_unmuted() {
    tracks_are_muted_and_unmuted(Path::Direct).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relayed_tracks_are_muted_and_unmuted() {
    tracks_are_muted_and_unmuted(Path::Relayed).await;
}

async fn tracks_are_taken_back_and_published_again(path: Path) {
    let (_relay, ada, bob) = pair(path).await;
    let pictures = bob.track("ada", TrackKind::Video).await;
    let (first, mut stream) = (ada.publication(TrackKind::Video).id(), pictures.video_frames());
    ada.publication(TrackKind::Video).unpublish().await.expect("in the room");
    soon("the end of the pictures", async { while stream.next().await.is_some() {} }).await;
    eventually("the news that a track is gone", || {
        let gone = bob.log.find(|event| match event {
            RoomEvent::TrackUnpublished { track, .. } => Some(track.id()),
            _ => None,
        });
        (gone != [first] || !pictures.has_ended()).then_some(gone)
    })
    .await;
    let second = ada.show().await.expect("permitted").id();
    assert_ne!(first, second);
    everybody_sees_and_hears_everybody(&[&ada, &bob]).await;
    assert_eq!(bob.track("ada", TrackKind::Video).await.id(), second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tracks_of_a_mesh_are_taken_back_and_published_again() {
    tracks_are_taken_back_and_published_again(Path::Direct).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relayed_tracks_are_taken_back_and_published_again() {
    tracks_are_taken_back_and_published_again(Path::Relayed).await;
}

async fn quality_is_chosen(path: Path) {
    let (_relay, ada, bob) = pair(path).await;
    let pictures = bob.track("ada", TrackKind::Video).await;
    assert_eq!(pictures.encodings().len(), 2);
    let width = || bob.log.notes().seen.get("ada").map_or(0, |seen| seen.width);
    let (seen, heard) = (|| bob.log.progress("ada").0, || bob.log.progress("ada").1);
    for (quality, wanted) in [(Quality::Low, SIZE.0 / 2), (Quality::High, SIZE.0), (Quality::Low, SIZE.0 / 2)] {
        pictures.set_quality(quality);
        eventually("pictures of another size", || (width() != wanted).then_some((quality, width()))).await;
        everybody_sees_and_hears_everybody(&[&ada, &bob]).await;
        assert_eq!(width(), wanted);
    }
    pictures.set_quality(Quality::Off);
    stands_still("no pictures", 10, seen, heard).await;
    pictures.set_quality(Quality::High);
    everybody_sees_and_hears_everybody(&[&ada, &bob]).await;
    eventually("large pictures", || (width() != SIZE.0).then_some(width())).await;
    assert_pictures_in_order(&[&ada, &bob]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_in_a_mesh_chooses_the_quality_it_gets() {
    quality_is_chosen(Path::Direct).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_in_a_relayed_room_chooses_the_quality_it_gets() {
    quality_is_chosen(Path::Relayed).await;
}

/// Decodes pictures of a track, as an application with a decoder of its own does.
async fn decode_pictures(track: &RemoteTrack, of: &str) {
    let (mut frames, mut decoder) = (track.encoded_frames(), H264Decoder::new(FramePool::default()).expect("a decoder"));
    let mut shown: Vec<u32> = Vec::new();
    while shown.len() < 20 {
        let received = frames.next().await.expect("the track goes on");
        // Those before the keyframe that was asked for refer to what was never seen.
        let Ok(Some(picture)) = decoder.decode(&received.frame.payload, received.frame.time) else {
            assert!(shown.is_empty(), "frame {} does not follow those before it", received.number);
            continue;
        };
        let (source, number) = counter::read(&picture.picture).expect("readable");
        assert_eq!(source, picture_source(index_of(of)));
        shown.push(number);
    }
    assert!(shown.is_sorted_by(|one, next| one < next), "{shown:?}");
}

/// Decodes sound of a track likewise.
async fn decode_sound(track: &RemoteTrack, of: &str) {
    let (mut frames, mut decoder) = (track.encoded_frames(), OpusDecoder::new(Channels::Mono).expect("a decoder"));
    let (mut numbers, mut samples): (Vec<u32>, Vec<i16>) = (Vec::new(), Vec::new());
    while samples.len() < 48_000 {
        let received = frames.next().await.expect("the track goes on");
        assert!(received.frame.audio_level.is_some_and(|level| level.level < 60), "{:?}", received.frame.audio_level);
        numbers.push(received.number);
        samples.extend(decoder.decode(&received.frame.payload, received.frame.time).expect("whole").samples);
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert!(detect_tone(&samples[4_800..], tone_frequency(tone_index(index_of(of)))));
}

async fn encoded_frames_go_in_and_come_out(path: Path) {
    let relay = relay_for(path).await;
    let ada = Guest::join(&relay, "encoded", "ada").await;
    ada.show_encoded().await;
    ada.sing_encoded().await;
    let bob = Guest::join_and_publish(&relay, "encoded", "bob").await;
    all_edges_on(path, &[&ada, &bob]).await;
    everybody_sees_and_hears_everybody(&[&ada, &bob]).await;
    for (at, of) in [(&bob, "ada"), (&ada, "bob")] {
        let (pictures, sound) = (at.track(of, TrackKind::Video).await, at.track(of, TrackKind::Audio).await);
        soon("decoding", async { tokio::join!(decode_pictures(&pictures, of), decode_sound(&sound, of)) }).await;
    }
    assert_pictures_in_order(&[&ada, &bob]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encoded_frames_go_into_a_mesh_and_come_out() {
    encoded_frames_go_in_and_come_out(Path::Direct).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encoded_frames_go_through_the_relay_and_come_out() {
    encoded_frames_go_in_and_come_out(Path::Relayed).await;
}

async fn lossy_messages_reach_those_they_are_for(path: Path) {
    let relay = relay_for(path).await;
    let ada = Guest::join_and_publish(&relay, "lossy", "ada").await;
    let bob = Guest::join_and_publish(&relay, "lossy", "bob").await;
    let cyd = Guest::join_and_publish(&relay, "lossy", "cyd").await;
    let all = [&ada, &bob, &cyd];
    everybody_is_in(&all).await;
    all_edges_on(path, &all).await;
    let got = |guest: &Guest, topic: &str| guest.log.messages(topic, Reliability::Lossy);
    soon("lossy messages", async {
        while [&bob, &cyd].iter().any(|guest| got(guest, "all").len() < 5) || got(&bob, "one").len() < 5 {
            ada.room.send_data("all", "for all", Reliability::Lossy).await.expect("taken");
            ada.room.send_data_to(bob.id(), "one", "for bob").await.expect("taken");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(got(&bob, "all").iter().chain(&got(&cyd, "all")).all(|payload| payload == "for all"));
    assert!(got(&bob, "one").iter().all(|payload| payload == "for bob"));
    assert!(got(&cyd, "one").is_empty() && got(&ada, "all").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lossy_messages_in_a_mesh_reach_those_they_are_for() {
    lossy_messages_reach_those_they_are_for(Path::Direct).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lossy_messages_over_the_relay_reach_those_they_are_for() {
    lossy_messages_reach_those_they_are_for(Path::Relayed).await;
}
