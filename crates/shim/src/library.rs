//! The driver behind the shim: found by the grant, opened by absolute path, never the shim itself.
#![expect(unsafe_code, reason = "dlsym on the handle that is kept")]

use crate::recorder::{Note, RECORDER};
use crate::start::{c_path, terminated};
use crate::{MARK, cache, caller, grant, sys, weak};
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};
use firstlight_contract::grant::{AUTO, value};
use firstlight_contract::paths;
use firstlight_contract::record::Kind;

/// A library that the shim stands in front of.
#[derive(Debug)]
pub struct Library {
    key: &'static [u8],
    name: &'static [u8],
    usual: &'static [&'static [u8]],
    is_nvml: bool,
    state: AtomicU32,
    handle: AtomicPtr<c_void>,
}

const UNTRIED: u32 = 0;
const OPEN: u32 = 1;
const MISSING: u32 = 2;

/// The CUDA driver.
pub static DRIVER: Library = Library::new(
    b"driver",
    c_path!(paths::library::CUDA),
    &[
        c_path!("/usr/local/nvidia/lib64/libcuda.so.1"),
        c_path!("/usr/lib/x86_64-linux-gnu/libcuda.so.1"),
        c_path!("/usr/lib64/libcuda.so.1"),
        c_path!("/usr/lib/libcuda.so.1"),
        c_path!("/usr/local/nvidia/lib/libcuda.so.1"),
        c_path!("/usr/lib/wsl/lib/libcuda.so.1"),
    ],
    false,
);

/// NVML.
pub static NVML: Library = Library::new(
    b"nvml",
    c_path!(paths::library::NVML),
    &[
        c_path!("/usr/local/nvidia/lib64/libnvidia-ml.so.1"),
        c_path!("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"),
        c_path!("/usr/lib64/libnvidia-ml.so.1"),
        c_path!("/usr/lib/libnvidia-ml.so.1"),
        c_path!("/usr/local/nvidia/lib/libnvidia-ml.so.1"),
        c_path!("/usr/lib/wsl/lib/libnvidia-ml.so.1"),
    ],
    true,
);

impl Library {
    const fn new(
        key: &'static [u8],
        name: &'static [u8],
        usual: &'static [&'static [u8]],
        is_nvml: bool,
    ) -> Self {
        let (state, handle) = (AtomicU32::new(UNTRIED), AtomicPtr::new(core::ptr::null_mut()));
        Self { key, name, usual, is_nvml, state, handle }
    }

    /// The open library. The first call looks for it; two threads that do so at once open the same one, because
    /// dlopen of an open library returns it.
    pub fn handle(&self) -> Option<*mut c_void> {
        if self.state.load(SeqCst) == UNTRIED {
            self.search();
        }
        let handle = self.handle.load(SeqCst);
        (!handle.is_null()).then_some(handle)
    }

    /// The address of one of the library's own symbols (NUL-terminated).
    pub fn symbol(&self, name: &[u8]) -> Option<usize> {
        let handle = self.handle()?;
        // SAFETY: the handle came from dlopen and is never closed.
        unsafe { weak::symbol(handle, name) }
    }

    fn search(&self) {
        let mut search = Search { tried: 0, error: [0; MAX_ERROR], length: 0 };
        let mut buffer = [0; 256];
        let named = grant::with(|text| {
            let path = value(text, self.key)?;
            if path == AUTO.as_bytes() { None } else { terminated(path, &mut buffer).map(<[u8]>::len) }
        });
        let found = if let Some(path) = named.and_then(|length| buffer.get(..length)) {
            self.attempt(path, &mut search)
        } else {
            let usual = self.usual.iter().find_map(|path| self.attempt(path, &mut search));
            let cached = usual.or_else(|| cache::find(self.name, |path| self.attempt(path, &mut search)));
            cached.or_else(|| self.loaded())
        };
        if let Some(handle) = found {
            self.handle.store(handle, SeqCst);
            self.state.store(OPEN, SeqCst);
        } else if self.state.compare_exchange(UNTRIED, MISSING, SeqCst, SeqCst).is_ok() && !self.is_nvml {
            let error = search.error.get(..search.length).unwrap_or(&[]);
            RECORDER.write(&Note { arg0: search.tried, ..Note::new(Kind::DriverMissing, error) });
        }
    }

    /// NVML that a program is linked with lies where the program says; the driver would have been satisfied by us.
    fn loaded(&self) -> Option<*mut c_void> {
        if !self.is_nvml {
            return None;
        }
        let handle = weak::find(self.name)?;
        // SAFETY: the handle came from dlopen.
        let address = unsafe { weak::symbol(handle, b"nvmlInit_v2\0") }?;
        let (mut path, mut kept) = ([0; caller::MAX_PATH], [0; caller::MAX_PATH + 1]);
        let path = terminated(caller::module(address, &mut path)?, &mut kept)?;
        (is_shim(path) == Ok(false)).then_some(handle)
    }

    fn attempt(&self, path: &[u8], search: &mut Search) -> Option<*mut c_void> {
        search.tried += 1;
        match look(path, self.is_nvml, search) {
            Ok(handle) => {
                if self.state.load(SeqCst) == UNTRIED {
                    let (arg0, text) = (u64::from(self.is_nvml), path.strip_suffix(b"\0").unwrap_or(path));
                    RECORDER.write(&Note { arg0, ..Note::new(Kind::DriverOpened, text) });
                }
                Some(handle)
            }
            Err(result) => {
                // A container without NVML is no container without a driver.
                if !self.is_nvml {
                    let text = path.strip_suffix(b"\0").unwrap_or(path);
                    RECORDER.defer(&Note { result, ..Note::new(Kind::DriverSearched, text) });
                }
                None
            }
        }
    }
}

/// Bytes of the loader's message that are kept.
const MAX_ERROR: usize = 256;
/// The record's result for a file that is the shim itself.
const SHIM_ITSELF: i32 = -1;
/// `ELIBBAD`: there, but no library that this process can load.
const ELIBBAD: i32 = 80;

struct Search {
    tried: u64,
    error: [u8; MAX_ERROR],
    length: usize,
}

/// Opens a library unless it is the shim; the error is an errno or [`SHIM_ITSELF`].
fn look(path: &[u8], is_nvml: bool, search: &mut Search) -> Result<*mut c_void, i32> {
    if is_shim(path)? {
        return Err(SHIM_ITSELF);
    }
    if !is_nvml {
        // A file that is cut off ends the process in the loader, and a constructor may do anything.
        let text = path.strip_suffix(b"\0").unwrap_or(path);
        RECORDER.write(&Note::new(Kind::DriverOpening, text));
    }
    weak::open(path).ok_or_else(|| {
        search.length = weak::error(&mut search.error).len();
        ELIBBAD
    })
}

/// Whether the file is the shim or a copy of it: two that stood behind one another would call each other for ever. The
/// error is the errno of a file that cannot be opened.
fn is_shim(path: &[u8]) -> Result<bool, i32> {
    let mut head = [0; 1024];
    let descriptor = sys::open(path, sys::flags::READ | sys::flags::CLOEXEC)?;
    let length = sys::read(descriptor, &mut head);
    sys::close(descriptor);
    let head = head.get(..length?).unwrap_or(&[]);
    let begins = |window: &[u8]| window.first() == MARK.first();
    Ok(head.windows(MARK.len()).any(|window| begins(window) && window == MARK))
}
