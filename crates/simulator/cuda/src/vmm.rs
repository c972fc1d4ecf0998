//! Virtual memory management: addresses and memory apart. Memory counts when it is created, addresses never (ggml
//! reserves 32 GiB of them); created memory lives until its last handle and its last mapping are gone.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, Raw, driver, get, item, put};
use crate::memory::{charge, refund};
use crate::pages;
use crate::pool::{Location, ON_DEVICE};
use crate::ranges::{Memory, Range};
use crate::state::{Kind, State, device, state};

/// Least unit of memory and addresses, as on cards.
const GRANULARITY: u64 = 2 << 20;

/// Created memory.
#[derive(Debug)]
pub(crate) struct Physical {
    properties: Properties,
    bytes: u64,
    /// Where the pages are, for [`pages::alias`].
    pages: u64,
    handles: u32,
    mappings: u32,
}

/// `CUmemAllocationProp` (cuda.h).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Properties {
    kind: i32,
    handle_types: i32,
    location_kind: i32,
    location_id: i32,
    windows: u64,
    flags: u64,
}

/// `CUmemAccessDesc` (cuda.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Access {
    location: Location,
    flags: i32,
}

impl Properties {
    /// The device that pays; host memory costs no device anything.
    fn device(&self) -> Option<i32> {
        (self.location_kind == ON_DEVICE).then_some(self.location_id)
    }
}

fn whole(bytes: usize) -> Result<u64, Code> {
    let bytes = bytes as u64;
    if bytes > 0 && bytes.is_multiple_of(GRANULARITY) { Ok(bytes) } else { Err(Code::INVALID_VALUE) }
}

fn forget_if_unused(state: &mut State, handle: Handle) {
    let unused = |one: &&Physical| one.handles == 0 && one.mappings == 0;
    let Some(physical) = state.physical.get(&handle).filter(unused) else { return };
    let (device, bytes, base) = (physical.properties.device(), physical.bytes, physical.pages);
    state.physical.remove(&handle);
    pages::unmap(base, bytes);
    if let Some(ordinal) = device {
        refund(state, ordinal, bytes);
    }
}

fn unmap(state: &mut State, from: u64, bytes: u64) -> Done {
    let end = from.checked_add(bytes).ok_or(Code::INVALID_VALUE)?;
    let touched: Vec<Range> = state.ranges.within(from, end).copied().collect();
    let inside =
        |range: &Range| matches!(range.memory, Memory::Mapped(_)) && range.base >= from && range.end() <= end;
    // Reserved addresses that nothing is mapped to are unmapped already.
    if !state.is_reserved(from, bytes) || !touched.iter().all(inside) {
        return Err(Code::INVALID_VALUE);
    }
    for range in touched {
        pages::blank(range.base, range.bytes);
        state.ranges.remove(range.base);
        if let Memory::Mapped(handle) = range.memory {
            if let Some(physical) = state.physical.get_mut(&handle) {
                physical.mappings -= 1;
            }
            forget_if_unused(state, handle);
        }
    }
    Ok(())
}

