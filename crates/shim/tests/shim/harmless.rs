//! A preload never hurts: whatever the process does to itself, it ends as it would without the shim.

use crate::common::{Place, client, compiled, driver, lines};
use std::path::{Path, PathBuf};
use std::process::Command;

const WHOLE_WAY: [&str; 5] = ["version", "init", "count", "context", "memory"];
const ALL_WELL: [&str; 5] = ["version=13050", "init=0", "count=2", "context=0", "memory=3000"];

/// Runs the steps with the client's output in a file, so that it may close its descriptors.
fn run_into_file(place: &Place, steps: &[&str]) -> Vec<String> {
    let out = place.folder().join("out");
    let mut command = place.program(&client());
    let nothing = lines(&command.env("CLIENT_OUT", &out).args(steps).output().unwrap());
    assert!(nothing.is_empty(), "the shim is silent: {nothing:?}");
    std::fs::read_to_string(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn static_programs_do_not_notice_it() {
    let glibc = compiled("static-glibc", "client.c", "gcc", &["-static", "-w"]);
    let musl = compiled("static-musl", "client.c", "musl-gcc", &["-static"]);
    for program in [glibc, musl] {
        let place = Place::with_driver(&driver());
        assert_eq!(lines(&place.program(&program).arg("sleep").output().unwrap()), ["sleep=0"]);
        assert!(place.entries().is_empty());
    }
}

#[test]
fn programs_of_musl_load_it() {
    let musl = compiled("dynamic-musl", "client.c", "musl-gcc", &[]);
    let place = Place::with_driver(&driver());
    assert_eq!(lines(&place.program(&musl).arg("sleep").output().unwrap()), ["sleep=0"]);
}

/// A sanitizer's runtime aborts at a deep-bound dlopen.
#[test]
fn hosts_built_with_a_sanitizer_open_the_driver() {
    for sanitizer in ["address", "thread"] {
        let flag = format!("-fsanitize={sanitizer}");
        let client = compiled(sanitizer, "client.c", "gcc", &[&flag, "-ldl", "-lpthread"]);
        let place = Place::with_driver(&driver());
        let mut command = place.program(&client);
        command.env("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0");
        assert_eq!(lines(&command.args(WHOLE_WAY).output().unwrap()), ALL_WELL);
        place.chain();
    }
}

#[test]
fn shells_and_tools_run_as_ever() {
    let place = Place::with_driver(&driver());
    let mut shell = place.program(Path::new("/bin/sh"));
    shell.args(["-c", "echo one | cat; ls / >/dev/null && echo two"]);
    assert_eq!(lines(&shell.output().unwrap()), ["one", "two"]);
}

#[test]
fn without_a_grant_it_is_silent_and_does_nothing() {
    let output = Command::new("/bin/true").env("LD_PRELOAD", crate::common::shim()).output().unwrap();
    assert!(lines(&output).is_empty());
}

#[test]
fn closed_standard_streams_receive_no_record() {
    let place = Place::with_driver(&driver());
    let said = run_into_file(&place, &["close-stdio", "hold", "init", "context"]);
    assert_eq!(said, ["close-stdio=0", "hold=0", "init=0", "context=0"]);
    assert_eq!(std::fs::read(place.folder().join("held")).unwrap(), b"", "descriptor 0 is the host's");
    assert!(place.chain().len() > 3);
}

#[test]
fn a_program_that_is_started_with_closed_standard_streams_keeps_them_closed() {
    let place = Place::with_driver(&driver());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "exec env LD_PRELOAD=$CLIENT_SHIM \"$0\" hold init <&- >&- 2>&-"]).arg(client());
    let grant = place.folder().join("grant");
    shell.env("CLIENT_SHIM", crate::common::shim()).env("FIRSTLIGHT_GRANT", grant);
    shell.env("CLIENT_DIR", place.folder()).env("CLIENT_OUT", place.folder().join("out"));
    assert!(shell.status().unwrap().success());
    assert_eq!(std::fs::read(place.folder().join("held")).unwrap(), b"");
    place.chain();
}

