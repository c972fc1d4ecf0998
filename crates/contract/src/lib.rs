//! Names and formats that the parts of Firstlight share. Depends on nothing; without feature `std` it is
//! `no_std`, allocates nothing and has no panicking path, because the preload object is built from it.
//!
//! | module | what |
//! |---|---|
//! | [`names`] | resources, annotations, conditions, Events, environment, labels: the public names |
//! | [`paths`] | paths in the container and on the node |
//! | [`metrics`] | the table of metrics: names, labels, help |
//! | `bytes` | sizes of memory as people write them (feature `std`) |
//! | `docs` | `docs/metrics.md` (feature `std`) |
//! | `card` | how a real card is named: UUID, PCI id, model (feature `std`) |
//! | [`grant`] | the file that tells shim and simulator what a container was given |
//! | [`ledger`] | the file in which a grant's processes count the memory they hold |
//! | [`record`] | 64-byte records: layout, kinds, encoding (`no_std`) |
//! | `decode` | records from foreign bytes (feature `std`) |
//! | `fault` | the grammar of `firstlight.dev/simulate` (feature `std`) |
//! | `preflight` | what the preflight found in a container (feature `std`) |
//! | `ld_cache` | `/etc/ld.so.cache`, of an image or of a node (feature `std`) |
//! | `models` | the GPU models that the simulator can be |
//! | `prober` | what the prober tells the agent of the cards (feature `prober`) |
//! | `pools` | pool configuration, YAML (feature `pools`) |
//! | `cdi` | CDI specifications of a node: which names there are for its cards (feature `pools`) |
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
pub mod bytes;
#[cfg(feature = "std")]
pub mod card;
#[cfg(feature = "pools")]
pub mod cdi;
#[cfg(feature = "std")]
pub mod decode;
#[cfg(feature = "std")]
pub mod docs;
#[cfg(feature = "std")]
pub mod fault;
pub mod grant;
#[cfg(feature = "std")]
pub mod ld_cache;
pub mod ledger;
pub mod metrics;
pub mod models;
pub mod names;
pub mod paths;
#[cfg(feature = "pools")]
pub mod pools;
#[cfg(feature = "std")]
pub mod preflight;
#[cfg(feature = "prober")]
pub mod prober;
pub mod record;
#[cfg(feature = "std")]
pub mod text;
