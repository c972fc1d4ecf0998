//! libc's functions, if they are there: weak references, so that the object needs no library. A null pointer
//! means that the process has none (static musl, an old glibc without libdl).
#![expect(unsafe_code, reason = "weak references and calls through them")]

use crate::start;
use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_void};

macro_rules! weak {
    ($(#[$meta:meta])* $name:ident, $symbol:literal) => {
        $(#[$meta])*
        #[unsafe(naked)]
        extern "C" fn $name() -> usize {
            naked_asm!(concat!(".weak ", $symbol), concat!("mov rax, qword ptr [rip + ", $symbol, "@GOTPCREL]"), "ret")
        }
    };
}

weak!(address_of_dlopen, "dlopen");
weak!(address_of_dlsym, "dlsym");
weak!(address_of_dlopen_mode, "__libc_dlopen_mode");
weak!(address_of_libc_dlsym, "__libc_dlsym");
weak!(address_of_dlerror, "dlerror");
weak!(address_of_iterate, "dl_iterate_phdr");
weak!(address_of_glibc_version, "gnu_get_libc_version");
weak!(address_of_getenv, "getenv");
weak!(address_of_asan, "__asan_init");
weak!(address_of_tsan, "__tsan_init");
weak!(address_of_msan, "__msan_init");

/// Resolve all symbols at once (dlfcn.h).
const RTLD_NOW: c_int = 2;
/// Do not load: only what is there already.
pub const RTLD_NOLOAD: c_int = 4;
/// The library's own symbols come before the global scope.
const RTLD_DEEPBIND: c_int = 8;
/// glibc's private flag: called on behalf of the application (`include/dlfcn.h`).
const RTLD_DLOPEN: c_int = i32::MIN;

type DlOpen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
type GetEnv = unsafe extern "C" fn(*const c_char) -> *const c_char;
type DlSym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

/// Whether the process runs on glibc.
pub fn is_glibc() -> bool {
    address_of_glibc_version() != 0
}

/// Whether a sanitizer's runtime is in the process: it aborts at a deep-bound dlopen.
fn is_sanitized() -> bool {
    address_of_asan() != 0 || address_of_tsan() != 0 || address_of_msan() != 0
}

/// glibc before 2.34 keeps dlopen in libdl, which a program need not have loaded: `__libc_dlopen_mode` is in libc.
fn dl_functions() -> Option<(DlOpen, DlSym)> {
    let (open, sym) = match (address_of_dlopen(), address_of_dlsym()) {
        (0, _) | (_, 0) => (address_of_dlopen_mode(), address_of_libc_dlsym()),
        found => found,
    };
    if open == 0 || sym == 0 {
        return None;
    }
    // SAFETY: the addresses are those of libc's functions of these types.
    let open = unsafe { core::mem::transmute::<usize, DlOpen>(open) };
    // SAFETY: as above.
    let sym = unsafe { core::mem::transmute::<usize, DlSym>(sym) };
    Some((open, sym))
}

/// Opens a library by path (NUL-terminated): all at once, local, deep-bound where nothing forbids it.
pub fn open(path: &[u8]) -> Option<*mut c_void> {
    let deep = if is_sanitized() || !is_glibc() { 0 } else { RTLD_DEEPBIND };
    open_with(path, RTLD_NOW | deep)
}

/// A library that is loaded already (path or SONAME, NUL-terminated).
pub fn find(path: &[u8]) -> Option<*mut c_void> {
    open_with(path, RTLD_NOW | RTLD_NOLOAD)
}

fn open_with(path: &[u8], flags: c_int) -> Option<*mut c_void> {
    if path.last() != Some(&0) {
        return None;
    }
    let (open, _) = dl_functions()?;
    let flags = if address_of_dlopen() == 0 { flags | RTLD_DLOPEN } else { flags };
    // SAFETY: the path is a valid C string. The library's constructors run, as they would without us.
    let handle = unsafe { open(path.as_ptr().cast(), flags) };
    (!handle.is_null()).then_some(handle)
}

/// Why the last dlopen failed; empty where libc does not say. Takes the message away, so that the client does not find
/// an error that is not its own.
pub fn error(into: &mut [u8]) -> &[u8] {
    let address = address_of_dlerror();
    if address == 0 {
        return &[];
    }
    // SAFETY: the address is that of libc's dlerror.
    let error = unsafe { core::mem::transmute::<usize, extern "C" fn() -> *const c_char>(address) };
    // SAFETY: a NUL-terminated text that lives until this thread's next call of a dl function.
    let text = unsafe { start::text(error(), into.len()) };
    for (to, from) in into.iter_mut().zip(text) {
        *to = *from;
    }
    into.get(..text.len()).unwrap_or(&[])
}

/// The value of an environment variable (its name NUL-terminated), at most this many bytes; `None`: not set, or libc has no
/// such function.
///
/// # Safety
/// No other thread may change the environment meanwhile, and the value lives until somebody does.
pub unsafe fn variable(name: &[u8], most: usize) -> Option<&'static [u8]> {
    let address = address_of_getenv();
    if address == 0 || name.last() != Some(&0) {
        return None;
    }
    // SAFETY: the address is that of libc's getenv.
    let get = unsafe { core::mem::transmute::<usize, GetEnv>(address) };
    // SAFETY: the name is a valid C string; the caller vouches for the environment.
    let value = unsafe { get(name.as_ptr().cast()) };
    // SAFETY: a NUL-terminated text, as the caller vouches.
    (!value.is_null()).then(|| unsafe { start::text(value, most) })
}

/// The address of a symbol (NUL-terminated) of an open library.
///
/// # Safety
/// The handle must come from [`open`] or [`find`].
pub unsafe fn symbol(handle: *mut c_void, name: &[u8]) -> Option<usize> {
    if name.last() != Some(&0) {
        return None;
    }
    let (_, sym) = dl_functions()?;
    // SAFETY: the handle came from dlopen, the name is a valid C string.
    let address = unsafe { sym(handle, name.as_ptr().cast()) };
    (!address.is_null()).then_some(address as usize)
}

/// The head of `struct dl_phdr_info` (link.h).
#[repr(C)]
#[derive(Debug)]
pub struct ModuleInfo {
    /// Load address.
    pub base: usize,
    /// Path; empty for the main program.
    pub name: *const c_char,
    /// Program headers.
    pub headers: *const ProgramHeader,
    /// Number of program headers.
    pub count: u16,
}

/// `Elf64_Phdr`; its 64-bit words as `usize`, because addresses are computed with them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ProgramHeader {
    /// Type; 1 is a loaded segment.
    pub kind: u32,
    /// Flags.
    pub flags: u32,
    /// Offset in the file.
    pub offset: usize,
    /// Address relative to the load address.
    pub address: usize,
    /// Physical address.
    pub physical: usize,
    /// Bytes in the file.
    pub file_size: usize,
    /// Bytes in memory.
    pub memory_size: usize,
    /// Alignment.
    pub align: usize,
}

type Callback = unsafe extern "C" fn(*const ModuleInfo, usize, *mut c_void) -> c_int;

/// Calls back with every loaded module; nothing happens where libc has no such function.
///
/// # Safety
/// `data` must be what the callback expects.
pub unsafe fn each_module(callback: Callback, data: *mut c_void) {
    let address = address_of_iterate();
    if address == 0 {
        return;
    }
    // SAFETY: the address is that of libc's dl_iterate_phdr (link.h).
    let iterate = unsafe {
        core::mem::transmute::<usize, unsafe extern "C" fn(Callback, *mut c_void) -> c_int>(address)
    };
    // SAFETY: the caller vouches for callback and data.
    unsafe { iterate(callback, data) };
}
