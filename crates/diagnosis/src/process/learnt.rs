//! What is learnt from the steps of a process, one by one.

mod failing;

use super::Process;
use crate::driver::{self, Duty};
use crate::facts::VISIBLE;
use crate::step::{Node, Step, What};
pub(crate) use failing::{Failure, Refused};
use firstlight_contract::record::Caller;
use std::collections::BTreeMap;

/// Names and paths of one sort that are kept. NVIDIA's runtime asks for up to 36 names that drivers lack.
const MAX_NAMES: usize = 64;

#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing learnt, and any mix of them occurs")]
pub(crate) struct Learnt {
    pub(crate) driver: Option<String>,
    pub(crate) searched: Vec<(String, i32)>,
    /// The driver that is being opened.
    pub(crate) opening: Option<String>,
    pub(crate) missing: Option<(u64, String)>,
    pub(crate) version: Option<u64>,
    pub(crate) init: Option<i32>,
    pub(crate) first_call_ns: Option<u64>,
    /// The call that has begun and not returned: symbol and time.
    pub(crate) open: BTreeMap<(u32, String), u64>,
    pub(crate) unanswered: Vec<(String, u64, i32)>,
    pub(crate) exports_missing: Vec<(String, i32)>,
    /// A table that was refused and after which its caller did nothing more.
    pub(crate) refused: Option<(String, i32, Caller)>,
    pub(crate) tables: u32,
    /// The runtime itself, not a probe beside it, called `cuInit`.
    pub(crate) runtime_called_init: bool,
    pub(crate) count: Option<u64>,
    /// The runtime itself, not a probe beside it, counted the devices.
    pub(crate) runtime_counted: bool,
    pub(crate) count_ok: bool,
    pub(crate) context: bool,
    pub(crate) total_memory: u64,
    /// The runtime was told of a device without any memory.
    pub(crate) memoryless: bool,
    pub(crate) free_memory: Option<(u64, u64)>,
    pub(crate) launches: u64,
    pub(crate) graphs: u64,
    pub(crate) last_launch_ns: Option<u64>,
    pub(crate) synchronised: bool,
    pub(crate) modules: BTreeMap<Caller, String>,
    pub(crate) callers: Vec<Caller>,
    /// First failing call up to the context.
    pub(crate) init_failure: Option<Failure>,
    /// First failing call after it that the process did not get over.
    pub(crate) work_failure: Option<Failure>,
    /// First refusal of the quota that the process did not get over, if nothing had failed before.
    pub(crate) quota_refused: Option<Refused>,
    /// `CUDA_VISIBLE_DEVICES` of the process, if it was told.
    pub(crate) visible: Option<String>,
    /// Device nodes, if they were told.
    pub(crate) nodes: Vec<Node>,
    /// NVML said that the GPU is lost (code 15).
    pub(crate) nvml_lost: bool,
    pub(crate) nvml_mismatch: bool,
    pub(crate) self_pointers: u32,
    pub(crate) init_ok_ns: Option<u64>,
    pub(crate) usable_ns: Option<u64>,
    pub(crate) launched_ns: Option<u64>,
    pub(crate) confirmed_ns: Option<u64>,
}

