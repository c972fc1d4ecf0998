//! A text is a configuration or a list of mistakes, never a panic.
#![no_main]

use firstlight_contract::pools::{Pools, PoolsError};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(PoolsError(mistakes)) = Pools::parse(text) {
        assert!(!mistakes.is_empty());
    }
});
