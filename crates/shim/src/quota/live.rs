//! What of the device's memory is held, by address: a free names the address only. An open-addressed table of 64 parts,
//! each with a lock of its own, in memory that fork wipes: what the parent holds is not the child's to give back.
//!
//! A part grows by doubling when it is half full; what is removed leaves no mark, since those that follow move up.
#![expect(unsafe_code, reason = "tables in memory of their own")]

use super::latch::Latch;
use crate::sys::shared;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::Acquire};
use firstlight_contract::ledger::UNIT;

const PARTS_LOG: u32 = 6;
const PARTS: usize = 1 << PARTS_LOG;
/// Entries of a new part: one page.
const FIRST_LOG: u32 = 8;

/// What was charged for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The device.
    pub device: u32,
    /// Units of the ledger.
    pub units: u32,
}

impl Held {
    /// So many bytes of a device; `None` if they are more than any ledger counts.
    pub fn new(device: usize, bytes: u64) -> Option<Self> {
        Some(Self { device: u32::try_from(device).ok()?, units: super::units(bytes)? })
    }

    /// The bytes that were charged.
    pub fn bytes(self) -> u64 {
        u64::from(self.units).wrapping_mul(UNIT)
    }
}

/// The address cannot be kept: it is null, there is no memory, or the table was locked for seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotKept;

/// An address and what it holds. No memory is at 0, so that an entry of zeroes is an empty one.
#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    address: u64,
    held: Held,
}

/// One of the tables; zeroes are an empty one.
struct Table {
    entries: *mut Entry,
    /// Binary logarithm of the number of entries.
    log: u32,
    length: usize,
}

#[repr(C, align(64))]
struct Part {
    latch: Latch,
    table: UnsafeCell<Table>,
}

/// Addresses and what they hold.
pub struct Live {
    parts: AtomicPtr<Part>,
}

impl Live {
    /// Nothing.
    pub const fn new() -> Self {
        Self { parts: AtomicPtr::new(null_mut()) }
    }

    /// Keeps what an address holds. Returns what it held before: its end was not seen.
    #[inline]
    pub fn insert(&self, address: u64, held: Held) -> Result<Option<Held>, NotKept> {
        if address == 0 {
            return Err(NotKept);
        }
        self.parts()
            .and_then(|parts| with(parts, address, |table| table.insert(address, held)))
            .ok_or(NotKept)?
    }

    /// Forgets an address; what it held.
    #[inline]
    pub fn remove(&self, address: u64) -> Option<Held> {
        let parts = self.parts.load(Acquire);
        if parts.is_null() || address == 0 {
            return None;
        }
        with(parts, address, |table| table.remove(address))?
    }

    /// How many addresses are kept.
    pub fn count(&self) -> usize {
        let parts = self.parts.load(Acquire);
        if parts.is_null() {
            return 0;
        }
        let lengths = (0..PARTS).filter_map(|part| with_part(parts, part, |table| table.length));
        lengths.fold(0, usize::wrapping_add)
    }

    fn parts(&self) -> Option<*mut Part> {
        shared::once(&self.parts, PARTS, shared::forgetful)
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Live {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("Live")
    }
}

#[inline]
fn with<T>(parts: *mut Part, address: u64, then: impl FnOnce(&mut Table) -> T) -> Option<T> {
    with_part(parts, (mixed(address) >> (u64::BITS - PARTS_LOG)) as usize, then)
}

#[inline]
fn with_part<T>(parts: *mut Part, part: usize, then: impl FnOnce(&mut Table) -> T) -> Option<T> {
    // SAFETY: there are PARTS parts, never freed, and zeroes are a valid one.
    let part = unsafe { &*parts.wrapping_add(part % PARTS) };
    let _held = part.latch.hold()?;
    // SAFETY: the lock is held.
    Some(then(unsafe { &mut *part.table.get() }))
}

/// Addresses have their differences in the middle; a part and a place are chosen by the highest bits.
#[inline]
fn mixed(address: u64) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let once = address.wrapping_mul(ODD);
    (once ^ once >> 32).wrapping_mul(ODD)
}

