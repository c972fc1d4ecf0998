//! What was annotated and never injected: an Event and a metric, also for what was written while no webhook ran.
//!
//! ```text
//!  API server ──metadata of pods and workloads──► watch ──► judge (pure) ──► offenders ──► metric
//!             ──the template of an annotated one─►                               │
//!             ◄──────────────────────────Event NotInjected───────────── tell ◄───┘
//! ```
//!
//! The API server never asks us about what it admitted without us, so it is looked for. Every watch begins with
//! a list: what happened while we were away is found when we come back. Only offenders are kept, and of those a
//! bounded number.
//!
//! No replica leads: each comes to the same conclusions from the same objects. An Event's name follows from what
//! it says, so that of two replicas that tell the same the API server lets one through.
//!
//! | module | what |
//! |---|---|
//! | [`object`] | the metadata that is read, and what else is asked of a workload |
//! | [`judge`] | pure: whether an object is an offender, why, and what helps |
//! | [`offenders`] | pure: those that are known, at most [`offenders::MOST`] |
//! | [`watch`] | the watches |
//! | [`tell`] | the Events |

pub mod judge;
pub mod object;
pub mod offenders;
pub mod tell;
pub mod watch;