#[test]
fn a_host_that_closes_all_descriptors_loses_nothing() {
    let place = Place::with_driver(&driver());
    // The client's own output would be closed, too: what happened is read from the records.
    let mut command = place.program(&client());
    command.args(["close-all", "hold", "init", "context", "memory"]);
    assert_eq!(
        lines(&command.output().unwrap()),
        ["close-all=0", "hold=0", "init=0", "context=0", "memory=3000"]
    );
    assert_eq!(std::fs::read(place.folder().join("held")).unwrap(), b"");
    assert!(place.chain().len() > 3);
}

#[test]
fn a_limit_on_the_size_of_files_does_not_kill_the_process() {
    let place = Place::with_driver(&driver());
    let said = place.run(&[&["limit:512"], WHOLE_WAY.as_slice()].concat());
    assert_eq!(said[1..], ALL_WELL);
    let bytes = std::fs::metadata(place.folder().join("records")).unwrap().len();
    assert!(bytes <= 512, "{bytes}");
    // What fits is whole, and what does not leaves a gap that can be seen: a long path does not fit, a call does.
    let numbers: Vec<_> = place.entries().iter().map(|entry| entry.record.sequence).collect();
    assert!(numbers.first() == Some(&0) && numbers.is_sorted(), "{numbers:?}");
}

#[test]
fn late_opens_and_closes_leave_the_process_whole() {
    let place = Place::with_driver(&driver());
    let mut command = place.program(&client());
    command.env_remove("LD_PRELOAD").args(["forget"]);
    assert_eq!(lines(&command.output().unwrap()), ["forget=0"]);
}

#[test]
fn a_record_file_that_cannot_be_written_costs_nothing() {
    let records: [PathBuf; 4] =
        ["/nowhere/records".into(), "/proc/self/records".into(), "/dev/full".into(), "/".into()];
    for records in records {
        let place = Place::with_driver(&driver()).recording_into(records, &driver());
        assert_eq!(place.run(&WHOLE_WAY), ALL_WELL);
    }
}

#[test]
fn a_pipe_without_a_reader_in_place_of_the_record_file_does_not_stop_the_process() {
    let place = Place::with_driver(&driver());
    let pipe = place.folder().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let place = place.recording_into(pipe, &driver());
    assert_eq!(place.run(&WHOLE_WAY), ALL_WELL);
}

#[test]
fn a_link_in_place_of_the_record_file_is_not_followed() {
    let place = Place::with_driver(&driver());
    let (link, target) = (place.folder().join("link"), place.folder().join("target"));
    std::fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let place = place.recording_into(link, &driver());
    assert_eq!(place.run(&WHOLE_WAY), ALL_WELL);
    assert_eq!(std::fs::read(target).unwrap(), b"");
}

#[test]
fn a_full_disk_costs_records_only() {
    let place = Place::with_driver(&driver());
    std::fs::create_dir(place.folder().join("disk")).unwrap();
    let records = place.folder().join("disk/records");
    let place = place.recording_into(records, &driver());
    let script = "mount -t tmpfs -o size=8k none $DISK; touch $DISK/records; \
                  dd if=/dev/zero of=$DISK/rest bs=4k 2>/dev/null || true; LD_PRELOAD=$SHIM \"$@\"; test ! -s $DISK/records";
    if let Some(said) = place.in_a_mount_namespace(script, &WHOLE_WAY) {
        assert_eq!(said, ALL_WELL);
    }
}

#[test]
fn a_read_only_disk_costs_records_only() {
    let place = Place::with_driver(&driver());
    std::fs::create_dir(place.folder().join("disk")).unwrap();
    let records = place.folder().join("disk/records");
    let place = place.recording_into(records, &driver());
    let script = "mount -t tmpfs none $DISK; touch $DISK/records; mount -o remount,ro $DISK; LD_PRELOAD=$SHIM \"$@\"; test ! -s $DISK/records";
    if let Some(said) = place.in_a_mount_namespace(script, &WHOLE_WAY) {
        assert_eq!(said, ALL_WELL);
    }
}
