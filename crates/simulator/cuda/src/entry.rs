//! What every call passes. Without faults on order that is one relaxed load.

use crate::abi::{Code, Done};
use firstlight_contract::fault::Fault;
use firstlight_driver_api::{Action, by_symbol};
use firstlight_simulator::machine::Machine;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// 0: not looked at yet, 1: no fault on order, 2: some.
static ORDERS: AtomicU8 = AtomicU8::new(0);
/// Launches that went through [`gate`]; counted only where faults are on order.
static LAUNCHES: AtomicU64 = AtomicU64::new(0);
/// The device has fallen off the bus.
static LOST: AtomicBool = AtomicBool::new(false);

/// Runs the body of a driver function, unless a fault says otherwise.
#[inline]
pub(crate) fn call(symbol: &'static str, body: impl FnOnce() -> Done) -> u32 {
    if ORDERS.load(Ordering::Relaxed) != 1
        && let Err(code) = gate(symbol)
    {
        return code.0;
    }
    match body() {
        Ok(()) => 0,
        Err(code) => code.0,
    }
}

/// The answer of a function that is not implemented.
pub(crate) fn unsupported(symbol: &'static str) -> u32 {
    call(symbol, || Err(Code::NOT_SUPPORTED))
}

/// Whether the device has fallen off the bus.
pub(crate) fn lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Functions that need no device: they answer even when it is gone. Which context is current is the thread's business.
const WITHOUT_DEVICE: [&str; 15] = [
    "cuCtxGetCurrent",
    "cuCtxGetDevice",
    "cuCtxGetDevice_v2",
    "cuCtxPopCurrent",
    "cuCtxPopCurrent_v2",
    "cuCtxPushCurrent",
    "cuCtxPushCurrent_v2",
    "cuCtxSetCurrent",
    "cuGetErrorString",
    "cuGetErrorName",
    "cuDriverGetVersion",
    "cuGetProcAddress",
    "cuGetProcAddress_v2",
    "cuGetExportTable",
    "cuModuleGetLoadingMode",
];

#[cold]
fn gate(symbol: &'static str) -> Done {
    let machine = Machine::of_process();
    ORDERS.store(if machine.faults.is_empty() { 1 } else { 2 }, Ordering::Relaxed);
    if machine.faults.is_empty() {
        return Ok(());
    }
    let function = by_symbol(symbol);
    let action = function.map(|function| function.action);
    let launch = matches!(action, Some(Action::Launch | Action::GraphLaunch));
    if lost() && !WITHOUT_DEVICE.contains(&symbol) {
        return Err(Code::UNKNOWN);
    }
    for fault in &machine.faults {
        match fault {
            Fault::InitReturns(code) if symbol == "cuInit" => return Err(Code(*code)),
            Fault::QueryReturns(code) if action == Some(Action::Query) && symbol.starts_with("cuDevice") => {
                return Err(Code(*code));
            }
            Fault::ContextReturns(code) if action == Some(Action::Context) => return Err(Code(*code)),
            Fault::AllocateReturns(code) if action == Some(Action::Allocate) => return Err(Code(*code)),
            Fault::MemoryInfoReturns(code) if action == Some(Action::MemoryInfo) => return Err(Code(*code)),
            Fault::LoadReturns(code) if action == Some(Action::Load) => return Err(Code(*code)),
            Fault::LaunchReturns(code) if launch => return Err(Code(*code)),
            Fault::Hang { function: name, duration }
                if symbol == name || function.is_some_and(|function| function.name == name) =>
            {
                std::thread::sleep(*duration);
            }
            Fault::LostAfterLaunches(most) if launch && LAUNCHES.fetch_add(1, Ordering::Relaxed) >= *most => {
                LOST.store(true, Ordering::Relaxed);
                return Err(Code::UNKNOWN);
            }
            _ => {}
        }
    }
    Ok(())
}
