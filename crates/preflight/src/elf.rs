//! What an object file says of itself: for whom it is, what it offers, which build it is. Read in pieces: some of
//! these libraries have half a gigabyte.

use crate::files;
use object::elf::{EM_X86_64, ET_DYN, FileHeader64};
use object::read::elf::{ElfFile, FileHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _, ReadCache, ReadRef};
use std::fs::File;
use std::io;
use std::path::Path;

/// Functions of the C library that an object should not replace in a process that brings CUDA up: files, memory,
/// and the loader itself.
pub const TELLING: [&str; 22] = [
    "dlopen", "dlsym", "dlvsym", "dlclose", "open", "open64", "openat", "read", "close", "stat", "ioctl",
    "malloc", "calloc", "realloc", "free", "mmap", "munmap", "fork", "execve", "abort", "exit", "getenv",
];

/// Symbols that are looked at: the largest library here exports some thousands.
const MOST_SYMBOLS: usize = 1 << 20;

/// Why a file is not what the loader can load.
#[derive(Debug)]
pub enum Unfit {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is something else.
    Other(&'static str),
}

/// What is known of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Which of [`TELLING`] it defines, in the table's order.
    pub replaces: Vec<&'static str>,
    /// Its build id, in hexadecimal.
    pub build_id: Option<String>,
}

/// Reads a shared object.
pub fn read(path: &Path) -> Result<Object, Unfit> {
    let file = files::open(path).map_err(Unfit::Unreadable)?;
    let cache = ReadCache::new(file);
    read_from(Bounded(&cache)).map_err(Unfit::Other)
}

/// Whether the loader would take this file: it passes over objects for another machine.
pub fn check(path: &Path) -> Result<(), Unfit> {
    let file = files::open(path).map_err(Unfit::Unreadable)?;
    let cache = ReadCache::new(file);
    header(Bounded(&cache)).map_err(Unfit::Other)
}

/// A file of which no part is read that is larger than any table of symbols here: a number in it may be anything.
#[derive(Clone, Copy, Debug)]
struct Bounded<'data>(&'data ReadCache<File>);

const MOST_BYTES: u64 = 64 << 20;

impl<'data> ReadRef<'data> for Bounded<'data> {
    fn len(self) -> Result<u64, ()> {
        self.0.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        if size > MOST_BYTES { Err(()) } else { self.0.read_bytes_at(offset, size) }
    }

    fn read_bytes_at_until(self, range: std::ops::Range<u64>, delimiter: u8) -> Result<&'data [u8], ()> {
        self.0.read_bytes_at_until(range, delimiter)
    }
}

fn header<'data>(data: impl ReadRef<'data>) -> Result<(), &'static str> {
    let header = FileHeader64::<Endianness>::parse(data).map_err(|_| "no ELF file of 64 bits")?;
    let endian = header.endian().map_err(|_| "no ELF file for x86-64")?;
    if header.e_machine(endian) != EM_X86_64 {
        return Err("an ELF file for another machine");
    }
    if header.e_type(endian) != ET_DYN {
        return Err("no shared object");
    }
    Ok(())
}

/// The same from bytes; no bytes are too odd.
pub fn read_from<'data>(data: impl ReadRef<'data>) -> Result<Object, &'static str> {
    header(data)?;
    let elf = ElfFile::<FileHeader64<Endianness>, _>::parse(data).map_err(|_| "a damaged ELF file")?;
    let mut found = [false; TELLING.len()];
    for symbol in elf.dynamic_symbols().take(MOST_SYMBOLS).filter(object::ObjectSymbol::is_definition) {
        let Ok(name) = symbol.name_bytes() else { continue };
        let row = TELLING.iter().position(|telling| telling.as_bytes() == name);
        if let Some(found) = row.and_then(|row| found.get_mut(row)) {
            *found = true;
        }
    }
    let replaces = TELLING.into_iter().zip(found).filter_map(|(name, found)| found.then_some(name)).collect();
    let build_id = elf.build_id().ok().flatten().map(hex);
    Ok(Object { replaces, build_id })
}

/// The first 20 bytes, which is what linkers write.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(20).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn the_c_library_is_full_of_its_own_functions() {
        let libc = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6"].into_iter().map(Path::new);
        let Some(libc) = libc.into_iter().find(|path| path.exists()) else { return };
        let object = read(libc).unwrap();
        assert!(
            object.replaces.starts_with(&["dlopen"]) || object.replaces.contains(&"malloc"),
            "{object:?}"
        );
        assert!(object.build_id.is_some_and(|id| id.len() == 40));
        assert!(check(libc).is_ok());
    }

    #[test]
    fn a_program_replaces_nothing_that_it_does_not_define() {
        assert_eq!(read(Path::new("/proc/self/exe")).unwrap().replaces, [""; 0]);
    }

    #[test]
    fn what_is_no_object_for_this_machine_says_what_it_is() {
        let unfit = |bytes: &[u8]| read_from(bytes).unwrap_err();
        assert_eq!(unfit(b"#!/bin/sh\n"), "no ELF file of 64 bits");
        let mut arm = own();
        arm[18] = 183;
        assert_eq!(unfit(&arm), "an ELF file for another machine");
        let mut small = own();
        small[4] = 1;
        assert_eq!(unfit(&small), "no ELF file of 64 bits");
        assert!(matches!(read(Path::new("/nowhere")), Err(Unfit::Unreadable(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>, place in 0_usize..4096, value: u64) {
            let _ = read_from(bytes.as_slice());
            let mut damaged = own();
            damaged.truncate(1 << 20);
            if let Some(bytes) = damaged.get_mut(place..place + 8) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
            let _ = read_from(damaged.as_slice());
        }
    }
}
