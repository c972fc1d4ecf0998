//! Result codes, foreign pointers, and the macro that declares an entry.
//!
//! The pointers handled here are arguments of C calls: the header promises that each is null or points to what its
//! type says. Null is answered with INVALID_VALUE; that a non-null one is good cannot be checked by any driver.
#![expect(unsafe_code, reason = "reads and writes through the arguments of C calls")]

use std::ffi::{CStr, c_char, c_void};

/// A `CUresult` other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

/// What a driver function ends with.
pub(crate) type Done = Result<(), Code>;

/// An opaque handle of a client.
pub(crate) type Handle = u64;
/// An untyped pointer of a client.
pub(crate) type Raw = *mut c_void;

impl Code {
    pub(crate) const INVALID_VALUE: Self = Self(1);
    pub(crate) const OUT_OF_MEMORY: Self = Self(2);
    pub(crate) const NOT_INITIALIZED: Self = Self(3);
    pub(crate) const NO_DEVICE: Self = Self(100);
    pub(crate) const INVALID_DEVICE: Self = Self(101);
    pub(crate) const INVALID_CONTEXT: Self = Self(201);
    pub(crate) const INVALID_IMAGE: Self = Self(200);
    pub(crate) const NO_BINARY: Self = Self(209);
    pub(crate) const UNSUPPORTED_LIMIT: Self = Self(215);
    pub(crate) const INVALID_PTX: Self = Self(218);
    pub(crate) const UNSUPPORTED_PTX: Self = Self(222);
    pub(crate) const FILE_NOT_FOUND: Self = Self(301);
    pub(crate) const INVALID_HANDLE: Self = Self(400);
    pub(crate) const ILLEGAL_STATE: Self = Self(401);
    pub(crate) const NOT_FOUND: Self = Self(500);
    pub(crate) const CONTEXT_IS_DESTROYED: Self = Self(709);
    pub(crate) const ALREADY_REGISTERED: Self = Self(712);
    pub(crate) const NOT_REGISTERED: Self = Self(713);
    pub(crate) const GRAPH_UPDATE_FAILED: Self = Self(910);
    pub(crate) const PEER_ACCESS_ALREADY_ENABLED: Self = Self(704);
    pub(crate) const PEER_ACCESS_NOT_ENABLED: Self = Self(705);
    pub(crate) const NOT_SUPPORTED: Self = Self(801);
    pub(crate) const CAPTURE_UNSUPPORTED: Self = Self(900);
    pub(crate) const CAPTURE_INVALIDATED: Self = Self(901);
    pub(crate) const CAPTURE_MERGE: Self = Self(902);
    pub(crate) const CAPTURED_EVENT: Self = Self(907);
    pub(crate) const INVALID_CLUSTER_SIZE: Self = Self(912);
    pub(crate) const UNKNOWN: Self = Self(999);
}

/// Declares driver functions: `fn cuName(argument: Type, …) { body }`, where the body is a [`Done`].
macro_rules! driver {
    ($($(#[$meta:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block)*) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $kind),*) -> u32 {
            crate::entry::call(stringify!($name), || -> crate::abi::Done { $body })
        }
    )*};
}
pub(crate) use driver;

/// Writes an out-parameter that must be there.
pub(crate) fn put<T>(out: *mut T, value: T) -> Done {
    if out.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: not null, and the caller says by its type that a `T` fits (module comment).
    unsafe { out.write_unaligned(value) };
    Ok(())
}

/// Writes an out-parameter that may be null.
pub(crate) fn offer<T>(out: *mut T, value: T) {
    let _ = put(out, value);
}

/// Writes an out-parameter, 0 where there is nothing to write: some functions of a driver leave none as it was.
pub(crate) fn put_or_zero<T: Default>(out: *mut T, value: Result<T, Code>) -> Done {
    match value {
        Ok(value) => put(out, value),
        Err(code) => {
            offer(out, T::default());
            Err(code)
        }
    }
}

/// Reads a parameter passed by address.
pub(crate) fn get<T: Copy>(from: *const T) -> Result<T, Code> {
    if from.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: not null, and the caller says by its type that a `T` is there (module comment).
    Ok(unsafe { from.read_unaligned() })
}

/// Reads element `index` of an array parameter.
pub(crate) fn item<T: Copy>(from: *const T, index: usize) -> Result<T, Code> {
    if from.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    get(from.wrapping_add(index))
}

/// Reads a text.
pub(crate) fn text(from: *const c_char) -> Result<String, Code> {
    if from.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: not null; a C string by the header (module comment).
    Ok(unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned())
}

/// Writes a text with its end into a buffer of `length` bytes; a text too long is cut, as the driver does.
pub(crate) fn put_text(out: *mut c_char, length: i32, value: &str) -> Done {
    let room = usize::try_from(length).ok().filter(|room| *room > 0).ok_or(Code::INVALID_VALUE)?;
    if out.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    let kept = value.len().min(room - 1);
    // SAFETY: the buffer has `room` bytes by the header, `kept` < `room`, and the text has at least `kept`.
    unsafe { std::ptr::copy_nonoverlapping(value.as_ptr().cast(), out, kept) };
    put(out.wrapping_add(kept), 0)
}

/// Copies bytes; the ranges may overlap.
pub(crate) fn copy_bytes(to: u64, from: u64, count: usize) {
    if count > 0 {
        // SAFETY: device ranges were looked up (`ranges::check`); host ranges are the caller's promise.
        unsafe {
            std::ptr::copy(from as *const u8, to as *mut u8, count);
        }
    }
}

/// Fills `count` elements of `width` bytes (1, 2 or 4) with the low bytes of `value`.
pub(crate) fn fill(to: u64, value: u32, width: usize, count: usize) {
    let bytes = value.to_le_bytes();
    if width == 1 {
        let [byte, ..] = bytes;
        // SAFETY: the range was looked up (`ranges::check`).
        unsafe { std::ptr::write_bytes(to as *mut u8, byte, count) };
        return;
    }
    let Some(pattern) = bytes.get(..width) else { return };
    for index in 0..count {
        // SAFETY: `index * width + width` lies in the range that was looked up.
        unsafe {
            std::ptr::copy_nonoverlapping(
                pattern.as_ptr(),
                (to as *mut u8).wrapping_add(index * width),
                width,
            );
        }
    }
}
