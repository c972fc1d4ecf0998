//! Kernels: attributes and occupancy, with limits that make sense for the device.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, Raw, driver, put};
use crate::attributes;
use crate::state::{Kernel, Kind, State, device, is, state};
use firstlight_simulator::machine::Shown;
use std::ffi::c_char;

/// `CUfunction_attribute`: most dynamic shared memory, and the preferred carve-out; both can be set.
const DYNAMIC_SHARED: u32 = 8;
const CARVEOUT: u32 = 9;
/// The last attribute of CUDA 13.0.
const LAST: u32 = 15;

/// Dynamic shared memory of a launch that nobody has to allow.
pub(crate) const SHARED: u32 = 49152;

/// Most dynamic shared memory that a launch of this kernel may have.
pub(crate) fn most_shared(state: &State, kernel: Handle) -> Result<u32, Code> {
    let allowed = find(state, kernel)?.attributes.get(&DYNAMIC_SHARED).copied();
    Ok(allowed.and_then(|allowed| u32::try_from(allowed).ok()).unwrap_or(SHARED).max(SHARED))
}

/// Device attributes that limit a kernel.
const RESIDENT_THREADS: i32 = 39;
const RESIDENT_BLOCKS: i32 = 106;
const SHARED_PER_MULTIPROCESSOR: i32 = 81;
const SHARED_OPTIN: i32 = 97;
const MULTIPROCESSORS: i32 = 16;

fn find(state: &State, kernel: Handle) -> Result<&Kernel, Code> {
    state.kernels.get(&kernel).filter(|_| is(kernel, Kind::Kernel)).ok_or(Code::INVALID_HANDLE)
}

fn attribute(kernel: &Kernel, device: &Shown, attribute: u32) -> Result<i32, Code> {
    let model = device.model;
    let version = i32::from(model.capability_major) * 10 + i32::from(model.capability_minor);
    Ok(match attribute {
        0 => 1024,
        4 => 32,
        5 | 6 => version,
        DYNAMIC_SHARED => kernel.attributes.get(&attribute).copied().unwrap_or(49152),
        CARVEOUT => kernel.attributes.get(&attribute).copied().unwrap_or(-1),
        1..=LAST => kernel.attributes.get(&attribute).copied().unwrap_or(0),
        _ => return Err(Code::INVALID_VALUE),
    })
}

fn set_attribute(kernel: Handle, ordinal: i32, attribute: u32, value: i32) -> Done {
    let mut state = state()?;
    let most = attributes::value(device(ordinal)?, SHARED_OPTIN)?;
    find(&state, kernel)?;
    let allowed = match attribute {
        DYNAMIC_SHARED => (0..=most).contains(&value),
        CARVEOUT => (-1..=100).contains(&value),
        10..=15 => true,
        _ => false,
    };
    if !allowed {
        return Err(Code::INVALID_VALUE);
    }
    let known = state.kernels.get_mut(&kernel).ok_or(Code::INVALID_HANDLE)?;
    known.attributes.insert(attribute, value);
    Ok(())
}

/// Blocks of this size that a multiprocessor holds.
fn blocks(device: &Shown, threads: i32, shared: usize) -> Result<i32, Code> {
    if !(1..=1024).contains(&threads) {
        return Err(Code::INVALID_VALUE);
    }
    let by_threads = attributes::value(device, RESIDENT_THREADS)? / threads;
    let by_count = attributes::value(device, RESIDENT_BLOCKS)?;
    let room = usize::try_from(attributes::value(device, SHARED_PER_MULTIPROCESSOR)?).unwrap_or(0);
    let by_shared =
        room.checked_div(shared).map_or(i32::MAX, |count| i32::try_from(count).unwrap_or(i32::MAX));
    Ok(by_threads.min(by_count).min(by_shared))
}

/// Blocks of this kernel that a multiprocessor holds.
pub(crate) fn resident(
    state: &State,
    kernel: Handle,
    device: &Shown,
    threads: i32,
    shared: usize,
) -> Result<i32, Code> {
    find(state, kernel)?;
    blocks(device, threads, shared)
}

/// Whether an attribute was set to something.
pub(crate) fn is_set(state: &State, kernel: Handle, attribute: u32) -> Result<bool, Code> {
    Ok(find(state, kernel)?.attributes.get(&attribute).is_some_and(|value| *value != 0))
}

fn occupancy(out: *mut i32, kernel: Handle, threads: i32, shared: usize) -> Done {
    let state = state()?;
    put(out, resident(&state, kernel, device(state.current_device()?)?, threads, shared)?)
}

