//! What lies around the driver: libraries that are missing, other preloads, privileges.

use crate::common::{Machine, Told, compiled, product};
use firstlight_contract::preflight::{Outcome, Probe};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Ollama's folder of libraries with everything in it but what `skip` says.
fn ollama_without(folder: &Path, skip: &str) -> Option<PathBuf> {
    let from = product("ollama/lib/ollama")?;
    let root = folder.join("ollama");
    fs::create_dir_all(root.join("cuda_v13")).unwrap();
    for (from, to) in [(from.join("cuda_v13"), root.join("cuda_v13")), (from, root.clone())] {
        for entry in fs::read_dir(from).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            if !entry.file_name().to_string_lossy().starts_with(skip) {
                symlink(fs::canonicalize(entry.path()).unwrap(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    Some(root.join("cuda_v13/libggml-cuda.so"))
}

#[test]
fn a_backend_that_lacks_a_library_says_which() {
    let Some(machine) = Machine::new() else { return };
    let Some(backend) = ollama_without(machine.folder(), "libcublas.so") else { return };
    let mut command = machine.preflight(&["--backend", backend.to_str().unwrap()]);
    let told = Told::of(&command.env("PATH", "/usr/bin:/bin").output().unwrap());
    let load = told.only(Probe::Load);
    assert_eq!((load.outcome, load.subject.as_str()), (Outcome::Failed, backend.to_str().unwrap()));
    // The folder behind the links has all of them, and is not where the loader looks.
    let words = "libcublas.so.13: cannot open shared object file: No such file or directory";
    assert_eq!(load.detail.as_str(), words, "{:#?}", told.report);
}

#[test]
fn a_backend_that_is_no_backend_is_told_from_one_that_is_not_there() {
    let Some(machine) = Machine::new() else { return };
    let other = compiled(machine.folder(), "interposer.c", "libggml-cuda.so", &[]);
    let mut command =
        machine.preflight(&["--backend", other.to_str().unwrap(), "--backend", "/nowhere/x.so"]);
    let told = Told::of(&command.env("PATH", "/usr/bin:/bin").output().unwrap());
    let loads: Vec<_> =
        told.report.of(Probe::Load).map(|load| (load.outcome, load.detail.as_str())).collect();
    assert_eq!(loads, [(Outcome::Failed, "no function ggml_backend_init"), (Outcome::Absent, "")]);
}

#[test]
fn another_preload_is_told_with_what_it_replaces() {
    let Some(machine) = Machine::new() else { return };
    let interposer = compiled(machine.folder(), "interposer.c", "libshare.so", &[]);
    let mut command = machine.preflight(&[]);
    let shim = crate::common::artefact("shim/libcuda.so.1").unwrap();
    let value = format!("{}:{}:/nowhere/lib.so", shim.display(), interposer.display());
    let output = command.env("LD_PRELOAD", value).output().unwrap();
    let told = Told::of(&output);
    let preloads: Vec<_> = told.report.of(Probe::Preload).collect();
    assert_eq!(preloads.len(), 2, "ours is not told: {preloads:#?}");
    let missing = preloads.iter().find(|finding| finding.subject.as_str() == "/nowhere/lib.so").unwrap();
    assert_eq!(missing.outcome, Outcome::Absent, "glibc says so, and programs run");
    assert!(missing.detail.as_str().contains("cannot open shared object file"), "{missing:?}");
    let other =
        preloads.iter().find(|finding| finding.subject.as_str() == interposer.to_str().unwrap()).unwrap();
    assert_eq!((other.outcome, other.detail.as_str()), (Outcome::Ok, "dlsym, open"));
}

#[test]
fn a_preload_that_stops_every_program_is_said_and_the_rest_is_skipped() {
    let Some(machine) = Machine::new() else { return };
    let needs = compiled(machine.folder(), "driver.c", "libgone.so", &[]);
    let from = format!("-L{}", machine.folder().display());
    let flags = ["-Wl,--no-as-needed", &from, "-lgone"];
    let broken = compiled(machine.folder(), "interposer.c", "libneeds.so", &flags);
    fs::remove_file(needs).unwrap();
    let output = machine.preflight(&[]).env("LD_PRELOAD", &broken).output().unwrap();
    let told = Told::of(&output);
    assert_eq!(told.outcome(Probe::Libc), Outcome::Ok);
    let preload = told.report.of(Probe::Preload).next().unwrap();
    assert_eq!((preload.outcome, preload.subject.as_str()), (Outcome::Failed, broken.to_str().unwrap()));
    let words = "the process ended with code 127: libgone.so: cannot open shared object file";
    assert!(preload.detail.as_str().starts_with(words), "{preload:#?}");
    assert_eq!(told.outcome(Probe::Open), Outcome::Skipped);
    assert!(told.only(Probe::Open).detail.as_str().contains("libgone.so"), "{:?}", told.only(Probe::Open));
}

#[test]
fn the_drivers_on_the_path_are_told_in_the_loaders_order_with_what_is_behind_their_links() {
    let Some(machine) = Machine::new() else { return };
    let compat = machine.folder().join("compat");
    fs::create_dir(&compat).unwrap();
    let real = compiled(&compat, "driver.c", "libcuda.so.580.1", &[]);
    symlink("libcuda.so.580.1", compat.join("libcuda.so.1")).unwrap();
    let text = machine.folder().join("text");
    fs::create_dir(&text).unwrap();
    fs::write(text.join("libcuda.so.1"), "no library").unwrap();
    let shim = crate::common::artefact("shim/libcuda.so.1").unwrap();
    let path = std::env::join_paths([&text, &compat, shim.parent().unwrap()]).unwrap();
    let output =
        machine.preflight(&[]).env("LD_LIBRARY_PATH", path).env("PATH", "/usr/bin:/bin").output().unwrap();
    let told = Told::of(&output);
    let drivers: Vec<_> = told.report.of(Probe::Driver).take(3).collect();
    assert_eq!((drivers[0].outcome, drivers[0].detail.as_str()), (Outcome::Failed, "no ELF file of 64 bits"));
    assert_eq!(drivers[1].detail.as_str(), fs::canonicalize(real).unwrap().to_str().unwrap());
    assert_eq!((drivers[2].subject.as_str(), drivers[2].outcome), (shim.to_str().unwrap(), Outcome::Ok));
}

#[test]
fn a_privileged_ollama_is_told_because_the_loader_ignores_the_preload() {
    let Some(machine) = Machine::new() else { return };
    let program = machine.folder().join("ollama");
    fs::write(&program, "#!/bin/sh\necho 'ollama version is 9.9.9'\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let path = std::env::join_paths([machine.folder(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let told = Told::of(&machine.preflight(&[]).env("PATH", path).output().unwrap());
    assert_eq!(told.only(Probe::Ollama).detail.as_str(), "9.9.9");
    assert_eq!(told.report.of(Probe::Load).count(), 0, "no folder of libraries is beside it");
    let found = told.only(Probe::Privileges);
    assert_eq!((found.subject.as_str(), found.detail.as_str()), (program.to_str().unwrap(), "mode 4755"));
}

#[test]
fn an_ollama_that_never_answers_is_left_after_its_time() {
    let Some(machine) = Machine::new() else { return };
    let program = machine.folder().join("ollama");
    fs::write(&program, "#!/bin/sh\nsleep 100\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths([machine.folder(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let told = Told::of(&machine.preflight(&[]).env("PATH", path).output().unwrap());
    assert_eq!(told.outcome(Probe::Ollama), Outcome::TimedOut);
}

#[test]
fn an_ollama_without_any_cuda_backend_has_none_where_it_looks() {
    let Some(machine) = Machine::new() else { return };
    for folder in ["bin", "lib/ollama/vulkan"] {
        fs::create_dir_all(machine.folder().join(folder)).unwrap();
    }
    let program = machine.folder().join("bin/ollama");
    fs::write(&program, "#!/bin/sh\necho 'ollama version is 0.33.1'\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let bin = machine.folder().join("bin");
    let path = std::env::join_paths([bin.as_path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let told = Told::of(&machine.preflight(&[]).env("PATH", path).output().unwrap());
    let load = told.only(Probe::Load);
    assert_eq!(load.outcome, Outcome::Absent);
    assert!(load.subject.as_str().ends_with("/lib/ollama/*/libggml-cuda.so"), "{load:?}");
}
