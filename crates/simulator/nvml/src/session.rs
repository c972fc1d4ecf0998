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

fn open(symbol: &str) -> u32 {
    hang(symbol);
    // Read now, as a driver would be.
    let _ = Machine::of_process();
    OPEN.fetch_add(1, Ordering::AcqRel);
    0
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
    open("nvmlInit")
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> u32 {
    open("nvmlInit_v2")
}

/// Whatever is flagged: success without devices, and nothing to attach to.
#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(_flags: u32) -> u32 {
    open("nvmlInitWithFlags")
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
    text.map_or(c"Unknown Error", |(_, text)| *text).as_ptr()
}

/// As NVML of 580.159.04 says them.
static TEXTS: [(u32, &CStr); 31] = [
    (0, c"Success"),
    (1, c"Uninitialized"),
    (2, c"Invalid Argument"),
    (3, c"Not Supported"),
    (4, c"Insufficient Permissions"),
    (5, c"Already Initialized"),
    (6, c"Not Found"),
    (7, c"Insufficient Size"),
    (8, c"Insufficient External Power"),
    (9, c"Driver Not Loaded"),
    (10, c"Timeout"),
    (11, c"Interrupt Request Issue"),
    (12, c"NVML Shared Library Not Found"),
    (13, c"Function Not Found"),
    (14, c"Corrupted infoROM"),
    (15, c"GPU is lost"),
    (16, c"GPU requires reset"),
    (17, c"GPU access blocked by the operating system"),
    (18, c"Driver/library version mismatch"),
    (19, c"In use by another client"),
    (20, c"Insufficient Memory"),
    (21, c"No data"),
    (22, c"vGPU ECC not supported"),
    (23, c"Insufficient Resources"),
    (24, c"Invalid Frequency"),
    (25, c"Argument version mismatch"),
    (26, c"Requested functionality has been deprecated"),
    (27, c"System is not in ready state"),
    (28, c"No supported GPUs were found"),
    (29, c"Resource not in correct state to perform requested operation"),
    (30, c"Reset type is not supported for given device"),
];
