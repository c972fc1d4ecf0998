//! What one process did, from its records. Records are applied in the order of their sequence numbers; a
//! number that never comes is a gap, and from a gap on nothing counts as success.

mod learnt;

use crate::driver;
use crate::step::{Step, What};
use firstlight_contract::decode::Entry;
use firstlight_contract::paths::program::PREFLIGHT_DYNAMIC;
use firstlight_contract::record::{Caller, Kind, Role, start};
pub(crate) use learnt::{Failure, Learnt, Refused};
use std::collections::BTreeMap;

/// Steps of a process that are kept; of the rest only the number is known.
pub const MAX_STEPS: usize = 96;
/// Room that a process begins with. Vectors that grow from nothing leave blocks of sizes that longer lives have, too,
/// and musl keeps a group of blocks for one that lives.
const USUAL_STEPS: usize = 12;
/// Records that may wait for an earlier one; one more, and the missing ones are given up.
const MAX_HELD: usize = 64;
/// The first steps, which are always kept.
const FIRST_STEPS: usize = 64;
/// Unknown names of no importance that have a step each.
const MAX_UNANSWERED_STEPS: u32 = 8;

/// A process that left records.
#[derive(Clone, Debug)]
pub struct Process {
    /// Pid in the container.
    pub pid: u32,
    /// Token that tells it from another process with the same pid.
    pub token: u64,
    /// What it is for.
    pub role: Role,
    /// Bits of [`firstlight_contract::record::start`].
    pub bits: u64,
    /// Its first words, as it was started.
    pub argv: String,
    /// Time of its first record, nanoseconds since the epoch.
    pub started_ns: u64,
    /// Time of its last record.
    pub last_ns: u64,
    /// Whether every record from the first on has been seen.
    pub gapless: bool,
    /// Its steps, oldest first, at most [`MAX_STEPS`].
    pub steps: Vec<Step>,
    /// Steps beyond those that were kept.
    pub steps_dropped: u64,
    /// What was learnt from the steps.
    pub(crate) learnt: Learnt,
    unanswered_noted: u32,
    next: u32,
    held: BTreeMap<u32, Entry>,
}

impl Process {
    /// A process of which this is the first record seen.
    pub(crate) fn new(entry: &Entry) -> Self {
        Self {
            pid: entry.record.pid,
            token: entry.record.process,
            role: Role::Other,
            bits: 0,
            argv: String::new(),
            started_ns: entry.record.time_ns,
            last_ns: entry.record.time_ns,
            gapless: true,
            steps: Vec::with_capacity(USUAL_STEPS),
            steps_dropped: 0,
            learnt: Learnt::default(),
            unanswered_noted: 0,
            next: 0,
            held: BTreeMap::new(),
        }
    }

    /// Takes a record of this process, in any order.
    pub(crate) fn take(&mut self, entry: &Entry) {
        self.last_ns = self.last_ns.max(entry.record.time_ns);
        let sequence = entry.record.sequence;
        if sequence == self.next && self.held.is_empty() {
            self.apply(entry);
            return;
        }
        if sequence < self.next || self.held.contains_key(&sequence) {
            return;
        }
        self.held.insert(sequence, entry.clone());
        self.release();
        if self.held.len() > MAX_HELD {
            self.give_up_missing();
        }
    }

