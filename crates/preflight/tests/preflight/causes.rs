//! Rows of the table of causes that only a preflight can tell: made to happen, beside their look-alikes. What the records
//! can tell, too, is in the tests of `kubectl-firstlight`.

use crate::common::{Machine, Told, artefact, compiled};
use firstlight_contract::grant::PoolKind;
use firstlight_diagnosis::{Container, ContainerState, Facts, Preflight};
use firstlight_testing::causes::{self, Made};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What was concluded, and how it was made to happen.
struct Said {
    how: &'static str,
    cause: String,
    confidence: String,
}

/// The preflight's own conclusion.
fn concluded(how: &'static str, command: &mut Command) -> Said {
    let told = Told::of(&command.output().unwrap());
    let verdict = told.verdict.unwrap_or_else(|| panic!("{how}: nothing is wrong in {:#?}", told.report));
    Said { how, cause: verdict.cause, confidence: verdict.confidence }
}

/// What is said of an injected container that left no record, with what its preflight found.
fn silent(how: &'static str, command: &mut Command) -> Said {
    let report = Told::of(&command.output().unwrap()).report;
    let facts = Facts {
        injected: Some(true),
        state: ContainerState::Running { since_ns: 0 },
        preflight: Some(Preflight { at_ns: 0, report }),
        ..Facts::of(PoolKind::Simulated)
    };
    let hour_ns = 3_600_000_000_000;
    let verdict = Container::new().report(hour_ns, &facts).verdict;
    Said { how, cause: verdict.cause, confidence: verdict.confidence }
}

