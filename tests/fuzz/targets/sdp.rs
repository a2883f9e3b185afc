//! Session descriptions of strangers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use segue_session::sdp::Description;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _read = Description::parse(text);
    }
});
