//! `cuGetProcAddress`: hands out our entry where something is recorded, the driver's own pointer elsewhere.
#![expect(unsafe_code, reason = "the client's name and out-pointer")]

use crate::front::{REAL, code, entry, real, slot};
use crate::library::DRIVER;
use crate::recorder::{Note, RECORDER};
use crate::wrappers::short;
use crate::{charges, is_own, outcome, rows, start};
use core::ffi::c_char;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use firstlight_contract::record::Kind;
use firstlight_driver_api::{Action, Effect};

/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM` (cuda.h).
const PER_THREAD: usize = 2;
/// Longest name that is looked at.
const MAX_NAME: usize = 128;
/// Lookups without an answer that are written at once, beside those of functions with an action; a healthy runtime asks for some 30 that no driver has.
const EAGER: u32 = 4;

static UNANSWERED: AtomicU32 = AtomicU32::new(0);

/// `cuGetProcAddress`, both ABIs.
///
/// # Safety
/// Called as `cuGetProcAddress` (four arguments) or `cuGetProcAddress_v2` (five).
pub unsafe extern "C" fn lookup<const ID: u16>(
    name: *const c_char,
    pointer: *mut usize,
    version: u32,
    flags: usize,
    status: usize,
) -> i32 {
    // SAFETY: the client's NUL-terminated name.
    let text = unsafe { start::text(name, MAX_NAME) };
    let asked = Asked { text, version, per_thread: flags & PER_THREAD != 0 };
    let driver = real(ID);
    let result = match driver {
        // SAFETY: the driver's cuGetProcAddress; the first ABI does not look at the fifth argument.
        Some(real) => unsafe {
            short(real, [name as usize, pointer as usize, version as usize, flags, status, 0])
        },
        None if pointer.is_null() => return code::INVALID_VALUE,
        None => {
            let found = asked.by_symbol();
            // SAFETY: the client's out-pointer, not null.
            unsafe { pointer.write_unaligned(found.unwrap_or(0)) };
            if found.is_some() { 0 } else { code::NOT_FOUND }
        }
    };
    if pointer.is_null() {
        return result;
    }
    // SAFETY: the client's out-pointer, which the driver just wrote.
    let found = unsafe { pointer.read_unaligned() };
    if result != 0 || found == 0 {
        asked.unanswered(ID, flags, result);
        return result;
    }
    let answer = match driver {
        Some(_) => asked.answer(ID, found),
        None => found,
    };
    if answer != found {
        // SAFETY: as above.
        unsafe { pointer.write_unaligned(answer) };
    }
    if answer == 0 { code::NOT_FOUND } else { result }
}

struct Asked<'a> {
    text: &'a [u8],
    version: u32,
    per_thread: bool,
}

impl Asked<'_> {
    /// What the client gets where the driver found a function: 0 if that is the shim's and the driver has none.
    fn answer(&self, lookup: u16, found: usize) -> usize {
        let mut found = found;
        if is_own(found) {
            RECORDER.write(&Note { function: lookup, ..Note::new(Kind::SelfPointer, self.text) });
            match rows::resolve(self.text, self.version, self.per_thread).and_then(real) {
                Some(own) => found = own,
                None => return 0,
            }
        }
        let limited = charges::is_limited();
        let hooked = rows::hooked(self.text, self.version, self.per_thread, limited);
        let Some(hooked) = hooked else { return found };
        if self.version > rows::NEWEST {
            // It may mean another ABI than the newest one that the list knows.
            return if real(hooked) == Some(found) { entry(hooked).unwrap_or(found) } else { found };
        }
        // What the driver just answered is the function itself: a look at its exports would cost a search for each.
        if let Some(kept) = slot(&REAL, hooked) {
            let _ = kept.compare_exchange(0, found, SeqCst, SeqCst);
        }
        entry(hooked).unwrap_or(found)
    }

    /// Answers where the driver has no `cuGetProcAddress`, or where there is no driver: by the exports.
    fn by_symbol(&self) -> Option<usize> {
        let id = rows::resolve(self.text, self.version, self.per_thread)?;
        // Without a driver the runtime has to get far enough to ask for the version.
        if DRIVER.handle().is_some() {
            real(id)?;
        }
        let limited = charges::is_limited() && rows::effect(id) != Effect::None;
        if rows::action(id) != Action::Forward || limited { entry(id) } else { real(id) }
    }

    fn unanswered(&self, id: u16, flags: usize, result: i32) {
        if DRIVER.handle().is_none() {
            // That was said once; four hundred names more say nothing.
            return;
        }
        let (arg0, arg1) = (u64::from(self.version), flags as u64);
        let caller = outcome::caller_of(id);
        let note =
            Note { function: id, caller, result, arg0, arg1, ..Note::new(Kind::LookupUnanswered, self.text) };
        let decides = rows::hooked(self.text, rows::NEWEST, false, false).is_some();
        // Every runtime begins with an empty name, which no driver has.
        let early = !self.text.is_empty() && UNANSWERED.fetch_add(1, Relaxed) < EAGER;
        if early || decides {
            RECORDER.write(&note);
        } else {
            RECORDER.defer(&note);
        }
    }
}
