//! Functions that shall be missing, see [`firstlight_simulator::symbols`].
#![expect(unsafe_code, reason = "a constructor")]

use crate::entry::base;
use crate::exports::ENTRIES;
use firstlight_contract::fault::Fault;
use firstlight_contract::names;
use firstlight_simulator::machine::Machine;
use firstlight_simulator::symbols::remove;

/// Whether a fault says that this function is missing. A name hides all its versions, a symbol only itself.
fn is_hidden(symbol: &str) -> bool {
    let faults = &Machine::of_process().faults;
    faults
        .iter()
        .any(|fault| matches!(fault, Fault::NoFunction(name) if name == symbol || name == base(symbol)))
}

extern "C" fn start() {
    // Nothing is read in a process where nothing can be on order.
    if std::env::var_os(names::env::SIMULATE).is_none() {
        return;
    }
    for (symbol, entry) in &ENTRIES {
        if is_hidden(symbol) {
            remove(symbol, entry.0);
        }
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;
