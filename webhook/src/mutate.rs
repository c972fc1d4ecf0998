//! The mutation: plain objects in, an [`Answer`] out. Knows no network, no clock and no file.
//!
//! | module | what |
//! |---|---|
//! | [`object`] | the parts of a pod or workload that matter, borrowed from the request |
//! | [`ask`] | what the annotations ask for, and what is wrong with them |
//! | [`choose`] | which containers get it |
//! | [`pod`] | the pod rule: what a pod is given, and what is said of it |
//! | `plan` | the changes to one container: resource limit, preload, faults on order |
//! | `gate` | the readiness gate |
//! | `preflight` | the init containers that probe the GPU first |
//! | [`source`] | the parts of a container that they copy |
//! | [`workload`] | the workload rule: copies the annotations into the pod template |
//! | [`patch`] | JSON Patch, written by hand |

use firstlight_contract::pools::Pools;

pub mod ask;
pub mod choose;
mod gate;
pub mod object;
pub mod patch;
mod plan;
pub mod pod;
mod preflight;
pub mod source;
pub mod workload;

/// What the rules know beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The pools that annotations may name.
    pub pools: &'a Pools,
    /// The version that marks injected pods.
    pub version: &'a str,
}

/// One admission request: the object as it is to be, and as it was.
#[derive(Debug)]
pub struct Request<'a, T> {
    /// The whole review, for what is copied and not read.
    pub review: &'a [u8],
    /// The object to be admitted.
    pub object: T,
    /// The stored object, on UPDATE.
    pub old: Option<T>,
    /// Whether this is an UPDATE.
    pub update: bool,
    /// The object's kind, such as `Deployment`.
    pub kind: String,
}

/// What is answered to the API server.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Why the request is refused; `None` admits it.
    pub refusal: Option<String>,
    /// Sentences for the person who sent the request.
    pub warnings: Vec<String>,
    /// What is changed.
    pub patch: patch::Patch,
}

impl Answer {
    /// Admits the object as it is, with one warning.
    pub fn warn(sentence: impl Into<String>) -> Self {
        Self { warnings: vec![sentence.into()], ..Self::default() }
    }
}
