//! The one list of CUDA driver and NVML functions. Shim, simulator, diagnosis and tests read it; nobody keeps another.
//! Plain data: no dependency, no `std`, no I/O.
//!
//! | module | what |
//! |---|---|
//! | `list` | generated: the macros [`driver_functions`] and [`nvml_functions`] with a row for each ABI symbol |
//! | [`function`] | the rows as a table; lookup by id and by symbol |
//! | `names` | lookup by name, as `cuGetProcAddress` does it |
//! | [`tables`] | UUIDs and names of the private tables of `cuGetExportTable` |
//! | [`codes`] | names and texts of result codes |
//! | [`simulated`] | what the simulator does with each function |
//!
//! The list comes from the public headers of CUDA 12 and 13 by `generate/generate.py`; what the shim does with a
//! function stands in `generate/actions.txt`, what a function does to device memory in `effects.txt` beside it. Ids are
//! append-only: a newer agent decodes the records of an older shim.
#![no_std]

#[rustfmt::skip]
#[macro_use]
mod list;
#[rustfmt::skip]
mod code_names;

pub mod codes;
pub mod function;
mod names;
pub mod simulated;
pub mod tables;

pub use function::{Action, Effect, FUNCTIONS, Function, Library, by_id, by_symbol};
pub use names::resolve;
