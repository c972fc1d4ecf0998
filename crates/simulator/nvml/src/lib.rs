//! The virtual `libnvidia-ml.so.1`: every function of the list is exported; it tells of the devices of the grant, or
//! answers NOT_SUPPORTED (the column `firstlight_driver_api::simulated`).
//!
//! | module | what |
//! |---|---|
//! | [`abi`] | result codes, foreign pointers, the macro that declares an entry |
//! | [`layout`] | structures of nvml.h, their sizes asserted |
//! | [`entry`] | what every call passes: initialised or not, a hang on order; the answer of what is not implemented |
//! | [`exports`] | generated: stubs, and a table that does not link if a listed function is not written |
//! | [`hide`] | functions that shall be missing leave the dynamic symbol table |
//! | [`session`] | initialisation, counted; texts of codes |
//! | [`system`] | versions, process names, and what there is none of: units, excluded devices |
//! | [`handle`] | devices by index, UUID, PCI id; what a handle names; a lost device |
//! | [`identity`] | who a device is: name, UUID, PCI id, architecture |
//! | [`figures`] | what a device has: memory, processors, modes, field values |
//! | [`mig`] | instances of a card: its mode, their handles and numbers |
//! | [`process`] | this process, where it holds memory |
//! | [`topology`] | how two devices reach each other |
//! | [`event`] | event sets: one XID when a device is lost |
//! | [`driver`] | the virtual driver in this process, asked for memory in use |
//!
//! NVML shows every card of the grant, and the card of an instance, whatever `CUDA_VISIBLE_DEVICES` says. What only a card has (temperature,
//! power, clocks, utilisation, ECC, a serial number) is NOT_SUPPORTED, never a number. Nothing here panics (the profile
//! aborts): no indexing, no unwrap.

mod abi;
mod driver;
mod entry;
mod event;
mod exports;
mod figures;
mod handle;
mod hide;
mod identity;
mod layout;
mod mig;
mod process;
mod session;
mod system;
mod topology;
