//! NVIDIA's own runtime behind the shim. These tests need what `make deps` fetches, and one of them the simulator that
//! `make artefacts` builds; where that is missing they say so and end.

use crate::common::{Place, about, compiled, lines, shim, told};
use firstlight_contract::record::{Caller, Kind};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The runtimes that were fetched, with their major versions.
fn runtimes() -> Vec<(u32, PathBuf)> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/firstlight"));
    let cache = std::env::var_os("FIRSTLIGHT_CACHE").map(PathBuf::from).or_else(home).unwrap();
    let found: Vec<_> = [("12.8", 12), ("12.9", 12), ("13.0", 13), ("13.5", 13)]
        .into_iter()
        .map(|(version, major)| {
            (major, cache.join(format!("current/cudart/lib/{version}/libcudart.so.{major}")))
        })
        .filter(|(_, path)| path.exists())
        .collect();
    if found.is_empty() {
        eprintln!("skipped: no runtime below {} (make deps)", cache.display());
    }
    found
}

fn program() -> PathBuf {
    compiled("runtime", "runtime.c", "gcc", &["-ldl"])
}

fn ask(place: &Place, runtime: &Path) -> String {
    lines(&place.program(&program()).arg(runtime).output().unwrap()).concat()
}

#[test]
fn without_a_driver_the_runtime_says_what_it_says_without_the_shim() {
    for (_, runtime) in runtimes() {
        let bare = lines(&Command::new(program()).arg(&runtime).output().unwrap()).concat();
        assert_eq!(bare, "count=35 devices=-1 version=0 0", "{}", runtime.display());
        let place = Place::without_driver();
        assert_eq!(ask(&place, &runtime), bare, "{}", runtime.display());
        let chain = place.chain();
        about(&chain, Kind::DriverMissing, "");
        assert!(chain.len() < 10, "four hundred lookups without a driver say nothing: {}", chain.len());
    }
}

#[test]
fn a_driver_of_cuda_12_under_a_runtime_of_cuda_13_ends_with_35_and_its_version() {
    let old = compiled("old-runtime.so", "driver.c", "gcc", &["-shared", "-fPIC", "-DVERSION=12080", "-ldl"]);
    for (_, runtime) in runtimes().into_iter().filter(|(major, _)| *major == 13) {
        let place = Place::with_driver(&old);
        assert_eq!(ask(&place, &runtime), "count=35 devices=-1 version=0 12080", "{}", runtime.display());
        let chain = place.chain();
        assert_eq!(told(about(&chain, Kind::CallReturned, "cuDriverGetVersion")).3, 12080);
        assert!(!chain.iter().any(|entry| told(entry).1 == "cuInit"), "cuInit is not reached");
    }
}

#[test]
fn every_runtime_comes_up_on_the_simulator_behind_the_shim() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let artefacts =
        std::env::var_os("FIRSTLIGHT_ARTEFACTS").map_or_else(|| root.join("build"), PathBuf::from);
    let Ok(driver) = artefacts.join("simulator/libcuda.so.1").canonicalize() else {
        eprintln!("skipped: no simulator in {} (make artefacts)", artefacts.display());
        return;
    };
    for (_, runtime) in runtimes() {
        let place = Place::simulated(&driver);
        let said = ask(&place, &runtime);
        assert!(said.starts_with("count=0 devices=1 "), "{}: {said}", runtime.display());
        let chain = place.chain();
        let init = about(&chain, Kind::CallReturned, "cuInit");
        assert_eq!((init.record.result, init.record.caller), (0, Caller::Runtime));
        assert_eq!(told(about(&chain, Kind::CallReturned, "cuDeviceGetCount")).3, 1);
        about(&chain, Kind::TableAsked, "cuGetExportTable");
    }
}

#[test]
fn the_runtime_finds_the_preloaded_shim_and_nothing_else() {
    for (_, runtime) in runtimes() {
        let place = Place::without_driver();
        let mut traced = place.program(&program());
        let output = traced.arg(&runtime).env("LD_DEBUG", "files").output().unwrap();
        let trace = String::from_utf8_lossy(&output.stderr).into_owned();
        let opened =
            trace.lines().filter(|line| line.contains("libcuda.so.1") && line.contains("calling init"));
        let opened: Vec<_> = opened.collect();
        assert_eq!(opened.len(), 1, "{opened:?}");
        assert!(opened[0].contains(shim().to_str().unwrap()), "{opened:?}");
    }
}
