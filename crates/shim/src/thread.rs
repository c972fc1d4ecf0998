//! The launch counters of the calling thread. TLS descriptors: they work in objects that are opened late, on musl,
//! and where the static TLS block is full; initial-exec does not.
#![expect(unsafe_code, reason = "thread-local storage without std")]

use crate::launches::{Node, new_node};
use core::arch::{global_asm, naked_asm};
use core::sync::atomic::Ordering::Relaxed;

global_asm!(
    ".section .tbss,\"awT\",@nobits",
    ".globl firstlight_node",
    ".hidden firstlight_node",
    ".type firstlight_node,@object",
    ".p2align 3",
    "firstlight_node:",
    ".zero 8",
    ".size firstlight_node, 8",
    ".text",
);

/// The thread's counters; null if it has none yet.
#[unsafe(naked)]
extern "C" fn node() -> *const Node {
    naked_asm!(
        "lea rax, [rip + firstlight_node@TLSDESC]",
        "call qword ptr [rax + firstlight_node@TLSCALL]",
        "mov rax, qword ptr fs:[rax]",
        "ret",
    )
}

#[unsafe(naked)]
extern "C" fn set_node(node: *const Node) {
    naked_asm!(
        "lea rax, [rip + firstlight_node@TLSDESC]",
        "call qword ptr [rax + firstlight_node@TLSCALL]",
        "mov qword ptr fs:[rax], rdi",
        "ret",
    )
}

fn own() -> *const Node {
    let present = node();
    if present.is_null() {
        set_node(new_node());
        return node();
    }
    present
}

/// Gives the calling thread counters; returns where a launch that found none goes on.
pub extern "C" fn attach(id: u32) -> usize {
    own();
    crate::front::TABLE.get(id as usize).map_or(0, |slot| slot.load(Relaxed))
}

/// Counts one launch of the calling thread.
pub fn count(is_graph: bool) {
    // SAFETY: nodes are never freed.
    let node = unsafe { &*own() };
    let counter = if is_graph { &node.graphs } else { &node.kernels };
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}
