//! What the file is, as the dynamic loader sees it.

use crate::common::driver;
use firstlight_driver_api::function::DRIVER_FUNCTIONS;
use object::elf::{DT_NEEDED, DT_SONAME, FileHeader64, SHT_GNU_VERNEED};
use object::read::elf::{Dyn, ElfFile, SectionHeader};
use object::{Endianness, Object, ObjectSymbol};
use std::collections::BTreeSet;

type Elf<'a> = ElfFile<'a, FileHeader64<Endianness>>;

fn with_driver(check: impl Fn(&Elf<'_>)) {
    let bytes = std::fs::read(driver()).unwrap();
    check(&Elf::parse(bytes.as_slice()).unwrap());
}

/// The texts that tags of the dynamic section name.
fn texts(elf: &Elf<'_>, wanted: object::elf::DynamicTag) -> Vec<String> {
    let sections = elf.elf_section_table();
    let (entries, link) = sections.dynamic(elf.endian(), elf.data()).unwrap().unwrap();
    let strings = sections.strings(elf.endian(), elf.data(), link).unwrap();
    let fitting = entries.iter().filter(|entry| entry.d_tag(elf.endian()) == wanted);
    let text =
        |at: u64| String::from_utf8_lossy(strings.get(u32::try_from(at).unwrap()).unwrap()).into_owned();
    fitting.map(|entry| text(entry.d_val(elf.endian()))).collect()
}

#[test]
fn every_function_of_the_list_is_exported_and_nothing_else() {
    with_driver(|elf| {
        let expected: BTreeSet<_> = DRIVER_FUNCTIONS
            .iter()
            .map(|function| function.symbol)
            .chain(["firstlight_simulator_state"])
            .collect();
        let defined = elf.dynamic_symbols().filter(ObjectSymbol::is_definition);
        assert_eq!(defined.map(|symbol| symbol.name().unwrap()).collect::<BTreeSet<_>>(), expected);
    });
}

#[test]
fn the_soname_is_the_drivers_and_only_libc_is_needed() {
    with_driver(|elf| {
        assert_eq!(texts(elf, DT_SONAME), ["libcuda.so.1"]);
        let libc = ["libc.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2"];
        assert!(texts(elf, DT_NEEDED).iter().all(|name| libc.contains(&name.as_str())));
    });
}

#[test]
fn glibc_2_17_is_enough() {
    with_driver(|elf| {
        let sections = elf.elf_section_table();
        let needed =
            sections.iter().find(|section| section.sh_type(elf.endian()) == SHT_GNU_VERNEED).unwrap();
        let (mut files, link) = needed.gnu_verneed(elf.endian(), elf.data()).unwrap().unwrap();
        let strings = sections.strings(elf.endian(), elf.data(), link).unwrap();
        let mut seen = 0;
        while let Some((_, mut versions)) = files.next().unwrap() {
            while let Some(version) = versions.next().unwrap() {
                let name = String::from_utf8_lossy(version.name(elf.endian(), strings).unwrap()).into_owned();
                let minor: u32 =
                    name.strip_prefix("GLIBC_2.").unwrap().split('.').next().unwrap().parse().unwrap();
                assert!(minor <= 17, "{name}");
                seen += 1;
            }
        }
        assert!(seen > 0);
    });
}
