//! A lock between the threads of a process, held for nanoseconds. It lives in memory that fork wipes, so that a child
//! finds it open. Nobody waits for ever: the thread that holds it may be gone.
//!
//! Opening it is a plain store, which saves an atomic instruction (some 6 ns) each time. The price: the store may come
//! too late for one who just lies down, so whoever waits looks again after a millisecond.

use crate::sys::shared::{self, Reach};
use crate::sys::{self, Clock};
use core::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// How long anybody waits for a lock: longer than a holder waits for a processor among thousands of threads. The unit
/// tests know that it will not come.
const LONGEST_NS: u64 = if cfg!(test) { 3_000_000_000 } else { 30_000_000_000 };
/// How often at most, whatever the clock says.
const MOST_ROUNDS: u32 = 1 << 20;
/// Looks at the lock before the thread lies down: about a microsecond.
const SPINS: u32 = 64;
/// One sleep.
const SLEEP_NS: u32 = 1_000_000;

/// A limit to waiting.
#[derive(Debug)]
pub(super) struct Patience {
    begin: u64,
    rounds: u32,
}

impl Patience {
    /// From now on.
    pub(super) fn new() -> Self {
        Self { begin: sys::now(Clock::MonotonicCoarse), rounds: 0 }
    }

    /// Whether to give up; to be asked once a round.
    pub(super) fn is_over(&mut self) -> bool {
        self.rounds = self.rounds.saturating_add(1);
        let waited = sys::now(Clock::MonotonicCoarse).wrapping_sub(self.begin);
        waited > LONGEST_NS || self.rounds > MOST_ROUNDS
    }
}

/// The lock; zeroes are an open one.
#[derive(Debug)]
pub(super) struct Latch {
    shut: AtomicU32,
    waiting: AtomicU32,
}

/// While this lives the lock is held.
#[derive(Debug)]
pub(super) struct Held<'a>(&'a Latch);

impl Latch {
    #[cfg(test)]
    const fn new() -> Self {
        Self { shut: AtomicU32::new(0), waiting: AtomicU32::new(0) }
    }

    /// Takes the lock; `None` if it was not to be had for long.
    #[inline]
    pub(super) fn hold(&self) -> Option<Held<'_>> {
        if self.is_taken() || self.is_taken_in_time() { Some(Held(self)) } else { None }
    }

    #[inline]
    fn is_taken(&self) -> bool {
        self.shut.compare_exchange(0, 1, Acquire, Relaxed).is_ok()
    }

    #[cold]
    fn is_taken_in_time(&self) -> bool {
        for _ in 0..SPINS {
            core::hint::spin_loop();
            if self.shut.load(Relaxed) == 0 && self.is_taken() {
                return true;
            }
        }
        let mut patience = Patience::new();
        self.waiting.fetch_add(1, Relaxed);
        let taken = loop {
            if self.is_taken() {
                break true;
            }
            if patience.is_over() {
                break false;
            }
            shared::wait(self.shut.as_ptr(), 1, Reach::Private, SLEEP_NS);
        };
        self.waiting.fetch_sub(1, Relaxed);
        taken
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.shut.store(0, Release);
        if self.0.waiting.load(Relaxed) != 0 {
            shared::wake(self.0.shut.as_ptr(), Reach::Private);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::UnsafeCell;

    struct Guarded(Latch, UnsafeCell<u64>);

    #[expect(unsafe_code, reason = "what the lock is for")]
    // SAFETY: the number is touched under the lock only.
    unsafe impl Sync for Guarded {}

    #[test]
    #[expect(unsafe_code, reason = "what the lock is for")]
    fn threads_take_turns() {
        let guarded = Guarded(Latch::new(), UnsafeCell::new(0));
        let guarded = &guarded;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        let _held = guarded.0.hold().unwrap();
                        // SAFETY: the lock is held.
                        unsafe { *guarded.1.get() += 1 };
                    }
                });
            }
        });
        let _held = guarded.0.hold().unwrap();
        // SAFETY: the lock is held.
        assert_eq!(unsafe { *guarded.1.get() }, 160_000);
    }

    #[test]
    fn a_lock_whose_thread_is_gone_is_not_waited_for_for_ever() {
        let latch = Latch::new();
        std::mem::forget(latch.hold());
        assert!(latch.hold().is_none());
    }
}
