//! Page-locked host memory. Nothing is locked here: a device that is host memory needs no pinned pages.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Raw, driver, offer, put, put_or_zero};
use crate::memory;
use crate::pages;
use crate::ranges::{Memory, Range};
use crate::state::state;

/// `CU_MEMHOSTALLOC_PORTABLE`, `…_DEVICEMAP` (what all such memory is) and `…_WRITECOMBINED`.
const MAPPED: u32 = 2;
const KNOWN: u32 = 1 | MAPPED | 4;

fn allocate(out: *mut u64, bytes: usize, flags: u32) -> Done {
    let mut state = state()?;
    let known = state.context(0).map(|(context, known)| (context, known.device));
    let (context, device) = known.inspect_err(|_| offer(out, 0))?;
    let bytes = bytes as u64;
    if out.is_null() || flags & !KNOWN != 0 {
        offer(out, 0);
        return Err(Code::INVALID_VALUE);
    }
    if bytes == 0 {
        return put(out, 0);
    }
    let charged = pages::round(bytes).ok_or(Code::OUT_OF_MEMORY)?;
    let base = pages::private(charged).ok_or(Code::OUT_OF_MEMORY)?;
    state.ranges.insert(Range {
        base,
        bytes,
        charged,
        memory: Memory::Host,
        device,
        context,
        flags: flags | MAPPED,
    });
    put(out, base)
}

fn register(pointer: Raw, bytes: usize, flags: u32) -> Done {
    let mut state = state()?;
    let (context, known) = state.context(0)?;
    let device = known.device;
    let (base, bytes) = (pointer.addr() as u64, bytes as u64);
    let end = base.checked_add(bytes).filter(|end| base != 0 && *end > base).ok_or(Code::INVALID_VALUE)?;
    if state.ranges.within(base, end).next().is_some() {
        return Err(Code::ALREADY_REGISTERED);
    }
    state.ranges.insert(Range {
        base,
        bytes,
        charged: 0,
        memory: Memory::Registered,
        device,
        context,
        flags,
    });
    Ok(())
}

fn forget(pointer: Raw, memory: Memory, otherwise: Code) -> Done {
    let mut state = state()?;
    let base = pointer.addr() as u64;
    match state.ranges.starting(base) {
        Some(range) if range.memory == memory => memory::release(&mut state, base),
        _ => Err(otherwise),
    }
}

driver! {
    fn cuMemHostAlloc(out: *mut u64, bytes: usize, flags: u32) {
        allocate(out, bytes, flags)
    }

    fn cuMemAllocHost_v2(out: *mut u64, bytes: usize) {
        allocate(out, bytes, 0)
    }

    fn cuMemFreeHost(pointer: Raw) {
        forget(pointer, Memory::Host, Code::INVALID_VALUE)
    }

    fn cuMemHostRegister_v2(pointer: Raw, bytes: usize, flags: u32) {
        register(pointer, bytes, flags)
    }

    fn cuMemHostUnregister(pointer: Raw) {
        forget(pointer, Memory::Registered, Code::NOT_REGISTERED)
    }

    /// One address space: the device sees host memory where the host sees it.
    fn cuMemHostGetDevicePointer_v2(out: *mut u64, pointer: Raw, _flags: u32) {
        let state = state()?;
        let address = pointer.addr() as u64;
        match state.ranges.at(address) {
            Some(range) if !range.on_device() => put(out, address),
            _ => put_or_zero(out, Err(Code::INVALID_VALUE)),
        }
    }

    fn cuMemHostGetFlags(out: *mut u32, pointer: Raw) {
        let state = state()?;
        match state.ranges.at(pointer.addr() as u64) {
            Some(range) if !range.on_device() => put(out, range.flags),
            _ => Err(Code::INVALID_VALUE),
        }
    }
}
