//! The driver behind the shim: found by the grant, opened by absolute path, never the shim itself.
#![expect(unsafe_code, reason = "dlsym on the handle that is kept")]

use crate::recorder::{Note, RECORDER};
use crate::start::{self, c_path, terminated};
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
        let mut tried = 0;
        let own = caller::own_identity();
        let mut buffer = [0; 256];
        let named = grant::with(|text| {
            let path = value(text, self.key)?;
            if path == AUTO.as_bytes() { None } else { terminated(path, &mut buffer).map(<[u8]>::len) }
        });
        let found = if let Some(path) = named.and_then(|length| buffer.get(..length)) {
            self.attempt(path, own, &mut tried)
        } else {
            let usual = self.usual.iter().find_map(|path| self.attempt(path, own, &mut tried));
            usual.or_else(|| cache::find(self.name, |path| self.attempt(path, own, &mut tried)))
        };
        match found {
            Some(handle) => {
                self.handle.store(handle, SeqCst);
                self.state.store(OPEN, SeqCst);
            }
            None => {
                if self.state.compare_exchange(UNTRIED, MISSING, SeqCst, SeqCst).is_ok() {
                    let arg1 = u64::from(self.is_nvml);
                    RECORDER.write(&Note { arg0: tried, arg1, ..Note::new(Kind::DriverMissing, b"") });
                }
            }
        }
    }

    fn attempt(&self, path: &[u8], own: Option<(u64, u64)>, tried: &mut u64) -> Option<*mut c_void> {
        *tried += 1;
        let text = path.strip_suffix(b"\0").unwrap_or(path);
        let refused = |result| {
            let arg0 = u64::from(self.is_nvml);
            RECORDER.defer(&Note { result, arg0, ..Note::new(Kind::DriverSearched, text) });
            None
        };
        match sys::identity(path) {
            Err(errno) => return refused(errno),
            Ok(identity) if Some(identity) == own => return refused(-1),
            Ok(_) if is_shim(path) => return refused(-1),
            Ok(_) => {}
        }
        let Some(handle) = weak::open(path) else {
            // There, but no library that this process can load.
            const ELIBBAD: i32 = 80;
            return refused(ELIBBAD);
        };
        if self.state.load(SeqCst) == UNTRIED {
            let arg0 = u64::from(self.is_nvml);
            RECORDER.write(&Note { arg0, ..Note::new(Kind::DriverOpened, text) });
        }
        Some(handle)
    }
}

/// Whether the file is a copy of the shim: two that stood behind one another would call each other for ever.
fn is_shim(path: &[u8]) -> bool {
    let mut head = [0; 1024];
    start::read_file(path, &mut head).windows(MARK.len()).any(|window| window == MARK)
}
