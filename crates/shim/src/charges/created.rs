//! Memory without an address (`cuMemCreate`) and its mappings. It lives until its last handle and its last mapping are
//! gone, so both are counted. A handle stays what it is for so long (`cuMemRetainAllocationHandle`, cuda.h).
#![expect(unsafe_code, reason = "calls of the client's, with its out-pointers")]
#![expect(clippy::many_single_char_names, reason = "argument words without a meaning of their own")]

use super::owners::Owner;
use super::{ask, away, devices, give, onward, read, take};
use crate::quota::live::{Live, Plain};
use crate::quota::{Charge, Failure};
use crate::rows::id_of;

/// Created memory, by handle.
static CREATED: Live<Created> = Live::new();
/// Mappings, by address.
static MAPPED: Live<Mapping> = Live::new();

#[derive(Clone, Copy, Debug, Default)]
struct Created {
    charge: Charge,
    handles: u32,
    mappings: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mapping {
    handle: u64,
    bytes: u64,
}

// SAFETY: numbers.
unsafe impl Plain for Created {}
// SAFETY: numbers.
unsafe impl Plain for Mapping {}

/// `CU_MEM_LOCATION_TYPE_DEVICE` (cuda.h).
const ON_DEVICE: u32 = 1;

/// Whose memory properties are about: `CUmemAllocationProp` and `CUmemPoolProps` begin alike (cuda.h). `None` where it is
/// the host's, or a device's without a quota.
///
/// # Safety
/// The pointer must be null or one to properties.
pub(super) unsafe fn owner(properties: usize) -> Option<Owner> {
    if properties == 0 {
        return None;
    }
    // SAFETY: as the caller vouches: two ints, then the kind and the id of a location.
    let [kind, id]: [u32; 2] = unsafe { read(properties.wrapping_add(8)) };
    if kind != ON_DEVICE {
        return None;
    }
    devices::number(id.cast_signed()).map(Owner::nobody)
}

/// Adds a handle to what is known of its memory; the first one brings the charge.
fn enter(handle: usize, charge: Charge) -> bool {
    let known = CREATED.change(handle as u64, |created| created.handles = created.handles.saturating_add(1));
    if known.is_some() {
        give(charge);
        return true;
    }
    match CREATED.insert(handle as u64, Created { charge, handles: 1, mappings: 0 }) {
        Ok(before) => {
            if let Some(before) = before {
                give(before.charge);
            }
            true
        }
        Err(_) => false,
    }
}

/// Gives back what memory has that is neither held nor mapped any more.
fn forget_if_unused(handle: u64) {
    let unused = CREATED.change(handle, |created| created.handles == 0 && created.mappings == 0);
    if unused == Some(true)
        && let Some(created) = CREATED.remove(handle)
    {
        give(created.charge);
    }
}

/// # Safety
/// Called as `cuMemCreate`.
pub unsafe extern "C" fn create<const ID: u16>(
    out: usize,
    bytes: usize,
    properties: usize,
    flags: usize,
    e: usize,
    f: usize,
) -> i32 {
    // SAFETY: the client's properties.
    let charge = match take(ID, bytes as u64, unsafe { owner(properties) }) {
        Ok(charge) => charge,
        Err(code) => return code,
    };
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [out, bytes, properties, flags, e, f]) };
    let Some(charge) = charge else { return result };
    if result != 0 {
        give(charge);
        return result;
    }
    // SAFETY: written on success.
    let handle: usize = unsafe { read(out) };
    if enter(handle, charge) {
        return result;
    }
    give(charge);
    // SAFETY: the driver gave it in this call, and nobody else knows of it.
    let _ = unsafe { ask(const { id_of("cuMemRelease") }, [handle, 0, 0, 0, 0, 0]) };
    away(ID, bytes as u64, charge.device(), Failure::NoMemory)
}

/// A handle from another process. How large its memory is shows when it is mapped.
///
/// # Safety
/// Called as `cuMemImportFromShareableHandle`.
pub unsafe extern "C" fn import<const ID: u16>(
    out: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [out, b, c, d, e, f]) };
    if result == 0 {
        // SAFETY: written on success.
        enter(unsafe { read(out) }, Charge::default());
    }
    result
}

