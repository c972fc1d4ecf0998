//! Initialisation, counted; texts of codes. These functions work before `nvmlInit`.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done};
use crate::entry::{hang, number};
use crate::event;
use firstlight_simulator::machine::Machine;
use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicU32, Ordering};

/// How many inits wait for their shutdown.
static OPEN: AtomicU32 = AtomicU32::new(0);

/// Whether the library is initialised.
pub(crate) fn is_open() -> bool {
    OPEN.load(Ordering::Acquire) > 0
}

fn open(symbol: &str, flags: u32) -> Done {
    /// NO_GPUS (succeed without devices, as this library always does) and NO_ATTACH.
    const KNOWN: u32 = 1 | 2;
    hang(symbol);
    if flags & !KNOWN != 0 {
        return Err(Code::INVALID_ARGUMENT);
    }
    // Read now, as a driver would be.
    let _ = Machine::of_process();
    OPEN.fetch_add(1, Ordering::AcqRel);
    Ok(())
}

fn close() -> Done {
    let before = OPEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| open.checked_sub(1));
    match before {
        Err(_) => return Err(Code::UNINITIALIZED),
        Ok(1) => event::free_all(),
        Ok(_) => {}
    }
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit() -> u32 {
    number(open("nvmlInit", 0))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> u32 {
    number(open("nvmlInit_v2", 0))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(flags: u32) -> u32 {
    number(open("nvmlInitWithFlags", flags))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> u32 {
    hang("nvmlShutdown");
    number(close())
}

/// Never null: clients print it unseen.
#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(code: u32) -> *const c_char {
    let text = TEXTS.iter().find(|(number, _)| *number == code);
    text.map_or(c"a code that nvml.h does not name", |(_, text)| *text).as_ptr()
}

static TEXTS: [(u32, &CStr); 31] = [
    (0, c"success"),
    (1, c"NVML was not initialised"),
    (2, c"an argument is invalid"),
    (3, c"not supported by this device"),
    (4, c"no permission"),
    (5, c"initialised already"),
    (6, c"not found"),
    (7, c"the buffer is too small"),
    (8, c"a power cable is missing"),
    (9, c"the driver is not loaded"),
    (10, c"the time is over"),
    (11, c"the kernel found an interrupt problem"),
    (12, c"the library was not found"),
    (13, c"this version of the library lacks the function"),
    (14, c"the inforom is corrupted"),
    (15, c"the GPU is lost: it has fallen off the bus"),
    (16, c"the GPU must be reset"),
    (17, c"the operating system or cgroup refused the device"),
    (18, c"driver and library have different versions"),
    (19, c"in use"),
    (20, c"out of memory"),
    (21, c"no data"),
    (22, c"not possible with ECC on"),
    (23, c"resources ran out"),
    (24, c"this frequency is not supported"),
    (25, c"the structure's version is not supported"),
    (26, c"deprecated"),
    (27, c"not ready"),
    (28, c"no GPU was found"),
    (29, c"the state does not allow it"),
    (999, c"unknown error"),
];
