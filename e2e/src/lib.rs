//! Everything that Firstlight's end-to-end tests stand on. Black box: of the product only the contract crate is known.
//!
//! ```text
//! deps      slow foreign products, built once into a cache that is keyed by content
//! image     container images as OCI layout archives
//! cluster   a real single-node Kubernetes in namespaces of its own
//! harness   kubectl, helm, namespaces, waiting with a reason, dumps on failure
//! ```

pub mod cluster;
pub mod command;
pub mod deps;
pub mod harness;
pub mod image;
