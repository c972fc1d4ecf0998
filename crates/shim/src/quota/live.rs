//! What is known of live memory, by address: a free names the address only. An open-addressed table of 64 parts, each
//! with a lock of its own, in memory that fork wipes: what the parent holds is not the child's to give back.
//!
//! A part grows by doubling when it is half full; what is removed leaves no mark, since those that follow move up.
#![expect(unsafe_code, reason = "tables in memory of their own")]

use super::latch::Latch;
use crate::sys::shared;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::Acquire};

const PARTS_LOG: u32 = 6;
const PARTS: usize = 1 << PARTS_LOG;
/// Entries of a new part: one page.
const FIRST_LOG: u32 = 8;

/// What may be kept for an address: numbers only, so that zeroes are a valid one.
///
/// # Safety
/// Every pattern of bits must be a valid value.
pub unsafe trait Plain: Copy + Default {}

// SAFETY: numbers.
unsafe impl Plain for u64 {}

/// The address cannot be kept: it is null, there is no memory, or the table was locked for seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotKept;

/// An address and what is kept for it. No memory is at 0, so that an entry of zeroes is an empty one.
#[derive(Clone, Copy)]
#[repr(C)]
struct Entry<V> {
    address: u64,
    value: V,
}

/// One of the tables; zeroes are an empty one.
struct Table<V> {
    entries: *mut Entry<V>,
    /// Binary logarithm of the number of entries.
    log: u32,
    length: usize,
}

#[repr(C, align(64))]
struct Part<V> {
    latch: Latch,
    table: UnsafeCell<Table<V>>,
}

/// Addresses and what is kept for each.
pub struct Live<V: Plain> {
    parts: AtomicPtr<Part<V>>,
}

impl<V: Plain> Live<V> {
    /// Nothing.
    pub const fn new() -> Self {
        Self { parts: AtomicPtr::new(null_mut()) }
    }

    /// Keeps a value for an address. Returns the one before: its end was not seen.
    #[inline]
    pub fn insert(&self, address: u64, value: V) -> Result<Option<V>, NotKept> {
        if address == 0 {
            return Err(NotKept);
        }
        self.parts()
            .and_then(|parts| with(parts, address, |table| table.insert(address, value)))
            .ok_or(NotKept)?
    }

    /// Forgets an address; what was kept for it.
    #[inline]
    pub fn remove(&self, address: u64) -> Option<V> {
        let parts = self.present(address)?;
        with(parts, address, |table| table.remove(address))?
    }

    /// Changes what is kept for an address; `None` if nothing is.
    pub fn change<T>(&self, address: u64, change: impl FnOnce(&mut V) -> T) -> Option<T> {
        let parts = self.present(address)?;
        with(parts, address, |table| {
            let (index, mut entry) = table.find(address).filter(|(_, entry)| entry.address == address)?;
            let answer = change(&mut entry.value);
            table.put(index, entry);
            Some(answer)
        })?
    }

    /// Forgets all that are chosen, and hands each on. Looks at everything: for what happens seldom.
    pub fn drain(&self, chosen: impl Fn(u64, &V) -> bool, mut each: impl FnMut(V)) {
        self.walk(|table| {
            let mut index = 0;
            while index < table.capacity() {
                let entry = table.get(index);
                if entry.address != 0 && chosen(entry.address, &entry.value) {
                    // Those behind it move up, so this place is looked at again.
                    let _ = table.remove(entry.address);
                    each(entry.value);
                } else {
                    index = index.wrapping_add(1);
                }
            }
        });
    }

    /// One that is chosen. Looks at everything: for what happens seldom.
    pub fn find(&self, chosen: impl Fn(u64, &V) -> bool) -> Option<(u64, V)> {
        let mut found = None;
        self.walk(|table| {
            let entries = (0..table.capacity()).map(|index| table.get(index));
            let mut chosen =
                entries.filter(|entry| entry.address != 0 && chosen(entry.address, &entry.value));
            found = found.or_else(|| chosen.next().map(|entry| (entry.address, entry.value)));
        });
        found
    }