/// # Safety
/// Called as `cuMemRetainAllocationHandle`.
pub unsafe extern "C" fn retain<const ID: u16>(
    out: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [out, b, c, d, e, f]) };
    if result == 0 {
        // SAFETY: written on success.
        let handle: usize = unsafe { read(out) };
        CREATED.change(handle as u64, |created| created.handles = created.handles.saturating_add(1));
    }
    result
}

/// The last handle of unmapped memory is forgotten before the driver frees it: afterwards it may be another's.
///
/// # Safety
/// Called as `cuMemRelease`.
pub unsafe extern "C" fn release<const ID: u16>(
    handle: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let name = handle as u64;
    let left = CREATED.change(name, |created| {
        created.handles = created.handles.saturating_sub(1);
        created.handles > 0 || created.mappings > 0
    });
    let last = if left == Some(false) { CREATED.remove(name) } else { None };
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [handle, b, c, d, e, f]) };
    match (last, result) {
        (Some(created), 0) => give(created.charge),
        (Some(created), _) => drop(CREATED.insert(name, Created { handles: 1, ..created })),
        (None, 0) => {}
        (None, _) => {
            CREATED.change(name, |created| created.handles = created.handles.saturating_add(1));
        }
    }
    result
}

/// # Safety
/// Called as `cuMemMap`.
pub unsafe extern "C" fn map<const ID: u16>(
    address: usize,
    bytes: usize,
    offset: usize,
    handle: usize,
    flags: usize,
    f: usize,
) -> i32 {
    let name = handle as u64;
    // Not charged: imported, and not mapped before. Or the host's: then it has no owner here either.
    let fresh = CREATED.change(name, |created| created.charge.bytes() == 0 && created.mappings == 0);
    if fresh == Some(true) {
        let size = (bytes as u64).saturating_add(offset as u64);
        match take(ID, size, imported(handle)) {
            Ok(Some(charge)) => {
                CREATED.change(name, |created| created.charge = charge);
            }
            Ok(None) => {}
            Err(code) => return code,
        }
    }
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [address, bytes, offset, handle, flags, f]) };
    if result == 0
        && CREATED.change(name, |created| created.mappings = created.mappings.saturating_add(1)).is_some()
        && MAPPED.insert(address as u64, Mapping { handle: name, bytes: bytes as u64 }).is_err()
    {
        // Its end will not be seen: the memory stays charged.
        return result;
    }
    result
}

/// Whose an imported handle's memory is.
fn imported(handle: usize) -> Option<Owner> {
    let mut properties = [0_u64; 8];
    let out = (&raw mut properties) as usize;
    let function = const { id_of("cuMemGetAllocationPropertiesFromHandle") };
    // SAFETY: writes the properties, 32 bytes, through its first argument.
    let answer = unsafe { ask(function, [out, handle, 0, 0, 0, 0]) };
    // SAFETY: as just written.
    if answer == Some(0) { unsafe { owner(out) } } else { None }
}

/// A range may hold many mappings; each lies where the one before ends.
///
/// # Safety
/// Called as `cuMemUnmap`.
pub unsafe extern "C" fn unmap<const ID: u16>(
    address: usize,
    bytes: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [address, bytes, c, d, e, f]) };
    if result != 0 {
        return result;
    }
    let (mut at, end) = (address as u64, (address as u64).saturating_add(bytes as u64));
    while at < end {
        let Some(mapping) = MAPPED.remove(at) else { break };
        unmapped(mapping);
        at = at.saturating_add(mapping.bytes.max(1));
    }
    if at < end {
        // There was a hole, or one that was not seen.
        MAPPED.drain(|address, _| (at..end).contains(&address), unmapped);
    }
    result
}

fn unmapped(mapping: Mapping) {
    CREATED.change(mapping.handle, |created| created.mappings = created.mappings.saturating_sub(1));
    forget_if_unused(mapping.handle);
}
