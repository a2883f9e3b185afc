use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::transport::sctp::DataChannels;

/// Flags of DATA (RFC 9260 section 3.3.1).
const END: u8 = 1;
const BEGIN: u8 = 2;
const UNORDERED: u8 = 4;

/// Where peers of these tests begin.
const TSN: u32 = 1_000;

/// A chunk without its padding.
fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, flags];
    chunk.extend((CHUNK_HEADER as u16 + value.len() as u16).to_be_bytes());
    chunk.extend_from_slice(value);
    chunk
}

/// A packet with the checksum the library asks for.
fn packet(tag: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = [5000u16.to_be_bytes(), 5000u16.to_be_bytes()].concat();
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    for chunk in chunks {
        packet.extend_from_slice(chunk);
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    let mut sum = !0u32;
    for byte in &packet {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(sum & 1));
        }
    }
    packet[8..12].copy_from_slice(&(!sum).to_le_bytes());
    packet
}

fn init(tsn: u32) -> Vec<u8> {
    let mut value = [7u32.to_be_bytes(), 1_000_000u32.to_be_bytes(), [0xff; 4], tsn.to_be_bytes()].concat();
    // FORWARD TSN is supported, and so is RE-CONFIG.
    value.extend([0xc0, 0, 0, 4, 0x80, 8, 0, 6, FORWARD_TSN, RE_CONFIG, 0, 0]);
    chunk(INIT, 0, &value)
}

fn data(tsn: u32, flags: u8, ssn: u16, payload: &[u8]) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend([1u16.to_be_bytes(), ssn.to_be_bytes()].concat());
    value.extend(53u32.to_be_bytes());
    value.extend_from_slice(payload);
    chunk(DATA, flags, &value)
}

fn forward_tsn(tsn: u32) -> Vec<u8> {
    chunk(FORWARD_TSN, 0, &tsn.to_be_bytes())
}

fn sack(cumulative: u32, window: u32, blocks: &[(u16, u16)]) -> Vec<u8> {
    let mut value = [cumulative.to_be_bytes(), window.to_be_bytes()].concat();
    value.extend([(blocks.len() as u16).to_be_bytes(), [0; 2]].concat());
    blocks.iter().for_each(|(start, end)| value.extend([start.to_be_bytes(), end.to_be_bytes()].concat()));
    chunk(SACK, 0, &value)
}

fn reset(number: u32, last: u32, streams: u16) -> Vec<u8> {
    let mut value = OUTGOING_RESET.to_be_bytes().to_vec();
    value.extend((RESET_FIXED as u16 + 2 * streams).to_be_bytes());
    value.extend([number.to_be_bytes(), [0; 4], last.to_be_bytes()].concat());
    (0..streams).for_each(|stream| value.extend((stream + 2).to_be_bytes()));
    chunk(RE_CONFIG, 0, &value)
}

/// A guard whose peer begins at `tsn`.
fn begun(tsn: u32) -> SctpGuard {
    let mut guard = SctpGuard::default();
    assert_eq!(guard.admit(&packet(0, &[init(tsn)])), Ok(()));
    guard
}

fn admit(guard: &mut SctpGuard, chunks: &[Vec<u8>]) -> Result<(), Refusal> {
    guard.admit(&packet(9, chunks))
}

#[test]
fn data_beyond_the_limit_is_refused_also_where_numbers_wrap() {
    for tsn in [TSN, 0, 1, u32::MAX, u32::MAX - 100] {
        let mut guard = begun(tsn);
        let last = tsn.wrapping_add(MAX_AHEAD - 1);
        assert_eq!(admit(&mut guard, &[data(last, BEGIN, 0, b"x")]), Ok(()));
        assert_eq!(admit(&mut guard, &[data(last.wrapping_add(1), BEGIN, 0, b"x")]), Err(Refusal::TooFarAhead));
        assert_eq!(admit(&mut guard, &[forward_tsn(last)]), Ok(()));
        assert_eq!(admit(&mut guard, &[forward_tsn(last.wrapping_add(1))]), Err(Refusal::TooFarAhead));
        // What came before is a duplicate, however old.
        assert_eq!(admit(&mut guard, &[data(tsn.wrapping_sub(1), BEGIN, 0, b"x")]), Ok(()));
        assert_eq!(admit(&mut guard, &[forward_tsn(tsn.wrapping_sub(1_000_000))]), Ok(()));
    }
}

#[test]
fn many_forward_tsns_in_one_packet_go_no_further_than_one() {
    let mut guard = begun(TSN);
    let steps: Vec<_> = (1..=2).map(|step| forward_tsn(TSN - 1 + step * MAX_AHEAD)).collect();
    assert_eq!(admit(&mut guard, &steps), Err(Refusal::TooFarAhead));
}

