//! Real cards of NVIDIA's: what there is, and how their driver gets into a container. Nothing here opens a
//! device: the kernel's files tell enough, and a container without privilege may read them.
//!
//! | module | what |
//! |---|---|
//! | [`root`] | the node's files, as this process sees them |
//! | [`kernel`] | what the kernel module's files say (pure) |
//! | [`cards`] | the cards on the bus, with their identities |
//! | [`pool`] | a pool's cards, and which of them can be given |
//! | [`mig`] | a pool of MIG instances |
//! | [`told`] | what the prober told of them, which asks NVML (pure) |
//! | [`driver`] | the driver's libraries, all of the kernel module's version |
//! | [`cdi`] | names under which container runtimes know the cards |
//! | [`libc`] | the C library beside them, for a container that has none |

pub mod cards;
pub mod cdi;
pub mod driver;
#[cfg(test)]
pub(crate) mod fixture;
pub mod kernel;
pub mod libc;
pub mod mig;
pub mod pool;
pub mod root;
pub mod told;

pub use pool::Nvidia;
pub use root::NodeRoot;
