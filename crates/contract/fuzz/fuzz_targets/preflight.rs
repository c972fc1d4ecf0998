//! Whatever a container leaves as its last words, the report is bounded, and what was understood is written and read
//! back as it was.
#![no_main]

use firstlight_contract::preflight::{MAX_BYTES, MAX_FINDINGS, Report};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(report) = Report::parse(&String::from_utf8_lossy(bytes)) else { return };
    assert!(report.findings.len() <= MAX_FINDINGS);
    let again = Report::parse(&report.encode(usize::MAX));
    // What was cut once is cut again at the same place only where nothing is escaped anew.
    assert_eq!(again.map(|again| again.findings.len()), Some(report.findings.len()));
    assert!(report.encode(MAX_BYTES).len() <= MAX_BYTES);
});
