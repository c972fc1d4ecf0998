//! A lock between the threads of a process that is held for as long as a reservation takes: those who wait sleep until they
//! are woken. Without it each would wait for the process's turn by itself, and hundreds that look whether the holder
//! lives leave it no time. Zeroes are an open one; it lives in memory that fork wipes.

use super::latch::Patience;
use crate::sys::shared::{self, Reach, Undisturbed};
use core::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// In case a wake-up is lost with the thread that was woken.
const SLEEP_NS: u32 = 50_000_000;
const OPEN: u32 = 0;
const SHUT: u32 = 1;
/// And somebody waits.
const WANTED: u32 = 2;

/// The lock.
#[derive(Debug)]
pub(super) struct Gate(AtomicU32);

/// While this lives the lock is held. No signal handler may jump out of it.
#[derive(Debug)]
pub(super) struct Held<'a> {
    gate: &'a Gate,
    _undisturbed: Undisturbed,
}

impl Gate {
    /// Takes the lock; `None` if it was not to be had for long.
    pub(super) fn hold(&self) -> Option<Held<'_>> {
        let mut patience = Patience::new();
        let mut undisturbed = Undisturbed::begin();
        if self.0.compare_exchange(OPEN, SHUT, Acquire, Relaxed).is_ok() {
            return Some(Held { gate: self, _undisturbed: undisturbed });
        }
        while self.0.swap(WANTED, Acquire) != OPEN {
            drop(undisturbed);
            if patience.is_over() {
                return None;
            }
            shared::wait(self.0.as_ptr(), WANTED, Reach::Private, SLEEP_NS);
            undisturbed = Undisturbed::begin();
        }
        Some(Held { gate: self, _undisturbed: undisturbed })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.gate.0.swap(OPEN, Release) == WANTED {
            shared::wake(self.gate.0.as_ptr(), Reach::Private);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn threads_take_turns() {
        let (gate, count) = (Gate(AtomicU32::new(OPEN)), AtomicU64::new(0));
        let (gate, count) = (&gate, &count);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(move || {
                    for _ in 0..2000 {
                        let _held = gate.hold().unwrap();
                        // Two steps, between which nobody may come.
                        let before = count.load(Relaxed);
                        std::hint::spin_loop();
                        count.store(before + 1, Relaxed);
                    }
                });
            }
        });
        assert_eq!(count.load(Relaxed), 32_000);
    }

    #[test]
    fn a_lock_whose_thread_is_gone_is_not_waited_for_for_ever() {
        let gate = Gate(AtomicU32::new(OPEN));
        std::mem::forget(gate.hold());
        assert!(gate.hold().is_none());
    }
}
