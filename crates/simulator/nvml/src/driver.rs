//! The virtual driver in this process, if there is one: it knows how much memory is in use and whether a device is
//! lost. It is found, never loaded: a program that asks NVML only has no driver.
#![expect(unsafe_code, reason = "asks the dynamic loader, calls the driver")]

use crate::layout::NO_INSTANCE;
use std::ffi::{CStr, CString, OsStr, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

const SONAME: &CStr = c"libcuda.so.1";
/// `fn(index in Machine::devices, used_bytes, number of an instance or NO_INSTANCE)`; 0: written, 1: written, and the
/// device is lost.
const STATE: &CStr = c"firstlight_simulator_state";

/// What the driver says of a device.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) used_bytes: u64,
    pub(crate) lost: bool,
}

/// Asks the driver about a card, or one of its instances; without one nothing is in use.
pub(crate) fn ask(index: usize, instance: Option<usize>) -> Told {
    let (Ok(index), Some(driver)) = (u32::try_from(index), Loaded::find()) else { return Told::default() };
    let instance = instance.and_then(|number| u32::try_from(number).ok()).unwrap_or(NO_INSTANCE);
    let mut used_bytes = 0;
    match (driver.state)(index, &raw mut used_bytes, instance) {
        0 => Told { used_bytes, lost: false },
        1 => Told { used_bytes, lost: true },
        _ => Told::default(),
    }
}

type State = extern "C" fn(u32, *mut u64, u32) -> u32;

/// A driver that stays loaded for as long as this lives.
struct Loaded {
    handle: NonNull<c_void>,
    state: State,
}

impl Loaded {
    /// The file beside this library, which is the driver of the same build; else whatever is loaded by its name. Behind
    /// the shim that is the shim, which lacks the symbol.
    fn find() -> Option<Self> {
        sibling().and_then(|path| Self::open(&path)).or_else(|| Self::open(SONAME))
    }

    fn open(name: &CStr) -> Option<Self> {
        // SAFETY: a C string; nothing new is loaded, so no initialiser runs.
        let handle =
            NonNull::new(unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY) })?;
        // SAFETY: an open handle and a C string.
        let found = NonNull::new(unsafe { libc::dlsym(handle.as_ptr(), STATE.as_ptr()) });
        let Some(found) = found else {
            // SAFETY: the handle was opened above and is not used again.
            unsafe { libc::dlclose(handle.as_ptr()) };
            return None;
        };
        // SAFETY: only the virtual driver exports this name, and this is its type.
        let state = unsafe { std::mem::transmute::<NonNull<c_void>, State>(found) };
        Some(Self { handle, state })
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: opened in `open`, closed once; `state` dies with the handle.
        unsafe { libc::dlclose(self.handle.as_ptr()) };
    }
}

/// The driver's path beside this library.
fn sibling() -> Option<CString> {
    let mut about = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: any address may be asked about; `about` has the size that is written.
    if unsafe { libc::dladdr(ask as *const c_void, about.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: dladdr said that it wrote it.
    let about = unsafe { about.assume_init() };
    if about.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the name of a loaded object; this one stays loaded while it runs.
    let own = unsafe { CStr::from_ptr(about.dli_fname) };
    let folder = Path::new(OsStr::from_bytes(own.to_bytes())).parent()?;
    let path = folder.join(OsStr::from_bytes(SONAME.to_bytes()));
    CString::new(path.as_os_str().as_bytes()).ok()
}
