//! Whatever an image has in the files that the dynamic loader reads, the preflight gets bounded lists of it.
#![no_main]

use firstlight_contract::ld_cache;
use firstlight_preflight::{elf, loader, steps};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = OsStr::from_bytes(bytes);
    assert!(loader::library_path(text).len() <= 64);
    assert!(loader::preload(text).len() <= 64);
    assert!(loader::preload_file(bytes).len() <= 64);
    let _ = ld_cache::paths_of(bytes, "libcuda.so.1");
    let _ = elf::read_from(bytes);
    let _ = steps::not_preloaded(&String::from_utf8_lossy(bytes));
});