#[test]
fn what_is_acknowledged_moves_the_limit() {
    let mut guard = begun(TSN);
    let far = data(TSN + MAX_AHEAD, BEGIN, 0, b"x");
    assert_eq!(admit(&mut guard, std::slice::from_ref(&far)), Err(Refusal::TooFarAhead));
    guard.sent(&packet(7, &[sack(TSN, RECEIVE_BUFFER, &[])]));
    assert_eq!(admit(&mut guard, &[far]), Ok(()));
}

#[test]
fn fragments_that_wait_for_another_are_bounded_in_bytes_and_in_number() {
    for len in [1_100, 1] {
        let mut guard = begun(TSN);
        let payload = vec![0x41; len];
        let admitted = (1..MAX_AHEAD).filter(|n| admit(&mut guard, &[data(TSN + n, 0, 0, &payload)]).is_ok()).count() as u32;
        assert!(admitted * len as u32 <= MAX_HELD && admitted <= MAX_CHUNKS, "{admitted} of {len}");
        assert!(admitted * len as u32 >= RECEIVE_BUFFER || admitted == MAX_CHUNKS, "{admitted} of {len}");
        // The one they wait for is let through, and what came of it was read.
        assert_eq!(admit(&mut guard, &[data(TSN, BEGIN, 0, &payload)]), Ok(()));
        guard.sent(&packet(7, &[sack(TSN + admitted, RECEIVE_BUFFER, &[])]));
        assert_eq!(admit(&mut guard, &[data(TSN + admitted + 2, 0, 0, &payload)]), Ok(()));
    }
}

#[test]
fn a_message_that_never_ends_is_bounded_though_each_chunk_comes_in_order() {
    for len in [1_100, 1] {
        let mut guard = begun(TSN);
        let payload = vec![0x41; len as usize];
        let (mut held, mut next) = (0, TSN);
        for _ in 0..10_000 {
            if admit(&mut guard, &[data(next, 0, 0, &payload)]).is_ok() {
                held += len;
                guard.sent(&packet(7, &[sack(next, RECEIVE_BUFFER.saturating_sub(held), &[])]));
                next += 1;
            }
        }
        assert!(held <= MAX_HELD_NEXT && held / len <= MAX_CHUNKS_NEXT, "{held} of {len}");
    }
}

#[test]
fn packets_kept_behind_a_gap_are_bounded_though_their_messages_were_read() {
    let mut guard = begun(TSN);
    let payload = vec![0x41; 1_100];
    let mut kept = 0;
    for n in 1..MAX_AHEAD {
        let bytes = packet(9, &[data(TSN + n, BEGIN | END | UNORDERED, 0, &payload)]);
        if guard.admit(&bytes).is_ok() {
            kept += bytes.len() as u32;
            guard.read(1);
            guard.sent(&packet(7, &[sack(TSN - 1, RECEIVE_BUFFER, &[(2, n as u16 + 1)])]));
        }
    }
    assert!((2 * RECEIVE_BUFFER..=MAX_AHEAD_BYTES + 2_000).contains(&kept), "{kept}");
}

#[test]
fn resets_are_let_through_once_for_each_channel_and_early_ones_seldom() {
    let mut guard = begun(TSN);
    let early = (0..100).filter(|n| admit(&mut guard, &[reset(*n, TSN + 1_000_000, 1)]).is_ok()).count() as u32;
    assert_eq!(early, MAX_EARLY_RESETS);
    let due = (0..100).filter(|n| admit(&mut guard, &[reset(*n, TSN - 1, 1)]).is_ok()).count() as u32;
    assert_eq!(due, MAX_RESETS - MAX_EARLY_RESETS);
    // The answers to ours go on.
    let response = [RECONFIG_RESPONSE.to_be_bytes(), 12u16.to_be_bytes()].concat();
    let response = [response, 1u32.to_be_bytes().to_vec(), 1u32.to_be_bytes().to_vec()].concat();
    assert_eq!(admit(&mut guard, &[chunk(RE_CONFIG, 0, &response)]), Ok(()));
    assert_eq!(admit(&mut begun(TSN), &[reset(0, TSN - 1, MAX_NAMED as u16 + 1)]), Err(Refusal::Malformed));
}

