//! Who comes in, who does not, and what they are told.

use std::time::Duration;

use segue::{ConnectionState, Error, LeaveReason, Reliability, RoomEvent, RoomOptions, TrackKind};
use segue_e2e::call::everybody_sees_and_hears_everybody;
use segue_e2e::{Guest, Joining, TestRelay, eventually};
use segue_relay::{Claims, Grants};

/// A sentence, not a code: it has a few words, and one of them says what to do.
fn assert_helps(error: &Error, advice: &str) {
    let text = error.to_string();
    assert!(text.split_whitespace().count() > 5 && text.contains(advice), "`{text}` does not say `{advice}`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_join_with_an_identity_replaces_the_first() {
    let relay = TestRelay::start().await;
    let bob = Guest::join_and_publish(&relay, "twice", "bob").await;
    let first = Guest::join_and_publish(&relay, "twice", "ada").await;
    everybody_sees_and_hears_everybody(&[&first, &bob]).await;

    let second = Guest::join_and_publish(&relay, "twice", "ada").await;
    eventually("the end of the first", || match first.room.state() {
        ConnectionState::Disconnected { reason, code, message } => {
            assert_eq!((reason, code), (LeaveReason::Replaced, "replaced"));
            assert!(message.split_whitespace().count() > 3, "`{message}` says nothing");
            None
        }
        other => Some(other),
    })
    .await;
    everybody_sees_and_hears_everybody(&[&second, &bob]).await;
    assert_ne!(first.id(), second.id());
    assert_eq!(bob.room.participants().len(), 1, "only the second is left");
    assert_eq!(relay.metric("segue_sessions_ended_total", "replaced"), 1);
    assert_eq!(first.room.send_data("late", vec![1], Reliability::Reliable).await, Err(Error::Left));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_opens_nothing_is_refused_with_a_code_and_advice() {
    let relay = TestRelay::start().await;
    let good = Joining::new(&relay, "tokens", "ada");
    let expired = relay.token_with(Claims { exp: 1_000_000, ..Claims::new("tokens", "ada", Grants::default(), 60) });
    let early = Claims::new("tokens", "ada", Grants::default(), 7_200);
    let early = relay.token_with(Claims { nbf: early.exp - 60, ..early });
    let forged = good.token.rsplit_once('.').map(|(signed, _)| format!("{signed}.{}", "A".repeat(43))).expect("a token");
    for (token, code, advice) in [
        (expired, "token_expired", "ask for a new one"),
        (early, "token_invalid", "compare the clocks"),
        (forged, "token_invalid", "check the keys"),
        ("nonsense".to_owned(), "token_invalid", "make one with"),
        (String::new(), "token_invalid", "make one with"),
    ] {
        let error = Joining { token, ..good.clone() }.attempt().await.err().expect("refused");
        assert_eq!(error.code(), code, "{error}");
        assert_helps(&error, advice);
    }
    let url = format!("{}?room=another", good.url);
    let error = Joining { url, ..good.clone() }.attempt().await.err().expect("refused");
    assert_eq!(error.code(), "wrong_room");
    assert_helps(&error, "ask for one for this room");
    let url = format!("{}?room=tokens", good.url);
    Joining { url, ..good }.attempt().await.expect("the right room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_without_a_relay_is_said_to_be_one() {
    let relay = TestRelay::start().await;
    let options = RoomOptions { connect_timeout: Duration::from_millis(500), ..RoomOptions::default() };
    let good = Joining { options, ..Joining::new(&relay, "nowhere", "ada") };
    for (url, code, advice) in [
        ("ws://127.0.0.1:1", "timeout", "check its address"),
        ("ftp://127.0.0.1", "url", "ws, wss, http or https"),
        ("127.0.0.1 7880", "url", "is not a URL"),
    ] {
        let error = Joining { url: url.to_owned(), ..good.clone() }.attempt().await.err().expect("refused");
        assert_eq!(error.code(), code, "{error}");
        assert_helps(&error, advice);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_publish_is_told_so_and_watches() {
    let relay = TestRelay::start().await;
    let ada = Guest::join_and_publish(&relay, "audience", "ada").await;
    let grants = Grants { publish: false, ..Grants::default() };
    let token = relay.relay().token("audience", "bob", grants).expect("signed");
    let bob = Joining { token, ..Joining::new(&relay, "audience", "bob") }.attempt().await.expect("let in");
    for error in [bob.show().await.err(), bob.sing().await.err()] {
        let error = error.expect("refused");
        assert_eq!(error.code(), "not_permitted");
        assert_helps(&error, "publish");
    }
    eventually("the audience seeing and hearing", || {
        let (pictures, tones) = bob.log.progress("ada");
        (pictures < 10 || tones < 5).then_some((pictures, tones))
    })
    .await;
    let published = ada.log.find(|event| matches!(event, RoomEvent::TrackPublished { .. }).then_some(()));
    assert!(published.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_subscribe_gets_nothing_and_is_seen() {
    let relay = TestRelay::start().await;
    let ada = Guest::join_and_publish(&relay, "stage", "ada").await;
    let grants = Grants { subscribe: false, ..Grants::default() };
    let token = relay.relay().token("stage", "bob", grants).expect("signed");
    let bob = Joining { token, ..Joining::new(&relay, "stage", "bob") }.attempt().await.expect("let in");
    bob.publish().await;
    eventually("the speaker being seen and heard", || {
        let (pictures, tones) = ada.log.progress("bob");
        (pictures < 20 || tones < 10).then_some((pictures, tones))
    })
    .await;
    assert_eq!(bob.log.progress("ada"), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_room_says_so_and_has_a_place_again_when_somebody_leaves() {
    let relay = TestRelay::start_with(|config| config.room.max_participants = 2).await;
    let ada = Guest::join(&relay, "full", "ada").await;
    let bob = Guest::join(&relay, "full", "bob").await;
    let error = Joining::new(&relay, "full", "cyd").attempt().await.err().expect("refused");
    assert_eq!(error.code(), "room_full");
    assert_helps(&error, "2");
    let again = Guest::join(&relay, "full", "bob").await;
    assert_ne!(again.id(), bob.id(), "who comes again takes the place it had");
    ada.leave().await;
    let cyd = Guest::join(&relay, "full", "cyd").await;
    cyd.publish().await;
    assert!(again.track("cyd", TrackKind::Video).await.name().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_tracks_and_too_long_messages_are_refused_and_nothing_else_happens() {
    let relay = TestRelay::start_with(|config| config.room.max_tracks = 2).await;
    let ada = Guest::join_and_publish(&relay, "limits", "ada").await;
    let bob = Guest::join_and_publish(&relay, "limits", "bob").await;
    let error = ada.sing().await.expect_err("refused");
    assert_eq!(error.code(), "limit");
    assert_helps(&error, "2");
    for (length, reliability) in [(60_001, Reliability::Reliable), (15 * 1024 + 1, Reliability::Lossy)] {
        let error = ada.room.send_data("long", vec![0; length], reliability).await.expect_err("too long");
        assert_eq!(error.code(), "data_too_long");
    }
    ada.room.send_data("long", vec![7; 60_000], Reliability::Reliable).await.expect("as long as allowed");
    eventually("the long message", || bob.log.messages("long", Reliability::Reliable).is_empty().then_some(())).await;
    everybody_sees_and_hears_everybody(&[&ada, &bob]).await;
}
