//! What both preload objects are made of. Under `panic = "abort"` (the profile `shim`) nothing here has std; the
//! objects are `cuda/` and `nvml/`, and they only add the exported entries.
//!
//! ```text
//! client ──► entry (one indirect jump) ──────────────────────► the driver's function
//!               │ first call            ▲ forwarded functions
//!               ▼                       │
//!            front::fill ── library ────┤
//!               │                       │ functions with an action
//!               └─► hooks::wrapper ─► wrappers, lookup ────────► the driver's function, then recorder
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`start`] | `DT_INIT`: which record file, the start record |
//! | [`recorder`] | records, numbered without gaps, in one `write(2)` |
//! | [`grant`], [`library`], [`cache`] | the grant; the driver behind the shim |
//! | [`rows`] | the list of functions without pointers |
//! | [`front`] | first calls |
//! | [`hooks`], [`wrappers`], [`lookup`] | functions with an action |
//! | [`outcome`] | what is written about the calls of a function |
//! | [`launches`], [`thread`] | launches, counted per thread |
//! | [`caller`] | who called |
//! | [`charges`], [`quota`] | what calls are charged; the memory that the processes of a grant hold together |
//! | [`sys`], [`weak`] | system calls; libc's functions, if they are there |
//!
//! # How the objects are linked
//!
//! No NEEDED entry, no version section, two LOAD segments, no RELRO, `DT_INIT` instead of `.init_array`, few relocations:
//! each costs microseconds in every process of the container. `-Bsymbolic`: an entry's address is our own, whoever
//! else exports the name. `-z nodelete`: a dlclose must not take away code that clients hold pointers into.
//! `--no-undefined` and a panic handler that calls a function which does not exist prove that nothing here can panic.
#![cfg_attr(panic = "abort", no_std)]

pub mod cache;
pub mod caller;
pub mod charges;
pub mod front;
pub mod grant;
pub mod hooks;
pub mod launches;
pub mod library;
pub mod lookup;
pub mod outcome;
mod own;
pub mod quota;
pub mod recorder;
pub mod rows;
pub mod start;
pub mod surroundings;
pub mod sys;
pub mod thread;
pub mod weak;
pub mod wrappers;

/// Whether an address lies in this very object.
pub fn is_own(address: usize) -> bool {
    (own::begin()..own::end()).contains(&address)
}

/// What a file that is a shim, this one or another copy, has near its start.
pub(crate) const MARK: &[u8] = b"firstlight-shim\0";