    /// This process with what still waits taken in, the missing records given up.
    pub(crate) fn settled(&self) -> std::borrow::Cow<'_, Self> {
        if self.held.is_empty() {
            return std::borrow::Cow::Borrowed(self);
        }
        let mut settled = self.clone();
        settled.give_up_missing();
        std::borrow::Cow::Owned(settled)
    }

    fn release(&mut self) {
        while let Some(entry) = self.held.remove(&self.next) {
            self.apply(&entry);
        }
    }

    fn give_up_missing(&mut self) {
        self.gapless = false;
        while let Some((_, entry)) = self.held.pop_first() {
            self.apply(&entry);
        }
    }

    /// Which role the process has for the pod's verdict.
    pub fn is_runner(&self) -> bool {
        self.role.is_runner()
    }

    /// Whether it called the driver at all.
    pub fn called_driver(&self) -> bool {
        self.learnt.first_call_ns.is_some()
    }

    /// Whether a usable GPU was seen: a context exists, and the device has memory or took a kernel, on a gapless chain.
    pub fn usable(&self) -> bool {
        self.learnt.usable_ns.is_some()
    }

    /// Whether kernels were launched, on a gapless chain.
    pub fn launched(&self) -> bool {
        self.learnt.launched_ns.is_some()
    }

    /// Kernel and graph launches that the process reported.
    pub fn launches(&self) -> u64 {
        self.learnt.launches.saturating_add(self.learnt.graphs)
    }

    /// Path of the CUDA runtime that called the driver, if it is known.
    pub fn runtime(&self) -> Option<&str> {
        self.learnt.modules.get(&Caller::Runtime).map(String::as_str)
    }

    /// Paths of the modules that called the driver.
    pub fn modules(&self) -> impl Iterator<Item = (Caller, &str)> {
        self.learnt.modules.iter().map(|(caller, path)| (*caller, path.as_str()))
    }

    /// Path of the driver it opened.
    pub fn driver(&self) -> Option<&str> {
        self.learnt.driver.as_deref()
    }

    /// The driver's CUDA version, 1000·major + 10·minor.
    pub fn driver_version(&self) -> Option<u64> {
        self.learnt.version
    }

    /// Time from the first driver call to a usable context, nanoseconds.
    pub fn init_duration_ns(&self) -> Option<u64> {
        Some(self.learnt.usable_ns?.saturating_sub(self.learnt.first_call_ns?))
    }

    /// Major version of the runtime in this process, read from the path of its library.
    pub(crate) fn runtime_major(&self) -> Option<u64> {
        let path =
            self.runtime().or_else(|| self.learnt.modules.get(&Caller::GgmlBackend).map(String::as_str))?;
        let digits =
            |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok());
        let after = |mark: &str| path.split_once(mark).and_then(|(_, rest)| digits(rest));
        after("libcudart.so.").or_else(|| after("/cuda_v")).filter(|major| (8..100).contains(major))
    }

    fn apply(&mut self, entry: &Entry) {
        let record = &entry.record;
        if record.sequence == 0 {
            match record.kind {
                Kind::Start => {
                    let role = u8::try_from(record.arg0).ok().and_then(Role::from_u8);
                    self.role = role.unwrap_or(Role::Other);
                    self.bits = record.arg1;
                    entry.text.as_str().clone_into(&mut self.argv);
                }
                Kind::Forked => {}
                // The chain does not begin with its beginning.
                _ => self.gapless = false,
            }
        }
        self.next = record.sequence.saturating_add(1);
        let Some(step) = Step::of(entry) else { return };
        self.learn(&step, entry.record.tid);
        self.note(step);
    }

    /// Keeps a step for the timeline: the first ones and the last ones, and of what comes in hundreds the first.
    fn note(&mut self, step: Step) {
        let one_of_many = match &step.what {
            What::Unanswered { name, .. } if !driver::is_needed(driver::base(name)) => {
                self.unanswered_noted += 1;
                self.unanswered_noted > MAX_UNANSWERED_STEPS
            }
            What::Returned { symbol, code: 0, .. } => driver::base(symbol) == "cuDeviceGetAttribute",
            _ => false,
        };
        if one_of_many {
            self.steps_dropped = self.steps_dropped.saturating_add(1);
            return;
        }
        if self.steps.len() >= MAX_STEPS {
            self.steps.remove(FIRST_STEPS);
            self.steps_dropped = self.steps_dropped.saturating_add(1);
        }
        self.steps.push(step);
    }

    /// Whether it is Firstlight's own probe: what it reaches says nothing of what the container's programs reached.
    pub(crate) fn is_probe(&self) -> bool {
        let program = self.argv.split(' ').next().unwrap_or_default();
        program.rsplit('/').next() == Some(PREFLIGHT_DYNAMIC)
    }

    /// Start bits: whether it is part of Ollama's second discovery pass.
    pub(crate) fn is_second_pass(&self) -> bool {
        self.bits & start::SECOND_PASS != 0
    }

    /// Start bits: whether it was ordered to put no layer on the GPU.
    pub(crate) fn is_kept_off_gpu(&self) -> bool {
        self.bits & start::NO_GPU_LAYERS != 0
    }

    /// Start bits: whether Ollama chose Vulkan's backend for it.
    pub(crate) fn is_for_vulkan(&self) -> bool {
        self.bits & start::VULKAN != 0
    }

    /// Start bits: whether Ollama chose any backend for it.
    pub(crate) fn has_backend(&self) -> bool {
        self.bits & start::BACKEND != 0
    }

    /// Start bits: whether the kernel set `AT_SECURE`.
    pub fn is_secure(&self) -> bool {
        self.bits & start::AT_SECURE != 0
    }
}
