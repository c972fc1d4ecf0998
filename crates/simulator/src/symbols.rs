//! Functions that shall be missing. Before anybody can look them up, a constructor takes them out of the library's own
//! dynamic symbol table (`st_shndx` = undefined), so that `dlsym` finds nothing, as with a library that lacks them.
//! A client that binds the symbol directly and is loaded in the same step is bound before any constructor runs.
#![expect(unsafe_code, reason = "edits the symbol table of the library that this crate is linked into")]

use std::ffi::{CStr, c_void};

/// glibc's `RTLD_DL_SYMENT`: `dladdr1` gives the symbol table's entry.
const SYMBOL_ENTRY: libc::c_int = 1;
const PAGE: usize = 4096;

unsafe extern "C" {
    // glibc ≥ 2.3.3, declared in dlfcn.h.
    fn dladdr1(
        address: *const c_void,
        info: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        flags: libc::c_int,
    ) -> libc::c_int;
}

/// Takes an exported function of this library out of its symbol table; only from a constructor.
pub fn remove(symbol: &str, function: *const ()) {
    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    let mut found: *mut c_void = std::ptr::null_mut();
    // SAFETY: any address may be asked about, and both out-parameters are ours.
    let known = unsafe { dladdr1(function.cast(), &raw mut info, &raw mut found, SYMBOL_ENTRY) };
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
    // SAFETY: the pages belong to a symbol table, a private mapping.
    if unsafe { libc::mprotect(pages, length, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
        return;
    }
    // SAFETY: the entry lies in the pages that were just made writable. No other thread looks symbols up in an object
    // whose constructors run: the loader holds its lock.
    unsafe { (*entry).st_value = 0 };
    // SAFETY: as above.
    unsafe { (*entry).st_shndx = 0 };
    // SAFETY: as above; the pages become what they were.
    unsafe { libc::mprotect(pages, length, libc::PROT_READ) };
}
