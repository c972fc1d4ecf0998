//! `cuGetProcAddress`: the same rule as the list, less what shall be missing.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, driver, offer, put, text};
use crate::exports::ENTRIES;
use crate::hide;
use crate::init::version;
use firstlight_driver_api::function::DRIVER_FUNCTIONS;
use firstlight_driver_api::{Function, resolve};
use std::ffi::c_char;

/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`
const PER_THREAD: u64 = 2;
/// `CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND`, `…_VERSION_NOT_SUFFICIENT`
const NOT_FOUND: u32 = 1;
const VERSION_NOT_SUFFICIENT: u32 = 2;

/// `CU_GET_PROC_ADDRESS_LEGACY_STREAM` and the one above: no other flag is known.
const FLAGS: u64 = 1 | PER_THREAD;

enum Found {
    Entry(*const ()),
    TooNew,
    Nothing,
}

/// What this driver has under a name. A function that began after the driver's version is not there. A negative
/// version is newer than all others; a positive one newer than the driver is refused.
fn find(name: *const c_char, asked: i32, flags: u64) -> Result<Found, Code> {
    let name = text(name)?;
    if asked > version() || flags & !FLAGS != 0 {
        return Err(Code::INVALID_VALUE);
    }
    let ours = u32::try_from(version()).unwrap_or(0);
    Ok(find_known(&name, asked.cast_unsigned().min(ours), flags & PER_THREAD != 0))
}

fn find_known(name: &str, asked: u32, per_thread: bool) -> Found {
    let newest = resolve(name, u32::MAX, per_thread);
    let variant = |function: &Function| per_thread && function.per_thread;
    let Some(function) = resolve(name, asked, per_thread) else {
        return if newest.is_some() { Found::TooNew } else { Found::Nothing };
    };
    if newest.is_some_and(variant) && !variant(function) {
        return Found::TooNew;
    }
    // Ids are append-only, so the list is in their order.
    let index = DRIVER_FUNCTIONS.binary_search_by_key(&function.id, |one| one.id);
    match index.ok().and_then(|index| ENTRIES.get(index)) {
        Some(entry) if !hide::is_hidden(function) => Found::Entry(entry.0),
        _ => Found::Nothing,
    }
}

driver! {
    /// The ABI of CUDA 11: there is no status, and where later callers pass it anything may stand. What is not there
    /// is an error.
    fn cuGetProcAddress(name: *const c_char, out: *mut *const (), version: i32, flags: u64) {
        match find(name, version, flags)? {
            Found::Entry(entry) => put(out, entry),
            Found::TooNew | Found::Nothing => Err(Code::NOT_FOUND),
        }
    }

    /// The ABI of CUDA 12: what is not there is a success without a function, and the status says why.
    fn cuGetProcAddress_v2(name: *const c_char, out: *mut *const (), version: i32, flags: u64, status: *mut u32) {
        let (entry, why) = match find(name, version, flags)? {
            Found::Entry(entry) => (entry, 0),
            Found::TooNew => (std::ptr::null(), VERSION_NOT_SUFFICIENT),
            Found::Nothing => (std::ptr::null(), NOT_FOUND),
        };
        put(out, entry)?;
        offer(status, why);
        Ok(())
    }
}
