//! Calls that allocate at an address, and those that free.
#![expect(unsafe_code, reason = "calls of the client's, with its out-pointers")]
#![expect(clippy::many_single_char_names, reason = "argument words without a meaning of their own")]

use super::{LIVE, Name, QUOTA, ask, give, keep, key, onward, owners, read, settle, take};
use crate::rows::{self, id_of};

/// Rows of most drivers begin at multiples of this.
const PITCH: usize = 512;

/// Functions of the first ABI, whose sizes and addresses have 32 bits.
pub(super) fn is_narrow(function: u16) -> bool {
    const NARROW: [u16; 8] = [
        id_of("cuMemAlloc"),
        id_of("cuMemAllocPitch"),
        id_of("cuMemFree"),
        id_of("cuMemGetInfo"),
        id_of("cuDeviceTotalMem"),
        id_of("cuArrayCreate"),
        id_of("cuArray3DCreate"),
        id_of("cuModuleGetGlobal"),
    ];
    NARROW.contains(&function)
}

/// An address or a size that the driver wrote.
///
/// # Safety
/// The pointer must be null or what the driver wrote it to.
pub(super) unsafe fn word(function: u16, pointer: usize) -> usize {
    if is_narrow(function) {
        // SAFETY: as the caller vouches.
        unsafe { read::<u32>(pointer) as usize }
    } else {
        // SAFETY: as the caller vouches.
        unsafe { read::<usize>(pointer) }
    }
}

/// A size that the client passed.
fn size(function: u16, argument: usize) -> usize {
    if is_narrow(function) { argument & 0xFFFF_FFFF } else { argument }
}

/// Frees what the driver has just given.
fn undo(address: usize) {
    // SAFETY: the driver gave it in this call, and nobody else knows of it.
    let _ = unsafe { ask(const { id_of("cuMemFree_v2") }, [address, 0, 0, 0, 0, 0]) };
}

/// Allocates in the current context.
///
/// # Safety
/// Called as a function whose first arguments are an out-pointer and a size.
pub unsafe extern "C" fn allocate<const ID: u16>(
    out: usize,
    bytes: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let charge = match take(ID, size(ID, bytes) as u64, owners::current()) {
        Ok(charge) => charge,
        Err(code) => return code,
    };
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [out, bytes, c, d, e, f]) };
    // SAFETY: read after a success only.
    let address = || unsafe { word(ID, out) };
    settle(ID, charge, result, || key(Name::Address, address()), || undo(address()))
}

/// The same in the order of a stream. The memory belongs to a pool of the device's, and outlives contexts.
///
/// # Safety
/// Called as a function whose first arguments are an out-pointer and a size.
pub unsafe extern "C" fn ordered<const ID: u16>(
    out: usize,
    bytes: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let owner = owners::current().map(|owner| owners::Owner::nobody(owner.device));
    let charge = match take(ID, bytes as u64, owner) {
        Ok(charge) => charge,
        Err(code) => return code,
    };
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [out, bytes, c, d, e, f]) };
    // SAFETY: read after a success only.
    let address = || unsafe { read::<usize>(out) };
    settle(ID, charge, result, || key(Name::Address, address()), || undo(address()))
}

/// Allocates rows. How long they are is known only afterwards: what is charged first is put right then.
///
/// # Safety
/// Called as `cuMemAllocPitch`.
pub unsafe extern "C" fn pitch<const ID: u16>(
    out: usize,
    pitch: usize,
    width: usize,
    height: usize,
    element: usize,
    f: usize,
) -> i32 {
    let (rows, row) = (size(ID, height), size(ID, width).checked_next_multiple_of(PITCH));
    let bytes = row.and_then(|row| row.checked_mul(rows)).unwrap_or(usize::MAX);
    let charge = match take(ID, bytes as u64, owners::current()) {
        Ok(charge) => charge,
        Err(code) => return code,
    };
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [out, pitch, width, height, element, f]) };
    // SAFETY: read after a success only.
    let address = || unsafe { word(ID, out) };
    let Some(before) = charge.filter(|_| result == 0) else {
        return settle(ID, charge, result, || 0, || ());
    };
    // SAFETY: written on success.
    let length = unsafe { word(ID, pitch) };
    match QUOTA.resize(before, length.saturating_mul(rows) as u64) {
        Ok(charge) => settle(ID, Some(charge), result, || key(Name::Address, address()), || undo(address())),
        Err(refused) => {
            undo(address());
            give(before);
            super::refuse(ID, before.device(), &refused)
        }
    }
}