/// The largest block: nothing here is faster with a smaller one. Shared memory that depends on the size is not asked.
fn potential(grid: *mut i32, block: *mut i32, kernel: Handle, shared: usize, limit: i32) -> Done {
    let state = state()?;
    find(&state, kernel)?;
    let device = device(state.current_device()?)?;
    let threads = if limit > 0 { limit.min(1024) } else { 1024 };
    put(block, threads)?;
    put(grid, blocks(device, threads, shared)?.max(1) * attributes::value(device, MULTIPROCESSORS)?)
}

fn name(out: *mut *const c_char, kernel: Handle) -> Done {
    let state = state()?;
    put(out, find(&state, kernel)?.name.as_ptr())
}

fn known(kernel: Handle) -> Done {
    find(&*state()?, kernel).map(|_| ())
}

driver! {
    /// One object is both: `CUkernel` and `CUfunction`.
    fn cuKernelGetFunction(out: *mut Handle, kernel: Handle) {
        let state = state()?;
        state.context(0)?;
        find(&state, kernel)?;
        put(out, kernel)
    }

    fn cuKernelGetLibrary(out: *mut Handle, kernel: Handle) {
        let state = state()?;
        let library = find(&state, kernel)?.image;
        if !is(library, Kind::Library) {
            return Err(Code::INVALID_HANDLE);
        }
        put(out, library)
    }

    fn cuKernelGetName(out: *mut *const c_char, kernel: Handle) {
        name(out, kernel)
    }

    fn cuKernelGetAttribute(out: *mut i32, which: u32, kernel: Handle, ordinal: i32) {
        let state = state()?;
        put(out, attribute(find(&state, kernel)?, device(ordinal)?, which)?)
    }

    fn cuKernelSetAttribute(which: u32, value: i32, kernel: Handle, ordinal: i32) {
        set_attribute(kernel, ordinal, which, value)
    }

    fn cuKernelSetCacheConfig(kernel: Handle, _config: i32, _ordinal: i32) {
        known(kernel)
    }

    fn cuFuncGetName(out: *mut *const c_char, function: Handle) {
        name(out, function)
    }

    fn cuFuncGetModule(out: *mut Handle, function: Handle) {
        let state = state()?;
        let image = find(&state, function)?.image;
        let module = if is(image, Kind::Module) { image } else { state.images.get(&image).map_or(0, |image| image.module) };
        if module == 0 {
            return Err(Code::INVALID_HANDLE);
        }
        put(out, module)
    }

    fn cuFuncGetAttribute(out: *mut i32, which: u32, function: Handle) {
        let state = state()?;
        let ordinal = state.current_device()?;
        put(out, attribute(find(&state, function)?, device(ordinal)?, which)?)
    }

    fn cuFuncSetAttribute(function: Handle, which: u32, value: i32) {
        let ordinal = state()?.current_device()?;
        set_attribute(function, ordinal, which, value)
    }

    fn cuFuncSetCacheConfig(function: Handle, _config: i32) {
        known(function)
    }

    /// 1: loaded.
    fn cuFuncIsLoaded(out: *mut i32, function: Handle) {
        known(function)?;
        put(out, 1)
    }

    fn cuFuncLoad(function: Handle) {
        known(function)
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(out: *mut i32, function: Handle, threads: i32, shared: usize) {
        occupancy(out, function, threads, shared)
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        out: *mut i32, function: Handle, threads: i32, shared: usize, _flags: u32,
    ) {
        occupancy(out, function, threads, shared)
    }

    fn cuOccupancyMaxPotentialBlockSize(
        grid: *mut i32, block: *mut i32, function: Handle, _shared_of_size: Raw, shared: usize, limit: i32,
    ) {
        potential(grid, block, function, shared, limit)
    }

    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: *mut i32, block: *mut i32, function: Handle, _shared_of_size: Raw, shared: usize, limit: i32, _flags: u32,
    ) {
        potential(grid, block, function, shared, limit)
    }

    fn cuOccupancyAvailableDynamicSMemPerBlock(out: *mut usize, function: Handle, blocks: i32, _threads: i32) {
        let state = state()?;
        find(&state, function)?;
        let device = device(state.current_device()?)?;
        let room = attributes::value(device, SHARED_PER_MULTIPROCESSOR)?.checked_div(blocks).ok_or(Code::INVALID_VALUE)?;
        put(out, usize::try_from(room.min(attributes::value(device, SHARED_OPTIN)?)).map_err(|_| Code::INVALID_VALUE)?)
    }
}