impl Process {
    pub(super) fn learn(&mut self, step: &Step, tid: u32) {
        let learnt = &mut self.learnt;
        let calls = matches!(
            step.what,
            What::Entered { .. }
                | What::Returned { .. }
                | What::Unanswered { .. }
                | What::Table { .. }
                | What::ExportMissing { .. }
                | What::QuotaRefused { .. }
        );
        if calls {
            learnt.first_call_ns.get_or_insert(step.at_ns);
            if !learnt.callers.contains(&step.caller) {
                learnt.callers.push(step.caller);
            }
        }
        match &step.what {
            What::Started | What::Forked { .. } | What::DriverOpened { nvml: true, .. } => {}
            What::DriverSearched { path, errno } => {
                learnt.opening = None;
                keep(&mut learnt.searched, (path.clone(), *errno));
            }
            What::DriverOpening { path } => learnt.opening = Some(path.clone()),
            What::DriverOpened { path, nvml: false } => {
                learnt.opening = None;
                learnt.driver = Some(path.clone());
            }
            What::DriverMissing { tried, error } => learnt.missing = Some((*tried, error.clone())),
            What::Entered { symbol } => {
                learnt.runtime_called_init |= symbol == "cuInit" && step.caller != Caller::Ollama;
                if learnt.open.len() < MAX_NAMES {
                    learnt.open.insert((tid, symbol.clone().into_owned()), step.at_ns);
                }
            }
            What::Returned { symbol, code, arg0, arg1 } => {
                learnt.open.remove(&(tid, symbol.clone().into_owned()));
                self.returned(step, symbol, *code, *arg0, *arg1);
            }
            What::Repeated { symbol, code, .. } => self.returned(step, symbol, *code, 0, 0),
            // The driver was not asked: no record of a call that returned follows.
            What::QuotaRefused { symbol, asked, device, refusal, detail, .. } => {
                learnt.open.remove(&(tid, symbol.clone().into_owned()));
                learnt.refuse(Refused {
                    symbol: symbol.clone().into_owned(),
                    duty: driver::duty(symbol),
                    asked: *asked,
                    device: *device,
                    why: *refusal,
                    detail: detail.clone(),
                    launches_before: learnt.all_launches(),
                    had_since: false,
                });
            }
            What::Unanswered { name, version, code } => {
                let asked = (name.clone(), *version, *code);
                let known = learnt.unanswered.iter().any(|(known, _, _)| known == name);
                if driver::is_needed(driver::base(name)) && !known {
                    // The names that decide come before those that may fill the list.
                    learnt.unanswered.insert(0, asked);
                    learnt.unanswered.truncate(MAX_NAMES);
                } else {
                    keep(&mut learnt.unanswered, asked);
                }
            }
            What::Table { uuid, code } => {
                learnt.tables = learnt.tables.saturating_add(1);
                learnt.refused = (*code != 0 && !driver::table_is_optional(uuid))
                    .then(|| (uuid.clone(), *code, step.caller));
            }
            What::ExportMissing { symbol, code } => {
                keep(&mut learnt.exports_missing, (symbol.clone(), *code));
            }
            What::SelfPointer { .. } => learnt.self_pointers = learnt.self_pointers.saturating_add(1),
            What::Launched { kernels, graphs } => {
                let before = learnt.launches.saturating_add(learnt.graphs);
                learnt.launches = learnt.launches.max(*kernels);
                learnt.graphs = learnt.graphs.max(*graphs);
                if learnt.launches.saturating_add(learnt.graphs) > before {
                    self.launch_seen(step.at_ns);
                }
            }
            What::Module { path } => {
                learnt.modules.entry(step.caller).or_insert_with(|| path.clone());
            }
            What::Environment { variable } => {
                let value = variable.strip_prefix(VISIBLE).and_then(|rest| rest.strip_prefix('='));
                learnt.visible = value.map(str::to_owned).or_else(|| learnt.visible.take());
            }
            What::DeviceNode(node) => keep(&mut learnt.nodes, node.clone()),
        }
    }

    fn launch_seen(&mut self, at_ns: u64) {
        self.learnt.last_launch_ns = Some(at_ns);
        // The shim writes counts when a call waits for the device; a call that failed there would have left its
        // own record. So a count that grew after the first launch says that earlier launches were waited for.
        let went_on = self.launched();
        // A program that knows its device asks for neither count nor memory: that a kernel was taken says more.
        if self.gapless && self.learnt.init == Some(0) && self.learnt.context {
            self.learnt.usable_ns.get_or_insert(at_ns);
        }
        if self.gapless && self.usable() {
            self.learnt.launched_ns.get_or_insert(at_ns);
        }
        if went_on || self.learnt.synchronised {
            self.confirm(at_ns);
        }
    }

    fn confirm(&mut self, at_ns: u64) {
        let learnt = &self.learnt;
        let failed = learnt.work_failure.as_ref().is_some_and(|failure| !learnt.got_over(failure));
        let refused = learnt.quota_refused.as_ref().is_some_and(|refused| !learnt.got_over_refusal(refused));
        if self.gapless && self.launched() && !failed && !refused {
            self.learnt.confirmed_ns.get_or_insert(at_ns);
        }
    }

