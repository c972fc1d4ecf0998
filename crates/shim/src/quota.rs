//! The memory that the processes of a grant hold together, counted in the ledger (`contract::ledger` is its layout), and
//! held to the quota: not one byte more, and none refused while there is room.
//!
//! ```text
//! charge ──► used + n ≤ reserved? ──yes──► one compare-and-swap on the process's own word
//!               │ no
//!               ▼
//!            raise: the turn (a lock in the ledger) ──► sum of what all have reserved + n ≤ quota? ──► reserve more
//!                                                          │ no
//!                                                          ▼
//!                        take from the dead what they had, from the living what they do not use; twice; then refuse
//! ```
//!
//! | module | what |
//! |---|---|
//! | `step` | the arithmetic of one word |
//! | `map`, `file` | the ledger, mapped; the ledger, open: who lives |
//! | `place` | a process's slot, and how it gets it |
//! | `turn`, `raise` | the lock between processes; reserving, reclaiming, trimming |
//! | [`live`], `latch` | what was charged for which address; the lock between threads |
//!
//! **Fork.** All state lies in memory that fork wipes, and the mapping is not inherited: a child is no member until it
//! joins. **Death.** The kernel drops the slot's lock with the mapping, at exit, exec and SIGKILL. That is before the
//! driver has torn down the process's memory, so for a moment the card may hold more than the ledger says.
//! **Garbage.** The container can write to the ledger. Other slots' garbage can only refuse; a process whose own word
//! is lowered by somebody uses more than it should, as one that goes around the shim does.
#![expect(unsafe_code, reason = "state in memory that fork wipes")]

mod file;
mod latch;
pub mod live;
mod map;
mod place;
mod raise;
mod step;
#[cfg(test)]
mod tests;
mod turn;

use crate::sys::shared;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Acquire, Ordering::Release};
use firstlight_contract::ledger::UNIT;
use latch::Latch;
use place::Place;

pub use place::Failure;

/// Why a charge was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The quota is used up.
    Full,
    /// The ledger's lock was held for seconds by a process that lives.
    Busy,
    /// The process has no place in the ledger, or the file could not be opened to see who died.
    Away,
}

/// A refused charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub cause: Cause,
    /// Bytes that were asked for.
    pub asked: u64,
    /// Bytes that this process uses.
    pub used: u64,
    /// Bytes that other processes use.
    pub used_by_others: u64,
    /// The quota, bytes.
    pub limit: u64,
}

/// A process's part in a quota.
pub struct Quota {
    state: AtomicPtr<State>,
}

/// In memory that fork wipes; zeroes are a process without a place.
struct State {
    joining: Latch,
    joined: AtomicU32,
    place: UnsafeCell<Place>,
}

impl Quota {
    /// Not joined.
    pub const fn new() -> Self {
        Self { state: AtomicPtr::new(null_mut()) }
    }

    /// Takes a slot of the ledger at a path (NUL-terminated) for this process, if it has none. The limits are bytes, by
    /// device; a device without one is refused. The token is the one in records.
    pub fn join(&self, path: &[u8], limits: &[u64], token: u64) -> Result<(), Failure> {
        let state = self.state().ok_or(Failure::NoMemory)?;
        let _held = state.joining.hold().ok_or(Failure::Busy)?;
        if state.joined.load(Acquire) == 0 {
            let place = Place::take(path, limits, token)?;
            // SAFETY: written under the lock, and nobody reads it before `joined` is set.
            unsafe { state.place.get().write(place) };
            state.joined.store(1, Release);
        }
        Ok(())
    }

    /// Whether this process has a place: a forked child has not.
    #[inline]
    pub fn is_joined(&self) -> bool {
        self.place().is_some()
    }

    /// Charges bytes of a device, rounded up to units.
    #[inline]
    pub fn charge(&self, device: usize, bytes: u64) -> Result<(), Refused> {
        let Some(place) = self.place() else { return Err(self.refused(Cause::Away, device, bytes)) };
        let Some(units) = units(bytes) else { return Err(self.refused(Cause::Full, device, bytes)) };
        let Some(word) = place.map.word(place.slot, device) else {
            return Err(self.refused(Cause::Full, device, bytes));
        };
        let limit = place.limit(device);
        if step::change(word, |word| step::spent(word, units, limit)) {
            return Ok(());
        }
        raise::charge(place, device, units).map_err(|cause| self.refused(cause, device, bytes))
    }

    /// Gives back what was charged for so many bytes.
    #[inline]
    pub fn release(&self, device: usize, bytes: u64) {
        let Some(place) = self.place() else { return };
        if let Some(word) = place.map.word(place.slot, device) {
            let units = units(bytes).unwrap_or(u32::MAX);
            step::change(word, |word| Some(step::returned(word, units)));
        }
    }

    /// Bytes of a device that this process uses, and that all who live use together.
    pub fn used(&self, device: usize) -> (u64, u64) {
        let Some(place) = self.place() else { return (0, 0) };
        let own = bytes(place.map.read(place.slot, device).used);
        let mut file = None;
        let others = (0..place.map.taken()).filter(|slot| *slot != place.slot).map(|slot| {
            let used = place.map.read(slot, device).used;
            let counts = used > 0
                && file.get_or_insert_with(|| place.file()).as_ref().is_none_or(|file| file.is_held(slot));
            if counts { bytes(used) } else { 0 }
        });
        (own, others.fold(own, u64::saturating_add))
    }

    /// The quota of a device, bytes; 0 without a place.
    pub fn limit(&self, device: usize) -> u64 {
        self.place().map_or(0, |place| bytes(place.limit(device)))
    }

    #[cold]
    fn refused(&self, cause: Cause, device: usize, asked: u64) -> Refused {
        let (used, all) = self.used(device);
        let used_by_others = all.saturating_sub(used);
        Refused { cause, asked, used, used_by_others, limit: self.limit(device) }
    }

    #[inline]
    fn place(&self) -> Option<&Place> {
        let state = self.state.load(Acquire);
        if state.is_null() {
            return None;
        }
        // SAFETY: made by `state`, freed when nobody has this object any more; zeroes are valid but for the place.
        let state = unsafe { &*state };
        // SAFETY: once it is joined nobody writes the place any more.
        (state.joined.load(Acquire) == 1).then(|| unsafe { &*state.place.get() })
    }

    fn state(&self) -> Option<&State> {
        let state = shared::once(&self.state, 1, shared::forgetful)?;
        // SAFETY: as in `place`.
        Some(unsafe { &*state })
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Quota {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("Quota")
    }
}

impl Drop for Quota {
    /// As the end of the process: the slot's lock goes, its words stay for others to take.
    fn drop(&mut self) {
        if let Some(place) = self.place() {
            // SAFETY: nobody else has this object any more.
            unsafe { place.map.end() };
        }
        let state = *self.state.get_mut();
        if !state.is_null() {
            // SAFETY: made by `state` with this length; nobody else has this object any more.
            unsafe { shared::unmap(state as usize, size_of::<State>()) };
        }
    }
}

/// Units that so many bytes take; `None` if they are more than a word counts.
#[inline]
pub(crate) fn units(bytes: u64) -> Option<u32> {
    u32::try_from(bytes.div_ceil(UNIT)).ok()
}

fn bytes(units: u32) -> u64 {
    u64::from(units).wrapping_mul(UNIT)
}
