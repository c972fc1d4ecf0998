//! Contexts: each device on which a process has one costs it a fixed charge, which the grant says; the memory of a context
//! ends with it. And the limits for which the driver sets memory of a context aside.
#![expect(unsafe_code, reason = "calls of the client's, with its out-pointers")]
#![expect(clippy::many_single_char_names, reason = "argument words without a meaning of their own")]

use super::owners::{self, Owner};
use super::{LIVE, Name, ask, devices, end, give, keep, key, onward, read, take, terms};
use crate::rows::{self, id_of};
use crate::sys::shared;
use crate::{grant, wrappers};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};
use firstlight_contract::ledger::DEVICES;

/// What a process has of a device; zeroes are nothing. In memory that fork wipes.
struct Count {
    /// Contexts that were created.
    created: AtomicU32,
    /// How often the primary context is retained.
    retained: AtomicU32,
}

static COUNTS: AtomicPtr<Count> = AtomicPtr::new(null_mut());

fn count(device: usize) -> Option<&'static Count> {
    let counts = shared::once(&COUNTS, DEVICES, shared::forgetful)?;
    // SAFETY: mapped here for so many, never given back; zeroes are valid.
    (device < DEVICES).then(|| unsafe { &*counts.wrapping_add(device) })
}

impl Count {
    fn none(&self) -> bool {
        self.created.load(SeqCst) == 0 && self.retained.load(SeqCst) == 0
    }
}

/// One less; whether that was the last.
fn less(number: &AtomicU32) -> bool {
    number.fetch_update(SeqCst, SeqCst, |number| number.checked_sub(1)) == Ok(1)
}

fn fixed(device: usize) -> u64 {
    key(Name::Contexts, device.wrapping_add(1))
}

/// Charges what contexts on a device cost, if that is not charged yet.
fn pay(function: u16, device: usize) -> Result<(), i32> {
    if LIVE.change(fixed(device), |_| ()).is_some() {
        return Ok(());
    }
    let bytes = grant::with(|text| terms::context(text, device));
    if let Some(charge) = take(function, bytes, Some(Owner::nobody(device)))?
        && !keep(fixed(device), charge)
    {
        give(charge);
    }
    Ok(())
}

/// Gives it back, if the process has no context there.
fn settle(device: usize) {
    if count(device).is_some_and(Count::none)
        && let Some(charge) = LIVE.remove(fixed(device))
    {
        give(charge);
    }
}

/// # Safety
/// Called as `cuDevicePrimaryCtxRetain` or one of `cuCtxCreate`.
pub unsafe extern "C" fn begin<const ID: u16>(
    out: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let device = devices::number(wrappers::device_of_context(ID, [b, c, d, e]));
    if let Some(device) = device
        && let Err(code) = pay(ID, device)
    {
        return code;
    }
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [out, b, c, d, e, f]) };
    let Some(device) = device else { return result };
    if result != 0 {
        settle(device);
        return result;
    }
    let primary = ID == const { id_of("cuDevicePrimaryCtxRetain") };
    if let Some(count) = count(device) {
        let number = if primary { &count.retained } else { &count.created };
        number.fetch_add(1, SeqCst);
    }
    // SAFETY: written on success.
    let handle: usize = unsafe { read(out) };
    let tag = owners::enter(Name::Context, handle, Some(device));
    if primary {
        owners::link(Name::Primary, device.wrapping_add(1), tag, device);
    }
    result
}

/// # Safety
/// Called as `cuCtxDestroy`, `cuCtxDetach`, `cuDevicePrimaryCtxRelease` or `cuDevicePrimaryCtxReset`.
pub unsafe extern "C" fn finish<const ID: u16>(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [a, b, c, d, e, f]) };
    if result != 0 {
        return result;
    }
    match rows::symbol(ID) {
        b"cuCtxDestroy\0" | b"cuCtxDestroy_v2\0" | b"cuCtxDetach\0" => {
            if let Some(owner) = owners::find(Name::Context, a) {
                end(owner.tag);
                owners::forget(owner.tag);
                count(owner.device).map(|count| less(&count.created));
                settle(owner.device);
            }
        }
        symbol => {
            let Some(device) = devices::number(wrappers::int(a)) else { return result };
            let reset = symbol.starts_with(b"cuDevicePrimaryCtxReset");
            let last = !reset && count(device).is_some_and(|count| less(&count.retained));
            if (reset || last)
                && let Some(tag) = owners::linked(Name::Primary, device.wrapping_add(1))
            {
                // A context that was reset can be used again; its handle stays.
                end(tag);
            }
            settle(device);
        }
    }
    result
}

/// `CU_LIMIT_STACK_SIZE`, `CU_LIMIT_PRINTF_FIFO_SIZE`, `CU_LIMIT_MALLOC_HEAP_SIZE` (cuda.h), and what the driver sets
/// aside without being told, which is part of a context's fixed charge (CUDA C++ programming guide).
const STACK: usize = 0;
const PRINTF: usize = 1;
const HEAP: usize = 2;
const USUAL_STACK: u64 = 1 << 10;
const USUAL_PRINTF: u64 = 1 << 20;
const USUAL_HEAP: u64 = 8 << 20;

/// # Safety
/// Called as `cuCtxSetLimit`.
pub unsafe extern "C" fn limit<const ID: u16>(
    limit: usize,
    value: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let (limit, bytes) = (limit & 0xFFFF_FFFF, value as u64);
    let extra = match limit {
        STACK => bytes.saturating_sub(USUAL_STACK).saturating_mul(threads()),
        PRINTF => bytes.saturating_sub(USUAL_PRINTF),
        HEAP => bytes.saturating_sub(USUAL_HEAP),
        _ => {
            // SAFETY: the client's arguments.
            return unsafe { onward(ID, [limit, value, c, d, e, f]) };
        }
    };
    let context = owners::current_context().unwrap_or(0);
    let charge = match take(ID, extra, owners::current()) {
        Ok(charge) => charge,
        Err(code) => return code,
    };
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [limit, value, c, d, e, f]) };
    if let Some(charge) = charge {
        // Contexts lie at multiples of 4 at least, so that a limit's number finds room in the name.
        let name = key(Name::Limit, context.wrapping_add(limit));
        if result != 0 || !keep(name, charge) {
            give(charge);
        }
    }
    result
}

/// Threads that the current device can have at a time, each with a stack.
fn threads() -> u64 {
    const MULTIPROCESSORS: usize = 16;
    const THREADS_OF_ONE: usize = 39;
    let Some(device) = owners::current_device() else { return 0 };
    let attribute = |number: usize| {
        let mut value = 0_i32;
        let out = (&raw mut value) as usize;
        let device = device.cast_unsigned() as usize;
        // SAFETY: writes an int through its first argument.
        let answer = unsafe { ask(const { id_of("cuDeviceGetAttribute") }, [out, number, device, 0, 0, 0]) };
        if answer == Some(0) { u64::try_from(value).unwrap_or(0) } else { 0 }
    };
    attribute(MULTIPROCESSORS).saturating_mul(attribute(THREADS_OF_ONE))
}
