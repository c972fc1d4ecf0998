//! The grant's text, read once.
#![expect(unsafe_code, reason = "a buffer that is filled once")]

use crate::start::{c_path, read_file};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use firstlight_contract::paths;

const SIZE: usize = 8192;
const EMPTY: u32 = 0;
const FILLING: u32 = 1;
const FULL: u32 = 2;

struct Kept {
    state: AtomicU32,
    length: AtomicUsize,
    text: UnsafeCell<[u8; SIZE]>,
}

// SAFETY: the text is written by the one thread that moved the state from EMPTY to FILLING, and read when FULL.
unsafe impl Sync for Kept {}

static KEPT: Kept =
    Kept { state: AtomicU32::new(EMPTY), length: AtomicUsize::new(0), text: UnsafeCell::new([0; SIZE]) };

/// Reads the grant from this file (NUL-terminated), if none was read yet.
pub fn use_file(path: &[u8]) {
    if KEPT.state.compare_exchange(EMPTY, FILLING, SeqCst, SeqCst).is_err() {
        return;
    }
    // SAFETY: this thread alone fills it.
    let text = unsafe { &mut *KEPT.text.get() };
    let length = read_file(path, text).len();
    KEPT.length.store(length, SeqCst);
    KEPT.state.store(FULL, SeqCst);
}

/// Calls with the text of the grant: the container's own, else the one that [`use_file`] was given, else empty.
pub fn with<T>(then: impl FnOnce(&[u8]) -> T) -> T {
    use_file(c_path!(paths::container::GRANT));
    if KEPT.state.load(SeqCst) != FULL {
        // Another thread is filling it; it takes microseconds. The caller can do without.
        let mut text = [0; SIZE];
        return then(read_file(c_path!(paths::container::GRANT), &mut text));
    }
    // SAFETY: full, so nobody writes any more.
    let text = unsafe { &*KEPT.text.get() };
    then(text.get(..KEPT.length.load(SeqCst)).unwrap_or(&[]))
}
