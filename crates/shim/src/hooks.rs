//! Which wrapper stands for which function: from the list, by its action, and under a quota by its effect.
#![expect(unsafe_code, reason = "naked entries")]

use crate::charges::{self, contexts, created, entries, figures, foreign, graphs, modules};
use crate::{front, lookup, rows, thread, wrappers};
use core::arch::naked_asm;
use firstlight_driver_api::Effect;

/// Saves the registers that carry arguments, calls a function of the shim with the id (r11d), the client's return
/// address (`[rsp]`) and the function that knows the entries, restores them and jumps where it said.
#[macro_export]
macro_rules! detour {
    ($(#[$meta:meta])* $visibility:vis $name:ident, $target:path, $entry:path) => {
        $(#[$meta])*
        #[unsafe(naked)]
        $visibility unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "push rax", "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push r10",
                "sub rsp, 136",
                "movups xmmword ptr [rsp], xmm0", "movups xmmword ptr [rsp + 16], xmm1",
                "movups xmmword ptr [rsp + 32], xmm2", "movups xmmword ptr [rsp + 48], xmm3",
                "movups xmmword ptr [rsp + 64], xmm4", "movups xmmword ptr [rsp + 80], xmm5",
                "movups xmmword ptr [rsp + 96], xmm6", "movups xmmword ptr [rsp + 112], xmm7",
                "mov edi, r11d",
                "mov rsi, qword ptr [rsp + 200]",
                "lea rdx, [rip + {entry}]",
                "call {target}",
                "mov r11, rax",
                "movups xmm0, xmmword ptr [rsp]", "movups xmm1, xmmword ptr [rsp + 16]",
                "movups xmm2, xmmword ptr [rsp + 32]", "movups xmm3, xmmword ptr [rsp + 48]",
                "movups xmm4, xmmword ptr [rsp + 64]", "movups xmm5, xmmword ptr [rsp + 80]",
                "movups xmm6, xmmword ptr [rsp + 96]", "movups xmm7, xmmword ptr [rsp + 112]",
                "add rsp, 136",
                "pop r10", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi", "pop rax",
                "jmp r11",
                target = sym $target,
                entry = sym $entry,
            )
        }
    };
}

detour!(
    /// A thread's first launch through a counting entry.
    attach,
    thread::attach,
    no_entry
);

/// For detours whose target asks for no entry.
pub extern "C" fn no_entry(_: u16) -> usize {
    0
}

/// A launch entry that counts: finds the thread's counters, increments one and calls the driver; a code other than 0
/// goes to [`thread::failed`]. A call, not a jump, since a launch that fails is the last thing that many programs do:
/// what an earlier kernel did wrong comes out there. No launch function has more than five arguments on the stack;
/// for those that have fewer, words of the client's frame are copied along and not looked at.
macro_rules! counting {
    ($id:literal, $offset:literal, $($find:literal),+) => {{
        #[unsafe(naked)]
        unsafe extern "C" fn counting() {
            naked_asm!(
                $($find,)+
                "mov rax, qword ptr fs:[rax]",
                "test rax, rax",
                "jz 2f",
                concat!("inc qword ptr [rax + ", $offset, "]"),
                "push qword ptr [rsp + 40]",
                "push qword ptr [rsp + 40]",
                "push qword ptr [rsp + 40]",
                "push qword ptr [rsp + 40]",
                "push qword ptr [rsp + 40]",
                "call qword ptr [rip + {real} + {slot}]",
                "add rsp, 40",
                "test eax, eax",
                "jnz 3f",
                "ret",
                "2:",
                "mov r11d, {id}",
                "jmp {attach}",
                "3:",
                "mov edi, {id}",
                "mov esi, eax",
                "jmp {failed}",
                "/* {word} */",
                real = sym front::REAL,
                slot = const 8 * $id,
                id = const $id,
                attach = sym attach,
                failed = sym thread::failed,
                word = sym thread::OFFSET,
            )
        }
        counting as *const () as usize
    }};
}

macro_rules! counting_either {
    ($id:literal, $offset:literal) => {
        Some(if thread::is_static() {
            counting!($id, $offset, "mov rax, qword ptr [rip + {word}]")
        } else {
            counting!(
                $id,
                $offset,
                "lea rax, [rip + firstlight_node@TLSDESC]",
                "call qword ptr [rax + firstlight_node@TLSCALL]"
            )
        })
    };
}

macro_rules! counting_of {
    ($id:literal, launch) => {
        counting_either!($id, 0)
    };
    ($id:literal, graph_launch) => {
        counting_either!($id, 8)
    };
    ($id:literal, $other:ident) => {
        None
    };
}

