//! Anonymous mappings: what stands behind device memory. Pages are committed when they are touched, so a device of
//! 80 GiB costs what is used of it.
#![expect(unsafe_code, reason = "maps and unmaps memory of this driver's own")]

use std::ptr::without_provenance_mut;

const PAGE: u64 = 4096;

/// Rounds up to whole pages; `None` past the end of the address space.
pub(crate) fn round(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(PAGE)
}

fn map(at: u64, bytes: u64, protection: i32, flags: i32) -> Option<u64> {
    let length = usize::try_from(bytes).ok()?;
    let at = without_provenance_mut(usize::try_from(at).ok()?);
    // SAFETY: an anonymous mapping; with MAP_FIXED only over addresses that this driver mapped before.
    let mapped = unsafe {
        libc::mmap(at, length, protection, flags | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1, 0)
    };
    (mapped != libc::MAP_FAILED).then(|| mapped.addr() as u64)
}

/// Private zeroed memory.
pub(crate) fn private(bytes: u64) -> Option<u64> {
    map(0, bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE)
}

/// Zeroed memory that [`alias`] can show at other addresses, too.
pub(crate) fn shared(bytes: u64) -> Option<u64> {
    map(0, bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED)
}

/// Addresses without memory, aligned to a power of two.
pub(crate) fn reserve(bytes: u64, alignment: u64) -> Option<u64> {
    let wide = bytes.checked_add(alignment)?;
    let from = map(0, wide, libc::PROT_NONE, libc::MAP_PRIVATE)?;
    let base = from.next_multiple_of(alignment);
    unmap(from, base - from);
    unmap(base + bytes, from + wide - base - bytes);
    Some(base)
}

/// Takes memory out of reserved addresses; they stay reserved.
pub(crate) fn blank(base: u64, bytes: u64) -> bool {
    map(base, bytes, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_FIXED).is_some()
}

/// Shows the shared memory at `from` also at the reserved addresses from `to`, inaccessible at first.
pub(crate) fn alias(from: u64, to: u64, bytes: u64) -> bool {
    let (Ok(source), Ok(target), Ok(length)) =
        (usize::try_from(from), usize::try_from(to), usize::try_from(bytes))
    else {
        return false;
    };
    // SAFETY: an old size of 0 makes a second mapping of shared pages (mremap(2)); the target is reserved by us.
    let mapped = unsafe {
        libc::mremap(
            without_provenance_mut(source),
            0,
            length,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            without_provenance_mut::<libc::c_void>(target),
        )
    };
    mapped != libc::MAP_FAILED && protect(to, bytes, false, false)
}

/// Opens or closes memory to reading and writing.
pub(crate) fn protect(base: u64, bytes: u64, read: bool, write: bool) -> bool {
    let (Ok(base), Ok(length)) = (usize::try_from(base), usize::try_from(bytes)) else { return false };
    let protection = if read { libc::PROT_READ } else { 0 } | if write { libc::PROT_WRITE } else { 0 };
    // SAFETY: the range belongs to one of this driver's mappings.
    unsafe { libc::mprotect(without_provenance_mut(base), length, protection) == 0 }
}

/// Gives memory back.
pub(crate) fn unmap(base: u64, bytes: u64) {
    let (Ok(base), Ok(length)) = (usize::try_from(base), usize::try_from(bytes)) else { return };
    if length > 0 {
        // SAFETY: the range belongs to one of this driver's mappings, which nobody uses any more.
        unsafe { libc::munmap(without_provenance_mut(base), length) };
    }
}
