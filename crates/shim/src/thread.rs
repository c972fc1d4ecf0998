//! The launch counters of the calling thread. TLS descriptors: they work in objects that are opened late, on musl,
//! and where the static TLS block is full; initial-exec does not.
#![expect(unsafe_code, reason = "thread-local storage without std")]

use crate::launches::{self, Node, new_node};
use crate::outcome::{self, When};
use crate::rows;
use core::arch::{global_asm, naked_asm};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use firstlight_driver_api::Action;

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

/// Where the thread-local word lies relative to the thread pointer, if that is the same in all threads: so it is when
/// the object was there at the start of the process, and then a launch need not call the descriptor (1.2 ns).
pub static OFFSET: AtomicUsize = AtomicUsize::new(0);

/// Whether the word lies at the same place in all threads; [`OFFSET`] says where.
pub fn is_static() -> bool {
    /// What glibc's `_dl_tlsdesc_return` and musl's `__tlsdesc_static` are: `mov rax, [rax + 8]; ret`, in some
    /// builds behind an `endbr64`.
    const CODE: [u8; 5] = [0x48, 0x8b, 0x40, 0x08, 0xc3];
    const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
    if !cfg!(panic = "abort") {
        // In a test program the linker makes something else of the descriptor.
        return false;
    }
    // SAFETY: the descriptor's two words (x86-64 TLS descriptor ABI), filled by the loader before any code runs.
    let [resolver, offset] = unsafe { descriptor().read() };
    // SAFETY: the beginning of a function of the loader: code can be read, and it is longer than a cache line.
    let head = unsafe { (resolver as *const [u8; 4]).read_unaligned() };
    let skipped = if head == ENDBR64 { 4 } else { 0 };
    // SAFETY: as above.
    let code = unsafe { ((resolver + skipped) as *const [u8; 5]).read_unaligned() };
    OFFSET.store(offset, Relaxed);
    code == CODE
}

#[unsafe(naked)]
extern "C" fn descriptor() -> *const [usize; 2] {
    naked_asm!("lea rax, [rip + firstlight_node@TLSDESC]", "ret")
}

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

/// A small number for the calling thread. Threads that begin one after the other have different ones, which lie as close
/// together as their counters.
#[inline]
pub fn number() -> usize {
    let present = node();
    let node = if present.is_null() { own() } else { present };
    node.addr() / size_of::<Node>()
}

/// Counts one launch of the calling thread.
pub fn count(is_graph: bool) {
    add(is_graph, 1);
}

/// What a counting entry does with a launch that failed: takes it out of the count and records the code.
pub extern "C" fn failed(id: u32, result: i32) -> i32 {
    let id = u16::try_from(id).unwrap_or(u16::MAX);
    add(rows::action(id) == Action::GraphLaunch, u64::MAX);
    launches::flush();
    outcome::record(id, result, 0, 0, When::Now);
    result
}

fn add(is_graph: bool, launches: u64) {
    // SAFETY: nodes are never freed.
    let node = unsafe { &*own() };
    let counter = if is_graph { &node.graphs } else { &node.kernels };
    counter.store(counter.load(Relaxed).wrapping_add(launches), Relaxed);
}
