//! The wrappers: what stands for a function with an action. Each calls the driver and hands its answer on unchanged.
#![expect(unsafe_code, reason = "calls through the driver's pointers, out-pointers of the caller")]
#![expect(clippy::many_single_char_names, reason = "argument words without a meaning of their own")]

use crate::front::{TABLE, code, real, slot};
use crate::library::DRIVER;
use crate::outcome::{self, When};
use crate::recorder::{Note, RECORDER};
use crate::{launches, rows, surroundings, thread};
use core::sync::atomic::Ordering::SeqCst;
use firstlight_contract::record::Kind;
use firstlight_driver_api::Action;

/// Twelve words: as many as the longest function with an action takes. Words beyond a function's arguments are
/// whatever the caller's registers and stack hold; the driver does not look at them.
pub type Long = unsafe extern "C" fn(
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
) -> i32;
type Two = unsafe extern "C" fn(usize, usize) -> i32;
type Short = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize) -> i32;

/// # Safety
/// `address` is that of the driver's function, which takes up to six integer arguments.
pub(crate) unsafe fn short(address: usize, [a, b, c, d, e, f]: [usize; 6]) -> i32 {
    // SAFETY: as the caller vouches.
    let function = unsafe { core::mem::transmute::<usize, Short>(address) };
    // SAFETY: the arguments are the client's own.
    unsafe { function(a, b, c, d, e, f) }
}

/// Reads a value that a successful call wrote.
///
/// # Safety
/// The pointer must be null or what the driver just wrote a `T` to.
unsafe fn written<T: Copy + Default>(pointer: usize) -> T {
    if pointer == 0 {
        return T::default();
    }
    // SAFETY: as the caller vouches; alignment is the client's business.
    unsafe { (pointer as *const T).read_unaligned() }
}

/// `cuInit`: before and after, because it may hang or end the process.
///
/// # Safety
/// Called as `cuInit`.
pub unsafe extern "C" fn init<const ID: u16>(flags: usize) -> i32 {
    let Some(real) = real(ID) else {
        let result = if DRIVER.handle().is_none() { code::NO_DEVICE } else { outcome::missing(ID) };
        outcome::record(ID, result, flags as u64, 0, When::Now);
        return result;
    };
    if !outcome::succeeded(ID) {
        outcome::entered(ID, 0);
    }
    // SAFETY: the driver's cuInit.
    let result = unsafe { short(real, [flags, 0, 0, 0, 0, 0]) };
    if result != 0 {
        surroundings::note();
    }
    outcome::record(ID, result, flags as u64, 0, When::Now);
    result
}

/// `cuDriverGetVersion`. Without a driver it answers 0, which the runtime reports as 35, as it would without us.
///
/// # Safety
/// Called as `cuDriverGetVersion`.
pub unsafe extern "C" fn version<const ID: u16>(version: usize) -> i32 {
    let result = match real(ID) {
        // SAFETY: the driver's cuDriverGetVersion.
        Some(real) => unsafe { short(real, [version, 0, 0, 0, 0, 0]) },
        None if DRIVER.handle().is_some() || version == 0 => outcome::missing(ID),
        None => {
            // SAFETY: the client's out-pointer.
            unsafe { (version as *mut i32).write_unaligned(0) };
            0
        }
    };
    // SAFETY: written on success.
    let number: i32 = if result == 0 { unsafe { written(version) } } else { 0 };
    outcome::record(ID, result, u64::from(number.cast_unsigned()), 0, When::Now);
    result
}

/// A query of the init phase.
///
/// # Safety
/// Called as a function of up to six integer arguments.
pub unsafe extern "C" fn query<const ID: u16>(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let Some(real) = real(ID) else { return outcome::missing(ID) };
    // SAFETY: the driver's function, the client's arguments.
    let result = unsafe { short(real, [a, b, c, d, e, f]) };
    // SAFETY: the client's arguments.
    unsafe { told(ID, result, a, b) };
    result
}

/// Records how a query ended.
///
/// # Safety
/// The arguments must be the first two of the query that just ended.
pub(crate) unsafe fn told(id: u16, result: i32, a: usize, b: usize) {
    // SAFETY: for these functions the first argument is an out-pointer to an int, written on success.
    let number = |pointer| unsafe { written::<u32>(pointer) };
    let symbol = rows::symbol(id);
    let (arg0, arg1) = match symbol {
        b"cuDeviceGetCount\0" | b"nvmlDeviceGetCount_v2\0" if result == 0 => (u64::from(number(a)), 0),
        b"cuDeviceGetAttribute\0" if result == 0 => (u64::from(number(a)), b as u64),
        b"cuDeviceGetAttribute\0" => (0, b as u64),
        // SAFETY: writes a size_t through its first argument.
        b"cuDeviceTotalMem_v2\0" if result == 0 => (unsafe { written::<u64>(a) }, b as u64),
        _ => (0, 0),
    };
    // A process that asks NVML only may end with these.
    let marks_a_stage = symbol == b"cuDeviceGetCount\0" || rows::is_nvml(id);
    outcome::record(id, result, arg0, arg1, if marks_a_stage { When::Now } else { When::Deferred });
}

/// The device (`CUdevice`) on which a context is made, by the arguments after the first.
pub(crate) fn device_of_context(id: u16, [b, c, d, e]: [usize; 4]) -> i32 {
    int(match rows::symbol(id) {
        b"cuDevicePrimaryCtxRetain\0" => b,
        b"cuCtxCreate_v3\0" => e,
        b"cuCtxCreate_v4\0" => d,
        _ => c,
    })
}

/// An argument of 32 bits: the upper half of its register is anything.
pub(crate) fn int(argument: usize) -> i32 {
    u32::try_from(argument & 0xFFFF_FFFF).unwrap_or(0).cast_signed()
}

