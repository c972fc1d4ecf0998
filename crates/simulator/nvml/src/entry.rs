//! What every call passes.

use crate::abi::{Code, Done};
use crate::{handle, session};
use firstlight_contract::fault::Fault;
use firstlight_simulator::machine::Machine;

/// Runs the body of a function that needs `nvmlInit`.
pub(crate) fn call(symbol: &str, body: impl FnOnce() -> Done) -> u32 {
    hang(symbol);
    let done = if session::is_open() { body() } else { Err(Code::UNINITIALIZED) };
    number(done)
}

/// The number of a result.
pub(crate) fn number(done: Done) -> u32 {
    match done {
        Ok(()) => 0,
        Err(code) => code.0,
    }
}

/// The answer of a function that is not implemented: NOT_SUPPORTED, unless its first argument is a lost device.
pub(crate) fn unsupported(symbol: &str, first: u64) -> u32 {
    call(symbol, || {
        let lost = symbol.starts_with("nvmlDevice") && handle::is_lost(first);
        Err(if lost { Code::GPU_IS_LOST } else { Code::NOT_SUPPORTED })
    })
}

/// Waits where a hang of this function was ordered.
pub(crate) fn hang(symbol: &str) {
    for fault in &Machine::of_process().faults {
        if let Fault::Hang { function, duration } = fault
            && (function == symbol || function == base(symbol))
        {
            std::thread::sleep(*duration);
        }
    }
}

/// The name without its version: `nvmlInit` of `nvmlInit_v2`.
pub(crate) fn base(symbol: &str) -> &str {
    let parts = symbol.rsplit_once("_v");
    parts
        .filter(|(_, version)| version.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(symbol, |(base, _)| base)
}