#[test]
fn the_same_gap_block_again_and_again_is_refused() {
    let mut guard = begun(TSN);
    assert_eq!(admit(&mut guard, &[sack(1, 1_500, &[(2, 3), (5, 5), (7, 9)])]), Ok(()));
    for blocks in [&[(2, 900), (2, 900)][..], &[(5, 5), (3, 3)], &[(3, 2)], &[(0, 4)]] {
        assert_eq!(admit(&mut guard, &[sack(1, 1_500, blocks)]), Err(Refusal::Malformed), "{blocks:?}");
    }
}

#[test]
fn more_chunks_that_ask_for_answers_than_a_packet_has_are_refused() {
    let mut guard = begun(TSN);
    let heartbeat = chunk(HEARTBEAT, 0, &[0, 1, 0, 8, 1, 2, 3, 4]);
    assert_eq!(admit(&mut guard, &vec![heartbeat.clone(); MAX_CONTROL as usize]), Ok(()));
    assert_eq!(admit(&mut guard, &vec![heartbeat; MAX_CONTROL as usize + 1]), Err(Refusal::TooManyChunks));
}

#[test]
fn lengths_that_do_not_fit_and_chunks_nobody_agreed_on_are_refused() {
    let malformed: [&[u8]; 12] = [
        &[],
        &[0, 3, 0],
        &[0, 3, 0, 3],
        &[0, 3, 0, 200, 1, 2, 3, 4],
        // Without padding.
        &[COOKIE_ECHO, 0, 0, 5, 1],
        // An empty DATA, and one that has not even a number.
        &[DATA, 3, 0, 16, 0, 0, 3, 0xe8, 0, 1, 0, 0, 0, 0, 0, 53],
        &[DATA, 3, 0, 8, 0, 0, 3, 0xe8],
        // A SACK, a response and a cause in which a chunk could hide.
        &[SACK, 0, 0, 20, 0, 0, 0, 1, 0, 0, 6, 0, 0, 0, 0, 0, FORWARD_TSN, 0, 0, 8],
        &[RE_CONFIG, 0, 0, 24, 0, 16, 0, 20, 0, 0, 0, 1, 0, 0, 0, 1, FORWARD_TSN, 0, 0, 8, 0x7f, 0, 0, 0],
        &[ABORT, 0, 0, 12, 0, 12, 0, 4, 0, 0, 0, 3],
        &[HEARTBEAT, 0, 0, 16, 0, 1, 0, 4, FORWARD_TSN, 0, 0, 8, 0x7f, 0, 0, 0],
        &[SHUTDOWN, 0, 0, 4],
    ];
    for chunks in malformed {
        let bytes = [&[0; COMMON_HEADER], chunks].concat();
        assert_eq!(begun(TSN).admit(&bytes), Err(Refusal::Malformed), "{chunks:?}");
    }
    assert_eq!(begun(TSN).admit(&[0; 11]), Err(Refusal::Malformed));
    for kind in [2, 5, 64, 132, 194] {
        assert_eq!(admit(&mut begun(TSN), &[chunk(kind, 0, &[0; 20])]), Err(Refusal::Unsupported), "{kind}");
    }
    assert_eq!(admit(&mut begun(TSN), &[init(TSN), chunk(COOKIE_ACK, 0, &[])]), Err(Refusal::Malformed));
}

#[test]
fn a_refused_packet_leaves_the_guard_as_it_was() {
    let mut guard = begun(TSN);
    let before = format!("{guard:?}");
    let chunks = [data(TSN, BEGIN, 0, b"x"), reset(1, TSN - 1, 1), data(TSN + 9_000, BEGIN, 0, b"x")];
    assert_eq!(admit(&mut guard, &chunks), Err(Refusal::TooFarAhead));
    assert_eq!(format!("{guard:?}"), before);
}

/// An association that is up, and its tag.
fn associated(now: Instant) -> (DataChannels, u32) {
    let mut channels = DataChannels::new();
    let mut out = Vec::new();
    channels.handle(now, BytesMut::from(&packet(0, &[init(TSN)])[..]), &mut out).expect("no panic");
    let ack = out.remove(0);
    let tag = read_u32(&ack, 16).expect("a tag");
    let mut parameters = &ack[32..];
    let cookie = std::iter::from_fn(|| split_parameter(&mut parameters)).find(|(kind, _)| *kind == 7).expect("a cookie").1;
    let echo = packet(tag, &[chunk(COOKIE_ECHO, 0, &cookie[4..])]);
    channels.handle(now, BytesMut::from(&echo[..]), &mut out).expect("no panic");
    assert!(channels.is_open());
    (channels, tag)
}

