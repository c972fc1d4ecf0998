//! What the file is, as the dynamic loader sees it.

use crate::common::nvml;
use firstlight_driver_api::function::NVML_FUNCTIONS;
use object::elf::{DT_NEEDED, DT_SONAME, FileHeader64};
use object::read::elf::{Dyn, ElfFile};
use object::{Endianness, Object, ObjectSymbol};
use std::collections::BTreeSet;

type Elf<'a> = ElfFile<'a, FileHeader64<Endianness>>;

fn with_file(check: impl Fn(&Elf<'_>)) {
    let bytes = std::fs::read(nvml()).unwrap();
    check(&Elf::parse(bytes.as_slice()).unwrap());
}

/// The texts that entries of this kind in the dynamic section name.
fn named(elf: &Elf<'_>, wanted: object::elf::DynamicTag) -> Vec<String> {
    let sections = elf.elf_section_table();
    let (entries, link) = sections.dynamic(elf.endian(), elf.data()).unwrap().unwrap();
    let strings = sections.strings(elf.endian(), elf.data(), link).unwrap();
    let places = entries.iter().filter(|entry| entry.d_tag(elf.endian()) == wanted);
    let places = places.map(|entry| u32::try_from(entry.d_val(elf.endian())).unwrap());
    places.map(|at| String::from_utf8_lossy(strings.get(at).unwrap()).into_owned()).collect()
}

#[test]
fn every_function_of_the_list_is_exported_and_nothing_else() {
    let listed: BTreeSet<_> = NVML_FUNCTIONS.iter().map(|function| function.symbol).collect();
    assert!(listed.contains("nvmlErrorString"));
    with_file(|elf| {
        let exported: BTreeSet<_> = elf
            .dynamic_symbols()
            .filter(ObjectSymbol::is_definition)
            .map(|symbol| symbol.name().unwrap())
            .collect();
        assert_eq!(exported, listed);
    });
}

#[test]
fn the_soname_is_nvmls() {
    with_file(|elf| assert_eq!(named(elf, DT_SONAME), ["libnvidia-ml.so.1"]));
}

#[test]
fn nothing_but_the_c_library_is_needed() {
    let allowed =
        ["libc.so.6", "libdl.so.2", "libpthread.so.0", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];
    with_file(|elf| {
        let needed = named(elf, DT_NEEDED);
        assert!(needed.iter().all(|name| allowed.contains(&name.as_str())), "{needed:?}");
    });
}

#[test]
fn an_old_c_library_is_enough() {
    let text = std::fs::read(nvml()).unwrap();
    let versions = text.split(|byte| *byte == 0).filter_map(|word| word.strip_prefix(b"GLIBC_2."));
    let numbers =
        versions.filter_map(|rest| String::from_utf8_lossy(rest).split('.').next()?.parse::<u32>().ok());
    let newest = numbers.max();
    assert!(newest.is_some_and(|newest| newest <= 17), "glibc 2.{newest:?}");
}
