//! Whatever a container writes behind the header, the sum of a device is that of its processes. The rest is zero, as in
//! the file: a fuzzer does not find 148 KiB.
#![no_main]

use firstlight_contract::ledger::{DEVICES, Ledger, SIZE, header, held};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Ledger::read(bytes);
    let _ = held(&String::from_utf8_lossy(bytes), (0xfe, 0), 7);
    let mut file = header().to_vec();
    file.extend_from_slice(bytes);
    file.resize(SIZE, 0);
    let ledger = Ledger::read(&file).expect("the header is there");
    for device in 0..DEVICES {
        let sum: u64 = ledger.holders.values().map(|holder| holder.used_bytes(device)).sum();
        assert_eq!(ledger.used_bytes(device), sum);
    }
});
