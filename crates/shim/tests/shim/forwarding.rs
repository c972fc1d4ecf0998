//! Calls arrive at the driver as they were made, and answers come back as they were given.

use crate::common::{Place, about, compiled, driver, told};
use firstlight_contract::record::{Caller, Kind};

#[test]
fn answers_are_the_drivers() {
    let place = Place::with_driver(&driver());
    let said = place.run(&["version", "init", "count", "context", "memory", "table"]);
    assert_eq!(said, ["version=13050", "init=0", "count=2", "context=0", "memory=3000", "table=16"]);
}

#[test]
fn fifteen_arguments_arrive_on_the_first_call_and_on_later_ones() {
    let place = Place::with_driver(&driver());
    assert_eq!(place.run(&["wide", "wide"]), ["wide=534", "wide=534"]);
}

#[test]
fn many_threads_may_race_for_the_first_call() {
    for _ in 0..20 {
        let place = Place::with_driver(&driver());
        assert_eq!(place.run(&["race"]), ["race=0"]);
        let chain = place.chain();
        let inits =
            chain.iter().filter(|entry| told(entry).0 == Kind::CallReturned && told(entry).1 == "cuInit");
        assert_eq!(inits.count(), 1);
    }
}

#[test]
fn the_lookup_hands_out_our_entries_for_what_is_recorded_and_the_drivers_pointers_for_the_rest() {
    let place = Place::with_driver(&driver());
    let said = place.run(&[
        "own:cuInit",
        "own:cuGetProcAddress_v2",
        "own:cuMemAlloc_v2",
        "own:cuWaitExternalSemaphoresAsync",
        "own:cuLaunchKernel",
    ]);
    assert_eq!(
        said,
        [
            "own:cuInit=1",
            "own:cuGetProcAddress_v2=1",
            "own:cuMemAlloc_v2=1",
            "own:cuWaitExternalSemaphoresAsync=0",
            "own:cuLaunchKernel=1"
        ]
    );
}

#[test]
fn an_abi_newer_than_the_list_is_not_mistaken_for_one_in_it() {
    let place = Place::with_driver(&driver());
    assert_eq!(place.run(&["future", "allocate:10"]), ["future=77", "allocate:10=0"]);
    assert_eq!(place.run(&["allocate:10", "future"]), ["allocate:10=0", "future=77"]);
}

#[test]
fn a_name_that_the_driver_lacks_is_recorded_and_stays_unanswered() {
    let place = Place::with_driver(&driver());
    assert_eq!(place.run(&["own:cuCoffee"]), ["own:cuCoffee=500"]);
    let chain = place.chain();
    let entry = about(&chain, Kind::LookupUnanswered, "cuGetProcAddress_v2");
    assert_eq!(
        (entry.text.as_str(), told(entry)),
        ("cuCoffee", (Kind::LookupUnanswered, "cuGetProcAddress_v2", 500, 12000, 0))
    );
}

#[test]
fn an_export_that_the_driver_lacks_answers_500_and_is_recorded() {
    let place = Place::with_driver(&driver());
    let said = place.run(&["call:cuDeviceGetName", "call:cuStreamCreate", "nvml:nvmlInit_v2"]);
    assert_eq!(said, ["call:cuDeviceGetName=500", "call:cuStreamCreate=500", "nvml:nvmlInit_v2=13"]);
    let chain = place.chain();
    for (symbol, result) in [("cuDeviceGetName", 500), ("cuStreamCreate", 500), ("nvmlInit_v2", 13)] {
        let entry = about(&chain, Kind::ExportMissing, symbol);
        assert_eq!((entry.text.as_str(), entry.record.result), (symbol, result));
    }
}

#[test]
fn a_driver_that_looks_itself_up_globally_finds_itself() {
    let global = compiled(
        "global.so",
        "driver.c",
        "gcc",
        &["-shared", "-fPIC", "-DGLOBAL", "-Wl,-soname,libcuda.so.1", "-ldl"],
    );
    let place = Place::with_driver(&global);
    let said = place.run(&["init", "own:cuInit", "own:cuMemAlloc_v2", "memory", "wide"]);
    assert_eq!(said, ["init=0", "own:cuInit=1", "own:cuMemAlloc_v2=1", "memory=3000", "wide=534"]);
    place.chain();
}

#[test]
fn a_driver_of_cuda_12_keeps_its_version() {
    let old = compiled("old.so", "driver.c", "gcc", &["-shared", "-fPIC", "-DVERSION=12080", "-ldl"]);
    let place = Place::with_driver(&old);
    assert_eq!(place.run(&["version"]), ["version=12080"]);
    let chain = place.chain();
    assert_eq!(told(about(&chain, Kind::CallReturned, "cuDriverGetVersion")).3, 12080);
}

#[test]
fn the_caller_is_the_module_that_called_first() {
    let place = Place::with_driver(&driver());
    place.run(&["init"]);
    let chain = place.chain();
    assert_eq!(about(&chain, Kind::CallReturned, "cuInit").record.caller, Caller::Program);
    let module = chain.iter().find(|entry| entry.record.kind == Kind::Module).unwrap();
    assert!(module.text.as_str().ends_with("/client"), "{:?}", module.text);
}
