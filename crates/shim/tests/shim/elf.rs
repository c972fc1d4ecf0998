//! What the files are, as the dynamic loader sees them.

use crate::common::artefacts;
use firstlight_driver_api::function::{DRIVER_FUNCTIONS, NVML_FUNCTIONS};
use object::elf::{
    DT_INIT, DT_NEEDED, DT_SONAME, DynamicTag, FileHeader64, PT_GNU_RELRO, PT_LOAD, SHT_GNU_VERNEED, STB_WEAK,
};
use object::read::elf::{Dyn, ElfFile, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, Object, ObjectSymbol, SymbolFlags};
use std::collections::BTreeSet;

type Elf<'a> = ElfFile<'a, FileHeader64<Endianness>>;

fn with_each(check: impl Fn(&str, &Elf<'_>)) {
    for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        let bytes = std::fs::read(artefacts().join(name)).unwrap();
        check(name, &Elf::parse(bytes.as_slice()).unwrap());
    }
}

/// Tags and values of the dynamic section.
fn dynamic(elf: &Elf<'_>) -> Vec<(DynamicTag, u64)> {
    let sections = elf.elf_section_table();
    let (entries, _) = sections.dynamic(elf.endian(), elf.data()).unwrap().unwrap();
    entries.iter().map(|entry| (entry.d_tag(elf.endian()), entry.d_val(elf.endian()))).collect()
}

#[test]
fn nothing_is_needed_and_nothing_is_versioned() {
    with_each(|name, elf| {
        assert!(!dynamic(elf).iter().any(|(tag, _)| *tag == DT_NEEDED), "{name}");
        let sections = elf.elf_section_table();
        assert!(!sections.iter().any(|section| section.sh_type(elf.endian()) == SHT_GNU_VERNEED), "{name}");
    });
}

#[test]
fn the_soname_is_the_drivers() {
    with_each(|name, elf| {
        let sections = elf.elf_section_table();
        let (_, link) = sections.dynamic(elf.endian(), elf.data()).unwrap().unwrap();
        let strings = sections.strings(elf.endian(), elf.data(), link).unwrap();
        let at = dynamic(elf).into_iter().find(|(tag, _)| *tag == DT_SONAME).unwrap().1;
        assert_eq!(strings.get(u32::try_from(at).unwrap()), Ok(name.as_bytes()));
    });
}

#[test]
fn the_exports_are_the_list_and_nothing_else() {
    let names =
        |list: &'static [firstlight_driver_api::Function]| list.iter().map(|function| function.symbol);
    let nvml: BTreeSet<_> = names(NVML_FUNCTIONS).collect();
    let both: BTreeSet<_> = names(DRIVER_FUNCTIONS).chain(names(NVML_FUNCTIONS)).collect();
    with_each(|name, elf| {
        let exported: BTreeSet<_> = elf
            .dynamic_symbols()
            .filter(ObjectSymbol::is_definition)
            .map(|symbol| symbol.name().unwrap())
            .collect();
        assert!(exported.iter().all(|name| name.starts_with("cu") || name.starts_with("nvml")));
        assert_eq!(exported, if name == "libcuda.so.1" { both.clone() } else { nvml.clone() }, "{name}");
    });
}

#[test]
fn whatever_is_asked_of_libc_is_asked_weakly() {
    with_each(|name, elf| {
        for symbol in elf.dynamic_symbols().filter(|symbol| symbol.is_undefined() && symbol.name() != Ok(""))
        {
            assert_eq!(symbol.elf_symbol().st_bind(), STB_WEAK, "{name}: {:?}", symbol.name());
            assert!(matches!(symbol.flags(), SymbolFlags::Elf { .. }));
        }
    });
}

#[test]
fn loading_costs_two_segments_and_few_relocations() {
    with_each(|name, elf| {
        let kinds: Vec<_> =
            elf.elf_program_headers().iter().map(|header| header.p_type(elf.endian())).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == PT_LOAD).count(), 2, "{name}");
        assert!(!kinds.contains(&PT_GNU_RELRO), "{name}");
        let relocations = elf.dynamic_relocations().unwrap().count();
        assert!(relocations <= 90, "{name}: {relocations} relocations");
    });
    with_each(|name, elf| {
        let has_init = dynamic(elf).iter().any(|(tag, _)| *tag == DT_INIT);
        assert_eq!(has_init, name == "libcuda.so.1", "one start record, from one of the two");
        assert_eq!(elf.elf_header().e_type(elf.endian()), object::elf::ET_DYN);
    });
}
