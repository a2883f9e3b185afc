//! Every decoder of signalling, in both forms: what reads must write and read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use segue_wire::{
    Encoding, decode_client_frame, decode_lossy, decode_server_frame, decode_signal, encode_client_frame, encode_lossy,
    encode_server_frame, encode_signal,
};

fuzz_target!(|data: &[u8]| {
    for encoding in [Encoding::Proto, Encoding::Json] {
        if let Ok(frame) = decode_client_frame(encoding, data) {
            let again = decode_client_frame(encoding, &encode_client_frame(encoding, &frame)).expect("what was written reads");
            assert_eq!(frame, again);
        }
        if let Ok(frame) = decode_server_frame(encoding, data) {
            let again = decode_server_frame(encoding, &encode_server_frame(encoding, &frame)).expect("what was written reads");
            assert_eq!(frame, again);
        }
        if let Ok((signal, _)) = decode_signal(encoding, data) {
            assert!(decode_signal(encoding, &encode_signal(encoding, &signal)).is_ok());
        }
        if let Ok(lossy) = decode_lossy(encoding, data) {
            assert!(decode_lossy(encoding, &encode_lossy(encoding, &lossy)).is_ok());
        }
    }
});
