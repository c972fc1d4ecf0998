//! Records and facts in, timeline and verdict out. Pure: no clock, no files, no network.
//!
//! ```text
//! decode::Item ──► Container ──► Process (per process: steps, chain, what was learnt)
//!                      │                            │
//!                  Facts, now ──────────────► rules::judge ──► Verdict ──► Report (JSON), Condition, Event
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`stage`] | the stages S0–S18 |
//! | [`catalogue`] | the one table of causes |
//! | [`facts`] | what is known from outside |
//! | [`step`], [`process`] | what a process did, applied in the order of its records |
//! | [`container`] | all processes of a container, incrementally and in bounded memory |
//! | [`preflight`] | what a preflight's report says of the cause |
//! | `rules` | from processes and facts to a verdict |
//! | [`verdict`] | verdict, condition, Event |
//! | [`report`] | the report: one object, the same everywhere |
//! | [`docs`] | `docs/causes.md` |
//! | `driver` | the boundary to the list of driver functions |
//!
//! Success is only ever said of a process whose records have no gap; a verdict names its evidence, or is
//! `unknown`; in a simulated pool every sentence's first word is "Simulated".

pub mod catalogue;
pub mod container;
pub mod docs;
mod driver;
pub mod facts;
#[cfg(test)]
mod fixtures;
pub mod preflight;
pub mod process;
pub mod report;
mod rules;
pub mod stage;
pub mod step;
pub mod verdict;

pub use catalogue::Cause;
pub use container::Container;
pub use facts::{ContainerState, Facts, Preflight};
pub use process::Process;
pub use report::Report;
pub use stage::Stage;
pub use step::{Step, What, say_bytes};
pub use verdict::{Condition, Confidence, Event, RuledOut, Truth, Verdict};
