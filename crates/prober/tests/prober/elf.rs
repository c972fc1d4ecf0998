//! What is shipped starts on old nodes, by the loader and the C library that it is given.

use crate::common::fake;
use firstlight_contract::prober::Message;
use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::{Dyn as _, ElfFile, SectionHeader as _};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const FAMILY: [&str; 6] =
    ["ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libm.so.6"];

/// The program, built once by the script that builds what is shipped.
fn shipped() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prober");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.sh");
        assert!(Command::new(script).arg(&folder).status().unwrap().success(), "build.sh failed");
        folder.join("firstlight-prober")
    })
}

#[test]
fn it_needs_the_c_library_of_2012_and_nothing_else() {
    let bytes = fs::read(shipped()).unwrap();
    let elf = ElfFile::<FileHeader64<Endianness>>::parse(bytes.as_slice()).unwrap();
    let sections = elf.elf_section_table();
    let (entries, link) = sections.dynamic(elf.endian(), elf.data()).unwrap().unwrap();
    let strings = sections.strings(elf.endian(), elf.data(), link).unwrap();
    for entry in entries.iter().filter(|entry| entry.d_tag(elf.endian()) == DT_NEEDED) {
        let name = strings.get(u32::try_from(entry.d_val(elf.endian())).unwrap()).unwrap();
        assert!(FAMILY.iter().any(|known| known.as_bytes() == name), "{}", String::from_utf8_lossy(name));
    }
    let found = sections.iter().find_map(|section| section.gnu_verneed(elf.endian(), elf.data()).transpose());
    let (mut groups, link) = found.unwrap().unwrap();
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

/// As in the prober's container: an image without a C library, and the node's in one directory.
#[test]
fn a_loader_and_a_c_library_in_one_directory_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let from = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
    for name in FAMILY {
        let file = from.iter().map(|directory| Path::new(directory).join(name)).find(|file| file.exists());
        if let Some(file) = file {
            fs::copy(file, folder.path().join(name)).unwrap();
        }
    }
    fs::copy(fake(), folder.path().join("libnvidia-ml.so.1")).unwrap();
    let mut command = Command::new(folder.path().join("ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(folder.path()).arg(shipped());
    let nvml = folder.path().join("libnvidia-ml.so.1");
    let mut child =
        command.arg("--nvml").arg(nvml).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let look = lines
        .map(|line| Message::parse(line.unwrap().as_bytes()).unwrap())
        .find(|message| matches!(message, Message::Look(_)));
    let maps = fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(look.is_some());
    let libc = maps.lines().find(|line| line.ends_with("/libc.so.6")).unwrap();
    assert!(libc.contains(folder.path().to_str().unwrap()), "{libc}");
}
