//! Device memory, and the figures about it. What is charged is whole pages: `free` is the device's memory less
//! what is charged, in `cuMemGetInfo` and in NVML.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, driver, offer, put};
use crate::capture;
use crate::entry;
use crate::pages;
use crate::ranges::{Memory, Range};
use crate::state::{State, current, device, raw, state};
use crate::stream;
use firstlight_simulator::machine::Machine;

/// Rows of a pitched allocation begin at multiples of this.
const PITCH: usize = 512;

/// Takes memory of a device.
pub(crate) fn charge(state: &mut State, ordinal: i32, bytes: u64) -> Done {
    let total = device(ordinal)?.memory_bytes;
    let device = state.per_device(ordinal)?;
    let used = device.used_bytes.checked_add(bytes).filter(|used| *used <= total);
    device.used_bytes = used.ok_or(Code::OUT_OF_MEMORY)?;
    Ok(())
}

/// Gives memory of a device back.
pub(crate) fn refund(state: &mut State, ordinal: i32, bytes: u64) {
    if let Ok(device) = state.per_device(ordinal) {
        device.used_bytes = device.used_bytes.saturating_sub(bytes);
    }
}

/// Allocates device memory in the current context.
pub(crate) fn allocate(state: &mut State, bytes: u64, memory: Memory, flags: u32) -> Result<u64, Code> {
    let (context, known) = state.context(0)?;
    let ordinal = known.device;
    allocate_on(state, context, ordinal, bytes, memory, flags)
}

/// Allocates device memory on a device, for a context.
pub(crate) fn allocate_on(
    state: &mut State,
    context: Handle,
    ordinal: i32,
    bytes: u64,
    memory: Memory,
    flags: u32,
) -> Result<u64, Code> {
    if bytes == 0 {
        return Err(Code::INVALID_VALUE);
    }
    let charged = pages::round(bytes).ok_or(Code::OUT_OF_MEMORY)?;
    charge(state, ordinal, charged)?;
    let Some(base) = pages::private(charged) else {
        refund(state, ordinal, charged);
        return Err(Code::OUT_OF_MEMORY);
    };
    state.ranges.insert(Range { base, bytes, charged, memory, device: ordinal, context, flags });
    Ok(base)
}

/// Frees whatever begins at this address.
pub(crate) fn release(state: &mut State, base: u64) -> Done {
    let range = *state.ranges.starting(base).ok_or(Code::INVALID_VALUE)?;
    match range.memory {
        Memory::Mapped(_) => return Err(Code::INVALID_VALUE),
        Memory::Registered => {}
        Memory::Host => pages::unmap(base, range.charged),
        Memory::Device | Memory::Managed | Memory::Pool(_) => {
            pages::unmap(base, range.charged);
            refund(state, range.device, range.charged);
        }
    }
    if let Memory::Pool(pool) = range.memory
        && let Some(pool) = state.pools.get_mut(&pool)
    {
        pool.used_bytes = pool.used_bytes.saturating_sub(range.charged);
    }
    state.ranges.remove(base);
    Ok(())
}

/// Tells the client where its memory is. What it cannot be told of is freed.
pub(crate) fn hand_out(state: &mut State, out: *mut u64, base: u64) -> Done {
    if out.is_null() {
        release(state, base)?;
    }
    put(out, base)
}

/// Allocates in the current context and tells where; on failure the client's variable becomes 0.
fn allocate_into(out: *mut u64, bytes: Result<u64, Code>, memory: Memory, flags: u32) -> Done {
    let done = state().and_then(|mut state| {
        let bytes = bytes?;
        capture::permit(&mut state)?;
        let base = allocate(&mut state, bytes, memory, flags)?;
        hand_out(&mut state, out, base)
    });
    if done.is_err() {
        offer(out, 0);
    }
    done
}

fn pitched(width: usize, height: usize, element: u32) -> Result<(usize, u64), Code> {
    if !matches!(element, 4 | 8 | 16) {
        return Err(Code::INVALID_VALUE);
    }
    let row = width.checked_next_multiple_of(PITCH).ok_or(Code::INVALID_VALUE)?;
    Ok((row, row.checked_mul(height).ok_or(Code::INVALID_VALUE)? as u64))
}

