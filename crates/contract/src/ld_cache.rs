//! `/etc/ld.so.cache` as glibc reads it (`elf/cache.c`, `sysdeps/generic/dl-cache.h`): which paths have this name.
//!
//! ```text
//! new: "glibc-ld.so.cache1.1" · u32 entries · u32 bytes of strings · 20 more bytes · entries of 24 · strings
//! old: "ld.so-1.7.0\0" · u32 entries · entries of 12 · (aligned to 8) the new one, since 2.2
//! ```
//!
//! Plugin and preflight read it: that of a node, and that of an image, whose author wrote it. Every number in it is
//! checked against the bytes that are there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// Larger ones are not read: a big distribution's has a hundred kilobytes.
pub const MAX_BYTES: u64 = 16 << 20;

const NEW: &[u8] = b"glibc-ld.so.cache1.1";
const OLD: &[u8] = b"ld.so-1.7.0\0";
const HEADER: usize = 48;
const ENTRY: usize = 24;
const OLD_ENTRY: usize = 12;
/// Type and architecture of an entry (`_DL_CACHE_DEFAULT_ID` on x86-64): libraries of libc 6, 64 bits.
const FLAGS: u32 = 0x0303;

/// The paths of the libraries of this name, for this machine, in the cache's order.
pub fn paths_of(cache: &[u8], name: &str) -> Vec<PathBuf> {
    let Some(cache) = new_part(cache) else { return Vec::new() };
    let count = number(cache, NEW.len()).unwrap_or(0) as usize;
    let entries = cache.get(HEADER..).unwrap_or_default().chunks_exact(ENTRY);
    let found = entries.take(count).filter_map(|entry| {
        let key = text(cache, number(entry, 4)?)?;
        let wanted = number(entry, 0)? == FLAGS && key == name.as_bytes();
        wanted.then(|| text(cache, number(entry, 8)?)).flatten()
    });
    found.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect()
}

/// The cache of the new format; its strings' places are counted from its beginning.
fn new_part(cache: &[u8]) -> Option<&[u8]> {
    if cache.starts_with(NEW) {
        return Some(cache);
    }
    if !cache.starts_with(OLD) {
        return None;
    }
    let entries = (number(cache, OLD.len())? as usize).checked_mul(OLD_ENTRY)?;
    let end = entries.checked_add(OLD.len() + 4)?.checked_next_multiple_of(8)?;
    cache.get(end..).filter(|rest| rest.starts_with(NEW))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*four))
}

/// The string at this place; longer ones than a path can be are none.
fn text(cache: &[u8], at: u32) -> Option<&[u8]> {
    let rest = cache.get(at as usize..)?;
    let rest = rest.get(..4096).unwrap_or(rest);
    let end = rest.iter().position(|byte| *byte == 0)?;
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A cache of the new format with these names and paths.
    fn cache(rows: &[(u32, &str, &str)]) -> Vec<u8> {
        let mut entries = Vec::new();
        let mut strings: Vec<u8> = Vec::new();
        let base = HEADER + rows.len() * ENTRY;
        for (flags, name, path) in rows {
            entries.extend(flags.to_le_bytes());
            for string in [name, path] {
                entries.extend(u32::try_from(base + strings.len()).unwrap().to_le_bytes());
                strings.extend(string.bytes().chain([0]));
            }
            entries.extend([0; 12]);
        }
        let mut cache = NEW.to_vec();
        cache.extend(u32::try_from(rows.len()).unwrap().to_le_bytes());
        cache.extend(u32::try_from(strings.len()).unwrap().to_le_bytes());
        cache.resize(HEADER, 0);
        cache.extend(entries);
        cache.extend(strings);
        cache
    }

    fn example() -> Vec<u8> {
        cache(&[
            (FLAGS, "libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so.1"),
            (0x0003, "libcuda.so.1", "/usr/lib/i386-linux-gnu/libcuda.so.1"),
            (FLAGS, "libcuda.so", "/usr/lib/x86_64-linux-gnu/libcuda.so"),
            (FLAGS, "libcuda.so.1", "/usr/local/cuda/compat/libcuda.so.1"),
        ])
    }

    #[test]
    fn libraries_of_the_name_and_the_machine_are_found_in_their_order() {
        let wanted = ["/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/local/cuda/compat/libcuda.so.1"];
        assert_eq!(paths_of(&example(), "libcuda.so.1"), wanted.map(PathBuf::from));
        assert!(paths_of(&example(), "libcuda.so.2").is_empty());
    }

    #[test]
    fn the_new_cache_behind_an_old_one_is_read() {
        let mut old = OLD.to_vec();
        old.extend(1_u32.to_le_bytes());
        old.extend([0; OLD_ENTRY + 4]);
        old.extend(example());
        assert_eq!(paths_of(&old, "libcuda.so.1").len(), 2);
    }

    #[test]
    fn this_machines_cache_knows_its_libc() {
        let Ok(cache) = std::fs::read("/etc/ld.so.cache") else { return };
        assert!(paths_of(&cache, "libc.so.6").iter().all(|path| path.exists()));
        assert!(!paths_of(&cache, "libc.so.6").is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>, place in 0_usize..200, value: u32) {
            paths_of(&bytes, "libcuda.so.1");
            let mut cache = example();
            if let Some(bytes) = cache.get_mut(place..place + 4) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
            prop_assert!(paths_of(&cache, "libcuda.so.1").len() <= 4);
        }
    }
}
