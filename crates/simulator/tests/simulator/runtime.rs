//! NVIDIA's own runtime, unmodified, on the virtual driver alone: there is no shim in these processes.

use crate::common::{Machine, compiled, product, said};
use std::path::{Path, PathBuf};

/// The runtimes that were fetched.
pub(crate) fn runtimes() -> Vec<PathBuf> {
    let all =
        ["12.8/libcudart.so.12", "12.9/libcudart.so.12", "13.0/libcudart.so.13", "13.5/libcudart.so.13"];
    all.into_iter().filter_map(|runtime| product(&format!("cudart/lib/{runtime}"))).collect()
}

/// The walk through the runtime; `count` alone ends it after `cudaGetDeviceCount`.
pub(crate) fn walk(machine: &Machine, runtime: &Path, visible: Option<&str>) -> String {
    let mut command = machine.program(&compiled("runtime.c"));
    command.arg(runtime);
    if let Some(visible) = visible {
        command.env("CUDA_VISIBLE_DEVICES", visible);
    }
    said(&command.output().unwrap())
}

#[test]
fn every_runtime_computes_with_memory_streams_events_and_graphs() {
    for runtime in runtimes() {
        let expected = "count=0 devices=1 (no error)\nversion=13000\ndevice 0 capability 8.6 at 0000:20:00.0\n\
            total=8589934592 used=0\ntwo allocations took 2097152\nround trip same\nset 7 7\ntoo much=2\n\
            not ours=1\nrows same\ntime passes forward\ncaptured work waits\nlaunched graph copied 7\n\
            left over 0\nafter a reset 0\n";
        assert_eq!(walk(&Machine::of(1), &runtime, None), expected, "{}", runtime.display());
    }
}

#[test]
fn every_runtime_enumerates_sixteen_devices() {
    for runtime in runtimes() {
        let told = walk(&Machine::of(16), &runtime, None);
        assert!(told.starts_with("count=0 devices=16 "), "{}: {told}", runtime.display());
        assert!(told.contains("device 15 capability 8.6 at 0000:2F:00.0"), "{}: {told}", runtime.display());
    }
}

#[test]
fn hidden_devices_are_not_enumerated() {
    for runtime in runtimes() {
        let told = walk(&Machine::of(4), &runtime, Some("2,GPU-00000001-0000-5000-8000-00000000000a"));
        assert!(told.starts_with("count=0 devices=2 "), "{}: {told}", runtime.display());
        assert!(told.contains("device 0 capability 8.6 at 0000:22:00.0"), "{}: {told}", runtime.display());
        let told = walk(&Machine::of(4), &runtime, Some("-1"));
        assert!(told.starts_with("count=100 "), "{}: {told}", runtime.display());
    }
}
