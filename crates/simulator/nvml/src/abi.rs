//! Result codes, foreign pointers, and the macro that declares an entry.
//!
//! The pointers handled here are arguments of C calls: the header promises that each is null or points to what its
//! type says. Null is answered with INVALID_ARGUMENT; that a non-null one is good cannot be checked by any library.
#![expect(unsafe_code, reason = "reads and writes through the arguments of C calls")]

use std::ffi::{CStr, c_char};

/// An `nvmlReturn_t` other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

/// What a function ends with.
pub(crate) type Done = Result<(), Code>;

impl Code {
    pub(crate) const UNINITIALIZED: Self = Self(1);
    pub(crate) const INVALID_ARGUMENT: Self = Self(2);
    pub(crate) const NOT_SUPPORTED: Self = Self(3);
    pub(crate) const NOT_FOUND: Self = Self(6);
    pub(crate) const INSUFFICIENT_SIZE: Self = Self(7);
    pub(crate) const TIMEOUT: Self = Self(10);
    pub(crate) const FUNCTION_NOT_FOUND: Self = Self(13);
    pub(crate) const GPU_IS_LOST: Self = Self(15);
    pub(crate) const ARGUMENT_VERSION_MISMATCH: Self = Self(25);
}

/// Declares functions that need `nvmlInit`: `fn nvmlName(argument: Type, …) { body }`, where the body is a [`Done`].
macro_rules! nvml {
    ($($(#[$meta:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block)*) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $kind),*) -> u32 {
            crate::entry::call(stringify!($name), || -> crate::abi::Done { $body })
        }
    )*};
}
pub(crate) use nvml;

/// Writes an out-parameter.
pub(crate) fn put<T>(out: *mut T, value: T) -> Done {
    check(out)?;
    // SAFETY: not null, and the caller says by its type that a `T` fits (module comment).
    unsafe { out.write_unaligned(value) };
    Ok(())
}

/// Refuses a null out-parameter before anything is done.
pub(crate) fn check<T>(out: *const T) -> Done {
    if out.is_null() { Err(Code::INVALID_ARGUMENT) } else { Ok(()) }
}

/// Reads a parameter passed by address.
pub(crate) fn get<T: Copy>(from: *const T) -> Result<T, Code> {
    check(from)?;
    // SAFETY: not null, and the caller says by its type that a `T` is there (module comment).
    Ok(unsafe { from.read_unaligned() })
}

/// Reads a text.
pub(crate) fn text(from: *const c_char) -> Result<String, Code> {
    check(from)?;
    // SAFETY: not null; a C string by the header (module comment).
    Ok(unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned())
}

/// Writes a text with its end into a buffer of `length` bytes.
pub(crate) fn put_text(out: *mut c_char, length: u32, value: &str) -> Done {
    check(out)?;
    let room = usize::try_from(length).unwrap_or(usize::MAX);
    if room <= value.len() {
        return Err(Code::INSUFFICIENT_SIZE);
    }
    // SAFETY: the buffer has `room` bytes by the header, and the text has fewer.
    unsafe { std::ptr::copy_nonoverlapping(value.as_ptr().cast(), out, value.len()) };
    put(out.wrapping_add(value.len()), 0)
}

/// Writes a list as NVML does: `count` says how many fit and then how many there are; where they do not fit nothing
/// but the number is written.
pub(crate) fn put_list<T: Copy>(count: *mut u32, out: *mut T, list: &[T]) -> Done {
    let room = get(count)?;
    let needed = u32::try_from(list.len()).unwrap_or(u32::MAX);
    if room < needed {
        put(count, needed)?;
        return Err(Code::INSUFFICIENT_SIZE);
    }
    if needed > 0 {
        check(out)?;
    }
    for (index, item) in list.iter().enumerate() {
        put(out.wrapping_add(index), *item)?;
    }
    put(count, needed)
}