fn row(cause: &str, twin: &str, said: &Said, other: &Said) {
    let made = |said: &Said| (said.how, said.cause.clone(), said.confidence.clone());
    let ((how, id, confidence), (twin_how, twin_id, twin_confidence)) = (made(said), made(other));
    let made = Made { how, cause: &id, confidence: &confidence };
    let beside = Made { how: twin_how, cause: &twin_id, confidence: &twin_confidence };
    causes::row(env!("CARGO_TARGET_TMPDIR"), cause, &made, twin, &beside)
        .unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// An image with an Ollama of this mode, and this backend in its place. Its `PATH`.
fn image(machine: &Machine, mode: u32, backend: &Path) -> std::ffi::OsString {
    let root = machine.folder().join(format!("image-{mode:o}"));
    let (bin, lib) = (root.join("bin"), root.join("lib/ollama/cuda_v13"));
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(&lib).unwrap();
    fs::copy(backend, lib.join("libggml-cuda.so")).unwrap();
    let program = bin.join("ollama");
    fs::write(&program, "#!/bin/sh\necho 'ollama version is 0.33.1'\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    std::env::join_paths([bin.as_path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap()
}

/// A backend that needs a library which is not there.
fn backend_without_its_library(machine: &Machine) -> PathBuf {
    let needed = compiled(machine.folder(), "backend.c", "libneeded.so", &["-Wl,-soname,libneeded.so"]);
    let from = format!("-L{}", machine.folder().display());
    let flags = ["-Wl,--no-as-needed", &from, "-lneeded"];
    let backend = compiled(machine.folder(), "backend.c", "libincomplete.so", &flags);
    fs::remove_file(needed).unwrap();
    backend
}

#[test]
fn what_the_loader_says_of_a_backend_tells_a_symbol_from_a_file() {
    let Some(machine) = Machine::new() else { return };
    let lacks = compiled(machine.folder(), "backend.c", "liblacks.so", &["-DLACKS"]);
    let symbol = image(&machine, 0o755, &lacks);
    let file = image(&machine, 0o711, &backend_without_its_library(&machine));
    let symbol = || {
        concluded("a backend that needs a function nobody has", machine.preflight(&[]).env("PATH", &symbol))
    };
    let file = || {
        concluded(
            "a backend that needs a library that is not there",
            machine.preflight(&[]).env("PATH", &file),
        )
    };
    let (symbol_id, file_id) = ("backend-undefined-symbol", "backend-runtime-library-missing");
    row(symbol_id, file_id, &symbol(), &file());
    row(file_id, symbol_id, &file(), &symbol());
}

#[test]
fn a_silent_container_with_a_privileged_program_is_explained() {
    let Some(machine) = Machine::new() else { return };
    let backend = compiled(machine.folder(), "backend.c", "libwhole.so", &[]);
    let privileged = image(&machine, 0o4755, &backend);
    let plain = image(&machine, 0o755, &backend);
    let whole = |path| {
        let mut command = machine.preflight(&[]);
        command.env("PATH", path);
        command
    };
    let said = silent("no record, and Ollama's program is set-user-id", &mut whole(&privileged));
    let other = silent("no record, and nothing special about the program", &mut whole(&plain));
    row("secure-mode-loader", "recorder-not-loaded", &said, &other);
}

#[test]
fn a_layer_that_replaces_functions_of_the_c_library_explains_what_nothing_else_does() {
    let Some(machine) = Machine::new() else { return };
    let empty = compiled(machine.folder(), "driver.c", "libcuda.so.1", &[]);
    let crashes = compiled(machine.folder(), "driver.c", "libcrash.so", &["-DCRASH"]);
    let other = compiled(machine.folder(), "interposer.c", "libshare.so", &["-DHARMLESS"]);
    let preload = format!("{}:{}", artefact("shim/libcuda.so.1").unwrap().display(), other.display());
    let with = |machine: &Machine| {
        let mut command = machine.preflight(&[]);
        command.env("LD_PRELOAD", &preload).env("PATH", "/usr/bin:/bin");
        command
    };
    let machine = machine.with_driver(&empty);
    let said = concluded("a driver without a device, and a preload that replaces read", &mut with(&machine));
    let machine = machine.with_driver(&crashes);
    let crashed = concluded("a driver that crashes, and the same preload", &mut with(&machine));
    row("libc-interposer-present", "foreign-shim-fault", &said, &crashed);
}

#[test]
fn a_layer_that_changes_the_drivers_version_is_found_out_by_nvidias_runtime() {
    let Some(machine) = Machine::new() else { return };
    if crate::common::product("ollama/lib/ollama/cuda_v13").is_none() {
        return;
    }
    let driver = artefact("simulator/libcuda.so.1").unwrap();
    let define = format!("-DDRIVER=\"{}\"", driver.display());
    let layer = |name, flags: &[&str]| compiled(machine.folder(), "layer.c", name, flags);
    let changes = layer("liblayer.so", &[&define, "-ldl"]);
    let honest = layer("libhonest.so", &[&define, "-DHONEST", "-ldl"]);
    let machine = machine.with_driver(&changes);
    let said = concluded("a layer that tells another driver version", &mut machine.preflight(&[]));
    let machine = machine.with_driver(&honest);
    let whole = Told::of(&machine.preflight(&[]).output().unwrap());
    assert!(whole.verdict.is_none(), "a layer that changes nothing does no harm: {:#?}", whole.verdict);
    let Some(machine) = Machine::new() else { return };
    let refused = "refuse-table=integrity-check:801";
    let mut command = machine.preflight(&[]);
    let refusing = concluded("no layer, and a table is refused", command.env("FIRSTLIGHT_SIMULATE", refused));
    row("integrity-check-failed", "export-table-refused", &said, &refusing);
}

#[test]
fn two_devices_that_say_that_they_are_one_are_found() {
    let Some(machine) = Machine::new() else { return };
    let one = "GPU-6f1c1b54-0000-5000-8000-000000000000";
    let twice = machine.with_second_device(one, "00000000:42:00.0");
    let said = concluded("two devices with one UUID", &mut twice.preflight(&[]));
    let both = twice.with_second_device("GPU-6f1c1b54-0000-5000-8000-000000000001", "00000000:42:00.0");
    let hidden =
        concluded("two devices, and both hidden", both.preflight(&[]).env("CUDA_VISIBLE_DEVICES", "-1"));
    row("device-identity-inconsistent", "hidden-by-env", &said, &hidden);
}
