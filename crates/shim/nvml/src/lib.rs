//! `libnvidia-ml.so.1`: leads to the NVML entries of the `libcuda.so.1` that was preloaded, so that one chain of records
//! tells of both; without it, to NVML itself.
#![cfg_attr(panic = "abort", no_std)]
#![expect(unsafe_code, reason = "exported entries")]

use firstlight_shim::front::TABLE;
use firstlight_shim::{is_own, rows, weak};

#[cfg(panic = "abort")]
#[path = "../../cuda/src/bare.rs"]
mod bare;

firstlight_shim::detour!(cold, fill, firstlight_shim::hooks::no_entry);

/// Fills the slot of an entry that was called for the first time.
extern "C" fn fill(id: u32, return_address: usize) -> usize {
    let number = u16::try_from(id).unwrap_or(u16::MAX);
    let preloaded = weak::find(b"libcuda.so.1\0").and_then(|shim| {
        // SAFETY: the handle came from dlopen and is never closed.
        unsafe { weak::symbol(shim, rows::symbol(number)) }
    });
    let Some(found) = preloaded.filter(|address| !is_own(*address)) else {
        return firstlight_shim::front::fill(id, return_address, 0);
    };
    if let Some(slot) = TABLE.get(id as usize) {
        slot.store(found, core::sync::atomic::Ordering::SeqCst);
    }
    found
}

macro_rules! entries {
    ($(($id:literal, $symbol:ident, $name:ident, $thread:literal, $action:ident, $effect:ident, $versions:tt),)*) => {
        $(
            #[doc(hidden)]
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $symbol() {
                core::arch::naked_asm!(
                    "mov r11, qword ptr [rip + {table} + {slot}]",
                    "test r11, r11",
                    "jz 2f",
                    "jmp r11",
                    "2:",
                    "mov r11d, {id}",
                    "jmp {cold}",
                    table = sym TABLE,
                    slot = const 8 * $id,
                    id = const $id,
                    cold = sym cold,
                )
            }
        )*
    };
}

firstlight_driver_api::nvml_functions!(entries);
