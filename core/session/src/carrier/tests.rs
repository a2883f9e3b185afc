use proptest::prelude::*;
use segue_wire::proto::{Ping, Pong};

use super::*;

fn ping(number: u64) -> client_frame::Message {
    client_frame::Message::Ping(Ping { time_us: number })
}

fn number_of(message: client_frame::Message) -> u64 {
    match message {
        client_frame::Message::Ping(ping) => ping.time_us,
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_lone_acknowledgement_follows_after_a_delay() {
    let now = Instant::now();
    let (mut client, mut server) = (ClientCarrier::new(), ServerCarrier::new());
    client.open();
    server.open();
    client.send(ping(1)).unwrap();
    let frame = client.poll_transmit(now).unwrap();
    assert_eq!(frame.seq, 1);
    assert!(server.handle_frame(now, frame).unwrap().is_some());
    assert!(server.poll_transmit(now).is_none());
    let due = server.poll_timeout().unwrap();
    let ack = server.poll_transmit(due).unwrap();
    assert_eq!((ack.seq, ack.ack), (0, 1));
    assert_eq!(client.unacknowledged().0, 1);
    assert!(client.handle_frame(due, ack).unwrap().is_none());
    assert_eq!(client.unacknowledged(), (0, 0));
}

#[test]
fn a_reader_that_stopped_is_too_slow() {
    let mut server = ServerCarrier::new();
    server.open();
    let pong = || server_frame::Message::Pong(Pong { time_us: 1 });
    for _ in 0..MAX_UNACKNOWLEDGED {
        server.send(pong()).unwrap();
    }
    assert!(matches!(server.send(pong()), Err(CarrierError::TooSlow { .. })));
}

#[test]
fn gaps_and_acknowledgements_of_nothing_are_refused() {
    let now = Instant::now();
    let mut server = ServerCarrier::new();
    server.open();
    let frame = |seq, ack| ClientFrame { seq, ack, message: Some(ping(1)) };
    assert_eq!(server.handle_frame(now, frame(2, 0)), Err(CarrierError::Gap { expected: 1, got: 2 }));
    assert!(matches!(server.handle_frame(now, frame(1, 5)), Err(CarrierError::BadAck { ack: 5, .. })));
}

proptest! {
    /// Connections die at any point with any number of frames under way; each message is handled once and in order.
    #[test]
    fn nothing_is_lost_or_doubled_over_any_number_of_connections(plan in proptest::collection::vec((0usize..8, 0usize..8, any::<bool>()), 1..60)) {
        let now = Instant::now();
        let (mut client, mut server) = (ClientCarrier::new(), ServerCarrier::new());
        client.open();
        server.open();
        let (mut sent, mut handled) = (0, Vec::new());
        for (send, deliver, breaks) in plan {
            for _ in 0..send {
                sent += 1;
                client.send(ping(sent)).unwrap();
            }
            for _ in 0..deliver {
                let Some(frame) = client.poll_transmit(now) else { break };
                if let Some(message) = server.handle_frame(now, frame).unwrap() {
                    handled.push(number_of(message));
                }
            }
            if breaks {
                // Whatever the client wrote and the server did not read is gone.
                while client.poll_transmit(now).is_some() {}
                client.close();
                server.close();
                client.reopen();
                server.reopen();
                prop_assert!(client.poll_transmit(now).is_none());
                client.resume(server.handled()).unwrap();
                server.resume(client.handled()).unwrap();
            } else if let Some(ack) = server.poll_transmit(now + ACK_DELAY) {
                client.handle_frame(now, ack).unwrap();
            }
        }
        while let Some(frame) = client.poll_transmit(now) {
            if let Some(message) = server.handle_frame(now, frame).unwrap() {
                handled.push(number_of(message));
            }
        }
        prop_assert_eq!(handled, (1..=sent).collect::<Vec<_>>());
    }
}