driver! {
    fn cuMemGetAllocationGranularity(out: *mut usize, properties: *const u8, _option: i32) {
        state()?;
        let _: Properties = get(properties.cast())?;
        put(out, usize::try_from(GRANULARITY).unwrap_or(usize::MAX))
    }

    fn cuMemAddressReserve(out: *mut u64, bytes: usize, alignment: usize, _hint: u64, flags: u64) {
        let mut state = state()?;
        let bytes = whole(bytes)?;
        let alignment = (alignment as u64).max(GRANULARITY);
        if flags != 0 || !alignment.is_power_of_two() {
            return Err(Code::INVALID_VALUE);
        }
        let base = pages::reserve(bytes, alignment).ok_or(Code::OUT_OF_MEMORY)?;
        state.reserved.insert(base, bytes);
        put(out, base)
    }

    fn cuMemAddressFree(base: u64, bytes: usize) {
        let mut state = state()?;
        let bytes = bytes as u64;
        if state.reserved.get(&base) != Some(&bytes) || state.ranges.within(base, base + bytes).next().is_some() {
            return Err(Code::INVALID_VALUE);
        }
        state.reserved.remove(&base);
        pages::unmap(base, bytes);
        Ok(())
    }

    /// Memory that another process could open is refused: there is no device behind it to share.
    fn cuMemCreate(out: *mut Handle, bytes: usize, properties: *const u8, flags: u64) {
        let mut state = state()?;
        let bytes = whole(bytes)?;
        let properties: Properties = get(properties.cast())?;
        if flags != 0 || properties.kind != 1 || out.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        if properties.handle_types != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        if let Some(ordinal) = properties.device() {
            device(ordinal)?;
            charge(&mut state, ordinal, bytes)?;
        }
        let Some(pages) = pages::shared(bytes) else {
            if let Some(ordinal) = properties.device() {
                refund(&mut state, ordinal, bytes);
            }
            return Err(Code::OUT_OF_MEMORY);
        };
        let handle = state.mint(Kind::Physical);
        state.physical.insert(handle, Physical { properties, bytes, pages, handles: 1, mappings: 0 });
        put(out, handle)
    }

    fn cuMemRelease(handle: Handle) {
        let mut state = state()?;
        let physical = state.physical.get_mut(&handle).ok_or(Code::INVALID_VALUE)?;
        physical.handles = physical.handles.checked_sub(1).ok_or(Code::INVALID_VALUE)?;
        forget_if_unused(&mut state, handle);
        Ok(())
    }

    fn cuMemMap(base: u64, bytes: usize, offset: usize, handle: Handle, flags: u64) {
        let mut state = state()?;
        let bytes = whole(bytes)?;
        let offset = offset as u64;
        let end = base.checked_add(bytes).ok_or(Code::INVALID_VALUE)?;
        if flags != 0 || !state.is_reserved(base, bytes) || !base.is_multiple_of(GRANULARITY) || !offset.is_multiple_of(GRANULARITY) {
            return Err(Code::INVALID_VALUE);
        }
        let taken = state.ranges.within(base, end).next().is_some();
        let physical = state.physical.get_mut(&handle).ok_or(Code::INVALID_VALUE)?;
        if taken {
            return Err(Code::INVALID_VALUE);
        }
        if offset != 0 || bytes > physical.bytes {
            return Err(Code::NOT_SUPPORTED);
        }
        if !pages::alias(physical.pages + offset, base, bytes) {
            return Err(Code::OUT_OF_MEMORY);
        }
        physical.mappings += 1;
        let device = physical.properties.device().unwrap_or(0);
        let memory = Memory::Mapped(handle);
        state.ranges.insert(Range { base, bytes, charged: 0, memory, device, context: 0, flags: 0 });
        Ok(())
    }

    fn cuMemUnmap(base: u64, bytes: usize) {
        unmap(&mut *state()?, base, bytes as u64)
    }

    /// Access of any device opens the memory: one address space has one protection.
    fn cuMemSetAccess(base: u64, bytes: usize, access: *const u8, count: usize) {
        let state = state()?;
        let bytes = bytes as u64;
        let end = base.checked_add(bytes).ok_or(Code::INVALID_VALUE)?;
        let mapped = state.ranges.within(base, end).all(|range| matches!(range.memory, Memory::Mapped(_)));
        if count == 0 || bytes == 0 || !mapped || !state.ranges.covers(base, bytes) {
            return Err(Code::INVALID_VALUE);
        }
        let (mut read, mut write) = (false, false);
        for index in 0..count {
            let access: Access = item(access.cast(), index)?;
            if access.location.kind == ON_DEVICE {
                device(access.location.id)?;
            }
            read |= access.flags & 1 != 0;
            write |= access.flags & 2 != 0;
        }
        if pages::protect(base, bytes, read, write) { Ok(()) } else { Err(Code::INVALID_VALUE) }
    }

    fn cuMemGetAllocationPropertiesFromHandle(out: Raw, handle: Handle) {
        let state = state()?;
        put(out.cast::<Properties>(), state.physical.get(&handle).ok_or(Code::INVALID_VALUE)?.properties)
    }

    fn cuMemRetainAllocationHandle(out: *mut Handle, address: u64) {
        let mut state = state()?;
        let Some(Memory::Mapped(handle)) = state.ranges.at(address).map(|range| range.memory) else {
            return Err(Code::INVALID_VALUE);
        };
        put(out, handle)?;
        state.physical.get_mut(&handle).ok_or(Code::INVALID_VALUE)?.handles += 1;
        Ok(())
    }
}
