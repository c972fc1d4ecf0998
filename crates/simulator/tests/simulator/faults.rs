//! Faults on order, as NVIDIA's own runtime sees them.

use crate::common::{Machine, compiled, driver, said};
use crate::runtime::{runtimes, walk};
use std::time::{Duration, Instant};

/// The first line of the walk for this fault, on each runtime of these major versions.
fn ends_with(fault: &str, majors: &[&str], first_line: &str) {
    for runtime in runtimes() {
        if majors.iter().any(|major| runtime.to_string_lossy().ends_with(major)) {
            let told = walk(&Machine::ordered(fault), &runtime, None);
            assert_eq!(told.lines().next(), Some(first_line), "{fault} on {}", runtime.display());
        }
    }
}

const ALL: [&str; 2] = ["12", "13"];

#[test]
fn a_code_of_cu_init_comes_through() {
    for code in [3, 34, 100, 304, 801, 802, 803, 804, 999] {
        let machine = Machine::ordered(&format!("init-returns={code}"));
        for runtime in runtimes() {
            assert!(
                walk(&machine, &runtime, None).starts_with(&format!("count={code} ")),
                "{}",
                runtime.display()
            );
        }
    }
}

#[test]
fn a_failing_query_ends_in_initialization_error() {
    ends_with("query-returns=999", &ALL, "count=3 devices=-1 (initialization error)");
}

#[test]
fn a_driver_without_export_tables_ends_in_36() {
    let line = "count=36 devices=-1 (API call is not supported in the installed CUDA driver)";
    ends_with("no-export-table", &ALL, line);
}

#[test]
fn the_code_of_a_refused_table_comes_through() {
    ends_with("refuse-table=cudart-interface:500", &ALL, "count=500 devices=-1 (named symbol not found)");
    ends_with("refuse-table=integrity-check:801", &ALL, "count=801 devices=-1 (operation not supported)");
}

#[test]
fn a_table_that_no_runtime_needs_may_be_refused() {
    ends_with("refuse-table=optional-12-9:1", &ALL, "count=0 devices=1 (no error)");
}

#[test]
fn a_missing_function_ends_in_its_own_code() {
    ends_with(
        "no-function=cuInit",
        &ALL,
        "count=36 devices=-1 (API call is not supported in the installed CUDA driver)",
    );
    ends_with("no-function=cuDeviceGetUuid", &["12"], "count=3 devices=-1 (initialization error)");
}

#[test]
fn an_old_driver_ends_in_35_and_a_driver_of_cuda_12_serves_12() {
    let line = "count=35 devices=-1 (CUDA driver version is insufficient for CUDA runtime version)";
    ends_with("driver-version=11080", &ALL, line);
    ends_with("driver-version=12080", &["13"], line);
    ends_with("driver-version=12080", &["12"], "count=0 devices=1 (no error)");
}

#[test]
fn what_fails_later_leaves_enumeration_whole() {
    for runtime in runtimes() {
        let told = walk(&Machine::ordered("context-returns=2"), &runtime, None);
        assert!(told.starts_with("count=0 devices=1 "), "{}: {told}", runtime.display());
        assert!(
            told.contains("cudaSetDevice(0)=2") || told.contains("cudaMemGetInfo(&before, &total)=2"),
            "{told}"
        );
        let told = walk(&Machine::ordered("allocate-returns=2"), &runtime, None);
        assert!(told.contains("cudaMalloc(&one, BYTES)=2"), "{}: {told}", runtime.display());
        let told = walk(&Machine::ordered("memory-info-returns=801"), &runtime, None);
        assert!(told.contains("cudaMemGetInfo(&before, &total)=801"), "{}: {told}", runtime.display());
    }
}

#[test]
fn a_launch_returns_what_was_ordered() {
    let machine = Machine::ordered("launch-returns=719");
    let output = machine.program(&compiled("work.c")).arg(driver()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\nlaunch=719\n"));
}

#[test]
fn a_module_is_refused_as_ordered() {
    let machine = Machine::ordered("load-returns=222");
    let output = machine.program(&compiled("work.c")).arg(driver()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\nan image that is none=222\n"));
}

#[test]
fn a_device_falls_off_the_bus_after_its_launches() {
    let machine = Machine::ordered("lost-after-launches=1");
    let output = machine.program(&compiled("work.c")).arg(driver()).output().unwrap();
    // The first launch works; from the second on everything says 999.
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("\nlaunch=0\nlaunch of an empty grid=999\n"), "{told}");
    assert!(told.contains("launch in no stream=999\n"), "{told}");
}

#[test]
fn a_hang_lasts_as_long_as_ordered() {
    let Some(runtime) = runtimes().pop() else { return };
    let begun = Instant::now();
    assert!(walk(&Machine::ordered("hang=cuInit:1"), &runtime, None).starts_with("count=0 "));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn without_a_simulated_grant_an_order_is_not_obeyed() {
    let Some(runtime) = runtimes().pop() else { return };
    let mut command = Machine::ordered("init-returns=999").program(&compiled("runtime.c"));
    let output = command.arg(runtime).env_remove("FIRSTLIGHT_GRANT").output().unwrap();
    assert!(said(&output).starts_with("count=0 devices=1 "));
}
