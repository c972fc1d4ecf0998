//! Functions that shall be missing: a constructor takes them out of the dynamic symbol table, lookups skip them.
#![expect(unsafe_code, reason = "a constructor is an entry of a named section")]

use crate::exports::ENTRIES;
use firstlight_contract::fault::Fault;
use firstlight_contract::names;
use firstlight_driver_api::Function;
use firstlight_driver_api::function::DRIVER_FUNCTIONS;
use firstlight_simulator::machine::Machine;
use firstlight_simulator::symbols;

/// Whether a fault says that this function is missing. A name hides all its versions, a symbol only itself.
pub(crate) fn is_hidden(function: &Function) -> bool {
    let named = |name: &str| function.symbol == name || function.name == name;
    Machine::of_process().faults.iter().any(|fault| match fault {
        Fault::NoExportTable => named("cuGetExportTable"),
        Fault::NoFunction(name) => named(name),
        _ => false,
    })
}

extern "C" fn start() {
    // Nothing is read in a process where nothing can be on order.
    if std::env::var_os(names::env::SIMULATE).is_none() {
        return;
    }
    for (function, entry) in DRIVER_FUNCTIONS.iter().zip(&ENTRIES) {
        if is_hidden(function) {
            symbols::remove(function.symbol, entry.0);
        }
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;