    fn returned(&mut self, step: &Step, symbol: &str, code: i32, arg0: u64, arg1: u64) {
        let duty = driver::duty(symbol);
        let known = !matches!(step.what, What::Repeated { .. });
        let learnt = &mut self.learnt;
        learnt.runtime_called_init |= duty == Duty::Init && step.caller != Caller::Ollama;
        if learnt.refused.as_ref().is_some_and(|(_, _, caller)| *caller == step.caller) && duty != Duty::Nvml
        {
            learnt.refused = None;
        }
        if code != 0 {
            self.failed(step, symbol, duty, code, arg0);
            return;
        }
        match duty {
            Duty::Version if known => learnt.version = Some(arg0),
            Duty::Init => learnt.init = Some(learnt.init.unwrap_or(0)),
            Duty::Count if known => {
                learnt.count = Some(arg0);
                learnt.runtime_counted |= step.caller != Caller::Ollama;
                learnt.count_ok |= arg0 > 0;
                if arg0 > 0 && self.gapless {
                    learnt.init_ok_ns.get_or_insert(step.at_ns);
                }
            }
            Duty::TotalMemory if known => {
                learnt.memoryless |= arg0 == 0 && step.caller == Caller::Runtime;
                learnt.total_memory = learnt.total_memory.max(arg0);
            }
            Duty::Context => {
                learnt.context = true;
                learnt.memory_had();
            }
            Duty::Allocate => learnt.memory_had(),
            Duty::MemoryInfo if known => {
                // The driver answers this only under a context (else 201), so that a context exists.
                learnt.context |= arg1 > 0;
                learnt.total_memory = learnt.total_memory.max(arg1);
                learnt.free_memory = Some((arg0, arg1));
            }
            Duty::Launch => {
                let count = if driver::base(symbol) == "cuGraphLaunch" {
                    &mut learnt.graphs
                } else {
                    &mut learnt.launches
                };
                *count = (*count).max(1);
                self.launch_seen(step.at_ns);
            }
            Duty::Synchronize => {
                learnt.synchronised |= learnt.launches.saturating_add(learnt.graphs) > 0;
                if learnt.synchronised {
                    self.confirm(step.at_ns);
                }
            }
            _ => {}
        }
        let learnt = &mut self.learnt;
        let usable = learnt.init_ok_ns.is_some() && learnt.context && learnt.total_memory > 0;
        if usable && self.gapless {
            learnt.usable_ns.get_or_insert(step.at_ns);
        }
    }

    fn failed(&mut self, step: &Step, symbol: &str, duty: Duty, code: i32, bytes: u64) {
        let learnt = &mut self.learnt;
        if duty == Duty::Nvml {
            // nvml.h: 15 = NVML_ERROR_GPU_IS_LOST, 18 = NVML_ERROR_LIB_RM_VERSION_MISMATCH.
            learnt.nvml_lost |= code == 15;
            learnt.nvml_mismatch |= code == 18;
            return;
        }
        if duty == Duty::Init {
            learnt.init = Some(code);
        }
        let failure = Failure {
            at_ns: step.at_ns,
            symbol: symbol.to_owned(),
            duty,
            code,
            caller: step.caller,
            bytes,
            launches_before: learnt.all_launches(),
        };
        // A device lost or a context poisoned is answered by every later call: 700-719 except "already
        // enabled" and its kin (704, 705, 708, 709, 711-713), which are no faults.
        let sticky = matches!(code, 700 | 702 | 710 | 714..=719);
        let from_runtime =
            matches!(step.caller, Caller::Runtime | Caller::Cublas | Caller::GgmlBackend | Caller::Unknown);
        match duty {
            Duty::Version | Duty::Init | Duty::Count | Duty::Context => {
                learnt.init_failure.get_or_insert(failure);
            }
            Duty::DeviceQuery | Duty::TotalMemory if from_runtime => {
                learnt.init_failure.get_or_insert(failure);
            }
            // 201 is the driver's answer where no context is current yet.
            Duty::MemoryInfo if code != 201 && !learnt.launches_seen() => {
                learnt.init_failure.get_or_insert(failure);
            }
            Duty::Allocate | Duty::CodeLoad | Duty::Launch | Duty::Synchronize => learnt.fail(failure),
            _ if sticky || (code == 999 && learnt.launches_seen()) => learnt.fail(failure),
            _ => {}
        }
    }
}

impl Learnt {
    /// Whether the driver was asked for a function of this name, in any version, and had none, or whether such
    /// a function was called and missing.
    pub(crate) fn lacks(&self, name: &str) -> bool {
        self.unanswered.iter().any(|(asked, _, _)| driver::base(asked) == name)
            || self.exports_missing.iter().any(|(called, _)| driver::base(called) == name)
    }
}

fn keep<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if list.len() < MAX_NAMES && !list.contains(&item) {
        list.push(item);
    }
}
