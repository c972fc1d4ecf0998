//! No success and no failure: what can be said all the same.

use super::examine::{ABORT_EXIT, SEGV_EXIT};
use super::{Case, FIRST_CALL_NS, FIRST_RECORD_NS, Finding, reached, who};
use crate::catalogue::Cause;
use crate::facts::ContainerState;
use crate::process::Process;
use crate::stage::Stage;
use crate::verdict::Confidence::{Certain, Likely, Unknown};
use crate::verdict::Verdict;

impl Case<'_> {
    pub(super) fn nothing(&self) -> Verdict {
        if let Some(finding) = self.ended_while_waiting() {
            return self.failing(&finding);
        }
        if let Some(process) =
            self.processes.iter().filter(|p| p.called_driver()).max_by_key(|p| (reached(p), p.started_ns))
        {
            return self.unproven(&unfinished(process));
        }
        if self.facts.annotated == Some(true) && self.facts.injected == Some(false) {
            let first =
                "the pod carries the annotation, and not the mark that the webhook leaves.".to_owned();
            return self.failing(&Finding::new(Stage::Process, Cause::NotInjected, Certain, first));
        }
        if self.processes.is_empty() {
            let finding = self.silent();
            return if finding.cause.is_failure() { self.failing(&finding) } else { self.unproven(&finding) };
        }
        self.idle()
    }

    /// An earlier instance of the container was ended while a process of it waited for the driver: a probe that has no
    /// patience, say, which ends the next one, too.
    fn ended_while_waiting(&self) -> Option<Finding> {
        if self.facts.restarts == 0 || self.facts.out_of_memory {
            return None;
        }
        let is_past = |process: &&Process| {
            !self.processes.iter().any(|other| (other.pid, other.token) == (process.pid, process.token))
        };
        let past = self.container.processes().iter().filter(is_past);
        let (process, symbol) = past
            .filter_map(|process| Some((process, &process.learnt.open.keys().next()?.1)))
            .max_by_key(|(process, _)| process.started_ns)?;
        let restarts = self.facts.restarts;
        let first =
            format!("{} called {symbol} and had no answer when its container was ended.", who(process));
        Some(
            Finding::new(reached(process), Cause::DiscoveryTimeout, Likely, first)
                .and(format!("the container was started again {restarts} time(s); a probe may have had less patience than the driver needs."))
                .not(Cause::DriverInitFailed, format!("{symbol} had not returned any code.")),
        )
    }

    /// There is no record at all.
    fn silent(&self) -> Finding {
        let garbage = self.container.garbage_bytes();
        if garbage > 0 && self.container.records() == 0 {
            let first = format!("the record file holds {garbage} bytes, and none of them is a record.");
            return Finding::new(Stage::Process, Cause::Unknown, Unknown, first);
        }
        let running = match self.facts.state {
            ContainerState::Running { since_ns } => self.now_ns.saturating_sub(since_ns) >= FIRST_RECORD_NS,
            ContainerState::Terminated { .. } => true,
            ContainerState::Unknown | ContainerState::Waiting => false,
        };
        if let Some(finding) = self.died_silently() {
            return finding;
        }
        if running && !self.container.processes().is_empty() {
            let first = "no process has left a record since the container was restarted; before, some did.";
            return Finding::new(Stage::Process, Cause::Unknown, Unknown, first.to_owned());
        }
        if running && self.facts.injected != Some(false) {
            let first = "the container runs, and not even a start record was written.".to_owned();
            return Finding::new(Stage::Process, Cause::RecorderNotLoaded, Likely, first)
                .not(Cause::NeverAttempted, "without the recorder, calls of the driver would not be seen.");
        }
        Finding::new(Stage::Process, Cause::Unknown, Unknown, "no process has started yet.".to_owned())
    }

    /// The container ended without a record, and another library is preloaded.
    fn died_silently(&self) -> Option<Finding> {
        let ContainerState::Terminated { exit_code, .. } = self.facts.state else { return None };
        let object = self.facts.foreign_preload()?;
        let first = format!("the container ended with code {exit_code} before it wrote a single record.");
        // What ld.so and musl's loader end with where they cannot load an object (glibc elf/rtld.c, musl ldso/dynlink.c).
        let cause = match exit_code {
            1 | 127 => Cause::PreloadObjectBroken,
            SEGV_EXIT | ABORT_EXIT => Cause::ForeignShimFault,
            _ => return None,
        };
        Some(
            Finding::new(Stage::Process, cause, Likely, first)
                .and(format!("{object} is preloaded beside Firstlight's library."))
                .not(Cause::RecorderNotLoaded, "the container did not live long enough to do without it."),
        )
    }

    /// Processes ran, and none called the driver.
    fn idle(&self) -> Verdict {
        let count = self.processes.len();
        let first = format!("{count} process(es) started with the recorder, and none called the driver.");
        if let ContainerState::Terminated { exit_code: SEGV_EXIT | ABORT_EXIT, .. } = self.facts.state
            && let Some(object) = self.facts.foreign_preload()
        {
            let finding = Finding::new(Stage::Process, Cause::ForeignShimFault, Likely, first)
                .and("the container then died by a signal.")
                .and(format!("{object} is preloaded beside Firstlight's library."))
                .not(Cause::DummySymbolCrash, "the driver was asked for nothing.");
            return self.failing(&finding);
        }
        if let Some((name, value)) = self.facts.hiding_variable() {
            let finding = Finding::new(Stage::Select, Cause::HiddenByEnv, Likely, first)
                .and(format!("the pod declares {name}={value:?}, which keeps Ollama from the GPU."));
            return self.failing(&finding);
        }
        let begun = self.processes.iter().map(|process| process.started_ns).min().unwrap_or(self.now_ns);
        let waited = self.now_ns.saturating_sub(begun) >= FIRST_CALL_NS || self.facts.ended();
        let finding = if waited {
            Finding::new(Stage::Select, Cause::NeverAttempted, Likely, first)
                .not(Cause::RecorderNotLoaded, "the recorder wrote the start of each process.")
        } else {
            Finding::new(Stage::Process, Cause::Unknown, Unknown, first)
        };
        self.unproven(&finding)
    }
}

/// The driver was called; how far, and what is missing to a verdict.
fn unfinished(process: &Process) -> Finding {
    let stage = reached(process);
    let first = if let Some(((_, symbol), _)) = process.learnt.open.iter().next() {
        format!("{} called {symbol} and waits for the answer.", who(process))
    } else if !process.gapless {
        format!(
            "{} called the driver, but some of its records are missing: nothing is concluded from the rest.",
            who(process)
        )
    } else if process.learnt.init_ok_ns.is_some() {
        let devices = process.learnt.count.unwrap_or(0);
        format!(
            "CUDA initialised in {} and lists {devices} device(s); no process has created a context yet.",
            who(process)
        )
    } else {
        format!("{} got to {stage} and asked the driver nothing more.", who(process))
    };
    let mut finding = Finding::new(stage, Cause::Unknown, Unknown, first);
    let learnt = &process.learnt;
    if let Some((name, _, _)) = learnt.unanswered.iter().rev().find(|(name, _, _)| !name.is_empty())
        && learnt.init_ok_ns.is_none()
    {
        finding = finding.and(format!("the last name that the driver did not know is {name}."));
    }
    if let Some(driver) = process.driver() {
        finding = finding.and(format!("the driver is {driver}."));
    }
    if learnt.self_pointers > 0 {
        finding = finding.and("the driver handed out functions of the recorder itself; they were corrected.");
    }
    finding
}
