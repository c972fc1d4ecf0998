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
//! | `turn`, `gate`, `raise` | the locks between processes and between threads; reserving, reclaiming, trimming |
//! | [`live`], `latch` | what is known of live memory, by address; the lock between threads |
//!
//! **Fork.** All state lies in memory that fork wipes, and the mapping is not inherited: a child is no member until it
//! joins. **Death.** The kernel drops the slot's lock with the mapping, at exit, exec and SIGKILL. That is before the
//! driver has torn down the process's memory, so for a moment the card may hold more than the ledger says.
//! **Garbage.** The container can write to the ledger. Other slots' garbage can only refuse; a process whose own word
//! is lowered by somebody uses more than it should, as one that goes around the shim does.
#![expect(unsafe_code, reason = "state in memory that fork wipes")]

mod file;
mod gate;
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
use firstlight_contract::ledger::{DEVICES, LANES, UNIT};
use gate::Gate;
use latch::Latch;
use live::Plain;
use map::At;
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

/// What was charged: to be kept, and given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    device: u8,
    lane: u8,
    owner: u16,
    units: u32,
}

// SAFETY: numbers.
unsafe impl Plain for Charge {}

impl Charge {
    /// The same with a number of the caller's, which is kept along.
    #[must_use]
    pub fn with_owner(self, owner: u16) -> Self {
        Self { owner, ..self }
    }

    /// The number of the caller's.
    pub fn owner(self) -> u16 {
        self.owner
    }

    /// Number of the device in the ledger.
    pub fn device(self) -> usize {
        usize::from(self.device)
    }

    /// Bytes, in whole units.
    pub fn bytes(self) -> u64 {
        bytes(u64::from(self.units))
    }
}

/// What holds a process to its quota. One counts in the ledger ([`Quota`]); another could be the driver's own limits,
/// where a driver has them.
pub trait Budget {
    /// Charges bytes of a device.
    fn charge(&self, device: usize, bytes: u64) -> Result<Charge, Refused>;
    /// Gives back what was charged.
    fn release(&self, charge: Charge);
    /// Makes a charge one of so many bytes; if that is refused it stays what it was.
    fn resize(&self, charge: Charge, bytes: u64) -> Result<Charge, Refused>;
    /// Bytes of a device that this process uses, and that all who live use together.
    fn used(&self, device: usize) -> (u64, u64);
    /// The quota of a device, bytes; 0 where there is none to be had.
    fn limit(&self, device: usize) -> u64;
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
    raising: Gate,
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

    /// Charges bytes of a device, rounded up to units, to a lane. Threads that give different lanes (any numbers) do not wait for
    /// each other.
    #[inline]
    pub fn charge_in(&self, lane: usize, device: usize, bytes: u64) -> Result<Charge, Refused> {
        let Some(place) = self.place() else { return Err(self.refused(Cause::Away, device, bytes)) };
        let (own, limit) = (At { slot: place.slot, lane: lane % LANES }, place.limit(device));
        let Some(charge) = charge(own.lane, device, bytes) else {
            return Err(self.refused(Cause::Full, device, bytes));
        };
        let Some(word) = place.map.word(own, device) else {
            return Err(self.refused(Cause::Full, device, bytes));
        };
        if step::change(word, |word| step::spent(word, charge.units, limit)) {
            return Ok(charge);
        }
        let Some(held) = self.gate().and_then(Gate::hold) else {
            return Err(self.refused(Cause::Busy, device, bytes));
        };
        // Another thread may have reserved enough meanwhile.
        let raised = if step::change(word, |word| step::spent(word, charge.units, limit)) {
            Ok(())
        } else {
            raise::charge(place, own, device, charge.units)
        };
        drop(held);
        raised.map(|()| charge).map_err(|cause| self.refused(cause, device, bytes))
    }