#[test]
fn an_association_outlives_what_is_refused_and_goes_on() {
    let now = crate::clock::now();
    let (mut channels, tag) = associated(now);
    let mut give = |chunk: Vec<u8>| {
        let mut out: Vec<Bytes> = Vec::new();
        channels.handle(now, BytesMut::from(&packet(tag, &[chunk])[..]), &mut out).expect("no panic")
    };
    for hostile in
        [forward_tsn(TSN - 1 + (1 << 30)), forward_tsn(TSN - 1 + (u32::MAX >> 1)), data(TSN + 1_000_000, BEGIN, 0, b"x")]
    {
        assert_eq!(give(hostile).drop_reason(), Some(DropReason::SctpRefused));
    }
    let resets = (0..1_000).filter(|n| give(reset(*n, TSN + 1_000_000, 64)).drop_reason().is_none()).count() as u32;
    assert_eq!(resets, MAX_EARLY_RESETS);
    let outcome = give(data(TSN, BEGIN | END, 0, b"hello"));
    assert_eq!(outcome.messages.iter().map(|message| &message.payload[..]).collect::<Vec<_>>(), [b"hello"]);
}

#[test]
fn a_channel_that_is_closed_is_closed_by_the_relay_too() {
    let mut now = crate::clock::now();
    let (mut channels, tag) = associated(now);
    let mut out = Vec::new();
    let message = packet(tag, &[data(TSN, BEGIN | END, 0, b"hello")]);
    channels.handle(now, BytesMut::from(&message[..]), &mut out).expect("no panic");
    // Before the acknowledgement is out: the request is early, for all the guard knows.
    let mut request = OUTGOING_RESET.to_be_bytes().to_vec();
    request.extend(18u16.to_be_bytes());
    request.extend([1u32.to_be_bytes(), 0u32.to_be_bytes(), TSN.to_be_bytes()].concat());
    request.extend(1u16.to_be_bytes());
    let request = packet(tag, &[chunk(RE_CONFIG, 0, &request)]);
    out.clear();
    let outcome = channels.handle(now, BytesMut::from(&request[..]), &mut out).expect("no panic");
    assert_eq!(outcome.drop_reason(), None);
    now += Duration::from_millis(300);
    channels.handle_timeout(now, &mut out).expect("no panic");
    let answers = out.iter().filter(|packet| packet.get(COMMON_HEADER) == Some(&RE_CONFIG)).count();
    assert!(answers >= 2, "a response and a request of the relay's own, {answers}");
}

#[test]
fn the_library_never_holds_more_than_the_guard_allows() {
    let now = crate::clock::now();
    let (mut channels, tag) = associated(now);
    let payload = vec![0x41; 1_100];
    let mut admitted = 0u32;
    let mut longest = 0;
    for n in 0..4_000u32 {
        let mut out = Vec::new();
        let fragment = packet(tag, &[data(TSN + 1 + n % 1_000, UNORDERED, 0, &payload)]);
        let outcome = channels.handle(now, BytesMut::from(&fragment[..]), &mut out).expect("no panic");
        admitted += u32::from(outcome.drop_reason().is_none());
        longest = longest.max(out.len());
    }
    assert!(longest > 0, "gaps are reported at once");
    // Duplicates of what is there are let through as well, until the window is full.
    assert!(admitted * 1_100 <= 2 * MAX_AHEAD_BYTES, "{admitted}");
}

/// A sender as it may be, and a receiver that reads at once.
struct Link {
    guard: SctpGuard,
    random: u64,
    /// First TSN of the call.
    base: u32,
    /// Chunks by their number from `base`: flags, message and length.
    chunks: Vec<(u8, u16, usize)>,
    received: BTreeSet<u32>,
    /// Those not read, with their lengths.
    waiting: BTreeMap<u32, usize>,
    cumulative: u32,
    unacknowledged: u32,
    next_ssn: u16,
}

impl Link {
    fn chance(&mut self, percent: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 100 < percent
    }

    /// Numbers of the message around a chunk, where all of it came.
    fn whole(&self, number: u32) -> Option<std::ops::RangeInclusive<u32>> {
        let flags = |number: u32| self.received.contains(&number).then(|| self.chunks[number as usize].0);
        let (mut from, mut to) = (number, number);
        while flags(from)? & BEGIN == 0 {
            from -= 1;
        }
        while flags(to)? & END == 0 {
            to += 1;
        }
        Some(from..=to)
    }

    fn read(&mut self, message: std::ops::RangeInclusive<u32>) {
        self.guard.read(message.clone().count());
        self.waiting.retain(|number, _| !message.contains(number));
    }

