//! The virtual driver `libcuda.so.1`: every function of the list is exported; it is real, simulated, or answers
//! NOT_SUPPORTED (the column `firstlight_driver_api::simulated`).
//!
//! | module | what |
//! |---|---|
//! | [`abi`] | result codes, foreign pointers, the macro that declares an entry |
//! | [`entry`] | what every call passes: faults on order, launches counted |
//! | [`hide`] | functions that shall be missing leave the dynamic symbol table |
//! | [`exports`] | generated: stubs, per-thread variants, the lookup table |
//! | [`state`] | all bookkeeping behind one lock; handles |
//! | [`init`], [`lookup`], [`tables`], [`handshake`] | what the runtime does before the first device |
//! | [`device`], [`attributes`], [`context`] | devices and contexts |
//! | [`pages`], [`ranges`] | lazily committed host mappings, and whose they are |
//! | [`memory`], [`host`], [`pool`], [`vmm`], [`copy`], [`pointer`] | memory on top of them |
//! | [`stream`], [`event`], [`work`], [`capture`], [`graph`] | order of work; captured work runs at graph launch |
//! | [`code`], [`kernel`], [`cluster`], [`launch`] | kernels are found, launched and counted, not run |
//!
//! Nothing here panics (the profile aborts): no indexing, no unwrap. All work is done before the call returns, so a
//! stream is always idle.

mod abi;
mod attributes;
mod capture;
mod cluster;
mod code;
mod context;
mod copy;
mod device;
mod entry;
mod event;
mod exports;
mod graph;
mod handshake;
mod hide;
mod host;
mod init;
mod kernel;
mod launch;
mod lookup;
mod memory;
mod pages;
mod pointer;
mod pool;
mod ptx;
mod ranges;
mod state;
mod stream;
mod tables;
mod vmm;
mod work;
