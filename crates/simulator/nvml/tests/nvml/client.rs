//! A C client that is compiled against NVIDIA's headers of CUDA 12 and 13 and linked with the library.

use crate::common::{Grant, shim, simulator, uuid};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the client against the headers of this CUDA; `None` where they are not there.
fn compiled(major: u32, folder: &Path) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/firstlight"));
    let cache = std::env::var_os("FIRSTLIGHT_CACHE").map(PathBuf::from).or_else(home).unwrap();
    let headers = cache.join(format!("current/cudart/headers/{major}"));
    if !headers.join("nvml.h").exists() {
        eprintln!("skipped: no nvml.h in {} (make deps)", headers.display());
        return None;
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c");
    let output = folder.join("client");
    let mut command = Command::new("gcc");
    command.args(["-O1", "-Wall", "-Wno-deprecated-declarations", "-o"]).arg(&output).arg("-I").arg(headers);
    command.args(
        ["client.c", "system.c", "device.c", "rest.c", "driver.c", "mig.c"].map(|name| sources.join(name)),
    );
    command.arg("-L").arg(simulator()).arg(format!("-Wl,-rpath,{}", simulator().display()));
    let made = command.args(["-l:libnvidia-ml.so.1", "-ldl"]).output().unwrap();
    assert!(made.status.success(), "{command:?}: {}", String::from_utf8_lossy(&made.stderr));
    Some(output)
}

fn driver() -> String {
    simulator().join("libcuda.so.1").display().to_string()
}

/// Runs a part of the client with both headers; it must make at least so many checks.
fn run(devices: usize, environment: &[(&str, &str)], words: &[&str], least: u32) {
    run_with(&Grant::of(devices), environment, words, least);
}

fn run_with(grant: &Grant, environment: &[(&str, &str)], words: &[&str], least: u32) {
    for major in [12, 13] {
        let folder = tempfile::tempdir().unwrap();
        let Some(client) = compiled(major, folder.path()) else { continue };
        let output = grant.program(&client).args(words).envs(environment.iter().copied()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{:?} {said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let checks: u32 = said.split_whitespace().next().unwrap().parse().unwrap();
        assert!(checks >= least, "only {said}");
    }
}

#[test]
fn one_device_answers_everything_as_the_header_says() {
    run(1, &[], &["ask", "1"], 270);
}

#[test]
fn sixteen_devices_do_whatever_cuda_hides() {
    run(16, &[("CUDA_VISIBLE_DEVICES", "3")], &["ask", "16"], 2000);
}

#[test]
fn memory_in_use_is_what_the_driver_says() {
    run(1, &[], &["memory", "1", &driver()], 60);
}

#[test]
fn memory_in_use_is_that_of_the_device_whatever_number_cuda_gives_it() {
    let words = ["memory", "16", &driver(), "5"];
    run(16, &[("CUDA_VISIBLE_DEVICES", "5,1")], &words, 60);
}

#[test]
fn a_lost_device_is_lost_to_nvml_too_and_an_event_tells() {
    run(2, &[("FIRSTLIGHT_SIMULATE", "lost-after-launches=1")], &["loss", "2", &driver()], 25);
}

#[test]
fn a_driver_version_on_order_is_nvmls_too() {
    let environment = [("FIRSTLIGHT_SIMULATE", "driver-version=11080"), ("CLIENT_VERSION", "11080")];
    run(1, &environment, &["system", "1"], 20);
}

#[test]
fn a_function_that_shall_be_missing_is_not_found() {
    run(1, &[("FIRSTLIGHT_SIMULATE", "no-function=nvmlDeviceGetFanSpeed")], &["missing", "1"], 8);
}

/// The second instance computes with one slice of three, beside the third.
const DIVIDED: &str = "7/0:1g.10gb,1/0:1c.3g.40gb,1/1:2c.3g.40gb";

#[test]
fn a_divided_card_has_its_instances_and_the_others_say_that_they_have_none() {
    run_with(&Grant::divided(DIVIDED), &[], &["divided", "2"], 110);
}

#[test]
fn a_process_is_in_the_instance_that_was_chosen_and_memory_in_use_is_counted_there() {
    for (number, place) in [("0", "7/0"), ("1", "1/0")] {
        let name = format!("MIG-{}/{place}", uuid(0));
        let words = ["instance", "2", &driver(), number];
        run_with(&Grant::divided(DIVIDED), &[("CUDA_VISIBLE_DEVICES", &name)], &words, 30);
    }
}

/// The usual case in a container: both libraries are the shim's, and behind it the driver is opened by its path.
#[test]
fn behind_the_shim_nvml_finds_the_driver_of_this_process() {
    let (preload, cuda) = (shim().join("libcuda.so.1"), shim().join("libcuda.so.1").display().to_string());
    let environment = [("LD_PRELOAD", preload.to_str().unwrap())];
    run(1, &environment, &["memory", "1", &cuda], 60);
    let environment = [environment[0], ("FIRSTLIGHT_SIMULATE", "lost-after-launches=1")];
    run(2, &environment, &["loss", "2", &cuda], 25);
}
