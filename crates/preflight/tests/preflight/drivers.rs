//! Drivers, whole and broken, with NVIDIA's runtime and ggml's backend.

use crate::common::{Machine, compiled, product};
use firstlight_contract::preflight::{Document, MAX_BYTES, Outcome, Probe, Report};
use std::time::{Duration, Instant};

#[test]
fn a_whole_driver_passes_every_stage_and_so_do_backend_and_runtime() {
    let Some(machine) = Machine::new() else { return };
    let told = machine.told(&[]);
    for probe in Probe::DRIVER.into_iter().chain([Probe::Nvml]) {
        assert_eq!(told.outcome(probe), Outcome::Ok, "{:#?}", told.report);
    }
    assert_eq!(told.only(Probe::Count).detail.as_str(), "1");
    assert_eq!(told.only(Probe::Query).subject.as_str(), "SIM-A40");
    let uuid = "GPU-6f1c1b54-0000-5000-8000-000000000000";
    let query = told.only(Probe::Query).detail.as_str();
    assert_eq!(query, format!("{uuid} 0000:41:00.0 capability 8.6, 51539607552 bytes"));
    assert_eq!(told.only(Probe::Memory).detail.as_str(), "51539607552/51539607552");
    assert_eq!(told.code, Some(0));
    assert_eq!(told.report.of(Probe::Device).count(), 0, "a simulated GPU has no device nodes");
    if product("ollama/lib/ollama/cuda_v13").is_some() {
        assert_eq!(told.outcome(Probe::Load), Outcome::Ok, "{:#?}", told.report);
        assert_eq!(
            (told.outcome(Probe::RuntimeCount), told.only(Probe::RuntimeCount).detail.as_str()),
            (Outcome::Ok, "1")
        );
        assert_eq!(told.only(Probe::Ollama).detail.as_str(), "0.33.1");
    }
}

#[test]
fn each_fault_on_order_is_found_at_its_stage() {
    let Some(machine) = Machine::new() else { return };
    let rows = [
        ("init-returns=999", Probe::Init, Outcome::Code(999), "cuInit"),
        ("init-returns=803", Probe::Init, Outcome::Code(803), "cuInit"),
        ("query-returns=999", Probe::Count, Outcome::Code(999), "cuDeviceGetCount"),
        ("context-returns=2", Probe::Context, Outcome::Code(2), "cuDevicePrimaryCtxRetain"),
        ("allocate-returns=2", Probe::Allocate, Outcome::Code(2), "cuMemAlloc_v2"),
        ("launch-returns=719", Probe::Launch, Outcome::Code(719), "cuLaunchKernel"),
    ];
    for (fault, probe, outcome, subject) in rows {
        let told = machine.faulty(fault, &[]);
        let finding = told.only(probe);
        assert_eq!((finding.outcome, finding.subject.as_str()), (outcome, subject), "{fault}");
        told.stopped_at(probe);
        let before = Probe::DRIVER.into_iter().filter(|other| *other < probe);
        assert!(
            before.into_iter().all(|other| told.outcome(other) == Outcome::Ok),
            "{fault}: {:#?}",
            told.report
        );
    }
}

#[test]
fn a_runtime_that_refuses_an_old_driver_says_so_in_its_own_words() {
    let (Some(machine), Some(_)) = (Machine::new(), product("ollama/lib/ollama/cuda_v13")) else { return };
    let told = machine.faulty("driver-version=11080", &[]);
    assert_eq!(told.only(Probe::Version).detail.as_str(), "11080");
    let runtime = told.only(Probe::RuntimeCount);
    assert_eq!(runtime.outcome, Outcome::Code(35));
    assert_eq!(runtime.detail.as_str(), "CUDA driver version is insufficient for CUDA runtime version");
}

#[test]
fn a_driver_without_tables_does_all_but_what_the_runtime_needs() {
    let Some(machine) = Machine::new() else { return };
    let told = machine.faulty("no-export-table", &[]);
    let table = told.only(Probe::Table);
    assert_eq!((table.outcome, table.subject.as_str()), (Outcome::Absent, "cuGetExportTable"));
    assert_eq!(told.outcome(Probe::Launch), Outcome::Ok);
    if product("ollama/lib/ollama/cuda_v13").is_some() {
        assert_eq!(told.outcome(Probe::RuntimeCount), Outcome::Code(36));
    }
    let told = machine.faulty("refuse-table=tools-tls:801", &[]);
    let tables: Vec<String> = told.report.of(Probe::Table).map(ToString::to_string).collect();
    assert!(tables[0].starts_with("table\tcode:801\t0\ttools-tls"), "{tables:?}");
    assert_eq!(tables.len(), 2, "{tables:?}");
    // Only the runtime 13.5 asks for this one: which runtime there is decides.
    let told = machine.faulty("refuse-table=tools-context:801", &[]);
    let table = told.only(Probe::Table);
    assert_eq!((table.outcome, table.detail.as_str()), (Outcome::Ok, "6 tables, not tools-context"));
    assert!(told.report.of(Probe::RuntimeCount).all(|finding| finding.outcome == Outcome::Ok));
}

