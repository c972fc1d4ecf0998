//! Images of other C libraries, as root directories: the static half reports what it can and never hangs.

use crate::common::{Told, compiled, product, programs};
use firstlight_contract::preflight::{Outcome, Probe};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The preflight in a root directory with these trees copied into it; `None`, said, without root or the products.
fn in_image(trees: &[&str]) -> Option<Told> {
    let root = tempfile::tempdir().unwrap();
    for tree in trees {
        let from = product(tree)?;
        let copied = Command::new("cp").arg("-R").arg(from.join(".")).arg(root.path()).status().unwrap();
        assert!(copied.success());
    }
    let bin = root.path().join("opt/firstlight/bin");
    fs::create_dir_all(&bin).unwrap();
    for name in ["firstlight-preflight", "firstlight-preflight-dynamic"] {
        fs::copy(programs().join(name), bin.join(name)).unwrap();
    }
    let mut command = Command::new("chroot");
    command.arg(root.path()).args(["/opt/firstlight/bin/firstlight-preflight", "--json", "--timeout", "5"]);
    // Neither /proc nor /dev nor a shell nor a variable is there.
    let begun = Instant::now();
    let output = command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/bin").output().unwrap();
    if String::from_utf8_lossy(&output.stderr).contains("Operation not permitted") {
        eprintln!("skipped: needs the right to change the root directory");
        return None;
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
    Some(Told::of(&output))
}

fn everything_was_skipped(told: &Told, why: &str) {
    for probe in Probe::DRIVER.into_iter().chain([Probe::Nvml]) {
        let finding = told.only(probe);
        assert_eq!(finding.outcome, Outcome::Skipped, "{finding:?}");
        assert!(finding.detail.as_str().contains(why), "{finding:?}");
    }
    assert_eq!(told.code, Some(0));
}

#[test]
fn in_an_image_of_musl_the_static_half_reports_what_it_can() {
    let Some(told) = in_image(&["musl-rootfs"]) else { return };
    let libc = told.only(Probe::Libc);
    assert_eq!((libc.outcome, libc.subject.as_str(), libc.detail.as_str()), (Outcome::Ok, "musl", "1.2.3"));
    everything_was_skipped(&told, "musl");
    assert_eq!(told.outcome(Probe::Ollama), Outcome::Absent);
    assert!(told.report.of(Probe::Device).all(|finding| finding.outcome == Outcome::Errno(2)));
}

#[test]
fn in_an_empty_image_it_says_that_nothing_can_be_loaded() {
    let Some(told) = in_image(&[]) else { return };
    assert_eq!(told.outcome(Probe::Libc), Outcome::Absent);
    everything_was_skipped(&told, "no C library");
}

#[test]
fn in_an_image_of_glibc_without_a_driver_the_dynamic_half_looks_for_it() {
    let Some(told) = in_image(&["glibc-rootfs"]) else { return };
    let libc = told.only(Probe::Libc);
    assert_eq!((libc.outcome, libc.subject.as_str()), (Outcome::Ok, "glibc"));
    assert!(libc.detail.as_str().starts_with("2."), "{libc:?}");
    assert_eq!(told.outcome(Probe::Open), Outcome::Absent);
    told.stopped_at(Probe::Open);
}

#[test]
fn where_only_the_loader_of_glibc_is_there_it_says_why_programs_do_not_start() {
    let Some(from) = product("glibc-rootfs") else { return };
    let part = tempfile::tempdir().unwrap();
    fs::create_dir(part.path().join("lib64")).unwrap();
    fs::copy(from.join("lib64/ld-linux-x86-64.so.2"), part.path().join("lib64/ld-linux-x86-64.so.2"))
        .unwrap();
    let Some(told) = in_image_of(part.path()) else { return };
    everything_was_skipped(&told, "libc.so.6");
}

/// The same with one tree of this machine.
fn in_image_of(tree: &Path) -> Option<Told> {
    in_image(&[tree.to_str()?])
}

#[test]
fn what_the_image_preloads_into_every_program_is_told_with_its_place() {
    let part = tempfile::tempdir().unwrap();
    fs::create_dir(part.path().join("etc")).unwrap();
    compiled(part.path(), "driver.c", "libother.so", &[]);
    fs::write(part.path().join("etc/ld.so.preload"), "/libother.so # somebody's\n/gone.so\n").unwrap();
    let Some(told) = in_image(&["glibc-rootfs", part.path().to_str().unwrap()]) else { return };
    let preloads: Vec<String> = told.report.of(Probe::Preload).map(ToString::to_string).collect();
    let wanted = [
        "preload\tabsent\t0\t/gone.so\tcannot open shared object file (from /etc/ld.so.preload)",
        "preload\tok\t0\t/libother.so (named in /etc/ld.so.preload)",
    ];
    assert_eq!(preloads, wanted);
    // It exports the driver's functions, but is no driver to the loader.
    assert_eq!(told.outcome(Probe::Open), Outcome::Absent);
}
