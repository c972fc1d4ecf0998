//! Functions of the driver API, one by one and as a program uses them.

use crate::common::{Machine, compiled, driver, said};
use firstlight_driver_api::function::DRIVER_FUNCTIONS;
use firstlight_driver_api::simulated::{Simulation, of};

#[test]
fn a_program_of_the_driver_api_gets_the_answers_of_a_driver() {
    let machine = Machine::of(1);
    let output = machine.program(&compiled("work.c")).arg(driver()).output().unwrap();
    assert_eq!(said(&output), include_str!("work.txt"));
}

#[test]
fn what_is_not_simulated_answers_not_supported_and_never_success() {
    let symbols = DRIVER_FUNCTIONS.iter().map(|function| function.symbol);
    let symbols: Vec<_> = symbols.filter(|symbol| of(symbol) == Simulation::NotSupported).collect();
    let output = Machine::of(1).program(&compiled("call.c")).arg(driver()).args(&symbols).output().unwrap();
    let expected: Vec<_> = symbols.iter().map(|symbol| format!("{symbol}=801")).collect();
    assert!(expected.len() > 100);
    assert_eq!(said(&output).lines().collect::<Vec<_>>(), expected);
}

/// Null and zero are no arguments: whoever says success to them has not looked.
#[test]
fn what_is_simulated_looks_at_its_arguments() {
    // These need none, or mean the current context or the default stream by 0, or free nothing by null.
    let content = [
        "cuCtxGetCurrent",
        "cuCtxPopCurrent",
        "cuCtxPopCurrent_v2",
        "cuCtxResetPersistingL2Cache",
        "cuCtxSetCacheConfig",
        "cuCtxSetCurrent",
        "cuCtxSetFlags",
        "cuCtxSynchronize",
        "cuCtxSynchronize_v2",
        "cuDevicePrimaryCtxRelease",
        "cuDevicePrimaryCtxRelease_v2",
        "cuDevicePrimaryCtxReset",
        "cuDevicePrimaryCtxReset_v2",
        "cuDevicePrimaryCtxSetFlags",
        "cuDevicePrimaryCtxSetFlags_v2",
        "cuCtxSetLimit",
        "cuInit",
        "cuMemFree_v2",
        "cuMemGetInfo_v2",
        "cuPointerGetAttributes",
        "cuStreamCopyAttributes",
        "cuStreamQuery",
        "cuStreamSynchronize",
        "cuLaunchHostFunc",
        "cuLaunchHostFunc_v2",
        "cuCtxGetStreamPriorityRange",
    ];
    let simulated =
        DRIVER_FUNCTIONS.iter().filter(|function| of(function.symbol) != Simulation::NotSupported);
    let symbols: Vec<_> =
        simulated.map(|function| function.symbol).filter(|symbol| !content.contains(symbol)).collect();
    let plain: Vec<_> = symbols
        .into_iter()
        .filter(|symbol| !symbol.ends_with("_ptsz") && !symbol.ends_with("_ptds"))
        .collect();
    // Copies and fills of no bytes at all are done.
    let nothing_to_do = |symbol: &str| symbol.starts_with("cuMemcpy") || symbol.starts_with("cuMemset");
    let symbols: Vec<_> = plain.into_iter().filter(|symbol| !nothing_to_do(symbol)).collect();
    let output = Machine::of(1).program(&compiled("call.c")).arg(driver()).args(&symbols).output().unwrap();
    let told = said(&output);
    let succeeded: Vec<_> = told.lines().filter(|line| line.ends_with("=0")).collect();
    assert_eq!(succeeded, Vec::<&str>::new());
    assert_eq!(told.lines().count(), symbols.len());
}
