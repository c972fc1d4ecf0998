//! What only NVML can tell of the cards is asked by another pod, the prober: the device cgroup of an unprivileged
//! container forbids `/dev/nvidiactl`, unless a device plugin gives it. So the agent serves a resource for its own
//! prober, and listens to what that says.
//!
//! ```text
//!  agent   resource ── firstlight.dev/prober: device nodes, NVML, its libc ──► kubelet ──► the prober's container
//!          listener ◄── unix socket, a line of JSON each ── speaker ◄── supervisor ◄── firstlight-prober ── NVML
//!             └──► knowledge ──► inventory::nvidia
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`knowledge`] | what was said, and what of it counts now (pure) |
//! | [`memory`] | what is kept of it over a restart |
//! | [`listener`] | the agent's socket |
//! | [`resource`] | what the prober's container is given (pure) |
//! | [`supervisor`], [`speaker`] | `firstlight-plugin prober`: the process that NVML may hang, and the way to the agents |

pub mod knowledge;
pub mod listener;
pub mod memory;
pub mod resource;
pub mod speaker;
pub mod supervisor;