    /// How many addresses are kept.
    pub fn count(&self) -> usize {
        let mut count = 0_usize;
        self.walk(|table| count = count.wrapping_add(table.length));
        count
    }

    fn walk(&self, mut each: impl FnMut(&mut Table<V>)) {
        let parts = self.parts.load(Acquire);
        if !parts.is_null() {
            for part in 0..PARTS {
                let _ = with_part(parts, part, &mut each);
            }
        }
    }

    #[inline]
    fn present(&self, address: u64) -> Option<*mut Part<V>> {
        let parts = self.parts.load(Acquire);
        (!parts.is_null() && address != 0).then_some(parts)
    }

    fn parts(&self) -> Option<*mut Part<V>> {
        shared::once(&self.parts, PARTS, shared::forgetful)
    }
}

impl<V: Plain> Default for Live<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Plain> core::fmt::Debug for Live<V> {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("Live")
    }
}

#[inline]
fn with<V: Plain, T>(parts: *mut Part<V>, address: u64, then: impl FnOnce(&mut Table<V>) -> T) -> Option<T> {
    with_part(parts, (mixed(address) >> (u64::BITS - PARTS_LOG)) as usize, then)
}

#[inline]
fn with_part<V: Plain, T>(
    parts: *mut Part<V>,
    part: usize,
    then: impl FnOnce(&mut Table<V>) -> T,
) -> Option<T> {
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

impl<V: Plain> Table<V> {
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

    fn at(&self, index: usize) -> *mut Entry<V> {
        self.entries.wrapping_add(index & self.mask())
    }

    /// Must not be called on a table without entries.
    fn get(&self, index: usize) -> Entry<V> {
        // SAFETY: the index is masked, and the caller knows that there are entries.
        unsafe { self.at(index).read() }
    }

    /// Must not be called on a table without entries.
    fn put(&mut self, index: usize, entry: Entry<V>) {
        // SAFETY: the index is masked, and the caller knows that there are entries.
        unsafe { self.at(index).write(entry) };
    }

    /// Where an address is, or the empty place where it would go; `None` without entries, or if none is empty.
    fn find(&self, address: u64) -> Option<(usize, Entry<V>)> {
        let home = self.home(address);
        let mut indices = (0..self.capacity()).map(|step| home.wrapping_add(step) & self.mask());
        indices.find_map(|index| {
            let entry = self.get(index);
            (entry.address == address || entry.address == 0).then_some((index, entry))
        })
    }

    fn insert(&mut self, address: u64, value: V) -> Result<Option<V>, NotKept> {
        if self.length >= self.capacity() / 2 {
            // Without memory to grow the rest is used, but one entry stays empty: a search ends there.
            let grown = self.grow();
            if !grown && self.length.wrapping_add(1) >= self.capacity() {
                return Err(NotKept);
            }
        }
        let (index, before) = self.find(address).ok_or(NotKept)?;
        self.put(index, Entry { address, value });
        if before.address == address {
            return Ok(Some(before.value));
        }
        self.length = self.length.wrapping_add(1);
        Ok(None)
    }

    fn remove(&mut self, address: u64) -> Option<V> {
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
        self.put(hole, Entry { address: 0, value: V::default() });
        self.length = self.length.wrapping_sub(1);
        Some(found.value)
    }

    #[cold]
    fn grow(&mut self) -> bool {
        let log = if self.entries.is_null() { FIRST_LOG } else { self.log.wrapping_add(1) };
        let bytes = |log: u32| size_of::<Entry<V>>().checked_shl(log);
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

impl<V: Plain> Drop for Live<V> {
    fn drop(&mut self) {
        let parts = *self.parts.get_mut();
        if parts.is_null() {
            return;
        }
        for part in 0..PARTS {
            let _ = with_part(parts, part, |table| {
                let bytes = table.capacity().wrapping_mul(size_of::<Entry<V>>());
                if bytes > 0 {
                    // SAFETY: made by `grow` with this length; nobody else has this object any more.
                    unsafe { shared::unmap(table.entries as usize, bytes) };
                }
            });
        }
        // SAFETY: made by `parts` with this length; nobody else has this object any more.
        unsafe { shared::unmap(parts as usize, PARTS.wrapping_mul(size_of::<Part<V>>())) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::HashMap;

    // SAFETY: a number.
    unsafe impl Plain for u32 {}

    #[test]
    fn a_forked_child_has_nothing_to_give_back() {
        let live = Live::<u32>::new();
        for address in 1..1000 {
            live.insert(address << 9, 1).unwrap();
        }
        let _alone = super::super::tests::FORKING.write();
        // SAFETY: the child calls nothing but the table and _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let fine = live.remove(1 << 9).is_none()
                && live.count() == 0
                && live.insert(7, 2) == Ok(None)
                && live.remove(7) == Some(2);
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
        let live = Live::<u32>::new();
        let live = &live;
        std::thread::scope(|scope| {
            for thread in 1..=8_u64 {
                scope.spawn(move || {
                    for round in 0..3 {
                        let addresses = (0..3000).map(|index| thread << 40 | index << 21 | 1 << 20);
                        for address in addresses.clone() {
                            assert_eq!(live.insert(address, round), Ok(None));
                        }
                        for address in addresses {
                            assert_eq!(live.remove(address), Some(round));
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
            let (live, mut map) = (Live::<u32>::new(), HashMap::new());
            for step in steps {
                match step {
                    Step::Insert(0, units) => prop_assert_eq!(live.insert(0, units), Err(NotKept)),
                    Step::Insert(address, units) => {
                        prop_assert_eq!(live.insert(address, units), Ok(map.insert(address, units)));
                    }
                    Step::Remove(address) => prop_assert_eq!(live.remove(address), map.remove(&address)),
                }
            }
            prop_assert_eq!(live.count(), map.len());
            for (address, held) in &map {
                prop_assert_eq!(live.change(*address, |value| core::mem::replace(value, *held)), Some(*held));
            }
            let odd = |_: u64, value: &u32| value % 2 == 1;
            prop_assert_eq!(live.find(odd).is_some(), map.iter().any(|(address, value)| odd(*address, value)));
            let (mut drained, mut wanted) = (Vec::new(), Vec::new());
            live.drain(odd, |value| drained.push(value));
            map.retain(|address, value| {
                let goes = odd(*address, value);
                if goes {
                    wanted.push(*value);
                }
                !goes
            });
            drained.sort_unstable();
            wanted.sort_unstable();
            prop_assert_eq!(drained, wanted);
            prop_assert_eq!(live.count(), map.len());
            for (address, held) in map {
                prop_assert_eq!(live.remove(address), Some(held));
            }
        }

        /// All in one table of few entries: long chains, that wrap around its end.
        #[test]
        fn a_crowded_table_is_a_map(steps in vec((1..120_u64, any::<bool>()), 0..2000)) {
            let mut table: Table<u32> = Table { entries: null_mut(), log: 0, length: 0 };
            let mut map = HashMap::new();
            // Addresses whose homes are few: the last ones and the first ones of the table.
            table.grow();
            let crowd: Vec<u64> =
                (1..).filter(|address| [254, 255, 0, 1].contains(&table.home(*address))).take(120).collect();
            for (index, insert) in steps {
                let address = crowd[usize::try_from(index).unwrap()];
                if insert {
                    prop_assert_eq!(table.insert(address, 9), Ok(map.insert(address, 9)));
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
            unsafe { shared::unmap(table.entries as usize, 256 * size_of::<Entry<u32>>()) };
        }
    }
}
