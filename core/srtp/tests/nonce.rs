//! No (key, SSRC, rollover counter, sequence number) is ever sealed twice.
//!
//! Every packet here has sixteen zero bytes to encrypt, so its ciphertext *is* the keystream of its nonce: two that agree were
//! sealed with one nonce. That looks past everything the sender says about itself.

use std::collections::BTreeSet;

use proptest::prelude::*;
use segue_model::ExtSeq;
use segue_srtp::{MAX_STREAMS, MasterKey, Profile, SealError, SrtpSender};

fn sender() -> SrtpSender {
    SrtpSender::new(&MasterKey::new(Profile::AeadAes128Gcm, &[7; 16], &[9; 12]).unwrap()).unwrap()
}

/// Seals an RTP packet of sixteen zero bytes and gives the keystream.
fn keystream(sender: &mut SrtpSender, ssrc: u32, index: ExtSeq, marker: bool) -> Result<[u8; 16], SealError> {
    let mut packet = vec![0x80, if marker { 0xe0 } else { 0x60 }];
    packet.extend(index.wire().0.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0; 16]);
    sender.seal_rtp_vec(index, &mut packet)?;
    Ok(packet[12..28].try_into().unwrap())
}

fn rtcp_keystream(sender: &mut SrtpSender, ssrc: u32) -> Result<[u8; 16], SealError> {
    let mut packet = vec![0x80, 200, 0, 5];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0; 16]);
    sender.seal_rtcp_vec(&mut packet)?;
    Ok(packet[8..24].try_into().unwrap())
}

/// What callers do to a leg: go on, wrap, jump, repeat themselves (a retransmission under the old number), go back to an earlier
/// number (a resume that forgot where it was), begin again in rollover zero, and send RTCP in between.
#[derive(Clone, Debug)]
enum Step {
    Next,
    Jump(u32),
    Repeat,
    Back(u32),
    Restart,
    Rtcp,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Next),
        1 => (0u32..200_000).prop_map(Step::Jump),
        2 => Just(Step::Repeat),
        2 => (1u32..140_000).prop_map(Step::Back),
        1 => Just(Step::Restart),
        1 => Just(Step::Rtcp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_nonce_repeats(
        starts in proptest::array::uniform3(0u64..1 << 18),
        steps in proptest::collection::vec((0usize..3, step(), any::<bool>()), 1..250),
    ) {
        let mut sender = sender();
        // A stream, its repair stream next to it, and a third.
        let ssrcs = [0x0102_0304, 0x0102_0305, 0xffff_ffff];
        let mut at = starts;
        let (mut rtp_seen, mut rtcp_seen) = (BTreeSet::new(), BTreeSet::new());
        for (stream, step, marker) in steps {
            let index = match step {
                Step::Next => at[stream] + 1,
                Step::Jump(by) => at[stream] + u64::from(by),
                Step::Repeat => at[stream],
                Step::Back(by) => at[stream].saturating_sub(u64::from(by)),
                Step::Restart => u64::from(at[stream] as u16),
                Step::Rtcp => {
                    prop_assert!(rtcp_seen.insert(rtcp_keystream(&mut sender, ssrcs[stream]).unwrap()));
                    continue;
                }
            };
            at[stream] = index.max(at[stream]);
            if let Ok(stream) = keystream(&mut sender, ssrcs[stream], ExtSeq(index), marker) {
                prop_assert!(rtp_seen.insert(stream), "keystream used twice");
            }
        }
    }
}

#[test]
fn the_same_packet_is_sealed_once() {
    let mut sender = sender();
    assert!(keystream(&mut sender, 1, ExtSeq(65_536 + 9), false).is_ok());
    assert_eq!(keystream(&mut sender, 1, ExtSeq(65_536 + 9), true), Err(SealError::Repeated));
    assert_eq!(keystream(&mut sender, 1, ExtSeq(9), false), Err(SealError::Repeated));
    assert!(keystream(&mut sender, 2, ExtSeq(9), false).is_ok());
}

#[test]
fn a_number_that_is_not_in_the_header_is_refused() {
    let mut packet = vec![0x80, 0x60, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(sender().seal_rtp_vec(ExtSeq(8), &mut packet), Err(SealError::Malformed));
}

#[test]
fn the_table_of_streams_is_bounded_and_forgets_nothing() {
    let mut sender = sender();
    for ssrc in 0..MAX_STREAMS as u32 {
        keystream(&mut sender, ssrc, ExtSeq(1), false).unwrap();
    }
    assert_eq!(keystream(&mut sender, u32::MAX, ExtSeq(1), false), Err(SealError::TooManyStreams));
    assert_eq!(keystream(&mut sender, 0, ExtSeq(1), false), Err(SealError::Repeated));
    assert!(keystream(&mut sender, 0, ExtSeq(2), false).is_ok());
}

#[test]
fn the_last_index_of_a_key_is_the_last() {
    let mut sender = sender();
    keystream(&mut sender, 1, ExtSeq(5), false).unwrap();
    assert!(keystream(&mut sender, 1, ExtSeq((1 << 48) - 1), false).is_ok());
    assert_eq!(keystream(&mut sender, 1, ExtSeq(1 << 48), false), Err(SealError::Exhausted));
}