    fn deliver(&mut self, number: u32) {
        let (flags, ssn, len) = self.chunks[number as usize];
        let chunk = data(self.base.wrapping_add(number), flags, ssn, &vec![0; len]);
        assert_eq!(admit(&mut self.guard, &[chunk]), Ok(()), "{number} after {}", self.cumulative);
        if self.received.insert(number) {
            self.waiting.insert(number, len);
            if flags & UNORDERED != 0 {
                self.whole(number).into_iter().for_each(|message| self.read(message));
            }
            while let Some(first) = self
                .waiting
                .keys()
                .copied()
                .find(|n| self.chunks[*n as usize].0 & UNORDERED == 0 && self.chunks[*n as usize].1 == self.next_ssn)
                && let Some(message) = self.whole(first)
            {
                self.read(message);
                self.next_ssn += 1;
            }
        }
        while self.received.contains(&self.cumulative) {
            self.cumulative += 1;
        }
        let gap = self.received.last().is_some_and(|last| *last >= self.cumulative);
        self.unacknowledged += 1;
        if gap || self.unacknowledged == 2 {
            self.acknowledge();
        }
    }

    fn window(&self) -> u32 {
        RECEIVE_BUFFER.saturating_sub(self.waiting.values().sum::<usize>() as u32)
    }

    fn acknowledge(&mut self) {
        self.unacknowledged = 0;
        let cumulative = self.base.wrapping_add(self.cumulative).wrapping_sub(1);
        self.guard.sent(&packet(7, &[sack(cumulative, self.window(), &[])]));
    }

    /// One round trip: what is missing again, and new chunks as far as window and congestion window go.
    fn round(&mut self, sent: &mut u32, loss: u64) {
        let mut flight: Vec<_> = (self.cumulative..*sent).filter(|number| !self.received.contains(number)).collect();
        let mut room = self.window();
        for number in &flight {
            room = room.saturating_sub(self.chunks[*number as usize].2 as u32);
        }
        while let Some((_, _, len)) = self.chunks.get(*sent as usize)
            && (*len as u32 <= room || flight.is_empty())
            && *sent - self.cumulative < 800
        {
            room = room.saturating_sub(*len as u32);
            flight.push(*sent);
            *sent += 1;
        }
        for index in 1..flight.len() {
            if self.chance(20) {
                let other = index.saturating_sub(1 + self.random as usize % 8);
                flight.swap(index, other);
            }
        }
        for number in flight {
            if !self.chance(loss) {
                self.deliver(number);
            }
            if self.chance(3) {
                self.deliver(number);
            }
        }
        // The timer of acknowledgements.
        self.acknowledge();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn legal_traffic_is_never_refused(
        base in prop_oneof![any::<u32>(), (0u32..2_000).prop_map(|before| 0u32.wrapping_sub(before))],
        messages in proptest::collection::vec((prop_oneof![1usize..200, 1usize..MAX_MESSAGE_LEN], any::<bool>()), 1..120),
        loss in 0u64..30,
        random in 1u64..,
    ) {
        let mut chunks = Vec::new();
        let mut ssn = 0;
        for (len, unordered) in messages {
            let pieces = len.div_ceil(1_150);
            for piece in 0..pieces {
                let mut flags = if piece == 0 { BEGIN } else { 0 } | if piece + 1 == pieces { END } else { 0 };
                flags |= if unordered { UNORDERED } else { 0 };
                chunks.push((flags, if unordered { 0 } else { ssn }, (len - piece * 1_150).min(1_150)));
            }
            ssn += u16::from(!unordered);
        }
        let (guard, received, waiting) = (begun(base), BTreeSet::new(), BTreeMap::new());
        let mut link = Link { guard, random, base, chunks, received, waiting, cumulative: 0, unacknowledged: 0, next_ssn: 0 };
        let (mut sent, mut rounds) = (0, 0);
        while (link.cumulative as usize) < link.chunks.len() {
            link.round(&mut sent, loss);
            rounds += 1;
            prop_assert!(rounds < 5_000, "stuck at {}", link.cumulative);
        }
        prop_assert!(link.waiting.is_empty());
    }

    #[test]
    fn no_bytes_make_it_panic_or_admit_what_is_far(bytes in proptest::collection::vec(any::<u8>(), 0..200), kinds in proptest::collection::vec(any::<u8>(), 1..6)) {
        let mut guard = begun(TSN);
        let _ = guard.admit(&bytes);
        guard.sent(&bytes);
        let chunks: Vec<_> = kinds.iter().map(|kind| chunk(*kind, 3, &bytes)).collect();
        let _ = admit(&mut guard, &chunks);
    }
}
