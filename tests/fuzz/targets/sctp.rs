//! SCTP of a peer, before the library sees it, and of the library, whose SACKs the guard reads. The input is a series of packets, each led
//! by its length in two bytes, whose highest bit says which way it goes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use segue_relay::transport::SctpGuard;

/// How a packet goes.
const OUTBOUND: u16 = 1 << 15;

fuzz_target!(|data: &[u8]| {
    let mut guard = SctpGuard::default();
    let mut rest = data;
    while let [high, low, tail @ ..] = rest {
        let lead = u16::from_be_bytes([*high, *low]);
        let (packet, after) = tail.split_at(usize::from(lead & !OUTBOUND).min(tail.len()));
        rest = after;
        if lead & OUTBOUND != 0 {
            guard.sent(packet);
        } else if guard.admit(packet).is_err() {
            // Refused means unchanged: the same is refused for the same again.
            assert!(guard.admit(packet).is_err());
        } else {
            guard.read(1);
        }
    }
});
