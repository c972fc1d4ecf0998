//! All processes of a container, taken in incrementally and kept in bounded memory.

use crate::facts::{ContainerState, Facts};
use crate::process::Process;
use crate::report::Report;
use crate::rules;
use crate::stage::Stage;
use crate::verdict::Verdict;
use firstlight_contract::decode::{Entry, Item};
use firstlight_contract::record::{Caller, Kind, Role};

/// Processes that are kept in detail; of older ones only sums are known. A cold start of Ollama makes about 15.
pub const MAX_PROCESSES: usize = 64;
/// Init durations that wait to be taken.
const MAX_DURATIONS: usize = 256;
/// Start times in the API server are whole seconds, and clocks of node and container are the same clock.
const START_SLACK_NS: u64 = 2_000_000_000;

/// What a container's records have told so far.
#[derive(Clone, Debug, Default)]
pub struct Container {
    processes: Vec<Process>,
    forgotten: Forgotten,
    durations_ns: Vec<u64>,
    garbage_bytes: u64,
    records: u64,
}

/// Sums over processes that are no longer kept.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Forgotten {
    pub(crate) processes: u64,
    /// Latest time at which one of them became usable.
    pub(crate) usable_ns: Option<u64>,
    pub(crate) launches: u64,
    pub(crate) called_driver: bool,
}

impl Container {
    /// A container that has not told anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what the decoder found next. Costs a few hundred nanoseconds a record; memory is bounded by
    /// [`MAX_PROCESSES`] times the bound of a process, whatever arrives.
    pub fn observe(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Garbage { bytes } => {
                    self.garbage_bytes = self.garbage_bytes.saturating_add(*bytes as u64);
                }
                Item::Entry(entry) => self.take(entry),
            }
        }
    }

    fn take(&mut self, entry: &Entry) {
        self.records = self.records.saturating_add(1);
        let is_mine =
            |process: &Process| process.pid == entry.record.pid && process.token == entry.record.process;
        let index = self.processes.iter().rposition(is_mine).unwrap_or_else(|| {
            self.make_room();
            self.processes.push(Process::new(entry));
            self.processes.len() - 1
        });
        let Some(process) = self.processes.get_mut(index) else { return };
        let usable_before = process.usable();
        process.take(entry);
        let finished = (!usable_before).then(|| process.init_duration_ns()).flatten();
        if let Some(duration) = finished
            && self.durations_ns.len() < MAX_DURATIONS
        {
            self.durations_ns.push(duration);
        }
        if entry.record.kind == Kind::Forked {
            self.inherit(index, entry.record.arg0);
        }
    }

    /// A child that was forked without exec is for what its parent is for.
    fn inherit(&mut self, child: usize, parent: u64) {
        let role = self
            .processes
            .iter()
            .rev()
            .find(|process| u64::from(process.pid) == parent)
            .map_or(Role::Other, |process| process.role);
        if let Some(child) = self.processes.get_mut(child) {
            child.role = role;
        }
    }

    /// Forgets the process that has been silent longest, if there is no room for one more.
    fn make_room(&mut self) {
        while self.processes.len() >= MAX_PROCESSES {
            let silent = (0..self.processes.len())
                .min_by_key(|index| self.processes.get(*index).map(|process| process.last_ns));
            let Some(index) = silent else { return };
            let process = self.processes.remove(index);
            self.forgotten.processes = self.forgotten.processes.saturating_add(1);
            self.forgotten.launches = self.forgotten.launches.saturating_add(process.launches());
            self.forgotten.usable_ns = self.forgotten.usable_ns.max(process.learnt.usable_ns);
            self.forgotten.called_driver |= process.called_driver();
        }
    }

    /// The verdict at this time (nanoseconds since the epoch). Cheap: it looks at [`MAX_PROCESSES`] processes.
    pub fn verdict(&self, now_ns: u64, facts: &Facts) -> Verdict {
        rules::judge(self, now_ns, facts)
    }

    /// The report at this time: verdict, timeline, processes.
    pub fn report(&self, now_ns: u64, facts: &Facts) -> Report {
        Report::of(self, now_ns, facts)
    }

    /// The processes that are kept, in the order in which they were first seen.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// How many processes are no longer kept.
    pub fn processes_forgotten(&self) -> u64 {
        self.forgotten.processes
    }

    pub(crate) fn forgotten(&self) -> Forgotten {
        self.forgotten
    }

    /// How many records were taken.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// How many bytes were no records.
    pub fn garbage_bytes(&self) -> u64 {
        self.garbage_bytes
    }

    /// Kernel and graph launches that processes of the container reported.
    pub fn launches(&self) -> u64 {
        self.processes
            .iter()
            .fold(self.forgotten.launches, |sum, process| sum.saturating_add(process.launches()))
    }

    /// When a launch was last reported, nanoseconds since the epoch.
    pub fn last_launch_ns(&self) -> Option<u64> {
        self.processes.iter().filter_map(|process| process.learnt.last_launch_ns).max()
    }

    /// Times from the first driver call to a usable context, nanoseconds, of processes that became usable since
    /// the last call.
    pub fn take_init_durations_ns(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.durations_ns)
    }

    /// The furthest stage that any process of the present instance reached.
    pub fn stage(&self, facts: &Facts) -> Stage {
        self.present(facts).map(rules::reached).max().unwrap_or(Stage::Process)
    }

    /// The processes of the container's present instance.
    pub(crate) fn present<'a>(&'a self, facts: &Facts) -> impl Iterator<Item = &'a Process> {
        let since = match facts.state {
            // Of a container that was never restarted every process belongs to its one instance, whatever a clock
            // that was set meanwhile says.
            ContainerState::Running { since_ns } if facts.restarts > 0 => {
                since_ns.saturating_sub(START_SLACK_NS)
            }
            _ => 0,
        };
        self.processes.iter().filter(move |process| process.started_ns >= since)
    }

    /// Whether any process was called by this class.
    pub fn called_by(&self, caller: Caller) -> bool {
        self.processes.iter().any(|process| process.learnt.callers.contains(&caller))
    }
}
