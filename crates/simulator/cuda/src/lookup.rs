//! `cuGetProcAddress`: the same rule as the list, less what shall be missing.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, driver, offer, put, text};
use crate::exports::ENTRIES;
use crate::hide;
use crate::init::version;
use firstlight_driver_api::function::DRIVER_FUNCTIONS;
use firstlight_driver_api::resolve;
use std::ffi::c_char;

/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`
const PER_THREAD: u64 = 2;
/// `CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND`, `…_VERSION_NOT_SUFFICIENT`
const NOT_FOUND: u32 = 1;
const VERSION_NOT_SUFFICIENT: u32 = 2;

enum Found {
    Entry(*const ()),
    TooNew,
    Nothing,
}

/// What this driver has under a name. A function that began after the driver's version is not there.
fn find(name: &str, asked: i32, flags: u64) -> Found {
    let per_thread = flags & PER_THREAD != 0;
    let ours = u32::try_from(version()).unwrap_or(0);
    let asked = u32::try_from(asked).unwrap_or(0);
    let Some(function) = resolve(name, asked.min(ours), per_thread) else {
        let exists = resolve(name, u32::MAX, per_thread).is_some();
        return if exists { Found::TooNew } else { Found::Nothing };
    };
    let index = DRIVER_FUNCTIONS.iter().position(|one| one.id == function.id);
    match index.and_then(|index| ENTRIES.get(index)) {
        Some(entry) if !hide::is_hidden(function) => Found::Entry(entry.0),
        _ => Found::Nothing,
    }
}

fn look_up(name: *const c_char, out: *mut *const (), version: i32, flags: u64, status: *mut u32) -> Done {
    let name = text(name)?;
    let (entry, why) = match find(&name, version, flags) {
        Found::Entry(entry) => (entry, 0),
        Found::TooNew => (std::ptr::null(), VERSION_NOT_SUFFICIENT),
        Found::Nothing => (std::ptr::null(), NOT_FOUND),
    };
    put(out, entry)?;
    offer(status, why);
    if entry.is_null() { Err(Code::NOT_FOUND) } else { Ok(()) }
}

driver! {
    /// The ABI of CUDA 11: there is no status, and where later callers pass it anything may stand.
    fn cuGetProcAddress(name: *const c_char, out: *mut *const (), version: i32, flags: u64) {
        look_up(name, out, version, flags, std::ptr::null_mut())
    }

    fn cuGetProcAddress_v2(name: *const c_char, out: *mut *const (), version: i32, flags: u64, status: *mut u32) {
        look_up(name, out, version, flags, status)
    }
}
