//! Which addresses belong to what: every range of memory that this driver handed out or was told of.

use crate::abi::{Code, Done, Handle};
use crate::state::State;
use std::collections::BTreeMap;

/// What a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Device memory of a context; also a variable of a module.
    Device,
    /// Device memory out of a pool.
    Pool(Handle),
    /// Managed memory.
    Managed,
    /// Page-locked host memory.
    Host,
    /// The client's own host memory, registered.
    Registered,
    /// Physical memory mapped to reserved addresses.
    Mapped(Handle),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) base: u64,
    /// As asked for.
    pub(crate) bytes: u64,
    /// As charged to the device and mapped.
    pub(crate) charged: u64,
    pub(crate) memory: Memory,
    pub(crate) device: i32,
    pub(crate) context: Handle,
    pub(crate) flags: u32,
}

impl Range {
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(self.bytes)
    }

    /// Whether the memory is a device's.
    pub(crate) fn on_device(&self) -> bool {
        !matches!(self.memory, Memory::Host | Memory::Registered)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ranges(BTreeMap<u64, Range>);

impl Ranges {
    pub(crate) fn insert(&mut self, range: Range) {
        self.0.insert(range.base, range);
    }

    pub(crate) fn remove(&mut self, base: u64) -> Option<Range> {
        self.0.remove(&base)
    }

    /// The range that begins at this address.
    pub(crate) fn starting(&self, base: u64) -> Option<&Range> {
        self.0.get(&base)
    }

    /// The range that this address lies in.
    pub(crate) fn at(&self, address: u64) -> Option<&Range> {
        self.0.range(..=address).next_back().map(|(_, range)| range).filter(|range| address < range.end())
    }

    /// The ranges that touch `[from, end)`.
    pub(crate) fn within(&self, from: u64, end: u64) -> impl Iterator<Item = &Range> {
        self.at(from)
            .filter(|range| range.base < from)
            .into_iter()
            .chain(self.0.range(from..end).map(|(_, range)| range))
    }

    /// Whether every byte of `[address, address + bytes)` is known; neighbours join.
    pub(crate) fn covers(&self, address: u64, bytes: u64) -> bool {
        let Some(end) = address.checked_add(bytes) else { return false };
        let mut reached = address;
        while reached < end {
            match self.at(reached) {
                Some(range) => reached = range.end(),
                None => return false,
            }
        }
        true
    }
}

/// The bases of what goes with a context.
pub(crate) fn of_context(state: &State, context: Handle) -> Vec<u64> {
    let owned = |range: &&Range| range.context == context && !matches!(range.memory, Memory::Mapped(_));
    state.ranges.0.values().filter(owned).map(|range| range.base).collect()
}

/// Refuses device addresses that nobody handed out.
pub(crate) fn check(state: &State, address: u64, bytes: u64) -> Done {
    if bytes == 0 || state.ranges.covers(address, bytes) { Ok(()) } else { Err(Code::INVALID_VALUE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(base: u64, bytes: u64) -> Range {
        Range { base, bytes, charged: bytes, memory: Memory::Device, device: 0, context: 0, flags: 0 }
    }

    #[test]
    fn neighbours_cover_together_and_gaps_do_not() {
        let mut ranges = Ranges::default();
        for (base, bytes) in [(0x1000, 0x1000), (0x2000, 0x1000), (0x4000, 0x1000)] {
            ranges.insert(range(base, bytes));
        }
        assert!(ranges.covers(0x1800, 0x1800));
        assert!(!ranges.covers(0x1800, 0x1801));
        assert!(!ranges.covers(0xfff, 2));
        assert!(!ranges.covers(u64::MAX, 2));
    }

    #[test]
    fn an_address_belongs_to_the_range_around_it() {
        let mut ranges = Ranges::default();
        ranges.insert(range(0x1000, 0x10));
        assert_eq!(ranges.at(0x100f).map(|range| range.base), Some(0x1000));
        assert!(ranges.at(0x1010).is_none());
    }

    #[test]
    fn a_window_finds_what_reaches_into_it() {
        let mut ranges = Ranges::default();
        for base in [0x1000, 0x2000, 0x3000] {
            ranges.insert(range(base, 0x1000));
        }
        let found: Vec<u64> = ranges.within(0x1800, 0x3000).map(|range| range.base).collect();
        assert_eq!(found, [0x1000, 0x2000]);
    }
}
