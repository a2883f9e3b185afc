use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// A NAL unit of `size` bytes without start codes in it.
fn unit(header: u8, size: usize) -> Vec<u8> {
    std::iter::once(header).chain((1..size).map(|at| (at % 250) as u8 + 2)).collect()
}

fn annex_b(units: &[Vec<u8>]) -> Vec<u8> {
    units.iter().flat_map(|unit| [0, 0, 0, 1].into_iter().chain(unit.iter().copied())).collect()
}

#[test]
fn parameter_sets_share_a_packet_and_the_slice_is_cut_evenly() {
    let frame = annex_b(&[unit(0x67, 12), unit(0x68, 4), unit(0x65, 10_000)]);
    let payloads = packetise(&frame);
    assert_eq!(payloads[0][0] & TYPE_MASK, STAP_A);
    let sizes: Vec<usize> = payloads[1..].iter().map(Bytes::len).collect();
    assert_eq!(sizes.len(), 10);
    assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
    assert_eq!(depacketise(payloads.iter()).unwrap(), frame);
}

#[test]
fn three_byte_start_codes_and_trailing_zeros_are_read() {
    let stream = [9, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3, 0, 0, 1, 0x65, 0, 1, 4, 0, 0];
    let units: Vec<&[u8]> = nal_units(&stream).collect();
    assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 0, 1, 4]]);
    assert!(packetise(&[1, 2, 3]).is_empty());
    assert!(packetise(&[]).is_empty());
}

#[test]
fn broken_payloads_are_named() {
    let read = |payloads: &[&'static [u8]]| {
        let payloads: Vec<Bytes> = payloads.iter().map(|payload| Bytes::from_static(payload)).collect();
        depacketise(payloads.iter()).unwrap_err()
    };
    assert_eq!(read(&[]), DepacketiseError::Empty);
    assert_eq!(read(&[&[]]), DepacketiseError::Truncated);
    assert_eq!(read(&[&[0x78, 0, 9, 1]]), DepacketiseError::Truncated);
    assert_eq!(read(&[&[0x7c]]), DepacketiseError::Truncated);
    assert_eq!(read(&[&[0x7c, 0x85, 1]]), DepacketiseError::Fragments);
    assert_eq!(read(&[&[0x7c, 0x05, 1]]), DepacketiseError::Fragments);
    assert_eq!(read(&[&[0x7c, 0x85, 1], &[0x65, 1]]), DepacketiseError::Fragments);
    assert_eq!(read(&[&[0x7d, 1]]), DepacketiseError::Type(29));
}

proptest! {
    #[test]
    fn any_access_unit_comes_back(sizes in proptest::collection::vec(2usize..5_000, 1..12), header in 1u8..24) {
        let units: Vec<Vec<u8>> = sizes.iter().map(|size| unit(0x60 | header, *size)).collect();
        let frame = annex_b(&units);
        let payloads = packetise(&frame);
        prop_assert!(payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
        prop_assert_eq!(depacketise(payloads.iter()).unwrap(), frame);
    }

    #[test]
    fn arbitrary_payloads_never_panic(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
        let payloads: Vec<Bytes> = payloads.into_iter().map(Bytes::from).collect();
        let _ = depacketise(payloads.iter());
    }

    #[test]
    fn arbitrary_streams_are_cut_without_loss_of_units(stream in proptest::collection::vec(0u8..4, 0..3_000)) {
        let units: Vec<Vec<u8>> = nal_units(&stream).map(<[u8]>::to_vec).collect();
        prop_assert!(units.iter().all(|unit| !unit.windows(3).any(|bytes| bytes == [0, 0, 1])));
        let _ = packetise(&stream);
    }
}