/// A context is created or retained: before and after, because the first takes long and may hang.
///
/// # Safety
/// Called as a function of up to six integer arguments.
pub unsafe extern "C" fn context<const ID: u16>(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let Some(real) = real(ID) else { return outcome::missing(ID) };
    let device = u64::from(device_of_context(ID, [b, c, d, e]).cast_unsigned());
    if !outcome::succeeded(ID) {
        outcome::entered(ID, device);
    }
    // SAFETY: the driver's function, the client's arguments.
    let result = unsafe { short(real, [a, b, c, d, e, f]) };
    outcome::record(ID, result, 0, device, When::Now);
    result
}

/// Memory figures.
///
/// # Safety
/// Called as `cuMemGetInfo`.
pub unsafe extern "C" fn memory_info<const ID: u16>(free: usize, total: usize) -> i32 {
    let Some(real) = real(ID) else { return outcome::missing(ID) };
    // SAFETY: the driver's cuMemGetInfo takes two pointers.
    let function = unsafe { core::mem::transmute::<usize, Two>(real) };
    // SAFETY: the client's arguments.
    let result = unsafe { function(free, total) };
    if result != 0 || !outcome::succeeded(ID) {
        // SAFETY: written on success, a size_t each.
        let bytes = |pointer| unsafe { written::<u64>(pointer) };
        let (arg0, arg1) = match rows::symbol(ID) {
            b"cuMemGetInfo_v2\0" if result == 0 => (bytes(free), bytes(total)),
            _ => (0, 0),
        };
        outcome::record(ID, result, arg0, arg1, When::Now);
    }
    result
}

/// Records the figures that a client was told.
pub(crate) fn told_memory(id: u16, result: i32, free: u64, total: u64) {
    if result != 0 || !outcome::succeeded(id) {
        let figures = if result == 0 { (free, total) } else { (0, 0) };
        outcome::record(id, result, figures.0, figures.1, When::Now);
    }
}

/// Device memory is allocated.
///
/// # Safety
/// Called as a function of up to six integer arguments.
pub unsafe extern "C" fn allocate<const ID: u16>(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let Some(real) = real(ID) else { return outcome::missing(ID) };
    // SAFETY: the driver's function, the client's arguments.
    let result = unsafe { short(real, [a, b, c, d, e, f]) };
    if result != 0 || !outcome::succeeded(ID) {
        let bytes = match rows::symbol(ID) {
            b"cuMemAllocPitch\0" | b"cuMemAllocPitch_v2\0" => c.wrapping_mul(d),
            _ => b,
        };
        outcome::record(ID, result, bytes as u64, 0, When::Now);
    }
    result
}

/// Code is loaded.
///
/// # Safety
/// Called as a function of up to twelve integer arguments.
pub unsafe extern "C" fn load<const ID: u16>(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
    g: usize,
    h: usize,
) -> i32 {
    let Some(real) = real(ID) else { return outcome::missing(ID) };
    // SAFETY: the driver's function takes up to eight integers here.
    let function = unsafe { core::mem::transmute::<usize, Long>(real) };
    // SAFETY: the client's arguments; the last four are not looked at.
    let result = unsafe { function(a, b, c, d, e, f, g, h, 0, 0, 0, 0) };
    outcome::record(ID, result, 0, 0, When::Now);
    result
}

/// A launch, until the first one succeeded; then the entry counts by itself.
///
/// # Safety
/// Called as a function of up to eleven integer arguments.
pub unsafe extern "C" fn first_launch<const ID: u16>(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
    g: usize,
    h: usize,
    i: usize,
    j: usize,
    k: usize,
) -> i32 {
    let Some(real) = real(ID) else { return outcome::missing(ID) };
    // SAFETY: the driver's launch function.
    let function = unsafe { core::mem::transmute::<usize, Long>(real) };
    // SAFETY: the client's arguments; the last is not looked at.
    let result = unsafe { function(a, b, c, d, e, f, g, h, i, j, k, 0) };
    outcome::record(ID, result, 0, 0, When::Now);
    if result == 0 {
        thread::count(rows::action(ID) == Action::GraphLaunch);
        if let (Some(slot), Some(counting)) = (slot(&TABLE, ID), crate::hooks::counting(ID)) {
            slot.store(counting, SeqCst);
        }
        launches::flush();
    }
    result
}

/// A call that waits or moves data.
///
/// # Safety
/// Called as a function of up to six integer arguments.
pub unsafe extern "C" fn cold<const ID: u16>(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let Some(real) = real(ID) else { return outcome::missing(ID) };
    launches::flush();
    // SAFETY: the driver's function, the client's arguments.
    let result = unsafe { short(real, [a, b, c, d, e, f]) };
    if result != 0 || (!outcome::succeeded(ID) && launches::total() != (0, 0)) {
        outcome::record(ID, result, 0, 0, When::Now);
    }
    result
}

/// `cuGetExportTable`: passed through, recorded with its UUID.
///
/// # Safety
/// Called as `cuGetExportTable`.
pub unsafe extern "C" fn table<const ID: u16>(table: usize, uuid: usize) -> i32 {
    // SAFETY: the client's pointer to 16 bytes.
    let [arg0, arg1]: [u64; 2] = unsafe { written(uuid) };
    let Some(real) = real(ID) else { return outcome::missing(ID) };
    // SAFETY: the driver's cuGetExportTable.
    let result = unsafe { short(real, [table, uuid, 0, 0, 0, 0]) };
    let caller = outcome::caller_of(ID);
    RECORDER.write(&Note { function: ID, caller, result, arg0, arg1, ..Note::new(Kind::TableAsked, b"") });
    result
}
