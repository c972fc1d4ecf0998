//! Whatever lies in a node's CDI directories is a specification or one sentence, and what was understood is bounded.
#![no_main]

use firstlight_contract::cdi::{self, MAX_DEVICES};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match cdi::parse(bytes) {
        Ok(spec) => {
            assert!(spec.devices.len() <= MAX_DEVICES && spec.kind.contains('/'));
            assert!(spec.devices.iter().all(|device| (1..=128).contains(&device.name.len())));
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