#[test]
fn a_driver_that_hangs_is_killed_and_named_in_time() {
    let Some(machine) = Machine::new() else { return };
    let begun = Instant::now();
    let told = machine.faulty("hang=cuInit:60", &["--timeout", "1"]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let init = told.only(Probe::Init);
    assert_eq!((init.outcome, init.subject.as_str()), (Outcome::TimedOut, "cuInit"));
    assert!((900..5000).contains(&init.millis), "{init:?}");
    told.stopped_at(Probe::Init);
    // The runtime would hang as long.
    assert!(told.report.of(Probe::RuntimeCount).all(|finding| finding.outcome == Outcome::Skipped));
}

#[test]
fn a_driver_that_crashes_leaves_what_was_found_before() {
    let Some(machine) = Machine::new() else { return };
    let driver = compiled(machine.folder(), "driver.c", "libcuda.so.1", &["-DCRASH"]);
    let told = machine.with_driver(&driver).told(&[]);
    assert_eq!(told.only(Probe::Version).detail.as_str(), "13000");
    let init = told.only(Probe::Init);
    assert_eq!((init.outcome, init.subject.as_str()), (Outcome::Signal(11), "cuInit"));
    told.stopped_at(Probe::Init);
}

#[test]
fn a_driver_that_ends_the_process_is_told_from_one_that_works() {
    let Some(machine) = Machine::new() else { return };
    let driver = compiled(machine.folder(), "driver.c", "libcuda.so.1", &["-DEXIT"]);
    let told = machine.with_driver(&driver).told(&[]);
    assert_eq!(told.outcome(Probe::Init), Outcome::Failed);
    assert!(told.only(Probe::Init).detail.as_str().starts_with("the process ended with code 0"));
}

#[test]
fn a_driver_that_prints_findings_is_not_believed_and_empty_answers_are_seen() {
    let Some(machine) = Machine::new() else { return };
    let driver = compiled(machine.folder(), "driver.c", "libcuda.so.1", &["-DPRINT"]);
    let told = machine.with_driver(&driver).told(&[]);
    assert_eq!(told.outcome(Probe::Init), Outcome::Ok);
    let tables: Vec<_> = told.report.of(Probe::Table).map(|finding| finding.detail.as_str()).collect();
    assert!(tables.iter().all(|detail| *detail == "success, and no table"), "{tables:?}");
    let count = told.only(Probe::Count);
    assert_eq!((count.outcome, count.detail.as_str()), (Outcome::Ok, "0"));
    told.stopped_at(Probe::Count);
}

#[test]
fn without_any_driver_it_is_absent_and_the_device_nodes_are_told() {
    let Some(machine) = Machine::new() else { return };
    let mut command = machine.preflight(&[]);
    command.env_remove("LD_PRELOAD").env_remove("LD_LIBRARY_PATH").env_remove("FIRSTLIGHT_GRANT");
    let told = crate::common::Told::of(&command.output().unwrap());
    if std::path::Path::new("/dev/nvidiactl").exists() {
        return;
    }
    assert_eq!(told.outcome(Probe::Open), Outcome::Absent);
    assert_eq!(told.outcome(Probe::Driver), Outcome::Absent);
    let control = told.report.of(Probe::Device).next().unwrap();
    assert_eq!((control.outcome, control.subject.as_str()), (Outcome::Errno(2), "/dev/nvidiactl"));
}

/// The cause and the exit code in block mode.
fn blocked(machine: &Machine, fault: &str) -> (Option<String>, Option<i32>) {
    let output = machine.preflight(&["--mode", "block"]).env("FIRSTLIGHT_SIMULATE", fault).output().unwrap();
    let document: Document = serde_json::from_slice(&output.stdout).unwrap();
    (document.verdict().map(|verdict| verdict.cause), output.status.code())
}

#[test]
fn only_a_certain_cause_keeps_a_pod_from_starting() {
    let Some(machine) = Machine::new() else { return };
    let cause = |cause: &str| Some(cause.to_owned());
    assert_eq!(blocked(&machine, "no-export-table"), (cause("export-table-missing"), Some(1)));
    assert_eq!(blocked(&machine, "init-returns=999"), (cause("driver-init-failed"), Some(0)));
    assert_eq!(blocked(&machine, "hang=cuInit:0"), (None, Some(0)));
    // The runtime 13.0, which the image has, does without this table.
    assert_eq!(blocked(&machine, "refuse-table=tools-context:801"), (None, Some(0)));
}

#[test]
fn the_report_fits_a_termination_message_and_reads_back() {
    let Some(machine) = Machine::new() else { return };
    let report = machine.folder().join("report");
    let told =
        machine.faulty("init-returns=999", &["--mode", "report", "--report", report.to_str().unwrap()]);
    let text = std::fs::read_to_string(report).unwrap();
    assert!(text.len() <= MAX_BYTES);
    assert_eq!(Report::parse(&text), Some(told.report));
}
