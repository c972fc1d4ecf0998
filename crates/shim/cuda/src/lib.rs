//! `libcuda.so.1`, the preload object: an entry for every function of the CUDA driver and of NVML. NVML's are here,
//! too, so that one chain of records tells of both; `libnvidia-ml.so.1` beside it leads to them.
#![cfg_attr(panic = "abort", no_std)]
#![expect(unsafe_code, reason = "exported entries")]

use core::arch::global_asm;
use core::ffi::c_char;
use firstlight_shim::front::{TABLE, fill};

#[cfg(panic = "abort")]
mod bare;

firstlight_shim::detour!(cold, fill, entry);

/// Called by the dynamic loader (`DT_INIT`).
///
/// # Safety
/// Called by the dynamic loader, once.
unsafe extern "C" fn start(count: usize, arguments: *const *const c_char, environment: *const *const c_char) {
    // SAFETY: what the loader passes is passed on.
    unsafe { firstlight_shim::start::on_load(count, arguments, environment) };
}

/// Called by the dynamic loader (`DT_FINI`).
extern "C" fn end() {
    firstlight_shim::start::on_exit();
}

// Names for the linker's `-init` and `-fini`, which nobody else sees.
global_asm!(
    ".globl firstlight_start",
    ".hidden firstlight_start",
    ".type firstlight_start, @function",
    "firstlight_start:",
    "jmp {start}",
    ".globl firstlight_end",
    ".hidden firstlight_end",
    ".type firstlight_end, @function",
    "firstlight_end:",
    "jmp {end}",
    start = sym start,
    end = sym end,
);

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

macro_rules! addresses {
    ($(($id:literal, $symbol:ident, $name:ident, $thread:literal, $action:ident, $effect:ident, $versions:tt),)*) => {
        /// The address of an entry that a lookup may hand out; 0 for none.
        extern "C" fn entry(id: u16) -> usize {
            match id { $($id => address_of!($symbol, $action, $effect),)* _ => 0 }
        }
    };
}

macro_rules! address_of {
    ($symbol:ident, forward, none) => {
        0
    };
    ($symbol:ident, $action:ident, $effect:ident) => {
        firstlight_shim::address!($symbol)
    };
}

firstlight_driver_api::driver_functions!(entries);
firstlight_driver_api::nvml_functions!(entries);
firstlight_driver_api::driver_functions!(addresses);