/// Allocates an array.
///
/// # Safety
/// Called as `cuArrayCreate`, `cuArray3DCreate` or `cuMipmappedArrayCreate`.
pub unsafe extern "C" fn array<const ID: u16>(
    out: usize,
    descriptor: usize,
    levels: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let levels = if ID == const { id_of("cuMipmappedArrayCreate") } { levels & 0xFFFF_FFFF } else { 1 };
    // SAFETY: the client's descriptor, of the function's kind.
    let bytes = unsafe { Shape::read(ID, descriptor) }.bytes(levels);
    let charge = match take(ID, bytes, owners::current()) {
        Ok(charge) => charge,
        Err(code) => return code,
    };
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [out, descriptor, levels, d, e, f]) };
    // SAFETY: read after a success only.
    let handle = || unsafe { read::<usize>(out) };
    settle(
        ID,
        charge,
        result,
        || key(Name::Array, handle()),
        || {
            let array = [const { id_of("cuArrayDestroy") }, const { id_of("cuMipmappedArrayDestroy") }];
            let [plain, mipmapped] = array;
            let destroy = if ID == const { id_of("cuMipmappedArrayCreate") } { mipmapped } else { plain };
            // SAFETY: the driver gave it in this call, and nobody else knows of it.
            let _ = unsafe { ask(destroy, [handle(), 0, 0, 0, 0, 0]) };
        },
    )
}

/// What a descriptor of an array says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    width: u64,
    height: u64,
    depth: u64,
    format: u32,
    channels: u32,
    flags: u32,
}

impl Shape {
    /// # Safety
    /// The pointer must be null or one to the function's descriptor: `CUDA_ARRAY_DESCRIPTOR` or
    /// `CUDA_ARRAY3D_DESCRIPTOR` (cuda.h), of the first ABI with 32 bits a size.
    unsafe fn read(function: u16, descriptor: usize) -> Self {
        const FLAT: [u16; 2] = [id_of("cuArrayCreate"), id_of("cuArrayCreate_v2")];
        let flat = FLAT.contains(&function);
        let sizes: usize = if flat { 2 } else { 3 };
        let each: usize = if is_narrow(function) { 4 } else { 8 };
        // A null pointer stays one, and the driver will refuse it.
        let at = |offset: usize| if descriptor == 0 { 0 } else { descriptor.wrapping_add(offset) };
        let size = |index: usize| {
            let at = at(index.wrapping_mul(each));
            // SAFETY: as the caller vouches.
            if each == 4 { u64::from(unsafe { read::<u32>(at) }) } else { unsafe { read::<u64>(at) } }
        };
        let rest = sizes.wrapping_mul(each);
        // SAFETY: as the caller vouches.
        let number = |offset: usize| unsafe { read::<u32>(at(rest.wrapping_add(offset))) };
        let depth = if flat { 1 } else { size(2) };
        let flags = if flat { 0 } else { number(8) };
        Self { width: size(0), height: size(1), depth, format: number(0), channels: number(4), flags }
    }

