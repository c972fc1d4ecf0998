//! A text is an error or a list of faults that prints to itself.
#![no_main]

use firstlight_contract::fault::{parse, print};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(faults) = parse(text) {
        assert_eq!(parse(&print(&faults)), Ok(faults));
    }
});
