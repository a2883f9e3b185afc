//! RTP: classification, the zero-copy view and the owned packet agree, and what reads writes and reads again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use segue_media::packet::{ExtensionMap, RtpPacket, RtpView, classify};

fuzz_target!(|data: &[u8]| {
    let _kind = classify(data);
    let map = ExtensionMap::ours();
    let view = RtpView::parse(data);
    let _protected = RtpView::parse_protected(data);
    let Ok(packet) = RtpPacket::parse(Bytes::copy_from_slice(data), &map) else { return };
    let view = view.expect("what the packet reads, the view reads");
    assert_eq!(view.ssrc(), packet.header.ssrc);
    assert_eq!(view.sequence(), packet.header.sequence);
    for id in 0..=u8::MAX {
        let _extension = view.extension(id);
    }
    let mut written = Vec::new();
    packet.write(&map, &mut written);
    let again = RtpPacket::parse(Bytes::from(written), &map).expect("what was written reads");
    assert_eq!(packet, again);
});
