//! What the files are: the static half needs nothing, the dynamic one the old C library and nothing else.

use crate::common::programs;
use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64, PT_INTERP};
use object::read::elf::{Dyn as _, ElfFile, ProgramHeader as _, SectionHeader as _};

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(programs().join(name)).unwrap()
}

#[test]
fn the_static_half_needs_no_loader() {
    let bytes = bytes("firstlight-preflight");
    let elf = ElfFile::<FileHeader64<Endianness>>::parse(bytes.as_slice()).unwrap();
    assert!(!elf.elf_program_headers().iter().any(|header| header.p_type(elf.endian()) == PT_INTERP));
}

#[test]
fn the_dynamic_half_needs_the_c_library_of_2012_and_nothing_else() {
    let bytes = bytes("firstlight-preflight-dynamic");
    let elf = ElfFile::<FileHeader64<Endianness>>::parse(bytes.as_slice()).unwrap();
    let sections = elf.elf_section_table();
    let (entries, link) = sections.dynamic(elf.endian(), elf.data()).unwrap().unwrap();
    let strings = sections.strings(elf.endian(), elf.data(), link).unwrap();
    let needed: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.d_tag(elf.endian()) == DT_NEEDED)
        .map(|entry| {
            std::str::from_utf8(strings.get(u32::try_from(entry.d_val(elf.endian())).unwrap()).unwrap())
                .unwrap()
        })
        .collect();
    let family =
        ["libc.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2", "librt.so.1", "libm.so.6"];
    assert!(needed.iter().all(|name| family.contains(name)), "{needed:?}");
    let versions = sections
        .iter()
        .find_map(|section| section.gnu_verneed(elf.endian(), elf.data()).transpose())
        .unwrap()
        .unwrap();
    let (mut groups, link) = versions;
    let names = sections.strings(elf.endian(), elf.data(), link).unwrap();
    while let Some((_, mut versions)) = groups.next().unwrap() {
        while let Some(version) = versions.next().unwrap() {
            let name = std::str::from_utf8(version.name(elf.endian(), names).unwrap()).unwrap();
            let minor: u32 =
                name.strip_prefix("GLIBC_2.").unwrap().split('.').next().unwrap().parse().unwrap();
            assert!(minor <= 17, "{name}");
        }
    }
}
