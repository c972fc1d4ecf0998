//! A text is an error or a grant that prints to itself.
#![no_main]

use firstlight_contract::grant::{Grant, value};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = value(bytes, b"driver");
    if let Ok(grant) = Grant::parse(bytes) {
        assert_eq!(Grant::parse(grant.to_string().as_bytes()), Ok(grant));
    }
});
