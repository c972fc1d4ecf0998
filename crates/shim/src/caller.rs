//! Who called: the module that a return address lies in.
#![expect(unsafe_code, reason = "reads what dl_iterate_phdr hands out")]

use crate::recorder::{Note, RECORDER};
use crate::{start, sys, weak};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use firstlight_contract::record::{Caller, Kind};

/// A loaded segment (elf.h).
const PT_LOAD: u32 = 1;
/// Longest path of a module that is looked at.
pub const MAX_PATH: usize = 512;

struct Search {
    address: usize,
    found: bool,
    path: [u8; MAX_PATH],
    length: usize,
}

/// Callers whose module was recorded, a bit each.
static SEEN: AtomicU32 = AtomicU32::new(0);

/// The class of the module at this address; its path is recorded once for each class.
pub fn of(address: usize) -> Caller {
    let search = find(address);
    if !search.found {
        return Caller::Unknown;
    }
    let path = search.path.get(..search.length).unwrap_or(&[]);
    let mut exe = [0; MAX_PATH];
    let is_program = path.is_empty();
    let path = if is_program { sys::readlink(b"/proc/self/exe\0", &mut exe) } else { path };
    let caller = classify(path, is_program, address);
    let bit = 1 << (caller as u32);
    if SEEN.fetch_or(bit, SeqCst) & bit == 0 {
        RECORDER.defer(&Note { caller, ..Note::new(Kind::Module, path) });
    }
    caller
}

fn classify(path: &[u8], is_program: bool, address: usize) -> Caller {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    match () {
        () if crate::is_own(address) => Caller::Shim,
        () if name.starts_with(b"libcudart") => Caller::Runtime,
        () if name.starts_with(b"libggml-cuda") => Caller::GgmlBackend,
        () if name.starts_with(b"libcublas") => Caller::Cublas,
        () if name.starts_with(b"ollama") || name.starts_with(b"llama") => Caller::Ollama,
        () if name.starts_with(b"libllama") || name.starts_with(b"libggml") => Caller::Ollama,
        () if is_program => Caller::Program,
        () => Caller::Library,
    }
}

/// The path of the module that an address lies in, as the loader knows it.
pub fn module(address: usize, into: &mut [u8; MAX_PATH]) -> Option<&[u8]> {
    let search = find(address);
    *into = search.path;
    into.get(..search.length).filter(|path| search.found && !path.is_empty())
}

fn find(address: usize) -> Search {
    let mut search = Search { address, found: false, path: [0; MAX_PATH], length: 0 };
    // SAFETY: the callback gets the search that it expects, and it outlives the call.
    unsafe { weak::each_module(look, (&raw mut search).cast()) };
    search
}

/// # Safety
/// `info` is what dl_iterate_phdr passes, `data` a `Search`.
unsafe extern "C" fn look(info: *const weak::ModuleInfo, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: as documented in dl_iterate_phdr(3): valid during the callback.
    let info = unsafe { &*info };
    // SAFETY: the pointer that `find` passed.
    let search = unsafe { &mut *data.cast::<Search>() };
    if info.headers.is_null() {
        return 0;
    }
    // SAFETY: the module has this many program headers.
    let headers = unsafe { core::slice::from_raw_parts(info.headers, usize::from(info.count)) };
    let inside = |header: &weak::ProgramHeader| {
        let begin = info.base.wrapping_add(header.address);
        header.kind == PT_LOAD && search.address.wrapping_sub(begin) < header.memory_size
    };
    if !headers.iter().any(inside) {
        return 0;
    }
    // SAFETY: the name is a NUL-terminated text or null.
    let path = unsafe { start::text(info.name, MAX_PATH) };
    for (to, from) in search.path.iter_mut().zip(path) {
        *to = *from;
    }
    search.length = path.len();
    search.found = true;
    1
}
