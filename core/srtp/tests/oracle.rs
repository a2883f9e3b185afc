//! Our SRTP against another implementation: what one seals the other opens, both ways, across rollovers.

use proptest::prelude::*;
use rtc_crypto::RTCCryptoProvider;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use segue_model::ExtSeq;
use segue_srtp::{KeyingMaterial, MasterKey, OpenError, Profile, SrtpReceiver, SrtpSender};

const PROFILES: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];

fn material(profile: Profile) -> (MasterKey, Vec<u8>, Vec<u8>) {
    let bytes: Vec<u8> = (0..profile.exporter_len()).map(|n| (n * 37 + 11) as u8).collect();
    let keys = KeyingMaterial::from_exporter(profile, &bytes).unwrap();
    let salts = 2 * profile.key_len();
    (keys.client, bytes[..profile.key_len()].to_vec(), bytes[salts..salts + 12].to_vec())
}

fn oracle(profile: Profile) -> Context {
    let (_, key, salt) = material(profile);
    let profile = match profile {
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let provider = rtc_crypto::providers::RingProvider::new();
    Context::new(
        &key,
        &salt,
        profile,
        Some(srtp_replay_protection(1024)),
        Some(srtcp_replay_protection(1024)),
        provider.crypto(),
    )
    .unwrap()
}

fn sender(profile: Profile) -> SrtpSender {
    SrtpSender::new(&material(profile).0).unwrap()
}

fn receiver(profile: Profile) -> SrtpReceiver {
    SrtpReceiver::new(&material(profile).0).unwrap()
}

/// An RTP packet with an extension block of one four-byte word.
fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x90, 0x60];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0, 0, 0, 7]);
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// A picture loss indication.
fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x81, 206, 0, 2];
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([1, 2, 3, 4]);
    bytes
}

#[test]
fn they_open_what_we_seal_across_two_rollovers() {
    for profile in PROFILES {
        let (mut ours, mut theirs) = (sender(profile), oracle(profile));
        for step in 0..1_600u64 {
            // Extended numbers need not begin in rollover zero.
            let index = ExtSeq((3 << 16) + 20_000 + step * 100);
            let plain = rtp(77, index.wire().0, &step.to_be_bytes());
            let mut packet = plain.clone();
            ours.seal_rtp_vec(index, &mut packet).unwrap();
            assert_eq!(packet.len(), plain.len() + segue_srtp::RTP_OVERHEAD);
            assert_eq!(theirs.decrypt_rtp(&packet).unwrap(), plain);
        }
    }
}

#[test]
fn we_open_what_they_seal_across_two_rollovers() {
    for profile in PROFILES {
        let (mut ours, mut theirs) = (receiver(profile), oracle(profile));
        for step in 0..1_600u64 {
            let plain = rtp(77, (20_000 + step * 100) as u16, &step.to_be_bytes());
            let mut packet = theirs.encrypt_rtp(&plain).unwrap().to_vec();
            let len = ours.open_rtp(&mut packet).unwrap();
            assert_eq!(packet[..len], plain[..]);
        }
    }
}

#[test]
fn rtcp_agrees_both_ways_and_a_replay_is_refused() {
    for profile in PROFILES {
        let (mut seal, mut open) = (sender(profile), receiver(profile));
        let (mut their_seal, mut their_open) = (oracle(profile), oracle(profile));
        for ssrc in [5u32, 6, 5, 5, 6] {
            let mut packet = rtcp(ssrc);
            seal.seal_rtcp_vec(&mut packet).unwrap();
            assert_eq!(their_open.decrypt_rtcp(&packet).unwrap(), rtcp(ssrc));

            let sealed = their_seal.encrypt_rtcp(&rtcp(ssrc)).unwrap().to_vec();
            let mut packet = sealed.clone();
            let len = open.open_rtcp(&mut packet).unwrap();
            assert_eq!(packet[..len], rtcp(ssrc)[..]);
            assert_eq!(open.open_rtcp(&mut sealed.clone()), Err(OpenError::Replayed));
        }
    }
}

#[test]
fn reordering_around_a_rollover_opens_and_replays_do_not() {
    let (mut seal, mut open) = (sender(Profile::AeadAes128Gcm), receiver(Profile::AeadAes128Gcm));
    let sealed: Vec<_> = (65_500..65_600u64)
        .map(|index| {
            let mut packet = rtp(1, index as u16, b"media");
            seal.seal_rtp_vec(ExtSeq(index), &mut packet).unwrap();
            packet
        })
        .collect();
    for pair in sealed.chunks(2) {
        for packet in pair.iter().rev() {
            assert!(open.open_rtp(&mut packet.clone()).is_ok());
            assert_eq!(open.open_rtp(&mut packet.clone()), Err(OpenError::Replayed));
        }
    }
}

#[test]
fn a_packet_from_behind_the_window_is_too_old() {
    let (mut seal, mut open) = (sender(Profile::AeadAes128Gcm), receiver(Profile::AeadAes128Gcm));
    let mut first = rtp(1, 100, b"a");
    seal.seal_rtp_vec(ExtSeq(100), &mut first).unwrap();
    let mut late = rtp(1, 101, b"b");
    seal.seal_rtp_vec(ExtSeq(101), &mut late).unwrap();
    let mut far = rtp(1, 1_200, b"c");
    seal.seal_rtp_vec(ExtSeq(1_200), &mut far).unwrap();
    open.open_rtp(&mut first).unwrap();
    open.open_rtp(&mut far).unwrap();
    assert_eq!(open.open_rtp(&mut late), Err(OpenError::TooOld));
}

#[test]
fn rtcp_that_is_not_encrypted_is_refused() {
    let mut packet = rtcp(9);
    sender(Profile::AeadAes128Gcm).seal_rtcp_vec(&mut packet).unwrap();
    let word = packet.len() - 4;
    packet[word] &= 0x7f;
    assert_eq!(receiver(Profile::AeadAes128Gcm).open_rtcp(&mut packet), Err(OpenError::Unencrypted));
}

proptest! {
    #[test]
    fn nothing_forged_opens_or_leaves_a_trace(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
        let mut open = receiver(Profile::AeadAes128Gcm);
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut().filter(|_| version) {
            *first = 0x80 | (*first & 0x3f);
        }
        prop_assert!(open.open_rtp(&mut bytes.clone()).is_err());
        prop_assert!(open.open_rtcp(&mut bytes).is_err());
        prop_assert_eq!(open.streams(), 0);
    }

    #[test]
    fn a_flipped_bit_or_a_cut_end_is_found(at in 0usize..47, bit in 0u8..8, cut in 1usize..47) {
        let mut sealed = rtp(1, 5, b"eleven byte");
        sender(Profile::AeadAes256Gcm).seal_rtp_vec(ExtSeq(5), &mut sealed).unwrap();
        prop_assert_eq!(sealed.len(), 47);
        let mut flipped = sealed.clone();
        flipped[at] ^= 1 << bit;
        prop_assert!(receiver(Profile::AeadAes256Gcm).open_rtp(&mut flipped).is_err());
        let mut short = sealed[..47 - cut].to_vec();
        prop_assert!(receiver(Profile::AeadAes256Gcm).open_rtp(&mut short).is_err());
        prop_assert!(receiver(Profile::AeadAes256Gcm).open_rtp(&mut sealed).is_ok());
    }
}
