//! What failed or was refused in a process, and what it got over.

use super::Learnt;
use crate::driver::Duty;
use firstlight_contract::record::{Caller, Refusal};

/// A call that failed, or a point at which a process stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) at_ns: u64,
    pub(crate) symbol: String,
    pub(crate) duty: Duty,
    pub(crate) code: i32,
    pub(crate) caller: Caller,
    /// Bytes asked for, where it was an allocation.
    pub(crate) bytes: u64,
    /// Launches that had gone well before.
    pub(crate) launches_before: u64,
}

/// Memory that the quota refused: the driver was not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) symbol: String,
    pub(crate) duty: Duty,
    /// Bytes asked for.
    pub(crate) asked: u64,
    /// The device's number in the grant.
    pub(crate) device: u64,
    /// Why, if this reader knows the reason.
    pub(crate) why: Option<Refusal>,
    /// What is used and allowed, or why the quota is not to be had.
    pub(crate) detail: String,
    /// Launches that had gone well before.
    pub(crate) launches_before: u64,
    /// Whether memory was had since.
    pub(crate) had_since: bool,
}

impl Learnt {
    pub(super) fn all_launches(&self) -> u64 {
        self.launches.saturating_add(self.graphs)
    }

    pub(super) fn launches_seen(&self) -> bool {
        self.all_launches() > 0
    }

    /// Whether the process launched more after an allocation had failed: llama.cpp then puts fewer layers on the GPU
    /// and goes on.
    pub(crate) fn got_over(&self, failure: &Failure) -> bool {
        failure.duty == Duty::Allocate && self.all_launches() > failure.launches_before
    }

    /// The same of a refusal. That a context or a smaller piece was had is enough: who asks for less has a plan.
    pub(crate) fn got_over_refusal(&self, refused: &Refused) -> bool {
        refused.had_since || self.all_launches() > refused.launches_before
    }

    pub(super) fn memory_had(&mut self) {
        if let Some(refused) = &mut self.quota_refused {
            refused.had_since = true;
        }
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        if self.work_failure.as_ref().is_none_or(|known| self.got_over(known)) {
            self.work_failure = Some(failure);
        }
    }

    pub(super) fn refuse(&mut self, refused: Refused) {
        let failed = (self.init_failure.is_some() && self.usable_ns.is_none())
            || self.work_failure.as_ref().is_some_and(|failure| !self.got_over(failure));
        if !failed && self.quota_refused.as_ref().is_none_or(|known| self.got_over_refusal(known)) {
            self.quota_refused = Some(refused);
        }
    }
}
