//! Memory of others: what another process allocated (CUDA IPC), and what another interface did (Vulkan, for instance).
//! It lives as long as somebody has it open, so whoever opens it is charged, too.
#![expect(unsafe_code, reason = "calls of the client's, with its out-pointers")]

use super::{Name, ask, key, onward, owners, read, settle, take};
use crate::rows::id_of;
use crate::{front, outcome};

/// `CUipcMemHandle` (cuda.h): passed by value, which is on the stack.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Shared([u8; 64]);

type Open = unsafe extern "C" fn(usize, Shared, u32) -> i32;

/// How much it is the driver tells only when it is open: then it is closed again if it is too much.
///
/// # Safety
/// Called as `cuIpcOpenMemHandle`.
pub unsafe extern "C" fn open<const ID: u16>(out: usize, handle: Shared, flags: u32) -> i32 {
    let Some(address) = front::inner(ID) else { return outcome::missing(ID) };
    // SAFETY: the driver's cuIpcOpenMemHandle.
    let function = unsafe { core::mem::transmute::<usize, Open>(address) };
    // SAFETY: the client's arguments.
    let result = unsafe { function(out, handle, flags) };
    if result != 0 {
        return result;
    }
    // SAFETY: written on success.
    let address: usize = unsafe { read(out) };
    let mut bytes = 0_usize;
    let range = const { id_of("cuMemGetAddressRange_v2") };
    // SAFETY: writes a size through the second argument, nothing through the first, which is null.
    let answer = unsafe { ask(range, [0, (&raw mut bytes) as usize, address, 0, 0, 0]) };
    let bytes = if answer == Some(0) { bytes as u64 } else { 0 };
    let close = || {
        // SAFETY: the driver opened it in this call, and nobody else knows of it.
        let _ = unsafe { ask(const { id_of("cuIpcCloseMemHandle") }, [address, 0, 0, 0, 0, 0]) };
    };
    match take(ID, bytes, owners::current()) {
        Ok(charge) => settle(ID, charge, result, || key(Name::Address, address), close),
        Err(code) => {
            close();
            code
        }
    }
}

/// # Safety
/// Called as `cuImportExternalMemory`.
pub unsafe extern "C" fn import<const ID: u16>(
    out: usize,
    descriptor: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    /// Where `CUDA_EXTERNAL_MEMORY_HANDLE_DESC` (cuda.h) has the size.
    const SIZE_AT: usize = 24;
    let at = if descriptor == 0 { 0 } else { descriptor.wrapping_add(SIZE_AT) };
    // SAFETY: the client's descriptor.
    let bytes: u64 = unsafe { read(at) };
    let charge = match take(ID, bytes, owners::current()) {
        Ok(charge) => charge,
        Err(code) => return code,
    };
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [out, descriptor, c, d, e, f]) };
    // SAFETY: read after a success only.
    let handle = || unsafe { read::<usize>(out) };
    settle(
        ID,
        charge,
        result,
        || key(Name::External, handle()),
        || {
            // SAFETY: the driver gave it in this call, and nobody else knows of it.
            let _ = unsafe { ask(const { id_of("cuDestroyExternalMemory") }, [handle(), 0, 0, 0, 0, 0]) };
        },
    )
}