impl Table {
    fn capacity(&self) -> usize {
        if self.entries.is_null() { 0 } else { 1_usize.wrapping_shl(self.log) }
    }

    fn mask(&self) -> usize {
        self.capacity().wrapping_sub(1)
    }

    /// Where an address would be if no other had come first.
    #[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are left")]
    fn home(&self, address: u64) -> usize {
        (mixed(address) << PARTS_LOG).wrapping_shr(u64::BITS.wrapping_sub(self.log)) as usize
    }

    fn at(&self, index: usize) -> *mut Entry {
        self.entries.wrapping_add(index & self.mask())
    }

    /// Must not be called on a table without entries.
    fn get(&self, index: usize) -> Entry {
        // SAFETY: the index is masked, and the caller knows that there are entries.
        unsafe { self.at(index).read() }
    }

    /// Must not be called on a table without entries.
    fn put(&mut self, index: usize, entry: Entry) {
        // SAFETY: the index is masked, and the caller knows that there are entries.
        unsafe { self.at(index).write(entry) };
    }

    /// Where an address is, or the empty place where it would go; `None` without entries, or if none is empty.
    fn find(&self, address: u64) -> Option<(usize, Entry)> {
        let home = self.home(address);
        let mut indices = (0..self.capacity()).map(|step| home.wrapping_add(step) & self.mask());
        indices.find_map(|index| {
            let entry = self.get(index);
            (entry.address == address || entry.address == 0).then_some((index, entry))
        })
    }

    fn insert(&mut self, address: u64, held: Held) -> Result<Option<Held>, NotKept> {
        if self.length >= self.capacity() / 2 {
            // Without memory to grow the rest is used, but one entry stays empty: a search ends there.
            let grown = self.grow();
            if !grown && self.length.wrapping_add(1) >= self.capacity() {
                return Err(NotKept);
            }
        }
        let (index, before) = self.find(address).ok_or(NotKept)?;
        self.put(index, Entry { address, held });
        if before.address == address {
            return Ok(Some(before.held));
        }
        self.length = self.length.wrapping_add(1);
        Ok(None)
    }

    fn remove(&mut self, address: u64) -> Option<Held> {
        let (mut hole, found) = self.find(address).filter(|(_, entry)| entry.address == address)?;
        let mask = self.mask();
        let mut next = hole;
        for _ in 0..self.capacity() {
            next = next.wrapping_add(1) & mask;
            let entry = self.get(next);
            if entry.address == 0 {
                break;
            }
            // It may move up unless its home lies behind the hole.
            let from_home = next.wrapping_sub(self.home(entry.address)) & mask;
            if from_home >= next.wrapping_sub(hole) & mask {
                self.put(hole, entry);
                hole = next;
            }
        }
        self.put(hole, Entry { address: 0, held: Held { device: 0, units: 0 } });
        self.length = self.length.wrapping_sub(1);
        Some(found.held)
    }

