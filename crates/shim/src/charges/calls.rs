//! Calls of the driver, and the words that they exchange with the client.
#![expect(unsafe_code, reason = "the driver's functions and the client's pointers")]

use crate::{front, outcome, wrappers};

/// Calls the driver's own function, if it has it.
///
/// # Safety
/// The arguments must be what the function takes: up to six integers.
#[inline]
pub(super) unsafe fn ask(function: u16, arguments: [usize; 6]) -> Option<i32> {
    let address = front::real(function)?;
    // SAFETY: the driver's function; the rest as the caller vouches.
    Some(unsafe { wrappers::short(address, arguments) })
}

/// Goes on with what the entry would be without a quota.
///
/// # Safety
/// The arguments must be the client's.
#[inline]
pub(super) unsafe fn onward(function: u16, arguments: [usize; 6]) -> i32 {
    match front::inner(function) {
        Some(address) => {
            // SAFETY: a wrapper, or the driver's function; the rest as the caller vouches.
            unsafe { wrappers::short(address, arguments) }
        }
        None => outcome::missing(function),
    }
}

/// Reads a word that the driver wrote, or that the client passed.
///
/// # Safety
/// The pointer must be null or one to a `T`.
pub(super) unsafe fn read<T: Copy + Default>(pointer: usize) -> T {
    if pointer == 0 {
        return T::default();
    }
    // SAFETY: as the caller vouches; alignment is the client's business.
    unsafe { (pointer as *const T).read_unaligned() }
}

/// Writes a word for the client.
///
/// # Safety
/// The pointer must be null or one to a `T`.
pub(super) unsafe fn write<T>(pointer: usize, value: T) {
    if pointer != 0 {
        // SAFETY: as the caller vouches; alignment is the client's business.
        unsafe { (pointer as *mut T).write_unaligned(value) };
    }
}
