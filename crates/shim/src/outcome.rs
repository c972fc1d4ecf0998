//! What is written about the calls of a function: its first success, and each failure that differs from the last.

use crate::front::{absent, library};
use crate::recorder::{Note, RECORDER};
use crate::{caller, rows};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use firstlight_contract::record::{Caller, Kind};

static OUTCOMES: [Outcome; rows::SIZE] = [const { Outcome::new() }; rows::SIZE];

/// How often a function may end with another code than the last time before its changes are no longer written.
const MAX_CHANGES: u32 = 8;

struct Outcome {
    succeeded: AtomicBool,
    caller: AtomicU8,
    code: AtomicI32,
    changes: AtomicU32,
    repeats: AtomicU32,
}

impl Outcome {
    const fn new() -> Self {
        Self {
            succeeded: AtomicBool::new(false),
            caller: AtomicU8::new(Caller::Unknown as u8),
            code: AtomicI32::new(0),
            changes: AtomicU32::new(0),
            repeats: AtomicU32::new(0),
        }
    }

    fn caller(&self) -> Caller {
        Caller::from_u8(self.caller.load(Relaxed)).unwrap_or(Caller::Unknown)
    }
}

/// The code of a function with an action that the driver lacks, or for which there is no driver; recorded.
pub(crate) fn missing(id: u16) -> i32 {
    let result = absent(id).1;
    if library(id).handle().is_none() {
        record(id, result, 0, 0, When::Now);
        return result;
    }
    let text = rows::symbol(id).strip_suffix(b"\0").unwrap_or(&[]);
    if let Some(outcome) = OUTCOMES.get(usize::from(id))
        && outcome.code.swap(result, Relaxed) != result
    {
        let caller = outcome.caller();
        RECORDER.write(&Note { function: id, caller, result, ..Note::new(Kind::ExportMissing, text) });
    }
    result
}

/// Remembers which module calls the function for the first time, by the return address.
pub(crate) fn remember_caller(id: u16, return_address: usize) {
    if let Some(outcome) = OUTCOMES.get(usize::from(id))
        && RECORDER.is_active()
    {
        outcome.caller.store(caller::of(return_address) as u8, Relaxed);
    }
}

/// Who called the function first.
pub(crate) fn caller_of(id: u16) -> Caller {
    OUTCOMES.get(usize::from(id)).map_or(Caller::Unknown, Outcome::caller)
}

/// When a success is written; a failure is written at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At once: it marks a stage.
    Now,
    /// With the next record: of no use alone.
    Deferred,
}

/// Records how a function ended: its first success, and each failure that differs from the one before.
pub(crate) fn record(id: u16, result: i32, arg0: u64, arg1: u64, when: When) {
    let Some(outcome) = OUTCOMES.get(usize::from(id)) else { return };
    if result == 0 {
        if outcome.succeeded.load(Relaxed) || outcome.succeeded.swap(true, SeqCst) {
            return;
        }
    } else if outcome.code.swap(result, SeqCst) == result {
        let times = outcome.repeats.fetch_add(1, SeqCst).wrapping_add(1);
        if times.is_power_of_two() {
            let arg0 = u64::from(times);
            RECORDER.write(&Note { function: id, result, arg0, ..Note::new(Kind::Repeated, b"") });
        }
        return;
    } else if outcome.changes.fetch_add(1, SeqCst) >= MAX_CHANGES {
        return;
    }
    let caller = outcome.caller();
    let note = Note { function: id, caller, result, arg0, arg1, ..Note::new(Kind::CallReturned, b"") };
    if result == 0 && when == When::Deferred {
        RECORDER.defer(&note);
    } else {
        RECORDER.write(&note);
    }
}

/// Whether the function ever succeeded.
pub(crate) fn succeeded(id: u16) -> bool {
    OUTCOMES.get(usize::from(id)).is_some_and(|outcome| outcome.succeeded.load(Relaxed))
}

/// Records that a function is about to call the driver, where that may hang or end the process.
pub(crate) fn entered(id: u16, arg1: u64) {
    let caller = caller_of(id);
    RECORDER.write(&Note { function: id, caller, arg1, ..Note::new(Kind::CallEntered, b"") });
}
