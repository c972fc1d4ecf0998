//! Where this object lies in memory, and what marks its file.
#![expect(unsafe_code, reason = "naked functions and a section of its own")]

use core::arch::{global_asm, naked_asm};

// A note near the start of the file, by which another copy of the shim knows this one for what it is.
global_asm!(
    ".section .note.firstlight, \"a\", @note",
    ".long 15, 0, 1",
    ".asciz \"firstlight-shim\"",
    ".text",
);

#[unsafe(naked)]
pub(crate) extern "C" fn begin() -> usize {
    naked_asm!("lea rax, [rip + __ehdr_start]", "ret")
}

#[unsafe(naked)]
pub(crate) extern "C" fn end() -> usize {
    naked_asm!("lea rax, [rip + _end]", "ret")
}