    /// Bytes of an array with so many levels, each half as large as the one before.
    fn bytes(self, levels: usize) -> u64 {
        const LAYERED: u32 = 1;
        const SPARSE_OR_DEFERRED: u32 = 0x40 | 0x80;
        if self.flags & SPARSE_OR_DEFERRED != 0 {
            // Its memory is created and mapped by itself.
            return 0;
        }
        let level = |level: usize| {
            let half = |size: u64| size.checked_shr(u32::try_from(level).unwrap_or(63)).unwrap_or(0).max(1);
            let depth = if self.flags & LAYERED != 0 { self.depth.max(1) } else { half(self.depth) };
            let elements = half(self.width).saturating_mul(half(self.height)).saturating_mul(depth);
            elements.saturating_mul(self.element())
        };
        (0..levels.clamp(1, 64)).map(level).fold(0, u64::saturating_add)
    }

    /// Bytes of an element (`CUarray_format`). Of a format that is not known, what the largest takes.
    fn element(self) -> u64 {
        let channels = u64::from(self.channels);
        match self.format {
            0x01 | 0x08 => channels,
            0x02 | 0x09 | 0x10 => channels.saturating_mul(2),
            0x03 | 0x0a | 0x20 => channels.saturating_mul(4),
            // Compressed (0x91 to 0x9e): at most a byte an element.
            0x91..=0x9e | 0xc0 | 0xc6 => 1,
            // 0xb0 has two planes, the second with a quarter of the elements: two bytes an element cover both.
            0xb0 | 0xc1 | 0xc3 | 0xc7 | 0xc9 => 2,
            0xc2 | 0xc4 | 0xc8 | 0xca => 4,
            _ => 8,
        }
    }
}

/// Frees what the first argument names. It is taken from the table before the driver frees it: afterwards the name may
/// already be another thread's.
///
/// # Safety
/// Called as a function whose first argument names what it frees.
pub unsafe extern "C" fn free<const ID: u16>(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let name = match rows::symbol(ID) {
        b"cuArrayDestroy\0" | b"cuMipmappedArrayDestroy\0" => key(Name::Array, a),
        b"cuDestroyExternalMemory\0" => key(Name::External, a),
        _ => key(Name::Address, size(ID, a)),
    };
    let charge = LIVE.remove(name);
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [a, b, c, d, e, f]) };
    if let Some(charge) = charge {
        if result == 0 {
            give(charge);
        } else {
            keep(name, charge);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_has_the_bytes_of_its_elements() {
        let flat = [640_u64, 480, 0x20 | 4 << 32];
        // SAFETY: two sizes, a format and a number of channels.
        let shape = unsafe { Shape::read(const { id_of("cuArrayCreate_v2") }, flat.as_ptr() as usize) };
        assert_eq!(shape.bytes(1), 640 * 480 * 16);
        let narrow = [640_u32, 480, 0x01, 1];
        // SAFETY: the same with 32 bits.
        let shape = unsafe { Shape::read(const { id_of("cuArrayCreate") }, narrow.as_ptr() as usize) };
        assert_eq!(shape.bytes(1), 640 * 480);
    }

    #[test]
    fn each_level_of_a_mipmapped_array_is_half_as_large() {
        let deep = |flags: u64| {
            let words = [8_u64, 8, 4, 0x01 | 1 << 32, flags];
            // SAFETY: three sizes, a format, a number of channels, flags.
            unsafe { Shape::read(const { id_of("cuMipmappedArrayCreate") }, words.as_ptr() as usize) }
        };
        assert_eq!(deep(0).bytes(4), 256 + 32 + 4 + 1);
        assert_eq!(deep(1).bytes(2), 256 + 64);
        assert_eq!(deep(0x40).bytes(4), 0);
    }

    #[test]
    fn sizes_that_are_absurd_are_never_small() {
        let words = [u64::MAX, 2, u64::MAX, 0x20 | 4 << 32, 0];
        // SAFETY: three sizes, a format, a number of channels, flags.
        let shape = unsafe { Shape::read(const { id_of("cuArray3DCreate_v2") }, words.as_ptr() as usize) };
        assert_eq!(shape.bytes(usize::MAX), u64::MAX);
        // SAFETY: null.
        let none = unsafe { Shape::read(const { id_of("cuArray3DCreate_v2") }, 0) };
        assert_eq!(none.bytes(1), 8);
    }
}