macro_rules! wrapper_of {
    ($id:literal, forward) => {
        None
    };
    ($id:literal, init) => {
        Some(wrappers::init::<$id> as *const () as usize)
    };
    ($id:literal, version) => {
        Some(wrappers::version::<$id> as *const () as usize)
    };
    ($id:literal, lookup) => {
        Some(lookup::lookup::<$id> as *const () as usize)
    };
    ($id:literal, table) => {
        Some(wrappers::table::<$id> as *const () as usize)
    };
    ($id:literal, query) => {
        Some(wrappers::query::<$id> as *const () as usize)
    };
    ($id:literal, nvml) => {
        Some(wrappers::query::<$id> as *const () as usize)
    };
    ($id:literal, context) => {
        Some(wrappers::context::<$id> as *const () as usize)
    };
    ($id:literal, memory_info) => {
        Some(wrappers::memory_info::<$id> as *const () as usize)
    };
    ($id:literal, allocate) => {
        Some(wrappers::allocate::<$id> as *const () as usize)
    };
    ($id:literal, load) => {
        Some(wrappers::load::<$id> as *const () as usize)
    };
    ($id:literal, launch) => {
        Some(wrappers::first_launch::<$id> as *const () as usize)
    };
    ($id:literal, graph_launch) => {
        Some(wrappers::first_launch::<$id> as *const () as usize)
    };
    ($id:literal, cold) => {
        Some(wrappers::cold::<$id> as *const () as usize)
    };
}

/// The address of a function, computed. Written as a constant it would stand in a table of the compiler's or the linker's,
/// and cost every process start a relocation.
#[macro_export]
macro_rules! address {
    ($function:path) => {{
        let address: usize;
        // SAFETY: computes a number.
        unsafe {
            core::arch::asm!("lea {}, [rip + {}]", out(reg) address, sym $function, options(pure, nomem, nostack, preserves_flags));
        }
        address
    }};
}

macro_rules! charged_of {
    ($id:literal, none) => {
        None
    };
    ($id:literal, allocate) => {
        Some(address!(entries::allocate::<$id>))
    };
    ($id:literal, async) => {
        Some(address!(entries::ordered::<$id>))
    };
    ($id:literal, pitch) => {
        Some(address!(entries::pitch::<$id>))
    };
    ($id:literal, array) => {
        Some(address!(entries::array::<$id>))
    };
    ($id:literal, free) => {
        Some(address!(entries::free::<$id>))
    };
    ($id:literal, create) => {
        Some(address!(created::create::<$id>))
    };
    ($id:literal, import) => {
        Some(address!(created::import::<$id>))
    };
    ($id:literal, retain) => {
        Some(address!(created::retain::<$id>))
    };
    ($id:literal, release) => {
        Some(address!(created::release::<$id>))
    };
    ($id:literal, map) => {
        Some(address!(created::map::<$id>))
    };
    ($id:literal, unmap) => {
        Some(address!(created::unmap::<$id>))
    };
    ($id:literal, open) => {
        Some(address!(foreign::open::<$id>))
    };
    ($id:literal, external) => {
        Some(address!(foreign::import::<$id>))
    };
    ($id:literal, context) => {
        Some(address!(contexts::begin::<$id>))
    };
    ($id:literal, context_end) => {
        Some(address!(contexts::finish::<$id>))
    };
    ($id:literal, limit) => {
        Some(address!(contexts::limit::<$id>))
    };
    ($id:literal, global) => {
        Some(address!(modules::global::<$id>))
    };
    ($id:literal, unload) => {
        Some(address!(modules::unload::<$id>))
    };
    ($id:literal, node) => {
        Some(address!(graphs::node::<$id>))
    };
    ($id:literal, graph) => {
        Some(address!(graphs::instantiate::<$id>))
    };
    ($id:literal, graph_end) => {
        Some(address!(graphs::destroy::<$id>))
    };
    ($id:literal, info) => {
        Some(address!(figures::info::<$id>))
    };
    ($id:literal, total) => {
        Some(address!(figures::total::<$id>))
    };
    ($id:literal, nvml) => {
        Some(address!(figures::nvml::<$id>))
    };
}

macro_rules! driver_rows {
    ($(($id:literal, $symbol:ident, $name:ident, $thread:literal, $action:ident, $effect:ident, $versions:tt),)*) => {
        fn driver_wrapper(id: u16) -> Option<usize> {
            match id { $($id => wrapper_of!($id, $action),)* _ => None }
        }

        fn driver_charged(id: u16) -> Option<usize> {
            match id { $($id => charged_of!($id, $effect),)* _ => None }
        }

        /// The counting entry of a launch function.
        pub fn counting(id: u16) -> Option<usize> {
            match id { $($id => counting_of!($id, $action),)* _ => None }
        }
    };
}

macro_rules! nvml_rows {
    ($(($id:literal, $symbol:ident, $name:ident, $thread:literal, $action:ident, $effect:ident, $versions:tt),)*) => {
        fn nvml_wrapper(id: u16) -> Option<usize> {
            match id { $($id => wrapper_of!($id, $action),)* _ => None }
        }

        fn nvml_charged(id: u16) -> Option<usize> {
            match id { $($id => charged_of!($id, $effect),)* _ => None }
        }
    };
}

firstlight_driver_api::driver_functions!(driver_rows);
firstlight_driver_api::nvml_functions!(nvml_rows);

/// What stands for a function with an action.
pub fn wrapper(id: u16) -> Option<usize> {
    driver_wrapper(id).or_else(|| nvml_wrapper(id))
}

/// What stands for a function with an effect on device memory; `None` where the grant has no quota.
pub fn charged(id: u16) -> Option<usize> {
    if rows::effect(id) == Effect::None || !charges::is_limited() {
        return None;
    }
    driver_charged(id).or_else(|| nvml_charged(id))
}
