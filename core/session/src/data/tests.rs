use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;
use segue_model::ParticipantId;
use segue_wire::proto;

use super::*;

const B: ParticipantId = ParticipantId(2);
const C: ParticipantId = ParticipantId(3);

#[test]
fn a_late_joiner_gets_what_is_sent_from_then_on() {
    let now = Instant::now();
    let mut sender = Outgoing::default();
    sender.add_receiver(B);
    sender.send(now, "chat", Bytes::from_static(b"1")).unwrap();
    sender.add_receiver(C);
    sender.send(now, "chat", Bytes::from_static(b"2")).unwrap();
    sender.send(now, "chat", Bytes::from_static(b"3")).unwrap();
    let mut late = Incoming::default();
    assert!(late.handle_data(sender.message(3, Some(C)).unwrap()).is_empty());
    assert_eq!(late.handle_data(sender.message(2, Some(C)).unwrap()).len(), 2);
    assert_eq!(late.up_to(), 3);
}

#[test]
fn who_leaves_releases_and_who_stays_silent_fills() {
    let now = Instant::now();
    let mut sender = Outgoing::default();
    sender.add_receiver(B);
    sender.add_receiver(C);
    for _ in 0..MAX_HELD {
        sender.send(now, "", Bytes::from_static(b"x")).unwrap();
    }
    assert!(matches!(sender.send(now, "", Bytes::new()), Err(SendError::Backlog { .. })));
    sender.handle_ack(now, B, MAX_HELD as u64);
    assert_eq!(sender.held().0, MAX_HELD);
    sender.remove_receiver(C);
    assert_eq!(sender.held(), (0, 0));
    assert!(matches!(sender.send(now, "", Bytes::from(vec![0; MAX_MESSAGE_LEN + 1])), Err(SendError::TooLong { .. })));
}

#[test]
fn acknowledgements_of_what_was_never_sent_are_ignored() {
    let now = Instant::now();
    let mut sender = Outgoing::default();
    sender.add_receiver(B);
    sender.send(now, "", Bytes::new()).unwrap();
    sender.handle_ack(now, B, 99);
    assert_eq!(sender.held().0, 1);
}

#[test]
fn the_wait_between_attempts_grows_and_a_new_path_ends_it() {
    let start = Instant::now();
    let mut sender = Outgoing::default();
    sender.add_receiver(B);
    sender.send(start, "", Bytes::new()).unwrap();
    let mut waits = Vec::new();
    let mut last = start;
    for _ in 0..5 {
        let at = sender.poll_timeout().unwrap();
        assert_eq!(sender.handle_timeout(at).len(), 1);
        waits.push((at - last).as_millis());
        last = at;
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 4000]);
    sender.handle_path(last, B);
    assert_eq!(sender.poll_timeout(), Some(last));
}

/// Two carriers to one receiver, either of which may be dead, loses, doubles and reorders.
#[derive(Default)]
struct Carriers {
    flying: Vec<proto::Data>,
    acks: Vec<u64>,
}

proptest! {
    #[test]
    fn once_and_in_order_whatever_the_carriers_do(
        steps in proptest::collection::vec((0u8..3, any::<bool>(), any::<bool>(), any::<prop::sample::Index>(), any::<bool>()), 1..120),
    ) {
        let mut now = Instant::now();
        let (mut sender, mut receiver, mut carriers) = (Outgoing::default(), Incoming::default(), Carriers::default());
        sender.add_receiver(B);
        let (mut sent, mut got) = (0u32, Vec::new());
        let deliver = |receiver: &mut Incoming, data, got: &mut Vec<u32>| {
            for message in receiver.handle_data(data) {
                got.push(u32::from_be_bytes(message.payload[..].try_into().unwrap()));
            }
            receiver.up_to()
        };
        for (sends, first_alive, second_alive, pick, doubles) in steps {
            for _ in 0..sends {
                sent += 1;
                let number = sender.send(now, "t", Bytes::copy_from_slice(&sent.to_be_bytes())).unwrap();
                let message = sender.message(number, Some(B)).unwrap();
                carriers.flying.extend([first_alive, second_alive].iter().filter(|alive| **alive).map(|_| message.clone()));
            }
            now += Duration::from_millis(200);
            for resend in sender.handle_timeout(now) {
                if first_alive || second_alive {
                    carriers.flying.extend(resend.messages);
                }
            }
            if !carriers.flying.is_empty() {
                let data = if doubles { pick.get(&carriers.flying).clone() } else { let at = pick.index(carriers.flying.len()); carriers.flying.swap_remove(at) };
                let up_to = deliver(&mut receiver, data, &mut got);
                if second_alive {
                    carriers.acks.push(up_to);
                }
            }
            if first_alive && let Some(ack) = carriers.acks.pop() {
                sender.handle_ack(now, B, ack);
            }
        }
        // The carriers come back for good.
        for _ in 0..2000 {
            if sender.held().0 == 0 {
                break;
            }
            now = sender.poll_timeout().unwrap();
            for resend in sender.handle_timeout(now) {
                for data in resend.messages {
                    let up_to = deliver(&mut receiver, data, &mut got);
                    sender.handle_ack(now, B, up_to);
                }
            }
        }
        prop_assert_eq!(sender.held().0, 0);
        prop_assert_eq!(got, (1..=sent).collect::<Vec<_>>());
    }
}
