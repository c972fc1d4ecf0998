//! What happens at the first call of each function.
//!
//! An entry jumps through its slot in [`TABLE`]. An empty slot leads to [`fill`], once: it finds the driver's own
//! function and puts that, or a wrapper ([`crate::wrappers`]), or under a quota what charges it ([`crate::charges`]),
//! into the slot. Filling is idempotent, so it needs no
//! lock and a fork cannot leave one behind.
#![expect(unsafe_code, reason = "a call through the address of the function that knows the entries")]

use crate::library::{DRIVER, Library, NVML};
use crate::recorder::{Note, RECORDER};
use crate::{is_own, outcome, rows};
use core::ffi::c_char;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use firstlight_contract::record::Kind;
use firstlight_driver_api::Action;

/// Where each entry jumps; 0: not known yet. Indexed by function id.
pub static TABLE: [AtomicUsize; rows::SIZE] = [const { AtomicUsize::new(0) }; rows::SIZE];
/// The driver's own functions; 0: not known yet or missing.
pub static REAL: [AtomicUsize; rows::SIZE] = [const { AtomicUsize::new(0) }; rows::SIZE];

/// What an entry with an effect would be without a quota; 0: not known yet. Filled under a quota only.
static INNER: [AtomicUsize; rows::SIZE] = [const { AtomicUsize::new(0) }; rows::SIZE];

static ENTRY: AtomicUsize = AtomicUsize::new(0);

/// CUDA and NVML codes that the shim itself answers with (cuda.h, nvml.h).
pub(crate) mod code {
    pub(crate) const INVALID_VALUE: i32 = 1;
    pub(crate) const NOT_INITIALIZED: i32 = 3;
    pub(crate) const NO_DEVICE: i32 = 100;
    pub(crate) const NOT_FOUND: i32 = 500;
    pub(crate) const NVML_LIBRARY_NOT_FOUND: i32 = 12;
    pub(crate) const NVML_FUNCTION_NOT_FOUND: i32 = 13;
}

pub(crate) fn slot(table: &'static [AtomicUsize; rows::SIZE], id: u16) -> Option<&'static AtomicUsize> {
    table.get(usize::from(id))
}

pub(crate) fn library(id: u16) -> &'static Library {
    if rows::is_nvml(id) { &NVML } else { &DRIVER }
}

/// The driver's own function; never one of the shim's, which a driver that NEEDs `libcuda.so.1` would hand out.
pub(crate) fn real(id: u16) -> Option<usize> {
    let kept = slot(&REAL, id)?;
    match kept.load(Relaxed) {
        0 => {
            let found = library(id).symbol(rows::symbol(id)).filter(|address| !is_own(*address))?;
            kept.store(found, SeqCst);
            Some(found)
        }
        found => Some(found),
    }
}

/// Fills the slot of an entry that was called for the first time; returns where to go on.
///
/// `entry` is the function that knows the addresses of the entries: they belong to the object, not to this crate.
pub extern "C" fn fill(id: u32, return_address: usize, entry: usize) -> usize {
    ENTRY.store(entry, Relaxed);
    let id = u16::try_from(id).unwrap_or(u16::MAX);
    // What the driver lacks changes nothing.
    let charged = if real(id).is_some() { crate::hooks::charged(id) } else { None };
    if rows::action(id) != Action::Forward || charged.is_some() {
        outcome::remember_caller(id, return_address);
    }
    let plain = match (real(id), crate::hooks::wrapper(id)) {
        (_, Some(wrapper)) => wrapper,
        (Some(real), None) => real,
        (None, None) => {
            let (stub, result) = absent(id);
            // That there is no driver at all was said when it was looked for.
            if library(id).handle().is_some() {
                let text = rows::symbol(id).strip_suffix(b"\0").unwrap_or(&[]);
                RECORDER.write(&Note { function: id, result, ..Note::new(Kind::ExportMissing, text) });
            }
            stub
        }
    };
    if let (Some(inner), true) = (slot(&INNER, id), charged.is_some()) {
        inner.store(plain, SeqCst);
    }
    let target = charged.unwrap_or(plain);
    if let Some(slot) = slot(&TABLE, id) {
        slot.store(target, SeqCst);
    }
    target
}

/// What an entry with an effect would be without a quota.
#[inline]
pub(crate) fn inner(id: u16) -> Option<usize> {
    slot(&INNER, id).map(|inner| inner.load(Relaxed)).filter(|address| *address != 0)
}

/// What stands for a function that is not there, and the code it answers with.
pub(crate) fn absent(id: u16) -> (usize, i32) {
    macro_rules! stub {
        ($code:expr) => {{
            extern "C" fn stub() -> i32 {
                $code
            }
            (stub as *const () as usize, $code)
        }};
    }
    /// The one function that answers with a text: clients print it unseen, so it may not be a number.
    extern "C" fn no_text() -> *const c_char {
        c"no text: NVML was not found, or lacks nvmlErrorString".as_ptr()
    }
    let (stub, result) = match (rows::is_nvml(id), library(id).handle()) {
        (true, Some(_)) => stub!(code::NVML_FUNCTION_NOT_FOUND),
        (true, None) => stub!(code::NVML_LIBRARY_NOT_FOUND),
        (false, Some(_)) => stub!(code::NOT_FOUND),
        (false, None) => stub!(code::NOT_INITIALIZED),
    };
    if rows::symbol(id) == b"nvmlErrorString\0" {
        (no_text as *const () as usize, result)
    } else {
        (stub, result)
    }
}

/// The address of an exported entry with an action.
pub(crate) fn entry(id: u16) -> Option<usize> {
    let address = ENTRY.load(Relaxed);
    if address == 0 {
        return None;
    }
    // SAFETY: the function that `fill` was given.
    let entry = unsafe { core::mem::transmute::<usize, extern "C" fn(u16) -> usize>(address) };
    match entry(id) {
        0 => None,
        found => Some(found),
    }
}
