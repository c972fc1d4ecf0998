//! Functions that shall be missing. Before anybody can look them up, a constructor takes them out of this object's
//! dynamic symbol table (`st_shndx` = undefined), so that `dlsym` finds nothing, as with a driver that lacks them.
//! A plugin that binds the symbol directly and is loaded in the same step is bound before any constructor runs.
#![expect(unsafe_code, reason = "edits this object's own symbol table")]

use crate::exports::ENTRIES;
use firstlight_contract::fault::Fault;
use firstlight_contract::names;
use firstlight_driver_api::Function;
use firstlight_driver_api::function::DRIVER_FUNCTIONS;
use firstlight_simulator::machine::Machine;
use std::ffi::{CStr, c_void};

/// Whether a fault says that this function is missing. A name hides all its versions, a symbol only itself.
pub(crate) fn is_hidden(function: &Function) -> bool {
    let named = |name: &str| function.symbol == name || function.name == name;
    Machine::of_process().faults.iter().any(|fault| match fault {
        Fault::NoExportTable => named("cuGetExportTable"),
        Fault::NoFunction(name) => named(name),
        _ => false,
    })
}

extern "C" fn start() {
    // Nothing is read in a process where nothing can be on order.
    if std::env::var_os(names::env::SIMULATE).is_none() {
        return;
    }
    for (function, entry) in DRIVER_FUNCTIONS.iter().zip(&ENTRIES) {
        if is_hidden(function) {
            remove(function.symbol, entry.0);
        }
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

const PAGE: usize = 4096;

/// glibc's `RTLD_DL_SYMENT`: `dladdr1` gives the symbol table's entry.
const SYMBOL_ENTRY: libc::c_int = 1;

unsafe extern "C" {
    // glibc ≥ 2.3.3, declared in dlfcn.h.
    fn dladdr1(
        address: *const c_void,
        info: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        flags: libc::c_int,
    ) -> libc::c_int;
}

fn remove(symbol: &str, entry: *const ()) {
    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    let mut found: *mut c_void = std::ptr::null_mut();
    // SAFETY: the address is one of our own functions, and both out-parameters are ours.
    let known = unsafe { dladdr1(entry.cast(), &raw mut info, &raw mut found, SYMBOL_ENTRY) };
    if known == 0 || found.is_null() || info.dli_sname.is_null() {
        return;
    }
    // SAFETY: the loader's own copy of a symbol's name, not null.
    let name = unsafe { CStr::from_ptr(info.dli_sname) };
    if name.to_bytes() != symbol.as_bytes() {
        return;
    }
    let entry: *mut libc::Elf64_Sym = found.cast();
    let from = entry.addr() & !(PAGE - 1);
    let length = (entry.addr() + size_of::<libc::Elf64_Sym>()).next_multiple_of(PAGE) - from;
    let pages = entry.with_addr(from).cast();
    // SAFETY: the pages belong to our own symbol table, a private mapping.
    if unsafe { libc::mprotect(pages, length, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
        return;
    }
    // SAFETY: the entry lies in the pages that were just made writable. No other thread looks symbols up in an
    // object whose constructors run: the loader holds its lock.
    let entry = unsafe { &mut *entry };
    entry.st_value = 0;
    entry.st_shndx = 0;
    // SAFETY: as above; the pages become what they were.
    unsafe { libc::mprotect(pages, length, libc::PROT_READ) };
}