    #[cold]
    fn grow(&mut self) -> bool {
        let log = if self.entries.is_null() { FIRST_LOG } else { self.log.wrapping_add(1) };
        let bytes = |log: u32| size_of::<Entry>().checked_shl(log);
        let Some(memory) = bytes(log).and_then(shared::forgetful) else { return false };
        let old = Self { entries: self.entries, log: self.log, length: self.length };
        *self = Self { entries: memory.cast(), log, length: old.length };
        for entry in (0..old.capacity()).map(|index| old.get(index)).filter(|entry| entry.address != 0) {
            if let Some((index, _)) = self.find(entry.address) {
                self.put(index, entry);
            }
        }
        if let Some(bytes) = bytes(old.log).filter(|_| !old.entries.is_null()) {
            // SAFETY: made here by `forgetful` with this length; the lock is held, so nobody else reads it.
            unsafe { shared::unmap(old.entries as usize, bytes) };
        }
        true
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let parts = *self.parts.get_mut();
        if parts.is_null() {
            return;
        }
        for part in 0..PARTS {
            let _ = with_part(parts, part, |table| {
                let bytes = table.capacity().wrapping_mul(size_of::<Entry>());
                if bytes > 0 {
                    // SAFETY: made by `grow` with this length; nobody else has this object any more.
                    unsafe { shared::unmap(table.entries as usize, bytes) };
                }
            });
        }
        // SAFETY: made by `parts` with this length; nobody else has this object any more.
        unsafe { shared::unmap(parts as usize, PARTS.wrapping_mul(size_of::<Part>())) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn held(units: u32) -> Held {
        Held { device: 1, units }
    }

    #[test]
    fn a_forked_child_has_nothing_to_give_back() {
        let live = Live::new();
        for address in 1..1000 {
            live.insert(address << 9, held(1)).unwrap();
        }
        let _alone = super::super::tests::FORKING.write();
        // SAFETY: the child calls nothing but the table and _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let fine = live.remove(1 << 9).is_none()
                && live.count() == 0
                && live.insert(7, held(2)) == Ok(None)
                && live.remove(7) == Some(held(2));
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!fine)) };
        }
        let mut status = -1;
        // SAFETY: the status is valid for writes.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((status, live.count()), (0, 999));
    }

    #[test]
    fn threads_find_what_they_kept() {
        let live = Live::new();
        let live = &live;
        std::thread::scope(|scope| {
            for thread in 1..=8_u64 {
                scope.spawn(move || {
                    for round in 0..3 {
                        let addresses = (0..3000).map(|index| thread << 40 | index << 21 | 1 << 20);
                        for address in addresses.clone() {
                            assert_eq!(live.insert(address, held(round)), Ok(None));
                        }
                        for address in addresses {
                            assert_eq!(live.remove(address), Some(held(round)));
                        }
                    }
                });
            }
        });
        assert_eq!(live.count(), 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u32),
        Remove(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Few addresses, so that they meet again; all multiples of 512, as a driver's are, or anything.
        let address = prop_oneof![(0..800_u64).prop_map(|index| index << 9), any::<u64>()];
        let step = prop_oneof![
            3 => (address.clone(), any::<u32>()).prop_map(|(address, units)| Step::Insert(address, units)),
            2 => address.prop_map(Step::Remove),
        ];
        vec(step, 0..3000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_map(steps in steps()) {
            let (live, mut map) = (Live::new(), HashMap::new());
            for step in steps {
                match step {
                    Step::Insert(0, units) => prop_assert_eq!(live.insert(0, held(units)), Err(NotKept)),
                    Step::Insert(address, units) => {
                        prop_assert_eq!(live.insert(address, held(units)), Ok(map.insert(address, held(units))));
                    }
                    Step::Remove(address) => prop_assert_eq!(live.remove(address), map.remove(&address)),
                }
            }
            prop_assert_eq!(live.count(), map.len());
            for (address, held) in map {
                prop_assert_eq!(live.remove(address), Some(held));
            }
        }

        /// All in one table of few entries: long chains, that wrap around its end.
        #[test]
        fn a_crowded_table_is_a_map(steps in vec((1..120_u64, any::<bool>()), 0..2000)) {
            let mut table = Table { entries: null_mut(), log: 0, length: 0 };
            let mut map = HashMap::new();
            // Addresses whose homes are few: the last ones and the first ones of the table.
            table.grow();
            let crowd: Vec<u64> =
                (1..).filter(|address| [254, 255, 0, 1].contains(&table.home(*address))).take(120).collect();
            for (index, insert) in steps {
                let address = crowd[usize::try_from(index).unwrap()];
                if insert {
                    prop_assert_eq!(table.insert(address, held(9)), Ok(map.insert(address, held(9))));
                } else {
                    prop_assert_eq!(table.remove(address), map.remove(&address));
                }
                prop_assert_eq!(table.length, map.len());
            }
            prop_assert_eq!(table.log, FIRST_LOG);
            for (address, held) in map {
                prop_assert_eq!(table.remove(address), Some(held));
            }
            prop_assert!((0..256).all(|index| table.get(index).address == 0));
            // SAFETY: made by `grow`; nobody uses it any more.
            unsafe { shared::unmap(table.entries as usize, 256 * size_of::<Entry>()) };
        }
    }
}
