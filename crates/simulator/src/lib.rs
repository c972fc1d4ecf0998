//! What the virtual driver (`cuda/`, `libcuda.so.1`) and its NVML (`nvml/`, `libnvidia-ml.so.1`) agree on: which
//! devices exist, who they are, and what shall go wrong.
//!
//! ```text
//! grant (or nothing) ──► machine::Machine ──► cuda/   every driver function: real, simulated or 801
//! FIRSTLIGHT_SIMULATE ─► faults                └─► firstlight_simulator_state ──► nvml/   same figures
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`machine`] | the devices of this process: from the grant, or one default device |
//! | [`mig`] | the instances into which a card is divided: profiles, and what a grant says of them |
//! | [`identity`] | UUIDs and PCI ids: parse, print, mint |
//! | [`visible`] | which devices and instances CUDA shows: `CUDA_VISIBLE_DEVICES`, which the driver (not the runtime) reads |
//! | [`symbols`] | functions that shall be missing leave the symbol table |
//! | [`version`] | the driver version that both report |
//!
//! Whatever is not implemented is exported and answers NOT_SUPPORTED; there is no stub that succeeds. The column is
//! `firstlight_driver_api::simulated`, and the build fails where it and the code differ.

pub mod identity;
pub mod machine;
pub mod mig;
pub mod symbols;
pub mod version;
pub mod visible;
