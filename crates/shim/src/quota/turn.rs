//! Whose turn it is to raise a reservation: a lock in the ledger, between processes and between threads.
//!
//! The word is a counter (48 bits) and the holder's slot + 1 (16 bits; 0: nobody). The counter makes every state another
//! one, so that a dead holder is overtaken by exactly one of those who find it dead. A holder that lives is waited
//! for, half a minute at most: then the charge is refused.

use super::latch::Patience;
use super::map::Map;
use crate::sys::shared::{self, Reach, Undisturbed};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use firstlight_contract::ledger::SLOTS;

/// After so long a sleep the holder's life is doubted.
const SLEEP_NS: u32 = 5_000_000;
const HOLDER: u64 = 0xFFFF;

/// While this lives it is this process's turn. No signal handler may jump out of it: the lock would stay.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    map: &'a Map,
    state: u64,
    _undisturbed: Undisturbed,
}

impl<'a> Turn<'a> {
    /// Waits for the turn of a slot; `None` if it did not come. `is_alive` is asked about other slots.
    pub(super) fn wait(map: &'a Map, own: usize, is_alive: impl Fn(usize) -> bool) -> Option<Self> {
        let word = map.lock();
        let mut patience = Patience::new();
        let mut doubted = false;
        loop {
            let undisturbed = Undisturbed::begin();
            let seen = word.load(SeqCst);
            let holder = holder(seen);
            let vacant = holder.is_none_or(|holder| doubted && holder != own && !is_alive(holder));
            let state = next(seen) | own as u64 & HOLDER;
            let state = state.wrapping_add(1);
            if vacant && word.compare_exchange(seen, state, SeqCst, SeqCst).is_ok() {
                return Some(Self { map, state, _undisturbed: undisturbed });
            }
            drop(undisturbed);
            if patience.is_over() {
                return None;
            }
            if !vacant {
                doubted = sleep(word, seen);
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let word = self.map.lock();
        // If it is another state somebody has written garbage: not ours to mend.
        let _ = word.compare_exchange(self.state, next(self.state), SeqCst, SeqCst);
        shared::wake(low_half(word), Reach::Shared);
    }
}

/// A process that has just taken a slot ends the turn of the dead one whose slot it was.
pub(super) fn end_of_predecessor(map: &Map, slot: usize) {
    let word = map.lock();
    let seen = word.load(SeqCst);
    if holder(seen) == Some(slot) {
        let _ = word.compare_exchange(seen, next(seen), SeqCst, SeqCst);
        shared::wake(low_half(word), Reach::Shared);
    }
}

/// The slot whose turn it is. One that does not exist is garbage, and holds nothing.
fn holder(state: u64) -> Option<usize> {
    let slot = usize::try_from(state & HOLDER).ok()?.checked_sub(1)?;
    (slot < SLOTS).then_some(slot)
}

/// The next state, in which it is nobody's turn.
fn next(state: u64) -> u64 {
    (state & !HOLDER).wrapping_add(HOLDER).wrapping_add(1)
}

/// Sleeps until the word changes; whether it did not in time.
fn sleep(word: &AtomicU64, seen: u64) -> bool {
    shared::wait(low_half(word), (seen & 0xFFFF_FFFF) as u32, Reach::Shared, SLEEP_NS)
}

/// The half with the holder and the counter's low bits: a futex has 32 bits.
fn low_half(word: &AtomicU64) -> *const u32 {
    word.as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_grows_and_the_holder_is_a_slot() {
        assert_eq!(next(0x0005_0003), 0x0006_0000);
        assert_eq!(next(u64::MAX), 0);
        assert_eq!([0, 1, 0x7_0100, 0x7_0101, 0xFFFF].map(holder), [None, Some(0), Some(255), None, None]);
    }
}
