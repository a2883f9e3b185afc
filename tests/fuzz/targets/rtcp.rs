//! RTCP compounds: what reads writes and reads again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use segue_media::packet::{parse_compound, write_compound};

fuzz_target!(|data: &[u8]| {
    let Ok(packets) = parse_compound(data) else { return };
    let mut written = Vec::new();
    write_compound(&packets, &mut written);
    // Packets of unknown types are not written.
    assert!(written.is_empty() || parse_compound(&written).is_ok(), "what was written reads");
});