fn free(base: u64) -> Done {
    let mut state = state()?;
    if current() != 0 {
        state.context(0)?;
    }
    if base == 0 {
        return Ok(());
    }
    match state.ranges.starting(base) {
        Some(range) if range.on_device() => release(&mut state, base),
        _ => Err(Code::INVALID_VALUE),
    }
}

driver! {
    fn cuMemAlloc_v2(out: *mut u64, bytes: usize) {
        allocate_into(out, Ok(bytes as u64), Memory::Device, 0)
    }

    fn cuMemAllocPitch_v2(out: *mut u64, pitch: *mut usize, width: usize, height: usize, element: u32) {
        let pitched = pitched(width, height, element).and_then(|(row, bytes)| put(pitch, row).map(|()| bytes));
        allocate_into(out, pitched, Memory::Device, 0)
    }

    /// Managed memory counts as the device's from the start: there is no other place for it to be.
    fn cuMemAllocManaged(out: *mut u64, bytes: usize, flags: u32) {
        let bytes = if matches!(flags, 1 | 2) { Ok(bytes as u64) } else { Err(Code::INVALID_VALUE) };
        allocate_into(out, bytes, Memory::Managed, flags)
    }

    fn cuMemFree_v2(base: u64) {
        free(base)
    }

    /// Clients pass null for the figure that they do not want.
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let mut state = state()?;
        let figures = figures(&mut state);
        let number = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let (left, all) = figures.as_ref().map_or((0, 0), |(left, all)| (number(*left), number(*all)));
        offer(free, left);
        offer(total, all);
        figures.map(|_| ())
    }

    fn cuMemGetAddressRange_v2(base: *mut u64, bytes: *mut usize, address: u64) {
        let state = state()?;
        let range = state.ranges.at(address).ok_or(Code::NOT_FOUND)?;
        offer(base, range.base);
        offer(bytes, usize::try_from(range.bytes).unwrap_or(usize::MAX));
        Ok(())
    }

    /// Where the pages are is the kernel's business: all of it is host memory.
    fn cuMemPrefetchAsync(address: u64, bytes: usize, _device: i32, stream: Handle) {
        prefetch(address, bytes, stream)
    }

    fn cuMemPrefetchAsync_v2(address: u64, bytes: usize, _location: u64, _flags: u32, stream: Handle) {
        prefetch(address, bytes, stream)
    }

    fn cuMemAdvise(address: u64, bytes: usize, _advice: i32, _device: i32) {
        managed(&*state()?, address, bytes)
    }

    fn cuMemAdvise_v2(address: u64, bytes: usize, _advice: i32, _location: u64) {
        managed(&*state()?, address, bytes)
    }
}

/// Free and all memory of the current device.
fn figures(state: &mut State) -> Result<(u64, u64), Code> {
    let ordinal = state.current_device()?;
    let all = device(ordinal)?.memory_bytes;
    Ok((all.saturating_sub(state.per_device(ordinal)?.used_bytes), all))
}

fn managed(state: &State, address: u64, bytes: usize) -> Done {
    let end = address.checked_add(bytes as u64).ok_or(Code::INVALID_VALUE)?;
    match state.ranges.at(address) {
        Some(range) if range.memory == Memory::Managed && end <= range.end() => Ok(()),
        _ => Err(Code::INVALID_VALUE),
    }
}

fn prefetch(address: u64, bytes: usize, stream: Handle) -> Done {
    let state = state()?;
    stream::check(&state, stream)?;
    managed(&state, address, bytes)
}

/// What NVML of the same process asks: the bytes in use on a card of the machine (not a CUDA ordinal), or on this instance of
/// it (`u32::MAX`: on all), and, as the answer, whether the device has fallen off the bus (1) or not (0).
#[unsafe(no_mangle)]
extern "C" fn firstlight_simulator_state(index: u32, used_bytes: *mut u64, instance: u32) -> u32 {
    let machine = Machine::of_process();
    let is = |number: usize, asked: u32| u32::try_from(number) == Ok(asked);
    // At most one: CUDA shows one instance, or the card.
    let ordinal = machine.visible.iter().position(|shown| {
        is(shown.card, index)
            && (instance == u32::MAX || shown.instance.is_some_and(|number| is(number, instance)))
    });
    let state = raw();
    let used = ordinal.and_then(|ordinal| state.devices.get(ordinal)).map_or(0, |device| device.used_bytes);
    offer(used_bytes, used);
    u32::from(entry::lost())
}
