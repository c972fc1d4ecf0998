//! Libraries opened by name, and their functions.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::NonNull;

/// An open library; it stays open until the process ends, which is soon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Library(NonNull<c_void>);

impl Library {
    /// Opens it as ggml and NVIDIA's runtime do: all symbols now, for nobody else. The error is dlerror's words.
    pub(crate) fn open(name: &str) -> Result<Self, String> {
        let name = CString::new(name).map_err(|_| "the name holds a zero".to_owned())?;
        let flags: c_int = libc::RTLD_NOW | libc::RTLD_LOCAL;
        // SAFETY: the name ends with a zero. The library's constructors run: whatever they do, they do it in this
        // process, which exists for that.
        let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
        NonNull::new(handle).map(Self).ok_or_else(last_words)
    }

    /// The address of a function.
    pub(crate) fn find(self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: the handle is dlopen's and was not closed; the name ends with a zero.
        NonNull::new(unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) })
    }

    /// The file that the function of this name came from.
    pub(crate) fn file_of(self, name: &CStr) -> Option<String> {
        let address = self.find(name)?;
        let mut info = libc::Dl_info {
            dli_fname: std::ptr::null(),
            dli_fbase: std::ptr::null_mut(),
            dli_sname: std::ptr::null(),
            dli_saddr: std::ptr::null_mut(),
        };
        // SAFETY: dladdr takes any address and writes into `info`, which is large enough.
        let known =
            unsafe { libc::dladdr(address.as_ptr(), &raw mut info) } != 0 && !info.dli_fname.is_null();
        // SAFETY: the name belongs to the link map of a library that stays open, and ends with a zero.
        known.then(|| unsafe { CStr::from_ptr(info.dli_fname) }.to_string_lossy().into_owned())
    }
}

fn last_words() -> String {
    // SAFETY: dlerror takes nothing; no other thread runs here.
    let words = unsafe { libc::dlerror() };
    if words.is_null() {
        return "no reason given".to_owned();
    }
    // SAFETY: the string ends with a zero and lives until the next call of the dl functions.
    unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
}

/// Why a call yielded nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The library has no function of this name.
    Absent(&'static str),
    /// The function answered this code.
    Code(&'static str, u32),
}

/// Declares functions of a C library, each under its own name: looked up and called, `Ok` where the code is 0.
macro_rules! functions {
    ($($(#[$attribute:meta])* $name:ident($($argument:ident: $kind:ty),*);)+) => {
        $(
            $(#[$attribute])*
            #[expect(non_snake_case, reason = "C names")]
            pub(crate) fn $name(library: $crate::library::Library $(, $argument: $kind)*) -> Result<(), $crate::library::Wrong> {
                type Function = unsafe extern "C" fn($($kind),*) -> u32;
                let name = stringify!($name);
                let symbol = std::ffi::CString::new(name).unwrap_or_default();
                let address = library.find(&symbol).ok_or($crate::library::Wrong::Absent(name))?;
                // SAFETY: the address is that of the function of this name, whose prototype in cuda.h, nvml.h or
                // cuda_runtime_api.h is this one; function pointers are as large as others here.
                let function = unsafe { std::mem::transmute::<*mut std::ffi::c_void, Function>(address.as_ptr()) };
                // SAFETY: references point to as much memory as the prototype says that is read or written, for as
                // long as the call lasts. A library that does otherwise harms this process, which exists for that.
                match unsafe { function($($argument),*) } {
                    0 => Ok(()),
                    code => Err($crate::library::Wrong::Code(name, code)),
                }
            }
        )+
    };
}
pub(crate) use functions;