    /// Gives back what was charged.
    #[inline]
    pub fn release(&self, charge: Charge) {
        let Some(place) = self.place() else { return };
        let at = At { slot: place.slot, lane: usize::from(charge.lane) };
        if let Some(word) = place.map.word(at, charge.device()) {
            step::change(word, |word| Some(step::returned(word, charge.units)));
        }
    }

    /// Makes a charge one of so many bytes; if that is refused it stays what it was.
    pub fn resize(&self, charge: Charge, bytes: u64) -> Result<Charge, Refused> {
        let missing = bytes.saturating_sub(charge.bytes());
        if missing > 0 {
            let more = self.charge_in(usize::from(charge.lane), charge.device(), missing)?;
            return Ok(Charge { units: charge.units.saturating_add(more.units), ..charge });
        }
        let kept = u32::try_from(bytes.div_ceil(UNIT)).map_or(charge.units, |units| units.min(charge.units));
        self.release(Charge { units: charge.units.saturating_sub(kept), ..charge });
        Ok(Charge { units: kept, ..charge })
    }

    /// Bytes of a device that this process uses, and that all who live use together.
    pub fn used(&self, device: usize) -> (u64, u64) {
        let Some(place) = self.place() else { return (0, 0) };
        let own = bytes(place.map.used(place.slot, device));
        let mut file = None;
        let others = (0..place.map.taken()).filter(|slot| *slot != place.slot).map(|slot| {
            let used = place.map.used(slot, device);
            let counts = used > 0
                && file.get_or_insert_with(|| place.file()).as_ref().is_none_or(|file| file.is_held(slot));
            if counts { bytes(used) } else { 0 }
        });
        (own, others.fold(own, u64::saturating_add))
    }

    /// The quota of a device, bytes; 0 without a place.
    pub fn limit(&self, device: usize) -> u64 {
        self.place().map_or(0, |place| bytes(u64::from(place.limit(device))))
    }

    /// The number of a device that the grant has no line for: its place among the names in the ledger, in which it is
    /// entered when it is first asked for. The first places are those of devices that have a line. `None` if there is no
    /// room, or no place.
    pub fn number_of(&self, uuid: [u8; 16], first: usize) -> Option<usize> {
        let (low, high) = halves(uuid);
        let map = &self.place()?.map;
        (first..DEVICES).find(|device| map.name(*device, low, high))
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

    fn gate(&self) -> Option<&Gate> {
        self.state().map(|state| &state.raising)
    }

    fn state(&self) -> Option<&State> {
        let state = shared::once(&self.state, 1, shared::forgetful)?;
        // SAFETY: as in `place`.
        Some(unsafe { &*state })
    }
}

impl Budget for Quota {
    /// The lane is the calling thread's.
    #[inline]
    fn charge(&self, device: usize, bytes: u64) -> Result<Charge, Refused> {
        self.charge_in(crate::thread::number(), device, bytes)
    }

    #[inline]
    fn release(&self, charge: Charge) {
        self.release(charge);
    }

    fn resize(&self, charge: Charge, bytes: u64) -> Result<Charge, Refused> {
        self.resize(charge, bytes)
    }

    fn used(&self, device: usize) -> (u64, u64) {
        self.used(device)
    }

    fn limit(&self, device: usize) -> u64 {
        self.limit(device)
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

/// `None` if a word cannot count so much, or if there is no such device.
#[inline]
fn charge(lane: usize, device: usize, bytes: u64) -> Option<Charge> {
    let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
    Some(Charge { device: u8::try_from(device).ok()?, lane: u8::try_from(lane).ok()?, owner: 0, units })
}

/// As two words of the file; the first is never 0, which is a name that nobody entered.
fn halves(uuid: [u8; 16]) -> (u64, u64) {
    let half = |part: Option<&[u8; 8]>| part.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (half(uuid.first_chunk()).max(1), half(uuid.last_chunk()))
}

fn bytes(units: u64) -> u64 {
    units.wrapping_mul(UNIT)
}
